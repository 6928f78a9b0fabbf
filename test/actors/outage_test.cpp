#include <doctest/doctest.h>

#include <caf/scheduler/test_coordinator.hpp>
#include <optional>

#include "actors/etcd_pulse.hpp"
#include "actors/gateway.hpp"
#include "actors/leadership.hpp"
#include "requests.hpp"
#include "store/keys.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;
using model::verdict;
using model::verdict_kind;

struct actor_config : caf::actor_system_config {
  actor_config() { set("scheduler.policy", caf::atom("testing")); }
};

/// An actor system in virtual time.
struct virtual_time {
  actor_config config;
  caf::actor_system system{config};
  caf::scheduler::test_coordinator& scheduler =
      dynamic_cast<caf::scheduler::test_coordinator&>(system.scheduler());

  void run() {
    while (scheduler.try_run_once()) {
    }
  }
  void pass(caf::timespan time) {
    scheduler.advance_time(time);
    run();
  }
};

/// A directory that answers only when a test makes it.
instance_directory_actor::behavior_type silent_directory(
    instance_directory_actor::stateful_pointer<std::vector<caf::typed_response_promise<verdict>>>
        self,
    std::shared_ptr<int> asked) {
  return {
      [=](const model::request&) -> caf::result<verdict> {
        ++*asked;
        self->state.push_back(self->make_response_promise<verdict>());
        return self->state.back();
      },
      [](const model::demote_request&) { return model::demote_report{}; },
      [](const model::forget_request&) { return model::forget_report{}; },
      [](const key_listing&) {},
      [](const key_changes&) {},
      [](const etcd_reachable&) {},
      [](const activity&) {},
      [](tick_atom) {},
  };
}

struct edge {
  virtual_time time;
  published out;
  std::shared_ptr<int> asked = std::make_shared<int>(0);
  instance_directory_actor directory = time.system.spawn(silent_directory, asked);
  std::optional<gateway> door;

  edge() {
    out.status.loaded = true;
    door.emplace(time.system, directory, cell_directory_actor{}, out);
    time.run();
  }
  ~edge() {
    door.reset();
    caf::anon_send_exit(directory, caf::exit_reason::user_shutdown);
    time.run();
  }

  std::shared_ptr<std::optional<verdict>> ask(model::request what) {
    auto came = std::make_shared<std::optional<verdict>>();
    door->ask(std::move(what), 20s, [came](verdict said) {
      REQUIRE_FALSE(came->has_value());
      *came = std::move(said);
    });
    time.run();
    return came;
  }
};

} // namespace

TEST_CASE("once etcd is away for a second, all requests that need it are answered") {
  edge here;
  auto change = here.ask(simulation::provision("db"));
  auto look = here.ask(model::lookup_request{"unknown"});
  auto end = here.ask(model::await_request{"db", "op"});
  here.door->note_etcd(false);
  here.time.run();
  here.time.pass(900ms);
  CHECK_FALSE(change->has_value());
  here.time.pass(200ms);
  REQUIRE(change->has_value());
  CHECK((*change)->is == verdict_kind::unavailable);
  REQUIRE(look->has_value());
  // The end of an accepted operation is still waited for.
  CHECK_FALSE(end->has_value());
  here.time.pass(30s);
  CHECK(end->has_value());
}

TEST_CASE("while etcd is away a change is refused without asking anybody") {
  edge here;
  here.door->note_etcd(false);
  here.time.run();
  auto before = here.ask(simulation::provision("db"));
  CHECK(*here.asked == 1); // etcd may be back in a moment
  here.time.pass(1s);
  CHECK(before->has_value());
  auto refused = here.ask(simulation::provision("db"));
  REQUIRE(refused->has_value());
  CHECK((*refused)->is == verdict_kind::unavailable);
  CHECK((*refused)->description.find("etcd") != std::string::npos);
  CHECK(*here.asked == 1);
  here.door->note_etcd(true);
  here.time.run();
  CHECK_FALSE(here.ask(simulation::provision("db"))->has_value());
  CHECK(*here.asked == 2);
}

TEST_CASE("an etcd that is back within a moment lets everything wait for its answer") {
  edge here;
  auto change = here.ask(simulation::provision("db"));
  for (int i = 0; i < 5; ++i) {
    here.door->note_etcd(false);
    here.time.pass(600ms);
    here.door->note_etcd(true);
    here.time.pass(600ms);
  }
  CHECK_FALSE(change->has_value());
  CHECK(here.out.status.outages == 0);
}

// -- the lease and the pulse ----------------------------------------------------------------------

