#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "model/observation.hpp"
#include "model/placement.hpp"
#include "model/rare.hpp"
#include "model/record.hpp"
#include "model/routes.hpp"

/// The heart of the broker: one pure function that compares what is desired, recorded and observed
/// and says what comes next. Provisioning, growing, shrinking, moving, repairing, resuming after a
/// crash and deleting are this one function, called again whenever something changed.
namespace matriarch::model {

/// How far a replica may be behind and still take over: what Patroni's `maximum_lag_on_failover`
/// allows by default.
inline constexpr std::int64_t negligible_lag_bytes = 1024 * 1024;

/// A node that fails to start so often with its settings cannot start with them. Once may be an
/// accident: something has killed it.
inline constexpr int hopeless_restarts = 2;

/// What a node said of the settings it has taken up.
struct node_settings {
  std::string digest;
  bool pending_restart = false; ///< some of them wait for a restart of its PostgreSQL
};

/// What the actor knows beyond the record: everything here is lost in a crash, and may be.
struct circumstances {
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
  /// The digest of the settings that Patroni has confirmed as the cluster's.
  std::string configured;
  /// What nodes said of the settings, by node id; forgotten when a node restarts.
  rare_map<std::string, node_settings> settings;
  /// How often Patroni could not restart nodes with the settings that are being taken up.
  rare_map<std::string, int> failed_restarts;
  /// Of each node that copies a leader, which one led when the copy began.
  rare_map<std::string, std::string> copied_leader;
  /// Nodes that have restarted with the settings that are being taken up.
  rare_set<std::string> restarted;
  /// Cells that are lost: nothing has been heard of them, or of their nodes, for long.
  rare_set<std::string> lost_cells;
  /// Nodes that have not been well for long, although their cells are there.
  rare_set<std::string> unhealthy;
  /// Why nothing may be repaired now; empty if that is not so.
  std::string repair_halted;
  /// Whether it is this instance's turn: only some are repaired at a time.
  bool repair_turn = false;
  /// Cells that failed a repair of late, with the reason; not tried again for a while.
  rare_map<std::string, std::string> avoid;
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
  wall_time now;
};

// -- steps, by the names that operators see -------------------------------------------------------

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
/// Ask Patroni to let `to` lead instead of `from`.
struct failover_from {
  std::string from;
  std::string to;
};
/// Tell Patroni the cluster's new settings.
struct configure {
  std::string patch;  ///< of Patroni's dynamic configuration
  std::string digest; ///< of the settings it leads to
};
/// Ask these nodes which settings they have taken up.
struct ask_settings {
  std::vector<std::string> node_ids;
};
/// Have Patroni restart a node's PostgreSQL, or start it if it has ended.
struct restart_node {
  std::string node_id;
  /// It has ended, and is to start. Otherwise Patroni restarts it only while it waits for that: a
  /// broker's order that arrives late ends nothing that runs as it shall.
  bool ended = false;
};
/// Have Patroni give up the copy that a node is making, and copy the present leader.
struct copy_again {
  std::string node_id;
};
/// Give an instance that is being made another public port: a router cannot open this one, and nobody
/// has been told of it yet.
struct change_port {
  int from = 0;
};
/// Delete all keys, let the port rest and leave a tombstone, in one transaction.
struct release_port {};

using step = std::variant<add_nodes, start_node, remove_node, ask_lag, failover_from, configure,
                          ask_settings, restart_node, copy_again, change_port, release_port>;

/// What comes next.
struct decision {
  /// The record as it has to be written before anything else happens.
  std::optional<record> write;
  /// Removed nodes whose graves are dug with that write.
  std::vector<node> buried = {};
  /// What the record as it stands allows to be done now. Each may be repeated.
  std::vector<step> steps = {};
  /// For the user: what is being waited for. Empty if it is the members themselves.
  std::string waiting_for = {};
  /// What the operation waits for until clients reach what it has made; not set if it does not.
  std::optional<route> unserved = {};
  /// For the operator: what is being repaired, or why it is not. Empty if nothing has to be.
  std::string repair = {};
  /// Whether a turn is needed to go on with a repair, or to begin one.
  bool wants_turn = false;
};

[[nodiscard]] decision decide(const record& known, const circumstances& around);

/// Whether this node may take over from the leader: any that is well, but of a synchronous cluster
/// Patroni lets only a synchronous replica.
[[nodiscard]] bool may_take_over(const record& known, const cluster_view& seen,
                                 const std::string& node_id);

/// A record with these nodes written down on those cells. `node_ids` and `cells` are of one length.
[[nodiscard]] record with_new_nodes(record known, const std::vector<std::string>& node_ids,
                                    const std::vector<std::string>& cells, wall_time now);

/// `members stopped, stopped`; `master running; replicas starting, running`: the words of the
/// seeds, from the members' real states, followed by what else is being waited for. Of a replica
/// that is not well although it runs, `running but not replicating`.
[[nodiscard]] std::string describe(const record& known, const cluster_view& seen,
                                   const std::string& waiting_for = {});

/// A request to start a node that was sent may be on the wire for so long.
inline constexpr duration start_timeout = std::chrono::seconds{15};
/// For clocks and queues: how much longer a node whose start is unknown is remembered.
inline constexpr duration start_margin = std::chrono::seconds{5};
/// How long a failed provision may take to remove what it made before it is called failed anyway.
inline constexpr duration clean_up_time = std::chrono::seconds{60};

} // namespace matriarch::model
