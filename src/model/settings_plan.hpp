#pragma once

#include <string>
#include <vector>

#include "model/cluster_look.hpp"
#include "model/cluster_plan.hpp"

/// How a cluster comes to have the settings that it shall have.
namespace matriarch::model {

/// What comes next for a cluster's settings.
struct settings_plan {
  cluster_settings in_force;
  rare_value<cluster_settings> taking_up;
  /// Nothing is left to do of what was asked.
  bool done = false;
  std::vector<cluster_step> steps = {};
  std::string waiting_for = {};
  /// Why the cluster cannot have them; empty if it can, for all that is known.
  std::string impossible = {};
  /// The leader should be asked who streams.
  bool ask_leader = false;
  /// The leader should hand over to one of these.
  std::vector<node*> hand_over_to = {};
};

/// Makes the settings on the way to the wanted ones the cluster's configuration; done once they are, or
/// if there is nothing to change. It needs no node that serves, only one that answers.
[[nodiscard]] settings_plan announce_settings(const cluster_look& look,
                                              const cluster_settings& wanted);

/// Settings that are written down are told whatever the nodes do, before anything else: if they are
/// those of before an update that has failed, nodes start by nothing else, and nodes that are added
/// would end by the others too. Not done while the cluster has yet to hear of them.
[[nodiscard]] settings_plan tell_settings(const cluster_look& look, const cluster_goal& goal);

/// Brings the cluster to the wanted settings; done once it has them. All of `nodes` run.
[[nodiscard]] settings_plan take_up_settings(const cluster_look& look, const cluster_goal& goal,
                                             const std::vector<node*>& nodes);

} // namespace matriarch::model
