#include "model/placement.hpp"

#include <doctest/doctest.h>

using namespace matriarch::model;

namespace {

cell_view cell(const std::string& guid, const std::string& zone, int nodes = 0, int capacity = 10) {
  cell_view c;
  c.guid = guid;
  c.availability_zone = zone;
  c.reachable = true;
  c.nodes = nodes;
  c.capacity = capacity;
  return c;
}

cell_view unreachable(cell_view c) {
  c.reachable = false;
  c.last_error = "secret detail";
  return c;
}

placement_request nodes(int count) {
  placement_request asked;
  asked.count = count;
  return asked;
}

using guids = std::vector<std::string>;

} // namespace

TEST_CASE("cells that cannot start the settings get no node, and the shortage says so") {
  auto unfit = cell("a", "z1");
  unfit.plan_faults = {{"plan", "d1", {"bad unit"}}};
  auto small = cell("b", "z2", 0, 2);
  auto asked = nodes(3);
  asked.settings = "d1";
  auto chosen = choose_cells(asked, {unfit, small});
  CHECK(chosen.cells == guids{"b", "b"});
  CHECK(chosen.shortage
        == "a: its nodes would not start with the plan's settings; b: full (2 nodes)");
  asked.unfit_too = true;
  CHECK(choose_cells(asked, {unfit, small}).cells == guids{"b", "b", "a"});
  asked.settings = "d2";
  CHECK(choose_cells(asked, {unfit, small}).cells.front() == "a");
}

TEST_CASE("nodes are spread over the zones before load counts") {
  auto chosen = choose_cells(nodes(2), {cell("a", "z1"), cell("b", "z1"), cell("c", "z2", 9)});
  CHECK(chosen.cells == guids{"a", "c"});
  CHECK(chosen.shortage.empty());
}

TEST_CASE("the zones of the nodes that exist count") {
  auto asked = nodes(1);
  asked.used = {"a"};
  CHECK(choose_cells(asked, {cell("a", "z1"), cell("b", "z1"), cell("c", "z2", 9)}).cells
        == guids{"c"});
}

TEST_CASE("a preferred cell is taken first, but not one that the cluster uses already") {
  auto asked = nodes(1);
  asked.preferred = {"b", "c"};
  asked.used = {"b"};
  const std::vector<cell_view> cells{cell("a", "z1"), cell("b", "z2"), cell("c", "z2", 9)};
  CHECK(choose_cells(asked, cells).cells == guids{"c"});
  asked.used = {"b", "c"};
  CHECK(choose_cells(asked, cells).cells == guids{"a"});
  asked.used = {"a", "b", "c"};
  CHECK(choose_cells(asked, cells).cells == guids{"b"});
}

TEST_CASE("within a zone the cell with the lowest load for its capacity is chosen") {
  CHECK(choose_cells(nodes(1), {cell("a", "z", 2, 4), cell("b", "z", 3, 10)}).cells == guids{"b"});
}

TEST_CASE("a cell that does not report its capacity counts as having sixteen places") {
  CHECK(choose_cells(nodes(1), {cell("a", "z", 4, 10), cell("b", "z", 6, 0)}).cells == guids{"b"});
  CHECK(choose_cells(nodes(1), {cell("a", "z", 3, 10), cell("b", "z", 6, 0)}).cells == guids{"a"});
  CHECK(choose_cells(nodes(1), {cell("b", "z", 500, 0)}).cells == guids{"b"});
}

TEST_CASE("ties are broken by the guid, whatever the order of the cells") {
  CHECK(choose_cells(nodes(2), {cell("c", "z"), cell("b", "z"), cell("a", "z")}).cells
        == guids{"a", "b"});
}

TEST_CASE("a cell that was already used is only taken when no other is left") {
  auto asked = nodes(1);
  asked.used = {"a"};
  CHECK(choose_cells(asked, {cell("a", "z1"), cell("b", "z1", 9)}).cells == guids{"b"});
  CHECK(choose_cells(asked, {cell("a", "z1"), unreachable(cell("b", "z1"))}).cells == guids{"a"});
}

TEST_CASE("more nodes than cells share cells evenly") {
  CHECK(choose_cells(nodes(4), {cell("a", "z1"), cell("b", "z2")}).cells
        == guids{"a", "b", "a", "b"});
}

TEST_CASE("only named cells are chosen") {
  auto asked = nodes(2);
  asked.among = {"b", "c"};
  CHECK(choose_cells(asked, {cell("a", "z1"), cell("b", "z2"), cell("c", "z2")}).cells
        == guids{"b", "c"});
}

TEST_CASE("a cell to be avoided is not chosen, and its reason is given") {
  auto asked = nodes(1);
  asked.avoid = {{"a", "it burns"}};
  CHECK(choose_cells(asked, {cell("a", "z"), cell("b", "z", 9)}).cells == guids{"b"});
  auto none = choose_cells(asked, {cell("a", "z")});
  CHECK(none.cells.empty());
  CHECK(none.shortage == "a: it burns");
  CHECK_FALSE(none.may_improve);
}

TEST_CASE("a full cell is not chosen, counting the nodes chosen in the same request") {
  auto chosen = choose_cells(nodes(2), {cell("a", "z", 9, 10)});
  CHECK(chosen.cells == guids{"a"});
  CHECK(chosen.shortage == "a: full (10 nodes)");
  CHECK_FALSE(chosen.may_improve);
}

TEST_CASE("a cell out of reach is not chosen, but waiting may help") {
  auto chosen = choose_cells(nodes(1), {unreachable(cell("a", "z"))});
  CHECK(chosen.cells.empty());
  CHECK(chosen.shortage == "a: cannot be reached");
  CHECK(chosen.may_improve);
}

TEST_CASE("may_improve is false if enough cells were found") {
  auto chosen = choose_cells(nodes(1), {cell("a", "z"), unreachable(cell("b", "z"))});
  CHECK(chosen.cells == guids{"a"});
  CHECK_FALSE(chosen.may_improve);
}

TEST_CASE("an unreachable cell that the request does not name does not make waiting useful") {
  auto asked = nodes(1);
  asked.among = {"a"};
  auto chosen = choose_cells(asked, {cell("a", "z", 10, 10), unreachable(cell("b", "z"))});
  CHECK(chosen.shortage == "a: full (10 nodes)");
  CHECK_FALSE(chosen.may_improve);
}

TEST_CASE("without cells the shortage says so") {
  CHECK(choose_cells(nodes(1), {}).shortage == "there are no cells");
}

TEST_CASE("a cell smaller than a node's limits is never chosen, even if there is no other") {
  cell_view small;
  small.guid = "small";
  small.reachable = true;
  small.memory = 1LL << 30;
  placement_request asked;
  asked.count = 1;
  asked.unfit_too = true;
  asked.limits.memory = 2LL << 30;
  auto chosen = choose_cells(asked, {small});
  CHECK(chosen.cells.empty());
  CHECK(chosen.shortage == "small: has 1 GB of memory, less than the plan's 2 GB");
  small.memory = 2LL << 30;
  CHECK(choose_cells(asked, {small}).cells.size() == 1);
}
