#pragma once

#include <map>
#include <set>
#include <string>

#include "engines/postgresql/actors/session.hpp"

namespace matriarch::engines::postgresql {

/// Tells all sessions of these roles at one node to end, also those that are still authenticating,
/// and returns by role what was found, in words. A session ends only some time after it was told,
/// so callers repeat this until nothing is found.
[[nodiscard]] result<std::map<std::string, std::string>>
end_sessions(session& on, const std::set<std::string>& names);

} // namespace matriarch::engines::postgresql
