#pragma once

#include "actors/engine.hpp"
#include "actors/environment.hpp"
#include "actors/interfaces.hpp"
#include "model/event.hpp"
#include "store/keyring.hpp"

namespace matriarch::actors {

/// What an instance's actor works with.
struct instance_setup {
  store_actor store;
  engines_in_use engines;
  port_registry_actor ports;
  cell_directory_actor cells;
  router_directory_actor routers;
  environment outside;
  published* out = nullptr;
  std::string active_value; ///< of `/matriarch/active` while this broker acts
  std::shared_ptr<const store::keyring> keys = std::make_shared<const store::keyring>();
  /// Whether each scope gets a user of etcd, because etcd asks for users.
  bool etcd_users = false;
  /// Gets the instances' events.
  model::event_sink tell = [](const model::event&) {};
};
/// Shared by all instances.
using instance_setup_ptr = std::shared_ptr<const instance_setup>;

/// The actor of one service instance: the only writer of its record.
///
/// A request changes the desired state. After every event - an answer, a change in etcd, a tick -
/// the actor calls model::decide(), writes the record that it returns, and only then performs the
/// steps that the written record allows. It publishes a snapshot at each change.
[[nodiscard]] service_instance_actor spawn_service_instance(caf::actor_system& system,
                                                            instance_setup_ptr setup,
                                                            instance_start start, activity now);

} // namespace matriarch::actors
