#pragma once

#include <cstddef>
#include <string>

#include "cell/node_record.hpp"

/// What a broker sends for a new PostgreSQL node.
namespace matriarch::engines::postgresql {

/// Bytes of PATRONI_DYNAMIC_CONFIG: hundreds of parameters, and far below what etcd takes as one
/// value (1.5 MB).
inline constexpr std::size_t longest_dynamic_configuration = 64 * 1024;

/// The parameters of a requested node.
struct asked_node {
  cell::role admin;       ///< may create databases and roles: CREATEROLE, CREATEDB
  cell::role superuser;   ///< Patroni's own
  cell::role app_user;    ///< owns the database `db`
  cell::role replication; ///< for the replicas
  cell::role patroni;     ///< for Patroni's REST API, for anything but reading
  /// Patroni's dynamic configuration for a new cluster, over the cell's own: the text of a JSON
  /// object, or empty. Patroni reads it once, when the cluster is created.
  std::string dynamic_configuration = {};
};
[[nodiscard]] asked_node asked_of(const cell::node_request& request);

/// The required and optional parameters.
[[nodiscard]] const cell::request_rules& rules_of_requests();

} // namespace matriarch::engines::postgresql
