#include "model/orphans.hpp"

#include <doctest/doctest.h>

using namespace matriarch::model;
using namespace std::chrono_literals;

namespace {

const wall_time now{1'700'000'000s};
using ids = std::set<std::string>;

listed_node listed(const std::string& id) {
  return {id, "db", "service", "plan"};
}

} // namespace

TEST_CASE("a node that a record lists on the cell is no orphan") {
  CHECK(unrecorded({listed("n1"), listed("n2")}, {"n1"}) == std::vector{listed("n2")});
  CHECK(unrecorded({listed("n1")}, {"n1", "n9"}).empty());
}

TEST_CASE("an unrecorded node is removed if it has a grave, else reported when found again") {
  auto first = judge_orphans({listed("n1"), listed("n2")}, {"n1"}, {});
  CHECK(first.remove == std::vector{listed("n1")});
  CHECK(first.report.empty());
  CHECK(first.suspects == ids{"n2"});
  auto second = judge_orphans({listed("n2"), listed("n3")}, {}, first.suspects);
  CHECK(second.remove.empty());
  CHECK(second.report == std::vector{listed("n2")});
  CHECK(second.suspects == ids{"n2", "n3"});
}

TEST_CASE("a grave may go after a day if its cell lists its nodes without the buried one") {
  const grave fresh{"db", now - 23h};
  const grave old{"db", now - 25h};
  const grave ageless{"db", std::nullopt};
  CHECK_FALSE(has_served("n1", fresh, ids{}, now));
  CHECK(has_served("n1", old, ids{"n2"}, now));
  CHECK_FALSE(has_served("n1", old, ids{"n1"}, now));
  CHECK(has_served("n1", ageless, ids{}, now));
  // A cell that does not list its nodes, or is away, may bring the node back for a year.
  CHECK_FALSE(has_served("n1", old, std::nullopt, now));
  CHECK_FALSE(has_served("n1", ageless, std::nullopt, now));
  CHECK_FALSE(has_served("n1", {"db", now - 364 * 24h}, std::nullopt, now));
  CHECK(has_served("n1", {"db", now - 366 * 24h}, std::nullopt, now));
}
