#pragma once

#include <cstddef>
#include <string>

#include "cell/node_record.hpp"

/// What a broker tells of a new node of PostgreSQL's.
namespace matriarch::engines::postgresql {

/// Bytes of PATRONI_DYNAMIC_CONFIG: hundreds of parameters, and far below what etcd takes as one
/// value (1.5 MB).
inline constexpr std::size_t longest_dynamic_configuration = 64 * 1024;

/// What a node is asked for with.
struct asked_node {
  cell::role admin;       ///< makes databases and roles: CREATEROLE, CREATEDB
  cell::role superuser;   ///< Patroni's own
  cell::role app_user;    ///< owns the database `db`
  cell::role replication; ///< of the replicas
  cell::role patroni;     ///< what Patroni's REST API demands for anything but reading
  /// Patroni's dynamic configuration for a new cluster, over the cell's own: a JSON object's text,
  /// or empty. Patroni reads it once, when the cluster is made.
  std::string dynamic_configuration = {};
};
[[nodiscard]] asked_node asked_of(const cell::node_request& request);

/// What of that there has to be, and may be.
[[nodiscard]] const cell::request_rules& rules_of_requests();

} // namespace matriarch::engines::postgresql
