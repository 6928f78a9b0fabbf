#include "model/plan.hpp"

#include <algorithm>
#include <iterator>

namespace matriarch::model {

namespace {

std::string list_of(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words)
    text += (text.empty() ? "" : ", ") + word;
  return text;
}

/// The record, what is seen, and the decision as it grows.
class planner {
public:
  planner(const record& known, const circumstances& around)
      : known_(known), around_(around), next_(known) {}

  decision run() {
    note_confirmations();
    note_switchover();
    give_up_in_time();
    if (!next_.desired.exists)
      remove_everything();
    else if (settings_are_told() && look_for_repairs())
      approach();
    if (around_.ask_leader && leader_runs())
      ask_leader();
    begin_copies_again();
    describe_repairs();
    for (const auto& n : known_.living.nodes)
      follow_up(n);
    bool agreed = !next_.living.switching_to.empty()
                  && next_.living.switching_to == known_.living.switching_to;
    // A copy ends with the leader that it is made of. A move has a deadline, and waits; whoever asks for
    // another leader outside of one wants it now, and the copy is begun again.
    if (agreed && in_progress() && a_copy_is_made())
      result_.waiting_for = "waiting for a copy of the leader before it hands over";
    else if (agreed && !around_.seen.leader.empty())
      result_.steps.push_back(failover_from{around_.seen.leader, next_.living.switching_to});
    if (next_ != known_)
      result_.write = std::move(next_);
    return std::move(result_);
  }

private:
  // -- what has happened ------------------------------------------------------------------------

  /// Writes down what the cells have confirmed since the last write.
  void note_confirmations() {
    for (auto& n : next_.living.nodes) {
      if (auto said = around_.registered.find(n.node_id); said != around_.registered.end()) {
        n.address = said->second.postgresql;
        n.patroni_address = said->second.patroni;
        n.certified = said->second.certified;
        n.patroni_certified = said->second.patroni_certified;
      }
      bool started =
          around_.confirmed_started.contains(n.node_id) || around_.seen.members.contains(n.node_id);
      auto failed = around_.failed_starts.find(n.node_id);
      // A start without an answer may still arrive; one that the cell refused, or never got, not.
      bool certain_failure =
          failed != around_.failed_starts.end() && !around_.unanswered_starts.contains(n.node_id);
      if (started || certain_failure)
        n.start_may_arrive_until.reset();
      // Before it is asked again, for instance by the next broker, that has to be written down.
      if (n.phase == node_phase::placed && n.start_may_arrive_until
          && *n.start_may_arrive_until < around_.now + start_timeout)
        n.start_may_arrive_until = around_.now + start_timeout + start_margin;
      if (n.phase == node_phase::placed && started) {
        n.phase = node_phase::started;
      } else if (n.phase == node_phase::placed && failed != around_.failed_starts.end()) {
        n.phase = node_phase::removing;
        if (in_progress())
          next_.current.failed_cells[n.cell] = failed->second;
      }
      if (n.forgotten && n.phase != node_phase::removing && has_member(n))
        n.forgotten = false; // it came back after all
    }
    std::erase_if(next_.living.nodes, [&](const node& n) {
      bool confirmed = around_.confirmed_removed.contains(n.node_id)
                       && (!n.start_may_arrive_until || around_.now > *n.start_may_arrive_until);
      bool certain = n.phase == node_phase::removing && (confirmed || n.forgotten);
      if (certain)
        result_.buried.push_back(n);
      return certain;
    });
    if (!around_.seen.leader.empty())
      next_.living.had_leader = true;
  }

  void note_switchover() {
    if (next_.living.switching_to.empty())
      return;
    if (around_.seen.leads(next_.living.switching_to)) {
      next_.living.switching_to.clear();
      if (in_progress())
        next_.current.switched_over = true;
    } else if (!around_.failed_switchover.empty()
               || next_.living.find_node(next_.living.switching_to) == nullptr) {
      next_.living.switching_to.clear();
    }
  }

  [[nodiscard]] bool in_progress() const {
    return next_.current.state == operation_state::in_progress;
  }

  void end_operation(operation_state as, std::string description) {
    next_.current.state = as;
    next_.current.description = std::move(description);
  }

  void give_up_in_time() {
    if (!in_progress() || around_.now < next_.current.deadline)
      return;
    if (next_.current.type == operation_type::deprovision) {
      // The instance stays marked for removal: cleaning goes on until nothing is left.
      end_operation(operation_state::failed,
                    "not removed in time: " + waiting_text() + "; removal goes on");
    } else if (next_.current.failing_because.empty()) {
      fail("not done in time: " + waiting_text());
    }
  }

