#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "model/node_limits.hpp"
#include "model/rare.hpp"
#include "model/shared_map.hpp"

/// What a plan makes of a cluster, and how one cluster's settings become another's.
namespace matriarch::model {

/// Whose user an application gets from a binding.
enum class credentials_mode {
  per_binding, ///< a role of its own, which ends with the binding
  shared,      ///< the instance's application user, as in the seeds
};

/// Whether the leader waits for a replica before it acknowledges a commit.
enum class synchronous_mode {
  off,
  on,     ///< it waits while there is a replica; alone it acknowledges by itself
  strict, ///< it refuses writes while there is none
};

/// The settings of a cluster, a copy of its plan's as of when they were asked for: a catalog may
/// change while the instances of a plan live on.
struct cluster_settings {
  /// The engine's parameters by name, in its own words.
  shared_map<std::string, std::string> parameters;
  synchronous_mode synchronous = synchronous_mode::off;
  /// After how many seconds without a word another node takes over from the leader; 0 leaves that to
  /// the cells' own configuration.
  int ttl = 0;
  /// What kind of node the cells make of it (memory and disk of a container, for instance). Only a
  /// new node can be of another type: a change replaces the nodes.
  std::string node_type;
  /// What each node may take of its machine; like the type of nodes it is a new node's alone.
  rare_value<node_limits> limits = {};
  credentials_mode credentials = credentials_mode::per_binding;
  /// How many connections the role of one binding may have open; -1 is no limit of its own.
  int connection_limit = -1;
  bool operator==(const cluster_settings&) const = default;
};

/// The parameter in which a cluster carries the digest of its settings: a node that shows it has read
/// them.
inline constexpr const char* settings_mark = "matriarch.settings";

/// Whether nodes that were made for one may stay as they are for the other.
[[nodiscard]] bool same_nodes(const cluster_settings& a, const cluster_settings& b);

/// Whether a cluster has to be told of the difference: parameters, synchronous mode or ttl.
[[nodiscard]] bool same_configuration(const cluster_settings& a, const cluster_settings& b);

/// 16 hexadecimal digits that differ where what a cluster has to be told does.
[[nodiscard]] std::string digest_of(const cluster_settings& settings);

/// In which order nodes may take up a change that needs a restart.
enum class restart_order {
  replicas_first,
  leader_first, ///< it lowers what replicas must have at least as high as their leader
};
} // namespace matriarch::model
