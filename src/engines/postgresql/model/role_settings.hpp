#pragma once

#include <optional>
#include <string>
#include <vector>

/// Settings that a role's sessions have from their start (ALTER ROLE … SET).
namespace matriarch::engines::postgresql {

/// As in pg_db_role_setting: `name=value`, each name once.
using role_settings = std::vector<std::string>;

/// The setting in which a binding's role lists the settings that were copied from the owner.
inline constexpr const char* copied_mark = "matriarch.copied";

/// The settings that a binding's role should have, given the owner's settings. Applications set
/// these for the owner, as which the role works, but nobody logs in as the owner. The role's own
/// settings stay and override the owner's; copies of settings that the owner no longer has are
/// removed. Library settings are not copied: a library that cannot be loaded would lock everybody
/// out, with no way to undo it. Nothing if the role has just these settings already.
[[nodiscard]] std::optional<role_settings> settings_from_owner(const role_settings& own,
                                                               const role_settings& owners);

} // namespace matriarch::engines::postgresql
