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

/// What an instance's actor knows beyond the record: everything here is lost in a crash, and may be.
namespace matriarch::model {

/// What a node said of the settings it has taken up.
struct node_settings {
  std::string digest;
  bool pending_restart = false; ///< some of them wait for its restart
};

/// What is known of one cluster, by its scope.
struct cluster_circumstances {
  const engine* runs = nullptr; ///< what its nodes run
  cluster_view seen;
  /// Replicas that stream from the leader, with their lag in bytes, as it has just said.
  rare_map<std::string, std::int64_t> lag;
  /// Whether it has: who is not in `lag` does not stream, then.
  bool lag_told = false;
  /// A replica seems to stand still: the leader should be asked.
  bool ask_leader = false;
  /// Nodes whose removal the cell has confirmed when no start of theirs could be on its way.
  rare_set<std::string> confirmed_removed;
  /// Nodes whose start the cell has confirmed.
  rare_set<std::string> confirmed_started;
  /// Where cells say that nodes are, as far as the record may not have it yet.
  rare_map<std::string, node_addresses> registered;
  /// Nodes whose start has failed, with the reason.
  rare_map<std::string, std::string> failed_starts;
  /// Those of them whose cell has not answered: the start may still arrive there.
  rare_set<std::string> unanswered_starts;
  /// What was last said of a removal that did not succeed, by node.
  rare_map<std::string, std::string> failed_removals;
  /// The cells' answer to the last AddNode step, if there was one and it found too few.
  rare_value<placement> shortage;
  /// What came of the last switchover, if it failed; kept until it may be tried again.
  std::string failed_switchover;
  /// The digest of the settings that have been confirmed as the cluster's.
  std::string configured;
  /// What nodes said of the settings, by node id; forgotten when a node restarts.
  rare_map<std::string, node_settings> settings;
  /// How often nodes could not be restarted with the settings that are being taken up.
  rare_map<std::string, int> failed_restarts;
  /// Of each node that copies a leader, which one led when the copy began.
  rare_map<std::string, std::string> copied_leader;
  /// Nodes that have restarted with the settings that are being taken up.
  rare_set<std::string> restarted;
  /// Nodes that are recorded as halted and that their cells have confirmed to have stopped.
  rare_map<std::string, data_at_stop> halted;
  /// Why the cells of others have not stopped them yet, as last said.
  rare_map<std::string, std::string> failed_halts;
  /// Nodes that are recorded as halted and whose cells have confirmed that they start again.
  rare_set<std::string> resumed;
  /// How far each node of a cluster that follows another one has replayed, as it has just said.
  rare_map<std::string, std::int64_t> replayed;
  /// The place that the cluster has confirmed to follow, empty for none; not set if that is not known.
  rare_value<std::string> follows;
  /// The scope that the cluster has confirmed to keep data for, likewise.
  rare_value<std::string> retains_for;
  /// When a leader last wrote down all that it held in memory only.
  struct flush {
    std::string leader;
    wall_time ended;
    duration took{};
    bool operator==(const flush&) const = default;
  };
  rare_value<flush> flushed;
  /// Nodes that have not been well for long, although their cells are there.
  rare_set<std::string> unhealthy;
  /// Whether it is this cluster's turn: only some are repaired at a time.
  bool repair_turn = false;
};

/// What is known besides any cluster: of the fleet, and of the time.
struct surroundings {
  /// Cells that are lost: nothing has been heard of them, or of their nodes, for long.
  rare_set<std::string> lost_cells;
  /// Cells that can stop a node and say how far its data is, as they have said.
  rare_set<std::string> able_to_halt;
  /// Cells that have answered and cannot, with the reason.
  rare_map<std::string, std::string> unable_to_halt;
  /// Why nothing may be repaired now; empty if that is not so.
  std::string repair_halted;
  /// Cells that failed a repair of late, with the reason; not tried again for a while.
  rare_map<std::string, std::string> avoid;
  wall_time now;
};

/// What is known of an instance.
struct circumstances : surroundings {
  cluster_circumstances living;
  rare_value<cluster_circumstances> incoming;
  rare_value<cluster_circumstances> outgoing;
  /// What the routers say, if they are waited for, and the revision of the last change that they have
  /// to serve.
  router_table routing;
  std::int64_t routed_at = 0;
  /// What routers call the instance: its name in keys.
  std::string routed_as;
  /// Whether the operation in progress has changed, or may have, what is routed.
  bool reroutes = true;
  /// Why the port of an instance that is being made cannot be exchanged; empty if it can.
  std::string no_other_port;
};

} // namespace matriarch::model
