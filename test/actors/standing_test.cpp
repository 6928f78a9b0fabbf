// Replicas that run without replicating, in virtual time; and parameters that bound their cost.
#include <doctest/doctest.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "../texts.hpp"
#include "model/event.hpp"
#include "model/plan.hpp"
#include "model/replica_health.hpp"
#include "requests.hpp"

using namespace matriarch;
using namespace matriarch::simulation;
using namespace std::chrono_literals;
using model::verdict_kind;

namespace {

constexpr model::duration repair_after = 5min;

broker_settings settings() {
  broker_settings how;
  how.repair = {repair_after, 2};
  return how;
}

/// The first replica stops replicating, and the leader writes.
std::string let_one_stand(stage& here) {
  std::string chosen;
  auto leader = here.outside.leader_of("db");
  for (const auto& n : recorded_nodes(here.outside, "db"))
    if (n.node_id != leader && chosen.empty())
      chosen = n.node_id;
  here.outside.stand_still(chosen);
  here.outside.write_wal("db");
  here.run();
  return chosen;
}

std::string described(stage& here) {
  return here.broker().find("db")->progress;
}

using matriarch::test::contains;

bool is_recorded(const world& outside, const std::string& node_id) {
  return std::ranges::any_of(recorded_nodes(outside, "db"),
                             [&](const model::node& n) { return n.node_id == node_id; });
}

} // namespace

TEST_CASE("a replica that does not replicate is reported, and replaced after repair.after") {
  stage here(4, settings());
  REQUIRE(make(here, "db"));
  here.pass(model::convalescence); // longer than the grace time after a start
  auto leader = here.outside.leader_of("db");
  auto node = let_one_stand(here);
  here.pass(model::longest_standstill - 1s);
  CHECK(described(here) == "master running; replicas running");
  here.pass(2s);
  CHECK(described(here) == "master running; replicas running but not replicating");
  CHECK(contains(here.broker().find("db")->seen.standing.at(node), "does not replicate"));
  CHECK(model::unwell_nodes(here.broker().find("db")->known, here.broker().find("db")->seen) == 1);
  here.pass(repair_after - model::longest_standstill - 2s);
  CHECK(recorded_nodes(here.outside, "db").size() == 2);
  REQUIRE(here.pass_until([&] { return !is_recorded(here.outside, node); }, 1min));
  CHECK(here.outside.well_nodes("db") == 2);
  CHECK(here.outside.leader_of("db") == leader);
  CHECK(cells_agree(here.outside, "db"));
  CHECK(here.outside.violations.empty());
  CHECK(described(here) == "master running; replicas running");
}

TEST_CASE("a replica stays if nothing is written, or if the leader reports it as streaming") {
  for (bool streams : {false, true}) {
    CAPTURE(streams);
    auto how = settings();
    if (streams)
      how.planted = bug::running_is_well; // the leader reports it as streaming
    stage here(4, how);
    REQUIRE(make(here, "db"));
    std::string node;
    if (streams)
      node = let_one_stand(here);
    else
      for (const auto& n : recorded_nodes(here.outside, "db"))
        here.outside.stand_still(n.node_id);
    here.pass(3 * repair_after);
    CHECK(described(here) == "master running; replicas running");
    CHECK(here.outside.orders("PUT").size() == 2);
  }
}

TEST_CASE("a replica that replicates again before repair.after stays") {
  stage here(4, settings());
  REQUIRE(make(here, "db"));
  auto node = let_one_stand(here);
  here.pass(repair_after - 5s);
  CHECK(contains(described(here), "not replicating"));
  here.outside.go_on_replicating(node);
  here.pass(10min);
  CHECK(is_recorded(here.outside, node));
  CHECK(described(here) == "master running; replicas running");
}

