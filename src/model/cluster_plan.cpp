#include "model/cluster_plan.hpp"

#include <algorithm>
#include <utility>

#include "model/cluster_look.hpp"
#include "model/repair_plan.hpp"
#include "model/settings_plan.hpp"

namespace matriarch::model {

namespace {

/// Writes into the node what is confirmed by now. After a failed start, adds the cell and the
/// reason.
void note_confirmations_of(node& n, const cluster_observations& here, wall_time now,
                           rare_map<std::string, std::string>& failed_cells) {
  if (auto said = here.registered.find(n.node_id); said != here.registered.end()) {
    n.address = said->second.database;
    n.control_address = said->second.control;
    n.certified = said->second.certified;
    n.control_certified = said->second.control_certified;
  }
  bool has_member = here.seen.members.contains(n.node_id);
  bool started = here.confirmed_started.contains(n.node_id) || has_member;
  auto failed = here.failed_starts.find(n.node_id);
  // A start without an answer may still arrive. A start that the cell refused or never got does
  // not.
  bool certain_failure =
      failed != here.failed_starts.end() && !here.unanswered_starts.contains(n.node_id);
  if (started || certain_failure)
    n.start_may_arrive_until.reset();
  // Write the time down before asking the cell again: the next broker may have to ask.
  if (n.phase == node_phase::placed && n.start_may_arrive_until
      && *n.start_may_arrive_until < now + start_timeout)
    n.start_may_arrive_until = now + start_timeout + start_margin;
  if (n.phase == node_phase::placed && started) {
    n.phase = node_phase::started;
  } else if (n.phase == node_phase::placed && failed != here.failed_starts.end()) {
    n.phase = node_phase::removing;
    failed_cells[n.cell] = failed->second;
  }
  if (n.forgotten && n.phase != node_phase::removing && has_member)
    n.forgotten = false; // it came back after all
  if (here.resumed.contains(n.node_id))
    n.halted = false;
}

/// The cluster, the observations, and the decision while it is being made.
class cluster_planner {
public:
  cluster_planner(const cluster& known, const cluster_goal& goal, const cluster_observations& here,
                  const fleet_observations& fleet)
      : cluster_(known), goal_(goal), here_(here), fleet_(fleet) {
    auto confirmed = note_confirmations(known, here, fleet);
    next_ = std::move(confirmed.next);
    result_.buried = std::move(confirmed.buried);
    result_.failed_cells = std::move(confirmed.failed_cells);
  }

  cluster_decision run() {
    note_switchover();
    repair_marks marks;
    if (!goal_.wanted.exists)
      remove_all_nodes();
    else if (goal_.halted)
      halt();
    else if (settings_are_told() && repairs_allow_more(marks))
      approach();
    if (here_.ask_leader && look_.leader_runs())
      add_ask_lag(result_.steps);
    begin_copies_again();
    auto repairs = describe_repairs(look_, goal_, marks, cluster_.had_leader, result_.waiting_for);
    result_.repair = std::move(repairs.text);
    result_.wants_turn = repairs.wants_turn;
    for (const auto& n : cluster_.nodes)
      follow_up(n);
    if (goal_.wanted.exists && !goal_.halted)
      resume();
    follow_switchover();
    return std::move(result_);
  }

private:
  // -- what has happened ------------------------------------------------------------------------

  void note_switchover() {
    if (next_.switching_to.empty())
      return;
    result_.switched_over = here_.seen.leads(next_.switching_to);
    if (result_.switched_over || !here_.failed_switchover.empty()
        || next_.find_node(next_.switching_to) == nullptr)
      next_.switching_to.clear();
  }

  // -- towards the goal -------------------------------------------------------------------------

  [[nodiscard]] bool may_stay(const node& n) const {
    const auto& cells = goal_.wanted.cells;
    const auto& wanted = goal_.wanted.settings;
    if (!n.failing.empty() || n.node_type != wanted.node_type || n.limits != wanted.limits)
      return false;
    return cells.empty() || n.instead_of == cells
           || std::find(cells.begin(), cells.end(), n.cell) != cells.end();
  }

