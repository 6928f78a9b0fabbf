#pragma once

#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "model/placement.hpp"

/// The steps that can be taken for an instance, named as operators see them. Each may be repeated.
namespace matriarch::model {

// -- for one of its clusters ----------------------------------------------------------------------

/// Choose cells and write down new nodes on them.
struct add_nodes {
  placement_request where;
};
/// Ask a cell to start a node that is written down.
struct start_node {
  std::string node_id;
};
/// Ask a cell to remove a node that is written down as `removing`.
struct remove_node {
  std::string node_id;
};
/// Ask the leader which replicas stream, and how far they are behind.
struct ask_lag {};
/// Make `to` the leader in place of `from`.
struct failover_from {
  std::string from;
  std::string to;
};
/// Tell the cluster its new settings.
struct configure {
  std::string patch;  ///< model::engine::settings_change()
  std::string digest; ///< of the settings that the patch leads to
};
/// Ask these nodes which settings they have taken up.
struct ask_settings {
  std::vector<std::string> node_ids;
};
/// Restart a node's database, or start it if it has ended.
struct restart_node {
  std::string node_id;
  /// The database has ended and is to start. Otherwise it restarts only while a restart is pending:
  /// a late request from another broker must not stop a database that runs with the right settings.
  bool ended = false;
};
/// Make a node discard the copy that it is making, and copy the present leader.
struct copy_again {
  std::string node_id;
};

/// Ask a cell to stop a node, and to keep it stopped.
struct halt_node {
  std::string node_id;
};
/// Ask a cell to let a stopped node run again.
struct resume_node {
  std::string node_id;
};
/// Ask a node of a cluster that follows another one how far it has replayed.
struct ask_position {
  std::string node_id;
};
/// Tell the cluster which leader to follow, `host:port`. Empty: it stands for itself, and takes writes.
struct follow {
  std::string leader;
};
/// Tell the cluster to keep what a cluster that follows it has not received yet. Empty: no longer.
struct retain {
  std::string for_scope;
};
/// Have the leader write down all that it holds in memory only, so that its stop is short.
struct flush {
  std::string node_id;
};

using cluster_step = std::variant<add_nodes, start_node, remove_node, ask_lag, failover_from,
                                  configure, ask_settings, restart_node, copy_again, halt_node,
                                  resume_node, ask_position, follow, retain, flush>;

/// A step of the cluster of that scope.
struct scoped_step {
  std::string scope;
  cluster_step what;
};

// -- for the instance as a whole ------------------------------------------------------------------

/// Give an instance that is being provisioned another public port: a router cannot open the present
/// one, and nobody has been told that port yet.
struct change_port {
  int from = 0;
};
/// Delete all keys, put the port to rest and write a tombstone, in one transaction.
struct release_port {};

/// Erase what is left of a cluster that has no nodes any more, and drop it from the record.
struct forget_cluster {
  std::string scope;
};

using step = std::variant<scoped_step, change_port, release_port, forget_cluster>;

/// The step as `Kind`, whichever cluster it is for; nullptr if it is of another kind.
template <class Kind>
[[nodiscard]] const Kind* step_as(const step& one) {
  if constexpr (
      std::is_same_v<
          Kind,
          change_port> || std::is_same_v<Kind, release_port> || std::is_same_v<Kind, forget_cluster>)
    return std::get_if<Kind>(&one);
  else if (const auto* scoped = std::get_if<scoped_step>(&one))
    return std::get_if<Kind>(&scoped->what);
  else
    return nullptr;
}

} // namespace matriarch::model
