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
  published* out = nullptr; ///< holds the signing authorities
};

/// Signs the requests that cells have announced at their keys wherever a certificate is missing or
/// outdated, and reports to the cell directory which cells have none and why. Of a request only the
/// public key is used: the names in the certificate follow from the key at which the request was
/// announced and from the configuration. Whoever may write a cell's key therefore speaks for that
/// cell only. All state is in etcd, so that the next broker can continue.
[[nodiscard]] cell_certifier_actor spawn_cell_certifier(caf::actor_system& system,
                                                        cell_certifier_setup setup);

} // namespace matriarch::actors
