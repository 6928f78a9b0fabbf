#pragma once

#include "cell/node_engine.hpp"

namespace matriarch::cell {

/// PostgreSQL, which Patroni looks after.
[[nodiscard]] const engine_kind& postgresql_kind();

} // namespace matriarch::cell
