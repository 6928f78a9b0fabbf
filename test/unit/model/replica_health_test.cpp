// Which nodes are well, judged by their member keys over time.
#include "model/replica_health.hpp"

#include <doctest/doctest.h>

#include "../../texts.hpp"

using namespace matriarch::model;
using namespace std::chrono_literals;

namespace {

constexpr duration after = 5min;
using lags = std::map<std::string, std::int64_t>;

/// n1 leads, n2 and n3 follow; each check is at `now`.
struct watched {
  record known;
  cluster_view seen;
  health_history history;
  steady_time now = 1000s;
  duration repair_after = after;

  watched() {
    for (const char* id : {"n1", "n2", "n3"}) {
      known.living.nodes.push_back(
          {id, "cell", "service", "plan", "", node_phase::started, std::nullopt});
      seen.members[id].state = "running";
      at(id, 1, 1000);
    }
    seen.leader = "n1";
  }

  member& of(const std::string& id) { return seen.members[id]; }
  void at(const std::string& id, std::int64_t timeline, std::int64_t position) {
    of(id).timeline = timeline;
    of(id).position = position;
  }

  health_verdict look(const lags* streaming = nullptr) {
    auto said = judge_health(known.living, seen, history, {now, repair_after, streaming});
    history = said.history;
    seen.standing = said.standing;
    return said;
  }

  /// Time passes, and the leader writes.
  health_verdict go_on(duration passed, const lags* streaming = nullptr) {
    now += passed;
    of("n1").position += 1000;
    return look(streaming);
  }

  /// n2 has stood still for so long that it counts as unwell.
  void let_n2_stand() {
    look();
    for (int i = 0; i < 4; ++i) {
      of("n3").position += 1000;
      go_on(10s);
    }
    const lags only_n3{{"n3", 0}};
    go_on(1s, &only_n3);
    REQUIRE(seen.standing.contains("n2"));
  }
};

using matriarch::test::contains;

} // namespace

TEST_CASE("a replica that stands still while the leader goes on becomes unwell") {
  watched c;
  c.look();
  const lags only_n3{{"n3", 0}};
  c.now += 1h; // no replica is behind until the leader writes
  c.look();
  c.go_on(0ms);
  CHECK(c.look().look_again_at == c.now + longest_standstill);
  auto said = c.go_on(longest_standstill - 1ms, &only_n3);
  CHECK(said.standing.empty());
  CHECK_FALSE(said.ask_leader);
  said = c.go_on(1ms, &only_n3);
  CHECK(said.ask_leader);
  REQUIRE(said.standing.size() == 1);
  CHECK(contains(said.standing["n2"], "runs but does not replicate"));
  CHECK(contains(said.standing["n2"], "stays at 0/3E8, and the leader is at 0/FA0"));
  CHECK_FALSE(c.seen.well("n2"));
  CHECK(c.seen.well("n3"));
  CHECK(c.seen.well("n1"));
}

TEST_CASE("before a replica counts as standing still, the leader is asked whether it streams") {
  watched c;
  c.look();
  c.go_on(1s);
  auto said = c.go_on(longest_standstill);
  CHECK(said.standing.empty());
  CHECK(said.ask_leader);
  const lags both{{"n2", 9}, {"n3", 9}};
  said = c.look(&both);
  CHECK(said.standing.empty());
  CHECK_FALSE(said.ask_leader);
  CHECK(said.look_again_at == c.now + longest_standstill); // the answer is good for a while
  // Without the leader's answer the replica becomes unwell.
  c.go_on(longest_standstill);
  said = c.go_on(longest_wait_for_word);
  CHECK(said.standing.size() == 2);
}

TEST_CASE("an idle cluster is well, whatever its replicas do") {
  watched c;
  for (int i = 0; i < 100; ++i) {
    c.now += 1min;
    auto said = c.look();
    CHECK(said.standing.empty());
    CHECK_FALSE(said.ask_leader);
    CHECK(said.unhealthy.empty());
  }
}

TEST_CASE("a replica that is behind but makes progress is well, however slow it is") {
  watched c;
  for (int i = 0; i < 100; ++i) {
    c.go_on(20s);
    ++c.of("n2").position;
    ++c.of("n3").position;
    CHECK(c.look().standing.empty());
  }
}

