#pragma once

#include "cell/node_driver.hpp"

namespace matriarch::cell {

/// Nodes as processes of this machine.
[[nodiscard]] const driver_kind& process_kind();

} // namespace matriarch::cell
