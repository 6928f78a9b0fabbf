#include "model/fitness.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace matriarch::model;

namespace {

cluster_settings settings_of(const std::string& work_mem) {
  cluster_settings settings;
  settings.parameters["work_mem"] = work_mem;
  return settings;
}

const cluster_settings wrong = settings_of("1XB");

cell_view cell(const std::string& guid, const std::string& fault = {}) {
  cell_view one;
  one.guid = guid;
  one.reachable = true;
  if (!fault.empty())
    one.plan_faults = {{"large", digest_of(wrong), {fault, "and more"}}};
  return one;
}

using guids = std::vector<std::string>;

} // namespace

TEST_CASE("a new instance needs one reachable cell that is fit, if it names none") {
  CHECK(why_unfit_for_new("large", wrong, {}, {cell("a", "bad unit"), cell("b")}).empty());
  CHECK(why_unfit_for_new("large", wrong, {}, {}).empty());
  auto away = cell("b");
  away.reachable = false;
  CHECK_FALSE(why_unfit_for_new("large", wrong, {}, {cell("a", "bad unit"), away}).empty());
  CHECK(why_unfit_for_new("large", settings_of("1MB"), {}, {cell("a", "bad unit")}).empty());
}

TEST_CASE("if a request names cells, each of them has to be fit") {
  std::vector<cell_view> all{cell("a", "bad unit"), cell("b"), cell("c", "bad unit")};
  CHECK(why_unfit_for_new("large", wrong, {"b"}, all).empty());
  CHECK(why_unfit_for_new("large", wrong, {"a", "b"}, all).find("on cell a: bad unit")
        != std::string::npos);
  CHECK(why_unfit_for_change("large", wrong, {"c"}, {"b"}, all).find("on cell c")
        != std::string::npos);
}

TEST_CASE("a change needs only the cells that have nodes of the instance to be fit") {
  std::vector<cell_view> all{cell("a", "bad unit"), cell("b"), cell("c", "bad unit")};
  CHECK(why_unfit_for_change("large", wrong, {}, {"b"}, all).empty());
  CHECK(why_unfit_for_change("large", wrong, {}, {"a", "b"}, all).find("on cell a: bad unit")
        != std::string::npos);
}

TEST_CASE("cells with the same fault are listed together, with the plan and each fault") {
  std::vector<cell_view> all{cell("a", "bad unit"), cell("b", "no library"), cell("c", "bad unit")};
  CHECK(why_unfit_for_new("large", wrong, {}, all)
        == "the database does not take the settings of plan \"large\", on cells a, c: bad unit; "
           "and more, on cell b: no library; and more; an operator has to correct the plan, or "
           "these cells");
}

TEST_CASE("a plan too large for every cell is refused, with what each cell has") {
  auto large = settings_of("1MB");
  large.limits = node_limits{8LL << 30, 0, 0, 100LL << 30};
  auto a = cell("a");
  a.memory = 4LL << 30;
  auto b = cell("b");
  b.disk = 50LL << 30;
  CHECK(why_unfit_for_new("large", large, {}, {a, b})
        == "plan \"large\" asks for more than there is: a has 4 GB of memory, less than the plan's "
           "8 GB; b has 50 GB of disk, less than the plan's 100 GB; an operator has to correct the "
           "plan, or these cells");
  auto d = a;
  d.guid = "d";
  CHECK(why_unfit_for_new("large", large, {}, {a, d})
            .find(": each of a, d has 4 GB of memory, less than the plan's 8 GB; an operator")
        != std::string::npos);
  CHECK_FALSE(why_unfit_for_change("large", large, {}, {"a"}, {a, b}).empty());
  // One cell that is large enough, or reports no size, suffices if the request names no cells.
  CHECK(why_unfit_for_new("large", large, {}, {a, b, cell("c")}).empty());
  CHECK(why_unfit_for_change("large", large, {}, {"a"}, {a, b, cell("c")}).empty());
  CHECK_FALSE(why_unfit_for_new("large", large, {"a", "c"}, {a, b, cell("c")}).empty());
  CHECK(why_unfit_for_new("small", settings_of("1MB"), {}, {a, b}).empty());
}
