#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/cluster_look.hpp"
#include "model/cluster_plan.hpp"
#include "model/instance_observations.hpp"
#include "model/record.hpp"
#include "model/steps.hpp"

/// One pure function that compares what is desired, recorded and observed, and says what comes
/// next. Provisioning, growing, shrinking, moving, repairing, resuming after a crash and deleting
/// all go through this function, which is called again whenever something changes. decide_cluster()
/// decides for a cluster; this file adds the instance's operation, its endpoints and its removal.
namespace matriarch::model {

/// What comes next for an instance.
struct decision {
  /// The record as it has to be written before anything else happens; not set if it is unchanged.
  std::optional<record> write;
  /// Removed nodes and their clusters' scopes; each gets a grave in the same write.
  struct burial {
    std::string scope;
    node which;
  };
  std::vector<burial> buried = {};
  /// What may be done now, given the record as it is. Each step may be repeated.
  std::vector<step> steps = {};
  /// For the user: what the operation waits for. Empty if it waits for the members themselves.
  std::string waiting_for = {};
  /// The route that the operation waits for the routers to serve; not set if it does not wait.
  std::optional<route> unserved = {};
  /// The record may be written only if the cluster of this scope has no leader; empty: no
  /// condition.
  std::string unless_led = {};
  /// For the operator: what a rebuild waits for. Empty if none is under way.
  std::string rebuilding = {};
  /// For the operator: what is being repaired, or why it is not. Empty if nothing needs repair.
  std::string repair = {};
  /// The scopes of the clusters that need a repair turn to begin or continue a repair.
  std::vector<std::string> wants_turn = {};
};

[[nodiscard]] decision decide(const record& known, const instance_observations& observations);

/// The record with new nodes of one of its clusters on those cells. `node_ids` and `cells` have the
/// same length. Unchanged if there is no cluster of that scope.
[[nodiscard]] record with_new_nodes(record known, const std::string& scope,
                                    const std::vector<std::string>& node_ids,
                                    const std::vector<std::string>& cells, wall_time now);

/// `members stopped, stopped` or `master running; replicas starting, running`: the seeds' words,
/// made from the members' real states, followed by what else is waited for. `running but not
/// replicating` stands for a replica that runs but is not well.
[[nodiscard]] std::string describe(const record& known, const cluster_view& seen,
                                   const std::string& waiting_for = {});

/// How long a failed provision may remove its nodes before it is reported as failed anyway.
inline constexpr duration clean_up_time = std::chrono::seconds{60};

} // namespace matriarch::model