namespace {

/// An etcd with the few keys that are needed here. Answers at once, and can be away or full.
struct small_etcd {
  std::map<std::string, std::string> keys;
  bool away = false;
  bool full = false;
};

store_actor::behavior_type behave_as(store_actor::pointer, std::shared_ptr<small_etcd> etcd) {
  auto lease = [etcd](store::lease_id id) {
    store::lease_result came;
    came.id = id;
    if (!etcd->away)
      came.is = store::lease_result::state::held;
    return came;
  };
  auto entry = [etcd](const std::string& key) {
    std::vector<store::key_value> found;
    if (auto one = etcd->keys.find(key); one != etcd->keys.end())
      found.push_back({key, one->second, 1, 1, 7});
    return found;
  };
  return {
      [etcd, entry](const store::transaction& what) {
        store::commit_result came;
        if (etcd->away)
          return came;
        came.state = store::commit_state::committed;
        came.at = 1;
        for (const auto& one : what.compares)
          if (one.what == store::compare::subject::value
                  ? etcd->keys[one.key] != one.text
                  : etcd->keys.contains(one.key) != (one.number != 0))
            came.state = store::commit_state::refused;
        bool holds = came.state == store::commit_state::committed;
        for (const auto& one : holds ? what.then : what.otherwise) {
          if (const auto* write = std::get_if<store::put>(&one)) {
            if (etcd->full)
              return store::commit_result{store::commit_state::unknown, 0, {}, "no space", true};
            etcd->keys[write->key] = write->value;
          } else if (const auto* look = std::get_if<store::read>(&one)) {
            came.reads.push_back(entry(look->keys.first));
          }
        }
        return came;
      },
      [etcd, entry](const store::key_range& which) {
        return store::range_result{!etcd->away, 1, entry(which.first)};
      },
      [lease](const grant_lease&) { return lease(7); },
      [lease](const keep_lease& what) { return lease(what.lease); },
      [lease](const revoke_lease& what) { return lease(what.lease); },
      [](const admit_user&) { return user_answer{true}; },
      [](const dismiss_user&) { return user_answer{true}; },
  };
}

struct with_etcd {
  virtual_time time;
  published out;
  std::shared_ptr<small_etcd> etcd = std::make_shared<small_etcd>();
  store_actor store = time.system.spawn(behave_as, etcd);
  std::vector<caf::actor> others;

  ~with_etcd() {
    for (const auto& one : others)
      caf::anon_send_exit(one, caf::exit_reason::user_shutdown);
    caf::anon_send_exit(store, caf::exit_reason::user_shutdown);
    time.run();
  }
};

} // namespace

TEST_CASE("a broker's trust in its lease ends by itself, even if the process stands still") {
  with_etcd here;
  auto directory = here.time.system.spawn(silent_directory, std::make_shared<int>(0));
  auto lease = spawn_leadership(
      here.time.system, {here.store, directory, {"id", "127.0.0.1:3000"}, "fleet", &here.out});
  here.others = {caf::actor_cast<caf::actor>(directory), caf::actor_cast<caf::actor>(lease)};
  here.time.run();
  auto now = [&] { return here.time.scheduler.clock().now(); };
  CHECK(now() < here.out.status.acts_until.load());
  here.time.pass(60s);
  here.time.pass(3s);
  CHECK(now() < here.out.status.acts_until.load());
  // The actors do not run while time passes.
  here.time.scheduler.advance_time(9s);
  CHECK(now() > here.out.status.acts_until.load());
}

TEST_CASE("the pulse shows since when etcd has not answered, and that etcd refuses writes") {
  with_etcd here;
  here.etcd->keys[store::keys::active] = "this one";
  environment outside;
  outside.now = [] { return model::wall_time{}; };
  auto pulse =
      spawn_etcd_pulse(here.time.system, {here.store, "this one", outside, &here.out.status});
  here.others = {caf::actor_cast<caf::actor>(pulse)};
  here.time.run();
  auto heard = here.out.status.etcd_heard.load();
  CHECK(heard == here.time.scheduler.clock().now());
  CHECK(here.etcd->keys.contains(store::keys::heartbeat));
  CHECK_FALSE(here.out.status.etcd_refuses_writes);
  here.etcd->full = true;
  here.time.pass(3s);
  CHECK(here.out.status.etcd_refuses_writes);
  CHECK(here.out.status.etcd_heard.load() > heard);
  heard = here.out.status.etcd_heard;
  here.etcd->away = true;
  here.time.pass(3s);
  here.time.pass(3s);
  CHECK(here.out.status.etcd_heard.load() == heard);
  here.etcd->away = here.etcd->full = false;
  here.time.pass(3s);
  CHECK_FALSE(here.out.status.etcd_refuses_writes);
  here.etcd->keys[store::keys::active] = "another one";
  here.etcd->keys.erase(store::keys::heartbeat);
  here.time.pass(3s);
  CHECK_FALSE(here.etcd->keys.contains(store::keys::heartbeat));
}

TEST_CASE("a passive broker refuses every change, whatever its copy of the record says") {
  simulation::stage here;
  simulation::broker_settings how;
  how.address = "127.0.0.1:9090";
  here.brokers.push_back(std::make_unique<simulation::simulated_broker>(here.outside, how));
  REQUIRE(here.ask(simulation::provision("db")).is == verdict_kind::accepted);
  here.pass(10ms);
  auto& waiting = *here.brokers[1];
  REQUIRE_FALSE(waiting.active());
  REQUIRE(waiting.find("db"));
  // The active broker would answer: accepted again, different, and still in progress.
  auto other = simulation::provision("db", 3);
  for (const model::request& what : std::vector<model::request>{simulation::provision("db"), other,
                                                                simulation::resize("db", 3)}) {
    auto said = waiting.ask(what);
    here.run();
    REQUIRE(said->has_value());
    CHECK((*said)->is == verdict_kind::unavailable);
  }
}

TEST_CASE("while a broker reads its instances, lookups are answered and changes refused") {
  edge here;
  here.out.status.loaded = false;
  auto refused = here.ask(simulation::provision("db"));
  REQUIRE(refused->has_value());
  CHECK((*refused)->is == verdict_kind::unavailable);
  CHECK((*refused)->description.find("has not read its instances") != std::string::npos);
  CHECK(*here.asked == 0);
  CHECK_FALSE(here.ask(model::lookup_request{"db"})->has_value());
  CHECK(*here.asked == 1);
}

} // namespace matriarch::actors
