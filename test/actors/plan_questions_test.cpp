#include "actors/plan_questions.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "engines/postgresql/cell/settings_check.hpp"

using namespace matriarch;
using namespace matriarch::actors;

namespace {

model::plan_settings plan_of(const std::string& id, const std::string& work_mem) {
  model::plan_settings plan{id, {}};
  plan.settings.parameters["work_mem"] = work_mem;
  return plan;
}

/// The plans of all pieces, as a cell reads them.
engines::postgresql::plans_parameters read(const plan_questions& asked) {
  engines::postgresql::plans_parameters all;
  for (const auto& piece : asked.pieces) {
    auto plans = engines::postgresql::parse_plans(piece.body);
    REQUIRE_MESSAGE(plans.ok(), (plans.ok() ? "" : plans.error()));
    CHECK(plans->size() == piece.plan_ids.size());
    all.merge(*plans);
  }
  return all;
}

} // namespace

TEST_CASE("a catalog of any size is asked about in pieces that a cell accepts") {
  std::vector<model::plan_settings> plans;
  for (int i = 0; i < 1'001; ++i)
    plans.push_back(plan_of("p" + std::to_string(i), std::string(4'000, 'x')));
  auto asked = questions_about(plans);
  CHECK(asked.left_out.empty());
  CHECK(asked.pieces.size() > 20);
  CHECK(read(asked).size() == plans.size());
  for (const auto& piece : asked.pieces)
    CHECK(piece.body.size() < 1024 * 1024);
  CHECK(questions_about({}).pieces.empty());
}

TEST_CASE("settings too long for a cell are left out and listed, and the rest is asked") {
  auto plan = plan_of("p", std::string(8'193, 'x'));
  plan.settings.parameters["jit"] = "off";
  auto asked = questions_about({plan, plan_of("q", "1MB")});
  CHECK(read(asked)
        == engines::postgresql::plans_parameters{{"p", {{"jit", "off"}}},
                                                 {"q", {{"work_mem", "1MB"}}}});
  CHECK(asked.left_out
        == std::vector<plan_unjudged>{{"p", "work_mem has 8193 bytes; 8192 are judged at most"}});
  model::plan_settings crowded{"c", {}};
  for (int i = 0; i < 1'001; ++i)
    crowded.settings.parameters["a.b" + std::to_string(i)] = "1";
  auto much = questions_about({crowded});
  CHECK(read(much).at("c").size() == 1'000);
  REQUIRE(much.left_out.size() == 1);
  CHECK(much.left_out[0].words.find("is not judged beside as many others") != std::string::npos);
}

TEST_CASE("only plans that were asked about are taken from an answer") {
  const std::vector<model::plan_settings> plans{plan_of("p", "x"), plan_of("q", "y")};
  auto asked = questions_about(plans).pieces.at(0);
  auto said = judgement_in(R"({"version":"15.4","faults":{"p":["bad","worse"],"other":["no"]},)"
                           R"("unjudged":{"q":"why"}})",
                           asked, plans);
  REQUIRE(said);
  CHECK(said->engine_version == "15.4");
  REQUIRE(said->faults.size() == 1);
  CHECK(said->faults[0]
        == model::plan_fault{"p", model::digest_of(plans[0].settings), {"bad", "worse"}});
  CHECK(said->unjudged == std::vector<plan_unjudged>{{"q", "why"}});
  asked.plan_ids = {"q"};
  CHECK(judgement_in(R"({"faults":{"p":["bad"]}})", asked, plans)->faults.empty());
  CHECK_FALSE(judgement_in(R"({"description":"x"})", asked, plans));
  CHECK_FALSE(judgement_in("x", asked, plans));
}
