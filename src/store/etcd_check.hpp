#pragma once

#include <optional>
#include <string>

#include "base/findings.hpp"
#include "config/etcd_section.hpp"

namespace matriarch::store {

/// Asks each etcd machine separately whether it answers, accepts this user, and which fleet
/// `fleet_key` names. Notes a doubt for each machine that does not answer, and a fault if none
/// does. Blocks for at most some seconds a machine. Returns whether a machine answers.
bool look_at_etcd(const config::etcd_settings& settings, const std::string& fleet_key,
                  base::findings& found);

/// The value of a key in etcd; nothing if there is no such key, or etcd does not answer. Blocks for
/// at most some seconds.
[[nodiscard]] std::optional<std::string> look_up(const config::etcd_settings& settings,
                                                 const std::string& key);

} // namespace matriarch::store
