#include <doctest/doctest.h>

#include "../texts.hpp"
#include "requests.hpp"
#include "store/binding_json.hpp"
#include "store/port_json.hpp"

using namespace matriarch;
using namespace matriarch::simulation;
using namespace std::chrono_literals;
using model::verdict_kind;
namespace keys = store::keys;

namespace {

model::bind_request reading(const std::string& binding_id) {
  auto asked = simulation::bind("db", binding_id);
  asked.wanted.read_only = true;
  return asked;
}

std::string progress(stage& here) {
  auto known = here.broker().find("db");
  return known ? known->progress : "";
}

using matriarch::test::contains;

/// Waits until all nodes of the instance run and one leads.
bool runs(stage& here, int nodes = 2) {
  return here.pass_until([&] { return here.outside.running_nodes("db") == nodes; }, 30s);
}

/// Adds a router that has read everything so far.
void add_router(stage& here, const std::string& id, model::duration pause = 20ms) {
  here.outside.routers.add(id, pause);
  here.pass(1s + pause);
}

} // namespace

// -- provision and update -------------------------------------------------------------------------

TEST_CASE("a provision succeeds when the slowest router serves its port") {
  stage here;
  add_router(here, "r2", 5s);
  REQUIRE(here.ask(provision("db")).is == verdict_kind::accepted);
  REQUIRE(runs(here));
  here.pass(1200ms); // the reasons for waiting are published every second
  CHECK_FALSE(ended(here.outside, "db"));
  CHECK(contains(progress(here), "1 of 2 routers does not serve port 30000 yet"));
  CHECK(contains(here.broker().find("db")->route_waits_for, "router r2 serves revision"));
  REQUIRE(finish(here, "db", 10s));
  CHECK(succeeded(here.outside, "db"));
  CHECK(here.outside.violations.empty());
  CHECK(here.broker().find("db")->route_waits_for.empty());
}

TEST_CASE("a router that hangs delays a provision until its lease has ended") {
  stage here;
  add_router(here, "r2");
  REQUIRE(here.ask(provision("db")).is == verdict_kind::accepted);
  here.outside.routers.stand_still("r2");
  auto since = here.outside.now();
  REQUIRE(runs(here));
  REQUIRE(finish(here, "db", 20s));
  CHECK(succeeded(here.outside, "db"));
  CHECK(here.outside.now() - since >= routers::lease);
  CHECK(here.outside.now() - since < routers::lease + 1s);
  CHECK(here.outside.violations.empty());
}

TEST_CASE(
    "a provision waits for a router that cannot reach its nodes, and other instances do not") {
  stage here;
  add_router(here, "r2");
  auto& second = here.outside.routers.at("r2");
  second.lacks = {"db"};
  REQUIRE(here.ask(provision("db")).is == verdict_kind::accepted);
  REQUIRE(make(here, "other"));
  REQUIRE(runs(here));
  here.pass(5s);
  CHECK_FALSE(ended(here.outside, "db"));
  CHECK(contains(progress(here), "1 of 2 routers does not reach all nodes"));
  CHECK_FALSE(contains(progress(here), "host-of-r2"));
  CHECK(here.broker().routers()->holding_up == std::map<std::string, int>{{"r2", 1}});
  second.lacks.clear();
  here.outside.routers.start("r2");
  CHECK(finish(here, "db", 2s));
  CHECK(here.outside.violations.empty());
  // Also for a later bind.
  second.lacks = {"db"};
  here.outside.routers.start("r2");
  here.pass(1s);
  auto asked = simulation::bind("db", "b1");
  asked.may_poll = true;
  CHECK(here.ask(asked).is == verdict_kind::accepted);
  CHECK(contains(here.broker().find("db")->roles_wait_for, "does not reach all nodes"));
  CHECK(here.ask(simulation::bind("other", "b2")).is == verdict_kind::created);
  second.lacks.clear();
  here.outside.routers.start("r2");
  here.pass(2s);
  CHECK(here.broker().find("db")->bindings.at("b1").phase == model::binding_phase::ready);
  CHECK(here.outside.violations.empty());
}

