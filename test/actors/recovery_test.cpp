#include <doctest/doctest.h>

#include <algorithm>

#include "requests.hpp"

using namespace matriarch;
using namespace matriarch::simulation;
using namespace std::chrono_literals;
using model::verdict_kind;
namespace keys = store::keys;

namespace {

bool runs(stage& here, int nodes, const std::vector<std::string>& among = {}) {
  auto known = here.outside.record_of("db");
  if (!known || known->current.state != model::operation_state::succeeded
      || here.outside.running_nodes("db") != nodes
      || static_cast<int>(known->living.nodes.size()) != nodes || !cells_agree(here.outside, "db"))
    return false;
  return std::all_of(known->living.nodes.begin(), known->living.nodes.end(), [&](const auto& n) {
    return n.phase == model::node_phase::started
           && (among.empty() || std::find(among.begin(), among.end(), n.cell) != among.end());
  });
}

bool nothing_left(const world& outside) {
  return leftovers(outside, "db").empty() && outside.node_count() == 0;
}

} // namespace

namespace {

/// Records that this release cannot or must not read.
std::vector<std::string> unreadable(const std::string& record) {
  auto with = [&](const std::string& members) {
    return record.substr(0, record.find(R"("format":)")) + members + "}";
  };
  return {record.substr(0, record.size() / 2),
          "",
          "[]",
          with(R"("format":3,"min_reader":3)"),
          with(R"("format":1,"min_reader":"1")"),
          with(R"("format":1,"min_reader":1,"scope":"another")")};
}

} // namespace

TEST_CASE("an instance with an unreadable record is not reported as absent, and not removed") {
  stage made;
  REQUIRE(make(made, "db"));
  for (std::size_t i = 0; i < unreadable(*made.outside.etcd.value(keys::record("db"))).size(); ++i)
    for (bool restarts : {true, false}) {
      stage here;
      REQUIRE(make(here, "db"));
      auto key = keys::record("db");
      auto good = *here.outside.etcd.value(key);
      auto bad = unreadable(good)[i];
      CAPTURE(bad);
      CAPTURE(restarts);
      here.outside.etcd.put(key, bad);
      if (restarts)
        here.restart();
      here.pass(2s);
      const auto nodes = here.outside.node_count();
      for (const auto& asked : {model::request{deprovision("db")}, model::request{resize("db", 3)},
                                model::request{bind("db", "b1")}}) {
        auto said = here.ask(asked).is;
        CHECK(said == verdict_kind::unavailable);
      }
      if (restarts) {
        CHECK(here.ask(model::lookup_request{"db"}).is == verdict_kind::unavailable);
        CHECK(here.ask(provision("db")).is == verdict_kind::unavailable);
        CHECK(here.broker().unreadable() == std::vector<std::string>{"db"});
      }
      here.pass(60s);
      CHECK(here.outside.etcd.value(key) == bad);
      CHECK(here.outside.node_count() == nodes);
      here.outside.etcd.put(key, good);
      here.pass(1s);
      CHECK(here.broker().unreadable().empty());
      CHECK(here.ask(deprovision("db")).is == verdict_kind::accepted);
    }
}

TEST_CASE("a record found in phase accepting at the start is removed") {
  for (int nth : {1, 2}) {
    CAPTURE(nth);
    stage here;
    auto& line = here.broker().line();
    line.fate_of = [last = line.effects() + nth](int number) {
      return number <= last ? way::through : way::undone;
    };
    auto came = here.broker().ask(provision("db"));
    here.pass(1s);
    REQUIRE(here.outside.record_of("db"));
    CHECK(here.outside.record_of("db")->phase == model::record_phase::accepting);
    here.restart();
    here.pass(2s);
    CHECK(leftovers(here.outside, "db").empty());
    CHECK(here.outside.etcd.range(store::keys_below(keys::ports)).empty());
    CHECK(here.broker().find("db") == nullptr);
    CHECK(here.ask(model::lookup_request{"db"}).is == verdict_kind::not_found);
    CHECK(here.ask(provision("db")).is == verdict_kind::accepted);
  }
}

TEST_CASE("an instance's actor that fails is restarted and continues from etcd") {
  for (auto after : {0ms, 300ms, 1500ms, 2600ms}) {
    CAPTURE(after.count());
    stage here;
    REQUIRE(here.ask(provision("db", 3)).is == verdict_kind::accepted);
    here.pass(after);
    here.broker().kill_instance("db");
    here.run();
    REQUIRE(finish(here, "db"));
    CHECK(succeeded(here.outside, "db"));
    CHECK(here.outside.running_nodes("db") == 3);
    CHECK(cells_agree(here.outside, "db"));
    CHECK(here.ask(deprovision("db")).is == verdict_kind::accepted);
    REQUIRE(finish(here, "db"));
    here.pass(5s);
    CHECK(nothing_left(here.outside));
  }
}

TEST_CASE("an instance's actor may fail anywhere in a move or a deprovision") {
  for (int steps = 0; steps < 160; ++steps) {
    CAPTURE(steps);
    stage here(4);
    REQUIRE(make(here, "db", 2));
    REQUIRE(here.ask(move("db", {"c3", "c4"})).is == verdict_kind::accepted);
    here.pass(steps * 50ms);
    here.broker().kill_instance("db");
    REQUIRE(finish(here, "db"));
    here.pass(1s);
    CHECK(runs(here, 2, {"c3", "c4"}));
    REQUIRE(here.ask(deprovision("db")).is == verdict_kind::accepted);
    here.pass(steps * 10ms);
    here.broker().kill_instance("db");
    REQUIRE(finish(here, "db"));
    here.pass(1s);
    CHECK(nothing_left(here.outside));
    CHECK(here.broker().find("db") == nullptr);
    CHECK(here.outside.violations.empty());
  }
}

TEST_CASE("an instance's actor that fails while etcd is away is restarted when etcd is back") {
  stage here;
  REQUIRE(here.ask(provision("db", 2)).is == verdict_kind::accepted);
  here.outside.etcd_reachable = false;
  here.broker().kill_instance("db");
  here.run();
  here.pass(2s);
  here.outside.etcd_reachable = true;
  REQUIRE(finish(here, "db"));
  CHECK(succeeded(here.outside, "db"));
  CHECK(cells_agree(here.outside, "db"));
}

TEST_CASE("an operation continues after an outage of etcd") {
  for (auto after : {0ms, 400ms, 1500ms}) {
    CAPTURE(after.count());
    stage here;
    REQUIRE(here.ask(provision("db", 2)).is == verdict_kind::accepted);
    here.pass(after);
    here.outside.etcd_reachable = false;
    here.pass(30s);
    CHECK_FALSE(here.broker().active());
    here.outside.etcd_reachable = true;
    here.broker().list_again();
    REQUIRE(finish(here, "db"));
    CHECK(succeeded(here.outside, "db"));
    CHECK(cells_agree(here.outside, "db"));
  }
}
