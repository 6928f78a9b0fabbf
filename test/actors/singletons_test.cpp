#include <doctest/doctest.h>

#include <caf/all.hpp>
#include <caf/scheduler/test_coordinator.hpp>

#include "actors/cell_directory.hpp"
#include "actors/last_words.hpp"
#include "actors/singletons.hpp"

using namespace matriarch;
using namespace matriarch::actors;
using namespace std::chrono_literals;

namespace {

/// An actor system in virtual time.
struct system_in_virtual_time {
  struct config : caf::actor_system_config {
    config() { set("scheduler.policy", caf::atom("testing")); }
  } how;
  caf::actor_system system{how};
  caf::scheduler::test_coordinator& scheduler =
      dynamic_cast<caf::scheduler::test_coordinator&>(system.scheduler());

  system_in_virtual_time() { system.await_actors_before_shutdown(false); }
  void run() {
    while (scheduler.try_run_once()) {
    }
  }
  void pass(caf::timespan how_long) {
    scheduler.advance_time(how_long);
    run();
  }
  /// Where the reason of an actor's end will be stored.
  template <class Handle>
  std::shared_ptr<std::string> end_of(const Handle& one) {
    auto why = std::make_shared<std::string>();
    caf::actor_cast<caf::actor>(one)->attach_functor([this, why](const caf::error& reason) {
      *why = reason ? system.render(reason) : "normal";
    });
    return why;
  }
};

} // namespace

TEST_CASE("an exception that ends an actor is reported to its monitors") {
  system_in_virtual_time here;
  auto careless = here.system.spawn([](caf::event_based_actor* self) -> caf::behavior {
    keep_last_words(self);
    return {[](int) { throw std::runtime_error{"the last words"}; }};
  });
  auto why = here.end_of(careless);
  caf::anon_send(careless, 1);
  here.run();
  CHECK(why->find("the last words") != std::string::npos);
}

TEST_CASE("the cell directory ends with any cell's agent, whose answers it would wait for") {
  system_in_virtual_time here;
  auto agent = std::make_shared<caf::strong_actor_ptr>();
  auto outside = here.system.spawn([agent](http_actor::pointer self) -> http_actor::behavior_type {
    return {[=](const base::outgoing&) {
      *agent = self->current_sender();
      return base::outcome{0, "", "nobody is there", true};
    }};
  });
  published out;
  environment chance_and_time = real_environment();
  auto cells = spawn_cell_directory(
      here.system,
      {{{"c", "z", "http://127.0.0.1:1", "u", "p"}}, outside, {}, chance_and_time, "", {}, &out});
  auto why = here.end_of(cells);
  here.run();
  here.pass(10s);
  REQUIRE(*agent);
  CHECK(why->empty());
  caf::anon_send_exit(caf::actor_cast<caf::actor>(*agent), caf::exit_reason::unhandled_exception);
  here.run();
  CHECK(why->find("unhandled_exception") != std::string::npos);
}
