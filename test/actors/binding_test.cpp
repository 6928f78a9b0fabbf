#include <doctest/doctest.h>

#include <algorithm>
#include <variant>

#include "base/json.hpp"
#include "requests.hpp"
#include "store/binding_json.hpp"

using namespace matriarch;
using namespace matriarch::simulation;
using namespace std::chrono_literals;
using model::verdict_kind;
namespace keys = store::keys;

namespace {

std::optional<model::binding> recorded(const world& outside, const std::string& binding_id) {
  auto text = outside.etcd.value(keys::binding("db", binding_id));
  if (!text)
    return std::nullopt;
  auto read = store::decode_binding(*text, "db", store::keyring{});
  return read.ok() ? std::optional{*read} : std::nullopt;
}

model::provision_request shared_provision() {
  auto asked = provision("db");
  asked.desired.settings.credentials = model::credentials_mode::shared;
  return asked;
}

} // namespace

TEST_CASE("a bind answers with credentials once the leader has the role") {
  stage here;
  REQUIRE(make(here, "db"));
  auto said = here.ask(bind("db", "b1"));
  CHECK(said.is == verdict_kind::created);
  REQUIRE(said.bound);
  CHECK(said.bound->phase == model::binding_phase::ready);
  CHECK(said.bound->note.empty());
  auto made = here.outside.roles_of("db");
  CHECK(made.password_of.at(said.bound->role.username) == said.bound->role.password);
  CHECK_FALSE(made.owner_logs_in);
  auto again = here.ask(bind("db", "b1"));
  CHECK(again.is == verdict_kind::done);
  CHECK(again.bound->role == said.bound->role);
}

TEST_CASE("an unbind answers once the role is gone, and a second one finds nothing") {
  stage here;
  REQUIRE(make(here, "db"));
  auto first = here.ask(bind("db", "b1"));
  auto second = here.ask(bind("db", "b2"));
  CHECK(here.ask(unbind("db", "b1")).is == verdict_kind::done);
  auto left = here.outside.roles_of("db").password_of;
  CHECK(left.size() == 1);
  CHECK(left.contains(second.bound->role.username));
  CHECK_FALSE(here.outside.etcd.contains(keys::binding("db", "b1")));
  CHECK(here.ask(unbind("db", "b1")).is == verdict_kind::gone);
}

TEST_CASE("once a binding is gone nothing more is asked of the leader") {
  stage here;
  REQUIRE(make(here, "db"));
  here.ask(bind("db", "b1"));
  here.ask(bind("db", "b2"));
  REQUIRE(here.ask(unbind("db", "b1")).is == verdict_kind::done);
  auto orders = here.outside.role_orders;
  here.pass(1min);
  CHECK(here.outside.role_orders == orders);
}

TEST_CASE("removed bindings are remembered at once, after a restart and after their instance") {
  for (bool shared : {false, true}) {
    CAPTURE(shared);
    stage here;
    auto asked = shared ? shared_provision() : provision("db");
    REQUIRE(here.ask(asked).is == verdict_kind::accepted);
    REQUIRE(finish(here, "db"));
    REQUIRE(here.ask(bind("db", "b1")).bound);
    REQUIRE(here.ask(bind("db", "b2")).bound);
    auto first = here.ask(unbind("db", "b1"));
    CHECK(first.is == verdict_kind::done);
    CHECK(here.broker().find("db")->known.ended_bindings.contains("b1"));
    here.restart();
    here.pass(2s);
    CHECK(here.broker().find("db")->known.ended_bindings.contains("b1"));
    here.outside.lingering = "a lock";
    auto polled = unbind("db", "b2");
    polled.may_poll = true;
    auto second = here.ask(polled);
    CHECK(second.is == (shared ? verdict_kind::done : verdict_kind::accepted));
    auto removal = here.ask(deprovision("db"));
    REQUIRE(removal.is == verdict_kind::accepted);
    REQUIRE(here.pass_until([&] { return !here.outside.record_of("db"); }, 900s));
    auto said = here.ask(model::lookup_request{"db"});
    CHECK(said.is == verdict_kind::gone);
    REQUIRE(said.left);
    CHECK(said.left->operation_id == removal.operation_id);
    CHECK(said.left->ended_bindings.contains("b1"));
    REQUIRE(said.left->ended_bindings.contains("b2"));
    CHECK(said.left->ended_bindings.at("b2").operation_id == second.operation_id);
  }
}

