#include "model/switch_plan.hpp"

#include <algorithm>
#include <utility>

#include "model/routes.hpp"

namespace matriarch::model {

namespace {

/// Takes over the decision for a cluster beside the one that serves.
void take_over(cluster_decision& from, const std::string& scope, decision& into) {
  for (auto& n : from.buried)
    into.buried.push_back({scope, std::move(n)});
  if (from.wants_turn)
    into.wants_turn.push_back(scope);
  if (!from.repair.empty())
    into.repair += (into.repair.empty() ? "" : "; ") + from.repair;
  for (auto& one : from.steps)
    into.steps.emplace_back(scoped_step{scope, std::move(one)});
}

/// Removes a cluster that is no longer wanted. When its nodes are gone, it is forgotten.
void remove_cluster(const cluster& known, const cluster_observations& here,
                    const fleet_observations& observations, cluster& next, decision& result) {
  cluster_goal goal;
  goal.wanted.exists = false;
  auto decided = decide_cluster(known, goal, here, observations);
  next = std::move(decided.next);
  take_over(decided, known.scope, result);
  if (next.nodes.empty() && next == known)
    result.steps.emplace_back(forget_cluster{known.scope});
}

/// A leader's key may last for its ttl, and a synchronous leader waits for its replicas about as long.
duration longest_halt_of(const cluster& one) {
  return std::max<duration>(longest_halt,
                            std::chrono::seconds{one.in_force.ttl} + longest_halt / 3);
}

/// A rebuild in progress.
class switch_planner {
public:
  switch_planner(const record& known, const instance_observations& observations,
                 const cluster_decision& living, record& next, decision& result)
      : record_(known), observations_(observations), living_(living), next_(next), result_(result) {
  }

  void run() {
    if (!record_.desired.exists)
      return fail("the instance is being removed");
    if (record_.rebuilt->phase != rebuild_phase::promoting
        && (!record_.incoming || !observations_.incoming))
      return fail("there is no new cluster");
    switch (record_.rebuilt->phase) {
    case rebuild_phase::copying:
      return copy();
    case rebuild_phase::halting:
      return halt();
    case rebuild_phase::promoting:
      return promote();
    case rebuild_phase::ended:
      return;
    }
  }

private:
  void fail(const std::string& why) {
    auto& task = *next_.rebuilt;
    task.phase = rebuild_phase::ended;
    task.outcome = why;
    task.halt_until.reset();
  }

  void wait(const std::string& what) { result_.rebuilding = what; }

  // -- the new cluster is made, and follows -------------------------------------------------------

  void copy() {
    for (const auto& why : {why_not_to_halt_ever(), why_no_copy_comes()})
      if (!why.empty())
        return fail(why);
    if (!retains())
      add_step(record_.living.scope, retain{record_.living.retains_for});
    std::string left;
    if (record_.incoming->nodes.empty() && !retains()) {
      left = "the leader is told to keep what the new cluster will need";
    } else {
      auto made = make_incoming();
      if (!made.impossible.empty())
        return fail(made.impossible);
      follow_the_leader();
      left = why_not_to_switch(made);
    }
    if (left.empty())
      return begin_to_halt();
    if (observations_.now >= record_.rebuilt->deadline)
      return fail("not done in time: " + left);
    wait(left);
  }

  [[nodiscard]] bool retains() const {
    return observations_.living.retains_for == record_.living.retains_for;
  }

  void begin_to_halt() {
    const auto& leader = observations_.living.seen.leader;
    auto& task = *next_.rebuilt;
    task.phase = rebuild_phase::halting;
    task.halt_until = observations_.now + longest_halt_of(record_.living);
    task.leader = leader;
    task.history = observations_.living.flushed->history;
  }

  cluster_decision make_incoming() {
    cluster_goal goal{record_.desired};
    goal.who = waiting::for_change;
    goal.failed_cells = record_.rebuilt->failed_cells;
    auto decided = decide_cluster(*record_.incoming, goal, *observations_.incoming, observations_);
    *next_.incoming = decided.next;
    for (const auto& [cell, why] : decided.failed_cells)
      next_.rebuilt->failed_cells[cell] = why;
    take_over(decided, record_.incoming->scope, result_);
    return decided;
  }

