#pragma once

#include <string>
#include <vector>

#include "model/cluster_look.hpp"
#include "model/cluster_plan.hpp"

/// Decides how a cluster gets from its present settings to the wanted ones.
namespace matriarch::model {

/// The next part of a change of settings.
struct settings_plan {
  cluster_settings in_force;
  rare_value<cluster_settings> taking_up;
  /// Nothing is left to do.
  bool done = false;
  std::vector<cluster_step> steps = {};
  std::string waiting_for = {};
  /// Why the cluster cannot have the settings; empty if nothing known prevents it.
  std::string impossible = {};
  /// Ask the leader which replicas stream.
  bool ask_leader = false;
  /// The leader should hand over to one of these nodes.
  std::vector<node*> hand_over_to = {};
};

/// Writes the next settings on the way into the cluster's configuration. `done` once they are
/// there, or if there is nothing to change. Needs only a node that answers, not one that serves.
[[nodiscard]] settings_plan announce_settings(const cluster_look& look,
                                              const cluster_settings& wanted);

/// Tells the cluster recorded settings before anything else is done, whatever state the nodes are
/// in. After a failed update these are the settings of before: nodes cannot start with the others,
/// nor could added nodes. Not `done` while the cluster has not been told.
[[nodiscard]] settings_plan tell_settings(const cluster_look& look, const cluster_goal& goal);

/// Brings the cluster to the wanted settings; `done` once it has them. All of `nodes` run.
[[nodiscard]] settings_plan take_up_settings(const cluster_look& look, const cluster_goal& goal,
                                             const std::vector<node*>& nodes);

} // namespace matriarch::model
