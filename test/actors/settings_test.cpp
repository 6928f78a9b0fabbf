#include <doctest/doctest.h>

#include <algorithm>

#include "base/json.hpp"
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

bool begin_change(stage& here, const std::string& plan_id,
                  const model::cluster_settings& settings) {
  auto asked = change_plan("db", plan_id, settings);
  auto nodes = here.outside.record_of("db")->desired.node_count;
  for (const char* one : {"plan", "up", "down"})
    asked.offers[one] = {nodes, settings, "", true};
  return here.ask(asked).is == verdict_kind::accepted;
}

bool end_change(stage& here) {
  return finish(here, "db") && succeeded(here.outside, "db");
}

bool change(stage& here, const std::string& plan_id, const model::cluster_settings& settings) {
  return begin_change(here, plan_id, settings) && end_change(here);
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
  CHECK(known->living.in_force == connections("200"));
  CHECK_FALSE(known->living.taking_up);
}

TEST_CASE("a replica that has missed a change of settings is restarted, and then has them") {
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

namespace {

/// Updates to settings with which PostgreSQL does not start. Returns the operation's final
/// description.
std::string change_in_vain(stage& here, int nodes) {
  auto broken = connections("200");
  here.outside.unstartable = {model::digest_of(broken)};
  auto asked = change_plan("db", "up", broken);
  for (const char* one : {"plan", "up"})
    asked.offers[one].node_count = nodes;
  REQUIRE(here.ask(asked).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  CHECK_FALSE(succeeded(here.outside, "db"));
  return here.outside.record_of("db")->current.description;
}

/// Checks that every node runs with the previous settings, and nothing waits for a restart.
void is_as_before(stage& here, std::size_t nodes) {
  auto settled = [&] {
    auto known = here.outside.record_of("db");
    return !known->living.taking_up && known->living.in_force == model::cluster_settings{}
           && here.outside.well_nodes("db") == static_cast<int>(nodes);
  };
  CHECK(here.pass_until(settled, 60s));
  CHECK(here.outside.nodes_of("db").size() == nodes);
  CHECK_FALSE(here.outside.leader_of("db").empty());
  auto known = here.outside.record_of("db");
  CHECK(known->plan_id == "plan");
  auto before = model::digest_of({});
  for (const auto& n : known->living.nodes)
    CHECK(*here.outside.settings_at("postgres://" + n.node_id + ":5432/postgres") == before);
}

} // namespace

TEST_CASE(
    "settings with which no node starts fail with a reason, and the previous ones are restored") {
  stage here;
  REQUIRE(make(here, "db", 2));
  auto said = change_in_vain(here, 2);
  CHECK(said.find("does not start with the new settings") != std::string::npos);
  is_as_before(here, 2);
}

TEST_CASE("a single node that does not start with new settings starts with the previous ones") {
  stage here;
  REQUIRE(make(here, "db", 1));
  change_in_vain(here, 1);
  is_as_before(here, 1);
}

TEST_CASE("settings with which only replicas start are undone after the leader handed over") {
  stage here;
  REQUIRE(make(here, "db", 2));
  auto leader = here.outside.leader_of("db");
  for (const auto& n : recorded_nodes(here.outside, "db"))
    if (n.node_id != leader)
      here.outside.starts_by_any.insert(n.node_id);
  change_in_vain(here, 2);
  is_as_before(here, 2);
}

TEST_CASE("a broker that starts after the failure undoes the settings as well") {
  stage here;
  REQUIRE(make(here, "db", 2));
  change_in_vain(here, 2);
  here.restart();
  is_as_before(here, 2);
}

TEST_CASE("an update to an instance's present plan repairs nodes that did not start") {
  stage here;
  REQUIRE(make(here, "db", 2));
  change_in_vain(here, 2);
  auto asked = change_plan("db", "plan", {});
  asked.offers["plan"].node_count = 2;
  asked.parameters = R"({"node-count":2})";
  here.ask(asked);
  REQUIRE(finish(here, "db"));
  is_as_before(here, 2);
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

TEST_CASE("unknown members about one change of settings are not kept for the next") {
  stage here;
  REQUIRE(make(here, "db"));
  const auto key = store::keys::record("db");
  REQUIRE(begin_change(here, "up", connections("200")));
  REQUIRE(here.pass_until(
      [&] { return here.outside.record_of("db")->living.taking_up.has_value(); }, 60s));
  auto value = *json::parse(*here.outside.etcd.value(key));
  json::add(value["taking_up"], "memory", "1GB", value);
  here.outside.etcd.put(key, json::text_of(value));
  REQUIRE(end_change(here));
  const auto before = here.outside.etcd.history().size();
  REQUIRE(change(here, "down", connections("100")));
  int taken_up = 0;
  for (auto at = before; at < here.outside.etcd.history().size(); ++at) {
    const auto& entry = here.outside.etcd.history()[at].entry;
    taken_up += entry.key == key && entry.value.find("taking_up") != std::string::npos;
    CHECK(entry.value.find("memory") == std::string::npos);
  }
  CHECK(taken_up > 0);
}
