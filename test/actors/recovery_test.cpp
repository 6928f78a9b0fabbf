#include <doctest/doctest.h>

#include <algorithm>

#include "requests.hpp"
#include "store/record_json.hpp"

using namespace matriarch;
using namespace matriarch::simulation;
using namespace std::chrono_literals;
using model::verdict_kind;
namespace keys = store::keys;

namespace {

// Each finds other interleavings; all together take a second.
constexpr unsigned seeds = 4;

/// An operation to crash in, and what it has to come to.
struct scenario {
  std::function<void(stage&)> prepare;
  model::request asked;
  std::function<bool(stage&)> as_asked;
  /// Whether nothing at all of what was asked may be left, if it was never answered.
  bool may_vanish = false;
};

bool runs(stage& here, int nodes, const std::vector<std::string>& among = {}) {
  auto known = here.outside.record_of("db");
  if (!known || known->current.state != model::operation_state::succeeded
      || here.outside.running_nodes("db") != nodes || static_cast<int>(known->nodes.size()) != nodes
      || !cells_agree(here.outside, "db"))
    return false;
  return std::all_of(known->nodes.begin(), known->nodes.end(), [&](const auto& n) {
    return n.phase == model::node_phase::started
           && (among.empty() || std::find(among.begin(), among.end(), n.cell) != among.end());
  });
}

bool nothing_left(const world& outside) {
  return leftovers(outside, "db").empty() && outside.node_count() == 0;
}

/// Crashes the broker at the n-th effect on the outside, for every n there is, before and after it
/// happened, and lets another broker go on from what is left.
/// `seed` decides the order in which the actors run.
int crash_everywhere(const scenario& what, unsigned seed) {
  int crashes = 0;
  CAPTURE(seed);
  for (auto when : {moment::before, moment::after})
    for (int nth = 1;; ++nth) {
      CAPTURE(nth);
      CAPTURE(static_cast<int>(when));
      broker_settings how;
      how.seed = seed;
      stage here(4, how);
      if (what.prepare)
        what.prepare(here);
      here.outside.crash_at(here.outside.effects() + nth, when);
      auto came = here.broker().ask(what.asked);
      here.pass_until([&] { return came->has_value() && what.as_asked(here); }, 120s);
      if (!here.outside.crashed()) {
        CHECK(what.as_asked(here));
        break;
      }
      ++crashes;
      auto promised = [](const auto& said) {
        return said.is == verdict_kind::accepted || said.is == verdict_kind::created
               || said.is == verdict_kind::done;
      };
      bool answered = came->has_value() && promised(**came);
      here.restart();
      auto done = [&] {
        return what.as_asked(here) || (what.may_vanish && !answered && nothing_left(here.outside));
      };
      here.pass(1s);
      here.pass_until(done, 300s);
      here.pass(60s);
      if (!done() && !answered) {
        // What was not answered may not have been written; then the platform asks again.
        auto again = here.ask(what.asked);
        CHECK((promised(again) || again.is == verdict_kind::gone));
        here.pass_until(done, 300s);
      }
      CHECK_MESSAGE(done(), "leader: " << here.outside.leader_of("db") << " nodes: "
                                       << here.outside.nodes_of("db").size() << " record: "
                                       << here.outside.etcd.value(keys::record("db")).value_or(""));
      CHECK(here.outside.violations.empty());
      // Ports are held by records only.
      for (const auto& one : here.outside.etcd.range(store::keys_below(keys::ports))) {
        auto use = store::decode_port_use(one.value, one.mod_revision);
        REQUIRE(use.ok());
        CHECK((use->resting_since || here.outside.record_of(use->name)));
      }
    }
  return crashes;
}

} // namespace

TEST_CASE("a provision that is crashed anywhere ends as asked, or as if it had never been") {
  scenario what;
  what.asked = provision("db", 2);
  what.as_asked = [](stage& here) { return runs(here, 2); };
  what.may_vanish = true;
  for (unsigned seed = 0; seed < seeds; ++seed)
    CHECK(crash_everywhere(what, seed) >= 10);
}

