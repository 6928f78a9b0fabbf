#pragma once

#include <optional>
#include <string>

#include "engines/postgresql/actors/session.hpp"

namespace matriarch::engines::postgresql {

/// Gives the roles of bindings, which work as the owner, the settings that an application made for
/// the owner (`ALTER ROLE current_user SET …`), for all databases and for the session's; why that
/// could not be done, if so. A role that somebody is changing is passed over.
[[nodiscard]] std::optional<std::string> copy_settings(session& database, const std::string& owner);

} // namespace matriarch::engines::postgresql
