#pragma once

#include "model/engine.hpp"

namespace matriarch::engines::postgresql {

/// Decisions for PostgreSQL with Patroni.
[[nodiscard]] const model::engine& decisions();

} // namespace matriarch::engines::postgresql
