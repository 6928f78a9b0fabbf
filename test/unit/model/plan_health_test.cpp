// The plan function counts only nodes that are well.
#include "an_engine.hpp"
#include "model/plan.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "../../texts.hpp"

using namespace matriarch::model;
using namespace std::chrono_literals;

namespace {

const wall_time start{1'700'000'000s};

/// n1 leads, n2 and n3 follow; `wanted` nodes are desired.
record three_nodes(int wanted) {
  record r;
  r.phase = record_phase::accepted;
  r.desired.node_count = wanted;
  r.current.type = operation_type::update;
  r.current.deadline = start + 540s;
  r.living.had_leader = true;
  for (const char* id : {"n1", "n2", "n3"})
    r.living.nodes.push_back(
        {id, std::string{"cell of "} + id, "service", "plan", "", node_phase::started, {}});
  return r;
}

/// All nodes run; n2 makes no progress, which was found out if `noticed`.
instance_observations n2_stands(bool noticed) {
  auto c = nothing_seen();
  c.now = start;
  c.living.seen.leader = "n1";
  for (const char* id : {"n1", "n2", "n3"})
    c.living.seen.members[id].state = "running";
  if (noticed)
    c.living.seen.standing["n2"] = "it runs but does not replicate";
  return c;
}

/// The leader has said that only n3 streams.
instance_observations told(instance_observations c) {
  c.living.lag_told = true;
  c.living.lag = {{"n3", 0}};
  return c;
}

bool asks_the_leader(const decision& d) {
  return std::ranges::any_of(d.steps, [](const step& s) { return step_as<ask_lag>(s) != nullptr; });
}

template <class Step>
bool has(const decision& d) {
  return std::ranges::any_of(d.steps, [](const step& s) { return step_as<Step>(s) != nullptr; });
}

using matriarch::test::contains;

} // namespace

TEST_CASE("an operation succeeds only once the leader reports that every replica streams") {
  for (bool noticed : {false, true})
    for (auto type : {operation_type::provision, operation_type::update}) {
      CAPTURE(noticed);
      auto known = three_nodes(3);
      known.current.type = type;
      auto observations = n2_stands(noticed);
      auto d = decide(known, observations);
      CHECK_FALSE(d.write);
      CHECK(asks_the_leader(d));
      CHECK(d.waiting_for == "waiting for n2, n3 to stream from the leader");
      d = decide(known, told(observations));
      CHECK_FALSE(d.write);
      CHECK(asks_the_leader(d));
      CHECK(d.waiting_for == "waiting for n2 to stream from the leader");
      observations = told(n2_stands(false));
      observations.living.lag["n2"] = 100 * negligible_lag_bytes; // it streams, although with a lag
      d = decide(known, observations);
      REQUIRE(d.write);
      CHECK(d.write->current.state == operation_state::succeeded);
    }
}

TEST_CASE("of surplus nodes, one that does not replicate goes, after the leader was asked") {
  for (bool noticed : {false, true}) {
    CAPTURE(noticed);
    auto known = three_nodes(2);
    auto d = decide(known, n2_stands(noticed));
    CHECK_FALSE(d.write);
    CHECK(asks_the_leader(d));
    d = decide(known, told(n2_stands(noticed)));
    REQUIRE(d.write);
    CHECK(d.write->living.find_node("n2")->phase == node_phase::removing);
    CHECK(d.write->living.find_node("n3")->phase == node_phase::started);
  }
}

TEST_CASE("a replica streams if its own Patroni says so") {
  auto known = three_nodes(3);
  auto observations = n2_stands(false);
  observations.living.seen.members["n2"].streaming =
      observations.living.seen.members["n3"].streaming = true;
  auto d = decide(known, observations);
  REQUIRE(d.write);
  CHECK(d.write->current.state == operation_state::succeeded);
  observations.living.seen.members["n2"].state = "stopped";
  CHECK_FALSE(decide(known, observations).write);
}

TEST_CASE("the synchronous replica is kept before others that stream") {
  auto known = three_nodes(2);
  auto observations = n2_stands(false);
  observations.living.lag_told = true;
  observations.living.lag = {{"n2", 0}, {"n3", 0}};
  observations.living.seen.synchronous = {"n3"};
  auto d = decide(known, observations);
  REQUIRE(d.write);
  CHECK(d.write->living.find_node("n3")->phase == node_phase::started);
}

TEST_CASE("no node restarts for an update while another node does not replicate") {
  auto known = three_nodes(3);
  known.desired.settings.parameters["max_connections"] = "200";
  known.living.taking_up = known.desired.settings;
  auto digest = digest_of(known.desired.settings);
  auto observations = told(n2_stands(true));
  observations.living.configured = digest;
  for (const char* id : {"n1", "n2", "n3"})
    observations.living.settings[id] = {digest, true};
  auto d = decide(known, observations);
  CHECK_FALSE(has<restart_node>(d));
  CHECK(asks_the_leader(d));
  // A failed update is reverted in any case: its settings may keep the replica from streaming.
  known.current.state = operation_state::failed;
  CHECK(has<restart_node>(decide(known, observations)));
  known.current.state = operation_state::in_progress;
  observations = told(n2_stands(false));
  observations.living.configured = digest;
  observations.living.lag["n2"] = 0;
  for (const char* id : {"n1", "n2", "n3"})
    observations.living.settings[id] = {digest, true};
  CHECK(has<restart_node>(decide(known, observations)));
}

TEST_CASE("a replica that does not replicate does not take over") {
  auto known = three_nodes(3);
  CHECK(may_take_over(known.living, n2_stands(false).living.seen, "n2"));
  CHECK_FALSE(may_take_over(known.living, n2_stands(true).living.seen, "n2"));
  CHECK(may_take_over(known.living, n2_stands(true).living.seen, "n3"));
}

TEST_CASE("the description tells of a replica that stands still, without its name") {
  auto seen = n2_stands(true).living.seen;
  CHECK(describe(three_nodes(3), seen)
        == "master running; replicas running but not replicating, running");
  seen.members["n2"].state = "starting"; // then its state is shown
  CHECK(describe(three_nodes(3), seen) == "master running; replicas starting, running");
}

TEST_CASE("the leader, if one runs, is asked about a replica that seems to stand still") {
  auto known = three_nodes(3);
  known.current.state = operation_state::succeeded;
  auto observations = n2_stands(false);
  CHECK_FALSE(asks_the_leader(decide(known, observations)));
  observations.living.ask_leader = true;
  CHECK(asks_the_leader(decide(known, observations)));
  observations.living.seen.members["n1"].state = "stopped";
  CHECK_FALSE(asks_the_leader(decide(known, observations)));
}

TEST_CASE("a replica that stands still is replaced, but only after the leader was asked") {
  auto known = three_nodes(3);
  known.current.state = operation_state::succeeded;
  auto observations = n2_stands(true);
  observations.living.unhealthy = {"n2"};
  auto d = decide(known, observations);
  CHECK_FALSE(d.wants_turn.empty());
  CHECK_FALSE(d.write);
  observations.living.repair_turn = true;
  d = decide(known, observations);
  CHECK_FALSE(d.write);
  CHECK(asks_the_leader(d));
  CHECK(contains(d.repair, "has to be replaced: it runs but does not replicate"));
  observations = told(observations);
  d = decide(known, observations);
  REQUIRE(d.write);
  CHECK(d.write->living.find_node("n2")->failing == "it runs but does not replicate");
  CHECK(d.write->living.find_node("n2")->phase
        == node_phase::started); // its replacement comes first
  CHECK(d.write->living.find_node("n3")->failing.empty());
  observations.living.lag["n2"] = 5; // it streams after all
  CHECK_FALSE(decide(known, observations).write);
}

TEST_CASE("a failing node with a later timeline than the leader's is not removed") {
  auto known = three_nodes(2);
  known.current.state = operation_state::succeeded;
  known.living.find_node("n2")->failing = "it runs but does not replicate";
  known.living.find_node("n2")->phase = node_phase::removing;
  auto observations = told(n2_stands(true));
  observations.living.seen.members["n1"].timeline = 4;
  observations.living.seen.members["n2"].timeline = 5;
  auto d = decide(known, observations);
  CHECK_FALSE(has<remove_node>(d));
  CHECK(contains(d.repair, "the leader is on an older timeline"));
  observations.living.seen.members["n1"].timeline = 5;
  CHECK(has<remove_node>(decide(known, observations)));
}
