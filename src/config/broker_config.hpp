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

/// The credentials of a user: a username and a password (basic authentication), or a token
/// (`Authorization: Bearer …`). The other fields are empty.
struct login {
  std::string username;
  std::string password;
  std::string token;
  bool operator==(const login&) const = default;
};

/// The section `broker:`: the broker's address, users and strictness.
struct broker_settings {
  /// The address that the HTTP server listens on.
  std::string bind_host = "127.0.0.1";
  /// 1 to 65535; the seeds' examples use 3000.
  std::uint16_t port = 3000;
  /// The users of `/v2`; at least one, the first being `broker.username`.
  std::vector<login> users;
  /// The users of `/admin`, who alone may call it. Empty: `users` may call both.
  std::vector<login> admins;
  /// Keeps to the Open Service Broker API 2.17; if false, the seeds' short `curl` lines also work.
  bool strict = true;
  /// The host in binding credentials, where clients reach the routers. By default `bind_host`.
  std::string advertise_host;
  /// Threads that serve HTTP, 1 to 64.
  int threads = 1;
  /// The proxies whose X-Forwarded-For the audit trail trusts. Not set: the fleet's own routers.
  std::optional<std::vector<model::ip_range>> trusted_proxies;
};

/// An entry of `cells:`.
struct cell_settings {
  std::string guid;
  std::string availability_zone;
  /// `https://host:port`, or `http://` for a cell without TLS; without a final slash.
  std::string uri;
  /// The PEM certificates of the authorities that may sign the cell's; empty: the fleet's
  /// authority.
  std::string authority;
  std::string username;
  std::string password;
};

/// The section `routing:`: the public ports of the instances.
struct routing_settings {
  std::uint16_t first = 30000;
  std::uint16_t last = 32767;
  /// How long the port of a removed instance rests before another instance may get it, in
  /// milliseconds.
  std::int64_t rest_milliseconds = 7LL * 24 * 60 * 60 * 1000;
  /// Whether operations on routes succeed only when the routers serve them.
  bool wait_for_routers = true;
};

/// The section `secrets:`: the encryption of secrets in etcd.
struct secrets_settings {
  std::string key_file; ///< empty: secrets are not encrypted
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
  /// The section `authority:`: signs the databases' certificates; empty: the fleet makes its own.
  tls::authorities authority;
  model::repair_settings repair;
  /// The file of the audit trail; empty: the log.
  std::string audit_file;
  model::catalog catalog;
  /// Values that are allowed but likely to cause trouble, one line each; the caller logs them.
  std::vector<std::string> warnings;
};

/// Parses a configuration. `path` is only used in messages. `local_port_range` is the content of
/// /proc/sys/net/ipv4/ip_local_port_range, or empty if unknown: an outgoing connection can take a
/// public port in this range just before the router binds it. `engines`: the engines that plans may
/// name. A failure is one line, `path:line: what is wrong and what is allowed`.
[[nodiscard]] result<broker_config> parse_broker_config(const std::string& path,
                                                        const std::string& text,
                                                        std::string_view local_port_range,
                                                        const model::engine_list& engines);

/// Reads the configuration in the file `path`, and this machine's range of local ports.
[[nodiscard]] result<broker_config> load_broker_config(const std::string& path,
                                                       const model::engine_list& engines);

} // namespace matriarch::config