TEST_CASE("a write of a binding whose answer is lost is recognised") {
  stage here;
  REQUIRE(make(here, "db"));
  int seen = 0;
  here.outside.fate_of = [&](const auto&) {
    return ++seen == 1 ? fault::lost_answer : fault::none;
  };
  CHECK(here.ask(bind("db", "b1")).is == verdict_kind::created);
  seen = 0;
  CHECK(here.ask(unbind("db", "b1")).is == verdict_kind::done);
}

TEST_CASE("a bind waits for the end of a failover") {
  stage here;
  REQUIRE(make(here, "db"));
  auto leader = here.outside.leader_of("db");
  here.outside.etcd.erase(keys::leader("db"));
  auto came = here.broker().ask(bind("db", "b1"));
  here.pass(10s);
  CHECK_FALSE(came->has_value());
  REQUIRE(recorded(here.outside, "b1"));
  here.outside.etcd.put(keys::leader("db"), leader);
  here.pass(1s);
  REQUIRE(came->has_value());
  CHECK((*came)->is == verdict_kind::created);
}

TEST_CASE("a platform that can poll is told to, and polls until the end") {
  stage here;
  REQUIRE(make(here, "db"));
  here.outside.database_failure = "the leader does not answer";
  auto asked = bind("db", "b1");
  asked.may_poll = true;
  auto said = here.ask(asked);
  CHECK(said.is == verdict_kind::accepted);
  CHECK_FALSE(said.operation_id.empty());
  CHECK(here.broker().find("db")->bindings.at("b1").phase == model::binding_phase::creating);
  CHECK(here.ask(asked).operation_id == said.operation_id);
  here.outside.database_failure.clear();
  here.pass(1s);
  CHECK(here.broker().find("db")->bindings.at("b1").phase == model::binding_phase::ready);
  here.outside.database_failure = "the leader does not answer";
  auto leaving = unbind("db", "b1");
  leaving.may_poll = true;
  auto left = here.ask(leaving);
  CHECK(left.is == verdict_kind::accepted);
  auto ending = left.operation_id;
  here.outside.database_failure.clear();
  here.pass(1s);
  CHECK_FALSE(here.broker().find("db")->bindings.contains("b1"));
  CHECK(here.broker().find("db")->known.ended_bindings.at("b1").operation_id == ending);
  here.restart();
  CHECK(here.broker().find("db")->known.ended_bindings.contains("b1"));
}

TEST_CASE("a bind goes on after its requester has given up") {
  stage here;
  REQUIRE(make(here, "db"));
  here.outside.database_failure = "the leader does not answer";
  auto came = here.broker().ask(bind("db", "b1"));
  here.pass(26s);
  REQUIRE(came->has_value());
  CHECK((*came)->is == verdict_kind::unavailable);
  CHECK(here.broker().find("db")->roles_wait_for == "the leader does not answer");
  here.outside.database_failure.clear();
  here.pass(1s);
  CHECK(here.broker().find("db")->roles_wait_for.empty());
  CHECK(here.ask(bind("db", "b1")).is == verdict_kind::done);
}