TEST_CASE("a replica that passes the same positions again and again makes no progress") {
  watched c;
  c.look();
  const lags nobody;
  health_verdict said;
  for (int i = 0; i < 20; ++i) {
    c.at("n2", 1, i % 2 == 0 ? 900 : 1000);
    said = c.go_on(5s, &nobody);
  }
  CHECK(said.standing.contains("n2"));
}

TEST_CASE("a replica on an older timeline is behind, even at a higher position") {
  watched c;
  c.at("n2", 1, 5000);
  c.look();
  c.at("n1", 2, 1500);
  c.at("n3", 2, 1500);
  c.seen.members["n3"].streaming = true;
  const lags only_n3{{"n3", 0}};
  c.now += longest_standstill;
  c.look();
  c.now += longest_standstill;
  auto said = c.look(&only_n3);
  REQUIRE(said.standing.contains("n2"));
  CHECK(contains(said.standing["n2"], "of timeline 1, and the leader is at 0/5DC of timeline 2"));
  CHECK_FALSE(said.standing.contains("n3"));
  // A position on the new timeline is always further than one on the old.
  c.at("n2", 2, 1400);
  CHECK(c.look().standing.empty());
}

TEST_CASE("no replica is judged without a leader, or if the leader reports no position") {
  for (int variant = 0; variant < 3; ++variant) {
    CAPTURE(variant);
    watched c;
    c.look();
    c.go_on(1s);
    if (variant == 0)
      c.seen.leader.clear();
    if (variant == 1)
      c.of("n1").state = "stopped";
    if (variant == 2)
      c.at("n1", 0, 0);
    const lags nobody;
    c.now += 10min;
    auto said = c.look(&nobody);
    CHECK(said.standing.empty());
    CHECK_FALSE(said.ask_leader);
  }
}

TEST_CASE("a replica without a position is not well if its leader reports one") {
  watched c;
  c.at("n2", 0, 0);
  c.look();
  const lags only_n3{{"n3", 0}};
  auto said = c.go_on(longest_standstill, &only_n3);
  REQUIRE(said.standing.contains("n2"));
  CHECK(contains(said.standing["n2"], "does not say how far it is"));
}

TEST_CASE("a node that stands still or does not run is unhealthy after repair.after") {
  for (bool stands : {true, false}) {
    CAPTURE(stands);
    watched c;
    c.look();
    if (!stands)
      c.of("n2").state = "stopped";
    const lags only_n3{{"n3", 0}};
    c.of("n3").position += 1000;
    c.go_on(1ms, &only_n3); // from here on n2 is unwell
    health_verdict said;
    for (duration passed{0}; passed < after - 10s; passed += 10s) {
      c.of("n3").position += 1000;
      said = c.go_on(10s, &only_n3);
      CHECK(said.unhealthy.empty());
    }
    c.of("n3").position += 1000;
    said = c.go_on(10s, &only_n3);
    CHECK(said.unhealthy == std::set<std::string>{"n2"});
  }
}

TEST_CASE("a replica that starts and ends again and again becomes unhealthy") {
  watched c;
  c.look();
  const lags nobody;
  duration passed{0};
  while (passed < 4 * after) {
    c.of("n2").state = passed % 10s == 0s ? "starting" : "running";
    c.at("n2", 1, c.of("n1").position); // it has all data whenever it runs
    c.at("n3", 1, c.of("n1").position);
    passed += 5s;
    c.now += 5s;
    if (c.look(&nobody).unhealthy.contains("n2"))
      break;
  }
  CHECK(passed > after);
  CHECK(passed < 3 * after);
}

TEST_CASE("a node's unwell time is reset once it has been well for a while") {
  watched c;
  c.look();
  c.of("n2").state = "stopped";
  c.look();
  c.now += after - 10s;
  c.look();
  c.of("n2").state = "running";
  c.look();
  c.now += convalescence;
  c.look();
  c.of("n2").state = "stopped";
  c.look();
  c.now += after - 1s;
  CHECK(c.look().unhealthy.empty());
  c.now += 1s;
  CHECK(c.look().unhealthy.contains("n2"));
}

