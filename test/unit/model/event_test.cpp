#include "model/event.hpp"

#include <doctest/doctest.h>

using namespace matriarch::model;

namespace {

using namespace std::chrono_literals;

event about(happening what) {
  return {wall_time{5s}, "db", "id of db", std::move(what)};
}

record with_operation(operation_type type) {
  record known;
  known.current.id = "op";
  known.current.type = type;
  known.current.description = "members stopped";
  known.current.requested_by = "cloudfoundry {}";
  known.current.started_at = wall_time{2s};
  return known;
}

} // namespace

TEST_CASE("the end of an operation has its type, result, requester and duration") {
  auto end = end_of(with_operation(operation_type::update), false, wall_time{5s});
  CHECK(end.type == operation_type::update);
  CHECK(end.operation_id == "op");
  CHECK(end.requested_by == "cloudfoundry {}");
  CHECK_FALSE(end.succeeded);
  CHECK(end.description == "members stopped");
  CHECK(end.took == 3s);
}

TEST_CASE("an accepted operation's event has its id, and a new instance's port") {
  CHECK(words_of(about(operation_accepted{operation_type::provision, "op", 30001}))
        == "provision accepted, port 30001 (operation op)");
  CHECK(words_of(about(operation_accepted{operation_type::deprovision, "op"}))
        == "deprovision accepted (operation op)");
}

TEST_CASE("the end of an operation is described in words") {
  auto said = [](operation_type type, bool succeeded) {
    return words_of(about(end_of(with_operation(type), succeeded, wall_time{5s})));
  };
  CHECK(said(operation_type::update, true) == "update succeeded: members stopped");
  CHECK(said(operation_type::provision, false) == "provision failed: members stopped");
  CHECK(said(operation_type::deprovision, false) == "deprovision failed: members stopped");
  CHECK(said(operation_type::deprovision, true) == "removed");
}

TEST_CASE("every event has words") {
  for (const auto& what :
       {happening{operation_accepted{}}, happening{operation_ended{}},
        happening{provision_undone{}}, happening{bootstrap_repeated{}},
        happening{bootstrap_repeated{true}}, happening{parameters_adopted{}},
        happening{repair_changed{}}, happening{switchover_begun{}}, happening{switchover_failed{}},
        happening{restart_begun{}}, happening{copy_repeated{}}, happening{port_exchanged{}}})
    CHECK_FALSE(words_of(about(what)).empty());
  CHECK(words_of(about(repair_changed{"node a is replaced"})) == "node a is replaced");
  CHECK(words_of(about(repair_changed{})) == "repaired");
  CHECK(words_of(about(port_exchanged{1, 2})).starts_with("port 1 "));
}

TEST_CASE("only events that need an operator's attention are warnings") {
  CHECK(is_warning(about(switchover_failed{"no"})));
  CHECK(is_warning(about(bootstrap_repeated{})));
  CHECK(is_warning(about(copy_repeated{"n"})));
  CHECK(is_warning(about(port_exchanged{1, 2})));
  CHECK_FALSE(is_warning(about(switchover_begun{"a", "b"})));
  CHECK_FALSE(is_warning(about(operation_ended{})));
  CHECK_FALSE(is_warning(about(operation_accepted{})));
}
