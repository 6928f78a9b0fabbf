#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "config/etcd_section.hpp"
#include "router/engine_check.hpp"
#include "router/limits.hpp"

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
  /// This router's name, unique in the fleet. Empty: the machine's name and the status port.
  std::string id;
  /// The address on which the public ports are opened.
  std::string bind_host = "127.0.0.1";
  std::string data_dir;
  std::string haproxy = "/usr/sbin/haproxy";
  /// The public ports, as the broker's `routing` has them.
  std::uint16_t first_port = 30'000;
  std::uint16_t last_port = 32'767;
  /// How many servers fit into a port without a reload. An instance of three nodes has six while it
  /// moves to other machines.
  int slots = 6;
  /// Connections at a time, over all ports.
  int maxconn = 4'000;
  limit_settings limits;
  std::chrono::milliseconds check_interval{500};
  /// How long open connections may go on after SIGTERM.
  std::chrono::milliseconds stop_grace{std::chrono::seconds{5}};
  std::string status_host = "127.0.0.1";
  std::uint16_t status_port = 0;
  std::optional<broker_front> broker;
  config::etcd_settings etcd;
  /// Not from the file: the engines that instances may run. It must outlive everything that reads
  /// this.
  const engine_checks* engines = nullptr;
  /// Settings that are allowed but likely to hurt, one line each; the caller logs them.
  std::vector<std::string> warnings;
};

/// Reads a configuration from its text. `path` is used only in messages.
[[nodiscard]] result<router_config> parse_router_config(const std::string& path,
                                                        const std::string& text);

/// Reads a file. The failure is one line that names the file, the line and what is allowed.
[[nodiscard]] result<router_config> load_router_config(const std::string& path);

} // namespace matriarch::router