TEST_CASE("a node's unwell time is reset also if no change is observed") {
  watched c;
  c.look();
  c.of("n2").state = "stopped";
  c.look();
  c.now += after - 10s;
  c.look();
  c.of("n2").state = "running";
  c.look();
  c.now += 10h; // an idle cluster causes no checks
  c.of("n2").state = "stopped";
  CHECK(c.look().unhealthy.empty());
  c.now += 1min;
  CHECK(c.look().unhealthy.empty());
}

TEST_CASE("a node that copies is neither well nor unwell") {
  watched c;
  c.let_n2_stand();
  c.of("n3").streaming = true;
  c.of("n2").state = "creating replica";
  CHECK(c.look().standing.empty());
  c.now += 10h;
  CHECK(c.look().unhealthy.empty());
  c.of("n2").state = "running";
  c.at("n2", 1, 500);
  CHECK(c.look().standing.empty());
}

TEST_CASE("a replica whose copies fail again and again is replaced, however long each takes") {
  watched c;
  c.look();
  for (auto unwell = 0s; unwell < after; unwell += 30s) {
    c.of("n2").state = "stopped";
    c.look();
    c.now += 30s;
    c.of("n2").state = "creating replica";
    c.look();
    c.now += 30min;
    c.look();
  }
  c.of("n2").state = "stopped";
  CHECK(c.look().unhealthy.contains("n2"));
}

TEST_CASE("a replica that makes progress again is well at once") {
  watched c;
  c.let_n2_stand();
  ++c.of("n2").position;
  CHECK(c.look().standing.empty());
}

TEST_CASE("a replica that stands still stays unwell when the leader comes and goes") {
  watched c;
  c.let_n2_stand();
  c.of("n1").state = "restarting";
  CHECK(c.look().standing.contains("n2"));
  c.seen.leader.clear();
  CHECK(c.look().standing.contains("n2"));
}

TEST_CASE("the limit for standing still follows a long ttl and a short repair.after") {
  watched c;
  const lags nobody;
  c.known.living.in_force.ttl = 300;
  c.look();
  c.go_on(0s, &nobody);
  CHECK(c.go_on(299s, &nobody).standing.empty());
  CHECK(c.go_on(1s, &nobody).standing.size() == 2);
  watched hasty;
  hasty.repair_after = 5s;
  hasty.look();
  hasty.go_on(0s, &nobody);
  CHECK(hasty.go_on(5s, &nobody).unhealthy.size() == 2);
}

TEST_CASE("words for a node's health, and how many are not well") {
  watched c;
  CHECK(health_in_words(c.seen, "n2") == "well");
  c.let_n2_stand();
  CHECK(contains(health_in_words(c.seen, "n2"), "does not replicate"));
  c.of("n3").state = "start failed";
  CHECK(contains(health_in_words(c.seen, "n3"), "start failed"));
  c.known.current.state = operation_state::succeeded;
  CHECK(unwell_nodes(c.known, c.seen) == 2);
  c.known.current.state = operation_state::in_progress; // nodes may start during an operation
  CHECK(unwell_nodes(c.known, c.seen) == 1);
  c.known.desired.exists = false;
  CHECK(unwell_nodes(c.known, c.seen) == 0);
}

TEST_CASE(
    "a node that is meant to be stopped is not unwell, and has its time anew once it is to run") {
  watched c;
  c.look();
  c.known.living.nodes[1].halted = true;
  c.seen.members.erase("n2");
  auto look = [&](bool meant_to_stop) {
    auto said =
        judge_health(c.known.living, c.seen, c.history, {c.now, after, nullptr, meant_to_stop});
    c.history = said.history;
    return said.unhealthy.contains("n2");
  };
  CHECK_FALSE(look(true));
  c.now += 2 * after;
  CHECK_FALSE(look(true));
  c.now += 1s;
  CHECK_FALSE(look(false));
  c.now += after - 1s;
  CHECK_FALSE(look(false));
  c.now += 1s;
  CHECK(look(false));
}
