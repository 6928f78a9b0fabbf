#pragma once

#include <map>
#include <optional>
#include <string>

#include "model/shared_map.hpp"

/// What a plan makes of a cluster, and how one cluster's settings become another's.
namespace matriarch::model {

/// Whose PostgreSQL role an application gets from a binding.
enum class credentials_mode {
  per_binding, ///< a role of its own, which ends with the binding
  shared,      ///< the instance's application user, as in the seeds
};

/// Whether the leader waits for a replica before it acknowledges a commit (Patroni's
/// synchronous_mode).
enum class synchronous_mode {
  off,
  on,     ///< it waits while there is a replica; alone it acknowledges by itself
  strict, ///< it refuses writes while there is none
};

/// The settings of a cluster, a copy of its plan's as of when they were asked for: a catalog may
/// change while the instances of a plan live on.
struct cluster_settings {
  /// PostgreSQL's parameters by name: shared_buffers, max_connections, temp_file_limit, …
  shared_map<std::string, std::string> parameters;
  synchronous_mode synchronous = synchronous_mode::off;
  /// Patroni's ttl in seconds, from which loop_wait and retry_timeout follow; 0 leaves all three
  /// to the cells' own configuration.
  int ttl = 0;
  /// What kind of node the cells make of it (memory and disk of a container, for instance). Only a
  /// new node can be of another type: a change replaces the nodes.
  std::string node_type;
  credentials_mode credentials = credentials_mode::per_binding;
  /// How many connections the role of one binding may have open; -1 is no limit of its own.
  int connection_limit = -1;
  bool operator==(const cluster_settings&) const = default;
};

/// Parameters of PostgreSQL that every cluster has unless its plan has others.
[[nodiscard]] const std::map<std::string, std::string>& default_parameters();

/// The PostgreSQL parameter in which a cluster carries the digest of its settings: a node that
/// shows it has read them.
inline constexpr const char* settings_mark = "matriarch.settings";

/// How many walsenders a node needs that has so many connections for others, PostgreSQL's default of
/// 100 unless the settings say more. Whoever reaches its public port takes one by asking for
/// replication, before PostgreSQL looks who that is, and inside TLS no router sees it: so there are
/// more than all of them may take, and those of the replicas beside.
[[nodiscard]] int wal_senders_beside(int max_connections);

/// Sees to it that there are as many in a plan's parameters.
void make_room_for_replicas(shared_map<std::string, std::string>& parameters);

/// Whether Patroni has to be told of the difference: parameters, synchronous mode or ttl.
[[nodiscard]] bool same_configuration(const cluster_settings& a, const cluster_settings& b);

/// Patroni's dynamic configuration for a new cluster of these settings, as the text of a JSON
/// object, with the settings' digest as `matriarch.settings`.
[[nodiscard]] std::string dynamic_configuration(const cluster_settings& wanted);

/// The change of Patroni's dynamic configuration from one to another: a merge patch as JSON text,
/// in which null removes what `from` had set and `to` does not.
[[nodiscard]] std::string configuration_patch(const cluster_settings& from,
                                              const cluster_settings& to);

/// 16 hexadecimal digits that differ where the dynamic configuration does.
[[nodiscard]] std::string digest_of(const cluster_settings& settings);

/// In which order nodes may take up a change that needs a restart. A standby refuses to run if some
/// parameters (max_connections among them) are lower than its primary's.
enum class restart_order {
  replicas_first, ///< something of these is raised, or nothing changes in them
  leader_first,   ///< something of these is lowered
};
[[nodiscard]] restart_order order_of(const cluster_settings& from, const cluster_settings& to);

/// What nodes may have of which some have taken up `newer` and some have not: the parameters of both,
/// and of those that a standby must have as high as its primary the greater value.
[[nodiscard]] cluster_settings mixture_of(const cluster_settings& older,
                                          const cluster_settings& newer);

/// The settings to go to next on the way: `to` itself, or, where some of the parameters above are
/// raised and others lowered, the settings that have the greater value of each.
[[nodiscard]] cluster_settings next_settings(const cluster_settings& from,
                                             const cluster_settings& to);

} // namespace matriarch::model
