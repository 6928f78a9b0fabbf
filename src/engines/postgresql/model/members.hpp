#pragma once

#include <set>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "model/observation.hpp"

/// What Patroni writes about a cluster into etcd. A tenant with the database's superuser can write
/// it, too.
namespace matriarch::engines::postgresql {

/// Patroni's description of a member.
[[nodiscard]] result<model::member> member_in(std::string_view text);

/// The standbys in Patroni's `sync` key (`{"leader":"a","sync_standby":"b,c"}`), which may take
/// over from a synchronous leader. An unreadable key names none, which is safe: without synchronous
/// standbys no data can be lost.
[[nodiscard]] std::set<std::string> standbys_in(std::string_view text);

} // namespace matriarch::engines::postgresql
