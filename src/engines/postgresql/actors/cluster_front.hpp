#pragma once

#include "engines/postgresql/actors/database.hpp"

namespace matriarch::engines::postgresql {

/// Answers the questions of instances' actors by asking PostgreSQL itself, a member's Patroni by
/// its REST API, or both.
[[nodiscard]] actors::engine_actor spawn_cluster_front(caf::actor_system& system, sql_actor sql,
                                                       actors::engine_surroundings with);

} // namespace matriarch::engines::postgresql
