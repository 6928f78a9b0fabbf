#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "model/event.hpp"
#include "model/plan.hpp"
#include "requests.hpp"
#include "store/port_json.hpp"
#include "store/record_json.hpp"

using namespace matriarch;
using namespace matriarch::simulation;
using namespace std::chrono_literals;
using model::verdict_kind;
namespace keys = store::keys;

namespace {

/// The description of the operation's end.
std::string end_of(const stage& here, const std::string& name) {
  auto known = here.outside.record_of(name);
  return known ? known->current.description : "";
}

bool writes_record(const store::transaction& what, const std::string& name) {
  return std::any_of(what.then.begin(), what.then.end(), [&](const auto& one) {
    const auto* put = std::get_if<store::put>(&one);
    return put != nullptr && put->key == keys::record(name);
  });
}

} // namespace

TEST_CASE("a provision ends succeeded with the nodes asked for, one leader and a port") {
  stage here;
  auto said = here.ask(provision("db", 3));
  CHECK(said.is == verdict_kind::accepted);
  CHECK_FALSE(said.operation_id.empty());
  REQUIRE(finish(here, "db"));
  auto known = here.outside.record_of("db");
  REQUIRE(known);
  CHECK(known->current.state == model::operation_state::succeeded);
  CHECK(known->current.id == said.operation_id);
  CHECK(here.outside.running_nodes("db") == 3);
  CHECK_FALSE(here.outside.leader_of("db").empty());
  CHECK(cells_agree(here.outside, "db"));
  CHECK(here.outside.etcd.value(keys::allocation("db"))
        == std::to_string(known->endpoints[model::endpoint::primary]));
  auto published = here.broker().find("db");
  REQUIRE(published);
  CHECK(published->known.current.state == model::operation_state::succeeded);
  std::set<std::string> used;
  for (const auto& n : known->living.nodes)
    used.insert(n.cell);
  CHECK(used.size() == 3);
  CHECK(here.outside.violations.empty());
}

TEST_CASE("each operation is reported once when it is accepted, and once when it ends") {
  stage here;
  REQUIRE(make(here, "db", 2));
  auto removal = here.ask(deprovision("db"));
  REQUIRE(removal.is == verdict_kind::accepted);
  REQUIRE(here.pass_until([&] { return !here.outside.record_of("db"); }, 5min));
  for (const auto& one : here.broker().told()) {
    CHECK(one.name == "db");
    CHECK(one.instance_id == "db");
    if (const auto* end = std::get_if<model::operation_ended>(&one.what)) {
      CHECK(end->succeeded);
      // Nodes need time to run; a removal may end at the same moment here.
      CHECK((end->took > model::duration{0}) == (end->type == model::operation_type::provision));
    }
  }
  CHECK(operations_told(here)
        == std::vector<std::string>{"accepted provision", "end of provision",
                                    "accepted deprovision", "end of deprovision"});
  const auto* last = std::get_if<model::operation_ended>(&here.broker().told().back().what);
  REQUIRE(last != nullptr);
  CHECK(last->operation_id == removal.operation_id);
}

TEST_CASE("a change of only an instance's context is no operation, and none is reported") {
  stage here;
  REQUIRE(make(here, "db", 2));
  auto asked = resize("db", 2);
  asked.parameters = "{}";
  asked.node_count.reset();
  asked.context = R"({"platform":"x"})";
  REQUIRE(here.ask(asked).is == verdict_kind::done);
  CHECK(here.outside.record_of("db")->context == *asked.context);
  CHECK(operations_told(here)
        == std::vector<std::string>{"accepted provision", "end of provision"});
}

