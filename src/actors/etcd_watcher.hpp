#pragma once

#include <memory>

#include "actors/environment.hpp"
#include "actors/gateway.hpp"
#include "actors/interfaces.hpp"

namespace matriarch::actors {

/// The receivers of changes in etcd.
struct watcher_setup {
  instance_directory_actor directory;
  port_registry_actor ports;
  cell_directory_actor cells;
  router_directory_actor routers;
  leadership_actor leadership;
  gateway* edge;                         ///< must outlive the watcher
  authority_keeper_actor authority = {}; ///< may be empty
};

/// The etcd watcher: one watch over all keys that this program reads, turned into messages to the
/// actors concerned. Runs on the follower's thread and has no mailbox, since nothing is asked of
/// it. Ends with the returned handle.
[[nodiscard]] std::unique_ptr<store::follower> start_etcd_watcher(store::etcd_client& etcd,
                                                                  watcher_setup tell);

} // namespace matriarch::actors
