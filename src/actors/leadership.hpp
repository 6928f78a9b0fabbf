#pragma once

#include "actors/environment.hpp"
#include "actors/interfaces.hpp"
#include "store/active_json.hpp"

namespace matriarch::actors {

/// Holds `/matriarch/active` by a lease, so that at most one of all brokers on one etcd is active.
///
/// Takes the key when there is none, or when an earlier broker of the same address on the same
/// machine wrote it: this broker's listening socket proves that the earlier one has ended. Tells
/// the instance directory at each change whether this broker is active.
struct leadership_setup {
  store_actor store;
  instance_directory_actor directory;
  store::active_broker self;
  std::string new_fleet;    ///< the id that a fleet without one is given
  published* out = nullptr; ///< gets the time until which the lease can be trusted
  /// Whether the actor has a thread of its own: thousands of busy instances would delay the lease's
  /// renewal. Otherwise it uses the actor system's scheduler, as in tests.
  bool own_thread = false;
};

[[nodiscard]] leadership_actor spawn_leadership(caf::actor_system& system, leadership_setup setup);

} // namespace matriarch::actors