TEST_CASE("a growth that is crashed anywhere ends as asked") {
  scenario what;
  what.prepare = [](stage& here) { REQUIRE(make(here, "db", 2)); };
  what.asked = resize("db", 3);
  what.as_asked = [](stage& here) { return runs(here, 3); };
  for (unsigned seed = 0; seed < seeds; ++seed)
    CHECK(crash_everywhere(what, seed) >= 6);
}

TEST_CASE("a move that is crashed anywhere ends as asked") {
  scenario what;
  what.prepare = [](stage& here) { REQUIRE(make(here, "db", 2)); };
  what.asked = move("db", {"c3", "c4"});
  what.as_asked = [](stage& here) { return runs(here, 2, {"c3", "c4"}); };
  for (unsigned seed = 0; seed < seeds; ++seed)
    CHECK(crash_everywhere(what, seed) >= 10);
}

TEST_CASE("a deprovision that is crashed anywhere leaves nothing") {
  scenario what;
  what.prepare = [](stage& here) { REQUIRE(make(here, "db", 2)); };
  what.asked = deprovision("db");
  what.as_asked = [](stage& here) {
    return nothing_left(here.outside) && here.outside.etcd.contains(keys::tombstone("db"));
  };
  for (unsigned seed = 0; seed < seeds; ++seed)
    CHECK(crash_everywhere(what, seed) >= 8);
}

TEST_CASE("a change of plan that is crashed anywhere ends as asked") {
  for (const char* connections : {"200", "50"}) {
    CAPTURE(connections);
    auto settings = large_settings();
    settings.parameters["max_connections"] = connections;
    scenario what;
    what.prepare = [](stage& here) { REQUIRE(make(here, "db", 2)); };
    what.asked = change_plan("db", "large", settings);
    what.as_asked = [settings](stage& here) {
      auto known = here.outside.record_of("db");
      return runs(here, 2) && known->in_force == settings && !known->taking_up
             && std::ranges::all_of(here.outside.nodes_of("db"), [&](const auto& one) {
                  auto digest =
                      here.outside.settings_at("postgres://" + one.first + ":5432/postgres");
                  return digest.ok() && *digest == model::digest_of(settings);
                });
    };
    for (unsigned seed = 0; seed < seeds; ++seed)
      CHECK(crash_everywhere(what, seed) >= 8);
  }
}

TEST_CASE("a bind that is crashed anywhere ends with exactly one role, an unbind with none") {
  auto bindings_are_roles = [](stage& here, std::size_t count) {
    auto listed = here.outside.etcd.range(store::keys_below(keys::bindings("db")));
    auto made = here.outside.roles_of("db").password_of;
    bool agree = std::ranges::all_of(listed, [&](const auto& entry) {
      auto one = store::decode_binding(entry.value, "db", store::keyring{});
      return one.ok() && one->phase == model::binding_phase::ready
             && made.contains(one->role.username);
    });
    return agree && listed.size() == count && made.size() == count;
  };
  scenario making;
  making.prepare = [](stage& here) { REQUIRE(make(here, "db", 2)); };
  making.asked = bind("db", "b1");
  making.as_asked = [=](stage& here) { return bindings_are_roles(here, 1); };
  scenario ending;
  ending.prepare = [](stage& here) {
    REQUIRE(make(here, "db", 2));
    REQUIRE(here.ask(bind("db", "b1")).is == verdict_kind::created);
  };
  ending.asked = unbind("db", "b1");
  ending.as_asked = [=](stage& here) { return bindings_are_roles(here, 0); };
  for (unsigned seed = 0; seed < seeds; ++seed) {
    CHECK(crash_everywhere(making, seed) >= 6);
    CHECK(crash_everywhere(ending, seed) >= 6);
  }
}

