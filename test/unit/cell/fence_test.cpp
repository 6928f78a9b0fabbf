#include <doctest/doctest.h>

#include "cell/fence.hpp"

namespace matriarch::cell {

namespace {

constexpr std::int64_t day = 86'400'000; // in milliseconds

fencing_claim claim(std::string scope, std::int64_t revision, std::string fleet = {}) {
  return {std::move(scope), revision, std::move(fleet)};
}

} // namespace

TEST_CASE("a request older than the last one for its scope is refused") {
  fence memory;
  CHECK_FALSE(memory.refusal_of(claim("c1", 10)));
  CHECK(memory.note(claim("c1", 10)));
  CHECK(memory.refusal_of(claim("c1", 9)));
  CHECK_FALSE(memory.refusal_of(claim("c1", 10)));
  CHECK_FALSE(memory.refusal_of(claim("c1", 11)));
  CHECK_FALSE(memory.refusal_of(claim("c2", 1)));
}

TEST_CASE("noting an older revision does not lower the highest one") {
  fence memory;
  memory.note(claim("c1", 10));
  CHECK_FALSE(memory.note(claim("c1", 5)));
  CHECK(memory.refusal_of(claim("c1", 9)));
}

TEST_CASE("a request of another fleet than the first one is refused") {
  fence memory;
  CHECK(memory.note(claim("c1", 1, "ours")));
  CHECK(memory.refusal_of(claim("c2", 5, "theirs")));
  CHECK_FALSE(memory.refusal_of(claim("c2", 5, "ours")));
  CHECK_FALSE(memory.note(claim("c1", 1, "ours")));
}

TEST_CASE("a request without a fleet and revision is accepted and notes nothing") {
  fence memory;
  memory.note(claim("c1", 10, "ours"));
  CHECK_FALSE(memory.refusal_of({"c1", std::nullopt, ""}));
  CHECK_FALSE(memory.note({"c1", std::nullopt, ""}));
}

TEST_CASE("a fence reads back as it was written") {
  fence memory;
  memory.note(claim("c\"1", 1LL << 60, "ours"));
  memory.bury("n1", 5);
  memory.rest({"127.0.0.9", 5432, 8008}, 7);
  auto read = fence::parse(memory.text());
  REQUIRE(read.ok());
  CHECK(read->text() == memory.text());
  CHECK(read->refusal_of(claim("c\"1", (1LL << 60) - 1)));
  CHECK(read->refusal_of(claim("x", 1, "theirs")));
  CHECK(read->buried("n1"));
  CHECK_FALSE(read->buried("n2"));
  CHECK(read->resting().at("127.0.0.9:5432") == 7);
}

TEST_CASE("a damaged fence is an error, not an empty fence") {
  for (const auto* text : {"", "[", "{\"graves\":[]}", "{\"revisions\":{\"a\":\"1\"}}"}) {
    CAPTURE(text);
    CHECK_FALSE(fence::parse(text).ok());
  }
}

TEST_CASE("graves are kept for a month and rests for ten minutes") {
  fence memory;
  memory.bury("n1", 0);
  memory.rest({"127.0.0.9", 5432, 8008}, 0);
  memory.forget_old(endpoint_rest.count(), {});
  CHECK(memory.resting().size() == 1);
  memory.forget_old(30 * day, {});
  CHECK(memory.buried("n1"));
  CHECK(memory.resting().empty());
  memory.forget_old(30 * day + 1, {});
  CHECK_FALSE(memory.buried("n1"));
}

TEST_CASE("a scope's revision is kept for a month after its last node here, across restarts") {
  fence memory;
  memory.note(claim("c1", 10));
  memory.note(claim("c2", 20));
  memory.forget_old(0, {"c1", "c2"});
  memory.forget_old(day, {"c1"});
  auto again = fence::parse(memory.text());
  REQUIRE(again);
  again->forget_old(31 * day, {"c1"});
  CHECK(again->refusal_of(claim("c2", 19)));
  again->forget_old(31 * day + 1, {"c1"});
  CHECK_FALSE(again->refusal_of(claim("c2", 19)));
  CHECK(again->refusal_of(claim("c1", 9)));
  again->forget_old(90 * day, {});
  CHECK(again->refusal_of(claim("c1", 9)));
  again->forget_old(100 * day, {"c1"}); // a node of that scope came back
  again->forget_old(125 * day, {});
  CHECK(again->refusal_of(claim("c1", 9)));
}

TEST_CASE("an endpoint that is used again no longer rests") {
  fence memory;
  memory.rest({"127.0.0.9", 5432, 8008}, 0);
  memory.occupy({"127.0.0.9", 5432, 8008});
  CHECK(memory.resting().empty());
}

} // namespace matriarch::cell