  /// Another node may lead by now.
  void follow_the_leader() {
    auto place = place_of_leader(next_.living, observations_.living.seen);
    if (!place.empty() && place != record_.incoming->follows)
      next_.incoming->follows = std::move(place);
    else if (!observations_.incoming->seen.leader.empty() // before it has data nobody can be told
             && observations_.incoming->follows != record_.incoming->follows)
      add_step(record_.incoming->scope, follow{record_.incoming->follows});
  }

  /// Why one of the nodes that serve could be stopped at no time, or not be started again.
  [[nodiscard]] std::string why_not_to_halt_ever() const {
    for (const auto& n : record_.living.nodes)
      if (auto found = observations_.unable_to_halt.find(n.cell);
          found != observations_.unable_to_halt.end())
        return "cell " + n.cell + " of node " + n.node_id + " " + found->second
               + "; move the instance to other cells first";
    return {};
  }

  /// Why the new cluster will never have all, however long it is waited for.
  [[nodiscard]] std::string why_no_copy_comes() const {
    const auto& here = *observations_.incoming;
    // Nothing is repaired in a cluster that nobody leads: it is only a copy.
    if (here.seen.leader.empty())
      for (const auto& n : record_.incoming->nodes)
        if (n.phase == node_phase::started
            && (observations_.lost_cells.contains(n.cell) || n.forgotten))
          return "the new cluster: cell " + n.cell + " of node " + n.node_id + " is lost";
    const auto& living = observations_.living;
    const auto& follower = here.seen.leader;
    auto at = here.replayed.find(follower);
    if (living.lag_told && !living.lag.contains(follower) && at != here.replayed.end()
        && observations_.now < at->second.heard + replay_validity
        && observations_.now >= at->second.since + longest_idle_copy)
      return "the new cluster: " + follower
             + " gets nothing from the leader, and no further; the "
               "leader may have removed what it needs (max_slot_wal_keep_size)";
    return {};
  }

  /// What there is to wait for before the one that serves can be stopped; empty if nothing is.
  std::string why_not_to_switch(const cluster_decision& made) {
    if (!made.waiting_for.empty())
      return "the new cluster: " + made.waiting_for;
    if (!made.reached)
      return "the new cluster: its nodes do not all run yet";
    if (!made.unsure.empty()) {
      add_step(record_.incoming->scope, ask_lag{});
      return "the new cluster: " + waiting_for_streams(made.unsure);
    }
    if (observations_.incoming->follows != record_.incoming->follows
        || next_.incoming != record_.incoming)
      return "the new cluster is told whom to follow";
    return why_not_to_stop();
  }

  std::string why_not_to_stop() {
    if (record_.current.state == operation_state::in_progress)
      return "another operation is in progress";
    const auto& seen = observations_.living.seen;
    std::vector<std::string> not_calm;
    for (const auto& n : next_.living.nodes)
      if (n.phase != node_phase::started || n.halted || !n.failing.empty() || !seen.well(n.node_id)
          || observations_.lost_cells.contains(n.cell))
        not_calm.push_back("node " + n.node_id + " on cell " + n.cell);
    if (!not_calm.empty() || !living_.reached || next_.living != record_.living)
      return "waiting until all nodes of the cluster that serves run and are well"
             + (not_calm.empty() ? "" : ": not so " + list_of(not_calm));
    for (const auto& n : record_.living.nodes)
      if (!observations_.able_to_halt.contains(n.cell))
        return "waiting for cell " + n.cell + " to say whether it can stop a node";
    const auto& follower = observations_.incoming->seen.leader;
    if (auto unserved = why_not_served(); !unserved.empty())
      return unserved; // a router that cannot read the record would lead nowhere after the turn
    auto lag = observations_.living.lag.find(follower);
    bool told = observations_.living.lag_told && living_.unsure.empty();
    if (!told || lag == observations_.living.lag.end() || lag->second > negligible_lag_bytes) {
      add_step(record_.living.scope, ask_lag{});
      if (told && lag == observations_.living.lag.end())
        add_step(record_.incoming->scope, ask_position{follower});
      return told ? "waiting for " + follower + " to follow without lag"
                  : waiting_for_streams(living_.unsure);
    }
    return why_stop_would_be_long();
  }

  /// The stop of a leader writes down all that it holds in memory only, while clients wait.
  std::string why_stop_would_be_long() {
    const auto& leader = observations_.living.seen.leader;
    const auto& last = observations_.living.flushed;
    const bool counts =
        last && last->leader == leader && observations_.now < last->ended + flush_validity;
    if (counts && last->took <= quick_flush)
      return {};
    add_step(record_.living.scope, flush{leader});
    if (!counts)
      return leader + " writes down what it holds in memory only";
    return "waiting until " + leader + " writes down what it holds in memory only within "
           + seconds_of(quick_flush) + "; the last time it took " + seconds_of(last->took);
  }

