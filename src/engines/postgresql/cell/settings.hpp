#pragma once

#include <cstdint>
#include <string>

#include "cell/cell_config.hpp"

/// The PostgreSQL and Patroni parts of a cell's configuration.
namespace matriarch::engines::postgresql {

struct patroni_settings {
  std::string executable;
  /// Seconds, with Patroni's meaning and bounds.
  std::int64_t ttl = 30;
  std::int64_t loop_wait = 10;
  std::int64_t retry_timeout = 10;
  std::int64_t master_start_timeout = 300;
  /// Bytes of WAL.
  std::int64_t maximum_lag_on_failover = 1'048'576;
  bool failsafe_mode = true;
};

/// The certificate that all nodes of a cell show to PostgreSQL's clients, in the operator's PEM
/// files. Empty: each node makes its own.
struct node_tls_settings {
  std::string certificate;
  std::string key;
  std::string authority; ///< signs clients' certificates; empty: clients need none
};

/// The sections `patroni` and `postgresql`.
struct node_settings final : cell::engine_settings {
  std::string bin_dir;
  patroni_settings patroni = {};
  node_tls_settings tls = {};
  bool require_tls = false; ///< whether connections without TLS are refused
};

[[nodiscard]] inline const node_settings& settings_of(const cell::cell_config& config) {
  return static_cast<const node_settings&>(*config.engine);
}

/// Reads these sections of the file.
[[nodiscard]] const cell::engine_sections& file_sections();

} // namespace matriarch::engines::postgresql
