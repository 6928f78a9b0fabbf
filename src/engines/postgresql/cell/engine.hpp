#pragma once

#include "cell/node_engine.hpp"

namespace matriarch::engines::postgresql {

/// PostgreSQL under Patroni.
[[nodiscard]] const cell::engine_kind& node_kind();

} // namespace matriarch::engines::postgresql
