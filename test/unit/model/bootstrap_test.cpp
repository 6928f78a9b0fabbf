// Whether a node makes the first data of a new cluster, judged by the member keys.
#include "model/bootstrap.hpp"

#include <doctest/doctest.h>

using namespace matriarch::model;
using namespace std::chrono_literals;

namespace {

/// n1 and n2 have started and wait; `initialize` exists and there is no leader.
struct new_cluster {
  record known;
  cluster_view seen;
  bool initialized = true;
  bool reliable = true;
  bootstrap_verdict last;

  new_cluster() {
    known.phase = record_phase::accepted;
    known.current.type = operation_type::provision;
    known.current.state = operation_state::in_progress;
    known.desired.exists = true;
    for (const char* id : {"n1", "n2"}) {
      known.living.nodes.push_back(
          {id, "cell", "service", "plan", "", node_phase::started, std::nullopt});
      seen.members[id].state = "stopped";
    }
  }

  /// Whether the key has to be deleted at that time.
  bool abandoned(steady_time now) {
    look(now);
    return last.abandoned;
  }
  void look(steady_time now) {
    last = judge_bootstrap(known.living, seen, last,
                           {is_being_made(known), initialized, reliable, now});
    CHECK(last.look_again_at.has_value()
          == (last.nobody_since.has_value() || last.stuck_since.has_value()));
  }
  bool ever_abandoned() { return abandoned(100s) || abandoned(1000s) || abandoned(10'000s); }
};

} // namespace

TEST_CASE("a bootstrap for which every node waits begins again after 30 s, not before") {
  new_cluster all;
  CHECK_FALSE(all.abandoned(100s));
  CHECK_FALSE(all.abandoned(100s + bootstrap_patience - 1ms));
  CHECK(all.abandoned(100s + bootstrap_patience));
}

TEST_CASE("a node without Patroni, or with a failed one, does not delay a new bootstrap") {
  new_cluster all;
  all.seen.members.erase("n1");
  CHECK(all.ever_abandoned());
  all.seen.members["n1"].state = "initdb failed";
  CHECK(all.ever_abandoned());
}

TEST_CASE("a node that does something is left alone, and the 30 s begin again") {
  for (const char* state : {"initializing new cluster", "starting", "running", "creating replica",
                            "running custom bootstrap script", "start failed"}) {
    new_cluster all;
    all.seen.members["n1"].state = state;
    CHECK_MESSAGE(!all.ever_abandoned(), state);
  }
  new_cluster all;
  CHECK_FALSE(all.abandoned(100s));
  all.seen.members["n1"].state = "initializing new cluster";
  CHECK_FALSE(all.abandoned(101s));
  all.seen.members["n1"].state = "stopped";
  CHECK_FALSE(all.abandoned(100s + bootstrap_patience));
}

TEST_CASE("nodes of a new cluster are replaced if one runs for 60 s without becoming the leader") {
  new_cluster all;
  all.seen.members["n1"].state = "running";
  all.look(100s);
  CHECK_FALSE(all.last.stuck);
  all.look(100s + stuck_patience - 1ms);
  CHECK_FALSE(all.last.stuck);
  all.look(100s + stuck_patience);
  CHECK(all.last.stuck);
  CHECK_FALSE(all.last.abandoned);
  all.known.living.had_leader = true;
  all.last = {};
  all.look(100s);
  all.look(1000s);
  CHECK_FALSE(all.last.stuck);
  // A node that was starting in between begins a new period.
  all.known.living.had_leader = false;
  all.look(100s);
  all.seen.members["n1"].state = "starting";
  all.look(130s);
  all.seen.members["n1"].state = "running";
  all.look(100s + stuck_patience);
  CHECK_FALSE(all.last.stuck);
}

TEST_CASE("only a bootstrap in the first provision, without a leader, begins again") {
  auto never = [](auto&& change) {
    new_cluster all;
    change(all);
    return !all.ever_abandoned();
  };
  CHECK(never([](new_cluster& all) { all.initialized = false; }));
  CHECK(never([](new_cluster& all) { all.reliable = false; }));
  CHECK(never([](new_cluster& all) { all.seen.leader = "n1"; }));
  CHECK(never([](new_cluster& all) { all.seen.members.clear(); }));
  CHECK(never([](new_cluster& all) { all.known.desired.exists = false; }));
  CHECK(never([](new_cluster& all) { all.known.current.type = operation_type::update; }));
  CHECK(never([](new_cluster& all) { all.known.current.state = operation_state::succeeded; }));
  CHECK(never([](new_cluster& all) { all.known.phase = record_phase::accepting; }));
}