TEST_CASE("a repeated bootstrap is reported once etcd has accepted it, and not before") {
  for (bool with_other_nodes : {false, true}) {
    CAPTURE(with_other_nodes);
    stage here;
    (with_other_nodes ? here.outside.firsts_never_lead : here.outside.bootstraps_lost) = 1;
    bool failed = false;
    here.outside.fate_of = [&](const store::transaction& what) {
      bool begins_anew = writes_record(what, "db") && here.outside.record_of("db")
                         && std::ranges::any_of(what.compares, [](const auto& one) {
                              return one.key == keys::leader("db");
                            });
      return begins_anew && !std::exchange(failed, true) ? fault::not_done : fault::none;
    };
    REQUIRE(here.ask(provision("db", with_other_nodes ? 1 : 2)).is == verdict_kind::accepted);
    REQUIRE(finish(here, "db"));
    CHECK(succeeded(here.outside, "db"));
    REQUIRE(failed);
    CHECK(std::ranges::count_if(here.broker().told(),
                                [&](const model::event& one) {
                                  const auto* anew =
                                      std::get_if<model::bootstrap_repeated>(&one.what);
                                  return anew != nullptr
                                         && anew->with_other_nodes == with_other_nodes;
                                })
          == 1);
  }
}

TEST_CASE("a provision whose nodes appear at once waits for nothing") {
  stage here;
  here.outside.member_delay = here.outside.running_delay = here.outside.failover_delay =
      model::duration{0};
  auto asked_at = here.outside.now();
  REQUIRE(here.ask(provision("db")).is == verdict_kind::accepted);
  auto answered_after = here.outside.now() - asked_at;
  REQUIRE(here.pass_until([&] { return succeeded(here.outside, "db"); }, 1s));
  // The time that ask() itself takes, and one step.
  CHECK(here.outside.now() - asked_at <= answered_after + 100ms);
}

TEST_CASE("a provision reads nothing of the other instances, however many there are") {
  stage here(20);
  auto ranges_for = [&](const std::string& name) {
    auto before = here.outside.ranges_read;
    REQUIRE(make(here, name, 2));
    return here.outside.ranges_read - before;
  };
  auto alone = ranges_for("first");
  for (int i = 0; i < 30; ++i)
    REQUIRE(make(here, "other" + std::to_string(i), 2));
  CHECK(ranges_for("last") == alone);
}

TEST_CASE("the same provision sent again while it is in progress gets the same operation") {
  stage here;
  auto first = here.ask(provision("db"));
  auto second = here.ask(provision("db"));
  CHECK(second.is == verdict_kind::accepted);
  CHECK(second.operation_id == first.operation_id);
  auto other = provision("db");
  other.space_guid = "another";
  CHECK(here.ask(other).is == verdict_kind::conflict);
  REQUIRE(finish(here, "db"));
  CHECK(here.ask(provision("db")).is == verdict_kind::done);
  CHECK(here.outside.node_count() == 2);
}

TEST_CASE("an instance starts without keys that an earlier instance of its id has left") {
  stage here;
  auto below = keys::everything_of("db");
  for (const auto* name : {"config", "history", "status", "sync", "zzz"})
    here.outside.etcd.put(below + name, "old");
  here.outside.etcd.put(keys::initialize("db"), "7000000000000000001");
  here.outside.etcd.put(keys::member("db", "old"), "{\"state\":\"stopped\"}");
  here.outside.etcd.put(keys::initialize("db2"), "another's");
  here.outside.etcd.put(keys::initialize("d"), "another's");
  REQUIRE(make(here, "db"));
  for (const auto& entry : here.outside.etcd.range(store::keys_below(below)))
    CHECK(entry.value != "old");
  CHECK(here.outside.etcd.value(keys::initialize("db")) != "7000000000000000001");
  CHECK_FALSE(here.outside.etcd.contains(keys::member("db", "old")));
  CHECK(here.outside.etcd.contains(keys::initialize("db2")));
  CHECK(here.outside.etcd.contains(keys::initialize("d")));
}

TEST_CASE("no instance is made where a cluster has a leader but no record") {
  stage here;
  here.outside.etcd.put(keys::initialize("db"), "7000000000000000001");
  here.outside.etcd.put(keys::leader("db"), "old");
  auto said = here.ask(provision("db"));
  CHECK(said.is == verdict_kind::unavailable);
  CHECK(said.description.find("matriarch orphans") != std::string::npos);
  CHECK(here.outside.etcd.value(keys::initialize("db")) == "7000000000000000001");
  CHECK_FALSE(here.outside.record_of("db"));
  here.outside.etcd.erase(keys::leader("db"));
  REQUIRE(make(here, "db"));
}

