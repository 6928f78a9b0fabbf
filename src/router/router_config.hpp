#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/etcd_section.hpp"
#include "model/result.hpp"

/// What `matriarch router` reads from its configuration file; conf/router.yml shows every key.
namespace matriarch::router {

/// The broker behind this router, if it is to be reached through it.
struct broker_front {
  std::uint16_t listen = 0;
  /// `host:port` of each broker.
  std::vector<std::string> servers;
  /// PEM files, if the port shall speak TLS; the key may be in the certificate's file.
  std::string tls_certificate;
  std::string tls_key;

  [[nodiscard]] bool has_tls() const { return !tls_certificate.empty(); }
};

struct router_config {
  /// The address on which the public ports are opened.
  std::string bind_host = "127.0.0.1";
  std::string data_dir;
  std::string haproxy = "/usr/sbin/haproxy";
  /// Connections at a time, over all ports.
  int maxconn = 4'000;
  /// Connections at a time on one instance's port, or more if its plan's max_connections asks for
  /// more. Five times PostgreSQL's default of 100; eight ports take all there are.
  int max_connections_per_port = 500;
  std::chrono::milliseconds check_interval{500};
  /// How long connections of before a reload may go on.
  std::chrono::milliseconds hard_stop_after{std::chrono::hours{1}};
  /// How many reloads a connection may live through: one more ends the oldest worker.
  int max_old_workers = 50;
  /// How long open connections may go on once the router is told to end.
  std::chrono::milliseconds stop_grace{std::chrono::seconds{5}};
  std::string status_host = "127.0.0.1";
  std::uint16_t status_port = 0;
  std::optional<broker_front> broker;
  config::etcd_settings etcd;
  /// What is allowed but likely to hurt, one line each; the caller logs them.
  std::vector<std::string> warnings;
};

/// Reads a configuration from its text. `path` is only named in messages.
[[nodiscard]] result<router_config> parse_router_config(const std::string& path,
                                                        const std::string& text);

/// Reads a file. The failure is one line that names the file, the line and what is allowed.
[[nodiscard]] result<router_config> load_router_config(const std::string& path);

} // namespace matriarch::router