  void approach() {
    std::vector<node*> staying;
    std::vector<node*> leaving;
    for (auto& n : next_.nodes) {
      if (n.phase == node_phase::removing)
        continue;
      (may_stay(n) ? staying : leaving).push_back(&n);
    }
    auto wanted = static_cast<std::size_t>(goal_.wanted.node_count);
    // Nodes of another type start with the new settings, and need no restart for them.
    if (!leaving.empty() && staying.empty() && look_.all_run(leaving)
        && !apply(announce_settings(look_, goal_.wanted.settings)))
      return;
    if (staying.size() < wanted) {
      add(static_cast<int>(wanted - staying.size()), staying);
      return;
    }
    if (staying.size() > wanted && !shed(staying, wanted))
      return;
    if (!look_.all_run(staying)) {
      // A replica reports that it runs only in its next loop, up to ten seconds late. The leader
      // knows at once which replicas stream.
      if ((goal_.awaited() || here_.repair_turn) && here_.seen.running(here_.seen.leader)
          && look_.any_starts(staying))
        add_ask_lag(result_.steps);
      return;
    }
    // A node in phase `removing` can lead: its cell reported a failed start, or the node took over
    // while its cell was unreachable. Remove the node after a switchover.
    if (auto* leader = next_.find_node(here_.seen.leader);
        leader != nullptr && leader->phase == node_phase::removing)
      leaving.push_back(leader);
    if (!leaving.empty()) {
      let_go(staying, leaving);
      return;
    }
    if (removals_are_awaited()) {
      result_.waiting_for = removal_text();
      return;
    }
    if (!apply(take_up_settings(look_, goal_, staying)))
      return;
    result_.reached = next_.switching_to.empty() && look_.leader_among(staying);
    result_.unsure = look_.unsure(staying);
  }

  /// Whether the operation waits for removals. The user need not wait for the clean-up on a cell
  /// that failed to start a node or is lost, nor for a removal that an earlier operation left on a
  /// cell.
  [[nodiscard]] bool removals_are_awaited() const {
    return std::ranges::any_of(next_.nodes, [&](const node& n) {
      return n.phase == node_phase::removing && !has_failed(n.cell) && n.failing.empty()
             && !n.left_over && !look_.lost(n);
    });
  }

  /// Whether a node failed to start on this cell during the operation in progress.
  [[nodiscard]] bool has_failed(const std::string& cell) const {
    return goal_.failed_cells.contains(cell)
           || (goal_.awaited() && result_.failed_cells.contains(cell));
  }

  [[nodiscard]] std::string removal_text() const {
    std::vector<std::string> nodes;
    for (const auto& n : next_.nodes)
      if (n.phase == node_phase::removing)
        nodes.push_back(n.node_id + " from cell " + n.cell);
    return "removing " + list_of(nodes);
  }

  void add(int count, const std::vector<node*>& staying) {
    // Once there is data, a new node can copy only from a leader.
    if (next_.had_leader && !look_.leader_runs()) {
      result_.waiting_for = "waiting for a leader before a node is added";
      return;
    }
    placement_request where;
    where.count = count;
    where.settings = digest_of(goal_.wanted.settings);
    if (goal_.wanted.settings.limits)
      where.limits = *goal_.wanted.settings.limits;
    for (const auto* n : staying)
      where.used.push_back(n->cell);
    if (goal_.awaited() || !here_.repair_turn) {
      where.among = goal_.wanted.cells;
      where.avoid = goal_.failed_cells;
      if (goal_.awaited())
        for (const auto& [cell, why] : result_.failed_cells)
          where.avoid[cell] = why;
      // An instance may get more nodes with the settings that it has.
      where.unfit_too = goal_.keeps_settings;
    } else {
      // A node on the wrong cell is better than none. Cells whose node has failed come last.
      where.preferred = goal_.wanted.cells;
      where.unfit_too = true;
      where.avoid = fleet_.avoid;
      for (const auto& n : next_.nodes)
        if (n.phase == node_phase::removing && !n.failing.empty())
          where.used.push_back(n.cell);
    }
    if (here_.shortage) {
      result_.waiting_for = "no cell for a node: " + here_.shortage->shortage;
      if (!here_.shortage->may_improve) {
        result_.impossible = "no cell can take another node: " + here_.shortage->shortage;
        return;
      }
    }
    result_.steps.emplace_back(add_nodes{std::move(where)});
  }

  /// Removes nodes if there are too many on allowed cells: replicas only, the least useful first.
  /// The leader is never removed. Returns false if the leader has to be asked first which replicas
  /// stream: the only other replica that streams must not go.
  bool shed(std::vector<node*>& staying, std::size_t wanted) {
    if (look_.leader_runs() && !here_.lag_told && !look_.unsure(staying).empty()) {
      add_ask_lag(result_.steps);
      result_.waiting_for = "asking the leader which replicas stream";
      return false;
    }
    constexpr int indispensable = 4;
    auto rank = [&](const node* n) {
      if (look_.leads(*n) || next_.switching_to == n->node_id)
        return indispensable;
      if (look_.streams(*n))
        return look_.is_synchronous(*n) ? 3 : 2;
      return here_.seen.well(n->node_id) ? 1 : 0;
    };
    std::stable_sort(staying.begin(), staying.end(),
                     [&](const node* a, const node* b) { return rank(a) > rank(b); });
    // Without a leader it is unknown which copy is good: remove nothing. A start that was never
    // confirmed has no data yet, and may go.
    while (staying.size() > wanted && (look_.leader_runs() || !next_.had_leader)
           && rank(staying.back()) < indispensable) {
      staying.back()->phase = node_phase::removing;
      staying.pop_back();
    }
    if (staying.size() > wanted)
      result_.waiting_for = "waiting for a leader before a node is removed";
    return true;
  }