  [[nodiscard]] std::string waiting_text() const {
    std::vector<std::string> left;
    for (const auto& n : next_.living.nodes) {
      if (n.phase != node_phase::removing)
        continue;
      auto why = around_.failed_removals.find(n.node_id);
      left.push_back("cell " + n.cell + " has not confirmed the removal of node " + n.node_id
                     + (why == around_.failed_removals.end() ? "" : " (" + why->second + ")")
                     + (lost(n) ? "; if the cell never comes back, tell it with matriarch "
                                  "forget-cell "
                                      + n.cell
                                : ""));
    }
    auto text = list_of(left);
    auto states = describe(next_, around_.seen);
    if (around_.shortage)
      text += (text.empty() ? "" : "; ") + ("no cell for a node: " + around_.shortage->shortage);
    else if (text.empty())
      text = waited_for();
    return text.empty() ? "last seen: " + states : text + "; last seen: " + states;
  }

  /// What the next step would be, or wait for, if there were time left.
  [[nodiscard]] std::string waited_for() const {
    planner as_if{known_, around_};
    as_if.note_confirmations();
    as_if.note_switchover();
    if (as_if.next_.desired.exists && as_if.settings_are_told() && as_if.look_for_repairs())
      as_if.approach();
    return as_if.result_.waiting_for;
  }

  /// The operation cannot succeed. What was asked for is taken back as far as that is safe.
  void fail(const std::string& why) {
    if (!in_progress())
      return;
    auto& op = next_.current;
    if (op.type == operation_type::provision) {
      op.failing_because = why;
      op.deadline = around_.now + clean_up_time;
      next_.desired.node_count = 0;
      next_.desired.cells.clear();
    } else {
      if (op.desired_before)
        go_back(op);
      next_.living.switching_to.clear();
      end_operation(operation_state::failed, why);
    }
  }

  /// What an update wanted is dropped. After the switchover of a move the new nodes hold the leader,
  /// and going back would move it twice: they stay. Settings go back in any case.
  void go_back(const operation& op) {
    const auto& before = *op.desired_before;
    bool same_places = before.cells == next_.desired.cells
                       && before.settings.node_type == next_.desired.settings.node_type;
    if (!op.switched_over || same_places) {
      next_.desired = before;
      next_.parameters = op.parameters_before;
    } else if (before.settings.node_type == next_.desired.settings.node_type) {
      next_.desired.settings = before.settings;
    } else {
      return;
    }
    next_.plan_id = op.plan_id_before;
    next_.maintenance_version = op.maintenance_version_before;
  }

  // -- towards what is desired ------------------------------------------------------------------

  [[nodiscard]] bool may_stay(const node& n) const {
    const auto& cells = next_.desired.cells;
    if (!n.failing.empty() || n.node_type != next_.desired.settings.node_type)
      return false;
    return cells.empty() || n.instead_of == cells
           || std::find(cells.begin(), cells.end(), n.cell) != cells.end();
  }

  /// As the leader has just said, or, of a Patroni that tells of it, the node itself.
  [[nodiscard]] bool streams(const node& n) const {
    auto found = around_.seen.members.find(n.node_id);
    return around_.lag.contains(n.node_id)
           || (found != around_.seen.members.end() && found->second.running()
               && found->second.streaming);
  }

  [[nodiscard]] bool streams_without_lag(const node& n) const {
    auto lag = around_.lag.find(n.node_id);
    return lag != around_.lag.end() && lag->second <= negligible_lag_bytes;
  }

  /// Whether it streams for sure, or leads: where a node is given up, or success told, it is not
  /// enough that the others run.
  [[nodiscard]] bool surely_well(const node& n) const {
    return around_.seen.leads(n.node_id) ? around_.seen.running(n.node_id) : streams(n);
  }

  void ask_leader() {
    bool asked = std::ranges::any_of(
        result_.steps, [](const step& one) { return std::holds_alternative<ask_lag>(one); });
    if (!asked)
      result_.steps.push_back(ask_lag{});
  }

  /// Whether all of these are well; the leader is asked until they are.
  bool all_surely_well(const std::vector<node*>& nodes) {
    std::vector<std::string> others;
    for (const auto* n : nodes)
      if (!surely_well(*n))
        others.push_back(n->node_id);
    if (others.empty())
      return true;
    ask_leader();
    result_.waiting_for = "waiting for " + list_of(others) + " to stream from the leader";
    return false;
  }

