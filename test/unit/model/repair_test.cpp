#include "model/repair.hpp"

#include <doctest/doctest.h>

using namespace matriarch::model;
using namespace std::chrono_literals;

namespace {

constexpr duration after = 5min;
using guids = std::set<std::string>;

cell_signs well(const std::string& guid) {
  return {guid, true, true, true, false};
}
cell_signs silent(const std::string& guid) {
  return {guid, false, false, false, false};
}

const std::vector<cell_signs> one_of_three_silent{silent("a"), well("b"), well("c")};

} // namespace

TEST_CASE("a cell is lost once it has shown no sign of life for repair_after, not before") {
  auto first = judge_cells(one_of_three_silent, {}, 100s, after);
  CHECK(first.lost.empty());
  CHECK(first.unresponsive_since == unresponsive_cells{{"a", 100s}});
  CHECK(first.look_again_at == 100s + after);
  CHECK(judge_cells(one_of_three_silent, first.unresponsive_since, 100s + after - 1ms, after)
            .lost.empty());
  auto later = judge_cells(one_of_three_silent, first.unresponsive_since, 100s + after, after);
  CHECK(later.lost == guids{"a"});
  CHECK(later.halted.empty());
  CHECK_FALSE(later.look_again_at.has_value());
}

TEST_CASE("each single sign of life keeps a cell from being lost, and restarts its clock") {
  auto before = unresponsive_cells{{"a", 0s}};
  for (auto sign : {&cell_signs::reachable, &cell_signs::announced, &cell_signs::members}) {
    auto cells = one_of_three_silent;
    cells[0].*sign = true;
    auto judged = judge_cells(cells, before, 1h, after);
    CHECK(judged.lost.empty());
    CHECK(judged.unresponsive_since.empty());
  }
}

TEST_CASE("a clock that restarts forgets how long a cell has been silent") {
  CHECK(judge_cells(one_of_three_silent, {{"a", 0s}}, 1h, after).lost == guids{"a"});
  CHECK(judge_cells(one_of_three_silent, {}, 1h, after).lost.empty());
}

TEST_CASE("if more than half of the cells seem lost, none counts as lost, with a reason") {
  std::vector<cell_signs> cells{silent("a"), silent("b"), well("c")};
  // The second cell has been silent only for a moment, but counts: the fault may be the same.
  auto judged = judge_cells(cells, {{"a", 0s}, {"b", 1h - 1ms}}, 1h, after);
  CHECK(judged.lost.empty());
  CHECK(judged.halted.find("2 of 3 cells seem lost") != std::string::npos);
  cells.push_back(well("d"));
  CHECK(judge_cells(cells, {{"a", 0s}, {"b", 1h - 1ms}}, 1h, after).lost == guids{"a"});
}

TEST_CASE("a forgotten cell is lost at once, and does not count towards the half") {
  auto forgotten = silent("a");
  forgotten.forgotten = true;
  CHECK(judge_cells({forgotten, well("b"), well("c")}, {}, 1s, after).lost == guids{"a"});
  CHECK(judge_cells({forgotten, silent("b"), well("c"), well("d")}, {{"b", 0s}}, 1h, after).lost
        == guids{"a", "b"});
  forgotten.reachable = true;
  CHECK(judge_cells({forgotten, well("b")}, {}, 1h, after).lost.empty());
}
