#pragma once

#include <optional>
#include <string>

#include "base/findings.hpp"
#include "cell/cell_config.hpp"
#include "cell/node_driver.hpp"
#include "cell/node_engine.hpp"

namespace matriarch::cell {

/// Why no broker can act on this cell: etcd belongs to another fleet than the cell's earlier
/// brokers. Nothing if it does not, or if `fleet` is empty.
[[nodiscard]] std::optional<std::string> why_not_of_fleet(const cell_config& config,
                                                          const std::string& fleet_in_etcd);

/// Whether a cell with this configuration could serve: its programs, its user, its directory, its
/// address and etcd. Changes nothing. Blocks, for some seconds at most.
[[nodiscard]] base::findings check(const loaded_cell_config& config, const engine_kind& kind,
                                   const driver_kind& drivers);

} // namespace matriarch::cell
