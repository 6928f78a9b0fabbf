#pragma once

#include <string>
#include <vector>

#include "model/instance_observations.hpp"
#include "model/steps.hpp"

/// Decides what comes next for one cluster: compares its goal with the record and the observations.
/// Knows nothing of the instance or of other clusters.
namespace matriarch::model {

/// Which kind of operation waits for the cluster to reach its goal.
enum class waiting {
  nobody,
  for_first_nodes, ///< a provision
  for_change,      ///< an update
};

/// The goal of a cluster.
struct cluster_goal {
  desired_state wanted;
  waiting who = waiting::nobody;
  /// Cells that failed to start a node in the operation in progress; not tried again.
  rare_map<std::string, std::string> failed_cells = {};
  /// Whether the nodes shall stop and be kept, during a switch to another cluster.
  bool halted = false;
  /// The node that runs again first, if the switch is taken back: no other node has all of its
  /// data.
  std::string first_again = {};
  /// Whether the operation leaves the settings as they were before.
  bool keeps_settings = false;

  [[nodiscard]] bool awaited() const { return who != waiting::nobody; }
};

/// What comes next for a cluster.
struct cluster_decision {
  /// The cluster as it has to be written first; equal to the recorded cluster if nothing changed.
  cluster next;
  /// Removed nodes; each gets a grave in the same write.
  std::vector<node> buried = {};
  /// What may be done now, given the cluster as recorded.
  std::vector<cluster_step> steps = {};
  /// For the user: what the cluster waits for. Empty if it waits for the members themselves.
  std::string waiting_for = {};
  /// For the operator: what is being repaired, or why it is not. Empty if nothing needs repair.
  std::string repair = {};
  /// Whether the cluster needs a repair turn to begin or continue a repair.
  bool wants_turn = false;

  /// Cells that have failed to start a node, with the reason.
  rare_map<std::string, std::string> failed_cells = {};
  /// The node that was to lead now leads.
  bool switched_over = false;
  /// The cluster has reached its goal, as far as its members report, and one of its nodes leads.
  bool reached = false;
  /// Nodes that are not known for certain to stream.
  std::vector<std::string> unsure = {};
  /// Why the goal cannot be reached; empty if nothing known prevents it.
  std::string impossible = {};
};

[[nodiscard]] cluster_decision decide_cluster(const cluster& known, const cluster_goal& goal,
                                              const cluster_observations& here,
                                              const fleet_observations& fleet);

/// A cluster after what cells and members have confirmed since it was written.
struct confirmed_cluster {
  cluster next;
  std::vector<node> buried = {};
  rare_map<std::string, std::string> failed_cells = {};
};
[[nodiscard]] confirmed_cluster note_confirmations(const cluster& known,
                                                   const cluster_observations& here,
                                                   const fleet_observations& fleet);

/// Adds an ask_lag step, unless there is one already.
void add_ask_lag(std::vector<cluster_step>& steps);

/// The text shown while the broker waits for these nodes to stream.
[[nodiscard]] std::string waiting_for_streams(const std::vector<std::string>& unsure);

/// `a, b, c`.
[[nodiscard]] std::string list_of(const std::vector<std::string>& words);

/// How long a request to start a node may be on its way.
inline constexpr duration start_timeout = std::chrono::seconds{15};
/// Allows for clock differences and queues: how much longer a node whose start is unknown is kept.
inline constexpr duration start_margin = std::chrono::seconds{5};

} // namespace matriarch::model