TEST_CASE("an update to the present state succeeds once all nodes are healthy") {
  stage here(4, settings());
  REQUIRE(make(here, "db"));
  auto node = let_one_stand(here);
  here.pass(model::longest_standstill + 1s);
  CHECK(here.ask(resize("db", 2)).is == verdict_kind::accepted);
  here.pass(1min);
  CHECK_FALSE(ended(here.outside, "db"));
  CHECK(contains(described(here), "waiting for " + node + " to stream from the leader"));
  REQUIRE(finish(here, "db"));
  CHECK(succeeded(here.outside, "db"));
  CHECK(here.outside.well_nodes("db") == 2);
  CHECK_FALSE(is_recorded(here.outside, node));
  CHECK(here.ask(resize("db", 2)).is == verdict_kind::done);
  CHECK(here.outside.violations.empty());
}

TEST_CASE("no leader hands over to a replica that does not replicate") {
  stage here(4, settings());
  REQUIRE(make(here, "db"));
  let_one_stand(here);
  here.pass(model::longest_standstill + 1s);
  auto known = here.outside.record_of("db");
  auto cell = known->living.find_node(here.outside.leader_of("db"))->cell;
  auto report = here.broker().demote(cell);
  here.pass(30s);
  REQUIRE(report->has_value());
  REQUIRE((*report)->entries.size() == 1);
  CHECK((*report)->entries[0].why == "no replica is well on another cell");
  CHECK(here.outside.switchovers() == 0);
}

TEST_CASE("clusters adopt late parameters, a few at a time") {
  auto how = settings();
  how.parameters = {{"max_slot_wal_keep_size", "4GB"}};
  stage here(4, how);
  constexpr int clusters = 6;
  here.outside.settings_delay = 3s;
  int most = 0;
  auto name_of = [](int i) { return "db" + std::to_string(i); };
  here.outside.watch_over = [&] {
    int at_it = 0;
    for (int i = 0; i < clusters; ++i)
      if (auto known = here.outside.record_of(name_of(i)); known && known->living.taking_up)
        ++at_it;
    most = std::max(most, at_it);
  };
  for (int i = 0; i < clusters; ++i)
    REQUIRE(here.ask(provision(name_of(i))).is == verdict_kind::accepted);
  auto all_have_it = [&] {
    for (int i = 0; i < clusters; ++i)
      if (!here.outside.record_of(name_of(i))
               ->living.in_force.parameters.contains("max_slot_wal_keep_size"))
        return false;
    return true;
  };
  REQUIRE(here.pass_until(all_have_it, 10min));
  CHECK(most > 0);
  CHECK(most <= 4);
  here.outside.watch_over = {};
  for (int i = 0; i < clusters; ++i) {
    auto known = here.outside.record_of(name_of(i));
    CHECK(known->current.type == model::operation_type::provision); // nobody requested it
    CHECK(known->current.state == model::operation_state::succeeded);
    for (const auto& n : known->living.nodes)
      CHECK(*here.outside.settings_at("postgres://" + n.node_id + ":5432/postgres")
            == model::digest_of(known->living.in_force));
  }
}

TEST_CASE("an adoption is reported once etcd has accepted it, and not before") {
  auto how = settings();
  how.parameters = {{"max_slot_wal_keep_size", "4GB"}};
  stage here(4, how);
  bool failed = false;
  here.outside.fate_of = [&](const store::transaction& what) {
    bool adopts = std::ranges::any_of(what.then, [](const auto& one) {
      const auto* put = std::get_if<store::put>(&one);
      return put != nullptr && contains(put->value, "max_slot_wal_keep_size");
    });
    return adopts && !std::exchange(failed, true) ? fault::not_done : fault::none;
  };
  REQUIRE(make(here, "db"));
  REQUIRE(here.pass_until(
      [&] {
        return here.outside.record_of("db")->living.in_force.parameters.contains(
            "max_slot_wal_keep_size");
      },
      10min));
  REQUIRE(failed);
  CHECK(std::ranges::count_if(here.broker().told(),
                              [](const model::event& one) {
                                return std::holds_alternative<model::parameters_adopted>(one.what);
                              })
        == 1);
}
