#pragma once

#include <set>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "model/observation.hpp"

/// What Patroni writes of a cluster into etcd. Whoever has a database's superuser can write it as well.
namespace matriarch::engines::postgresql {

/// Its description of a member.
[[nodiscard]] result<model::member> member_in(std::string_view text);

/// The standbys in its `sync` key (`{"leader":"a","sync_standby":"b,c"}`), which may take over from a
/// synchronous leader. What cannot be read names none: to take nobody for a synchronous standby loses no
/// data.
[[nodiscard]] std::set<std::string> standbys_in(std::string_view text);

} // namespace matriarch::engines::postgresql
