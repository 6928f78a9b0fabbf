#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "config/etcd_section.hpp"
#include "model/catalog.hpp"
#include "model/engine.hpp"
#include "model/ip_range.hpp"
#include "model/repair.hpp"
#include "tls/authorities.hpp"

namespace matriarch::config {

/// Somebody who may log in: by a username and a password (basic authentication), or by a token
/// (`Authorization: Bearer …`); the other fields are empty.
struct login {
  std::string username;
  std::string password;
  std::string token;
  bool operator==(const login&) const = default;
};

/// `broker:`, how this broker is reached and how strict it is.
struct broker_settings {
  /// The address that the HTTP server listens on.
  std::string bind_host = "127.0.0.1";
  /// 1 to 65535; the seeds' examples use 3000.
  std::uint16_t port = 3000;
  /// Who may call `/v2`; at least one, the first being `broker.username`.
  std::vector<login> users;
  /// Who may call `/admin`, and nobody else then; none if `users` may do both.
  std::vector<login> admins;
  /// The Open Service Broker API 2.17 to the letter; without it the seeds' short `curl` lines work.
  bool strict = true;
  /// The host in binding credentials: where the routers are reached. By default `bind_host`.
  std::string advertise_host;
  /// Threads that serve HTTP, 1 to 64.
  int threads = 1;
  /// Whose X-Forwarded-For the audit trail believes. Not set: the fleet's own routers'.
  std::optional<std::vector<model::ip_range>> trusted_proxies;
};

/// One of `cells:`.
struct cell_settings {
  std::string guid;
  std::string availability_zone;
  /// `https://host:port`, or `http://` for one that speaks no TLS; without a slash at its end.
  std::string uri;
  /// The certificates, as PEM, of who may have signed the cell's; empty: the fleet's authority.
  std::string authority;
  std::string username;
  std::string password;
};

/// `routing:`, the public ports of the instances.
struct routing_settings {
  std::uint16_t first = 30000;
  std::uint16_t last = 32767;
  /// How long the port of a removed instance rests before another may have it, in milliseconds.
  std::int64_t rest_milliseconds = 7LL * 24 * 60 * 60 * 1000;
  /// Whether nothing that clients connect to is called done before the routers serve it.
  bool wait_for_routers = true;
};

/// `secrets:`, how the secrets within etcd are sealed.
struct secrets_settings {
  std::string key_file; ///< empty: they are written as they are
  std::string keys;     ///< the text of that file, for store::keyring::parse()
};

/// The configuration of `matriarch broker`.
struct broker_config {
  broker_settings broker;
  /// At least one; no two have the same guid or URI.
  std::vector<cell_settings> cells;
  etcd_settings etcd;
  routing_settings routing;
  secrets_settings secrets;
  /// `authority:`, who signs the databases' certificates; none: the fleet makes its own.
  tls::authorities authority;
  model::repair_settings repair;
  /// Where the lines of the audit trail go; empty: to the log.
  std::string audit_file;
  model::catalog catalog;
  /// What is allowed but likely to hurt, one line each; the caller logs them.
  std::vector<std::string> warnings;
};

/// Reads a configuration from its text. `path` is only named in messages. `local_port_range` is the
/// content of /proc/sys/net/ipv4/ip_local_port_range, or empty where it is not known: a public port
/// within it can be taken by any outgoing connection just when the router wants to bind it.
/// `engines`: those that plans may name. A failure is one line, `path:line: what is wrong and what is allowed`.
[[nodiscard]] result<broker_config> parse_broker_config(const std::string& path,
                                                        const std::string& text,
                                                        std::string_view local_port_range,
                                                        const model::engine_list& engines);

/// Reads the configuration in the file `path`, and this machine's range of local ports.
[[nodiscard]] result<broker_config> load_broker_config(const std::string& path,
                                                       const model::engine_list& engines);

} // namespace matriarch::config
