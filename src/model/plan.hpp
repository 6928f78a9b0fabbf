#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/circumstances.hpp"
#include "model/cluster_look.hpp"
#include "model/cluster_plan.hpp"
#include "model/record.hpp"
#include "model/steps.hpp"

/// The heart of the broker: one pure function that compares what is desired, recorded and observed
/// and says what comes next. Provisioning, growing, shrinking, moving, repairing, resuming after a
/// crash and deleting are this one function, called again whenever something changed. What a cluster
/// needs is decided by decide_cluster(); here the instance's operation, its endpoints and its end are
/// added.
namespace matriarch::model {

/// What comes next.
struct decision {
  /// The record as it has to be written before anything else happens.
  std::optional<record> write;
  /// Removed nodes whose graves are dug with that write, each with its cluster's scope.
  struct burial {
    std::string scope;
    node which;
  };
  std::vector<burial> buried = {};
  /// What the record as it stands allows to be done now. Each may be repeated.
  std::vector<step> steps = {};
  /// For the user: what is being waited for. Empty if it is the members themselves.
  std::string waiting_for = {};
  /// What the operation waits for until clients reach what it has made; not set if it does not.
  std::optional<route> unserved = {};
  /// The record may be written only if nobody leads the cluster of that scope; empty: that does not matter.
  std::string unless_led = {};
  /// For the operator: what a rebuild waits for. Empty if none is under way.
  std::string rebuilding = {};
  /// For the operator: what is being repaired, or why it is not. Empty if nothing has to be.
  std::string repair = {};
  /// The scopes of the clusters that need a turn to go on with a repair, or to begin one.
  std::vector<std::string> wants_turn = {};
};

[[nodiscard]] decision decide(const record& known, const circumstances& around);

/// A record with these nodes of one of its clusters written down on those cells. `node_ids` and `cells`
/// are of one length. There may be no cluster of that scope any more: then nothing is written down.
[[nodiscard]] record with_new_nodes(record known, const std::string& scope,
                                    const std::vector<std::string>& node_ids,
                                    const std::vector<std::string>& cells, wall_time now);

/// `members stopped, stopped`; `master running; replicas starting, running`: the words of the
/// seeds, from the members' real states, followed by what else is being waited for. Of a replica
/// that is not well although it runs, `running but not replicating`.
[[nodiscard]] std::string describe(const record& known, const cluster_view& seen,
                                   const std::string& waiting_for = {});

/// How long a failed provision may take to remove what it made before it is called failed anyway.
inline constexpr duration clean_up_time = std::chrono::seconds{60};

} // namespace matriarch::model