  /// Called when all nodes that stay run: removes the others once those that stay hold the data.
  void let_go(const std::vector<node*>& staying, const std::vector<node*>& leaving) {
    std::vector<std::string> behind;
    for (const auto* n : staying)
      if (!look_.leads(*n) && !look_.streams_without_lag(*n))
        behind.push_back(n->node_id);
    if (!behind.empty()) {
      add_ask_lag(result_.steps);
      result_.waiting_for = "waiting for " + list_of(behind) + " to stream without lag";
    } else if (look_.leader_among(staying)) {
      remove(leaving);
    } else if (auto able = look_.candidates(staying); able.empty()) {
      // The synchronous replica is one of the nodes that leave. After its removal the cluster makes
      // another replica synchronous; the leader and all nodes that stay keep running.
      for (auto* n : leaving)
        if (!look_.leads(*n) && n->failing.empty())
          n->phase = node_phase::removing;
      result_.waiting_for = "waiting for one of the nodes that stay to be the synchronous replica";
    } else {
      switch_over(able);
    }
  }

  void remove(const std::vector<node*>& leaving) {
    for (auto* n : leaving) {
      // Repair removes this node, not the user: the leader's last commits may exist only in its
      // copy.
      if (!n->failing.empty() && look_.is_synchronous(*n))
        result_.waiting_for =
            "node " + n->node_id + " is the synchronous replica, and is kept until another node is";
      else
        n->phase = node_phase::removing;
    }
    if (result_.waiting_for.empty())
      result_.waiting_for = removal_text();
  }

  /// `able`: at least one node; all of them stream.
  void switch_over(const std::vector<node*>& able) {
    if (!here_.failed_switchover.empty()) {
      result_.waiting_for = "the switchover failed and is tried again: " + here_.failed_switchover;
      return;
    }
    if (next_.switching_to.empty()) {
      auto nearest = std::min_element(able.begin(), able.end(), [&](auto* a, auto* b) {
        return here_.lag.at(a->node_id) < here_.lag.at(b->node_id);
      });
      next_.switching_to = (*nearest)->node_id;
    }
    result_.waiting_for = "switching over to " + next_.switching_to;
  }

  /// Asks for a recorded switchover. A switchover breaks a copy of the leader that is being made.
  /// An operation has time until its deadline: it waits for the copy. Without an operation, an
  /// operator wants the new leader now, and the copy begins again.
  void follow_switchover() {
    if (next_.switching_to.empty() || next_.switching_to != cluster_.switching_to)
      return;
    if (goal_.awaited() && look_.a_copy_is_made())
      result_.waiting_for = "waiting for a copy of the leader before it hands over";
    else if (!here_.seen.leader.empty())
      result_.steps.emplace_back(failover_from{here_.seen.leader, next_.switching_to});
  }

  /// A copy of a former leader may wait for ever for files that are gone: begin it again.
  void begin_copies_again() {
    if (!look_.leader_runs())
      return;
    for (const auto& n : next_.nodes) {
      auto from = here_.copied_leader.find(n.node_id);
      if (n.phase == node_phase::started && from != here_.copied_leader.end()
          && from->second != here_.seen.leader)
        result_.steps.emplace_back(copy_again{n.node_id});
    }
  }

  // -- settings and repair ----------------------------------------------------------------------

  /// Takes over the next part of a change of settings; true if the change is complete.
  bool apply(settings_plan plan) {
    next_.in_force = std::move(plan.in_force);
    next_.taking_up = std::move(plan.taking_up);
    std::ranges::move(plan.steps, std::back_inserter(result_.steps));
    if (!plan.waiting_for.empty())
      result_.waiting_for = std::move(plan.waiting_for);
    if (!plan.impossible.empty())
      result_.impossible = std::move(plan.impossible);
    if (plan.ask_leader)
      add_ask_lag(result_.steps);
    if (!plan.hand_over_to.empty())
      switch_over(plan.hand_over_to);
    return plan.done;
  }

  bool settings_are_told() { return apply(tell_settings(look_, goal_)); }

  bool repairs_allow_more(repair_marks& marks) {
    marks = mark_repairs(look_, goal_);
    next_.nodes = marks.nodes;
    if (marks.ask_leader)
      add_ask_lag(result_.steps);
    return marks.goes_on;
  }

  // -- stopped, and running again -----------------------------------------------------------------

