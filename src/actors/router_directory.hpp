#pragma once

#include "actors/environment.hpp"
#include "actors/interfaces.hpp"

namespace matriarch::actors {

struct router_directory_setup {
  environment outside;
  bool awaited = true; ///< `routing.wait_for_routers`
  published* out = nullptr;
};

/// Keeps what each live router reports to serve. A router's key is under its lease, so a missing
/// key means a dead router. Publishes everything as one table at each change, and sends messages
/// only to waiting instances whose wait has ended: a router's write costs nothing for all other
/// instances.
[[nodiscard]] router_directory_actor spawn_router_directory(caf::actor_system& system,
                                                            router_directory_setup setup);

} // namespace matriarch::actors