  void approach() {
    if (!next_.current.failing_because.empty()) {
      take_back();
      return;
    }
    std::vector<node*> staying;
    std::vector<node*> leaving;
    for (auto& n : next_.living.nodes) {
      if (n.phase == node_phase::removing)
        continue;
      (may_stay(n) ? staying : leaving).push_back(&n);
    }
    auto wanted = static_cast<std::size_t>(next_.desired.node_count);
    // Nodes of another type come up with the new settings, and need not be restarted for them.
    if (!leaving.empty() && staying.empty() && all_run(leaving) && !announce_settings())
      return;
    if (staying.size() < wanted) {
      add(static_cast<int>(wanted - staying.size()), staying);
      return;
    }
    if (staying.size() > wanted && !shed(staying, wanted))
      return;
    if (!all_run(staying)) {
      // Patroni says that a replica runs only in its next round, up to loop_wait late; the leader
      // knows at once who streams.
      if ((in_progress() || around_.repair_turn) && around_.seen.running(around_.seen.leader)
          && any_starts(staying))
        ask_leader();
      return;
    }
    // One that is on its way out leads all the same: its start came to nothing as far as its cell
    // said, or it took over while its cell was away. It goes as soon as it has handed over.
    if (auto* leader = next_.living.find_node(around_.seen.leader);
        leader != nullptr && leader->phase == node_phase::removing)
      leaving.push_back(leader);
    if (!leaving.empty()) {
      let_go(staying, leaving);
      return;
    }
    // A cell that failed to start a node may hang for long, and a lost one may be away for ever:
    // their clean-up is not the user's concern.
    // Nor is that what an earlier operation has left on a cell that does not confirm.
    bool removing =
        std::any_of(next_.living.nodes.begin(), next_.living.nodes.end(), [&](const node& n) {
          return n.phase == node_phase::removing && !next_.current.failed_cells.contains(n.cell)
                 && n.failing.empty() && !n.left_over && !lost(n);
        });
    if (removing) {
      result_.waiting_for = removal_text();
      return;
    }
    if (!take_up_settings(staying))
      return;
    if (in_progress() && next_.living.switching_to.empty() && leader_among(staying) && is_served()
        && all_surely_well(staying))
      end_operation(operation_state::succeeded, describe(next_, around_.seen));
  }

  /// Whether clients reach what the operation in progress has made; says what it waits for if not.
  [[nodiscard]] bool is_served() {
    static const routers not_awaited;
    const auto& routing = around_.routing ? *around_.routing : not_awaited;
    bool new_port = next_.current.type == operation_type::provision;
    route wanted{around_.routed_at, new_port ? next_.endpoints[endpoint::primary] : 0,
                 new_port || around_.reroutes, around_.routed_as};
    auto wait = waits_for(routing, wanted);
    // What is about to be written is something else to serve.
    if (wait.over() && (!routing.awaited || routed_alike(known_, next_)))
      return true;
    result_.unserved = wanted;
    result_.waiting_for = words_of(wait, routing, wanted);
    if (wait.unbound.empty())
      return false;
    if (around_.no_other_port.empty())
      result_.steps.push_back(change_port{wanted.port});
    else
      result_.waiting_for += ", and " + around_.no_other_port;
    return false;
  }

  [[nodiscard]] std::string removal_text() const {
    std::vector<std::string> nodes;
    for (const auto& n : next_.living.nodes)
      if (n.phase == node_phase::removing)
        nodes.push_back(n.node_id + " from cell " + n.cell);
    return "removing " + list_of(nodes);
  }

  [[nodiscard]] bool all_run(const std::vector<node*>& nodes) const {
    return !around_.seen.leader.empty()
           && std::all_of(nodes.begin(), nodes.end(),
                          [&](const node* n) { return around_.seen.running(n->node_id); });
  }

  [[nodiscard]] bool any_starts(const std::vector<node*>& nodes) const {
    return std::any_of(nodes.begin(), nodes.end(), [&](const node* n) {
      auto found = around_.seen.members.find(n->node_id);
      return found != around_.seen.members.end() && found->second.starting();
    });
  }

  [[nodiscard]] bool leader_among(const std::vector<node*>& nodes) const {
    return std::any_of(nodes.begin(), nodes.end(),
                       [&](const node* n) { return around_.seen.leads(n->node_id); });
  }

