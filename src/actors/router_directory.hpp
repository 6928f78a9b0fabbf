#pragma once

#include "actors/environment.hpp"
#include "actors/interfaces.hpp"

namespace matriarch::actors {

struct router_directory_setup {
  environment outside;
  bool awaited = true; ///< `routing.wait_for_routers`
  published* out = nullptr;
};

/// Keeps what each living router says it serves: a router's key is under its lease, so a key that is
/// gone is a router that is gone. Publishes all of it as one table at each change, for whoever
/// wants to look, and sends a message only to those instances that wait and whose waiting is over:
/// a hundred thousand instances cost nothing when a router writes.
[[nodiscard]] router_directory_actor spawn_router_directory(caf::actor_system& system,
                                                            router_directory_setup setup);

} // namespace matriarch::actors
