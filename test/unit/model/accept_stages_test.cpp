#include "model/accept_stages.hpp"

#include <doctest/doctest.h>

#include <vector>

using namespace matriarch::model;

TEST_CASE(
    "an instance is accepted after a port, a record, the port's taking and its confirmation") {
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

TEST_CASE("nobody is promised anything before the last stage") {
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

TEST_CASE("a port that somebody else took is exchanged for another, for the same record") {
  auto next = after(accept_stage::take_port, stage_end::taken, true);
  REQUIRE(next.stage.has_value());
  CHECK(*next.stage == accept_stage::offer_port);
  next = after(*next.stage, stage_end::done, true);
  REQUIRE(next.stage.has_value());
  CHECK(*next.stage == accept_stage::take_port);
}

TEST_CASE("that no port is left is an answer, unless something has been written down already") {
  auto first = after(accept_stage::offer_port, stage_end::none_free, false, "all are in use");
  REQUIRE(first.refusal.has_value());
  CHECK(first.refusal->is == verdict_kind::refused);
  CHECK(first.refusal->description == "all are in use");
  auto later = after(accept_stage::offer_port, stage_end::none_free, true, "all are in use");
  REQUIRE(later.refusal.has_value());
  CHECK(later.refusal->is == verdict_kind::unavailable);
}

TEST_CASE("a cluster that leads without a record keeps its name") {
  auto next = after(accept_stage::create_record, stage_end::led, false, "changed meanwhile");
  CHECK_FALSE(next.stage.has_value());
  REQUIRE(next.refusal.has_value());
  CHECK(next.refusal->is == verdict_kind::unavailable);
  CHECK(next.refusal->description.find("matriarch orphans") != std::string::npos);
}

TEST_CASE("whatever stage fails ends it, with the reason") {
  for (auto stage : accept_stages) {
    auto next = after(stage, stage_end::failed, true, "etcd cannot be reached");
    CHECK_FALSE(next.stage.has_value());
    REQUIRE(next.refusal.has_value());
    CHECK(next.refusal->is == verdict_kind::unavailable);
    CHECK(next.refusal->description == "etcd cannot be reached");
  }
}