  static std::string seconds_of(duration span) {
    return std::to_string(std::chrono::floor<std::chrono::seconds>(span).count()) + " s";
  }

  // -- the cluster that serves stops --------------------------------------------------------------

  void halt() {
    make_incoming();
    // Another node that came to lead has more than these, and another history.
    if (const auto& leader = observations_.living.seen.leader;
        !leader.empty() && leader != record_.rebuilt->leader) {
      if (record_.living.find_node(leader) != nullptr)
        next_.rebuilt->leader = leader;
      return fail("taken back, since " + leader + " came to lead in " + record_.living.scope
                  + " while its nodes were being stopped");
    }
    if (auto why = why_never_to_turn(); !why.empty())
      return fail("taken back, since " + why);
    auto left = why_not_to_turn();
    if (observations_.now >= record_.rebuilt->halt_until.value_or(observations_.now))
      return fail("taken back, since it was not done in time: "
                  + (left.empty() ? "the switch was not written" : left));
    if (left.empty())
      return turn();
    wait(left);
  }

  /// Why nobody will ever know where the data of the cluster that serves ends.
  [[nodiscard]] std::string why_never_to_turn() const {
    const auto& task = *record_.rebuilt;
    auto last = observations_.living.halted.find(task.leader);
    if (last == observations_.living.halted.end()
        || (last->second.led && last->second.history == task.history))
      return {};
    return task.leader
           + " did not stop cleanly as the leader that it was, so that nobody knows what "
             "was written last";
  }

  /// What there is to wait for until the new cluster surely has all; empty if it has.
  std::string why_not_to_turn() {
    std::vector<std::string> running;
    for (const auto& n : record_.living.nodes)
      if (!n.halted || !observations_.living.halted.contains(n.node_id)) {
        auto why = observations_.living.failed_halts.find(n.node_id);
        running.push_back(
            n.node_id
            + (why == observations_.living.failed_halts.end() ? "" : " (" + why->second + ")"));
      }
    if (!running.empty())
      return "waiting for word that " + list_of(running) + " has stopped";
    auto last = observations_.living.halted.find(record_.rebuilt->leader);
    if (last == observations_.living.halted.end())
      return record_.rebuilt->leader + " is no node of " + record_.living.scope + " any more";
    if (!observations_.living.seen.leader.empty())
      return observations_.living.seen.leader + " still has the leader key of "
             + record_.living.scope;
    // What was said before belongs to the copy: the node may have been rewound since.
    const auto began =
        record_.rebuilt->halt_until.value_or(observations_.now) - longest_halt_of(record_.living);
    std::vector<std::string> behind;
    for (const auto& n : record_.incoming->nodes) {
      if (n.phase == node_phase::removing)
        continue;
      auto at = observations_.incoming->replayed.find(n.node_id);
      if (at != observations_.incoming->replayed.end() && at->second.heard >= began
          && at->second.position >= last->second.position)
        continue;
      behind.push_back(n.node_id);
      add_step(record_.incoming->scope, ask_position{n.node_id});
    }
    return behind.empty() ? "" : "waiting until " + list_of(behind) + " has what was written last";
  }

  /// From here on it goes forward.
  void turn() {
    result_.unless_led = record_.living.scope;
    auto before = std::move(next_.living);
    next_.living = std::move(*next_.incoming);
    next_.outgoing = std::move(before);
    next_.incoming.reset();
    next_.rebuilt->phase = rebuild_phase::promoting;
    next_.rebuilt->halt_until.reset();
  }

  // -- the new cluster takes writes ---------------------------------------------------------------

  void promote() {
    const auto& seen = observations_.living.seen;
    auto leader = seen.members.find(seen.leader);
    // An earlier order to follow may have come late: its leader says so.
    bool follows = leader != seen.members.end() && leader->second.leads_standbys;
    if (follows || observations_.living.follows != std::string{}) {
      add_step(record_.living.scope, follow{});
      return wait("the new cluster is told to take writes");
    }
    if (leader == seen.members.end() || !leader->second.running() || !leader->second.takes_writes)
      return wait("waiting for a node of the new cluster to take writes");
    if (auto unserved = why_not_served(); !unserved.empty())
      return wait(unserved);
    next_.living.follows.clear();
    next_.rebuilt->phase = rebuild_phase::ended;
    next_.rebuilt->succeeded = true;
    next_.rebuilt->keep_until = observations_.now + longest_fallback;
  }

