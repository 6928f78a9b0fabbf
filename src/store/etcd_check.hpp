#pragma once

#include <optional>
#include <string>

#include "base/findings.hpp"
#include "config/etcd_section.hpp"

namespace matriarch::store {

/// Asks each machine of etcd by itself whether it answers and lets this user in, and which fleet it
/// knows by that key: one that does not answer is a doubt, if none does that is a fault. Blocks, for some seconds a
/// machine at most. Whether one answers.
bool look_at_etcd(const config::etcd_settings& settings, const std::string& fleet_key,
                  base::findings& found);

/// What etcd has under that key; nothing if there is none, or nobody answers. Blocks, for some seconds
/// at most.
[[nodiscard]] std::optional<std::string> look_up(const config::etcd_settings& settings,
                                                 const std::string& key);

} // namespace matriarch::store
