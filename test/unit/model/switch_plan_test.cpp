// How a new cluster replaces the one that serves, step by step.
#include "model/switch_plan.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "engines/postgresql/model/decisions.hpp"
#include "model/rebuild_request.hpp"

using namespace matriarch::model;
using namespace std::chrono_literals;

namespace {

const wall_time beginning{1'700'000'000s};
constexpr const char* old_scope = "db";
constexpr const char* new_scope = "db~2";

node started_node(const std::string& id, const std::string& cell, const std::string& place) {
  node n{id, cell, "service", "plan", "", node_phase::started, std::nullopt};
  n.address = place;
  return n;
}

cluster_observations all_well(const std::vector<std::string>& ids, const std::string& leader) {
  cluster_observations here;
  here.runs = &matriarch::engines::postgresql::decisions();
  for (const auto& id : ids) {
    here.seen.members[id].state = "running";
    here.confirmed_started.insert(id);
    if (id != leader)
      here.lag[id] = 0;
  }
  here.seen.leader = leader;
  here.lag_told = true;
  return here;
}

/// Two nodes that serve, and an operator's rebuild.
struct rebuilding {
  record known;
  instance_observations observations;

  rebuilding() {
    known.instance_id = "db";
    known.phase = record_phase::accepted;
    known.desired.node_count = 2;
    known.current.state = operation_state::succeeded;
    known.living.scope = old_scope;
    known.living.had_leader = true;
    known.living.nodes = {started_node("a", "1", "10.0.0.1:5432"),
                          started_node("b", "2", "10.0.0.2:5432")};
    known.living.set_secret(secret_name::superuser, {"postgres", "old"});
    known.living.set_secret(secret_name::control, {"patroni", "old"});
    observations.living = all_well({"a", "b"}, "a");
    observations.living.seen.members["a"].takes_writes = true;
    observations.able_to_halt = {"1", "2"};
    observations.now = beginning;
  }

  ruling asked() const {
    new_rebuild_values values{
        "r1", "me", 0, {{secret_name::control, {"patroni", "new"}}}, beginning};
    return judge_rebuild(known, observations, values);
  }
  void begin() {
    auto said = asked();
    REQUIRE(said.write);
    known = *said.write;
    observations.incoming = cluster_observations{};
    observations.incoming->runs = observations.living.runs;
  }
  /// The new nodes run and follow.
  void copy() {
    known.incoming->nodes = {started_node("c", "3", "10.0.0.3:5432"),
                             started_node("d", "4", "10.0.0.4:5432")};
    known.incoming->had_leader = true;
    observations.incoming = all_well({"c", "d"}, "c");
    observations.incoming->seen.members["c"].leads_standbys = true;
    observations.incoming->follows = known.incoming->follows;
    observations.living.lag["c"] = 0;
    observations.living.retains_for = std::string{new_scope};
    observations.living.flushed = cluster_observations::flush{"a", 3, observations.now, 1s};
  }
  /// Writes each decision until there is nothing to write; returns the last one.
  decision settle() {
    for (int i = 0; i < 10; ++i) {
      auto d = decide(known, observations);
      if (!d.write)
        return d;
      known = *d.write;
    }
    FAIL("decisions do not come to rest");
    return {};
  }
  void until_halting() {
    begin();
    copy();
    settle();
    REQUIRE(known.rebuilt->phase == rebuild_phase::halting);
  }
  void halt(const std::string& id, std::int64_t position) {
    observations.living.halted[id] = {position, 3, id == "a"};
    observations.living.seen.members.erase(id);
    if (observations.living.seen.leader == id)
      observations.living.seen.leader.clear();
  }
  void replay(std::int64_t position) {
    for (const char* id : {"c", "d"})
      observations.incoming->replayed[id] = {position, observations.now, observations.now};
  }
  static bool turns(const decision& d) { return d.write && d.write->living.scope == new_scope; }
  void until_turned() {
    until_halting();
    halt("b", 100);
    halt("a", 120);
    replay(120);
    auto d = decide(known, observations);
    REQUIRE(turns(d));
    known = *d.write;
    observations.outgoing = observations.living;
    observations.living = *observations.incoming;
    observations.incoming.reset();
  }
};

template <class Kind>
std::vector<std::string> nodes_of(const decision& d, const std::string& scope) {
  std::vector<std::string> ids;
  for (const auto& one : d.steps)
    if (const auto* scoped = std::get_if<scoped_step>(&one); scoped && scoped->scope == scope)
      if (const auto* what = std::get_if<Kind>(&scoped->what))
        ids.push_back(what->node_id);
  return ids;
}

template <class Kind>
bool takes_step(const decision& d, const std::string& scope) {
  return std::ranges::any_of(d.steps, [&](const step& one) {
    const auto* scoped = std::get_if<scoped_step>(&one);
    return scoped && scoped->scope == scope && std::holds_alternative<Kind>(scoped->what);
  });
}

using ids = std::vector<std::string>;

} // namespace

TEST_CASE("a rebuild begins with a cluster of its own scope that follows the one that serves") {
  rebuilding here;
  here.begin();
  const auto& fresh = *here.known.incoming;
  CHECK(fresh.scope == new_scope);
  CHECK(here.known.last_scope == 2);
  CHECK(fresh.follows == "10.0.0.1:5432");
  CHECK(fresh.secret_of(secret_name::superuser).password == "old"); // the copy has it inside
  CHECK(fresh.secret_of(secret_name::control).password == "new");
  auto d = decide(here.known, here.observations);
  CHECK(here.known.living.retains_for == new_scope);
  CHECK(takes_step<retain>(d, old_scope)); // what the copy will need is kept before it begins
  CHECK_FALSE(takes_step<add_nodes>(d, new_scope));
  here.observations.living.retains_for = std::string{new_scope};
  d = decide(here.known, here.observations);
  CHECK(takes_step<add_nodes>(d, new_scope));
  CHECK_FALSE(takes_step<add_nodes>(d, old_scope));
  CHECK(here.asked().answer.is == verdict_kind::accepted); // asked again: the same rebuild
  CHECK_FALSE(here.asked().write);
}

TEST_CASE("a rebuild is refused with a reason without a leader or during another operation") {
  auto refused = [](auto change) {
    rebuilding here;
    change(here);
    auto said = here.asked();
    CHECK_FALSE(said.write);
    CHECK_FALSE(said.answer.description.empty());
    return said.answer.is;
  };
  using kind = verdict_kind;
  CHECK(refused([](auto& h) { h.known.desired.exists = false; }) == kind::refused);
  CHECK(refused([](auto& h) { h.known.current.state = operation_state::in_progress; })
        == kind::busy);
  CHECK(refused([](auto& h) { h.known.current.state = operation_state::failed; }) == kind::refused);
  CHECK(refused([](auto& h) { h.observations.living.seen.leader.clear(); }) == kind::refused);
  CHECK(refused([](auto& h) { h.observations.living.seen.leader = "stranger"; }) == kind::refused);
  CHECK(refused([](auto& h) { h.known.living.nodes[0].address = ""; }) == kind::refused);
  CHECK(refused([](auto& h) { h.known.living.nodes[0].address.reset(); }) == kind::refused);
  CHECK(refused([](auto& h) { h.known.living.nodes[1].halted = true; }) == kind::busy);
  CHECK(refused([](auto& h) { h.known.outgoing = cluster{}; }) == kind::busy);
  CHECK(refused([](auto& h) { h.known.living.taking_up = cluster_settings{}; }) == kind::busy);
  CHECK(refused([](auto& h) { h.known.desired.settings.parameters["max_connections"] = "7"; })
        == kind::busy);
}

TEST_CASE("nothing is stopped before both clusters are well and the new one has no lag") {
  auto waits = [](auto change) {
    rebuilding here;
    here.begin();
    here.copy();
    change(here);
    auto d = here.settle();
    CHECK(here.known.rebuilt->phase == rebuild_phase::copying);
    CHECK_FALSE(d.rebuilding.empty());
    CHECK(std::ranges::none_of(here.known.living.nodes, &node::halted));
    return d;
  };
  waits([](auto& h) { h.observations.incoming->seen.members["d"].state = "starting"; });
  waits([](auto& h) { h.observations.incoming->lag.clear(); });
  waits([](auto& h) { h.observations.incoming->follows.reset(); });
  waits([](auto& h) { h.observations.living.seen.members["b"].state = "stopped"; });
  waits([](auto& h) { h.observations.living.lag["c"] = 2 * negligible_lag_bytes; });
  waits([](auto& h) { h.observations.lost_cells.insert("2"); });
  auto unasked = waits([](auto& h) {
    h.observations.living.lag.clear();
    h.observations.living.lag_told = false;
  });
  CHECK(takes_step<ask_lag>(unasked, old_scope));
}

TEST_CASE("the replicas stop first, and the leader only when their cells have confirmed it") {
  rebuilding here;
  here.until_halting();
  CHECK(here.known.rebuilt->leader == "a");
  auto d = here.settle();
  CHECK(std::ranges::all_of(here.known.living.nodes, &node::halted));
  CHECK(nodes_of<halt_node>(d, old_scope) == ids{"b"});
  here.halt("b", 100);
  CHECK(nodes_of<halt_node>(here.settle(), old_scope) == ids{"a"});
}

TEST_CASE("endpoints move in one write, once all have stopped and the last position is replayed") {
  rebuilding here;
  here.until_halting();
  here.halt("b", 100);
  here.replay(500);
  CHECK_FALSE(here.turns(decide(here.known, here.observations))); // the leader has not stopped
  here.halt("a", 120);
  here.replay(120);
  here.observations.incoming->replayed["d"].position = 119; // it may have to lead
  auto early = here.settle();
  CHECK_FALSE(here.turns(early));
  CHECK(nodes_of<ask_position>(early, new_scope) == ids{"d"});
  here.replay(120);
  auto d = decide(here.known, here.observations);
  REQUIRE(here.turns(d));
  CHECK(d.unless_led == old_scope);
  CHECK(d.write->living.scope == new_scope);
  CHECK(d.write->outgoing->scope == old_scope);
  CHECK_FALSE(d.write->incoming);
  CHECK(d.write->rebuilt->phase == rebuild_phase::promoting);
}

TEST_CASE("without the last position of the leader that was, in its history, nothing turns") {
  auto turned = [](auto change) {
    rebuilding here;
    here.until_halting();
    here.settle();
    here.halt("b", 100);
    here.halt("a", 120);
    here.replay(1000);
    change(here);
    return here.turns(decide(here.known, here.observations));
  };
  CHECK(turned([](auto&) {}));
  CHECK_FALSE(turned([](auto& h) { h.observations.living.halted["a"].led = false; }));
  CHECK_FALSE(turned([](auto& h) { h.observations.living.halted["a"].history = 4; }));
  CHECK_FALSE(turned([](auto& h) { h.observations.living.seen.leader = "a"; }));
  CHECK_FALSE(turned([](auto& h) { h.observations.now = *h.known.rebuilt->halt_until; }));
  CHECK_FALSE(turned([](auto& h) { h.observations.incoming->replayed.clear(); }));
  INFO("what was said before the halt began");
  CHECK_FALSE(turned(
      [](auto& h) { h.observations.incoming->replayed["c"].heard = h.observations.now - 1s; }));
}

TEST_CASE("another leader than the one whose stop began ends the rebuild, and runs again first") {
  rebuilding here;
  here.until_halting();
  here.settle();
  here.halt("a", 120);
  here.observations.living.seen.leader = "b";
  here.settle();
  CHECK(here.known.rebuilt->phase == rebuild_phase::ended);
  CHECK(here.known.rebuilt->outcome.find("b came to lead") != std::string::npos);
  CHECK(here.known.rebuilt->leader == "b");
}

TEST_CASE("a cell that cannot stop its node ends a rebuild before anything is stopped") {
  rebuilding here;
  here.observations.unable_to_halt["2"] = "is of another make";
  CHECK(here.asked().answer.is == verdict_kind::refused);
  here.observations.unable_to_halt.clear();
  here.begin();
  here.copy();
  here.observations.unable_to_halt["2"] = "is of another make"; // a node was moved there
  here.settle();
  CHECK(here.known.rebuilt->phase == rebuild_phase::ended);
  CHECK(here.known.rebuilt->outcome.find("cell 2") != std::string::npos);
  CHECK(std::ranges::none_of(here.known.living.nodes, &node::halted));
}

TEST_CASE(
    "a leader stops only shortly after it wrote down all that it holds, within some seconds") {
  rebuilding here;
  here.begin();
  here.copy();
  auto flushes = [&](std::optional<cluster_observations::flush> last) {
    here.observations.living.flushed.reset();
    if (last)
      here.observations.living.flushed = *last;
    auto d = decide(here.known, here.observations);
    CHECK_FALSE(d.write);
    return nodes_of<flush>(d, old_scope);
  };
  using last = cluster_observations::flush;
  here.observations.living.flushed.reset();
  here.settle();
  CHECK(flushes(std::nullopt) == ids{"a"});
  CHECK(flushes(last{"b", 3, here.observations.now, 1s}) == ids{"a"});
  CHECK(flushes(last{"a", 3, here.observations.now - flush_validity, 1s}) == ids{"a"});
  CHECK(flushes(last{"a", 3, here.observations.now, quick_flush + 1s}) == ids{"a"});
}

TEST_CASE("a stop that is not confirmed in time is taken back, and the leader runs first") {
  rebuilding here;
  here.until_halting();
  here.settle();
  here.halt("b", 100);
  here.halt("a", 120);
  here.observations.now = *here.known.rebuilt->halt_until;
  auto d = here.settle();
  CHECK(here.known.rebuilt->phase == rebuild_phase::ended);
  CHECK_FALSE(here.known.rebuilt->succeeded);
  CHECK_FALSE(here.known.rebuilt->outcome.empty());
  CHECK(here.known.living.scope == old_scope);
  CHECK(nodes_of<resume_node>(d, old_scope) == ids{"a"});
  CHECK(nodes_of<halt_node>(d, old_scope).empty());
  here.observations.living.resumed.insert("a");
  here.observations.living.halted.clear();
  CHECK(nodes_of<resume_node>(here.settle(), old_scope).empty()); // it could be overtaken yet
  here.observations.living.seen.leader = "a";                     // from before its stop
  CHECK(nodes_of<resume_node>(here.settle(), old_scope).empty());
  here.observations.living.seen.members["a"].state = "running";
  here.observations.living.seen.leader = "a";
  CHECK(nodes_of<resume_node>(here.settle(), old_scope) == ids{"b"});
  here.observations.living.resumed.insert("b");
  here.settle();
  CHECK(std::ranges::none_of(here.known.living.nodes, &node::halted));
}

TEST_CASE("the replicas run again without the leader only if its cell is lost") {
  rebuilding here;
  here.until_halting();
  here.settle();
  here.halt("b", 100);
  here.halt("a", 120);
  here.observations.now = *here.known.rebuilt->halt_until;
  here.observations.lost_cells.insert("1");
  auto resumed = nodes_of<resume_node>(here.settle(), old_scope);
  CHECK(std::ranges::find(resumed, "b") != resumed.end());
}

TEST_CASE("a new cluster that cannot be made is removed, and the instance stays as it was") {
  rebuilding here;
  here.begin();
  here.observations.living.retains_for = std::string{new_scope};
  here.observations.incoming->shortage = placement{{}, "full", false};
  auto d = here.settle();
  CHECK(here.known.rebuilt->phase == rebuild_phase::ended);
  CHECK(here.known.rebuilt->outcome.find("full") != std::string::npos);
  CHECK(std::ranges::any_of(d.steps, [](const step& one) {
    const auto* gone = step_as<forget_cluster>(one);
    return gone != nullptr && gone->scope == new_scope;
  }));
  CHECK(here.known.living.scope == old_scope);
  CHECK(here.asked().answer.is == verdict_kind::busy); // until the new cluster is removed
}

TEST_CASE("a removal removes both clusters, and the port only after the new one") {
  rebuilding here;
  here.begin();
  here.copy();
  here.known.desired.exists = false;
  here.known.current.type = operation_type::deprovision;
  here.known.current.state = operation_state::in_progress;
  here.known.current.deadline = beginning + 1h;
  auto d = here.settle();
  CHECK(nodes_of<remove_node>(d, new_scope) == ids{"d"});
  CHECK(nodes_of<remove_node>(d, old_scope) == ids{"b"});
  here.known.living.nodes.clear();
  d = here.settle();
  CHECK(std::ranges::none_of(
      d.steps, [](const step& one) { return step_as<release_port>(one) != nullptr; }));
}

TEST_CASE("after the switch the new cluster is told to take writes until it does") {
  rebuilding here;
  here.until_turned();
  here.observations.now = beginning + 24h; // however long it takes
  auto d = here.settle();
  CHECK(takes_step<follow>(d, new_scope));
  CHECK(here.known.rebuilt->phase == rebuild_phase::promoting);
  here.observations.living.follows = std::string{};
  here.observations.living.seen.members["c"].leads_standbys = false; // on its way to take them
  here.settle();
  CHECK(here.known.rebuilt->phase == rebuild_phase::promoting);
  here.observations.living.seen.members["c"].takes_writes = true;
  here.settle();
  CHECK(here.known.rebuilt->phase == rebuild_phase::ended);
  CHECK(here.known.rebuilt->succeeded);
  CHECK(here.known.living.follows.empty());
}

TEST_CASE("the nodes that served stay, stopped, until the new ones serve and stream") {
  rebuilding here;
  here.until_turned();
  auto removes = [&] { return !nodes_of<remove_node>(here.settle(), old_scope).empty(); };
  CHECK_FALSE(removes());
  here.observations.living.follows = std::string{};
  here.observations.living.seen.members["c"].leads_standbys = false;
  here.observations.living.seen.members["c"].takes_writes = true;
  here.observations.living.lag.clear(); // of d nobody knows
  CHECK_FALSE(removes());
  CHECK(here.known.rebuilt->succeeded);
  here.observations.living.lag["d"] = 0;
  auto d = here.settle();
  CHECK_FALSE(nodes_of<remove_node>(d, old_scope).empty());
  CHECK(nodes_of<resume_node>(d, old_scope).empty());
  here.known.outgoing->nodes.clear();
  d = here.settle();
  CHECK(std::ranges::any_of(d.steps, [](const step& one) {
    const auto* gone = step_as<forget_cluster>(one);
    return gone != nullptr && gone->scope == old_scope;
  }));
}

TEST_CASE("the nodes that served go after a time, or if the new ones lack their room") {
  auto removes = [](auto change) {
    rebuilding here;
    here.until_turned();
    here.observations.living.follows = std::string{};
    here.observations.living.seen.members["c"].leads_standbys = false;
    here.observations.living.seen.members["c"].takes_writes = true;
    here.observations.living.seen.members.erase("d");
    here.settle();
    REQUIRE(here.known.rebuilt->succeeded);
    change(here);
    return !nodes_of<remove_node>(here.settle(), old_scope).empty();
  };
  CHECK_FALSE(removes([](auto&) {}));
  auto lacks_room = [](auto& h) { h.observations.living.shortage = placement{{}, "full", false}; };
  CHECK_FALSE(removes(lacks_room));
  CHECK(removes([&](auto& h) {
    lacks_room(h);
    h.observations.now = h.observations.now + longest_fallback_in_shortage;
  }));
  CHECK(removes([](auto& h) { h.observations.now = h.observations.now + longest_fallback; }));
}

TEST_CASE("an old cluster in a record that says nothing of its rebuild is removed") {
  rebuilding here;
  here.until_turned();
  here.known.rebuilt.reset();
  here.known.living.follows.clear();
  CHECK_FALSE(nodes_of<remove_node>(here.settle(), old_scope).empty());
}

TEST_CASE("a leader that did not stop as the leader that it was is not waited for") {
  for (bool led : {true, false}) {
    rebuilding here;
    here.until_halting();
    here.settle();
    here.halt("a", 120);
    here.observations.living.halted["a"] = {0, led ? 4 : 3, led};
    here.settle();
    CHECK(here.known.rebuilt->phase == rebuild_phase::ended);
    CHECK_FALSE(here.known.rebuilt->succeeded);
    CHECK(here.known.rebuilt->outcome.find("a did not stop cleanly") != std::string::npos);
  }
}

TEST_CASE("a new cluster without a leader that loses a cell ends the rebuild") {
  rebuilding here;
  here.begin();
  here.copy();
  here.observations.incoming->seen.leader.clear();
  here.observations.lost_cells.insert("4");
  here.settle();
  CHECK(here.known.rebuilt->phase == rebuild_phase::ended);
  CHECK(here.known.rebuilt->outcome.find("cell 4") != std::string::npos);
}

TEST_CASE("a follower that gets nothing and replays nothing ends the rebuild after a while") {
  rebuilding here;
  here.begin();
  here.copy();
  here.observations.living.lag.erase("c");
  auto d = here.settle();
  CHECK(nodes_of<ask_position>(d, new_scope) == ids{"c"});
  auto& at = here.observations.incoming->replayed["c"];
  at = {100, here.observations.now, here.observations.now};
  here.observations.now = here.observations.now + longest_idle_copy;
  here.settle();
  CHECK(here.known.is_being_rebuilt()); // it has not been asked for long
  at.heard = here.observations.now;
  here.settle();
  CHECK(here.known.rebuilt->phase == rebuild_phase::ended);
}

TEST_CASE("an order to follow that comes late does not keep the new cluster from writes") {
  rebuilding here;
  here.until_turned();
  here.observations.living.follows = std::string{};
  CHECK(takes_step<follow>(here.settle(), new_scope)); // c says standby_leader still, or again
}

TEST_CASE(
    "a leader that does not come to run again keeps the others stopped no longer than others do") {
  rebuilding here;
  here.until_halting();
  here.settle();
  here.halt("b", 100);
  here.halt("a", 120);
  here.observations.now = *here.known.rebuilt->halt_until;
  CHECK(nodes_of<resume_node>(here.settle(), old_scope) == ids{"a"});
  here.observations.living.unhealthy.insert("a");
  CHECK(nodes_of<resume_node>(here.settle(), old_scope) == ids{"a", "b"});
}

TEST_CASE("nodes on lost cells are not asked to run again") {
  rebuilding here;
  here.until_halting();
  here.settle();
  here.halt("b", 100);
  here.halt("a", 120);
  here.observations.now = *here.known.rebuilt->halt_until;
  here.observations.lost_cells = {"1", "2"};
  CHECK(nodes_of<resume_node>(here.settle(), old_scope).empty());
}

TEST_CASE("what a leader kept for a new cluster is let go at every end of a rebuild") {
  rebuilding here;
  here.begin();
  here.observations.living.retains_for = std::string{new_scope};
  here.observations.incoming->shortage = placement{{}, "full", false};
  auto d = here.settle();
  REQUIRE(here.known.rebuilt->phase == rebuild_phase::ended);
  CHECK(takes_step<retain>(d, old_scope));
  here.observations.living.retains_for = std::string{};
  d = here.settle();
  CHECK(here.known.living.retains_for.empty());
  CHECK_FALSE(takes_step<retain>(d, old_scope));
}

TEST_CASE("a cluster that was told late to follow is told to stand for itself") {
  rebuilding here;
  here.observations.living.seen.members["a"].leads_standbys = true;
  CHECK(takes_step<follow>(here.settle(), old_scope));
}
