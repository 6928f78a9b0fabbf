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
  /// The operator's own authorities, if configured: then the keeper reads and makes none.
  tls::authorities operators = {};
  /// Called with the authorities (PEM) that may sign nodes' certificates, at each change.
  std::function<void(const std::string&)> trust = [](const std::string&) {};
};

/// Reads the fleet's authorities from etcd and publishes them. While this broker is active, the
/// keeper makes the first authority and each successor when it is due, has them sealed with the
/// newest key, and writes their certificates to the key that routers read.
[[nodiscard]] authority_keeper_actor spawn_authority_keeper(caf::actor_system& system,
                                                            authority_setup setup);

} // namespace matriarch::actors