TEST_CASE("a record found accepting at the start is taken back") {
  for (int nth : {1, 2}) {
    CAPTURE(nth);
    stage here;
    here.outside.crash_at(here.outside.effects() + nth, moment::after);
    auto came = here.broker().ask(provision("db"));
    here.pass(1s);
    REQUIRE(here.outside.crashed());
    REQUIRE(here.outside.record_of("db"));
    CHECK(here.outside.record_of("db")->phase == model::record_phase::accepting);
    here.restart();
    here.pass(2s);
    CHECK(leftovers(here.outside, "db").empty());
    CHECK(here.outside.etcd.range(store::keys_below(keys::ports)).empty());
    CHECK(here.broker().find("db") == nullptr);
    CHECK(here.ask(model::lookup_request{"db"}).is == verdict_kind::not_found);
    CHECK(here.ask(provision("db")).is == verdict_kind::accepted);
  }
}

TEST_CASE("an instance's actor that ends by an error is started anew and goes on from etcd") {
  for (auto after : {0ms, 300ms, 1500ms, 2600ms}) {
    CAPTURE(after.count());
    stage here;
    REQUIRE(here.ask(provision("db", 3)).is == verdict_kind::accepted);
    here.pass(after);
    here.broker().kill_instance("db");
    here.run();
    REQUIRE(finish(here, "db"));
    CHECK(succeeded(here.outside, "db"));
    CHECK(here.outside.running_nodes("db") == 3);
    CHECK(cells_agree(here.outside, "db"));
    CHECK(here.ask(deprovision("db")).is == verdict_kind::accepted);
    REQUIRE(finish(here, "db"));
    here.pass(5s);
    CHECK(nothing_left(here.outside));
  }
}

TEST_CASE("an instance's actor that ends by an error anywhere in a move or a deprovision") {
  for (int steps = 0; steps < 160; ++steps) {
    CAPTURE(steps);
    stage here(4);
    REQUIRE(make(here, "db", 2));
    REQUIRE(here.ask(move("db", {"c3", "c4"})).is == verdict_kind::accepted);
    here.pass(steps * 50ms);
    here.broker().kill_instance("db");
    REQUIRE(finish(here, "db"));
    here.pass(1s);
    CHECK(runs(here, 2, {"c3", "c4"}));
    REQUIRE(here.ask(deprovision("db")).is == verdict_kind::accepted);
    here.pass(steps * 10ms);
    here.broker().kill_instance("db");
    REQUIRE(finish(here, "db"));
    here.pass(1s);
    CHECK(nothing_left(here.outside));
    CHECK(here.broker().find("db") == nullptr);
    CHECK(here.outside.violations.empty());
  }
}

TEST_CASE("an instance's actor that ends while etcd is away is started anew when it is back") {
  stage here;
  REQUIRE(here.ask(provision("db", 2)).is == verdict_kind::accepted);
  here.outside.etcd_reachable = false;
  here.broker().kill_instance("db");
  here.run();
  here.pass(2s);
  here.outside.etcd_reachable = true;
  REQUIRE(finish(here, "db"));
  CHECK(succeeded(here.outside, "db"));
  CHECK(cells_agree(here.outside, "db"));
}

TEST_CASE("an operation that was under way when etcd went away goes on when it is back") {
  for (auto after : {0ms, 400ms, 1500ms}) {
    CAPTURE(after.count());
    stage here;
    REQUIRE(here.ask(provision("db", 2)).is == verdict_kind::accepted);
    here.pass(after);
    here.outside.etcd_reachable = false;
    here.pass(30s);
    CHECK_FALSE(here.broker().active());
    here.outside.etcd_reachable = true;
    here.broker().list_again();
    REQUIRE(finish(here, "db"));
    CHECK(succeeded(here.outside, "db"));
    CHECK(cells_agree(here.outside, "db"));
  }
}
