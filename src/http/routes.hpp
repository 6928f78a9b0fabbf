#pragma once

#include <optional>
#include <string>
#include <vector>

#include "http/access.hpp"
#include "http/audit.hpp"
#include "http/front_desk.hpp"
#include "http/server.hpp"
#include "model/catalog.hpp"
#include "model/engine.hpp"
#include "model/ip_range.hpp"

namespace matriarch::http {

struct route_settings {
  model::catalog catalog;
  /// Who may use `/v2`.
  credential_set platform;
  /// Who may use `/admin`; if it is empty, the platform's may.
  credential_set admin;
  /// The Open Service Broker API 2.17 to the letter. Otherwise, as in the seeds' examples: no
  /// version header, no organisation or space, `accepts_incomplete` in the body, and without it a
  /// synchronous answer.
  bool strict = true;
  /// Where the routers are reached: the host in credentials.
  std::string advertise_host;
  /// Hosts of which no answer under `/v2` speaks, besides the cells': etcd's.
  std::vector<std::string> internal_hosts;
  /// Where the audit trail goes; none is kept if it is not set.
  audit_sink audit;
  /// Whose X-Forwarded-For the trail believes. Not set: the fleet's own routers'.
  std::optional<std::vector<model::ip_range>> trusted_proxies = {};
  /// The name of this machine, on whose own addresses such a router may be.
  std::string machine = {};
  /// Those that instances may run; they live longer than the service.
  const model::engine_list* engines = nullptr;
};

/// The broker's API: the Open Service Broker routes under `/v2`, the operator's under `/admin`, and
/// `/healthz`. Its doorkeeper lets strangers reach `/healthz` only. The desk has to outlive the
/// service, and the answers that it owes.
[[nodiscard]] service make_routes(route_settings settings, front_desk& desk);

} // namespace matriarch::http
