#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "model/node_limits.hpp"
#include "model/rare.hpp"
#include "model/shared_map.hpp"

/// What a plan sets for a cluster, and how one cluster's settings are compared with another's.
namespace matriarch::model {

/// The kind of user that a binding gives an application.
enum class credentials_mode {
  per_binding, ///< a role of the binding's own, removed with the binding
  shared,      ///< the instance's application user, as in the seeds
};

/// Whether the leader waits for a replica before it acknowledges a commit.
enum class synchronous_mode {
  off,
  on,     ///< it waits while there is a replica; alone it acknowledges without one
  strict, ///< it refuses writes while there is no replica
};

/// The settings of a cluster, copied from its plan when they were asked for: the catalog may change
/// while the plan's instances live on.
struct cluster_settings {
  /// The engine's parameters by name, in the engine's own terms.
  shared_map<std::string, std::string> parameters;
  synchronous_mode synchronous = synchronous_mode::off;
  /// After how many seconds without a renewed leader key another node takes over; 0: as the cells'
  /// own configuration says.
  int ttl = 0;
  /// The type of node that the cells make (memory and disk of a container, for instance). Only a
  /// new node can have another type: a change replaces the nodes.
  std::string node_type;
  /// What each node may use of its machine; as with the node type, a change replaces the nodes.
  rare_value<node_limits> limits = {};
  credentials_mode credentials = credentials_mode::per_binding;
  /// How many connections the role of a binding may have open; -1: no limit of its own.
  int connection_limit = -1;
  bool operator==(const cluster_settings&) const = default;
};

/// The parameter that carries the digest of a cluster's settings: a node that shows the digest has
/// read these settings.
inline constexpr const char* settings_mark = "matriarch.settings";

/// Whether nodes made for one may stay as they are for the other.
[[nodiscard]] bool same_nodes(const cluster_settings& a, const cluster_settings& b);

/// Whether both have the same parameters, synchronous mode and ttl.
[[nodiscard]] bool same_configuration(const cluster_settings& a, const cluster_settings& b);

/// 16 hexadecimal digits, a hash of the parameters, synchronous mode and ttl.
[[nodiscard]] std::string digest_of(const cluster_settings& settings);

/// The order in which nodes restart for a change.
enum class restart_order {
  replicas_first,
  /// For parameters that must be at least as high on replicas as on the leader, when lowered.
  leader_first,
};
} // namespace matriarch::model
