#pragma once

#include <vector>

#include "actors/cell_agent.hpp"
#include "actors/environment.hpp"
#include "actors/interfaces.hpp"

namespace matriarch::actors {

struct cell_certifier_setup {
  std::vector<cell_settings> cells;
  store_actor store;
  cell_directory_actor cells_directory;
  environment outside;
  std::string active_value; ///< of `/matriarch/active` while this broker acts
  published* out = nullptr; ///< tells who signs
};

/// Signs what cells have announced at their keys, where their certificates are not as they shall be,
/// and tells the cell directory which cell has none and why. A request says nothing but a key: whom
/// the certificate names is decided by whose key it was announced at and by the configuration. Whoever
/// may write a cell's key speaks for that cell, and for no other. Nothing is kept but in etcd, so that
/// the next broker goes on from there.
[[nodiscard]] cell_certifier_actor spawn_cell_certifier(caf::actor_system& system,
                                                        cell_certifier_setup setup);

} // namespace matriarch::actors