TEST_CASE("a platform that cannot poll is told within half a minute that there is no leader") {
  stage here;
  REQUIRE(make(here, "db"));
  REQUIRE(here.ask(bind("db", "b1")).bound);
  here.outside.etcd.erase(keys::leader("db"));
  auto made = here.broker().ask(bind("db", "b2"));
  auto removed = here.broker().ask(unbind("db", "b1"));
  here.pass(26s);
  for (const auto& came : {made, removed}) {
    REQUIRE(came->has_value());
    CHECK((*came)->is == verdict_kind::unavailable);
    INFO((*came)->description);
    CHECK((*came)->description.starts_with("the cluster has no leader; the request goes on"));
  }
}

TEST_CASE("an unbind supersedes a bind under way") {
  stage here;
  REQUIRE(make(here, "db"));
  here.outside.database_failure = "the leader does not answer";
  auto binding = here.broker().ask(bind("db", "b1"));
  here.pass(500ms);
  auto leaving = here.broker().ask(unbind("db", "b1"));
  here.pass(500ms);
  REQUIRE(binding->has_value());
  CHECK((*binding)->is == verdict_kind::busy);
  here.outside.database_failure.clear();
  here.pass(1s);
  REQUIRE(leaving->has_value());
  CHECK((*leaving)->is == verdict_kind::done);
  CHECK(here.outside.roles_of("db").password_of.empty());
}

TEST_CASE("a binding that cannot be read keeps its role, and is not said to be absent") {
  stage here;
  REQUIRE(make(here, "db"));
  REQUIRE(here.ask(bind("db", "b1")).bound);
  auto key = keys::binding("db", "b1");
  auto good = *here.outside.etcd.value(key);
  auto role = recorded(here.outside, "b1")->role.username;
  here.outside.etcd.put(key, good.substr(0, good.size() / 2));
  here.pass(1s);
  CHECK(here.ask(bind("db", "b2")).is == verdict_kind::created);
  CHECK(here.ask(unbind("db", "b2")).is == verdict_kind::done);
  CHECK(here.outside.roles_of("db").password_of.size() == 1);
  CHECK(here.outside.roles_of("db").password_of.contains(role));
  CHECK(here.ask(bind("db", "b1")).is == verdict_kind::unavailable);
  CHECK(here.ask(unbind("db", "b1")).is == verdict_kind::unavailable);
  CHECK(here.broker().find("db")->unreadable_bindings.contains("b1"));
  here.restart();
  here.pass(2s);
  CHECK(here.ask(bind("db", "b3")).is == verdict_kind::created);
  CHECK(here.ask(unbind("db", "b3")).is == verdict_kind::done);
  CHECK(here.outside.roles_of("db").password_of.contains(role));
  here.outside.etcd.put(key, good);
  here.pass(1s);
  CHECK(here.ask(bind("db", "b1")).is == verdict_kind::done);
  CHECK(here.ask(unbind("db", "b1")).is == verdict_kind::done);
  CHECK(here.outside.roles_of("db").password_of.empty());
}

TEST_CASE("a binding with a later release's format is left unchanged") {
  stage here;
  REQUIRE(make(here, "db"));
  REQUIRE(here.ask(bind("db", "b1")).bound);
  auto key = keys::binding("db", "b1");
  auto good = *here.outside.etcd.value(key);
  auto later = good;
  later.replace(later.rfind(R"("min_reader":1)"), std::string{R"("min_reader":1)"}.size(),
                R"("min_reader":3)");
  here.outside.etcd.put(key, later);
  here.restart();
  here.pass(2s);
  CHECK(here.ask(bind("db", "b1")).is == verdict_kind::unavailable);
  CHECK(here.ask(unbind("db", "b1")).is == verdict_kind::unavailable);
  here.pass(60s);
  CHECK(here.outside.etcd.value(key) == later);
  CHECK(here.outside.roles_of("db").password_of.size() == 1);
}