TEST_CASE("the record is accepting before the port is taken, and accepted after it") {
  stage here;
  REQUIRE(here.ask(provision("db")).is == verdict_kind::accepted);
  std::vector<std::string> order;
  for (const auto& one : here.outside.etcd.history()) {
    if (one.entry.key.starts_with(keys::ports)) {
      order.emplace_back("port");
    } else if (one.entry.key == keys::record("db")) {
      auto known = store::decode_record(one.entry.value, store::keyring{});
      REQUIRE(known.ok());
      bool accepting = known->phase == model::record_phase::accepting;
      order.emplace_back(
          accepting
              ? (known->endpoints[model::endpoint::primary] == 0 ? "accepting" : "accepting, port")
              : "accepted");
    }
    if (!order.empty() && order.back() == "accepted")
      break;
  }
  CHECK(order == std::vector<std::string>{"accepting", "port", "accepting, port", "accepted"});
}

TEST_CASE("nothing is sent to a cell before the node is recorded") {
  // The world checks etcd at each order; this test sends orders of every kind.
  stage here(4);
  REQUIRE(make(here, "db", 2));
  REQUIRE(here.ask(resize("db", 3)).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  REQUIRE(here.ask(move("db", {"c4", "c3", "c2"})).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  CHECK(succeeded(here.outside, "db"));
  CHECK(here.outside.orders("PUT").size() >= 4);
  CHECK(here.outside.violations.empty());
}

TEST_CASE("two identical provisions at once make one cluster") {
  stage here;
  auto first = here.broker().ask(provision("db"));
  auto second = here.broker().ask(provision("db"));
  here.pass(1s);
  REQUIRE(first->has_value());
  REQUIRE(second->has_value());
  CHECK((*first)->is == verdict_kind::accepted);
  CHECK((*second)->is == verdict_kind::accepted);
  CHECK((*first)->operation_id == (*second)->operation_id);
  REQUIRE(finish(here, "db"));
  CHECK(here.outside.node_count() == 2);
  CHECK(here.outside.orders("PUT").size() == 2);
}

TEST_CASE("a hundred provisions at once get a hundred distinct ports") {
  stage here;
  std::vector<awaited_verdict> answers;
  for (int i = 0; i < 100; ++i)
    answers.push_back(here.broker().ask(provision("db" + std::to_string(i), 1)));
  here.pass(5s);
  std::set<int> ports;
  for (int i = 0; i < 100; ++i) {
    REQUIRE(answers[i]->has_value());
    CHECK((*answers[i])->is == verdict_kind::accepted);
    auto known = here.outside.record_of("db" + std::to_string(i));
    REQUIRE(known);
    ports.insert(known->endpoints[model::endpoint::primary]);
  }
  CHECK(ports.size() == 100);
}

TEST_CASE("a provision without a free port is refused before anything is written") {
  stage here(3, {"127.0.0.1:8080", {30000, 30000, 1h}});
  REQUIRE(make(here, "first"));
  auto before = here.outside.etcd.history().size();
  auto said = here.ask(provision("second"));
  CHECK(said.is == verdict_kind::refused);
  CHECK(said.description.find("port") != std::string::npos);
  CHECK(here.outside.etcd.history().size() == before);
  CHECK(here.ask(model::lookup_request{"second"}).is == verdict_kind::not_found);
}

TEST_CASE("of two provisions at once for the last port, one is refused and writes nothing") {
  stage here(3, {"127.0.0.1:8080", {30000, 30000, 1h}});
  auto first = here.broker().ask(provision("first"));
  auto second = here.broker().ask(provision("second"));
  here.pass(1s);
  REQUIRE(first->has_value());
  REQUIRE(second->has_value());
  CHECK((*first)->is == verdict_kind::accepted);
  CHECK((*second)->is == verdict_kind::refused);
  for (const auto& one : here.outside.etcd.history())
    CHECK_FALSE(one.entry.key.starts_with(keys::everything_of("second")));
}

TEST_CASE("a released port rests before another instance gets it") {
  stage here(3, {"127.0.0.1:8080", {30000, 30000, 1h}});
  REQUIRE(make(here, "first"));
  REQUIRE(here.ask(deprovision("first")).is == verdict_kind::accepted);
  REQUIRE(finish(here, "first"));
  CHECK(here.ask(provision("second")).is == verdict_kind::refused);
  here.pass(1h + 1s);
  CHECK(here.ask(provision("second")).is == verdict_kind::accepted);
}

TEST_CASE("an unanswered write that was done is recognised and happens once") {
  for (int nth = 1; nth <= 6; ++nth) {
    CAPTURE(nth);
    stage fresh;
    int seen = 0;
    fresh.outside.fate_of = [&](const auto& what) {
      return writes_record(what, "db") && ++seen == nth ? fault::lost_answer : fault::none;
    };
    CHECK(fresh.ask(provision("db")).is == verdict_kind::accepted);
    REQUIRE(finish(fresh, "db"));
    CHECK(succeeded(fresh.outside, "db"));
    CHECK(cells_agree(fresh.outside, "db"));
    CHECK(fresh.outside.node_count() == 2);
    std::set<std::string> ids;
    std::size_t writes = 0;
    for (const auto& one : fresh.outside.etcd.history())
      if (one.entry.key == keys::record("db")) {
        auto known = store::decode_record(one.entry.value, store::keyring{});
        REQUIRE(known.ok());
        ids.insert(known->write_id);
        ++writes;
      }
    CHECK(ids.size() == writes);
  }
}

TEST_CASE("an unanswered write that was not done is done once") {
  for (auto how : {fault::lost_request, fault::late})
    for (int nth = 1; nth <= 6; ++nth) {
      CAPTURE(nth);
      stage here;
      int seen = 0;
      here.outside.fate_of = [&](const auto& what) {
        return writes_record(what, "db") && ++seen == nth ? how : fault::none;
      };
      CHECK(here.ask(provision("db")).is == verdict_kind::accepted);
      REQUIRE(finish(here, "db"));
      CHECK(succeeded(here.outside, "db"));
      CHECK(cells_agree(here.outside, "db"));
      std::set<std::string> ids;
      std::size_t writes = 0;
      for (const auto& one : here.outside.etcd.history())
        if (one.entry.key == keys::record("db")) {
          ids.insert(store::decode_record(one.entry.value, store::keyring{})->write_id);
          ++writes;
        }
      CHECK(ids.size() == writes);
    }
}

TEST_CASE("a request that its sender has given up waiting for is not carried out later") {
  stage here;
  REQUIRE(make(here, "db"));
  here.outside.fate_of = [](const auto& what) {
    return writes_record(what, "db") ? fault::lost_request : fault::none;
  };
  CHECK(here.ask(resize("db", 3)).is == verdict_kind::unavailable);
  CHECK(here.ask(deprovision("db")).is == verdict_kind::unavailable);
  here.pass(2 * model::request_patience);
  here.outside.fate_of = nullptr;
  here.pass(1min);
  auto known = here.outside.record_of("db");
  REQUIRE(known.has_value());
  CHECK(known->desired.exists);
}

TEST_CASE("when etcd refuses, the answer is unavailable and nothing is written") {
  stage here;
  here.outside.fate_of = [](const auto& what) {
    return writes_record(what, "db") ? fault::not_done : fault::none;
  };
  CHECK(here.ask(provision("db")).is == verdict_kind::unavailable);
  CHECK(leftovers(here.outside, "db").empty());
  CHECK(here.outside.node_count() == 0);
  here.outside.fate_of = nullptr;
  CHECK(here.ask(provision("db")).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  CHECK(succeeded(here.outside, "db"));
}

TEST_CASE("when etcd refuses in the middle of an acceptance, what was written is taken back") {
  for (int nth : {2, 3}) {
    CAPTURE(nth);
    stage here;
    int seen = 0;
    here.outside.fate_of = [&](const auto& what) {
      return writes_record(what, "db") && ++seen == nth ? fault::not_done : fault::none;
    };
    CHECK(here.ask(provision("db")).is == verdict_kind::unavailable);
    here.pass(5s);
    CHECK(leftovers(here.outside, "db").empty());
    CHECK(here.outside.etcd.range(store::keys_below(keys::ports)).empty());
    CHECK(here.outside.node_count() == 0);
    CHECK(here.broker().find("db") == nullptr);
    CHECK(here.ask(provision("db")).is == verdict_kind::accepted);
    REQUIRE(finish(here, "db"));
    CHECK(succeeded(here.outside, "db"));
  }
}

TEST_CASE("an unknown id is not found only after a look into etcd") {
  stage here;
  CHECK(here.ask(model::lookup_request{"none"}).is == verdict_kind::not_found);
  CHECK(here.ask(deprovision("none")).is == verdict_kind::not_found);
  here.outside.etcd_reachable = false;
  CHECK(here.ask(model::lookup_request{"none"}).is == verdict_kind::unavailable);
  CHECK(here.ask(deprovision("none")).is == verdict_kind::unavailable);
}

TEST_CASE("a removed instance is gone as long as its tombstone lives") {
  stage here;
  REQUIRE(make(here, "db"));
  REQUIRE(here.ask(deprovision("db")).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  here.pass(1s);
  CHECK(here.ask(model::lookup_request{"db"}).is == verdict_kind::gone);
  CHECK(here.ask(deprovision("db")).is == verdict_kind::gone);
  CHECK(here.ask(provision("db")).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  CHECK(succeeded(here.outside, "db"));
  CHECK_FALSE(here.outside.etcd.contains(keys::tombstone("db")));
}

TEST_CASE("a deprovision during provisioning supersedes it and leaves nothing") {
  for (auto after : {0ms, 200ms, 700ms, 2000ms, 3000ms}) {
    CAPTURE(after.count());
    stage here;
    auto first = here.ask(provision("db", 3));
    auto port = here.outside.record_of("db")->endpoints[model::endpoint::primary];
    here.pass(after);
    auto said = here.ask(deprovision("db"));
    CHECK(said.is == verdict_kind::accepted);
    CHECK(said.operation_id != first.operation_id);
    REQUIRE(finish(here, "db"));
    here.pass(60s);
    CHECK(leftovers(here.outside, "db").empty());
    CHECK(here.outside.node_count() == 0);
    CHECK(here.outside.etcd.contains(keys::tombstone("db")));
    CHECK(here.outside.etcd.value(keys::allocation("db")) == std::nullopt);
    auto rests = here.outside.etcd.value(keys::port(port));
    REQUIRE(rests);
    CHECK(store::decode_port_use(*rests, 1)->resting_since.has_value());
    CHECK(here.broker().find("db") == nullptr);
    CHECK(here.outside.violations.empty());
  }
}

TEST_CASE("a later release's members of a port use survive the instance's removal") {
  stage here;
  REQUIRE(make(here, "db"));
  auto key = keys::port(here.outside.record_of("db")->endpoints[model::endpoint::primary]);
  auto text = *here.outside.etcd.value(key);
  here.outside.etcd.put(key, text.insert(text.size() - 1, R"(,"why":"moved")"));
  here.pass(1s);
  REQUIRE(here.ask(deprovision("db")).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  auto rests = here.outside.etcd.value(key);
  REQUIRE(rests);
  CHECK(store::decode_port_use(*rests, 1)->resting_since.has_value());
  CHECK(rests->find(R"("why":"moved")") != std::string::npos);
}

TEST_CASE("another update during an operation is told that the instance is busy") {
  stage here;
  REQUIRE(make(here, "db"));
  auto first = here.ask(resize("db", 3));
  CHECK(first.is == verdict_kind::accepted);
  CHECK(here.ask(resize("db", 1)).is == verdict_kind::busy);
  auto same = here.ask(resize("db", 3));
  CHECK(same.is == verdict_kind::accepted);
  CHECK(same.operation_id == first.operation_id);
}

TEST_CASE("growing and shrinking end with as many running nodes as asked, and keep the leader") {
  stage here;
  REQUIRE(make(here, "db", 1));
  auto leader = here.outside.leader_of("db");
  for (int nodes : {3, 1, 2}) {
    CAPTURE(nodes);
    CHECK(here.ask(resize("db", nodes)).is == verdict_kind::accepted);
    REQUIRE(finish(here, "db"));
    CHECK(succeeded(here.outside, "db"));
    CHECK(here.outside.running_nodes("db") == nodes);
    CHECK(here.outside.leader_of("db") == leader);
    CHECK(cells_agree(here.outside, "db"));
  }
}

TEST_CASE("a move keeps as many running nodes as were asked for at every moment") {
  stage here(4);
  REQUIRE(make(here, "db", 2));
  std::set<std::string> before;
  for (const auto& n : recorded_nodes(here.outside, "db"))
    before.insert(n.cell);
  std::vector<std::string> target;
  for (const auto& one : here.outside.cells())
    if (!before.contains(one.guid))
      target.push_back(one.guid);
  int fewest = 2;
  here.outside.watch_over = [&] { fewest = std::min(fewest, here.outside.running_nodes("db")); };
  REQUIRE(here.ask(move("db", target)).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  CHECK(succeeded(here.outside, "db"));
  CHECK(fewest == 2);
  std::set<std::string> now;
  for (const auto& n : recorded_nodes(here.outside, "db"))
    now.insert(n.cell);
  CHECK(now == std::set<std::string>(target.begin(), target.end()));
  CHECK(cells_agree(here.outside, "db"));
  CHECK_FALSE(here.outside.leader_of("db").empty());
}

TEST_CASE("a move waits while the new nodes are behind") {
  stage here(4);
  REQUIRE(make(here, "db", 2));
  here.outside.lag = 10 * model::negligible_lag_bytes;
  REQUIRE(here.ask(move("db", {"c3", "c4"})).is == verdict_kind::accepted);
  here.pass(60s);
  CHECK_FALSE(ended(here.outside, "db"));
  CHECK(here.outside.nodes_of("db").size() == 4);
  CHECK(here.broker().find("db")->progress.find("lag") != std::string::npos);
  here.outside.lag = 0;
  REQUIRE(finish(here, "db"));
  CHECK(succeeded(here.outside, "db"));
  CHECK(here.outside.nodes_of("db").size() == 2);
}

TEST_CASE("a switchover that Patroni refuses is tried again until it succeeds") {
  stage here(4);
  REQUIRE(make(here, "db", 2));
  here.outside.switchover_failure = "not now";
  REQUIRE(here.ask(move("db", {"c3", "c4"})).is == verdict_kind::accepted);
  here.pass(60s);
  CHECK_FALSE(ended(here.outside, "db"));
  CHECK(here.outside.nodes_of("db").size() == 4);
  here.outside.switchover_failure.clear();
  REQUIRE(finish(here, "db"));
  CHECK(succeeded(here.outside, "db"));
}

TEST_CASE("a cell that fails to start a node is skipped for the next one") {
  for (auto how : {manner::full, manner::failing, manner::lying, manner::away, manner::hanging,
                   manner::mute}) {
    CAPTURE(static_cast<int>(how));
    stage here(3);
    here.outside.at("c1").orders = how;
    REQUIRE(here.ask(provision("db", 2)).is == verdict_kind::accepted);
    REQUIRE(finish(here, "db"));
    CHECK_MESSAGE(succeeded(here.outside, "db"), end_of(here, "db"));
    CHECK(here.outside.running_nodes("db") >= 2);
    here.outside.at("c1").orders = manner::well;
    here.pass(120s);
    CHECK(cells_agree(here.outside, "db"));
    CHECK(here.outside.nodes_of("db").size() == 2);
  }
}

TEST_CASE("a start that arrives long after its time-out leaves no node behind") {
  stage here(3);
  here.outside.at("c1").transit = 17s;
  REQUIRE(here.ask(provision("db", 2)).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  CHECK(succeeded(here.outside, "db"));
  here.outside.at("c1").transit = 0s;
  here.pass(180s);
  CHECK(cells_agree(here.outside, "db"));
  CHECK(here.outside.at("c1").nodes.empty());
}

TEST_CASE("a start that arrives after its removal was confirmed is removed again") {
  stage here(3);
  auto& slow = here.outside.at("c1");
  slow.transit = 17s;
  here.outside.cells_are_fenced = false; // foreign cells do not remember removed nodes
  REQUIRE(here.ask(provision("db", 2)).is == verdict_kind::accepted);
  slow.transit = 0s;
  REQUIRE(finish(here, "db"));
  CHECK(succeeded(here.outside, "db"));
  here.pass(60s);
  CHECK(here.outside.orders("DELETE").size() >= 2);
  CHECK(cells_agree(here.outside, "db"));
  CHECK(slow.nodes.empty());
}

TEST_CASE("a provision that no cell can take fails, says why and leaves no nodes") {
  stage here(2);
  here.outside.at("c1").orders = manner::full;
  here.outside.at("c2").orders = manner::full;
  REQUIRE(here.ask(provision("db", 2)).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  CHECK_FALSE(succeeded(here.outside, "db"));
  CHECK(end_of(here, "db").find("c1") != std::string::npos);
  here.pass(60s);
  CHECK(here.outside.node_count() == 0);
  CHECK(here.ask(deprovision("db")).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  CHECK(leftovers(here.outside, "db").empty());
}

TEST_CASE("a deprovision with a cell away fails naming it, and ends when it returns") {
  stage here(2);
  REQUIRE(make(here, "db", 2));
  here.outside.at("c2").orders = manner::away;
  here.outside.at("c2").health = manner::away;
  REQUIRE(here.ask(deprovision("db")).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  auto known = here.outside.record_of("db");
  REQUIRE(known);
  CHECK(known->current.state == model::operation_state::failed);
  CHECK(known->current.description.find("c2") != std::string::npos);
  here.outside.at("c2").orders = manner::well;
  here.outside.at("c2").health = manner::well;
  here.pass(60s);
  CHECK(here.outside.node_count() == 0);
  CHECK(leftovers(here.outside, "db").empty());
  CHECK(here.outside.etcd.contains(keys::tombstone("db")));
}

TEST_CASE("a request that awaits an operation is answered at its end") {
  stage here;
  auto said = here.ask(provision("db"));
  auto waiting = here.broker().ask(model::await_request{"db", said.operation_id});
  here.run();
  CHECK_FALSE(waiting->has_value());
  REQUIRE(finish(here, "db"));
  here.run();
  REQUIRE(waiting->has_value());
  CHECK((*waiting)->is == verdict_kind::done);
  REQUIRE((*waiting)->instance);
  CHECK((*waiting)->instance->known.current.state == model::operation_state::succeeded);

  auto removal = here.ask(deprovision("db"));
  auto end = here.broker().ask(model::await_request{"db", removal.operation_id});
  REQUIRE(finish(here, "db"));
  here.pass(1s);
  REQUIRE(end->has_value());
  CHECK((*end)->is == verdict_kind::gone);
}

TEST_CASE("a failover by Patroni itself is seen without a write to the record") {
  stage here;
  REQUIRE(make(here, "db", 2));
  auto before = here.outside.record_of("db")->write_id;
  auto old_leader = here.outside.leader_of("db");
  std::string other;
  for (const auto& n : recorded_nodes(here.outside, "db"))
    if (n.node_id != old_leader)
      other = n.node_id;
  here.outside.etcd.put(keys::leader("db"), other);
  here.run();
  CHECK(here.broker().find("db")->seen.leader == other);
  CHECK(here.outside.record_of("db")->write_id == before);
}
