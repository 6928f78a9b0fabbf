// Repair as the plan function sees it; whole repairs are in test/actors/repair_test.cpp.
#include "an_engine.hpp"
#include "model/plan.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "../../texts.hpp"

using namespace matriarch::model;
using namespace std::chrono_literals;

namespace {

const wall_time start{1'700'000'000s};

node node_on(const std::string& id, const std::string& cell) {
  return {id, cell, "service", "plan", "", node_phase::started, std::nullopt};
}

/// A cluster at rest: n1 on a leads, n2 on b follows.
record at_rest() {
  record r;
  r.phase = record_phase::accepted;
  r.current.state = operation_state::succeeded;
  r.current.type = operation_type::provision;
  r.living.nodes = {node_on("n1", "a"), node_on("n2", "b")};
  r.living.had_leader = true;
  return r;
}

/// b is lost, and it is this instance's turn.
instance_observations b_lost() {
  auto c = nothing_seen();
  c.now = start;
  c.living.seen.members["n1"].state = "running";
  c.living.seen.leader = "n1";
  c.lost_cells = {"b"};
  c.living.repair_turn = true;
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

using matriarch::test::contains;

/// b is back with n2, the synchronous replica; n3 runs in n2's place.
instance_observations n2_back_as_synchronous() {
  auto c = b_lost();
  c.lost_cells.clear();
  c.living.seen.members["n2"].state = c.living.seen.members["n3"].state = "running";
  c.living.seen.synchronous = {"n2"};
  c.living.lag = {{"n2", 0}, {"n3", 0}};
  c.living.lag_told = true;
  return c;
}

/// At rest, with n2 marked.
record marked() {
  auto r = at_rest();
  r.living.nodes[1].failing = "cell b is lost";
  return r;
}

} // namespace

TEST_CASE("a node on a lost cell is first marked in the record, then another is placed") {
  auto known = at_rest();
  auto d = decide(known, b_lost());
  REQUIRE(d.write);
  CHECK(d.write->living.nodes[1].failing == "cell b is lost");
  CHECK(d.write->living.nodes[1].phase == node_phase::started);
  CHECK(d.write->current == known.current);
  CHECK_FALSE(d.wants_turn.empty());
  d = decide(marked(), b_lost());
  CHECK_FALSE(d.write);
  REQUIRE(steps_of<add_nodes>(d).size() == 1);
  auto where = steps_of<add_nodes>(d)[0].where;
  CHECK(where.count == 1);
  CHECK(where.used == std::vector<std::string>{"a"});
  CHECK(contains(d.repair, "replacing node n2 on cell b: cell b is lost"));
}

TEST_CASE("without a turn a lost node is only reported and a turn requested") {
  for (auto known : {at_rest(), marked()}) {
    auto observations = b_lost();
    observations.living.repair_turn = false;
    auto d = decide(known, observations);
    CHECK_FALSE(d.write);
    CHECK(d.steps.empty());
    CHECK_FALSE(d.wants_turn.empty());
    CHECK(contains(d.repair, "other instances are repaired first"));
  }
}

TEST_CASE("no repair without a recorded, running leader, or while repairs are halted") {
  for (auto known : {at_rest(), marked()})
    for (int variant = 0; variant < 4; ++variant) {
      CAPTURE(variant);
      auto observations = b_lost();
      if (variant == 0)
        observations.living.seen.leader.clear();
      if (variant == 1) {
        observations.living.seen.leader = "stranger";
        observations.living.seen.members["stranger"].state = "running";
      }
      if (variant == 2)
        observations.living.seen.members["n1"].state = "stopped";
      if (variant == 3)
        observations.repair_halted = "most cells seem lost";
      auto d = decide(known, observations);
      CHECK_FALSE(d.write);
      CHECK(d.steps.empty());
      CHECK(d.wants_turn.empty()); // other instances can use the turn
      CHECK(contains(d.repair, "not now: "));
    }
}

TEST_CASE("a marked node is removed only once its replacement runs without lag") {
  auto known = marked();
  known.living.nodes.push_back(node_on("n3", "c"));
  auto observations = b_lost();
  observations.living.seen.members["n3"].state = "creating replica";
  CHECK_FALSE(decide(known, observations).write);
  observations.living.seen.members["n3"].state = "running";
  auto d = decide(known, observations);
  CHECK_FALSE(d.write);
  CHECK(steps_of<ask_lag>(d).size() == 1);
  observations.living.lag["n3"] = negligible_lag_bytes + 1;
  CHECK_FALSE(decide(known, observations).write);
  observations.living.lag["n3"] = 0;
  d = decide(known, observations);
  REQUIRE(d.write);
  CHECK(d.write->living.find_node("n2")->phase == node_phase::removing);
  CHECK(d.wants_turn.empty());
  // A lost cell is asked for the removal only when it is back.
  CHECK(steps_of<remove_node>(decide(*d.write, observations)).empty());
  observations.lost_cells.clear();
  CHECK(steps_of<remove_node>(decide(*d.write, observations)).size() == 1);
}

TEST_CASE("a pending removal waits while no other node leads and runs") {
  auto known = marked();
  known.living.nodes[1].phase = node_phase::removing;
  known.living.nodes.push_back(node_on("n3", "c"));
  auto observations = b_lost();
  observations.lost_cells.clear();
  observations.living.seen.members["n2"].state = "running";
  CHECK(steps_of<remove_node>(decide(known, observations)).size() == 1);
  observations.living.seen.leader.clear();
  CHECK(steps_of<remove_node>(decide(known, observations)).empty());
  observations.living.seen.leader = "n2";
  CHECK(steps_of<remove_node>(decide(known, observations)).empty());
  known.desired.exists = false; // the instance is to be removed
  known.current.type = operation_type::deprovision;
  CHECK_FALSE(steps_of<remove_node>(decide(known, observations)).empty());
}

TEST_CASE("a node that comes back keeps its place only until a replacement is placed") {
  auto known = marked();
  auto observations = b_lost();
  observations.lost_cells.clear();
  observations.living.seen.members["n2"].state = "running";
  auto d = decide(known, observations);
  REQUIRE(d.write);
  CHECK(d.write->living.nodes[1].failing.empty());
  known.living.nodes.push_back(node_on("n3", "c"));
  observations.living.seen.members["n3"].state = "running";
  observations.living.lag["n3"] = 0;
  d = decide(known, observations);
  REQUIRE(d.write);
  CHECK(d.write->living.find_node("n2")->phase == node_phase::removing);
  observations.living.seen.leader = "n2"; // all nodes follow it now
  d = decide(known, observations);
  REQUIRE(d.write);
  CHECK(d.write->living.find_node("n2")->phase == node_phase::started);
  CHECK(d.write->living.find_node("n2")->failing.empty());
}

TEST_CASE("a lost replacement is removed, so that nodes do not pile up") {
  auto known = marked();
  known.living.nodes.push_back(node_on("n3", "c"));
  auto observations = b_lost();
  observations.lost_cells.insert("c");
  auto d = decide(known, observations);
  REQUIRE(d.write);
  CHECK(d.write->living.find_node("n2")->phase == node_phase::started);
  CHECK(d.write->living.find_node("n3")->phase == node_phase::removing);
  auto next = decide(*d.write, observations);
  REQUIRE(steps_of<add_nodes>(next).size() == 1);
  // The cell where the replacement failed is tried last.
  auto used = steps_of<add_nodes>(next)[0].where.used;
  CHECK(std::ranges::find(used, "c") != used.end());
}

TEST_CASE("during a provision no node is marked, and the reason is reported") {
  auto known = at_rest();
  known.current.state = operation_state::in_progress;
  known.current.deadline = start + 1h;
  auto d = decide(known, b_lost());
  CHECK_FALSE(d.write);
  CHECK(contains(d.repair, "waits for the end of the operation"));
}

TEST_CASE("an update replaces broken nodes instead of waiting for them") {
  auto known = at_rest();
  known.current.state = operation_state::in_progress;
  known.current.type = operation_type::update;
  known.current.deadline = start + 1h;
  known.desired.node_count = 3;
  auto d = decide(known, b_lost());
  REQUIRE(d.write);
  CHECK(d.write->living.find_node("n2")->failing == "cell b is lost");
  auto next = decide(*d.write, b_lost());
  REQUIRE(steps_of<add_nodes>(next).size() == 1);
  CHECK(steps_of<add_nodes>(next)[0].where.count == 2);
  // Without a turn the update goes on as far as it can.
  auto others_first = b_lost();
  others_first.living.repair_turn = false;
  d = decide(known, others_first);
  CHECK_FALSE(d.write);
  CHECK(steps_of<add_nodes>(d).size() == 1);
}

TEST_CASE("a marked node that comes back as the synchronous replica stays, its replacement goes") {
  auto known = marked();
  known.living.in_force.synchronous = synchronous_mode::on;
  known.living.nodes.push_back(node_on("n3", "c"));
  auto d = decide(known, n2_back_as_synchronous());
  REQUIRE(d.write);
  CHECK(d.write->living.find_node("n2")->failing.empty());
  CHECK(d.write->living.find_node("n2")->phase == node_phase::started);
  CHECK(d.write->living.find_node("n3")->phase == node_phase::removing);
  CHECK(d.write->living.find_node("n1")->phase == node_phase::started);
}

TEST_CASE("a node being removed is kept, with a reason, while it is the synchronous replica") {
  auto known = marked();
  known.living.nodes[1].phase = node_phase::removing;
  known.living.nodes.push_back(node_on("n3", "c"));
  auto observations = n2_back_as_synchronous();
  auto d = decide(known, observations);
  CHECK(steps_of<remove_node>(d).empty());
  CHECK(contains(d.repair, "not while it is the synchronous replica"));
  observations.living.seen.synchronous = {"n3"};
  CHECK(steps_of<remove_node>(decide(known, observations)).size() == 1);
}

TEST_CASE("a replacement goes to a named cell, or to another cell if none is free") {
  auto known = marked();
  known.desired.cells = {"a", "b"};
  auto where = steps_of<add_nodes>(decide(known, b_lost())).at(0).where;
  CHECK(where.among.empty());
  CHECK(where.preferred == known.desired.cells);
  auto next = with_new_nodes(known, "", {"n3"}, {"c"}, start);
  CHECK(next.living.find_node("n3")->instead_of == known.desired.cells);
  auto observations = b_lost();
  observations.living.seen.members["n3"].state = "running";
  observations.living.lag["n3"] = 0;
  auto d = decide(next, observations);
  REQUIRE(d.write);
  CHECK(d.write->living.find_node("n3")->phase == node_phase::started);
  CHECK(d.write->living.find_node("n2")->phase == node_phase::removing);
  CHECK(contains(decide(*d.write, observations).repair, "none of the cells asked for was free"));
}

TEST_CASE("a forgotten node is removed and replaced without its cell's confirmation") {
  auto known = at_rest();
  known.living.nodes[1].forgotten = true;
  auto observations = b_lost();
  observations.lost_cells.clear();
  auto d = decide(known, observations);
  REQUIRE(d.write);
  CHECK(d.write->living.nodes[1].failing == "cell b was forgotten");
  known.living.nodes[1].phase = node_phase::removing;
  d = decide(known, observations);
  REQUIRE(d.write);
  REQUIRE(d.buried.size() == 1);
  CHECK(d.buried[0].which.node_id == "n2");
  // Not if the node is back.
  known = at_rest();
  known.living.nodes[1].forgotten = true;
  observations.living.seen.members["n2"].state = "running";
  d = decide(known, observations);
  REQUIRE(d.write);
  CHECK_FALSE(d.write->living.nodes[1].forgotten);
}

TEST_CASE("for any record and observation, a repair removes no node without a good leader") {
  std::mt19937 random{1911};
  auto maybe = [&](int percent) {
    return std::uniform_int_distribution{1, 100}(random) <= percent;
  };
  auto below = [&](int n) { return std::uniform_int_distribution{0, n - 1}(random); };
  int given_up = 0;
  for (int run = 0; run < 20'000; ++run) {
    CAPTURE(run);
    auto known = at_rest();
    known.living.nodes.clear();
    known.desired.node_count = 1 + below(3);
    if (maybe(50))
      known.living.in_force.synchronous = known.desired.settings.synchronous = synchronous_mode::on;
    for (int i = 0; i < known.desired.node_count + below(2); ++i) {
      known.living.nodes.push_back(
          node_on("n" + std::to_string(i), "cell" + std::to_string(below(4))));
      auto& n = known.living.nodes.back();
      n.phase = static_cast<node_phase>(below(3));
      if (maybe(40))
        n.failing = "a reason";
      n.forgotten = maybe(5);
    }
    instance_observations observations = nothing_seen();
    observations.now = start;
    observations.living.repair_turn = maybe(80);
    for (int i = 0; i < 4; ++i) {
      auto id = "n" + std::to_string(i);
      if (maybe(70))
        observations.living.seen.members[id].state = maybe(80) ? "running" : "starting";
      if (maybe(70))
        observations.living.lag[id] = maybe(80) ? 0 : 2 * negligible_lag_bytes;
      if (maybe(20))
        observations.living.unhealthy.insert(id);
      if (maybe(30))
        observations.lost_cells.insert("cell" + std::to_string(i));
      if (maybe(30))
        observations.living.seen.synchronous.insert(id);
    }
    if (maybe(85))
      observations.living.seen.leader = "n" + std::to_string(below(5));
    auto d = decide(known, observations);
    const auto& leader = observations.living.seen.leader;
    bool leads =
        observations.living.seen.running(leader) && known.living.find_node(leader) != nullptr;
    for (const auto& n : known.living.nodes) {
      if (n.phase == node_phase::removing)
        continue;
      const auto* then = d.write ? d.write->living.find_node(n.node_id) : &n;
      if (then == nullptr || then->phase != node_phase::removing)
        continue;
      ++given_up;
      REQUIRE(leads);
      REQUIRE(n.node_id != leader);
      if (!then->failing.empty())
        REQUIRE_FALSE(observations.living.seen.synchronous.contains(n.node_id));
    }
    for (const auto& s : d.steps) {
      if (step_as<add_nodes>(s) != nullptr)
        REQUIRE(observations.living.seen.running(leader));
      if (const auto* gone = step_as<remove_node>(s)) {
        REQUIRE(observations.living.seen.running(leader));
        REQUIRE(gone->node_id != leader);
      }
    }
  }
  CHECK(given_up > 100);
}
