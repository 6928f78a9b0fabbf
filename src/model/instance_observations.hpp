#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "model/data_position.hpp"
#include "model/engine.hpp"
#include "model/observation.hpp"
#include "model/placement.hpp"
#include "model/rare.hpp"
#include "model/record.hpp"
#include "model/routes.hpp"

/// What an instance's actor knows besides the record. All of it can be lost in a crash without
/// harm.
namespace matriarch::model {

/// The settings that a node reports to use.
struct node_settings {
  std::string digest;
  bool pending_restart = false; ///< some of them take effect only after a restart
};

/// What is known of one cluster, by its scope.
struct cluster_observations {
  const engine* runs = nullptr; ///< the engine that its nodes run
  cluster_view seen;
  /// Replicas that stream from the leader, with their lag in bytes, as the leader last reported.
  rare_map<std::string, std::int64_t> lag;
  /// Whether the leader has reported: if so, a replica that is not in `lag` does not stream.
  bool lag_told = false;
  /// A replica seems to make no progress: ask the leader which replicas stream.
  bool ask_leader = false;
  /// Nodes whose removal the cell has confirmed while no request to start them was on its way.
  rare_set<std::string> confirmed_removed;
  /// Nodes whose start the cell has confirmed.
  rare_set<std::string> confirmed_started;
  /// Addresses that cells report for nodes and that the record may not have yet.
  rare_map<std::string, node_addresses> registered;
  /// Nodes whose start has failed, with the reason.
  rare_map<std::string, std::string> failed_starts;
  /// Failed starts whose cell has not answered: the request to start may still arrive there.
  rare_set<std::string> unanswered_starts;
  /// The reason why the last removal of a node failed, by node.
  rare_map<std::string, std::string> failed_removals;
  /// The result of the last add_nodes step, if it found too few cells.
  rare_value<placement> shortage;
  /// Why the last switchover failed; kept until the switchover may be tried again. Empty if it did
  /// not.
  std::string failed_switchover;
  /// The digest of the settings that have been confirmed as the cluster's.
  std::string configured;
  /// The settings that nodes report, by node id; forgotten when a node restarts.
  rare_map<std::string, node_settings> settings;
  /// How often restarting a node with the new settings has failed, by node.
  rare_map<std::string, int> failed_restarts;
  /// For each node that copies a leader: the node that led when the copy began.
  rare_map<std::string, std::string> copied_leader;
  /// Nodes that have restarted with the new settings.
  rare_set<std::string> restarted;
  /// Nodes that are recorded as halted and that their cells have confirmed to have stopped.
  rare_map<std::string, data_at_stop> halted;
  /// Why the cells of others have not stopped them yet, as last said.
  rare_map<std::string, std::string> failed_halts;
  /// Nodes that are recorded as halted and whose cells have confirmed that they start again.
  rare_set<std::string> resumed;
  /// How far a node of a cluster that follows another one has replayed, as it has said.
  struct replay {
    std::int64_t position = 0;
    wall_time since; ///< it has been there, as far as it was asked all the time
    wall_time heard; ///< when it said so last
    bool operator==(const replay&) const = default;
  };
  rare_map<std::string, replay> replayed;
  /// The place that the cluster has confirmed to follow, empty for none; not set if that is not known.
  rare_value<std::string> follows;
  /// The scope that the cluster has confirmed to keep data for, likewise.
  rare_value<std::string> retains_for;
  /// When a leader last wrote down all that it held in memory only.
  struct flush {
    std::string leader;
    std::int64_t history = 0; ///< the one that it writes: see data_at_stop
    wall_time ended;
    duration took{};
    bool operator==(const flush&) const = default;
  };
  rare_value<flush> flushed;
  /// Nodes that have not been well for long, although their cells are there.
  rare_set<std::string> unhealthy;
  /// Whether this cluster may be repaired now: only some clusters are repaired at a time.
  bool repair_turn = false;
};

/// What is known apart from the clusters: the fleet and the time.
struct fleet_observations {
  /// Cells that are lost: neither the cell nor any of its nodes has shown a sign of life for long.
  rare_set<std::string> lost_cells;
  /// Cells that can stop a node and say how far its data is, as they have said.
  rare_set<std::string> able_to_halt;
  /// Cells that have answered and cannot, with the reason.
  rare_map<std::string, std::string> unable_to_halt;
  /// Why nothing may be repaired now; empty if that is not so.
  std::string repair_halted;
  /// Cells that recently failed a repair, with the reason; not tried again for a while.
  rare_map<std::string, std::string> avoid;
  wall_time now;
};

/// What is known of an instance.
struct instance_observations : fleet_observations {
  cluster_observations living;
  rare_value<cluster_observations> incoming;
  rare_value<cluster_observations> outgoing;
  /// The routers' reports, if operations wait for routers, and the revision of the last change that
  /// the routers have to serve.
  router_table routing;
  std::int64_t routed_at = 0;
  /// The name by which routers know the instance: its name in keys.
  std::string routed_as;
  /// Whether the operation in progress has changed, or may have changed, the instance's route.
  bool reroutes = true;
  /// Why the port of an instance that is being provisioned cannot be replaced; empty if it can.
  std::string no_other_port;
};

} // namespace matriarch::model
