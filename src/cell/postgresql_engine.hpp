#pragma once

#include <memory>

#include "cell/node_engine.hpp"

namespace matriarch::cell {

/// PostgreSQL, which Patroni looks after.
[[nodiscard]] std::unique_ptr<node_engine>
make_postgresql(const cell_config& config, node_driver& driver, base::event_loop& loop);

} // namespace matriarch::cell
