#pragma once

#include "actors/environment.hpp"
#include "actors/interfaces.hpp"
#include "store/record_json.hpp"

namespace matriarch::actors {

/// Holds `/matriarch/active` by a lease, so that of all brokers on one etcd one acts.
///
/// It tries to take the key when there is none, and takes over the key of an earlier broker of its
/// own address on its own machine, which its listening socket proves to be gone. It tells the
/// instance directory at each change whether this broker is active.
struct leadership_setup {
  store_actor store;
  instance_directory_actor directory;
  store::active_broker self;
  std::string new_fleet;    ///< the id that a fleet without one gets
  published* out = nullptr; ///< learns until when the lease can be trusted
  /// Whether it has a thread of its own: thousands of instances that are busy at the same time would
  /// hold up the renewal of the lease. Without one it goes by the actor system's scheduler, as tests do.
  bool own_thread = false;
};

[[nodiscard]] leadership_actor spawn_leadership(caf::actor_system& system, leadership_setup setup);

} // namespace matriarch::actors
