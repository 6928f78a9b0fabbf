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

/// Looks after what runs without a record: removes it if a grave says that it must not run, and
/// publishes it otherwise, for an operator to decide. And clears what has served: graves, and
/// tombstones after their week.
[[nodiscard]] orphan_watch_actor spawn_orphan_watch(caf::actor_system& system,
                                                    orphan_watch_setup setup);

} // namespace matriarch::actors
