#pragma once

#include <optional>
#include <string>
#include <vector>

/// Settings that PostgreSQL gives a role's sessions from their beginning (ALTER ROLE … SET).
namespace matriarch::engines::postgresql {

/// As pg_db_role_setting has them: `name=value`, each name once.
using role_settings = std::vector<std::string>;

/// The setting in which a binding's role carries the names of those that it has from the owner.
inline constexpr const char* copied_mark = "matriarch.copied";

/// What a binding's role shall have, where an application made settings for the owner, as whom it
/// works but nobody logs in. The role's own settings stay and count for more; what was the owner's
/// and is so no longer goes. Libraries are not taken over: one that cannot be loaded would let
/// nobody in, not even to take it back. Nothing if the role has just that.
[[nodiscard]] std::optional<role_settings> settings_from_owner(const role_settings& own,
                                                               const role_settings& owners);

} // namespace matriarch::engines::postgresql
