#pragma once

#include "actors/interfaces.hpp"

namespace matriarch::actors {

/// etcd as an actor. `etcd` must outlive the actor system.
[[nodiscard]] store_actor spawn_store(caf::actor_system& system, store::etcd_client& etcd);

} // namespace matriarch::actors
