#pragma once

#include "router/engine_check.hpp"

namespace matriarch::engines::postgresql {

/// How routers let clients in to PostgreSQL, and find the leader through Patroni.
[[nodiscard]] const router::engine_check& port_check();

} // namespace matriarch::engines::postgresql
