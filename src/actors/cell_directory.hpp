#pragma once

#include "actors/cell_agent.hpp"
#include "actors/environment.hpp"
#include "actors/interfaces.hpp"

namespace matriarch::actors {

/// Spawns an agent for each cell, adds up the cells' load from what the instances report, and
/// publishes the table of cells at each change.
[[nodiscard]] cell_directory_actor spawn_cell_directory(caf::actor_system& system,
                                                        std::vector<cell_settings> cells,
                                                        http_actor http, published& out);

} // namespace matriarch::actors
