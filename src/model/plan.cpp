#include "model/plan.hpp"

#include <algorithm>
#include <utility>

#include "model/switch_plan.hpp"

namespace matriarch::model {

namespace {

bool in_progress(const record& known) {
  return known.current.state == operation_state::in_progress;
}

/// The goal of the cluster that serves. The nodes of a failed provision are to be removed.
cluster_goal goal_of(const record& known) {
  const auto& op = known.current;
  cluster_goal goal{known.desired};
  goal.wanted.exists = known.desired.exists && op.failing_because.empty();
  if (in_progress(known) && goal.wanted.exists)
    goal.who = op.type == operation_type::update ? waiting::for_change : waiting::for_first_nodes;
  goal.failed_cells = op.failed_cells;
  goal.keeps_settings = op.desired_before && op.desired_before->settings == known.desired.settings;
  add_rebuild(goal, known);
  return goal;
}

/// The record, the observations, and the decision while it is being made.
class planner {
public:
  planner(const record& known, const instance_observations& observations)
      : record_(known), observations_(observations), next_(known) {}

  decision run() {
    auto living =
        decide_cluster(record_.living, goal_of(record_), observations_.living, observations_);
    if (in_progress(record_)) {
      for (const auto& [cell, why] : living.failed_cells)
        next_.current.failed_cells[cell] = why;
      next_.current.switched_over = next_.current.switched_over || living.switched_over;
    }
    if (give_up(living)) {
      // The decision was made for a goal that has now been given up: take no steps from it. The
      // steps for the new goal are decided after the write.
      auto before = record_.living;
      if (next_.current.type == operation_type::update)
        before.switching_to.clear();
      living = decide_cluster(before, goal_of(next_), observations_.living, observations_);
      living.steps.clear();
    }
    take_over(std::move(living));
    if (next_ != record_)
      result_.write = std::move(next_);
    return std::move(result_);
  }

private:
  // -- the operation ------------------------------------------------------------------------------

  void end_operation(operation_state as, std::string description) {
    next_.current.state = as;
    next_.current.description = std::move(description);
  }

  /// Ends an operation that is late or cannot succeed. True if the goal has changed.
  bool give_up(const cluster_decision& living) {
    if (!in_progress(next_))
      return false;
    const bool late = observations_.now >= next_.current.deadline;
    if (late && next_.current.type == operation_type::deprovision) {
      // The instance stays marked for removal: the removal goes on until nothing is left.
      end_operation(operation_state::failed,
                    "not removed in time: " + waiting_text(living) + "; removal goes on");
      return false;
    }
    if (!next_.current.failing_because.empty() || !next_.desired.exists)
      return false;
    if (late)
      fail("not done in time: " + waiting_text(living));
    else if (!living.impossible.empty())
      fail(living.impossible);
    else
      return false;
    return true;
  }

  /// What a late operation still waits for.
  [[nodiscard]] std::string waiting_text(const cluster_decision& living) const {
    auto confirmed = next_;
    confirmed.living = note_confirmations(record_.living, observations_.living, observations_).next;
    std::vector<std::string> left;
    add_unremoved(confirmed.living, observations_.living, left);
    if (record_.incoming && observations_.incoming)
      add_unremoved(*record_.incoming, *observations_.incoming, left);
    if (record_.outgoing && observations_.outgoing)
      add_unremoved(*record_.outgoing, *observations_.outgoing, left);
    auto text = list_of(left);
    if (observations_.living.shortage)
      text += (text.empty() ? "" : "; ")
              + ("no cell for a node: " + observations_.living.shortage->shortage);
    else if (text.empty() && next_.desired.exists)
      text = waited_for(living);
    auto states = describe(confirmed, observations_.living.seen);
    return text.empty() ? "last seen: " + states : text + "; last seen: " + states;
  }

  void add_unremoved(const cluster& one, const cluster_observations& here,
                     std::vector<std::string>& left) const {
    for (const auto& n : one.nodes) {
      if (n.phase != node_phase::removing)
        continue;
      auto why = here.failed_removals.find(n.node_id);
      left.push_back(
          "cell " + n.cell + " has not confirmed the removal of node " + n.node_id
          + (why == here.failed_removals.end() ? "" : " (" + why->second + ")")
          + (observations_.lost_cells.contains(n.cell)
                 ? "; if the cell never comes back, tell it with matriarch forget-cell " + n.cell
                 : ""));
    }
  }

  /// What the next step would be, or wait for, if there were time left.
  [[nodiscard]] std::string waited_for(const cluster_decision& living) const {
    if (!living.impossible.empty())
      return living.impossible;
    if (!living.waiting_for.empty() || !living.reached)
      return living.waiting_for;
    planner as_if{record_, observations_};
    as_if.next_.living = living.next;
    if (as_if.is_served())
      return living.unsure.empty() ? "" : waiting_for_streams(living.unsure);
    return as_if.result_.waiting_for;
  }

  /// The operation cannot succeed: reverts it as far as that is safe.
  void fail(const std::string& why) {
    auto& op = next_.current;
    if (op.type == operation_type::provision) {
      op.failing_because = why;
      op.deadline = observations_.now + clean_up_time;
      next_.desired.node_count = 0;
      next_.desired.cells.clear();
    } else {
      if (op.desired_before)
        go_back(op);
      end_operation(operation_state::failed, why);
    }
  }

