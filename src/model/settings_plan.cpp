#include "model/settings_plan.hpp"

#include <utility>

namespace matriarch::model {

namespace {

settings_plan as_they_are(const cluster& known) {
  return {known.in_force, known.taking_up};
}

std::vector<std::string> not_taken_up(const cluster_look& look, const std::vector<node*>& nodes,
                                      const std::string& digest) {
  std::vector<std::string> late;
  for (const auto* n : nodes) {
    auto said = look.here().settings.find(n->node_id);
    if (said == look.here().settings.end() || said->second.digest != digest)
      late.push_back(n->node_id);
  }
  return late;
}

void restart(settings_plan& plan, const std::string& node_id) {
  plan.waiting_for = "restarting " + node_id + " with the new settings";
  plan.steps.emplace_back(restart_node{node_id});
}

void hand_over(settings_plan& plan, const cluster_look& look, const std::vector<node*>& replicas) {
  auto able = look.candidates(replicas);
  std::erase_if(able, [&](const node* n) { return !look.streams_without_lag(*n); });
  if (able.empty()) {
    plan.ask_leader = true;
    plan.waiting_for = "waiting for a replica that can take over";
  }
  plan.hand_over_to = std::move(able);
}

/// Restarts one node after the other, so that all others keep running; false if no restart is left.
/// The leader hands over to a replica that has restarted, unless the leader has to restart first.
bool restart_next(settings_plan& plan, const cluster_look& look, const cluster_goal& goal,
                  const std::vector<node*>& nodes, restart_order order) {
  const auto& here = look.here();
  std::vector<node*> replicas;
  bool leader_waits = false;
  const node* waiting_replica = nullptr;
  for (auto* n : nodes) {
    bool waits = here.settings.at(n->node_id).pending_restart;
    if (look.leads(*n)) {
      leader_waits = waits;
      continue;
    }
    replicas.push_back(n);
    if (waits && waiting_replica == nullptr)
      waiting_replica = n;
  }
  // A replica that still waits for a restart after one keeps a value that is higher on its leader,
  // because the cluster began with more than its plan says. Then the leader restarts first.
  bool in_vain = waiting_replica != nullptr && here.restarted.contains(waiting_replica->node_id);
  bool leader_goes = order == restart_order::leader_first || replicas.empty() || in_vain;
  // One at a time, while all others are well. What a failed operation has left is repaired in any
  // case: the settings themselves may keep replicas from streaming.
  if (goal.awaited() && (leader_waits || (waiting_replica != nullptr && !in_vain)))
    if (auto unsure = look.unsure(nodes); !unsure.empty()) {
      plan.ask_leader = true;
      plan.waiting_for = waiting_for_streams(unsure);
      return true;
    }
  if (leader_waits && leader_goes && !here.restarted.contains(here.seen.leader))
    restart(plan, here.seen.leader);
  else if (waiting_replica != nullptr && !in_vain)
    restart(plan, waiting_replica->node_id);
  else if (leader_waits && !leader_goes)
    hand_over(plan, look, replicas);
  else if (leader_waits || in_vain)
    plan.waiting_for = "a node still asks for a restart after one; see its log";
  return leader_waits || waiting_replica != nullptr;
}

} // namespace

settings_plan announce_settings(const cluster_look& look, const cluster_settings& wanted) {
  auto plan = as_they_are(look.known());
  if (!plan.taking_up && same_configuration(plan.in_force, wanted)) {
    plan.done = true;
    return plan;
  }
  const auto& engine = *look.here().runs;
  auto to = engine.step_towards(wanted, plan.in_force);
  if (plan.taking_up && plan.taking_up != to) {
    // Nodes may have taken up any of the abandoned settings.
    plan.in_force = engine.mixture(plan.in_force, *plan.taking_up);
    to = engine.step_towards(wanted, plan.in_force);
  }
  if (plan.taking_up != to) {
    plan.taking_up = std::move(to);
    return plan;
  }
  auto digest = digest_of(to);
  if (look.here().configured == digest) {
    plan.done = true;
    return plan;
  }
  plan.waiting_for = "telling the cluster its new settings";
  plan.steps.emplace_back(configure{engine.settings_change(plan.in_force, to), digest});
  return plan;
}

settings_plan tell_settings(const cluster_look& look, const cluster_goal& goal) {
  const auto& nodes = look.known().nodes;
  if (!look.known().taking_up) {
    auto plan = as_they_are(look.known());
    plan.done = true;
    return plan;
  }
  // If its settings keep a node from starting, an update cannot succeed.
  if (goal.who == waiting::for_change)
    for (const auto& n : nodes)
      if (n.phase != node_phase::removing && look.starts_in_vain(n)) {
        auto plan = as_they_are(look.known());
        plan.impossible = "node " + n.node_id
                          + " does not start with the new settings, as its log says; those of "
                            "before are put back";
        return plan;
      }
  auto plan = announce_settings(look, goal.wanted.settings);
  if (plan.done)
    for (const auto& n : nodes)
      if (look.starts_anew(n)) {
        plan.waiting_for = "starting " + n.node_id + " with these settings";
        plan.steps.emplace_back(restart_node{n.node_id, true});
      }
  return plan;
}

settings_plan take_up_settings(const cluster_look& look, const cluster_goal& goal,
                               const std::vector<node*>& nodes) {
  auto plan = announce_settings(look, goal.wanted.settings);
  if (!plan.done)
    return plan;
  if (!plan.taking_up) {
    plan.in_force = goal.wanted.settings;
    return plan;
  }
  plan.done = false;
  const auto to = *plan.taking_up;
  if (auto late = not_taken_up(look, nodes, digest_of(to)); !late.empty()) {
    plan.waiting_for = "waiting for " + list_of(late) + " to take up the new settings";
    plan.steps.emplace_back(ask_settings{std::move(late)});
  } else if (!restart_next(plan, look, goal, nodes, look.here().runs->order(plan.in_force, to))) {
    plan.in_force = to;
    plan.taking_up.reset();
  }
  return plan;
}

} // namespace matriarch::model
