#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "actors/cell_agent.hpp"
#include "actors/engine.hpp"
#include "actors/environment.hpp"
#include "actors/gateway.hpp"
#include "actors/interfaces.hpp"
#include "base/event_loop.hpp"
#include "model/event.hpp"
#include "model/ports.hpp"
#include "model/repair.hpp"
#include "store/active_json.hpp"
#include "store/etcd.hpp"
#include "store/keyring.hpp"
#include "tls/authorities.hpp"

namespace matriarch::actors {

/// What a broker's actors work with. The pointers must outlive the actors.
struct singleton_setup {
  base::event_loop* loop = nullptr;
  store::etcd_client* etcd = nullptr;
  /// Reads etcd's changes and listings. Separate from `loop`, which a long listing would hold up.
  base::event_loop* watching_loop = nullptr;
  store::etcd_client* watched_etcd = nullptr; ///< on that loop
  published* out = nullptr;
  environment outside;
  store::active_broker self; ///< this broker, as written to etcd while it is active
  std::shared_ptr<const store::keyring> keys = std::make_shared<const store::keyring>();
  std::vector<cell_settings> cells;
  plans_to_judge plans;
  std::vector<const engine*> engines; ///< at least one; they must outlive the actors
  model::port_range ports;
  bool wait_for_routers = true;
  model::repair_settings repair = {};
  std::string public_host = {}; ///< the host name of the routers as applications see it
  tls::authorities operators_authority =
      {}; ///< the operator's authorities for the fleet; empty: the fleet's own, from etcd
  bool etcd_users = false;
  model::event_sink tell = [](const model::event&) {}; ///< gets the instances' events
};

/// The actors of which a broker has one each. Without any of them the broker would answer but do
/// nothing. So if one of them ends, all of them and the process end, and the process has to be
/// restarted.
///
/// Each of these actors is watched from its start. Actors of which there are many are watched by
/// their owners, which restart them or end with them.
class singletons {
public:
  /// `died` is called when one of them has ended by itself, with the reason; once for each, on any
  /// thread.
  singletons(caf::actor_system& system, singleton_setup setup,
             std::function<void(std::string why)> died);
  /// Ends them all.
  ~singletons();
  singletons(const singletons&) = delete;
  singletons& operator=(const singletons&) = delete;

  /// From here on this broker may become active and gets changes in etcd. Until then the actors
  /// only wait and answer.
  void begin();
  /// Gives up what this broker holds in etcd. Blocks, for `patience` at most.
  void resign(caf::timespan patience);
  /// Ends the watch of etcd.
  void stop_watching();

  [[nodiscard]] gateway& edge() { return *gateway_; }
  /// All of these actors so far, by their names in the log.
  [[nodiscard]] const std::map<std::string, caf::actor>& all() const { return all_; }

private:
  template <class Handle>
  Handle watched(const std::string& name, Handle handle);
  void watch(const std::string& name, const caf::actor& one);

  caf::actor_system& system_;
  singleton_setup setup_;
  std::shared_ptr<const std::function<void(std::string)>> died_;
  std::map<std::string, caf::actor> all_;
  store_actor store_;
  http_actor http_;
  std::vector<engine_in_use> engines_;
  port_registry_actor ports_;
  router_directory_actor routers_;
  authority_keeper_actor authority_;
  cell_directory_actor cells_;
  instance_directory_actor directory_;
  std::unique_ptr<gateway> gateway_;
  leadership_actor leadership_;
  etcd_pulse_actor pulse_;
  std::unique_ptr<store::follower> watcher_;
};

} // namespace matriarch::actors
