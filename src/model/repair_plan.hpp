#pragma once

#include <string>
#include <vector>

#include "model/cluster_look.hpp"
#include "model/cluster_plan.hpp"

/// Which nodes of a cluster have to be replaced, and what is said of that.
namespace matriarch::model {

struct repair_marks {
  /// The cluster's nodes with the reasons why some are replaced. A marked node counts as one that
  /// leaves: so its replacement comes first, and it goes once that one streams.
  std::vector<node> nodes;
  /// Why what has to be repaired is not, in words.
  std::string why_not = {};
  bool wants_turn = false;
  /// The leader should be asked who streams, before anything is given up.
  bool ask_leader = false;
  /// Whether anything else may be done to the cluster now.
  bool goes_on = true;
};

[[nodiscard]] repair_marks mark_repairs(const cluster_look& look, const cluster_goal& goal);

struct repair_words {
  std::string text;
  bool wants_turn = false; ///< still, by what has become of the nodes
};

/// For the operator. `had_leader` as it is written; `waiting_for` is what the cluster waits for.
[[nodiscard]] repair_words describe_repairs(const cluster_look& look, const cluster_goal& goal,
                                            const repair_marks& marks, bool had_leader,
                                            const std::string& waiting_for);

} // namespace matriarch::model
