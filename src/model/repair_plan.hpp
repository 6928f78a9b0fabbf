#pragma once

#include <string>
#include <vector>

#include "model/cluster_look.hpp"
#include "model/cluster_plan.hpp"

/// Decides which nodes of a cluster have to be replaced, and describes that.
namespace matriarch::model {

struct repair_marks {
  /// The cluster's nodes, marked with the reason if they are to be replaced. A marked node counts
  /// as leaving: its replacement is made first, and the marked node goes once the replacement
  /// streams.
  std::vector<node> nodes;
  /// Why a necessary repair is not made now.
  std::string why_not = {};
  bool wants_turn = false;
  /// Ask the leader which replicas stream before any node is removed.
  bool ask_leader = false;
  /// Whether the cluster may be changed in other ways now.
  bool goes_on = true;
};

[[nodiscard]] repair_marks mark_repairs(const cluster_look& look, const cluster_goal& goal);

struct repair_words {
  std::string text;
  bool wants_turn = false; ///< whether a turn is still needed, given the state of the nodes
};

/// Describes the repairs for the operator. `had_leader` is the record's. `waiting_for`: what the
/// cluster waits for.
[[nodiscard]] repair_words describe_repairs(const cluster_look& look, const cluster_goal& goal,
                                            const repair_marks& marks, bool had_leader,
                                            const std::string& waiting_for);

} // namespace matriarch::model
