#pragma once

#include "cell/node_driver.hpp"

/// The wiring of the drivers, the only place that names them.
namespace matriarch::cli {

[[nodiscard]] const cell::driver_kind& driver_of_nodes();

} // namespace matriarch::cli