  void add(int count, const std::vector<node*>& staying) {
    // There is data already: without a leader a new node has nothing to copy.
    if (next_.living.had_leader && !leader_runs()) {
      result_.waiting_for = "waiting for a leader before a node is added";
      return;
    }
    placement_request where;
    where.count = count;
    where.settings = digest_of(next_.desired.settings);
    for (const auto* n : staying)
      where.used.push_back(n->cell);
    if (in_progress() || !around_.repair_turn) {
      where.among = next_.desired.cells;
      where.avoid = next_.current.failed_cells;
      // What the instance has already it may have more of.
      const auto& before = next_.current.desired_before;
      where.unfit_too = before && before->settings == next_.desired.settings;
    } else {
      // A node in the wrong place is better than none; but those that failed are the last to get
      // another.
      where.preferred = next_.desired.cells;
      where.unfit_too = true;
      where.avoid = around_.avoid;
      for (const auto& n : next_.living.nodes)
        if (n.phase == node_phase::removing && !n.failing.empty())
          where.used.push_back(n.cell);
    }
    if (around_.shortage) {
      result_.waiting_for = "no cell for a node: " + around_.shortage->shortage;
      if (!around_.shortage->may_improve) {
        fail("no cell can take another node: " + around_.shortage->shortage);
        return;
      }
    }
    result_.steps.push_back(add_nodes{std::move(where)});
  }

  /// Too many nodes on cells they may be on: replicas go, those first that are least of use. The
  /// leader is never the one removed. False if the leader has to be asked first who streams: the one
  /// that goes may be the only other one that does.
  bool shed(std::vector<node*>& staying, std::size_t wanted) {
    bool known = std::ranges::all_of(staying, [&](const node* n) { return surely_well(*n); });
    if (leader_runs() && !around_.lag_told && !known) {
      ask_leader();
      result_.waiting_for = "asking the leader which replicas stream";
      return false;
    }
    constexpr int indispensable = 4;
    auto rank = [&](const node* n) {
      if (around_.seen.leads(n->node_id) || next_.living.switching_to == n->node_id)
        return indispensable;
      if (streams(*n))
        return around_.seen.synchronous.contains(n->node_id) ? 3 : 2;
      return around_.seen.well(n->node_id) ? 1 : 0;
    };
    std::stable_sort(staying.begin(), staying.end(),
                     [&](const node* a, const node* b) { return rank(a) > rank(b); });
    // Without a leader there is no telling which copy is the good one: nothing is given up. A start
    // that was never confirmed holds no data yet.
    while (staying.size() > wanted && (leader_runs() || !next_.living.had_leader)
           && rank(staying.back()) < indispensable) {
      staying.back()->phase = node_phase::removing;
      staying.pop_back();
    }
    if (staying.size() > wanted)
      result_.waiting_for = "waiting for a leader before a node is removed";
    return true;
  }

  /// The nodes that stay all run; the others go, once those that stay hold the data.
  void let_go(const std::vector<node*>& staying, const std::vector<node*>& leaving) {
    std::vector<std::string> behind;
    for (const auto* n : staying)
      if (!around_.seen.leads(n->node_id) && !streams_without_lag(*n))
        behind.push_back(n->node_id);
    if (!behind.empty()) {
      ask_leader();
      result_.waiting_for = "waiting for " + list_of(behind) + " to stream without lag";
      return;
    }
    if (leader_among(staying)) {
      for (auto* n : leaving) {
        // No one asked for this one to go: the leader may have acknowledged by its copy alone.
        if (!n->failing.empty() && around_.seen.synchronous.contains(n->node_id))
          result_.waiting_for = "node " + n->node_id
                                + " is the synchronous replica, and not given up until another is";
        else
          n->phase = node_phase::removing;
      }
      if (result_.waiting_for.empty())
        result_.waiting_for = removal_text();
    } else if (candidates(staying).empty()) {
      // The synchronous replica is one of those that leave. Once they are gone Patroni makes
      // another one synchronous; the leader and all that stay still run meanwhile.
      for (auto* n : leaving)
        if (!around_.seen.leads(n->node_id) && n->failing.empty())
          n->phase = node_phase::removing;
      result_.waiting_for = "waiting for one of the nodes that stay to be the synchronous replica";
    } else {
      switch_over(candidates(staying));
    }
  }

  /// Those that may lead next.
  [[nodiscard]] std::vector<node*> candidates(const std::vector<node*>& nodes) const {
    std::vector<node*> able;
    std::ranges::copy_if(nodes, std::back_inserter(able), [&](const node* n) {
      return may_take_over(next_, around_.seen, n->node_id);
    });
    return able;
  }

