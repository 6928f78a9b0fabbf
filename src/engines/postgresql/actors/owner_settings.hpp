#pragma once

#include <optional>
#include <string>

#include "engines/postgresql/actors/session.hpp"

namespace matriarch::engines::postgresql {

/// Copies the settings that an application made for the owner (`ALTER ROLE current_user SET …`),
/// for all databases and for the session's, to the bindings' roles that work as the owner. Returns
/// the reason if that failed. Passes over a role that another session is changing.
[[nodiscard]] std::optional<std::string> copy_settings(session& database, const std::string& owner);

} // namespace matriarch::engines::postgresql
