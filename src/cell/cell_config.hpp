#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "cell/endpoints.hpp"
#include "config/etcd_section.hpp"
#include "tls/certificate.hpp"

/// What `matriarch cell` reads from its configuration file; conf/cell.yml shows every key.
namespace matriarch::cell {

/// PostgreSQL's own settings by name, as text.
using postgresql_parameters = std::map<std::string, std::string>;

struct patroni_settings {
  std::string executable;
  /// Seconds, with Patroni's meanings and bounds.
  std::int64_t ttl = 30;
  std::int64_t loop_wait = 10;
  std::int64_t retry_timeout = 10;
  std::int64_t master_start_timeout = 300;
  /// Bytes of WAL.
  std::int64_t maximum_lag_on_failover = 1'048'576;
  bool failsafe_mode = true;
};

/// The certificate that all nodes of a cell show to PostgreSQL's clients, as PEM files of the
/// operator's. Empty: each node makes one for itself.
struct node_tls_settings {
  std::string certificate;
  std::string key;
  std::string authority; ///< who may sign certificates of clients; empty: none are asked for
};

struct postgresql_settings {
  std::string bin_dir;
  postgresql_parameters parameters;
  node_tls_settings tls = {};
  bool require_tls = false; ///< whether connections without TLS are refused
};

struct cell_config {
  std::string guid;
  std::string availability_zone;
  std::string bind_host;
  std::uint16_t port = 0;
  /// Under which the broker reaches this cell.
  std::string uri;
  /// An operator's certificate for the cell's own HTTP, with its key; empty: the fleet's authority
  /// signs one.
  tls::key_pair tls;
  bool plain_http = false; ///< is taken as well, whatever brokers say
  std::string username;
  std::string password;
  std::string data_dir;
  std::size_t capacity = 0;
  endpoint_pool endpoints;
  /// The user that nodes run as. PostgreSQL refuses to run as root.
  std::string run_as;
  config::etcd_settings etcd;
  patroni_settings patroni;
  postgresql_settings postgresql;
  /// What a plan changes in PostgreSQL's parameters, by plan id.
  std::map<std::string, postgresql_parameters> plans;

  /// The parameters of a plan's nodes.
  [[nodiscard]] postgresql_parameters parameters_of(std::string_view plan_id) const;
};

/// A configuration, and what is allowed in it but likely to hurt.
struct loaded_cell_config {
  cell_config config;
  std::vector<std::string> warnings;
};

/// Reads a configuration from its text. `path` is only named in messages.
[[nodiscard]] result<loaded_cell_config> parse_cell_config(const std::string& path,
                                                           const std::string& text);

/// Reads a file. The failure is one line that names the file, the line and what is allowed.
[[nodiscard]] result<loaded_cell_config> load_cell_config(const std::string& path);

} // namespace matriarch::cell