TEST_CASE("a role that cannot be dropped yet holds up its own unbind and nothing else") {
  stage here;
  REQUIRE(make(here, "db"));
  REQUIRE(here.ask(bind("db", "b1")).bound);
  here.outside.lingering = "a lock";
  auto asked = unbind("db", "b1");
  asked.may_poll = true;
  CHECK(here.ask(asked).is == verdict_kind::accepted);
  CHECK(here.ask(bind("db", "b2")).is == verdict_kind::created);
  CHECK(recorded(here.outside, "b1")->phase == model::binding_phase::removing);
  CHECK(here.broker().find("db")->binding_troubles.at("b1").find("a lock") != std::string::npos);
  CHECK(here.outside.roles_of("db").refused.size() == 1);
  here.outside.lingering.clear();
  here.pass(10s);
  CHECK_FALSE(recorded(here.outside, "b1"));
  CHECK(here.broker().find("db")->binding_troubles.empty());
}

TEST_CASE("what keeps the sessions of each of many bindings is reported within 5 s of its unbind") {
  stage here;
  REQUIRE(make(here, "db"));
  std::set<std::string> ids;
  for (int i = 0; i < 10; ++i)
    ids.insert("b" + std::to_string(i));
  for (const auto& id : ids)
    REQUIRE(here.ask(simulation::bind("db", id)).bound);
  // The longest that both may last; an earlier order, which refuses nobody, has just begun.
  here.outside.orders_last = 8s;
  auto fresh = here.broker().ask(bind("db", "fresh"));
  here.pass(100ms);
  here.outside.orders_last = 1600ms;
  here.outside.removals_last = 3s;
  here.outside.lingering = "a session";
  for (const auto& id : ids) {
    auto asked = unbind("db", id);
    asked.may_poll = true;
    (void)here.broker().ask(asked);
  }
  here.pass(1s);
  CHECK(here.outside.roles_of("db").refused.size() == ids.size());
  here.pass(4s);
  for (const auto& id : ids)
    CHECK_MESSAGE(here.broker().find("db")->binding_troubles.contains(id), id);
  CHECK(fresh->has_value());
}

TEST_CASE(
    "an answer about a role of a removed instance does not affect the next instance of its id") {
  stage here;
  REQUIRE(make(here, "db"));
  REQUIRE(here.ask(bind("db", "b1")).bound);
  here.outside.lingering = "a session";
  here.outside.removals_last = 8s; // the removal's answer comes between the two lives
  auto asked = unbind("db", "b1");
  asked.may_poll = true;
  REQUIRE(here.ask(asked).is == verdict_kind::accepted);
  // The end of the first life is learnt late, and the second life's record is not written.
  here.outside.fate_of = [&](const store::transaction& what) {
    auto puts = [&](const std::string& key) {
      return std::ranges::any_of(what.then, [&](const auto& one) {
        const auto* put = std::get_if<store::put>(&one);
        return put != nullptr && put->key == key;
      });
    };
    bool begins = puts(keys::record("db")) && !here.outside.record_of("db");
    return puts(keys::tombstone("db")) ? fault::slow_answer
           : begins                    ? fault::lost_request
                                       : fault::none;
  };
  auto removal = here.broker().ask(deprovision("db"));
  REQUIRE(here.pass_until([&] { return !here.outside.record_of("db"); }, 5s));
  auto again = here.broker().ask(provision("db"));
  here.pass(12s);
  CHECK_FALSE(again->has_value());
  here.outside.fate_of = nullptr;
  REQUIRE(here.pass_until([&] { return succeeded(here.outside, "db"); }, 1min));
  REQUIRE(again->has_value());
  CHECK((*again)->is == verdict_kind::accepted);
  CHECK(here.broker().find("db")->bindings.empty());
}

