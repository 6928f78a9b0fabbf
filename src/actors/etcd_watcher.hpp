#pragma once

#include <memory>

#include "actors/environment.hpp"
#include "actors/gateway.hpp"
#include "actors/interfaces.hpp"

namespace matriarch::actors {

/// Who hears of changes in etcd.
struct watcher_setup {
  instance_directory_actor directory;
  port_registry_actor ports;
  cell_directory_actor cells;
  router_directory_actor routers;
  leadership_actor leadership;
  gateway* edge;                         ///< lives longer than the watcher
  authority_keeper_actor authority = {}; ///< if there is one
};

/// The etcd watcher: one watch over everything this program reads, turned into messages for those
/// it concerns. It is the follower's thread that speaks; nobody asks it anything, so it has no
/// mailbox. Ends with the returned handle.
[[nodiscard]] std::unique_ptr<store::follower> start_etcd_watcher(store::etcd_client& etcd,
                                                                  watcher_setup tell);

} // namespace matriarch::actors
