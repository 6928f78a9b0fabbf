#pragma once

#include "model/engine.hpp"

namespace matriarch::engines::postgresql {

/// The credentials with which applications reach a database as that user. All characters of names
/// and passwords are safe in the URIs.
[[nodiscard]] json::value binding_credentials(const model::way_in& how, json::document& owner);

} // namespace matriarch::engines::postgresql
