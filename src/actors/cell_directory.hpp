#pragma once

#include "actors/cell_agent.hpp"
#include "actors/environment.hpp"
#include "actors/interfaces.hpp"
#include "model/repair.hpp"

namespace matriarch::actors {

/// What the cell directory works with.
struct cell_directory_setup {
  std::vector<cell_settings> cells;
  http_actor http;
  store_actor store;
  environment outside;
  std::string active_value; ///< of `/matriarch/active` while this broker acts
  model::repair_settings repair;
  published* out = nullptr;
  /// The host name of the routers as applications see it; empty: nodes get no certificates.
  std::string public_host = {};
  authority_keeper_actor authority = {}; ///< told whether this broker is active; may be empty
  plans_to_judge plans = {};             ///< empty: cells are not asked about plans
};

/// Spawns an agent for each cell, adds up the cells' load from the instances' reports, judges which
/// cells are lost, and publishes the table of cells at each change. Gives instances their turns to
/// be repaired.
[[nodiscard]] cell_directory_actor spawn_cell_directory(caf::actor_system& system,
                                                        cell_directory_setup setup);

} // namespace matriarch::actors
