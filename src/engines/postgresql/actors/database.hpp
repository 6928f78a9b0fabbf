#pragma once

#include <string>

#include "actors/engine.hpp"

namespace matriarch::engines::postgresql {

/// Asks a node's PostgreSQL which settings it has applied.
struct sql_settings_question {
  std::string instance;
  std::string conn_url; ///< the node's member::login_url
  model::credentials superuser;
};
struct sql_settings {
  bool ok = false;
  std::string digest = {}; ///< the value of model::settings_mark, or empty
  std::string why = {};
  /// Every parameter that PostgreSQL marks as waiting for a restart has its configured value
  /// already.
  bool marked_in_vain = false;
};

/// The questions and orders for PostgreSQL itself, as opposed to Patroni.
using sql_actor =
    caf::typed_actor<caf::replies_to<actors::lag_question>::with<actors::lag_answer>,
                     caf::replies_to<actors::role_order>::with<actors::role_answer>,
                     caf::replies_to<actors::role_removal>::with<actors::role_removal_answer>,
                     caf::replies_to<actors::rights_order>::with<actors::rights_answer>,
                     caf::replies_to<actors::flush_order>::with<actors::flush_answer>,
                     caf::replies_to<sql_settings_question>::with<sql_settings>>;

/// PostgreSQL through libpq, on separate threads, because libpq resolves names and shakes hands
/// blockingly. Always answers; no instance holds up another one.
[[nodiscard]] sql_actor spawn_database(caf::actor_system& system);

/// PostgreSQL with Patroni, as instances' actors see it.
class engine final : public actors::engine {
public:
  [[nodiscard]] const model::engine& decisions() const override;
  [[nodiscard]] actors::engine_actor spawn(caf::actor_system& system,
                                           const actors::engine_surroundings& with) const override;
  void trust(const std::string& authorities) const override;
};

} // namespace matriarch::engines::postgresql

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::engines::postgresql::sql_settings_question)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::engines::postgresql::sql_settings)
