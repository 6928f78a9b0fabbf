#pragma once

#include "actors/interfaces.hpp"

namespace matriarch::actors {

/// Outgoing HTTP as an actor. `loop` must outlive the actor system.
[[nodiscard]] http_actor spawn_http(caf::actor_system& system, base::event_loop& loop);

} // namespace matriarch::actors
