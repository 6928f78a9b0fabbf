#pragma once

#include "actors/environment.hpp"
#include "actors/interfaces.hpp"

namespace matriarch::actors {

struct orphan_watch_setup {
  store_actor store;
  cell_directory_actor cells;
  environment outside;
  std::string active_value; ///< of `/matriarch/active` while this broker acts
  published* out = nullptr;
};

/// Watches nodes that have no record. Removes a node if a grave says that it must not run;
/// otherwise publishes it, for an operator to decide. Also clears graves that are no longer needed,
/// and tombstones after a week.
[[nodiscard]] orphan_watch_actor spawn_orphan_watch(caf::actor_system& system,
                                                    orphan_watch_setup setup);

} // namespace matriarch::actors
