#pragma once

#include "actors/interfaces.hpp"

namespace matriarch::actors {

/// PostgreSQL through libpq, on a few threads of its own: libpq resolves names and handshakes
/// blockingly.
[[nodiscard]] database_actor spawn_database(caf::actor_system& system);

} // namespace matriarch::actors
