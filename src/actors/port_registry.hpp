#pragma once

#include "actors/environment.hpp"
#include "actors/interfaces.hpp"

namespace matriarch::actors {

/// Knows from the watch which port belongs to which instance, and reserves the next free port that
/// every router can open, according to `out`. The instance's own transaction takes the port; its
/// compare on the port's key decides.
[[nodiscard]] port_registry_actor spawn_port_registry(caf::actor_system& system,
                                                      model::port_range range, environment outside,
                                                      published& out);

} // namespace matriarch::actors