  /// `able`: at least one, all of which stream.
  void switch_over(const std::vector<node*>& able) {
    if (!around_.failed_switchover.empty()) {
      result_.waiting_for =
          "the switchover failed and is tried again: " + around_.failed_switchover;
      return;
    }
    if (next_.living.switching_to.empty()) {
      auto nearest = std::min_element(able.begin(), able.end(), [&](auto* a, auto* b) {
        return around_.lag.at(a->node_id) < around_.lag.at(b->node_id);
      });
      next_.living.switching_to = (*nearest)->node_id;
    }
    result_.waiting_for = "switching over to " + next_.living.switching_to;
  }

  /// A copy of a leader that leads no more may wait for ever for what is gone.
  void begin_copies_again() {
    if (!leader_runs())
      return;
    for (const auto& n : next_.living.nodes) {
      auto from = around_.copied_leader.find(n.node_id);
      if (n.phase == node_phase::started && from != around_.copied_leader.end()
          && from->second != around_.seen.leader)
        result_.steps.push_back(copy_again{n.node_id});
    }
  }

  /// Whether a node that stays is still copying the leader.
  [[nodiscard]] bool a_copy_is_made() const {
    return std::ranges::any_of(next_.living.nodes, [&](const node& n) {
      auto found = around_.seen.members.find(n.node_id);
      return n.phase != node_phase::removing && n.failing.empty()
             && found != around_.seen.members.end() && found->second.copying();
    });
  }

  // -- settings ---------------------------------------------------------------------------------

  /// Makes the settings on the way to the desired ones Patroni's configuration; true once they are,
  /// or if there is nothing to change. It needs no node that runs, only one whose Patroni answers.
  bool announce_settings() {
    const auto& desired = next_.desired.settings;
    if (!next_.living.taking_up && same_configuration(next_.living.in_force, desired))
      return true;
    auto to = next_settings(next_.living.in_force, desired);
    if (next_.living.taking_up && next_.living.taking_up != to) {
      // Nodes may have taken up any of what is abandoned.
      next_.living.in_force = mixture_of(next_.living.in_force, *next_.living.taking_up);
      to = next_settings(next_.living.in_force, desired);
    }
    if (next_.living.taking_up != to) {
      next_.living.taking_up = to;
      return false;
    }
    auto digest = digest_of(to);
    if (around_.configured == digest)
      return true;
    result_.waiting_for = "telling Patroni the new settings";
    result_.steps.push_back(configure{configuration_patch(next_.living.in_force, to), digest});
    return false;
  }

  /// Settings that are written down are told whatever the nodes do, before anything else: if they
  /// are those of before an update that has failed, nodes start by nothing else, and nodes that are
  /// added would end by the others too. False if Patroni has yet to hear of them.
  bool settings_are_told() {
    if (!next_.living.taking_up)
      return true;
    fail_by_settings();
    if (!announce_settings())
      return false;
    for (const auto& n : next_.living.nodes)
      if (starts_anew(n)) {
        result_.waiting_for = "starting " + n.node_id + " with these settings";
        result_.steps.push_back(restart_node{n.node_id, true});
      }
    return true;
  }

  /// An update whose settings keep a node from starting cannot succeed.
  void fail_by_settings() {
    if (!in_progress() || next_.current.type != operation_type::update)
      return;
    for (const auto& n : next_.living.nodes)
      if (n.phase != node_phase::removing && starts_in_vain(n))
        return fail("node " + n.node_id
                    + " does not start with the new settings, as its log says; those of before are "
                      "put back");
  }

  [[nodiscard]] bool starts_in_vain(const node& n) const {
    auto failed = around_.failed_restarts.find(n.node_id);
    return failed != around_.failed_restarts.end() && failed->second >= hopeless_restarts
           && !around_.seen.running(n.node_id);
  }

  /// Whether its PostgreSQL has ended while settings are being taken up, and may start with those
  /// that count now.
  [[nodiscard]] bool starts_anew(const node& n) const {
    auto found = around_.seen.members.find(n.node_id);
    return next_.living.taking_up && n.phase == node_phase::started
           && found != around_.seen.members.end() && found->second.ended() && !starts_in_vain(n);
  }

  /// Brings the cluster to the desired settings; true once it has them. All nodes run.
  bool take_up_settings(const std::vector<node*>& nodes) {
    if (!announce_settings())
      return false;
    if (!next_.living.taking_up) {
      next_.living.in_force = next_.desired.settings;
      return true;
    }
    const auto to = *next_.living.taking_up;
    if (auto late = not_taken_up(nodes, digest_of(to)); !late.empty()) {
      result_.waiting_for = "waiting for " + list_of(late) + " to take up the new settings";
      result_.steps.push_back(ask_settings{std::move(late)});
    } else if (!restart_next(nodes, order_of(next_.living.in_force, to))) {
      next_.living.in_force = to;
      next_.living.taking_up.reset();
    }
    return false;
  }

