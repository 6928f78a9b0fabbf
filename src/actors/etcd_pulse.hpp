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

/// Checks etcd every few seconds. Reads `/matriarch/active`, so that the age of this broker's copy
/// of etcd is known. While this broker holds that key, also writes `/matriarch/heartbeat`: an etcd
/// that is out of space answers every question but refuses writes.
[[nodiscard]] etcd_pulse_actor spawn_etcd_pulse(caf::actor_system& system, pulse_setup setup);

} // namespace matriarch::actors
