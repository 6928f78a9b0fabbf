#pragma once

#include "actors/environment.hpp"
#include "actors/interfaces.hpp"

namespace matriarch::actors {

struct pulse_setup {
  store_actor store;
  std::string active_value; ///< of `/matriarch/active`, while this broker holds it
  environment outside;
  status_board* status;
};

/// Feels etcd's pulse: every few seconds it asks for `/matriarch/active`, so that one can say how
/// old a copy is, and if this broker holds that key it writes `/matriarch/heartbeat`: an etcd that
/// is out of space answers every question and takes nothing.
[[nodiscard]] etcd_pulse_actor spawn_etcd_pulse(caf::actor_system& system, pulse_setup setup);

} // namespace matriarch::actors