TEST_CASE("without a router a provision waits for one, and ends when one has come") {
  stage here;
  here.outside.routers.kill("r1");
  here.pass(11s);
  REQUIRE(here.ask(provision("db")).is == verdict_kind::accepted);
  REQUIRE(runs(here));
  here.pass(60s);
  CHECK_FALSE(ended(here.outside, "db"));
  CHECK(contains(progress(here), "no router is there"));
  here.outside.routers.start("r1");
  REQUIRE(finish(here, "db", 1s));
  CHECK(succeeded(here.outside, "db"));
  CHECK(here.outside.violations.empty());
}

TEST_CASE("a provision that no router ever serves fails in words, and leaves nothing") {
  stage here;
  here.outside.routers.kill("r1");
  here.pass(11s);
  REQUIRE(here.ask(provision("db")).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  auto known = here.outside.record_of("db");
  CHECK(known->current.state == model::operation_state::failed);
  CHECK(contains(known->current.description, "no router is there"));
  CHECK(here.outside.node_count() == 0);
}

TEST_CASE("without waiting for routers, none is needed") {
  broker_settings how;
  how.wait_for_routers = false;
  stage here{3, how};
  here.outside.routers.kill("r1");
  here.pass(11s);
  CHECK(make(here, "db"));
  CHECK(here.ask(bind("db", "b1")).is == verdict_kind::created);
}

TEST_CASE("an update that moves the leader succeeds when the routers lead to the new one") {
  stage here{4};
  REQUIRE(make(here, "db"));
  here.pass(1s);
  here.outside.routers.at("r1").pause = 5s;
  REQUIRE(here.ask(move("db", {"c3", "c4"})).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  CHECK(succeeded(here.outside, "db"));
  CHECK(here.outside.violations.empty());
}

TEST_CASE("an update that changes nothing for routers needs no router") {
  stage here;
  REQUIRE(make(here, "db"));
  here.outside.success_is_served = false;
  here.outside.routers.kill("r1");
  here.pass(11s);
  model::cluster_settings limited;
  limited.connection_limit = 7;
  REQUIRE(here.ask(change_plan("db", "limited", limited)).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db", 30s));
  CHECK(succeeded(here.outside, "db"));
}

TEST_CASE("an operation keeps waiting for routers after a restart of the broker") {
  stage here;
  add_router(here, "r2", 8s);
  REQUIRE(here.ask(provision("db")).is == verdict_kind::accepted);
  REQUIRE(runs(here));
  here.restart();
  REQUIRE(finish(here, "db", 30s));
  CHECK(succeeded(here.outside, "db"));
  CHECK(here.outside.violations.empty());
}

TEST_CASE("a demotion is over when the routers lead to the new leader") {
  stage here;
  REQUIRE(make(here, "db"));
  here.pass(1s);
  here.outside.routers.at("r1").pause = 4s;
  auto leader = here.outside.leader_of("db");
  auto report = here.broker().demote(here.outside.nodes_of("db").at(leader));
  REQUIRE(here.pass_until([&] { return here.outside.leader_of("db") != leader; }, 10s));
  here.pass(1s);
  CHECK_FALSE(report->has_value());
  REQUIRE(here.pass_until([&] { return report->has_value(); }, 10s));
  REQUIRE((*report)->entries.size() == 1);
  CHECK((*report)->entries[0].to == here.outside.leader_of("db"));
  CHECK(here.outside.routers.fault_at("db", 30000).empty());
}

TEST_CASE("a demotion of an instance that is removed at the same time says so") {
  stage here;
  REQUIRE(make(here, "db"));
  here.pass(1s);
  here.outside.routers.stand_still("r1");
  auto leader = here.outside.leader_of("db");
  auto report = here.broker().demote(here.outside.nodes_of("db").at(leader));
  REQUIRE(here.pass_until([&] { return here.outside.leader_of("db") != leader; }, 10s));
  here.pass(1s);
  CHECK_FALSE(report->has_value());
  REQUIRE(here.ask(deprovision("db")).is == verdict_kind::accepted);
  REQUIRE(here.pass_until([&] { return !here.outside.record_of("db"); }, 1min));
  REQUIRE(here.pass_until([&] { return report->has_value(); }, 1s));
  REQUIRE((*report)->entries.size() == 1);
  CHECK(contains((*report)->entries[0].why, "removed"));
}

// -- bindings -------------------------------------------------------------------------------------

TEST_CASE("a bind does not wait if the routers serve its instance already") {
  stage here;
  REQUIRE(make(here, "db"));
  here.pass(1s);
  // The router hangs, but serves what it has to.
  here.outside.routers.stand_still("r1");
  auto since = here.outside.now();
  CHECK(here.ask(bind("db", "b1")).is == verdict_kind::created);
  CHECK(here.ask(bind("db", "b2")).is == verdict_kind::created);
  CHECK(here.outside.now() - since < 50ms);
  CHECK(here.outside.violations.empty());
}

TEST_CASE("a bind after a failover answers when the routers lead to the new leader") {
  stage here;
  REQUIRE(make(here, "db"));
  here.pass(1s);
  here.outside.routers.at("r1").pause = 1500ms;
  auto leader = here.outside.leader_of("db");
  for (const auto& n : recorded_nodes(here.outside, "db"))
    if (n.node_id != leader)
      here.outside.etcd.put(keys::leader("db"), n.node_id);
  here.run();
  auto since = here.outside.now();
  CHECK(here.ask(bind("db", "b1")).is == verdict_kind::created);
  CHECK(here.outside.now() - since >= 1500ms);
  CHECK(here.outside.violations.empty());
}

TEST_CASE("the first read-only bind answers when the second port is served") {
  stage here;
  REQUIRE(make(here, "db"));
  here.pass(1s);
  here.outside.routers.at("r1").pause = 1500ms;
  auto since = here.outside.now();
  auto said = here.ask(reading("b1"));
  CHECK(said.is == verdict_kind::created);
  CHECK(here.outside.now() - since >= 1500ms);
  CHECK(here.outside.violations.empty());
}

TEST_CASE("a polling platform is told after a while that a bind waits for a router") {
  stage here;
  REQUIRE(make(here, "db"));
  here.pass(1s);
  here.outside.routers.at("r1").pause = 20s;
  auto asked = reading("b1");
  asked.may_poll = true;
  CHECK(here.ask(asked).is == verdict_kind::accepted);
  auto waits = here.broker().find("db")->roles_wait_for;
  CHECK(contains(waits, "the router does not serve port 30001 yet"));
  CHECK(here.broker().find("db")->bindings.at("b1").phase == model::binding_phase::creating);
  here.pass(25s);
  CHECK(here.broker().find("db")->bindings.at("b1").phase == model::binding_phase::ready);
  CHECK(here.broker().find("db")->roles_wait_for.empty());
  CHECK(here.outside.violations.empty());
}

TEST_CASE("without a router a bind is refused with a reason in the end, and goes on") {
  stage here;
  REQUIRE(make(here, "db"));
  here.outside.routers.kill("r1");
  here.pass(11s);
  auto said = here.ask(bind("db", "b1"));
  CHECK(said.is == verdict_kind::unavailable);
  CHECK(contains(said.description, "no router is there"));
  here.outside.routers.start("r1");
  here.pass(1s);
  CHECK(here.ask(bind("db", "b1")).is == verdict_kind::done);
  CHECK(here.outside.violations.empty());
}

TEST_CASE("a binding with shared credentials waits for the routers as others do") {
  stage here;
  auto asked = provision("db");
  asked.desired.settings.credentials = model::credentials_mode::shared;
  REQUIRE(here.ask(asked).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  REQUIRE(here.ask(bind("db", "b0")).is == verdict_kind::created);
  here.outside.routers.kill("r1");
  here.pass(11s);
  auto came = here.broker().ask(bind("db", "b1"));
  auto given_up = here.broker().ask(bind("db", "b2"));
  here.pass(5s);
  CHECK_FALSE(came->has_value());
  CHECK(here.ask(unbind("db", "b2")).is == verdict_kind::done);
  REQUIRE(given_up->has_value());
  CHECK((*given_up)->is == verdict_kind::busy);
  here.outside.routers.start("r1");
  here.pass(1s);
  REQUIRE(came->has_value());
  CHECK((*came)->is == verdict_kind::created);
  CHECK((*came)->bound->note.empty());
  auto written = store::decode_binding(*here.outside.etcd.value(keys::binding("db", "b1")), "db",
                                       store::keyring{});
  CHECK(written->note.empty());
  CHECK(here.outside.violations.empty());
}

TEST_CASE("an unbind waits for no router") {
  stage here;
  REQUIRE(make(here, "db"));
  REQUIRE(here.ask(bind("db", "b1")).is == verdict_kind::created);
  here.outside.routers.kill("r1");
  here.pass(11s);
  CHECK(here.ask(unbind("db", "b1")).is == verdict_kind::done);
}

TEST_CASE("one binding that waits for a router holds up no other") {
  stage here;
  REQUIRE(make(here, "db"));
  REQUIRE(here.ask(bind("db", "b1")).is == verdict_kind::created);
  here.pass(1s);
  here.outside.routers.at("r1").pause = 20s;
  auto reader = here.broker().ask(reading("b2"));
  here.pass(1s);
  CHECK(here.ask(unbind("db", "b1")).is == verdict_kind::done);
  CHECK_FALSE(reader->has_value());
}

TEST_CASE("members that write their positions delay no bind, also after a restart") {
  stage here;
  REQUIRE(make(here, "db"));
  here.pass(1s);
  auto write_positions = [&] {
    for (const auto& n : recorded_nodes(here.outside, "db")) {
      auto key = keys::member("db", n.node_id);
      here.outside.etcd.put(key, *here.outside.etcd.value(key));
    }
    here.pass(1s);
  };
  write_positions();
  CHECK(here.ask(bind("db", "b1")).is == verdict_kind::created);
  here.pass(1s);
  write_positions();
  here.restart();
  here.pass(2s);
  CHECK(here.ask(bind("db", "b2")).is == verdict_kind::created);
  here.broker().list_again();
  write_positions();
  here.broker().list_again();
  here.pass(1s);
  CHECK(here.ask(bind("db", "b3")).is == verdict_kind::created);
}

TEST_CASE("an operation continues as soon as the router that it waits for serves") {
  stage here;
  add_router(here, "r2", 3s);
  REQUIRE(here.ask(provision("db")).is == verdict_kind::accepted);
  REQUIRE(runs(here));
  here.pass(100ms);
  REQUIRE_FALSE(ended(here.outside, "db"));
  auto said = here.outside.etcd.value(keys::router("r2"));
  REQUIRE(here.pass_until([&] { return here.outside.etcd.value(keys::router("r2")) != said; }, 5s));
  here.pass(1ms);
  CHECK(succeeded(here.outside, "db"));
}

// -- ports that other programs have ---------------------------------------------------------------

TEST_CASE("a port that a router says it cannot open is not offered") {
  stage here;
  add_router(here, "r2");
  auto& second = here.outside.routers.at("r2");
  second.taken = {30000, 30001};
  second.looks_ahead = true;
  here.outside.routers.start("r2");
  here.pass(1s);
  REQUIRE(here.ask(provision("db")).is == verdict_kind::accepted);
  CHECK(here.outside.record_of("db")->endpoints[model::endpoint::primary] == 30002);
  REQUIRE(finish(here, "db"));
  CHECK(here.outside.violations.empty());
}

TEST_CASE("a port that another program has is exchanged before success is reported") {
  stage here;
  here.outside.routers.at("r1").taken = {30000, 30001};
  REQUIRE(make(here, "db"));
  auto port = here.outside.record_of("db")->endpoints[model::endpoint::primary];
  CHECK(port == 30002);
  CHECK(here.outside.etcd.value(keys::allocation("db")) == "30002");
  auto left = store::decode_port_use(*here.outside.etcd.value(keys::port(30000)), 0);
  REQUIRE(left.ok());
  CHECK(left->resting_since);
  CHECK(here.outside.violations.empty());
}

TEST_CASE("a second port that another program has is exchanged before the bind is answered") {
  stage here;
  REQUIRE(make(here, "db"));
  here.outside.routers.at("r1").taken = {30001};
  auto said = here.ask(reading("b1"));
  CHECK(said.is == verdict_kind::created);
  REQUIRE(said.instance);
  CHECK(said.instance->known.endpoints[model::endpoint::read_only] == 30002);
  CHECK(here.outside.etcd.value(keys::read_only_allocation("db")) == "30002");
  CHECK(here.outside.violations.empty());
}

TEST_CASE("a port that clients know is never exchanged, and its loss is reported") {
  stage here;
  REQUIRE(make(here, "db"));
  REQUIRE(here.ask(bind("db", "b1")).is == verdict_kind::created);
  here.outside.routers.at("r1").taken = {30000};
  here.outside.routers.start("r1");
  here.pass(1s);
  CHECK(here.broker().routers()->lost_ports == std::map<int, std::string>{{30000, "db"}});
  auto said = here.ask(bind("db", "b2"));
  CHECK(said.is == verdict_kind::unavailable);
  CHECK(contains(said.description, "port 30000 cannot be opened by a router"));
  CHECK(here.outside.record_of("db")->endpoints[model::endpoint::primary] == 30000);
  here.outside.routers.at("r1").taken.clear();
  here.outside.routers.start("r1");
  here.pass(1s);
  CHECK(here.broker().routers()->lost_ports.empty());
  CHECK(here.ask(bind("db", "b2")).is == verdict_kind::done);
}

TEST_CASE("without another free port the provision says so, and continues when there is one") {
  broker_settings how;
  how.ports = {30000, 30000, 1h};
  stage here{3, how};
  here.outside.routers.at("r1").taken = {30000};
  REQUIRE(here.ask(provision("db")).is == verdict_kind::accepted);
  REQUIRE(runs(here));
  here.pass(5s);
  CHECK(contains(progress(here), "no public port is free"));
  here.outside.routers.at("r1").taken.clear();
  here.outside.routers.start("r1");
  REQUIRE(finish(here, "db", 10s));
  CHECK(succeeded(here.outside, "db"));
  CHECK(here.outside.violations.empty());
}

// -- the table of routers -------------------------------------------------------------------------

TEST_CASE("the table shows which routers are alive, their revisions, and what waits for them") {
  stage here;
  add_router(here, "r2", 20s);
  here.pass(21s);
  auto all = here.broker().routers();
  REQUIRE(all->living.size() == 2);
  CHECK(all->living.at("r2").said.host == "host-of-r2");
  CHECK(all->awaited);
  CHECK(all->holding_up.empty());
  REQUIRE(here.ask(provision("db")).is == verdict_kind::accepted);
  REQUIRE(runs(here));
  here.pass(1s);
  all = here.broker().routers();
  CHECK(all->holding_up == std::map<std::string, int>{{"r2", 1}});
  CHECK(all->newest > all->living.at("r2").said.serves);
  here.outside.routers.kill("r2");
  REQUIRE(finish(here, "db", 15s));
  CHECK(here.broker().routers()->holding_up.empty());
  CHECK(here.broker().routers()->living.size() == 1);
}

TEST_CASE("a router with an unreadable key counts as serving nothing") {
  stage here;
  here.outside.etcd.put(keys::router("r9"), "nonsense");
  REQUIRE(here.ask(provision("db")).is == verdict_kind::accepted);
  REQUIRE(runs(here));
  here.pass(5s);
  CHECK_FALSE(ended(here.outside, "db"));
  here.outside.etcd.erase(keys::router("r9"));
  CHECK(finish(here, "db", 2s));
}

TEST_CASE("after a gap in the watch routers that have gone are not waited for") {
  stage here;
  add_router(here, "r2");
  here.broker().hold_watch(true);
  here.outside.etcd.erase(keys::router("r2"));
  here.outside.routers.at("r2").runs = false;
  here.broker().hold_watch(false);
  here.broker().list_again();
  here.pass(1s);
  CHECK(here.broker().routers()->living.size() == 1);
  CHECK(make(here, "db"));
}

TEST_CASE("a router's write causes no message to instances that do not wait") {
  stage here;
  REQUIRE(make(here, "db"));
  REQUIRE(make(here, "db2"));
  here.pass(60s);
  auto before = here.broker().messages();
  constexpr int writes = 100;
  for (int i = 0; i < writes; ++i) {
    here.outside.etcd.put(keys::router("r1"), R"({"id":"r1","host":"h","serves":")"
                                                  + std::to_string(100'000 + i)
                                                  + R"(","unbound":[]})");
    here.run();
  }
  // one message for each write, to the router directory itself
  CHECK(here.broker().messages() - before == writes);
}
