#include <doctest/doctest.h>

#include <algorithm>

#include "requests.hpp"

using namespace matriarch;
using namespace matriarch::simulation;
using namespace std::chrono_literals;
using model::verdict_kind;

namespace {

const std::string wrong = R"(invalid value for parameter 'work_mem': '1XB')";

model::cluster_settings settings_of(const std::string& work_mem) {
  model::cluster_settings settings;
  settings.parameters["work_mem"] = work_mem;
  return settings;
}

broker_settings with_plans() {
  broker_settings how;
  how.plans = {{"plan", {}}, {"up", settings_of("1XB")}, {"good", settings_of("8MB")}};
  return how;
}

model::provision_request provision_of(const std::string& plan_id,
                                      const model::cluster_settings& settings,
                                      std::vector<std::string> cells = {}) {
  auto asked = provision("db", 2);
  asked.plan_id = plan_id;
  asked.desired.settings = settings;
  asked.desired.cells = std::move(cells);
  return asked;
}

/// Waits until the broker knows that every cell has this version.
void await_version(stage& here, const std::string& version) {
  REQUIRE(here.pass_until(
      [&] {
        auto table = here.broker().cells();
        return std::ranges::all_of(
            *table, [&](const auto& cell) { return cell.engine_version == version; });
      },
      10s));
}

/// Has the cells judge the plan, as unfit on these cells.
void judge(stage& here, const std::set<std::string>& unfit_cells) {
  for (auto& cell : here.outside.cells()) {
    cell.version = "15.18";
    if (unfit_cells.contains(cell.guid))
      cell.plan_faults = {{"up", wrong}};
  }
  await_version(here, "15.18");
}

/// Upgrades all cells to a PostgreSQL that does not accept the plan.
void upgrade(stage& here) {
  for (auto& cell : here.outside.cells()) {
    cell.version = "16.1";
    cell.plan_faults = {{"up", wrong}};
  }
  await_version(here, "16.1");
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("a plan that no cell can start is refused before anything is written or ordered") {
  stage here{3, with_plans()};
  judge(here, {"c1", "c2", "c3"});
  auto before = here.outside.etcd.at();
  auto said = here.ask(provision_of("up", settings_of("1XB")));
  CHECK(said.is == verdict_kind::refused);
  for (const auto* part : {"\"up\"", "'work_mem'", "c1, c2, c3"})
    CHECK_MESSAGE(has(said.description, part), said.description);
  for (const auto& one : here.outside.etcd.history())
    CHECK_MESSAGE((one.entry.mod_revision <= before || !has(one.entry.key, "/db")), one.entry.key);
  CHECK(here.outside.node_count() == 0);
  CHECK_FALSE(here.broker().find("db"));
  CHECK(make(here, "db"));
}

TEST_CASE("a plan is judged in a catalog of more plans, and of longer values, than a cell takes") {
  auto how = with_plans();
  auto wordy = settings_of(std::string(9'000, ' ') + "8MB");
  how.plans.insert(how.plans.begin(), {"wordy", wordy});
  for (int i = 0; i < 1'000; ++i)
    how.plans.insert(how.plans.begin(), {"p" + std::to_string(i), settings_of("8MB")});
  stage here{3, how};
  judge(here, {"c1", "c2", "c3"});
  CHECK(here.ask(provision_of("up", settings_of("1XB"))).is == verdict_kind::refused);
  CHECK(here.ask(provision_of("wordy", wordy)).is == verdict_kind::accepted);
}

TEST_CASE("a plan goes to the cells that can start it, also if there is only one") {
  stage here{3, with_plans()};
  judge(here, {"c1", "c3"});
  REQUIRE(here.ask(provision_of("up", settings_of("1XB"))).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  CHECK(succeeded(here.outside, "db"));
  for (const auto& n : recorded_nodes(here.outside, "db"))
    CHECK(n.cell == "c2");
}

TEST_CASE("cells that are named in a request must all be able to start the plan") {
  stage here{3, with_plans()};
  judge(here, {"c3"});
  auto said = here.ask(provision_of("up", settings_of("1XB"), {"c2", "c3"}));
  CHECK(said.is == verdict_kind::refused);
  CHECK_MESSAGE(has(said.description, "on cell c3: "), said.description);
  CHECK(here.ask(provision_of("up", settings_of("1XB"), {"c1", "c2"})).is
        == verdict_kind::accepted);
}

TEST_CASE("a change to a plan that a node's cell cannot start fails at once, and changes nothing") {
  stage here{3, with_plans()};
  judge(here, {"c1", "c2", "c3"});
  REQUIRE(make(here, "db"));
  auto known = here.outside.record_of("db");
  auto said = here.ask(change_plan("db", "up", settings_of("1XB")));
  CHECK(said.is == verdict_kind::accepted);
  auto now = here.outside.record_of("db");
  CHECK(now->current.id == said.operation_id);
  CHECK(now->current.state == model::operation_state::failed);
  CHECK_MESSAGE(has(now->current.description, "'work_mem'"), now->current.description);
  CHECK(operations_told(here)
        == std::vector<std::string>{"accepted provision", "end of provision", "accepted update",
                                    "end of update"});
  const auto* end = std::get_if<model::operation_ended>(&here.broker().told().back().what);
  REQUIRE(end != nullptr);
  CHECK(end->operation_id == said.operation_id);
  CHECK_FALSE(end->succeeded);
  CHECK(end->description == now->current.description);
  now->current = known->current;
  now->write_id = known->write_id;
  CHECK(now == known);
  here.pass(1min);
  CHECK(here.outside.record_of("db")->current.id == said.operation_id);
  REQUIRE(here.ask(change_plan("db", "good", settings_of("8MB"))).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  CHECK(here.outside.record_of("db")->plan_id == "good");
}

TEST_CASE("a fault in an instance's present plan does not prevent other changes") {
  stage here{3, with_plans()};
  judge(here, {});
  REQUIRE(here.ask(provision_of("up", settings_of("1XB"))).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  upgrade(here);
  REQUIRE(here.ask(resize("db", 1)).is == verdict_kind::accepted);
  CHECK(finish(here, "db"));
  CHECK(succeeded(here.outside, "db"));
  CHECK(here.outside.running_nodes("db") == 1);
}

TEST_CASE("a lost node is replaced even if all remaining cells have faults") {
  auto how = with_plans();
  how.repair.after = 60s;
  stage here{3, how};
  judge(here, {});
  REQUIRE(here.ask(provision_of("up", settings_of("1XB"))).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  upgrade(here);
  auto lost = recorded_nodes(here.outside, "db").front().cell;
  here.outside.lose(lost);
  CHECK(here.pass_until(
      [&] {
        auto nodes = recorded_nodes(here.outside, "db");
        return here.outside.well_nodes("db") == 2
               && std::ranges::none_of(nodes, [&](const auto& n) {
                    return n.cell == lost && n.phase != model::node_phase::removing;
                  });
      },
      10min));
}

TEST_CASE("a cell that does not know the question gets every plan, as before") {
  stage here{3, with_plans()};
  here.pass(10s);
  for (const auto& cell : *here.broker().cells()) {
    CHECK(cell.engine_version.empty());
    CHECK(cell.plan_faults.empty());
  }
  REQUIRE(here.ask(provision_of("up", settings_of("1XB"))).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  CHECK(succeeded(here.outside, "db"));
}

TEST_CASE("a cell that has been repaired is used again within two minutes") {
  stage here{1, with_plans()};
  judge(here, {"c1"});
  REQUIRE_FALSE(here.broker().cells()->front().plan_faults.empty());
  here.outside.at("c1").plan_faults.clear();
  CHECK(here.pass_until([&] { return here.broker().cells()->front().plan_faults.empty(); }, 2min));
}

TEST_CASE(
    "a plan too large for all cells is refused, and one that fits goes to a large enough cell") {
  stage here{3, with_plans()};
  for (auto& cell : here.outside.cells())
    cell.memory = 4LL << 30;
  here.outside.at("c3").memory = 8LL << 30;
  REQUIRE(here.pass_until(
      [&] {
        auto table = here.broker().cells();
        return std::ranges::all_of(*table, [](const auto& cell) { return cell.memory > 0; });
      },
      10s));
  here.outside.at("c1").full_nodes = 2;
  CHECK(here.pass_until([&] { return here.broker().cells()->front().full_nodes == 2; }, 10s));
  CHECK(here.broker().cells()->front().limits == "cgroup: memory, cpu; none: processes");
  auto large = settings_of("8MB");
  large.limits = model::node_limits{16LL << 30, 0, 0, 0};
  auto said = here.ask(provision_of("up", large));
  CHECK(said.is == verdict_kind::refused);
  CHECK_MESSAGE(has(said.description, "c3 has 8 GB of memory, less than the plan's 16 GB"),
                said.description);
  CHECK(here.outside.node_count() == 0);
  large.limits->memory = 8LL << 30;
  REQUIRE(here.ask(provision_of("up", large)).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  for (const auto& n : recorded_nodes(here.outside, "db"))
    CHECK(n.cell == "c3");
}
