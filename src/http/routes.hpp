#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "http/access.hpp"
#include "http/audit.hpp"
#include "http/server.hpp"
#include "model/catalog.hpp"
#include "model/ip_range.hpp"
#include "model/observation.hpp"
#include "model/orphans.hpp"
#include "model/requests.hpp"
#include "model/routes.hpp"

namespace matriarch::http {

/// How the broker is, for `/healthz`.
struct broker_health {
  bool etcd_reachable = false;
  bool active = false;
  bool loaded = false;
  bool etcd_refuses_writes = false;
  /// Since etcd last answered: answers are as of then. None if it never has.
  std::optional<std::chrono::seconds> etcd_age = {};
  /// Why nothing is repaired although cells seem lost; empty if that is not so.
  std::string repair_halted = {};
  std::string must_not_act = {}; ///< why; empty if it may
  /// How many instances have nodes that are not well, and the ids of some of them.
  std::size_t unwell_instances = 0;
  std::vector<std::string> some_unwell = {};
};

/// What the routes need of the rest of the broker. Reads answer at once; those that take a function
/// answer later, once, on any thread.
struct backend {
  std::function<model::snapshot_ptr(const std::string& name)> find;
  std::function<std::vector<model::snapshot_ptr>()> all;
  std::function<model::cell_table()> cells;
  std::function<broker_health()> health;
  /// The certificates of who may have signed what clients of databases are shown, as PEM; empty
  /// while that is not known. Bindings have none if it is not set.
  std::function<std::string()> authority;
  std::function<model::router_table()> routers;
  std::function<void(model::request, std::chrono::milliseconds patience,
                     std::function<void(model::verdict)>)>
      ask;
  std::function<void(model::demote_request, std::function<void(model::demote_report)>)> demote;
  std::function<std::shared_ptr<const std::vector<model::orphan>>()> orphans;
  std::function<void(model::forget_request, std::function<void(model::forget_report)>)> forget;
  std::function<void(model::orphan_removal, std::function<void(model::verdict)>)> remove_orphan;
  /// Has the secrets of all instances written anew.
  std::function<void(std::function<void(model::reencryption_report)>)> reencrypt_all;
};

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
};

/// The broker's API: the Open Service Broker routes under `/v2`, the operator's under `/admin`, and
/// `/healthz`. Its doorkeeper lets strangers reach `/healthz` only.
[[nodiscard]] service make_routes(route_settings settings, backend behind);

} // namespace matriarch::http
