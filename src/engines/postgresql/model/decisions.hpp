#pragma once

#include "model/engine.hpp"

namespace matriarch::engines::postgresql {

/// PostgreSQL with Patroni.
[[nodiscard]] const model::engine& decisions();

} // namespace matriarch::engines::postgresql
