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
  /// The credentials for `/v2`.
  credential_set platform;
  /// The credentials for `/admin`; if empty, the platform's are accepted there.
  credential_set admin;
  /// The Open Service Broker API 2.17 to the letter. If false, the original broker's examples work
  /// too: no version header, no organisation or space, `accepts_incomplete` in the body, and a
  /// synchronous answer without it.
  bool strict = true;
  /// The host of the routers, for credentials.
  std::string advertise_host;
  /// Hosts that no answer under `/v2` may name, besides the cells': etcd's.
  std::vector<std::string> internal_hosts;
  /// The sink of the audit trail; without one there is no trail.
  audit_sink audit;
  /// The proxies whose X-Forwarded-For the trail believes. Not set: the fleet's own routers.
  std::optional<std::vector<model::ip_range>> trusted_proxies = {};
  /// The name of this machine, to recognise routers at its own addresses.
  std::string machine = {};
  /// The engines that instances may run; they outlive the service.
  const model::engine_list* engines = nullptr;
};

/// The broker's API: the Open Service Broker routes under `/v2`, the operator's under `/admin`, and
/// `/healthz`. Its doorkeeper lets strangers reach `/healthz` only. The desk must outlive the
/// service and all answers that are still due.
[[nodiscard]] service make_routes(route_settings settings, front_desk& desk);

} // namespace matriarch::http
