#pragma once

#include <functional>
#include <memory>
#include <string>

#include "actors/environment.hpp"
#include "actors/interfaces.hpp"
#include "store/keyring.hpp"

namespace matriarch::actors {

/// What the authority keeper works with.
struct authority_setup {
  store_actor store;
  environment outside;
  std::string active_value; ///< of `/matriarch/active` while this broker acts
  std::shared_ptr<const store::keyring> keys = std::make_shared<const store::keyring>();
  published* out = nullptr;
  /// Those that an operator configured, if any: then none is read or made.
  tls::authorities operators = {};
  /// Told who has to have signed the nodes' certificates, PEM, whenever that changes.
  std::function<void(const std::string&)> trust = [](const std::string&) {};
};

/// Reads the fleet's authorities from etcd and publishes them. While this broker acts it makes the
/// first one and each successor when its time has come, and has them sealed with the newest key. It
/// also writes their certificates where routers read them.
[[nodiscard]] authority_keeper_actor spawn_authority_keeper(caf::actor_system& system,
                                                            authority_setup setup);

} // namespace matriarch::actors