  /// Stops the replicas first, so that none of them can take over when the leader stops.
  void halt() {
    for (auto& n : next_.nodes)
      n.halted = n.halted || n.phase == node_phase::started;
    next_.switching_to.clear();
    std::vector<std::string> left;
    for (const auto& n : cluster_.nodes)
      if (n.halted && !here_.halted.contains(n.node_id))
        left.push_back(n.node_id);
    for (const auto& id : left)
      if (!here_.seen.leads(id) || left.size() == 1)
        result_.steps.emplace_back(halt_node{id});
    if (!left.empty())
      result_.waiting_for = "stopping " + list_of(left);
  }

  /// A node that followed the leader may lack what that one has acknowledged last: it runs again only when
  /// the leader does, unless the leader's cell is away, or it does not come to run. That is then a failure
  /// of the leader like any other.
  void resume() {
    const auto* first = cluster_.find_node(goal_.first_again);
    bool can_lead = first != nullptr && first->phase != node_phase::removing && !look_.lost(*first)
                    && !first->forgotten && !here_.unhealthy.contains(first->node_id);
    const auto* leader = cluster_.find_node(here_.seen.leader);
    bool is_led = leader != nullptr && !leader->halted && look_.leader_runs();
    bool others_wait = can_lead && !is_led;
    for (const auto& n : cluster_.nodes)
      if (n.halted && n.phase != node_phase::removing && !look_.lost(n) && !n.forgotten
          && !here_.resumed.contains(n.node_id)
          && (!others_wait || &n == first || here_.seen.leads(n.node_id)))
        result_.steps.emplace_back(resume_node{n.node_id});
  }

  // -- away ---------------------------------------------------------------------------------------

  /// Removes the replicas first and the leader last, so that the leader ends cleanly and no replica
  /// takes over. A replica on a cell that does not answer is not waited for: the cell may be away
  /// for long.
  void remove_all_nodes() {
    if (next_.nodes.empty())
      return;
    bool replicas_left = false;
    for (auto& n : next_.nodes)
      if (!look_.leads(n)) {
        n.phase = node_phase::removing;
        replicas_left =
            replicas_left || !(here_.failed_removals.contains(n.node_id) || look_.lost(n));
      }
    if (!replicas_left)
      for (auto& n : next_.nodes)
        n.phase = node_phase::removing;
    next_.switching_to.clear();
    result_.waiting_for = removal_text();
  }

  // -- what the cluster as it was written allows --------------------------------------------------

  void follow_up(const node& n) {
    if (n.phase == node_phase::placed && !here_.confirmed_started.contains(n.node_id)
        && !here_.failed_starts.contains(n.node_id))
      result_.steps.emplace_back(start_node{n.node_id});
    else if (n.phase == node_phase::removing && !here_.confirmed_removed.contains(n.node_id)
             && !look_.lost(n)
             && (!goal_.wanted.exists || look_.may_be_removed(n, cluster_.had_leader)))
      result_.steps.emplace_back(remove_node{n.node_id});
  }

  const cluster& cluster_;
  const cluster_goal& goal_;
  const cluster_observations& here_;
  const fleet_observations& fleet_;
  cluster_decision result_;
  cluster& next_ = result_.next;
  const cluster_look look_{next_, here_, fleet_};
};

} // namespace

cluster_decision decide_cluster(const cluster& known, const cluster_goal& goal,
                                const cluster_observations& here, const fleet_observations& fleet) {
  return cluster_planner{known, goal, here, fleet}.run();
}

confirmed_cluster note_confirmations(const cluster& known, const cluster_observations& here,
                                     const fleet_observations& fleet) {
  confirmed_cluster noted{known};
  for (auto& n : noted.next.nodes)
    note_confirmations_of(n, here, fleet.now, noted.failed_cells);
  std::erase_if(noted.next.nodes, [&](const node& n) {
    bool confirmed = here.confirmed_removed.contains(n.node_id)
                     && (!n.start_may_arrive_until || fleet.now > *n.start_may_arrive_until);
    bool certain = n.phase == node_phase::removing && (confirmed || n.forgotten);
    if (certain)
      noted.buried.push_back(n);
    return certain;
  });
  if (!here.seen.leader.empty())
    noted.next.had_leader = true;
  return noted;
}

void add_ask_lag(std::vector<cluster_step>& steps) {
  bool asked = std::ranges::any_of(
      steps, [](const auto& one) { return std::holds_alternative<ask_lag>(one); });
  if (!asked)
    steps.emplace_back(ask_lag{});
}

std::string waiting_for_streams(const std::vector<std::string>& unsure) {
  return "waiting for " + list_of(unsure) + " to stream from the leader";
}

std::string list_of(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words)
    text += (text.empty() ? "" : ", ") + word;
  return text;
}

} // namespace matriarch::model
