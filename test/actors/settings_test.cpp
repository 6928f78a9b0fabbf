#include <doctest/doctest.h>

#include <algorithm>

#include "requests.hpp"

using namespace matriarch;
using namespace matriarch::simulation;
using namespace std::chrono_literals;
using model::verdict_kind;

namespace {

model::cluster_settings connections(const std::string& count) {
  model::cluster_settings settings;
  settings.parameters["max_connections"] = count;
  return settings;
}

bool change(stage& here, const std::string& plan_id, const model::cluster_settings& settings) {
  auto asked = change_plan("db", plan_id, settings);
  auto nodes = here.outside.record_of("db")->desired.node_count;
  for (const char* one : {"plan", "up", "down"})
    asked.offers[one] = {nodes, settings, "", true};
  return here.ask(asked).is == verdict_kind::accepted && finish(here, "db")
         && succeeded(here.outside, "db");
}

} // namespace

TEST_CASE("more connections: every replica restarts before one of them takes over") {
  stage here;
  REQUIRE(make(here, "db", 3));
  auto old_leader = here.outside.leader_of("db");
  REQUIRE(change(here, "up", connections("200")));
  CHECK(here.outside.switchovers() == 1);
  REQUIRE(here.outside.restarts().size() == 2);
  for (const auto& one : here.outside.restarts()) {
    CHECK_FALSE(one.led);
    CHECK(one.node_id != old_leader);
  }
  auto known = here.outside.record_of("db");
  CHECK(known->plan_id == "up");
  CHECK(known->in_force == connections("200"));
  CHECK_FALSE(known->taking_up);
}

TEST_CASE("a replica that has missed a change of its settings is restarted, and then has them") {
  stage here;
  REQUIRE(make(here, "db"));
  auto leader = here.outside.leader_of("db");
  std::string replica;
  for (const auto& n : recorded_nodes(here.outside, "db"))
    if (n.node_id != leader)
      replica = n.node_id;
  here.outside.missed_settings = {replica};
  REQUIRE(change(here, "up", connections("200")));
  REQUIRE_FALSE(here.outside.restarts().empty());
  CHECK(here.outside.restarts().front().node_id == replica);
  CHECK(here.outside.switchovers() == 1);
}

TEST_CASE("fewer connections: the leader restarts first and stays the leader") {
  stage here;
  REQUIRE(make(here, "db", 3));
  REQUIRE(change(here, "up", connections("200")));
  auto leader = here.outside.leader_of("db");
  auto before = here.outside.restarts().size();
  REQUIRE(change(here, "down", connections("50")));
  CHECK(here.outside.leader_of("db") == leader);
  CHECK(here.outside.switchovers() == 1);
  REQUIRE(here.outside.restarts().size() == before + 3);
  CHECK(here.outside.restarts()[before].node_id == leader);
}

TEST_CASE("settings that need no restart restart nothing") {
  stage here;
  here.outside.settings_need_restart = false;
  REQUIRE(make(here, "db", 2));
  REQUIRE(change(here, "up", connections("200")));
  CHECK(here.outside.restarts().empty());
  CHECK(here.outside.switchovers() == 0);
}

TEST_CASE("at no time of a change of plan does more than one node restart") {
  stage here;
  REQUIRE(make(here, "db", 3));
  int fewest = 3;
  here.outside.watch_over = [&] { fewest = std::min(fewest, here.outside.running_nodes("db")); };
  REQUIRE(change(here, "up", connections("200")));
  CHECK(fewest == 2);
}

TEST_CASE("another type of node replaces all nodes") {
  stage here(4);
  REQUIRE(make(here, "db", 2));
  auto before = here.outside.nodes_of("db");
  model::cluster_settings big;
  big.node_type = "big";
  REQUIRE(change(here, "up", big));
  for (const auto& [id, where] : here.outside.nodes_of("db"))
    CHECK_FALSE(before.contains(id));
  CHECK(here.outside.running_nodes("db") == 2);
  CHECK(cells_agree(here.outside, "db"));
}

TEST_CASE("a synchronous cluster moves to other cells by its synchronous replica") {
  stage here(4);
  auto asked = provision("db", 2);
  asked.desired.settings.synchronous = model::synchronous_mode::on;
  REQUIRE(here.ask(asked).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  auto used = here.outside.nodes_of("db");
  std::vector<std::string> others;
  for (const auto& one : here.outside.cells())
    if (std::ranges::none_of(used, [&](const auto& n) { return n.second == one.guid; }))
      others.push_back(one.guid);
  REQUIRE(here.ask(move("db", others)).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  CHECK(succeeded(here.outside, "db"));
  for (const auto& [id, where] : here.outside.nodes_of("db"))
    CHECK(std::ranges::find(others, where) != others.end());
}
