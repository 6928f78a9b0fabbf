#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "model/record.hpp"
#include "router/routing_table.hpp"

namespace matriarch::router {

/// The router's state, for its `/healthz`.
struct router_status {
  std::string id;
  bool has_haproxy = false;
  std::string silent = {}; ///< why HAProxy takes no connections though it runs; else empty
  std::string error = {};  ///< of the last attempt to bring HAProxy up to date
  bool etcd_reachable = false;
  /// Until when etcd reported every change, if it cannot be reached now.
  std::optional<model::wall_time> routes_as_of = {};
  std::int64_t routes = 0; ///< served routes to leaders
  std::int64_t read_only_routes = 0;
  std::set<left_out> unserved = {};
  std::vector<int> unbound = {}; ///< ports that HAProxy does not have
  std::int64_t serves = 0;       ///< etcd's revision
  int routers = 0;
  std::int64_t reloads = 0;
  int old_workers = 0;
};

/// The HTTP status, 503 while no connections are taken, and the body.
[[nodiscard]] std::pair<int, std::string> page_of(const router_status& now);

} // namespace matriarch::router