TEST_CASE("a binding whose login does not work is not made, says why, and holds up no other") {
  stage here;
  REQUIRE(make(here, "db"));
  here.outside.unmade = "a setting of the database";
  auto came = here.broker().ask(bind("db", "b1"));
  here.pass(6s);
  REQUIRE(came->has_value());
  CHECK((*came)->is == verdict_kind::unavailable);
  CHECK((*came)->description.find("a setting of the database") != std::string::npos);
  CHECK(here.broker().find("db")->binding_troubles.contains("b1"));
  here.outside.unmade.clear();
  here.pass(2s);
  CHECK(here.ask(bind("db", "b1")).is == verdict_kind::done);
  CHECK(here.broker().find("db")->binding_troubles.empty());
}

TEST_CASE("a replica without a revocation is held back until it has the revocation") {
  stage here;
  REQUIRE(make(here, "db"));
  REQUIRE(here.ask(bind("db", "b1")).bound);
  auto held_back = [&] {
    std::set<std::string> names;
    for (const auto& node : here.broker().find("db")->known.living.nodes)
      if (node.held_back)
        names.insert(node.node_id);
    return names;
  };
  std::string replica;
  for (const auto& node : here.broker().find("db")->known.living.nodes)
    if (node.node_id != here.outside.leader_of("db"))
      replica = node.node_id;
  here.outside.stands_still = {replica};
  CHECK(here.ask(unbind("db", "b1")).is == verdict_kind::done);
  CHECK(held_back() == std::set{replica});
  here.pass(5s);
  CHECK(held_back() == std::set{replica});
  here.restart();
  here.outside.stands_still.clear();
  here.pass(3s);
  CHECK(held_back().empty());
}

TEST_CASE("a replica without a new reader's role gets no clients before the reader is told of it") {
  stage here;
  REQUIRE(make(here, "db"));
  std::string replica;
  for (const auto& node : here.broker().find("db")->known.living.nodes)
    if (node.node_id != here.outside.leader_of("db"))
      replica = node.node_id;
  auto is_held_back = [&] {
    return here.broker().find("db")->known.living.find_node(replica)->held_back;
  };
  here.pass(1s); // the routers have read everything so far
  here.outside.stands_still = {replica};
  auto asked = bind("db", "b1");
  asked.wanted.read_only = true;
  here.outside.routers.at("r1").pause = 3s;
  auto came = here.broker().ask(asked);
  here.pass(2s);
  CHECK(is_held_back());
  CHECK_FALSE(came->has_value());
  here.pass(10s);
  REQUIRE(came->has_value());
  CHECK((*came)->is == verdict_kind::created);
  CHECK(is_held_back());
  here.outside.stands_still.clear();
  here.pass(3s);
  CHECK_FALSE(is_held_back());
}

TEST_CASE("a role that PostgreSQL does not refuse within a second is refused by the cells, at each "
          "node") {
  stage here;
  REQUIRE(make(here, "db"));
  REQUIRE(here.ask(bind("db", "b1")).bound);
  REQUIRE(here.ask(bind("db", "b2")).bound);
  auto role = recorded(here.outside, "b1")->role.username;
  auto asked = unbind("db", "b2");
  CHECK(here.ask(asked).is == verdict_kind::done);
  CHECK(here.outside.refused_by_cells.empty());
  here.outside.database_failure = "out of shared memory";
  asked = unbind("db", "b1");
  asked.may_poll = true;
  auto owed = here.broker().ask(asked);
  here.pass(1s);
  std::map<std::string, std::set<std::string>> everywhere;
  for (const auto& node : here.broker().find("db")->known.living.nodes)
    everywhere[node.node_id] = {role};
  CHECK(here.outside.refused_by_cells == everywhere);
  INFO("for as long as it takes");
  here.pass(60s);
  here.outside.refused_by_cells.clear();
  here.pass(5s);
  CHECK(here.outside.refused_by_cells == everywhere);
  here.outside.database_failure.clear();
  here.pass(15s);
  CHECK_FALSE(recorded(here.outside, "b1"));
  here.outside.refused_by_cells.clear();
  here.pass(10s);
  CHECK(here.outside.refused_by_cells.empty());
}

