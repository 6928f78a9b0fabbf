#include "engines/postgresql/cell/own_settings.hpp"

#include <doctest/doctest.h>

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>

#include "../../temporary_directory.hpp"
#include "cell/drivers/process_driver.hpp"
#include "engines/postgresql/cell/settings.hpp"

using namespace matriarch::cell;
using namespace matriarch::engines::postgresql;

namespace {

using texts = std::vector<std::string>;

cell_config configured(engine_parameters of_all, engine_parameters of_plan) {
  cell_config config;
  auto own = std::make_shared<node_settings>();
  own->bin_dir = "/usr/lib/postgresql/15/bin";
  own->parameters = std::move(of_all);
  config.engine = std::move(own);
  config.plans["p1"] = std::move(of_plan);
  return config;
}

} // namespace

TEST_CASE("a plan in the cell's configuration is checked with the parameters of all nodes") {
  auto config = configured({{"work_mem", "4MB"}, {"jit", "off"}}, {{"work_mem", "8MB"}});
  CHECK(own_settings(config)
        == plans_parameters{{"", {{"work_mem", "4MB"}, {"jit", "off"}}},
                            {"p1", {{"work_mem", "8MB"}, {"jit", "off"}}}});
}

TEST_CASE("a wrong setting is reported once, with the field that sets it") {
  auto config = configured({{"work_mem", "x"}, {"jit", "maybe"}}, {{"work_mem", "1kB"}});
  settings_fault jit{"jit", "it is on or off"};
  CHECK(own_faults(config,
                   {{"", {{"work_mem", "no size"}, jit}}, {"p1", {{"work_mem", "small"}, jit}}})
        == texts{"postgresql.parameters.work_mem is \"x\": no size",
                 "postgresql.parameters.jit is \"maybe\": it is on or off",
                 "plans.p1.parameters.work_mem is \"1kB\": small"});
  CHECK(own_faults(config, {{"p1", {{"", "of none"}}}}) == texts{"plans.p1.parameters: of none"});
}

TEST_CASE("PostgreSQL itself checks the settings, and the trial leaves no files") {
  auto config = configured({{"shared_buffers", "16MB"}},
                           {{"work_mem", "1kB"}, {"shared_bufers", "1"}, {"timezone", "Nowhere"}});
  auto user = find_user(::geteuid() == 0 ? "postgres" : "");
  REQUIRE(user.ok());
  matriarch::test::temporary_directory trials;
  std::filesystem::permissions(trials.path(),
                               std::filesystem::perms{0755}); // PostgreSQL's user needs access
  ::setenv("TMPDIR", trials.path().c_str(), 1);
  process_driver driver{*user, fencing::none, trials.path()};
  auto judged = judge_own_settings(config, driver);
  CHECK(judged.unknown.empty());
  REQUIRE(judged.faults.size() == 3);
  CHECK(judged.faults[0].starts_with("plans.p1.parameters.shared_bufers is \"1\": PostgreSQL 15."));
  CHECK(judged.faults[0].find("is \"shared_buffers\" meant?") != std::string::npos);
  CHECK(judged.faults[1]
        == "plans.p1.parameters.timezone is \"Nowhere\": invalid value for parameter \"TimeZone\": "
           "\"Nowhere\"");
  CHECK(judged.faults[2]
        == "plans.p1.parameters.work_mem is \"1kB\": 1 kB is outside the valid range for parameter "
           "\"work_mem\" (64 .. 2147483647)");
  CHECK(std::filesystem::is_empty(trials.path()));
  ::unsetenv("TMPDIR");
}
