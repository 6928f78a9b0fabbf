#include "model/step_table.hpp"

#include <doctest/doctest.h>

using namespace matriarch::model;

namespace {

using namespace std::chrono_literals;

constexpr step_table::time_point later{10s};

} // namespace

TEST_CASE("a step that is under way does not begin again before its end") {
  step_table steps;
  CHECK(steps.begin({step_kind::ask_lag}));
  CHECK(steps.under_way({step_kind::ask_lag}));
  CHECK_FALSE(steps.begin({step_kind::ask_lag}));
  steps.end({step_kind::ask_lag});
  CHECK_FALSE(steps.under_way({step_kind::ask_lag}));
  CHECK(steps.begin({step_kind::ask_lag}));
}

TEST_CASE("steps of another kind or another node are not held up") {
  step_table steps;
  CHECK(steps.begin({step_kind::start_node, "a"}));
  CHECK(steps.begin({step_kind::start_node, "b"}));
  CHECK(steps.begin({step_kind::remove_node, "a"}));
  CHECK(steps.begin({step_kind::ask_settings, "a"}));
  CHECK_FALSE(steps.under_way({step_kind::ask_settings}));
  steps.end({step_kind::start_node, "a"});
  CHECK(steps.under_way({step_kind::start_node, "b"}));
  CHECK(steps.under_way({step_kind::remove_node, "a"}));
}

TEST_CASE("a step stays put off after its end, until the given time") {
  step_table steps;
  const step_key removal{step_kind::remove_node, "a"};
  CHECK(steps.put_off_until(removal) == step_table::time_point{});
  CHECK(steps.begin(removal));
  steps.put_off(removal, later);
  steps.end(removal);
  CHECK(steps.put_off_until(removal) == later);
  steps.let_go(later - 1ns);
  CHECK(steps.put_off_until(removal) == later);
  steps.let_go(later);
  CHECK(steps.put_off_until(removal) == step_table::time_point{});
}

TEST_CASE("a later put_off() replaces an earlier one") {
  step_table steps;
  steps.put_off({step_kind::ask_settings}, later);
  steps.put_off({step_kind::ask_settings}, later - 5s);
  CHECK(steps.put_off_until({step_kind::ask_settings}) == later - 5s);
}

TEST_CASE("let_go() drops only steps that are over") {
  step_table steps;
  CHECK(sizeof steps == sizeof(void*));
  CHECK(steps.begin({step_kind::configure}));
  CHECK(steps.begin({step_kind::failover_from}));
  steps.put_off({step_kind::failover_from}, later);
  steps.end({step_kind::configure});
  CHECK(steps.size() == 1);
  steps.let_go(later);
  CHECK(steps.under_way({step_kind::failover_from}));
  CHECK(steps.size() == 1);
  steps.end({step_kind::failover_from});
  steps.let_go(later);
  CHECK(steps.size() == 0);
  steps.end({step_kind::add_nodes}); // was not begun
  CHECK(steps.size() == 0);
}

TEST_CASE("a table is idle while nothing is under way, whatever is put off") {
  step_table table;
  CHECK(table.idle());
  table.put_off({step_kind::ask_lag}, step_table::time_point{1s});
  CHECK(table.idle());
  CHECK(table.begin({step_kind::start_node, "n1"}));
  CHECK_FALSE(table.idle());
  table.end({step_kind::start_node, "n1"});
  CHECK(table.idle());
}
