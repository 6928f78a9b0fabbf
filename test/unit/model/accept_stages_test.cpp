#include "model/accept_stages.hpp"

#include <doctest/doctest.h>

#include <vector>

using namespace matriarch::model;

TEST_CASE("an instance is accepted in four stages: port, record, port's write, confirmation") {
  std::vector<accept_stage> done;
  bool recorded = false;
  for (accept_next next{accept_stages.front()}; next.stage;
       next = after(*next.stage, stage_end::done, recorded)) {
    done.push_back(*next.stage);
    recorded = recorded || *next.stage == accept_stage::create_record;
    REQUIRE(done.size() <= accept_stages.size());
  }
  CHECK(done
        == std::vector{accept_stage::offer_port, accept_stage::create_record,
                       accept_stage::take_port, accept_stage::confirm});
  auto last = after(accept_stage::confirm, stage_end::done, true);
  CHECK_FALSE(last.stage.has_value());
  CHECK_FALSE(last.refusal.has_value());
}

TEST_CASE("a request is not accepted before the last stage") {
  record known;
  for (auto stage : accept_stages) {
    CHECK(known.phase == record_phase::accepting);
    known = written_by(stage, known, 30001);
  }
  CHECK(known.phase == record_phase::accepted);
  CHECK(known.endpoints[endpoint::primary] == 30001);
}

TEST_CASE("each stage writes its own part of the record and nothing else") {
  record known;
  known.endpoints[endpoint::primary] = 7;
  CHECK(written_by(accept_stage::offer_port, known, 8) == known);
  CHECK(written_by(accept_stage::create_record, known, 8) == known);
  CHECK(written_by(accept_stage::confirm, known, 8).endpoints[endpoint::primary] == 7);
  CHECK(written_by(accept_stage::take_port, known, 8).phase == record_phase::accepting);
}

TEST_CASE("if another instance takes the port, the same record gets another port") {
  auto next = after(accept_stage::take_port, stage_end::taken, true);
  REQUIRE(next.stage.has_value());
  CHECK(*next.stage == accept_stage::offer_port);
  next = after(*next.stage, stage_end::done, true);
  REQUIRE(next.stage.has_value());
  CHECK(*next.stage == accept_stage::take_port);
}

TEST_CASE("no free port is a refusal, unless a record is already written") {
  auto first = after(accept_stage::offer_port, stage_end::none_free, false, "all are in use");
  REQUIRE(first.refusal.has_value());
  CHECK(first.refusal->is == verdict_kind::refused);
  CHECK(first.refusal->description == "all are in use");
  auto later = after(accept_stage::offer_port, stage_end::none_free, true, "all are in use");
  REQUIRE(later.refusal.has_value());
  CHECK(later.refusal->is == verdict_kind::unavailable);
}

TEST_CASE("a leader key without a record refuses the instance") {
  auto next = after(accept_stage::create_record, stage_end::led, false, "changed meanwhile");
  CHECK_FALSE(next.stage.has_value());
  REQUIRE(next.refusal.has_value());
  CHECK(next.refusal->is == verdict_kind::unavailable);
  CHECK(next.refusal->description.find("matriarch orphans") != std::string::npos);
}

TEST_CASE("the acceptance ends with the reason if any stage fails") {
  for (auto stage : accept_stages) {
    auto next = after(stage, stage_end::failed, true, "etcd cannot be reached");
    CHECK_FALSE(next.stage.has_value());
    REQUIRE(next.refusal.has_value());
    CHECK(next.refusal->is == verdict_kind::unavailable);
    CHECK(next.refusal->description == "etcd cannot be reached");
  }
}
