#pragma once

#include "model/engine.hpp"

namespace matriarch::engines::postgresql {

/// What applications need to reach a database as that user. Every character of a name or a password is
/// safe in the URIs.
[[nodiscard]] json::value binding_credentials(const model::way_in& how, json::document& owner);

} // namespace matriarch::engines::postgresql
