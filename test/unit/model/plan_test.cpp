#include "model/plan.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "../../texts.hpp"
#include "an_engine.hpp"

using namespace matriarch::model;
using namespace std::chrono_literals;

namespace {

const wall_time start{1'700'000'000s};

node node_on(const std::string& id, const std::string& cell,
             node_phase phase = node_phase::started) {
  return {id, cell, "service", "plan", "", phase, std::nullopt};
}

/// A record whose operation of that type is in progress.
record instance_with(std::vector<node> nodes, operation_type type, int node_count = 2) {
  record r;
  r.instance_id = "i";
  r.service_id = "service";
  r.plan_id = "plan";
  r.phase = record_phase::accepted;
  r.desired.node_count = node_count;
  r.current.id = "op";
  r.current.type = type;
  r.current.started_at = start;
  r.current.deadline = start + 540s;
  r.living.nodes = std::move(nodes);
  r.living.had_leader = type != operation_type::provision;
  if (type == operation_type::deprovision)
    r.desired.exists = false;
  if (type == operation_type::update) {
    r.parameters = R"({"new":1})";
    r.current.desired_before = desired_state{true, 2, {}, {}};
    r.current.plan_id_before = "plan before";
    r.current.parameters_before = R"({"old":1})";
  }
  return r;
}

/// The nodes run, the first leads, and all confirmed their start.
instance_observations running(const std::vector<std::string>& ids, const std::string& leader) {
  auto c = nothing_seen();
  c.now = start + 10s;
  for (const auto& id : ids) {
    c.living.seen.members[id].state = "running";
    c.living.confirmed_started.insert(id);
    if (id != leader)
      c.living.lag[id] = 0;
  }
  c.living.seen.leader = leader;
  c.living.lag_told = !leader.empty();
  return c;
}

/// The same, before the leader was asked which replicas stream.
instance_observations unasked(instance_observations c) {
  c.living.lag.clear();
  c.living.lag_told = false;
  return c;
}

template <class T>
std::vector<T> steps_of(const decision& d) {
  std::vector<T> found;
  for (const auto& s : d.steps)
    if (const auto* one = step_as<T>(s))
      found.push_back(*one);
  return found;
}

template <class T>
std::vector<std::string> ids_of(const decision& d) {
  std::vector<std::string> ids;
  for (const auto& s : steps_of<T>(d))
    ids.push_back(s.node_id);
  return ids;
}

/// The record after what the decision writes.
record after(const record& known, const decision& d) {
  return d.write ? *d.write : known;
}

node_phase phase_of(const record& r, const std::string& id) {
  REQUIRE(r.living.find_node(id) != nullptr);
  return r.living.find_node(id)->phase;
}

using ids = std::vector<std::string>;

using matriarch::test::contains;

} // namespace

// -- provision ------------------------------------------------------------------------------------

TEST_CASE("a new instance first chooses cells for all its nodes and starts none") {
  auto known = instance_with({}, operation_type::provision, 3);
  known.desired.cells = {"a", "b", "c"};
  auto c = nothing_seen();
  c.now = start;
  auto d = decide(known, c);
  REQUIRE(steps_of<add_nodes>(d).size() == 1);
  auto where = steps_of<add_nodes>(d)[0].where;
  CHECK(where.count == 3);
  CHECK(where.among == known.desired.cells);
  CHECK(where.used.empty());
  CHECK(steps_of<start_node>(d).empty());
  CHECK_FALSE(d.write.has_value());
}

TEST_CASE("recorded nodes are started, and the record notes that a start may be on its way") {
  auto known = with_new_nodes(instance_with({}, operation_type::provision), "", {"n1", "n2"},
                              {"a", "b"}, start);
  CHECK(known.living.nodes[0].phase == node_phase::placed);
  CHECK(known.living.nodes[1].cell == "b");
  CHECK(known.living.nodes[1].plan_id == "plan");
  CHECK(known.living.nodes[1].start_may_arrive_until == start + start_timeout + start_margin);
  auto c = nothing_seen();
  c.now = start;
  auto d = decide(known, c);
  CHECK(ids_of<start_node>(d) == ids{"n1", "n2"});
  CHECK(steps_of<add_nodes>(d).empty());
}

TEST_CASE("a confirmed start is recorded and not requested again") {
  auto known = with_new_nodes(instance_with({}, operation_type::provision), "", {"n1", "n2"},
                              {"a", "b"}, start);
  auto c = nothing_seen();
  c.now = start;
  c.living.confirmed_started = {"n1"};
  auto d = decide(known, c);
  REQUIRE(d.write.has_value());
  CHECK(phase_of(*d.write, "n1") == node_phase::started);
  CHECK_FALSE(d.write->living.find_node("n1")->start_may_arrive_until.has_value());
  CHECK(phase_of(*d.write, "n2") == node_phase::placed);
  CHECK(ids_of<start_node>(d) == ids{"n2"});
}

TEST_CASE("a node that Patroni shows as a member has been started") {
  auto known =
      with_new_nodes(instance_with({}, operation_type::provision, 1), "", {"n1"}, {"a"}, start);
  auto c = nothing_seen();
  c.now = start;
  c.living.seen.members["n1"].state = "starting";
  auto d = decide(known, c);
  REQUIRE(d.write.has_value());
  CHECK(phase_of(*d.write, "n1") == node_phase::started);
}

TEST_CASE("provisioning succeeds only when all nodes run and one leads") {
  auto known = instance_with({node_on("n1", "a"), node_on("n2", "b")}, operation_type::provision);
  auto state = [&](const instance_observations& c) {
    return after(known, decide(known, c)).current.state;
  };
  CHECK(state(running({"n1"}, "n1")) == operation_state::in_progress);
  CHECK(state(running({"n1", "n2"}, "")) == operation_state::in_progress);
  auto starting = running({"n1", "n2"}, "n1");
  starting.living.seen.members["n2"].state = "creating replica";
  CHECK(state(starting) == operation_state::in_progress);
  auto stranger = running({"n1", "n2", "n3"}, "n3");
  CHECK(state(stranger) == operation_state::in_progress);
  auto d = decide(known, running({"n1", "n2"}, "n1"));
  REQUIRE(d.write.has_value());
  CHECK(d.write->current.state == operation_state::succeeded);
  CHECK(d.write->current.description == "master running; replicas running");
  CHECK(d.write->living.had_leader);
}

TEST_CASE("a node that its cell refused is removed, and another cell is asked for") {
  auto known = with_new_nodes(instance_with({}, operation_type::provision), "", {"n1", "n2"},
                              {"a", "b"}, start);
  auto c = nothing_seen();
  c.now = start;
  c.living.confirmed_started = {"n1"};
  c.living.failed_starts = {{"n2", "full"}};
  auto d = decide(known, c);
  REQUIRE(d.write.has_value());
  CHECK(phase_of(*d.write, "n2") == node_phase::removing);
  CHECK(d.write->current.failed_cells.at("b") == "full");
  CHECK(ids_of<start_node>(d).empty());
  REQUIRE(steps_of<add_nodes>(d).size() == 1);
  auto where = steps_of<add_nodes>(d)[0].where;
  CHECK(where.count == 1);
  CHECK(where.used == ids{"a"});
  CHECK(where.avoid == std::map<std::string, std::string>{{"b", "full"}});
  CHECK(ids_of<remove_node>(decide(*d.write, c)) == ids{"n2"});
}

TEST_CASE("success does not wait for the clean-up on a failed cell") {
  auto known = instance_with(
      {node_on("n1", "a"), node_on("n2", "b", node_phase::removing), node_on("n3", "c")},
      operation_type::provision);
  auto c = running({"n1", "n3"}, "n1");
  CHECK_FALSE(decide(known, c).write.value_or(known).current.state == operation_state::succeeded);
  known.current.failed_cells["b"] = "full";
  CHECK(after(known, decide(known, c)).current.state == operation_state::succeeded);
}

TEST_CASE("a shortage that may improve is waited for and told") {
  auto known = instance_with({}, operation_type::provision);
  auto c = nothing_seen();
  c.now = start;
  c.living.shortage = placement{{}, "a: cannot be reached", true};
  auto d = decide(known, c);
  CHECK_FALSE(d.write.has_value());
  CHECK(steps_of<add_nodes>(d).size() == 1);
  CHECK(d.waiting_for == "no cell for a node: a: cannot be reached");
}

TEST_CASE("a shortage that cannot improve fails the provision and removes its nodes") {
  auto known = instance_with({node_on("n1", "a")}, operation_type::provision);
  auto c = running({"n1"}, "n1");
  c.living.shortage = placement{{}, "b: full (10 nodes)", false};
  auto d = decide(known, c);
  REQUIRE(d.write.has_value());
  CHECK(steps_of<add_nodes>(d).empty());
  CHECK(d.write->current.failing_because == "no cell can take another node: b: full (10 nodes)");
  CHECK(d.write->current.state == operation_state::in_progress);
  CHECK(phase_of(*d.write, "n1") == node_phase::removing);
  CHECK(ids_of<remove_node>(d).empty()); // the record is written first
  CHECK(ids_of<remove_node>(decide(*d.write, c)) == ids{"n1"});
  c.living.confirmed_removed = {"n1"};
  auto end = decide(*d.write, c);
  REQUIRE(end.write.has_value());
  CHECK(end.write->living.nodes.empty());
  CHECK(end.write->current.state == operation_state::failed);
  CHECK(end.write->current.description == "no cell can take another node: b: full (10 nodes)");
  CHECK(end.write->desired.node_count == 0);
}

TEST_CASE("a provision that misses its deadline says what was waited for and what was last seen") {
  auto known = instance_with({node_on("n1", "a"), node_on("n2", "b")}, operation_type::provision);
  auto c = running({"n1"}, "n1");
  c.now = known.current.deadline;
  auto d = decide(known, c);
  REQUIRE(d.write.has_value());
  auto why = d.write->current.failing_because;
  CHECK(why == "not done in time: last seen: master running; replicas stopped");
  c.living.shortage = placement{{}, "x: cannot be reached", true};
  CHECK(contains(decide(known, c).write->current.failing_because,
                 "no cell for a node: x: cannot be reached; last seen: "));
}

TEST_CASE("a provision goes on until its deadline") {
  auto known = instance_with({node_on("n1", "a"), node_on("n2", "b")}, operation_type::provision);
  auto c = running({"n1"}, "n1");
  c.now = known.current.deadline - 1ms;
  CHECK(after(known, decide(known, c)).current.failing_because.empty());
}

TEST_CASE("a failed provision is reported after its clean-up time, and the removal goes on") {
  auto known = instance_with({node_on("n1", "a", node_phase::removing)}, operation_type::provision);
  known.current.failing_because = "why";
  known.current.deadline = start + clean_up_time;
  known.desired.node_count = 0;
  auto c = nothing_seen();
  c.now = start + clean_up_time - 1ms;
  CHECK_FALSE(decide(known, c).write.has_value());
  c.now = start + clean_up_time;
  auto d = decide(known, c);
  REQUIRE(d.write.has_value());
  CHECK(d.write->current.state == operation_state::failed);
  CHECK(d.write->current.description == "why");
  CHECK(ids_of<remove_node>(decide(*d.write, c)) == ids{"n1"});
}

TEST_CASE("after success the same observations lead to no steps") {
  auto known = instance_with({node_on("n1", "a"), node_on("n2", "b")}, operation_type::provision);
  auto c = running({"n1", "n2"}, "n1");
  known = after(known, decide(known, c));
  c.now = known.current.deadline + 1h;
  auto d = decide(known, c);
  CHECK_FALSE(d.write.has_value());
  CHECK(d.steps.empty());
}

TEST_CASE("a failover after success is no operation and no change") {
  auto known = instance_with({node_on("n1", "a"), node_on("n2", "b")}, operation_type::update);
  known.current.state = operation_state::succeeded;
  auto c = running({"n2"}, "n2");
  auto d = decide(known, c);
  CHECK_FALSE(d.write.has_value());
  CHECK(d.steps.empty());
}

// -- grow and shrink ------------------------------------------------------------------------------

TEST_CASE("growing asks for the missing nodes away from the cells in use") {
  auto known = instance_with({node_on("n1", "a"), node_on("n2", "b")}, operation_type::update, 4);
  auto d = decide(known, running({"n1", "n2"}, "n1"));
  REQUIRE(steps_of<add_nodes>(d).size() == 1);
  CHECK(steps_of<add_nodes>(d)[0].where.count == 2);
  CHECK(steps_of<add_nodes>(d)[0].where.used == ids{"a", "b"});
}

TEST_CASE("shrinking removes replicas, those that do not run first, and never the leader") {
  auto known = instance_with({node_on("n1", "a"), node_on("n2", "b"), node_on("n3", "c")},
                             operation_type::update, 2);
  auto d = decide(known, running({"n2", "n3"}, "n3"));
  REQUIRE(d.write.has_value());
  CHECK(phase_of(*d.write, "n1") == node_phase::removing);
  CHECK(phase_of(*d.write, "n2") == node_phase::started);
  CHECK(phase_of(*d.write, "n3") == node_phase::started);
  known.desired.node_count = 1;
  d = decide(known, running({"n1", "n2", "n3"}, "n3"));
  REQUIRE(d.write.has_value());
  CHECK(phase_of(*d.write, "n1") == node_phase::removing);
  CHECK(phase_of(*d.write, "n2") == node_phase::removing);
  CHECK(phase_of(*d.write, "n3") == node_phase::started);
}

TEST_CASE("a removal is a step only once it is written") {
  auto known = instance_with({node_on("n1", "a"), node_on("n2", "b")}, operation_type::update, 1);
  auto c = running({"n1", "n2"}, "n1");
  auto d = decide(known, c);
  REQUIRE(d.write.has_value());
  CHECK(steps_of<remove_node>(d).empty());
  CHECK(ids_of<remove_node>(decide(*d.write, c)) == ids{"n2"});
}

TEST_CASE("once there was data, no node is removed while no leader runs") {
  auto known = instance_with({node_on("n1", "a"), node_on("n2", "b")}, operation_type::update, 1);
  auto d = decide(known, running({"n1", "n2"}, ""));
  CHECK_FALSE(d.write.has_value());
  CHECK(d.waiting_for == "waiting for a leader before a node is removed");
  auto down = running({"n1", "n2"}, "n1");
  down.living.seen.members["n1"].state = "stopped";
  CHECK_FALSE(decide(known, down).write.has_value());
}

TEST_CASE("before the first leader, a surplus node is removed without a leader") {
  auto known =
      instance_with({node_on("n1", "a"), node_on("n2", "b")}, operation_type::provision, 1);
  auto c = nothing_seen();
  c.now = start;
  auto d = decide(known, c);
  REQUIRE(d.write.has_value());
  CHECK(phase_of(*d.write, "n2") == node_phase::removing);
}

TEST_CASE("a shrink succeeds only after the cell has confirmed the removal") {
  auto known = instance_with({node_on("n1", "a"), node_on("n2", "b", node_phase::removing)},
                             operation_type::update, 1);
  auto c = running({"n1", "n2"}, "n1");
  auto d = decide(known, c);
  CHECK_FALSE(d.write.has_value());
  CHECK(d.waiting_for == "removing n2 from cell b");
  c.living.confirmed_removed = {"n2"};
  d = decide(known, c);
  REQUIRE(d.write.has_value());
  CHECK(d.write->living.nodes.size() == 1);
  CHECK(d.write->current.state == operation_state::succeeded);
  REQUIRE(d.buried.size() == 1);
  CHECK(d.buried[0].which.node_id == "n2");
}

TEST_CASE("a leader is not removed, even if it is the first one") {
  auto known = instance_with({node_on("a", "1"), node_on("b", "2")}, operation_type::provision, 1);
  known.living.had_leader = false;
  known.living.find_node("a")->phase = node_phase::removing;
  auto c = running({"a", "b"}, "a");
  CHECK(ids_of<remove_node>(decide(known, c)).empty());
  c.living.seen.leader.clear();
  CHECK(ids_of<remove_node>(decide(known, c)) == ids{"a"});
}

TEST_CASE("a removed node stays in the record while its start may still arrive") {
  auto going = node_on("n2", "b", node_phase::removing);
  going.start_may_arrive_until = start + 20s;
  auto known = instance_with({node_on("n1", "a"), going}, operation_type::update, 1);
  auto c = running({"n1"}, "n1");
  c.living.confirmed_removed = {"n2"};
  c.now = start + 20s;
  auto d = decide(known, c);
  CHECK(after(known, d).living.find_node("n2") != nullptr);
  CHECK(d.buried.empty());
  CHECK(ids_of<remove_node>(d).empty());
  c.now = start + 20s + 1ms;
  d = decide(known, c);
  CHECK(after(known, d).living.find_node("n2") == nullptr);
  CHECK(d.buried.size() == 1);
}

TEST_CASE("a removed node whose start was refused leaves the record at once") {
  auto going = node_on("n2", "b", node_phase::removing);
  going.start_may_arrive_until = start + 1h;
  auto known = instance_with({node_on("n1", "a"), going}, operation_type::update, 1);
  auto c = running({"n1"}, "n1");
  c.living.confirmed_removed = {"n2"};
  c.living.failed_starts = {{"n2", "full"}};
  CHECK(after(known, decide(known, c)).living.find_node("n2") == nullptr);
}

// -- move -----------------------------------------------------------------------------------------

namespace {

/// n1 and n2 on a and b, to be on c and d; n3 and n4 are there already.
record moving() {
  auto known = instance_with(
      {node_on("n1", "a"), node_on("n2", "b"), node_on("n3", "c"), node_on("n4", "d")},
      operation_type::update);
  known.desired.cells = {"c", "d"};
  return known;
}

} // namespace

TEST_CASE("a move adds the new nodes first and removes nothing") {
  auto known = instance_with({node_on("n1", "a"), node_on("n2", "b")}, operation_type::update);
  known.desired.cells = {"b", "c"};
  auto d = decide(known, running({"n1", "n2"}, "n1"));
  CHECK_FALSE(d.write.has_value());
  REQUIRE(steps_of<add_nodes>(d).size() == 1);
  auto where = steps_of<add_nodes>(d)[0].where;
  CHECK(where.count == 1);
  CHECK(where.among == known.desired.cells);
  CHECK(where.used == ids{"b"});
}

TEST_CASE("a move removes nothing until all that stay run") {
  auto known = moving();
  auto c = running({"n1", "n2", "n3"}, "n1");
  c.living.lag = {{"n3", 0}, {"n4", 0}};
  auto d = decide(known, c);
  CHECK_FALSE(d.write.has_value());
  CHECK(d.steps.empty());
}

TEST_CASE("a move asks for the lag and removes nothing until all that stay stream") {
  auto known = moving();
  auto c = unasked(running({"n1", "n2", "n3", "n4"}, "n1"));
  auto d = decide(known, c);
  CHECK_FALSE(d.write.has_value());
  CHECK(steps_of<ask_lag>(d).size() == 1);
  CHECK(d.waiting_for == "waiting for n3, n4 to stream without lag");
  c.living.lag = {{"n3", 0}, {"n4", negligible_lag_bytes + 1}};
  d = decide(known, c);
  CHECK_FALSE(d.write.has_value());
  CHECK(d.waiting_for == "waiting for n4 to stream without lag");
}

TEST_CASE("a switchover goes to the replica with the least lag, and is recorded first") {
  auto known = moving();
  auto c = running({"n1", "n2", "n3", "n4"}, "n1");
  c.living.lag = {{"n3", negligible_lag_bytes}, {"n4", 10}};
  auto d = decide(known, c);
  REQUIRE(d.write.has_value());
  CHECK(d.write->living.switching_to == "n4");
  CHECK(steps_of<failover_from>(d).empty());
  auto next = decide(*d.write, c);
  REQUIRE(steps_of<failover_from>(next).size() == 1);
  CHECK(steps_of<failover_from>(next)[0].from == "n1");
  CHECK(steps_of<failover_from>(next)[0].to == "n4");
  CHECK(next.waiting_for == "switching over to n4");
  CHECK(steps_of<remove_node>(next).empty());
}

TEST_CASE("a leader to be removed hands over to a node that stays, then goes") {
  for (auto type : {operation_type::provision, operation_type::update}) {
    auto known = instance_with(
        {node_on("n1", "a", node_phase::removing), node_on("n2", "b"), node_on("n3", "c")}, type);
    known.living.had_leader = true;
    auto c = unasked(running({"n1", "n2", "n3"}, "n1"));
    auto d = decide(known, c);
    CHECK(steps_of<remove_node>(d).empty());
    CHECK(steps_of<ask_lag>(d).size() == 1);
    CHECK(d.waiting_for == "waiting for n2, n3 to stream without lag");
    c.living.lag = {{"n2", 10}, {"n3", 0}};
    d = decide(known, c);
    REQUIRE(d.write.has_value());
    CHECK(d.write->living.switching_to == "n3");
    known = *d.write;
    d = decide(known, c);
    REQUIRE(steps_of<failover_from>(d).size() == 1);
    CHECK(ids_of<remove_node>(d).empty());
    c.living.seen.leader = "n3";
    CHECK(ids_of<remove_node>(decide(known, c)) == ids{"n1"});
  }
}

TEST_CASE("no switchover is requested while there is no leader") {
  auto known = moving();
  known.living.switching_to = "n4";
  auto c = running({"n1", "n2", "n3", "n4"}, "");
  CHECK(steps_of<failover_from>(decide(known, c)).empty());
}

TEST_CASE("a switchover that failed is dropped, waits, and is then tried again") {
  auto known = moving();
  known.living.switching_to = "n4";
  auto c = running({"n1", "n2", "n3", "n4"}, "n1");
  c.living.lag = {{"n3", 5}, {"n4", 0}};
  c.living.failed_switchover = "no candidate";
  auto d = decide(known, c);
  REQUIRE(d.write.has_value());
  CHECK(d.write->living.switching_to.empty());
  CHECK(steps_of<failover_from>(d).empty());
  CHECK(contains(d.waiting_for, "no candidate"));
  auto waiting = decide(*d.write, c);
  CHECK_FALSE(waiting.write.has_value());
  CHECK(steps_of<failover_from>(waiting).empty());
  c.living.failed_switchover.clear();
  auto again = decide(*d.write, c);
  REQUIRE(again.write.has_value());
  CHECK(again.write->living.switching_to == "n4");
}

TEST_CASE("once a node that stays leads, the others go and the switchover is over") {
  auto known = moving();
  known.living.switching_to = "n4";
  auto c = running({"n1", "n2", "n3", "n4"}, "n4");
  c.living.lag = {{"n3", 0}};
  auto d = decide(known, c);
  REQUIRE(d.write.has_value());
  CHECK(d.write->living.switching_to.empty());
  CHECK(d.write->current.switched_over);
  CHECK(phase_of(*d.write, "n1") == node_phase::removing);
  CHECK(phase_of(*d.write, "n2") == node_phase::removing);
  CHECK(phase_of(*d.write, "n3") == node_phase::started);
  CHECK(phase_of(*d.write, "n4") == node_phase::started);
  CHECK(d.write->current.state == operation_state::in_progress);
}

TEST_CASE("after a switchover, the remaining replicas have to stream before the others go") {
  auto known = moving();
  known.living.switching_to = "n4";
  auto c = unasked(running({"n1", "n2", "n3", "n4"}, "n4"));
  auto d = decide(known, c);
  REQUIRE(d.write.has_value());
  CHECK(d.write->current.switched_over);
  CHECK(phase_of(*d.write, "n1") == node_phase::started);
  CHECK(steps_of<ask_lag>(d).size() == 1);
}

TEST_CASE("a switchover to a node that is no longer there is dropped") {
  auto known = moving();
  known.living.switching_to = "n9";
  auto c = running({"n1", "n2", "n3"}, "n1");
  auto d = decide(known, c);
  REQUIRE(d.write.has_value());
  CHECK(d.write->living.switching_to.empty());
}

TEST_CASE("an operation that misses its deadline says what it waited for") {
  auto known = moving();
  auto c = unasked(running({"n1", "n2", "n3", "n4"}, "n1"));
  c.now = known.current.deadline;
  CHECK(contains(decide(known, c).write->current.description,
                 "waiting for n3, n4 to stream without lag; last seen: master running"));
  c.living.lag = {{"n3", 0}, {"n4", 0}};
  c.living.failed_switchover = "412: not now";
  CHECK(contains(decide(known, c).write->current.description, "412: not now"));
}

TEST_CASE("an update does not wait for an earlier update's node on an unreachable cell") {
  auto known = instance_with(
      {node_on("n1", "a"), node_on("n2", "b"), node_on("n3", "c", node_phase::removing)},
      operation_type::update);
  auto c = running({"n1", "n2"}, "n1");
  CHECK_FALSE(decide(known, c).write); // the update waits for its own removal
  known.living.nodes[2].left_over = true;
  auto d = decide(known, c);
  REQUIRE(d.write);
  CHECK(d.write->current.state == operation_state::succeeded);
  CHECK(ids_of<remove_node>(d) == ids{"n3"}); // and goes on asking the cell
}

TEST_CASE("a move that misses its deadline before the switchover is reverted") {
  auto known = moving();
  known.living.switching_to = "n4";
  auto c = running({"n1", "n2", "n3"}, "n1");
  c.now = known.current.deadline;
  auto d = decide(known, c);
  REQUIRE(d.write.has_value());
  CHECK(d.write->current.state == operation_state::failed);
  CHECK(contains(d.write->current.description, "not done in time"));
  CHECK(contains(d.write->current.description,
                 "last seen: master running; replicas running, running"));
  CHECK(d.write->desired == *known.current.desired_before);
  CHECK(d.write->parameters == known.current.parameters_before);
  CHECK(d.write->living.switching_to.empty());
}

TEST_CASE("reverting keeps the leader and removes the nodes that the failed update added") {
  auto known = moving();
  auto c = running({"n1", "n2", "n3"}, "n1");
  c.now = known.current.deadline;
  known = after(known, decide(known, c));
  known = after(known, decide(known, c));
  int removing = 0;
  for (const auto& n : known.living.nodes)
    removing += n.phase == node_phase::removing ? 1 : 0;
  CHECK(removing == 2);
  CHECK(phase_of(known, "n1") == node_phase::started);
  CHECK(phase_of(known, "n4") == node_phase::removing);
  CHECK(known.current.state == operation_state::failed);
}

TEST_CASE("a move that misses its deadline after the switchover is not reverted") {
  auto known = moving();
  known.current.switched_over = true;
  auto c = running({"n1", "n2", "n4"}, "n4");
  c.now = known.current.deadline;
  auto d = decide(known, c);
  REQUIRE(d.write.has_value());
  CHECK(d.write->current.state == operation_state::failed);
  CHECK(d.write->desired == known.desired);
  CHECK(d.write->parameters == known.parameters);
  auto all = running({"n1", "n2", "n3", "n4"}, "n4");
  all.living.lag = {{"n3", 0}};
  auto later = decide(*d.write, all);
  REQUIRE(later.write.has_value());
  CHECK(phase_of(*later.write, "n1") == node_phase::removing);
  CHECK(phase_of(*later.write, "n2") == node_phase::removing);
}

TEST_CASE("an update whose nodes fit no cell fails at once and is reverted") {
  auto known = instance_with({node_on("n1", "a"), node_on("n2", "b")}, operation_type::update, 3);
  auto c = running({"n1", "n2"}, "n1");
  c.living.shortage = placement{{}, "c: full (1 nodes)", false};
  auto d = decide(known, c);
  REQUIRE(d.write.has_value());
  CHECK(d.write->current.state == operation_state::failed);
  CHECK(d.write->current.description == "no cell can take another node: c: full (1 nodes)");
  CHECK(d.write->desired == *known.current.desired_before);
  CHECK(d.write->parameters == R"({"old":1})");
  CHECK(steps_of<add_nodes>(d).empty());
}

// -- deprovision ----------------------------------------------------------------------------------

TEST_CASE("removal takes the replicas first and the leader last") {
  auto known = instance_with({node_on("n1", "a"), node_on("n2", "b"), node_on("n3", "c")},
                             operation_type::deprovision);
  auto c = running({"n1", "n2", "n3"}, "n2");
  auto d = decide(known, c);
  REQUIRE(d.write.has_value());
  CHECK(phase_of(*d.write, "n1") == node_phase::removing);
  CHECK(phase_of(*d.write, "n2") == node_phase::started);
  CHECK(phase_of(*d.write, "n3") == node_phase::removing);
  c.living.confirmed_removed = {"n1"};
  auto one_left = decide(*d.write, c);
  REQUIRE(one_left.write.has_value());
  CHECK(phase_of(*one_left.write, "n2") == node_phase::started);
  c.living.confirmed_removed = {"n1", "n3"};
  auto last = decide(*one_left.write, c);
  REQUIRE(last.write.has_value());
  CHECK(last.write->living.nodes.size() == 1);
  CHECK(phase_of(*last.write, "n2") == node_phase::removing);
}

TEST_CASE("while a replica starts, the leader is asked whether it streams already") {
  auto known = instance_with({node_on("n1", "a"), node_on("n2", "b")}, operation_type::provision);
  auto c = running({"n1", "n2"}, "n1");
  c.living.seen.members["n2"].state = "starting";
  known.living.had_leader = true;
  auto d = decide(known, c);
  CHECK(steps_of<ask_lag>(d).size() == 1);
  c.living.seen.members["n2"].state = "creating replica";
  CHECK(steps_of<ask_lag>(decide(known, c)).empty());
}

TEST_CASE("removal does not keep the leader for a replica whose cell is away") {
  auto known = instance_with({node_on("n1", "a", node_phase::removing), node_on("n2", "b")},
                             operation_type::deprovision);
  auto c = running({"n1", "n2"}, "n2");
  c.living.failed_removals["n1"] = "cannot be reached";
  auto d = decide(known, c);
  REQUIRE(d.write.has_value());
  CHECK(phase_of(*d.write, "n2") == node_phase::removing);
}

TEST_CASE("before a start is repeated, the record notes how long it may be on its way") {
  auto late = node_on("n1", "a", node_phase::placed);
  late.start_may_arrive_until = start + 1s;
  auto known = instance_with({late}, operation_type::provision);
  auto c = nothing_seen();
  c.now = start + 1min;
  auto d = decide(known, c);
  REQUIRE(d.write.has_value());
  CHECK(d.write->living.find_node("n1")->start_may_arrive_until
        == c.now + start_timeout + start_margin);
}

TEST_CASE("a removal starts no node, not even a recorded one") {
  auto known = instance_with({node_on("n1", "a", node_phase::placed)}, operation_type::deprovision);
  auto c = nothing_seen();
  c.now = start;
  auto d = decide(known, c);
  CHECK(steps_of<add_nodes>(d).empty());
  auto next = decide(after(known, d), c);
  CHECK(steps_of<start_node>(next).empty());
  CHECK(ids_of<remove_node>(next) == ids{"n1"});
}

TEST_CASE("the port is released only when the record without nodes is written") {
  auto known =
      instance_with({node_on("n1", "a", node_phase::removing)}, operation_type::deprovision);
  auto c = nothing_seen();
  c.now = start;
  CHECK(steps_of<release_port>(decide(known, c)).empty());
  c.living.confirmed_removed = {"n1"};
  auto d = decide(known, c);
  REQUIRE(d.write.has_value());
  CHECK(d.write->living.nodes.empty());
  CHECK(steps_of<release_port>(d).empty());
  auto end = decide(*d.write, c);
  CHECK_FALSE(end.write.has_value());
  CHECK(steps_of<release_port>(end).size() == 1);
}

TEST_CASE("a removal that misses its deadline names the cell that did not confirm, and goes on") {
  auto known =
      instance_with({node_on("n1", "a", node_phase::removing)}, operation_type::deprovision);
  auto c = nothing_seen();
  c.now = known.current.deadline;
  c.living.failed_removals = {{"n1", "connection refused"}};
  auto d = decide(known, c);
  REQUIRE(d.write.has_value());
  CHECK(d.write->current.state == operation_state::failed);
  CHECK(contains(d.write->current.description,
                 "cell a has not confirmed the removal of node n1 (connection refused)"));
  CHECK(contains(d.write->current.description, "last seen: members stopped"));
  CHECK_FALSE(d.write->desired.exists);
  CHECK(ids_of<remove_node>(decide(*d.write, c)) == ids{"n1"});
}

TEST_CASE("a removal during a switchover drops the switchover") {
  auto known = instance_with({node_on("n1", "a"), node_on("n2", "b")}, operation_type::deprovision);
  known.living.switching_to = "n2";
  auto d = decide(known, running({"n1", "n2"}, "n1"));
  REQUIRE(d.write.has_value());
  CHECK(d.write->living.switching_to.empty());
  CHECK(steps_of<failover_from>(d).empty());
}

// -- words ----------------------------------------------------------------------------------------

TEST_CASE("the description uses the words of the original") {
  auto known = instance_with({}, operation_type::provision);
  cluster_view seen;
  CHECK(describe(known, seen) == "members stopped, stopped");
  known.living.nodes = {node_on("n1", "a"), node_on("n2", "b")};
  seen.members["n1"].state = "starting";
  CHECK(describe(known, seen) == "members starting, stopped");
  seen.members["n1"].state = "running";
  seen.leader = "n1";
  CHECK(describe(known, seen) == "master running; replicas stopped");
  known.living.nodes.push_back(node_on("n3", "c"));
  seen.members["n3"].state = "creating replica";
  CHECK(describe(known, seen) == "master running; replicas stopped, creating replica");
}

TEST_CASE("the description of a single node names no replicas") {
  auto known = instance_with({node_on("n1", "a")}, operation_type::provision, 1);
  cluster_view seen;
  seen.members["n1"].state = "running";
  seen.leader = "n1";
  CHECK(describe(known, seen) == "master running");
}

TEST_CASE("what else is waited for follows the members' states") {
  auto known = instance_with({}, operation_type::provision, 1);
  CHECK(describe(known, {}, "no cell") == "members stopped; no cell");
}

TEST_CASE("nodes being removed are not described, unless the whole instance is removed") {
  auto known = instance_with({node_on("n1", "a"), node_on("n2", "b", node_phase::removing)},
                             operation_type::update, 1);
  auto seen = running({"n1", "n2"}, "n1").living.seen;
  CHECK(describe(known, seen) == "master running");
  known.desired.exists = false;
  CHECK(describe(known, seen) == "master running; replicas running");
  known.living.nodes.clear();
  CHECK(describe(known, {}) == "no members");
}

// -- settings -------------------------------------------------------------------------------------

namespace {

cluster_settings with_connections(const std::string& count) {
  cluster_settings settings;
  settings.parameters["max_connections"] = count;
  return settings;
}

/// Three nodes that run, `a` leads, and the settings of that many connections are wanted.
record changing(const std::string& from, const std::string& to) {
  auto known = instance_with({node_on("a", "1"), node_on("b", "2"), node_on("c", "3")},
                             operation_type::update, 3);
  known.living.in_force = with_connections(from);
  known.desired.settings = with_connections(to);
  known.current.desired_before->settings = known.living.in_force;
  known.current.desired_before->node_count = 3;
  return known;
}

/// All nodes have read these settings; the named ones wait for a restart.
void took_up(instance_observations& c, const cluster_settings& settings, const ids& waiting) {
  c.living.configured = digest_of(settings);
  for (const auto& [id, member] : c.living.seen.members)
    c.living.settings[id] = {c.living.configured, std::ranges::find(waiting, id) != waiting.end()};
}

} // namespace

TEST_CASE("new settings are recorded before Patroni is told") {
  auto known = changing("100", "200");
  auto c = running({"a", "b", "c"}, "a");
  auto first = decide(known, c);
  CHECK(steps_of<configure>(first).empty());
  REQUIRE(first.write);
  CHECK(first.write->living.taking_up == known.desired.settings);
  auto then = decide(*first.write, c);
  REQUIRE(steps_of<configure>(then).size() == 1);
  CHECK(steps_of<configure>(then)[0].digest == digest_of(known.desired.settings));
}

TEST_CASE("nodes are asked until all have read the settings") {
  auto known = changing("100", "200");
  known.living.taking_up = known.desired.settings;
  auto c = running({"a", "b", "c"}, "a");
  took_up(c, known.desired.settings, {});
  c.living.settings["b"].digest = "older";
  auto d = decide(known, c);
  REQUIRE(steps_of<ask_settings>(d).size() == 1);
  CHECK(steps_of<ask_settings>(d)[0].node_ids == ids{"b"});
  CHECK(steps_of<restart_node>(d).empty());
}

TEST_CASE("more connections: replicas restart one by one, then one of them takes over") {
  auto known = changing("100", "200");
  known.living.taking_up = known.desired.settings;
  auto c = running({"a", "b", "c"}, "a");
  took_up(c, known.desired.settings, {"a", "b", "c"});
  CHECK(ids_of<restart_node>(decide(known, c)) == ids{"b"});
  // A late request must not restart a node that has restarted in the meantime.
  CHECK_FALSE(steps_of<restart_node>(decide(known, c)).front().ended);
  took_up(c, known.desired.settings, {"a", "c"});
  CHECK(ids_of<restart_node>(decide(known, c)) == ids{"c"});
  took_up(c, known.desired.settings, {"a"});
  c = unasked(c);
  auto asking = decide(known, c);
  CHECK(steps_of<ask_lag>(asking).size() == 1);
  CHECK_FALSE(asking.write);
  c.living.lag = {{"b", 10}, {"c", 0}};
  auto handing = decide(known, c);
  REQUIRE(handing.write);
  CHECK(handing.write->living.switching_to == "c");
  CHECK(steps_of<restart_node>(handing).empty());
}

TEST_CASE("fewer connections: the leader restarts first, and no replica takes over") {
  auto known = changing("200", "100");
  known.living.taking_up = known.desired.settings;
  auto c = running({"a", "b", "c"}, "a");
  took_up(c, known.desired.settings, {"a", "b", "c"});
  CHECK(ids_of<restart_node>(decide(known, c)) == ids{"a"});
  took_up(c, known.desired.settings, {"b", "c"});
  CHECK(ids_of<restart_node>(decide(known, c)) == ids{"b"});
}

TEST_CASE("if a replica needs a restart after its restart, the leader restarts first") {
  auto known = changing("100", "200");
  known.living.taking_up = known.desired.settings;
  auto c = running({"a", "b", "c"}, "a");
  took_up(c, known.desired.settings, {"a", "b", "c"});
  c.living.restarted = {"b"};
  CHECK(ids_of<restart_node>(decide(known, c)) == ids{"a"});
  // No node is restarted again and again.
  c.living.restarted = {"a", "b"};
  auto d = decide(known, c);
  CHECK(ids_of<restart_node>(d).empty());
  CHECK(contains(d.waiting_for, "still asks for a restart"));
}

TEST_CASE("the next node restarts only when all run again") {
  auto known = changing("100", "200");
  known.living.taking_up = known.desired.settings;
  auto c = running({"a", "b", "c"}, "a");
  took_up(c, known.desired.settings, {"a", "c"});
  c.living.seen.members["b"].state = "restarting";
  CHECK(ids_of<restart_node>(decide(known, c)).empty());
}

TEST_CASE("a lone leader restarts in place") {
  auto known = changing("100", "200");
  known.living.taking_up = known.desired.settings;
  known.living.nodes = {node_on("a", "1")};
  known.desired.node_count = 1;
  auto c = running({"a"}, "a");
  took_up(c, known.desired.settings, {"a"});
  CHECK(ids_of<restart_node>(decide(known, c)) == ids{"a"});
}

TEST_CASE("an update succeeds when every node has the new settings") {
  auto known = changing("100", "200");
  known.living.taking_up = known.desired.settings;
  auto c = running({"a", "b", "c"}, "a");
  took_up(c, known.desired.settings, {});
  auto next = after(known, decide(known, c));
  CHECK(next.living.in_force == known.desired.settings);
  CHECK_FALSE(next.living.taking_up);
  CHECK(after(next, decide(next, c)).current.state == operation_state::succeeded);
}

TEST_CASE("an update that misses its deadline reverts plan and settings, on every node") {
  auto known = changing("100", "200");
  known.living.taking_up = known.desired.settings;
  known.plan_id = "new plan";
  auto c = running({"a", "b", "c"}, "a");
  took_up(c, known.desired.settings, {"a", "c"});
  c.now = known.current.deadline;
  auto failed = after(known, decide(known, c));
  CHECK(failed.current.state == operation_state::failed);
  CHECK(failed.plan_id == "plan before");
  CHECK(failed.desired.settings == with_connections("100"));
  auto back = after(failed, decide(failed, c));
  CHECK(back.living.taking_up == with_connections("100"));
  auto told = decide(back, c);
  REQUIRE(steps_of<configure>(told).size() == 1);
  CHECK(steps_of<configure>(told)[0].digest == digest_of(with_connections("100")));
}

TEST_CASE("a parameter that only the abandoned settings had is unset on the way back") {
  auto known = changing("100", "100");
  known.living.taking_up = with_connections("100");
  known.living.taking_up->parameters["work_mem"] = "8MB";
  auto c = running({"a", "b", "c"}, "a");
  auto back = after(known, decide(known, c));
  CHECK(back.living.taking_up == known.desired.settings);
  auto told = decide(back, c);
  REQUIRE(steps_of<configure>(told).size() == 1);
  CHECK(contains(steps_of<configure>(told)[0].patch, "\"work_mem\":null"));
}

TEST_CASE("if some parameters are raised and others lowered, all nodes raise theirs first") {
  auto known = changing("100", "200");
  known.living.in_force.parameters["max_prepared_transactions"] = "50";
  auto c = running({"a", "b", "c"}, "a");
  auto between = known.desired.settings;
  between.parameters["max_prepared_transactions"] = "50";
  auto first = after(known, decide(known, c));
  CHECK(first.living.taking_up == between);
  took_up(c, between, {"b"});
  CHECK(ids_of<restart_node>(decide(first, c)) == ids{"b"});
  took_up(c, between, {});
  auto half = after(first, decide(first, c));
  CHECK(half.living.in_force == between);
  CHECK(after(half, decide(half, c)).living.taking_up == known.desired.settings);
}

TEST_CASE("a node that does not start with new settings fails the update, which is reverted") {
  auto known = changing("100", "200");
  known.living.taking_up = known.desired.settings;
  known.plan_id = "new plan";
  auto c = running({"a", "b", "c"}, "a");
  took_up(c, known.desired.settings, {"a", "c"});
  c.living.seen.members["b"].state = "start failed";
  c.living.failed_restarts["b"] = 1;
  CHECK(ids_of<restart_node>(decide(known, c)) == ids{"b"});
  c.living.failed_restarts["b"] = hopeless_restarts;
  auto failed = after(known, decide(known, c));
  CHECK(failed.current.state == operation_state::failed);
  CHECK(contains(failed.current.description, "node b does not start with the new settings"));
  CHECK(failed.plan_id == "plan before");
  CHECK(failed.living.taking_up == with_connections("100"));
  auto told = decide(failed, c);
  REQUIRE(steps_of<configure>(told).size() == 1);
  CHECK(ids_of<restart_node>(told).empty());
}

TEST_CASE("settings are reverted even if no node runs or leads") {
  auto known = changing("100", "100");
  known.living.taking_up = with_connections("200");
  known.current.state = operation_state::failed;
  auto c = running({"a", "b", "c"}, "");
  for (const auto* id : {"a", "b", "c"})
    c.living.seen.members[id].state = "start failed";
  known = after(known, decide(known, c));
  CHECK(known.living.taking_up == with_connections("100"));
  CHECK(steps_of<configure>(decide(known, c)).size() == 1);
  c.living.configured = digest_of(*known.living.taking_up);
  CHECK(ids_of<restart_node>(decide(known, c)) == ids{"a", "b", "c"});
  CHECK(steps_of<restart_node>(decide(known, c)).front().ended);
}

TEST_CASE("nodes that new settings stopped are started with the old ones, not replaced") {
  auto known = changing("100", "100");
  known.living.taking_up = known.desired.settings;
  known.current.state = operation_state::failed;
  auto c = running({"a", "b", "c"}, "a");
  c.living.configured = digest_of(*known.living.taking_up);
  c.living.seen.members["b"].state = "start failed";
  c.living.unhealthy = {"b"};
  c.living.repair_turn = true;
  c.living.lag.erase("b");
  auto d = decide(known, c);
  CHECK(ids_of<restart_node>(d) == ids{"b"});
  CHECK_FALSE(d.write);
  // A node that does not start with the old settings either is replaced.
  c.living.failed_restarts["b"] = hopeless_restarts;
  d = decide(known, c);
  CHECK(ids_of<restart_node>(d).empty());
  REQUIRE(d.write);
  CHECK_FALSE(d.write->living.find_node("b")->failing.empty());
}

TEST_CASE("after a switchover, settings are reverted but a move to other cells is not") {
  auto known = changing("100", "200");
  known.current.switched_over = true;
  known.living.taking_up = known.desired.settings;
  known.plan_id = "new plan";
  auto c = running({"a", "b", "c"}, "a");
  took_up(c, known.desired.settings, {"b"});
  c.now = known.current.deadline;
  auto failed = after(known, decide(known, c));
  CHECK(failed.desired == *known.current.desired_before);
  CHECK(failed.plan_id == "plan before");
  known.desired.cells = {"1", "2", "3"};
  auto moved = after(known, decide(known, c));
  CHECK(moved.desired.settings == with_connections("100"));
  CHECK(moved.desired.cells == ids{"1", "2", "3"});
  CHECK(moved.plan_id == "plan before");
}

TEST_CASE("a leader does not hand over while a remaining node copies it") {
  auto known = instance_with({node_on("a", "1"), node_on("b", "2"), node_on("c", "3")},
                             operation_type::update, 3);
  known.living.switching_to = "b";
  auto c = running({"a", "b", "c"}, "a");
  CHECK(steps_of<failover_from>(decide(known, c)).size() == 1);
  c.living.seen.members["c"].state = "creating replica";
  CHECK(steps_of<failover_from>(decide(known, c)).empty());
  known.living.find_node("c")->phase = node_phase::removing;
  CHECK(steps_of<failover_from>(decide(known, c)).size() == 1);
}

TEST_CASE("a demotion hands over while another node copies the leader") {
  auto known = instance_with({node_on("a", "1"), node_on("b", "2"), node_on("c", "3")},
                             operation_type::update, 3);
  known.current.state = operation_state::succeeded;
  known.living.switching_to = "b";
  auto c = running({"a", "b", "c"}, "a");
  c.living.seen.members["c"].state = "creating replica";
  CHECK(steps_of<failover_from>(decide(known, c)).size() == 1);
}

TEST_CASE("only the copy of a former leader is begun again") {
  auto known = instance_with({node_on("a", "1"), node_on("b", "2")}, operation_type::update, 2);
  auto c = running({"a", "b"}, "a");
  c.living.seen.members["b"].state = "creating replica";
  c.living.copied_leader["b"] = "a";
  CHECK(steps_of<copy_again>(decide(known, c)).empty());
  c.living.copied_leader["b"] = "z";
  CHECK(ids_of<copy_again>(decide(known, c)) == ids{"b"});
  c.living.seen.leader.clear();
  CHECK(steps_of<copy_again>(decide(known, c)).empty());
}

TEST_CASE("other limits replace every node, and new nodes are placed with them") {
  auto known = instance_with({node_on("a", "1"), node_on("b", "2")}, operation_type::update);
  known.desired.settings.limits = node_limits{1LL << 30, 0, 0, 0};
  auto c = running({"a", "b"}, "a");
  auto d = decide(known, c);
  REQUIRE(steps_of<add_nodes>(d).size() == 1);
  CHECK(steps_of<add_nodes>(d)[0].where.count == 2);
  CHECK(steps_of<add_nodes>(d)[0].where.limits.memory == 1LL << 30);
  auto added = with_new_nodes(known, "", {"c"}, {"3"}, start);
  CHECK(added.living.find_node("c")->limits == known.desired.settings.limits);
  for (auto& n : known.living.nodes)
    n.limits = known.desired.settings.limits;
  CHECK(steps_of<add_nodes>(decide(known, c)).empty());
}

TEST_CASE("another type of node replaces every node before the old ones go") {
  auto known = instance_with({node_on("a", "1"), node_on("b", "2")}, operation_type::update);
  known.desired.settings.node_type = "big";
  auto c = running({"a", "b"}, "a");
  auto d = decide(known, c);
  REQUIRE(steps_of<add_nodes>(d).size() == 1);
  CHECK(steps_of<add_nodes>(d)[0].where.count == 2);
  auto added = with_new_nodes(known, "", {"c", "d"}, {"3", "4"}, start);
  CHECK(added.living.find_node("c")->node_type == "big");
  for (auto& n : added.living.nodes)
    n.phase = node_phase::started;
  c = running({"a", "b", "c", "d"}, "a");
  c.living.lag = {{"b", 0}, {"c", 0}, {"d", 0}};
  auto switching = after(added, decide(added, c));
  CHECK((switching.living.switching_to == "c" || switching.living.switching_to == "d"));
  c.living.seen.leader = "c";
  auto leaving = after(switching, decide(switching, c));
  CHECK(phase_of(leaving, "a") == node_phase::removing);
  CHECK(phase_of(leaving, "b") == node_phase::removing);
}

TEST_CASE("nodes of another type are added after the new settings, and need no restart") {
  auto known = instance_with({node_on("a", "1"), node_on("b", "2")}, operation_type::update);
  known.desired.settings = with_connections("200");
  known.desired.settings.node_type = "big";
  auto c = running({"a", "b"}, "a");
  auto first = after(known, decide(known, c));
  CHECK(first.living.taking_up == known.desired.settings);
  auto telling = decide(first, c);
  CHECK(steps_of<configure>(telling).size() == 1);
  CHECK(steps_of<add_nodes>(telling).empty());
  c.living.configured = digest_of(known.desired.settings);
  CHECK(steps_of<add_nodes>(decide(first, c)).size() == 1);
}

// -- synchronous clusters -------------------------------------------------------------------------

TEST_CASE("in a synchronous cluster only the synchronous replica takes over") {
  auto known = instance_with({node_on("a", "1"), node_on("b", "2"), node_on("c", "3")},
                             operation_type::update, 2);
  known.living.in_force.synchronous = known.desired.settings.synchronous = synchronous_mode::on;
  known.desired.cells = {"2", "3"};
  auto c = running({"a", "b", "c"}, "a");
  c.living.lag = {{"b", 0}, {"c", 0}};
  c.living.seen.synchronous = {"c"};
  CHECK(after(known, decide(known, c)).living.switching_to == "c");
  CHECK_FALSE(may_take_over(known.living, c.living.seen, "b"));
  CHECK_FALSE(may_take_over(known.living, c.living.seen, "a"));
}

TEST_CASE("a move of a synchronous cluster lets a replica go to make another one synchronous") {
  auto known =
      instance_with({node_on("a", "1"), node_on("b", "2"), node_on("c", "3"), node_on("d", "4")},
                    operation_type::update, 2);
  known.living.in_force.synchronous = known.desired.settings.synchronous = synchronous_mode::on;
  known.desired.cells = {"3", "4"};
  auto c = running({"a", "b", "c", "d"}, "a");
  c.living.lag = {{"b", 0}, {"c", 0}, {"d", 0}};
  c.living.seen.synchronous = {"b"};
  auto next = after(known, decide(known, c));
  CHECK(phase_of(next, "b") == node_phase::removing);
  CHECK(phase_of(next, "a") == node_phase::started);
  CHECK(next.living.switching_to.empty());
}

TEST_CASE("the synchronous replica is the last to go when a cluster shrinks") {
  auto known = instance_with({node_on("a", "1"), node_on("b", "2"), node_on("c", "3")},
                             operation_type::update, 2);
  auto c = running({"a", "b", "c"}, "a");
  c.living.seen.synchronous = {"c"};
  auto next = after(known, decide(known, c));
  CHECK(phase_of(next, "b") == node_phase::removing);
  CHECK(phase_of(next, "c") == node_phase::started);
}

TEST_CASE("any replica takes over once Patroni was told that the cluster is not synchronous") {
  auto known = instance_with({node_on("a", "1"), node_on("b", "2")}, operation_type::update);
  known.living.in_force.synchronous = synchronous_mode::on;
  auto c = running({"a", "b"}, "a");
  CHECK_FALSE(may_take_over(known.living, c.living.seen, "b"));
  known.living.taking_up = cluster_settings{};
  CHECK(may_take_over(known.living, c.living.seen, "b"));
}
