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
#include "store/etcd.hpp"
#include "store/keyring.hpp"
#include "store/record_json.hpp"
#include "tls/authorities.hpp"

namespace matriarch::actors {

/// What a broker's actors work with. The pointers live longer than they.
struct singleton_setup {
  base::event_loop* loop = nullptr;
  store::etcd_client* etcd = nullptr;
  /// What reads etcd's changes and listings; beside `loop`, since a long listing would hold it up.
  base::event_loop* watching_loop = nullptr;
  store::etcd_client* watched_etcd = nullptr; ///< on that loop
  published* out = nullptr;
  environment outside;
  store::active_broker self; ///< as it stands in etcd while this broker acts
  std::shared_ptr<const store::keyring> keys = std::make_shared<const store::keyring>();
  std::vector<cell_settings> cells;
  plans_to_judge plans;
  std::vector<const engine*> engines; ///< at least one; they live longer than the actors
  model::port_range ports;
  bool wait_for_routers = true;
  model::repair_settings repair = {};
  std::string public_host = {};              ///< what applications call the routers
  tls::authorities operators_authority = {}; ///< that sign for the fleet; empty: its own, of etcd
  bool etcd_users = false;
  model::event_sink tell = [](const model::event&) {}; ///< hears what happens to the instances
};

/// The actors of which a broker has one each: without any of them it would answer and do nothing. So
/// the end of one is the end of them all, and the process's: another start is the way back.
///
/// Each is watched from the moment it is there. Actors of which there are many are watched by those
/// that own them, who start them anew or end with them.
class singletons {
public:
  /// `died` hears which of them has ended by itself, and why; once for each, on any thread.
  singletons(caf::actor_system& system, singleton_setup setup,
             std::function<void(std::string why)> died);
  /// Ends them all.
  ~singletons();
  singletons(const singletons&) = delete;
  singletons& operator=(const singletons&) = delete;

  /// From here on this broker may act, and hears of changes in etcd. The others only wait and answer
  /// until then.
  void begin();
  /// Gives up what this broker holds in etcd. Blocks, for `patience` at most.
  void resign(caf::timespan patience);
  /// Nothing more is heard of etcd.
  void stop_watching();

  [[nodiscard]] gateway& edge() { return *gateway_; }
  /// All of them that there are by now, by what they are called in the log.
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