  /// Reverts an update. After the switchover of a move the leader is on the new nodes, and going
  /// back would move it a second time: then the new nodes stay. Settings are reverted in any case.
  void go_back(const operation& op) {
    const auto& before = *op.desired_before;
    bool same_places =
        before.cells == next_.desired.cells && same_nodes(before.settings, next_.desired.settings);
    if (!op.switched_over || same_places) {
      next_.desired = before;
      next_.parameters = op.parameters_before;
    } else if (same_nodes(before.settings, next_.desired.settings)) {
      next_.desired.settings = before.settings;
    } else {
      return;
    }
    next_.plan_id = op.plan_id_before;
    next_.maintenance_version = op.maintenance_version_before;
  }

  // -- its cluster, its endpoints, and its removal ------------------------------------------------

  void take_over(cluster_decision living) {
    const auto scope = record_.living.scope;
    next_.living = std::move(living.next);
    for (auto& n : living.buried)
      result_.buried.push_back({scope, std::move(n)});
    result_.waiting_for = std::move(living.waiting_for);
    result_.repair = std::move(living.repair);
    if (living.wants_turn)
      result_.wants_turn.push_back(scope);
    if (!next_.current.failing_because.empty())
      end_failed_provision();
    else if (living.reached && in_progress(next_) && is_served())
      succeed_if_sure(living);
    for (const auto& one : living.steps)
      result_.steps.emplace_back(scoped_step{scope, one});
    plan_rebuild(record_, observations_, living, next_, result_);
    bool alone = !record_.incoming && !record_.outgoing;
    if (!next_.desired.exists && next_.living.nodes.empty() && alone && next_ == record_)
      result_.steps.emplace_back(release_port{});
  }

  /// A failed provision removes what it made and then says why it failed.
  void end_failed_provision() {
    bool over = next_.living.nodes.empty() || observations_.now >= next_.current.deadline;
    if (in_progress(next_) && next_.desired.exists && over)
      end_operation(operation_state::failed, next_.current.failing_because);
  }

  /// Running nodes alone are no success: replicas have to stream as well.
  void succeed_if_sure(cluster_decision& living) {
    if (living.unsure.empty())
      return end_operation(operation_state::succeeded, describe(next_, observations_.living.seen));
    add_ask_lag(living.steps);
    result_.waiting_for = waiting_for_streams(living.unsure);
  }

  /// Whether clients can reach what the operation in progress has made; if not, notes what is
  /// missing.
  [[nodiscard]] bool is_served() {
    static const routers not_awaited;
    const auto& routing = observations_.routing ? *observations_.routing : not_awaited;
    bool new_port = next_.current.type == operation_type::provision;
    route wanted{observations_.routed_at, new_port ? next_.endpoints[endpoint::primary] : 0,
                 new_port || observations_.reroutes, observations_.routed_as};
    auto wait = waits_for(routing, wanted);
    // A record about to be written may change the route: then the routers have to serve that one.
    if (wait.over() && (!routing.awaited || routed_alike(record_, next_)))
      return true;
    result_.unserved = wanted;
    result_.waiting_for = words_of(wait, routing, wanted);
    if (wait.unbound.empty())
      return false;
    if (observations_.no_other_port.empty())
      result_.steps.emplace_back(change_port{wanted.port});
    else
      result_.waiting_for += ", and " + observations_.no_other_port;
    return false;
  }

  const record& record_;
  const instance_observations& observations_;
  record next_;
  decision result_;
};

} // namespace

decision decide(const record& known, const instance_observations& observations) {
  return planner{known, observations}.run();
}

record with_new_nodes(record known, const std::string& scope,
                      const std::vector<std::string>& node_ids,
                      const std::vector<std::string>& cells, wall_time now) {
  auto* of = known.cluster_of(scope);
  if (of == nullptr)
    return known;
  const auto& named = known.desired.cells;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    of->nodes.push_back({node_ids[i], cells[i], known.service_id, known.plan_id,
                         known.desired.settings.node_type, node_phase::placed,
                         now + start_timeout + start_margin});
    of->nodes.back().address = "";
    of->nodes.back().limits = known.desired.settings.limits;
    if (std::find(named.begin(), named.end(), cells[i]) == named.end())
      of->nodes.back().instead_of = named;
  }
  return known;
}

std::string describe(const record& known, const cluster_view& seen,
                     const std::string& waiting_for) {
  auto state_of = [&](const node& n) {
    auto found = seen.members.find(n.node_id);
    if (found == seen.members.end() || found->second.state.empty())
      return std::string{"stopped"};
    bool stands = found->second.running() && !seen.well(n.node_id);
    return found->second.state + (stands ? " but not replicating" : "");
  };
  std::string leader;
  std::vector<std::string> others;
  for (const auto& n : known.living.nodes) {
    if (n.phase == node_phase::removing && known.desired.exists)
      continue;
    if (seen.leads(n.node_id))
      leader = state_of(n);
    else
      others.push_back(state_of(n));
  }
  // A node that is wanted but not placed yet is shown as stopped.
  if (known.desired.exists)
    for (auto i = static_cast<int>(known.living.nodes.size()); i < known.desired.node_count; ++i)
      others.emplace_back("stopped");
  std::string text;
  if (!leader.empty())
    text = "master " + leader + (others.empty() ? "" : "; replicas " + list_of(others));
  else if (!others.empty())
    text = "members " + list_of(others);
  else
    text = "no members";
  if (!waiting_for.empty())
    text += "; " + waiting_for;
  return text;
}

} // namespace matriarch::model
