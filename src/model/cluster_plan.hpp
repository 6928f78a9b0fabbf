#pragma once

#include <string>
#include <vector>

#include "model/circumstances.hpp"
#include "model/steps.hpp"

/// What comes next for one cluster: it is compared with what it shall be, and with what is seen of it.
/// It knows nothing of the instance that it is of, nor of any other cluster.
namespace matriarch::model {

/// Who waits for a cluster to become what it shall be.
enum class waiting {
  nobody,
  for_first_nodes, ///< a provision
  for_change,      ///< an update
};

/// What a cluster shall become.
struct cluster_goal {
  desired_state wanted;
  waiting who = waiting::nobody;
  /// Cells that failed to start a node in the operation that waits; not tried again.
  rare_map<std::string, std::string> failed_cells = {};
  /// Whether its nodes shall stop, and be kept, until it is known what becomes of them.
  bool halted = false;
  /// Which of them runs again first, if they do: none of the others has all that it has.
  std::string first_again = {};
  /// Whether its settings stay what they were before that operation.
  bool keeps_settings = false;

  [[nodiscard]] bool awaited() const { return who != waiting::nobody; }
};

/// What comes next for a cluster.
struct cluster_decision {
  /// As it has to be written before anything else happens; equal to what is written if nothing has.
  cluster next;
  /// Removed nodes whose graves are dug with that write.
  std::vector<node> buried = {};
  /// What the cluster as it was written allows to be done now.
  std::vector<cluster_step> steps = {};
  /// For the user: what is being waited for. Empty if it is the members themselves.
  std::string waiting_for = {};
  /// For the operator: what is being repaired, or why it is not. Empty if nothing has to be.
  std::string repair = {};
  /// Whether a turn is needed to go on with a repair, or to begin one.
  bool wants_turn = false;

  /// Cells that have failed to start a node, with the reason.
  rare_map<std::string, std::string> failed_cells = {};
  /// The node that was to lead has come to lead.
  bool switched_over = false;
  /// It is what it shall be, as far as its members say, and one of its nodes leads.
  bool reached = false;
  /// Nodes of a cluster that is: those of which it is not sure yet whether they stream.
  std::vector<std::string> unsure = {};
  /// Why it cannot become what it shall be; empty if it can, for all that is known.
  std::string impossible = {};
};

[[nodiscard]] cluster_decision decide_cluster(const cluster& known, const cluster_goal& goal,
                                              const cluster_circumstances& here,
                                              const surroundings& around);

/// A cluster after what cells and members have confirmed since it was written.
struct confirmed_cluster {
  cluster next;
  std::vector<node> buried = {};
  rare_map<std::string, std::string> failed_cells = {};
};
[[nodiscard]] confirmed_cluster note_confirmations(const cluster& known,
                                                   const cluster_circumstances& here,
                                                   const surroundings& around);

/// Has the leader asked who streams, unless it is being asked anyway.
void add_ask_lag(std::vector<cluster_step>& steps);

/// The words for nodes of which it is not sure that they stream.
[[nodiscard]] std::string waiting_for_streams(const std::vector<std::string>& unsure);

/// `a, b, c`.
[[nodiscard]] std::string list_of(const std::vector<std::string>& words);

/// A request to start a node that was sent may be on the wire for so long.
inline constexpr duration start_timeout = std::chrono::seconds{15};
/// For clocks and queues: how much longer a node whose start is unknown is remembered.
inline constexpr duration start_margin = std::chrono::seconds{5};

} // namespace matriarch::model