  [[nodiscard]] std::vector<std::string> not_taken_up(const std::vector<node*>& nodes,
                                                      const std::string& digest) const {
    std::vector<std::string> late;
    for (const auto* n : nodes) {
      auto said = around_.settings.find(n->node_id);
      if (said == around_.settings.end() || said->second.digest != digest)
        late.push_back(n->node_id);
    }
    return late;
  }

  /// One node after the other restarts, so that all others run; false if none needs to any more.
  /// The leader hands over to a replica that has restarted, unless it has to be the first.
  bool restart_next(const std::vector<node*>& nodes, restart_order order) {
    std::vector<node*> replicas;
    bool leader_waits = false;
    const node* waiting_replica = nullptr;
    for (auto* n : nodes) {
      bool waits = around_.settings.at(n->node_id).pending_restart;
      if (around_.seen.leads(n->node_id)) {
        leader_waits = waits;
        continue;
      }
      replicas.push_back(n);
      if (waits && waiting_replica == nullptr)
        waiting_replica = n;
    }
    // A replica that still waits after a restart keeps what its primary has more of, because the
    // cluster began with more than its plan said: then the leader goes first after all.
    bool in_vain = waiting_replica != nullptr && restarted(waiting_replica->node_id);
    bool leader_goes = order == restart_order::leader_first || replicas.empty() || in_vain;
    // One at a time, while all others are well. What an operation that has failed leaves behind is
    // made good in any case: the settings themselves may be what keeps replicas from streaming.
    if (in_progress() && (leader_waits || (waiting_replica != nullptr && !in_vain))
        && !all_surely_well(nodes))
      return true;
    if (leader_waits && leader_goes && !restarted(around_.seen.leader))
      restart(around_.seen.leader);
    else if (waiting_replica != nullptr && !in_vain)
      restart(waiting_replica->node_id);
    else if (leader_waits && !leader_goes)
      hand_over(replicas);
    else if (leader_waits || in_vain)
      result_.waiting_for = "a node still asks for a restart after one; see its log";
    return leader_waits || waiting_replica != nullptr;
  }

  [[nodiscard]] bool restarted(const std::string& node_id) const {
    return around_.restarted.contains(node_id);
  }

  void restart(const std::string& node_id) {
    result_.waiting_for = "restarting " + node_id + " with the new settings";
    result_.steps.push_back(restart_node{node_id});
  }

  void hand_over(const std::vector<node*>& replicas) {
    auto able = candidates(replicas);
    std::erase_if(able, [&](const node* n) { return !streams_without_lag(*n); });
    if (!able.empty())
      return switch_over(able);
    ask_leader();
    result_.waiting_for = "waiting for a replica that can take over";
  }

  // -- repair -----------------------------------------------------------------------------------

  [[nodiscard]] bool has_member(const node& n) const {
    return around_.seen.members.contains(n.node_id);
  }

  [[nodiscard]] bool lost(const node& n) const { return around_.lost_cells.contains(n.cell); }

  /// A leader that nobody has written down is another cluster's, or a mistake: no reason to give
  /// anything up.
  [[nodiscard]] bool leader_runs() const {
    return around_.seen.running(around_.seen.leader)
           && next_.living.find_node(around_.seen.leader) != nullptr;
  }

  /// What is wrong with a node that ought to be well; empty if nothing is.
  [[nodiscard]] std::string trouble_with(const node& n) const {
    if (n.phase != node_phase::started || around_.seen.leads(n.node_id))
      return {};
    if (starts_anew(n))
      return {};
    if (n.forgotten && !has_member(n))
      return "cell " + n.cell + " was forgotten";
    if (lost(n) && !has_member(n))
      return "cell " + n.cell + " is lost";
    if (around_.unhealthy.contains(n.node_id) && !around_.seen.well(n.node_id) && !streams(n))
      return around_.seen.running(n.node_id) ? "it runs but does not replicate" : "it does not run";
    return {};
  }

