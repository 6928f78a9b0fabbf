#pragma once

#include "engines/postgresql/actors/database.hpp"

namespace matriarch::engines::postgresql {

/// What instances' actors ask of a cluster: passed on to PostgreSQL itself, or asked of a member's
/// Patroni by its REST API, or both.
[[nodiscard]] actors::engine_actor spawn_cluster_front(caf::actor_system& system, sql_actor sql,
                                                       actors::engine_surroundings with);

} // namespace matriarch::engines::postgresql
