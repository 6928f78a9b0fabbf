#pragma once

#include <map>
#include <set>
#include <string>

#include "engines/postgresql/actors/session.hpp"

namespace matriarch::engines::postgresql {

/// Tells all sessions of these roles at one node to end, those too that have not finished
/// authenticating, and gives by role what there was to be ended, in words. A session ends some time
/// after it was told, if it looks; so this is called until nothing is left.
[[nodiscard]] result<std::map<std::string, std::string>>
end_sessions(session& on, const std::set<std::string>& names);

} // namespace matriarch::engines::postgresql