TEST_CASE("a binding that no replica has yet says so") {
  stage here;
  here.outside.replicas_that_replay = 0;
  REQUIRE(make(here, "db", 1));
  auto said = here.ask(bind("db", "b1"));
  REQUIRE(said.bound);
  CHECK(said.bound->note.find("no replica") != std::string::npos);
}

TEST_CASE("a binding's note about missing replicas goes once they have its role") {
  stage here;
  here.outside.replicas_that_replay = 0;
  REQUIRE(make(here, "db", 1));
  REQUIRE_FALSE(here.ask(bind("db", "b1")).bound->note.empty());
  here.outside.replicas_that_replay = 1;
  REQUIRE(here.ask(resize("db", 2)).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  here.pass(5s);
  CHECK(here.broker().find("db")->bindings.at("b1").note.empty());
  CHECK(recorded(here.outside, "b1")->note.empty());
}

TEST_CASE("roles are compared again after a change of leader, of its timeline, and at a start") {
  stage here;
  REQUIRE(make(here, "db"));
  auto made = here.ask(bind("db", "b1")).bound->role.username;
  auto lost = [&] {
    auto leader = "postgres://" + here.outside.leader_of("db") + ":5432/postgres";
    REQUIRE(here.outside.change_roles(leader, {true, {made}, {}, {}}).ok());
    REQUIRE(here.outside.drop_roles(leader, {made}).ok());
  };
  auto has_it = [&] { return here.outside.roles_of("db").password_of.contains(made); };
  auto old_leader = here.outside.leader_of("db");
  lost();
  for (const auto& n : recorded_nodes(here.outside, "db"))
    if (n.node_id != old_leader)
      here.outside.etcd.put(keys::leader("db"), n.node_id);
  here.pass(1s);
  CHECK(has_it());
  lost();
  here.pass(1s);
  CHECK_FALSE(has_it());
  auto leader = here.outside.leader_of("db");
  here.outside.etcd.put(keys::member("db", leader),
                        "{\"state\":\"running\",\"timeline\":7,\"api_url\":\"http://" + leader
                            + ":8008/patroni\",\"conn_url\":\"postgres://" + leader
                            + ":5432/postgres\"}");
  here.pass(1s);
  CHECK(has_it());
  lost();
  here.restart();
  here.pass(2s);
  CHECK(has_it());
}

TEST_CASE("a login that is only slow, as on a busy machine, is waited for") {
  stage here;
  REQUIRE(make(here, "db"));
  here.outside.unmade = "PostgreSQL did not let a session in in time";
  here.outside.only_late = true;
  auto came = here.broker().ask(bind("db", "b1"));
  here.pass(20s);
  CHECK_FALSE(came->has_value());
  here.outside.unmade.clear();
  here.pass(2s);
  REQUIRE(came->has_value());
  CHECK((*came)->is == verdict_kind::created);
}

TEST_CASE(
    "a leader that cannot be asked is asked less and less often, and at once for a new binding") {
  stage here;
  REQUIRE(make(here, "db"));
  REQUIRE(here.ask(bind("db", "b1")).bound);
  here.outside.database_failure = "no route to host";
  here.restart();
  here.outside.times_asked_for_roles = 0;
  here.pass(630s); // at 0, 10, 30, 70, 150 and 310 s
  CHECK(here.outside.times_asked_for_roles > 3);
  CHECK(here.outside.times_asked_for_roles < 9);
  auto came = here.broker().ask(bind("db", "b2"));
  here.pass(2s);
  CHECK_FALSE(came->has_value());
  here.outside.database_failure.clear();
  here.pass(1s);
  REQUIRE(came->has_value());
  CHECK((*came)->is == verdict_kind::created);
}

TEST_CASE("shared credentials need no role, but each binding needs a working login") {
  stage here;
  REQUIRE(here.ask(shared_provision()).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  auto said = here.ask(bind("db", "b1"));
  CHECK(said.is == verdict_kind::created);
  CHECK(said.bound->role.username.empty());
  here.outside.unmade = "a setting of the database";
  auto came = here.broker().ask(bind("db", "b2"));
  here.pass(6s);
  REQUIRE(came->has_value());
  CHECK((*came)->is == verdict_kind::unavailable);
  CHECK((*came)->description.find("a setting of the database") != std::string::npos);
  CHECK(here.broker().find("db")->binding_troubles.contains("b2"));
  CHECK_FALSE(here.broker().find("db")->binding_troubles.contains("b1"));
  here.outside.unmade.clear();
  here.pass(2s);
  CHECK(here.ask(bind("db", "b2")).is == verdict_kind::done);
  here.outside.database_failure = "must not be asked";
  for (const auto* id : {"b1", "b2"})
    CHECK(here.ask(unbind("db", id)).is == verdict_kind::done);
}

TEST_CASE("the first read-only binding opens a second port, which rests with the instance's end") {
  stage here;
  REQUIRE(make(here, "db"));
  auto asked = bind("db", "b1");
  asked.wanted.read_only = true;
  auto said = here.ask(asked);
  CHECK(said.is == verdict_kind::created);
  auto port = said.instance->known.endpoints[model::endpoint::read_only];
  CHECK(port != 0);
  CHECK(port != said.instance->known.endpoints[model::endpoint::primary]);
  CHECK(here.outside.etcd.value(keys::read_only_allocation("db")) == std::to_string(port));
  asked.wanted.binding_id = "b2";
  CHECK(here.ask(asked).instance->known.endpoints[model::endpoint::read_only] == port);
  REQUIRE(make(here, "other"));
  CHECK(here.outside.record_of("other")->endpoints[model::endpoint::primary] != port);
  REQUIRE(here.ask(deprovision("db")).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  CHECK(leftovers(here.outside, "db").empty());
  auto use = here.outside.etcd.value(keys::port(port));
  REQUIRE(use);
  CHECK(use->find("resting_since") != std::string::npos);
}

TEST_CASE("a read-only binding of a single node has the second port as well") {
  stage here;
  REQUIRE(here.ask(provision("db", 1)).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  auto asked = bind("db", "b1");
  asked.wanted.read_only = true;
  auto said = here.ask(asked);
  CHECK(said.is == verdict_kind::created);
  CHECK(said.instance->known.endpoints[model::endpoint::read_only] != 0);
}

TEST_CASE("with the instance all its bindings end, and an unbind after that is gone") {
  stage here;
  REQUIRE(make(here, "db"));
  REQUIRE(here.ask(bind("db", "b1")).is == verdict_kind::created);
  REQUIRE(here.ask(deprovision("db")).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  CHECK(leftovers(here.outside, "db").empty());
  CHECK(here.ask(unbind("db", "b1")).is == verdict_kind::gone);
}

TEST_CASE("a scope's user of etcd is there before its first node, and gone after its last") {
  broker_settings how;
  how.etcd_users = true;
  stage here(3, how);
  bool too_early = false;
  here.outside.watch_over = [&] {
    too_early = too_early || (here.outside.node_count() > 0 && here.outside.etcd_users().empty());
  };
  REQUIRE(make(here, "db"));
  CHECK_FALSE(too_early);
  auto known = here.outside.record_of("db");
  CHECK(here.outside.etcd_users().at(known->living.secret_of(model::secret_name::etcd).username)
        == known->living.secret_of(model::secret_name::etcd).password);
  REQUIRE(here.ask(deprovision("db")).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  CHECK(here.outside.etcd_users().empty());
}

TEST_CASE("with a key etcd holds no plain password, and re-encryption moves to a newer key") {
  auto old_keys = store::keyring::parse(std::string(64, 'a'));
  auto new_keys = store::keyring::parse(std::string(64, 'b') + "\n" + std::string(64, 'a'));
  auto only_new = store::keyring::parse(std::string(64, 'b'));
  REQUIRE((old_keys.ok() && new_keys.ok() && only_new.ok()));
  broker_settings how;
  how.keys = std::make_shared<const store::keyring>(*old_keys);
  stage here(3, how);
  REQUIRE(make(here, "db"));
  auto said = here.ask(bind("db", "b1"));
  REQUIRE(said.bound);
  auto holds = [&](const std::string& secret) {
    for (const auto& entry : here.outside.etcd.range(store::keys_below("/")))
      if (entry.value.find(secret) != std::string::npos)
        return true;
    return false;
  };
  CHECK_FALSE(holds(said.bound->role.password));
  CHECK_FALSE(holds("secret-"));
  here.brokers.clear();
  how.keys = std::make_shared<const store::keyring>(*new_keys);
  here.brokers.push_back(std::make_unique<simulated_broker>(here.outside, how));
  here.pass(2s);
  REQUIRE(here.ask(model::reencrypt_request{"db"}).is == verdict_kind::done);
  here.brokers.clear();
  how.keys = std::make_shared<const store::keyring>(*only_new);
  here.brokers.push_back(std::make_unique<simulated_broker>(here.outside, how));
  here.pass(2s);
  auto again = here.ask(bind("db", "b1"));
  REQUIRE(again.bound);
  CHECK(again.bound->role == said.bound->role);
}

TEST_CASE("secrets that only a later release can re-encrypt keep their key, and are reported") {
  const std::string old_key(64, 'a');
  const std::string new_key(64, 'b');
  auto old_keys = store::keyring::parse(old_key);
  auto both_keys = store::keyring::parse(new_key + "\n" + old_key);
  REQUIRE((old_keys.ok() && both_keys.ok()));
  for (const auto& key : {keys::record("db"), keys::binding("db", "b1")}) {
    CAPTURE(key);
    broker_settings how;
    how.keys = std::make_shared<const store::keyring>(*old_keys);
    stage here(3, how);
    REQUIRE(make(here, "db"));
    REQUIRE(here.ask(bind("db", "b1")).bound);
    here.brokers.clear();
    auto value = *json::parse(*here.outside.etcd.value(key));
    json::value within{rapidjson::kObjectType};
    const auto sealed = old_keys->seal("a later secret", "db/backup");
    json::add(within, "password", sealed, value);
    json::add(value, "backup", std::move(within), value);
    here.outside.etcd.put(key, json::text_of(value));
    how.keys = std::make_shared<const store::keyring>(*both_keys);
    here.brokers.push_back(std::make_unique<simulated_broker>(here.outside, how));
    here.pass(2s);
    auto said = here.ask(model::reencrypt_request{"db"});
    CHECK(said.is == verdict_kind::unavailable);
    CHECK(said.description.find("a later release has sealed something here") == 0);
    auto left = *json::parse(*here.outside.etcd.value(key));
    CHECK(json::string_member(left["backup"], "password") == sealed);
    INFO("once that release has sealed it with the newest key, all is done");
    left["backup"]["password"] = json::string(both_keys->seal("a later secret", "db/backup"), left);
    here.brokers.clear();
    here.outside.etcd.put(key, json::text_of(left));
    here.brokers.push_back(std::make_unique<simulated_broker>(here.outside, how));
    here.pass(2s);
    CHECK(here.ask(model::reencrypt_request{"db"}).is == verdict_kind::done);
  }
}

TEST_CASE("an unreadable binding keeps its key in use") {
  stage here;
  REQUIRE(make(here, "db"));
  REQUIRE(here.ask(bind("db", "b1")).bound);
  here.outside.etcd.put(keys::binding("db", "b1"), "{");
  here.pass(1s);
  auto said = here.ask(model::reencrypt_request{"db"});
  CHECK(said.is == verdict_kind::unavailable);
  CHECK(said.description.find("b1") != std::string::npos);
}
