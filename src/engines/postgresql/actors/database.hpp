#pragma once

#include <string>

#include "actors/engine.hpp"

namespace matriarch::engines::postgresql {

/// PostgreSQL through libpq, on threads of its own: libpq resolves names and handshakes blockingly.
/// Answers whatever happens; what one instance holds up keeps no other one waiting.
[[nodiscard]] actors::engine_actor spawn_database(caf::actor_system& system);

/// PostgreSQL with Patroni, as instances' actors see it.
class engine final : public actors::engine {
public:
  [[nodiscard]] const model::engine& decisions() const override;
  [[nodiscard]] actors::engine_actor spawn(caf::actor_system& system) const override;
  void trust(const std::string& authorities) const override;
};

} // namespace matriarch::engines::postgresql