  /// Whether clients reach the new cluster by all routers; what is waited for if not.
  std::string why_not_served() {
    static const routers not_awaited;
    const auto& routing = observations_.routing ? *observations_.routing : not_awaited;
    route wanted{observations_.routed_at, 0, true, observations_.routed_as};
    auto wait = waits_for(routing, wanted);
    if (wait.over())
      return {};
    result_.unserved = wanted;
    return words_of(wait, routing, wanted);
  }

  void add_step(const std::string& scope, cluster_step what) {
    if (std::holds_alternative<ask_lag>(what)
        && std::ranges::any_of(result_.steps, [&](const step& one) {
             const auto* scoped = std::get_if<scoped_step>(&one);
             return scoped != nullptr && scoped->scope == scope
                    && std::holds_alternative<ask_lag>(scoped->what);
           }))
      return;
    result_.steps.emplace_back(scoped_step{scope, std::move(what)});
  }

  const record& record_;
  const instance_observations& observations_;
  const cluster_decision& living_;
  record& next_;
  decision& result_;
};

/// The nodes of the cluster that served have the only other copy of the data: they stay, stopped, until the
/// new one takes writes and its replicas stream; no longer if they are in the way of that.
bool is_kept_to_fall_back_on(const record& known, const instance_observations& observations,
                             const cluster_decision& living, decision& result) {
  auto leaves = [](const node& n) { return n.phase == node_phase::removing; };
  if (!known.desired.exists || std::ranges::any_of(known.outgoing->nodes, leaves))
    return false;
  if (known.is_being_rebuilt())
    return true;
  if (!known.rebuilt)
    return false; // nothing says how long: a record may be damaged
  auto until = known.rebuilt->keep_until.value_or(observations.now);
  if (observations.living.shortage)
    until -= longest_fallback - longest_fallback_in_shortage;
  if (observations.now >= until)
    return false;
  if (!living.reached)
    return true;
  if (living.unsure.empty())
    return false;
  result.steps.emplace_back(scoped_step{known.living.scope, ask_lag{}});
  return true;
}

/// What is left of a rebuild that has ended, and what came late of it.
void stand_alone(const record& known, const instance_observations& observations, record& next,
                 decision& result) {
  const auto& scope = known.living.scope;
  if (!known.living.retains_for.empty()) {
    if (observations.living.retains_for == std::string{})
      next.living.retains_for.clear();
    else
      result.steps.emplace_back(scoped_step{scope, retain{}});
  }
  auto leader = observations.living.seen.members.find(observations.living.seen.leader);
  if (leader != observations.living.seen.members.end() && leader->second.leads_standbys)
    result.steps.emplace_back(scoped_step{scope, follow{}});
}

} // namespace

void add_rebuild(cluster_goal& living, const record& known) {
  if (!known.rebuilt)
    return;
  living.halted = known.rebuilt->phase == rebuild_phase::halting && living.wanted.exists;
  living.first_again = known.rebuilt->leader;
}

void plan_rebuild(const record& known, const instance_observations& observations,
                  const cluster_decision& living, record& next, decision& result) {
  static const cluster_observations nothing;
  if (known.is_being_rebuilt())
    switch_planner{known, observations, living, next, result}.run();
  bool wanted = known.is_being_rebuilt() && known.desired.exists;
  if (known.incoming && !wanted)
    remove_cluster(*known.incoming, observations.incoming ? *observations.incoming : nothing,
                   observations, *next.incoming, result);
  if (known.outgoing && !is_kept_to_fall_back_on(known, observations, living, result))
    remove_cluster(*known.outgoing, observations.outgoing ? *observations.outgoing : nothing,
                   observations, *next.outgoing, result);
  if (known.desired.exists && !known.is_being_rebuilt())
    stand_alone(known, observations, next, result);
}

std::string place_of_leader(const cluster& one, const cluster_view& seen) {
  const auto* leader = one.find_node(seen.leader);
  return leader == nullptr || leader->phase != node_phase::started ? ""
                                                                   : leader->address.value_or("");
}

} // namespace matriarch::model
