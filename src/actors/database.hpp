#pragma once

#include "actors/interfaces.hpp"

namespace matriarch::actors {

/// PostgreSQL through libpq, on threads of its own: libpq resolves names and handshakes blockingly.
/// Answers whatever happens; what one instance holds up keeps no other one waiting.
[[nodiscard]] database_actor spawn_database(caf::actor_system& system);

} // namespace matriarch::actors