  /// Why a repair would risk data now; empty if it would not.
  [[nodiscard]] std::string repair_risk() const {
    if (!around_.repair_halted.empty())
      return around_.repair_halted;
    if (around_.seen.leader.empty())
      return "no member leads, so there is no telling which copy is the good one; waiting for one "
             "to lead again";
    const auto* leader = next_.living.find_node(around_.seen.leader);
    if (leader == nullptr)
      return "the leader, " + around_.seen.leader
             + ", is not in this instance's record; see matriarch orphans";
    if (!leader_runs())
      return "the leader, " + around_.seen.leader + ", does not run yet";
    return {};
  }

  /// Marks the nodes that have to be replaced; false if nothing more may be done now. A marked node
  /// counts as one that leaves: so its replacement comes first, and it goes once that one streams.
  bool look_for_repairs() {
    auto present = std::count_if(next_.living.nodes.begin(), next_.living.nodes.end(),
                                 [](const node& n) { return n.phase != node_phase::removing; });
    const auto wanted = static_cast<std::ptrdiff_t>(next_.desired.node_count);
    bool marked = false;
    std::vector<node*> broken;
    for (auto& n : next_.living.nodes) {
      if (n.phase == node_phase::removing)
        continue;
      auto trouble = trouble_with(n);
      // It has come back before anything was put in its place, or everybody follows it now.
      // So it has while the leader waits for its word: Patroni names no other one as long as it runs.
      bool vouches =
          around_.seen.running(n.node_id) && around_.seen.synchronous.contains(n.node_id);
      if (!n.failing.empty() && trouble.empty()
          && (present <= wanted || vouches || around_.seen.leads(n.node_id)))
        n.failing.clear();
      if (!n.failing.empty())
        marked = true;
      else if (!trouble.empty())
        broken.push_back(&n);
    }
    if ((!marked && broken.empty()) || !next_.current.failing_because.empty())
      return true;
    // An update would wait for what is broken: it is replaced along with it, as is what was marked
    // before. A provision has its own way with nodes that fail.
    bool updating = in_progress() && next_.current.type == operation_type::update;
    if (in_progress() && (broken.empty() || !updating)) {
      if (!broken.empty())
        why_not_ = "waits for the end of the operation in progress";
      return true;
    }
    why_not_ = repair_risk();
    if (!why_not_.empty())
      return updating;
    // While no cell can take a node others may have their turn.
    result_.wants_turn = !around_.shortage;
    if (!around_.repair_turn) {
      why_not_ = around_.shortage ? "no cell can take a node: " + around_.shortage->shortage
                                  : "other instances are repaired first";
      return updating;
    }
    // Where a node is says much, and the leader knows: nothing is given up before it was asked.
    bool stands = std::ranges::any_of(
        broken, [&](const node* n) { return around_.seen.running(n->node_id); });
    if (stands && !around_.lag_told) {
      ask_leader();
      why_not_ = "asking the leader which replicas stream";
      return updating;
    }
    for (auto* n : broken) {
      n->failing = trouble_with(*n);
      // One too many already: this one was to replace another, and is replaced in its turn.
      if (present > wanted && !around_.seen.synchronous.contains(n->node_id)) {
        n->phase = node_phase::removing;
        --present;
      }
    }
    return true;
  }

  void describe_repairs() {
    if (!next_.desired.exists)
      return;
    result_.wants_turn =
        result_.wants_turn && std::ranges::any_of(next_.living.nodes, [&](const node& n) {
          return n.phase != node_phase::removing && !(n.failing + trouble_with(n)).empty();
        });
    std::vector<std::string> said;
    for (const auto& n : next_.living.nodes) {
      if (n.phase == node_phase::removing && !n.failing.empty())
        said.push_back("node " + n.node_id + " is removed from cell " + n.cell
                       + (lost(n)             ? " when the cell is back"
                          : may_be_removed(n) ? ""
                          : around_.seen.synchronous.contains(n.node_id)
                              ? ", but not while it is the synchronous replica"
                          : is_ahead(n)
                              ? ", but not while the leader is on an older timeline than it"
                              : ", but not while no other member leads and runs"));
      else if (n.phase != node_phase::removing && !n.failing.empty())
        said.push_back("replacing node " + n.node_id + " on cell " + n.cell + ": " + n.failing);
      else if (auto trouble = trouble_with(n); !trouble.empty())
        said.push_back("node " + n.node_id + " on cell " + n.cell
                       + " has to be replaced: " + trouble);
      else if (!n.instead_of.empty() && n.instead_of == next_.desired.cells)
        said.push_back("node " + n.node_id + " is on cell " + n.cell
                       + ", because none of the cells asked for was free");
    }
    if (said.empty())
      return;
    for (const auto& one : said)
      result_.repair += (result_.repair.empty() ? "" : "; ") + one;
    if (!why_not_.empty())
      result_.repair += "; not now: " + why_not_;
    else if (result_.wants_turn && !result_.waiting_for.empty())
      result_.repair += "; " + result_.waiting_for;
  }

