#pragma once

#include "actors/environment.hpp"
#include "actors/interfaces.hpp"
#include "actors/service_instance.hpp"

namespace matriarch::actors {

/// Spawns an actor for each instance in etcd, passes requests and changes on to it, and restarts it
/// after an error.
[[nodiscard]] instance_directory_actor spawn_instance_directory(caf::actor_system& system,
                                                                instance_setup setup);

} // namespace matriarch::actors
