// A new cluster replaces the serving one: tests of the instance's actor against the world.
#include <doctest/doctest.h>

#include "requests.hpp"

using namespace matriarch;
using namespace matriarch::simulation;
using namespace std::chrono_literals;

namespace {

constexpr model::duration patience = 5min;

struct with_an_instance : stage {
  explicit with_an_instance(int nodes = 2, int cells = 4) : stage(cells) {
    REQUIRE(make(*this, "db", nodes));
    outside.keep_writing("db");
    pass(2s);
  }
  model::verdict begin() { return ask(rebuild("db")); }
  bool ends() {
    return pass_until([&] { return is_rebuilt(outside, "db"); }, patience);
  }
  void check_rules() { CHECK(outside.violations == std::vector<std::string>{}); }
};

} // namespace

TEST_CASE(
    "a new cluster replaces the old one: no row is lost, and nothing is left of the old one") {
  with_an_instance here;
  auto before = *here.outside.record_of("db");
  REQUIRE(here.begin().is == model::verdict_kind::accepted);
  REQUIRE(here.ends());
  auto known = *here.outside.record_of("db");
  CHECK(known.rebuilt->succeeded);
  CHECK(known.living.scope == "db~2");
  CHECK(known.endpoints == before.endpoints);
  CHECK(here.outside.well_nodes("db~2") == 2);
  CHECK(here.outside.nodes_of("db").empty());
  CHECK(here.outside.takes_writes("db~2"));
  auto rows = here.outside.rows_acknowledged("db");
  here.pass(2s);
  CHECK(here.outside.rows_acknowledged("db") > rows);
  for (const auto& n : before.living.nodes)
    CHECK(known.living.find_node(n.node_id) == nullptr);
  here.check_rules();
}

TEST_CASE("the next rebuild gets another new scope") {
  with_an_instance here;
  REQUIRE(here.begin().is == model::verdict_kind::accepted);
  REQUIRE(here.ends());
  REQUIRE(here.begin().is == model::verdict_kind::accepted);
  REQUIRE(here.pass_until(
      [&] { return is_rebuilt(here.outside, "db") && here.outside.well_nodes("db~3") == 2; },
      patience));
  CHECK(here.outside.record_of("db")->living.scope == "db~3");
  here.check_rules();
}

TEST_CASE("a second request during a rebuild gets the same operation") {
  with_an_instance here;
  auto first = here.begin();
  auto second = here.begin();
  CHECK(second.is == model::verdict_kind::accepted);
  CHECK(second.operation_id == first.operation_id);
  CHECK(here.outside.record_of("db")->last_scope == 2);
}

TEST_CASE("a rebuild without room leaves the instance as it was, and says so") {
  with_an_instance here{2, 2};
  for (auto& one : here.outside.cells())
    one.orders = manner::full;
  auto before = *here.outside.record_of("db");
  REQUIRE(here.begin().is == model::verdict_kind::accepted);
  REQUIRE(here.ends());
  auto known = *here.outside.record_of("db");
  CHECK_FALSE(known.rebuilt->succeeded);
  CHECK_FALSE(known.rebuilt->outcome.empty());
  CHECK(known.living.scope == "db");
  CHECK(known.living.nodes == before.living.nodes);
  CHECK(here.outside.takes_writes("db"));
  here.check_rules();
}

TEST_CASE("an instance that is being updated, is unknown or has no leader is not rebuilt") {
  with_an_instance here;
  CHECK(here.ask(rebuild("other")).is == model::verdict_kind::not_found);
  REQUIRE(here.ask(resize("db", 3)).is == model::verdict_kind::accepted);
  CHECK(here.begin().is == model::verdict_kind::busy);
  here.pass(1min);
  here.outside.etcd.erase(store::keys::leader("db"));
  here.pass(10ms);
  CHECK(here.begin().is == model::verdict_kind::refused);
}

TEST_CASE("a cell that cannot stop its nodes is named, and nothing is begun") {
  with_an_instance here;
  auto cell = here.outside.record_of("db")->living.nodes[0].cell;
  auto refused = [&](auto change) {
    here.outside.at(cell).foreign = false;
    here.outside.at(cell).halts = true;
    change(here.outside.at(cell));
    here.restart();
    here.pass(5s);
    auto said = here.begin();
    CHECK(said.description.find(cell) != std::string::npos);
    return said.is == model::verdict_kind::refused;
  };
  CHECK(refused([](auto& one) { one.foreign = true; }));
  CHECK(refused([](auto& one) { one.halts = false; })); // an earlier release
  CHECK_FALSE(here.outside.record_of("db")->rebuilt);
  here.check_rules();
}

TEST_CASE("an update waits for the end of a rebuild, and a binding does not") {
  with_an_instance here;
  REQUIRE(here.begin().is == model::verdict_kind::accepted);
  CHECK(here.ask(resize("db", 3)).is == model::verdict_kind::busy);
  CHECK(here.ask(bind("db", "b1")).is == model::verdict_kind::created);
  REQUIRE(here.ends());
  CHECK(here.outside.record_of("db")->rebuilt->succeeded);
  CHECK(here.outside.roles_of("db~2").password_of.size() == 1);
  here.check_rules();
}

TEST_CASE("a removal during a rebuild removes both clusters") {
  with_an_instance here;
  REQUIRE(here.begin().is == model::verdict_kind::accepted);
  REQUIRE(here.pass_until([&] { return !here.outside.nodes_of("db~2").empty(); }, patience));
  REQUIRE(here.ask(deprovision("db")).is == model::verdict_kind::accepted);
  CHECK(here.pass_until([&] { return !here.outside.record_of("db"); }, patience));
  CHECK(here.outside.node_count() == 0);
  CHECK(leftovers(here.outside, "db").empty());
  CHECK(leftovers(here.outside, "db~2").empty());
  here.check_rules();
}

TEST_CASE(
    "a switch waits for the old leader's last writes; without them the old cluster runs again") {
  with_an_instance here;
  here.outside.followers_miss_the_end = true;
  REQUIRE(here.begin().is == model::verdict_kind::accepted);
  REQUIRE(here.ends());
  auto known = *here.outside.record_of("db");
  CHECK_FALSE(known.rebuilt->succeeded);
  CHECK(known.living.scope == "db");
  CHECK(here.pass_until([&] { return here.outside.well_nodes("db") == 2; }, patience));
  here.pass(2s);
  here.check_rules();
}

TEST_CASE(
    "a leader's machine that is lost while the copy is made delays a rebuild, and ends none") {
  broker_settings how;
  how.repair = {10s, 1};
  stage here{6, how};
  REQUIRE(make(here, "db", 2));
  here.outside.keep_writing("db");
  here.pass(2s);
  REQUIRE(here.ask(rebuild("db")).is == model::verdict_kind::accepted);
  here.pass(100ms);
  auto known = *here.outside.record_of("db");
  const auto* leader = known.living.find_node(here.outside.leader_of("db"));
  here.outside.lose(leader->cell);
  REQUIRE(here.pass_until(
      [&] {
        return here.broker().find("db")->rebuilding.find("node " + leader->node_id)
               != std::string::npos;
      },
      patience));
  CHECK(here.outside.record_of("db")->is_being_rebuilt());
  here.outside.bring_back(leader->cell);
  REQUIRE(here.pass_until([&] { return is_rebuilt(here.outside, "db"); }, patience));
  CHECK(here.outside.record_of("db")->rebuilt->succeeded);
  CHECK(here.outside.violations == std::vector<std::string>{});
}