  // -- away ---------------------------------------------------------------------------------------

  /// Replicas first, the leader last, so that it ends cleanly with nobody to take over. A replica
  /// on a cell that does not answer is not waited for: it may be away for long.
  void remove_all_nodes() {
    bool replicas_left = false;
    for (auto& n : next_.living.nodes)
      if (!around_.seen.leads(n.node_id)) {
        n.phase = node_phase::removing;
        replicas_left = replicas_left || !(around_.failed_removals.contains(n.node_id) || lost(n));
      }
    if (!replicas_left)
      for (auto& n : next_.living.nodes)
        n.phase = node_phase::removing;
    next_.living.switching_to.clear();
    result_.waiting_for = removal_text();
  }

  /// A failed provision removes what it made and then says why it failed.
  void take_back() {
    if (!next_.living.nodes.empty()) {
      remove_all_nodes();
      if (!in_progress() || around_.now < next_.current.deadline)
        return;
    }
    if (in_progress())
      end_operation(operation_state::failed, next_.current.failing_because);
  }

  void remove_everything() {
    if (!next_.living.nodes.empty())
      remove_all_nodes();
    else if (next_ == known_)
      result_.steps.push_back(release_port{});
  }

  // -- what the record as it stands allows --------------------------------------------------------

  void follow_up(const node& n) {
    if (n.phase == node_phase::placed && !around_.confirmed_started.contains(n.node_id)
        && !around_.failed_starts.contains(n.node_id)) {
      result_.steps.push_back(start_node{n.node_id});
    } else if (n.phase == node_phase::removing && !around_.confirmed_removed.contains(n.node_id)
               && !lost(n) && may_be_removed(n)) {
      result_.steps.push_back(remove_node{n.node_id});
    }
  }

  /// Nobody asked for this one to go, and it was promoted later than the leader: it may have
  /// acknowledged what the leader never had.
  [[nodiscard]] bool is_ahead(const node& n) const {
    auto leader = around_.seen.members.find(around_.seen.leader);
    auto found = around_.seen.members.find(n.node_id);
    return !n.failing.empty() && leader != around_.seen.members.end()
           && found != around_.seen.members.end() && leader->second.timeline > 0
           && found->second.timeline > leader->second.timeline;
  }

  /// A node that was to go long ago, on a cell that comes back only now, may hold the last copy.
  [[nodiscard]] bool may_be_removed(const node& n) const {
    if (!known_.desired.exists || !known_.current.failing_because.empty())
      return true;
    // A start that came to nothing, as its cell said, and leads all the same: there is data now.
    if (!known_.living.had_leader)
      return !around_.seen.leads(n.node_id);
    // Nobody asked for this one to go, and the leader acknowledges by its word.
    bool vouches = !n.failing.empty() && around_.seen.synchronous.contains(n.node_id);
    return leader_runs() && !around_.seen.leads(n.node_id) && !vouches && !is_ahead(n);
  }

  const record& known_;
  const circumstances& around_;
  record next_;
  decision result_;
  std::string why_not_; ///< why what has to be repaired is not, in words
};

} // namespace

decision decide(const record& known, const circumstances& around) {
  return planner{known, around}.run();
}

bool may_take_over(const record& known, const cluster_view& seen, const std::string& node_id) {
  if (!seen.well(node_id) || seen.leads(node_id))
    return false;
  // Patroni goes by what it was last told, before all nodes have taken it up.
  const auto& told = known.living.taking_up ? *known.living.taking_up : known.living.in_force;
  bool synchronous = told.synchronous != synchronous_mode::off;
  return !synchronous || seen.synchronous.contains(node_id);
}

record with_new_nodes(record known, const std::vector<std::string>& node_ids,
                      const std::vector<std::string>& cells, wall_time now) {
  const auto& named = known.desired.cells;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    known.living.nodes.push_back({node_ids[i], cells[i], known.service_id, known.plan_id,
                                  known.desired.settings.node_type, node_phase::placed,
                                  now + start_timeout + start_margin});
    known.living.nodes.back().address = "";
    if (std::find(named.begin(), named.end(), cells[i]) == named.end())
      known.living.nodes.back().instead_of = named;
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
  // What is asked for and not placed yet is as stopped as what is placed and not started yet.
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
