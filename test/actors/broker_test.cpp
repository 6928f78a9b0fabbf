#include <doctest/doctest.h>

#include <algorithm>
#include <utility>

#include "requests.hpp"
#include "store/active_json.hpp"

using namespace matriarch;
using namespace matriarch::simulation;
using namespace std::chrono_literals;
using model::verdict_kind;
namespace keys = store::keys;

namespace {

void add_broker(stage& here, const std::string& address) {
  broker_settings how;
  how.address = address;
  here.brokers.push_back(std::make_unique<simulated_broker>(here.outside, how));
  here.run();
  here.pass(1s);
}

bool gives_fleet(const store::transaction& what) {
  return std::ranges::any_of(what.then, [](const store::operation& one) {
    const auto* put = std::get_if<store::put>(&one);
    return put != nullptr && put->key == keys::fleet;
  });
}

const std::string& value_of_other() {
  static const std::string value = store::encode_active({"other", "127.0.0.1:9090"});
  return value;
}

int acting(const stage& here) {
  return static_cast<int>(
      std::ranges::count_if(here.brokers, [](const auto& one) { return one->active(); }));
}

/// How often the right to act has been taken so far.
int takeovers(const stage& here) {
  return static_cast<int>(
      std::ranges::count_if(here.outside.etcd.history(), [](const store::change& one) {
        return one.entry.key == keys::active && one.what == store::change::kind::put;
      }));
}

/// Starts two brokers of one address, the second one `apart` after the first, once no broker is
/// active.
void start_two(stage& here, broker_settings how, const std::string& second_machine,
               model::duration apart) {
  here.brokers.clear();
  here.pass(30s);
  REQUIRE_FALSE(here.outside.etcd.contains(keys::active));
  for (unsigned nth = 0; nth < 2; ++nth) {
    here.brokers.push_back(std::make_unique<simulated_broker>(here.outside, how));
    here.pass(apart);
    how.machine = second_machine;
    how.seed += how.seed == 0 ? 0 : 100;
  }
}

/// Runs the test with many orders of the actors' turns, and with brokers that start this far apart.
void in_every_order(
    const std::function<void(stage&, const broker_settings&, model::duration)>& story) {
  for (unsigned seed = 0; seed <= 10; ++seed)
    for (auto apart : {0ms, 1ms, 2ms, 3ms, 5ms, 7ms, 20ms, 1000ms}) {
      CAPTURE(seed);
      CAPTURE(apart.count());
      broker_settings how;
      how.seed = seed;
      how.latency.etcd = 3ms;
      stage here(1, how);
      story(here, how, apart);
    }
}

} // namespace

TEST_CASE("a second broker waits, serves reads and refuses to change anything") {
  stage here;
  REQUIRE(make(here, "db"));
  add_broker(here, "127.0.0.1:9090");
  auto& second = *here.brokers[1];
  CHECK(here.broker().active());
  CHECK_FALSE(second.active());
  REQUIRE(second.find("db"));
  CHECK(second.find("db")->known.current.state == model::operation_state::succeeded);
  auto look = second.ask(model::lookup_request{"db"});
  auto change = second.ask(resize("db", 3));
  auto fresh = second.ask(provision("other"));
  here.pass(1s);
  REQUIRE(look->has_value());
  CHECK((*look)->is == verdict_kind::done);
  REQUIRE(change->has_value());
  CHECK((*change)->is == verdict_kind::unavailable);
  REQUIRE(fresh->has_value());
  CHECK((*fresh)->is == verdict_kind::unavailable);
  CHECK(leftovers(here.outside, "other").empty());
}

TEST_CASE("a waiting broker follows what the active one does") {
  stage here;
  add_broker(here, "127.0.0.1:9090");
  auto& second = *here.brokers[1];
  REQUIRE(make(here, "db"));
  here.pass(1s);
  REQUIRE(second.find("db"));
  CHECK(second.find("db")->known.current.state == model::operation_state::succeeded);
  CHECK(second.find("db")->seen.leader == here.outside.leader_of("db"));
  REQUIRE(here.ask(deprovision("db")).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  here.pass(1s);
  CHECK(second.find("db") == nullptr);
}

TEST_CASE("a waiting broker takes over when the lease ends, and finishes what was begun") {
  stage here;
  add_broker(here, "127.0.0.1:9090");
  REQUIRE(here.ask(provision("db", 3)).is == verdict_kind::accepted);
  here.pass(300ms);
  here.brokers.erase(here.brokers.begin());
  here.pass(5s);
  CHECK_FALSE(here.broker().active());
  here.pass(10s);
  CHECK(here.broker().active());
  REQUIRE(finish(here, "db"));
  CHECK(succeeded(here.outside, "db"));
  CHECK(cells_agree(here.outside, "db"));
  CHECK(here.outside.running_nodes("db") == 3);
}

TEST_CASE("a waiting broker makes no promise about an instance that will be taken back") {
  stage here;
  auto& line = here.broker().line();
  line.fate_of = [last = line.effects() + 2](int number) {
    return number <= last ? way::through : way::undone;
  };
  here.broker().ask(provision("db"));
  here.run();
  REQUIRE(here.outside.record_of("db"));
  REQUIRE(here.outside.record_of("db")->phase == model::record_phase::accepting);
  broker_settings how;
  how.address = "127.0.0.1:8081";
  here.brokers.front() = std::make_unique<simulated_broker>(here.outside, how);
  here.run();
  REQUIRE_FALSE(here.broker().active());
  CHECK(here.ask(provision("db")).is == verdict_kind::unavailable);
  CHECK(here.pass_until([&] { return !here.outside.record_of("db"); }, 30s));
  CHECK(here.ask(provision("db")).is == verdict_kind::accepted);
}

TEST_CASE("a broker that resigns has a successor at once") {
  stage here;
  add_broker(here, "127.0.0.1:9090");
  here.broker().resign();
  here.pass(100ms);
  CHECK_FALSE(here.broker().active());
  CHECK(here.brokers[1]->active());
}

TEST_CASE("routers can read the fleet's id, also in a fleet of an earlier release") {
  stage here;
  auto fleet = here.outside.etcd.value(keys::fleet);
  CHECK(here.outside.etcd.value(keys::shown_fleet) == fleet);
  here.brokers.clear();
  here.outside.etcd.erase(keys::shown_fleet);
  here.brokers.push_back(std::make_unique<simulated_broker>(here.outside));
  here.pass(2s);
  CHECK(here.broker().active());
  CHECK(here.outside.etcd.value(keys::shown_fleet) == fleet);
}

TEST_CASE("a broker writes down which format the fleet has, and never a lower one") {
  stage here;
  CHECK(here.outside.etcd.value(keys::format) == R"({"format":2,"min_reader":1})");
  here.brokers.clear();
  const std::string higher = R"({"format":7,"min_reader":1})";
  here.outside.etcd.put(keys::format, higher);
  here.brokers.push_back(std::make_unique<simulated_broker>(here.outside));
  here.pass(2s);
  CHECK(here.broker().active());
  CHECK(here.outside.etcd.value(keys::format) == higher);
}

TEST_CASE("a broker below the fleet's min_reader serves reads and never acts") {
  stage here;
  REQUIRE(make(here, "db"));
  here.brokers.clear();
  here.pass(30s);
  here.outside.etcd.put(keys::format, R"({"format":3,"min_reader":3})");
  here.brokers.push_back(std::make_unique<simulated_broker>(here.outside));
  here.pass(60s);
  CHECK_FALSE(here.broker().active());
  CHECK(here.broker().must_not_act().find("/matriarch/format: a later release has written it")
        == 0);
  CHECK_FALSE(here.outside.etcd.contains(keys::active));
  CHECK(here.broker().find("db"));
  CHECK(here.ask(resize("db", 3)).is == verdict_kind::unavailable);
  INFO("until the fleet's format is one that this broker knows");
  here.outside.etcd.put(keys::format, R"({"format":2,"min_reader":1})");
  here.pass(5s);
  CHECK(here.broker().active());
  CHECK(here.broker().must_not_act().empty());
}

TEST_CASE("a broker that cannot tell the fleet's format does not act, and leaves it as it is") {
  stage here;
  here.brokers.clear();
  here.pass(30s);
  here.outside.etcd.put(keys::format, "{");
  here.brokers.push_back(std::make_unique<simulated_broker>(here.outside));
  here.pass(10s);
  CHECK_FALSE(here.broker().active());
  CHECK(here.broker().must_not_act().find("/matriarch/format: it is damaged") == 0);
  CHECK(here.outside.etcd.value(keys::format) == "{");
}

TEST_CASE("a broker that learns of a later format while it takes over does not act") {
  const std::string later = R"({"format":3,"min_reader":3})";
  int learnt = 0;
  bool wrote = false; // its own format, after which it acts
  for (int message = 1; !wrote && message < 1000; ++message) {
    CAPTURE(message);
    stage here;
    here.brokers.clear();
    here.pass(30s);
    here.outside.etcd.erase(keys::format);
    here.brokers.push_back(std::make_unique<simulated_broker>(here.outside));
    std::size_t from = 0;
    here.broker().after_each_message([&, count = 0]() mutable {
      if (++count != message)
        return;
      wrote = here.outside.etcd.contains(keys::format);
      from = here.outside.etcd.history().size();
      here.outside.etcd.put(keys::format, later);
    });
    here.pass(10s);
    here.broker().after_each_message({});
    if (wrote)
      break;
    ++learnt;
    CHECK_FALSE(here.broker().active());
    CHECK_FALSE(here.outside.etcd.contains(keys::active));
    CHECK(here.outside.etcd.value(keys::format) == later);
    INFO("nor tries to take the key");
    for (auto at = from; at < here.outside.etcd.history().size(); ++at) {
      const auto& change = here.outside.etcd.history()[at];
      CHECK_FALSE((change.entry.key == keys::active && change.what == store::change::kind::put));
    }
  }
  CHECK(learnt > 10);
}

TEST_CASE("a broker of the same address takes its predecessor's place at once") {
  stage here;
  auto fleet = here.outside.etcd.value(keys::fleet);
  here.brokers.clear();
  here.brokers.push_back(std::make_unique<simulated_broker>(here.outside));
  here.pass(250ms);
  CHECK(here.broker().active());
  CHECK(here.outside.etcd.value(keys::fleet) == fleet);
  // The predecessor's lease ends without consequence.
  here.pass(30s);
  CHECK(here.broker().active());
  CHECK(here.outside.etcd.contains(keys::active));
}

TEST_CASE("a broker of the same address on another machine is no predecessor") {
  for (const std::string machine : {"another machine", ""}) {
    CAPTURE(machine);
    broker_settings how;
    how.machine = machine.empty() ? "" : "machine";
    stage here(3, how);
    REQUIRE(here.broker().active());
    here.brokers.clear();
    how.machine = machine;
    here.brokers.push_back(std::make_unique<simulated_broker>(here.outside, how));
    here.pass(5s);
    CHECK_FALSE(here.broker().active());
    here.pass(10s);
    CHECK(here.broker().active());
  }
}

TEST_CASE("of two machines' brokers with one address one becomes active, and stays so") {
  in_every_order([](stage& here, const broker_settings& how, model::duration apart) {
    auto before = takeovers(here);
    start_two(here, how, "another machine", apart);
    bool both = false;
    here.outside.watch_over = [&] { both = both || acting(here) > 1; };
    here.pass(1min);
    CHECK_FALSE(both);
    CHECK(acting(here) == 1);
    CHECK(takeovers(here) == before + 1);
  });
}

TEST_CASE("even of two indistinguishable brokers one becomes active, and stays so") {
  in_every_order([](stage& here, const broker_settings& how, model::duration apart) {
    auto before = takeovers(here);
    start_two(here, how, how.machine, apart);
    here.pass(5s);
    bool not_one = false;
    here.outside.watch_over = [&] { not_one = not_one || acting(here) != 1; };
    here.pass(1min);
    CHECK_FALSE(not_one);
    CHECK(takeovers(here) <= before + 2);
  });
}

TEST_CASE("a provision that is refused leaves no actor behind, whoever refuses it") {
  stage here;
  here.pass(2s);
  here.brokers.push_back(std::make_unique<simulated_broker>(
      here.outside, broker_settings{.address = "127.0.0.2:8080", .machine = "another machine"}));
  here.pass(5s);
  auto& standby = *here.brokers.back();
  REQUIRE_FALSE(standby.active());
  auto before = standby.actors_alive();
  for (int i = 0; i < 5; ++i) {
    auto said = standby.ask(provision("fresh-" + std::to_string(i)));
    here.pass(1s);
    REQUIRE(said->has_value());
    CHECK((*said)->is == model::verdict_kind::unavailable);
    CHECK((*said)->description.find("not the active one") != std::string::npos);
  }
  CHECK(standby.actors_alive() == before);
  // The same if the active broker has no port to give.
  stage full{3, broker_settings{.ports = {30000, 30000, std::chrono::hours{1}}}};
  REQUIRE(make(full, "db"));
  before = full.broker().actors_alive();
  CHECK(full.ask(provision("more")).is == model::verdict_kind::refused);
  full.run();
  CHECK(full.broker().actors_alive() == before);
}

TEST_CASE("a broker that loses the key before it is active does not become active") {
  // The other broker's write comes before the last transaction, or before that transaction's
  // answer.
  for (bool after : {false, true}) {
    CAPTURE(after);
    stage here;
    here.brokers.clear();
    here.pass(30s);
    bool acted = false;
    int asked = 0;
    here.outside.fate_of = [&](const store::transaction& what) {
      if (!gives_fleet(what) || ++asked > 1)
        return fault::none;
      auto write = [&here] { here.outside.etcd.put(keys::active, value_of_other()); };
      if (after)
        here.outside.after(10ms, write);
      else
        write();
      return after ? fault::slow_answer : fault::none;
    };
    here.brokers.push_back(std::make_unique<simulated_broker>(here.outside));
    here.broker().after_each_message([&] { acted = acted || here.broker().active(); });
    here.pass(20s);
    CHECK(asked == 1);
    CHECK_FALSE(acted);
    here.outside.etcd.erase(keys::active);
    here.pass(1s);
    CHECK(here.broker().active());
  }
}

TEST_CASE("a broker notices without the watch that it has lost the key") {
  stage here;
  REQUIRE(make(here, "db"));
  here.broker().hold_watch(true);
  here.outside.etcd.put(keys::active, value_of_other());
  here.pass(4s);
  CHECK_FALSE(here.broker().active());
  here.pass(30s);
  CHECK_FALSE(here.broker().active());
  here.outside.etcd.erase(keys::active);
  here.pass(5s);
  CHECK(here.broker().active());
  CHECK(here.ask(resize("db", 3)).is == verdict_kind::accepted);
}

TEST_CASE("a broker that regains a lost key starts a new term") {
  stage here;
  REQUIRE(make(here, "db"));
  here.broker().hold_watch(true);
  auto own = here.outside.etcd.value(keys::active);
  REQUIRE(own);
  here.outside.etcd.put(keys::active, value_of_other());
  REQUIRE(here.ask(resize("db", 3)).is == verdict_kind::unavailable);
  here.outside.etcd.put(keys::active, *own);
  // The instance's actor noticed, the others did not.
  here.pass(5s);
  CHECK(here.broker().active());
  CHECK(here.ask(resize("db", 3)).is == verdict_kind::accepted);
}

TEST_CASE("a refusal from an earlier term does not stop a broker that is active again") {
  stage here;
  REQUIRE(make(here, "db"));
  here.broker().hold_watch(true);
  here.outside.etcd.erase(keys::active);
  bool slow = false;
  here.outside.fate_of = [&](const store::transaction&) {
    return std::exchange(slow, true) ? fault::none : fault::slow_answer;
  };
  auto refused = here.broker().ask(resize("db", 3));
  here.run();
  REQUIRE(slow);
  here.broker().hold_watch(false);
  here.run();
  CHECK_FALSE(here.broker().active());
  here.pass(100ms);
  REQUIRE(here.broker().active());
  REQUIRE_FALSE(refused->has_value());
  here.pass(5s);
  REQUIRE(refused->has_value());
  CHECK((*refused)->is == verdict_kind::unavailable);
  CHECK(here.broker().active());
  CHECK(here.ask(resize("db", 3)).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  CHECK(succeeded(here.outside, "db"));
}

TEST_CASE("a broker whose lease cannot be renewed stops acting before the lease ends") {
  stage here;
  REQUIRE(make(here, "db"));
  here.outside.etcd_reachable = false;
  bool both = false;
  here.outside.watch_over = [&] {
    both = both || (here.broker().active() && !here.outside.etcd.contains(keys::active));
  };
  here.pass(15s);
  CHECK_FALSE(here.broker().active());
  CHECK_FALSE(both);
  CHECK(here.ask(resize("db", 3)).is == verdict_kind::unavailable);
  REQUIRE(here.broker().find("db"));
  here.outside.etcd_reachable = true;
  here.pass(5s);
  CHECK(here.broker().active());
  CHECK(here.ask(resize("db", 3)).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  CHECK(succeeded(here.outside, "db"));
}

TEST_CASE("a broker that has lost the key without knowing it changes nothing") {
  stage here;
  REQUIRE(make(here, "db"));
  here.broker().hold_watch(true);
  here.outside.etcd.put(keys::active, store::encode_active({"other", "127.0.0.1:9090"}));
  auto before = here.outside.record_of("db")->write_id;
  CHECK(here.ask(resize("db", 3)).is == verdict_kind::unavailable);
  CHECK(here.ask(provision("fresh")).is == verdict_kind::unavailable);
  CHECK(here.outside.record_of("db")->write_id == before);
  CHECK(leftovers(here.outside, "fresh").empty());
}

TEST_CASE("placement waits until every cell has been asked once") {
  stage here(1);
  here.brokers.clear();
  here.outside.cells().push_back({"c2", "z2", "http://cell2:8080"});
  here.outside.at("c2").health = manner::hanging;
  here.brokers.push_back(std::make_unique<simulated_broker>(here.outside));
  here.pass(250ms);
  REQUIRE(here.broker().active());
  REQUIRE(here.ask(provision("db", 1)).is == verdict_kind::accepted);
  here.pass(2s);
  CHECK(here.outside.record_of("db")->living.nodes.empty());
  here.pass(2s);
  CHECK(here.outside.record_of("db")->living.nodes.size() == 1);
  REQUIRE(finish(here, "db"));
  CHECK(succeeded(here.outside, "db"));
}

TEST_CASE("many placements at once fill the cells evenly and within their capacity") {
  stage here(3);
  for (auto& one : here.outside.cells())
    one.capacity = 20;
  here.pass(5s);
  for (int i = 0; i < 30; ++i)
    (void)here.broker().ask(provision("db" + std::to_string(i), 2));
  here.pass(30s);
  for (int i = 0; i < 30; ++i)
    CHECK(succeeded(here.outside, "db" + std::to_string(i)));
  for (auto& one : here.outside.cells()) {
    CHECK(one.nodes.size() == 20);
  }
  for (const auto& one : here.outside.orders("PUT"))
    CHECK(one.status == 201);
}

TEST_CASE("a cell is shown as unreachable while it is away, and as reachable when it is back") {
  stage here(2);
  here.outside.at("c2").health = manner::away;
  here.pass(10s);
  auto reachable = [&](const std::string& guid) {
    auto table = here.broker().cells();
    for (const auto& one : *table)
      if (one.guid == guid)
        return one.reachable;
    return false;
  };
  CHECK(reachable("c1"));
  CHECK_FALSE(reachable("c2"));
  here.outside.at("c2").health = manner::well;
  here.pass(10s);
  CHECK(reachable("c2"));
}

TEST_CASE("a demotion moves every leader off the cell and reports it") {
  stage here(3);
  for (int i = 0; i < 6; ++i)
    REQUIRE(make(here, "db" + std::to_string(i), 2));
  auto leaders_on = [&](const std::string& cell) {
    std::size_t count = 0;
    for (int i = 0; i < 6; ++i) {
      auto name = "db" + std::to_string(i);
      count += here.outside.nodes_of(name).at(here.outside.leader_of(name)) == cell ? 1 : 0;
    }
    return count;
  };
  std::string busiest = "c1";
  for (const auto& one : here.outside.cells())
    if (leaders_on(one.guid) > leaders_on(busiest))
      busiest = one.guid;
  auto expected = leaders_on(busiest);
  REQUIRE(expected > 0);
  auto came = here.broker().demote(busiest);
  here.pass(10s);
  REQUIRE(came->has_value());
  CHECK((*came)->known);
  CHECK((*came)->entries.size() == expected);
  for (const auto& entry : (*came)->entries) {
    CHECK_FALSE(entry.to.empty());
    CHECK(entry.why == "");
    CHECK(here.outside.leader_of(entry.instance_id) == entry.to);
  }
  CHECK(leaders_on(busiest) == 0);
}

TEST_CASE("a demotion that Patroni refuses reports why and can be repeated") {
  stage here(2);
  REQUIRE(make(here, "db", 2));
  auto leader = here.outside.leader_of("db");
  auto cell = here.outside.nodes_of("db").at(leader);
  here.outside.switchover_failure = "not now";
  auto came = here.broker().demote(cell);
  here.pass(10s);
  REQUIRE(came->has_value());
  REQUIRE((*came)->entries.size() == 1);
  CHECK((*came)->entries.front().to == "");
  CHECK((*came)->entries.front().why.find("not now") != std::string::npos);
  CHECK(here.outside.leader_of("db") == leader);
  here.pass(10s);
  here.outside.switchover_failure.clear();
  auto again = here.broker().demote(cell);
  here.pass(10s);
  REQUIRE(again->has_value());
  REQUIRE((*again)->entries.size() == 1);
  CHECK_FALSE((*again)->entries.front().to.empty());
}

TEST_CASE("a demotion of a single node reports that there is nowhere to go") {
  stage here(2);
  REQUIRE(make(here, "db", 1));
  auto cell = here.outside.nodes_of("db").at(here.outside.leader_of("db"));
  auto came = here.broker().demote(cell);
  here.pass(1s);
  REQUIRE(came->has_value());
  REQUIRE((*came)->entries.size() == 1);
  CHECK_FALSE((*came)->entries.front().why.empty());
  auto unknown = here.broker().demote("no such cell");
  here.pass(1s);
  REQUIRE(unknown->has_value());
  CHECK_FALSE((*unknown)->known);
}

TEST_CASE("a late change from an instance's earlier life does not reach the present instance") {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    broker_settings how;
    how.seed = seed;
    stage here(3, how);
    REQUIRE(make(here, "db"));
    here.broker().hold_watch(true);
    REQUIRE(here.ask(deprovision("db")).is == verdict_kind::accepted);
    REQUIRE(here.pass_until([&] { return !here.outside.record_of("db"); }, 60s));
    auto said = here.ask(provision("db"));
    REQUIRE(said.is == verdict_kind::accepted);
    auto end = here.broker().ask(model::await_request{"db", said.operation_id});
    here.run();
    here.broker().hold_watch(false);
    REQUIRE(finish(here, "db"));
    here.pass(1s);
    CHECK(succeeded(here.outside, "db"));
    CHECK(cells_agree(here.outside, "db"));
    REQUIRE(end->has_value());
    CHECK((*end)->is == verdict_kind::done);
  }
}

TEST_CASE("a late change of a removed instance does not bring it back") {
  stage here;
  REQUIRE(make(here, "db"));
  here.broker().hold_watch(true);
  auto unheard = here.outside.etcd.history().size();
  // Written while the instance is at rest, so that an actor that believed it would have nothing to
  // do.
  auto note = resize("db", 2);
  note.parameters = "{\"note\":1}";
  REQUIRE(here.ask(note).is == verdict_kind::done);
  REQUIRE(here.ask(deprovision("db")).is == verdict_kind::accepted);
  REQUIRE(here.pass_until([&] { return !here.outside.record_of("db"); }, 60s));
  here.pass(1s);
  for (; unheard < here.outside.etcd.history().size(); ++unheard) {
    here.broker().hear_one();
    CHECK(here.broker().find("db") == nullptr);
  }
  CHECK(here.ask(model::lookup_request{"db"}).is == verdict_kind::gone);
}

TEST_CASE("an instance that is removed from etcd by hand is forgotten") {
  stage here;
  REQUIRE(make(here, "db"));
  here.outside.etcd.erase(keys::record("db"));
  here.pass(1s);
  CHECK(here.broker().find("db") == nullptr);
  CHECK(here.ask(model::lookup_request{"db"}).is == verdict_kind::not_found);
}

TEST_CASE("whatever the order in which the actors run, the operations end as asked") {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    broker_settings how;
    how.seed = seed;
    stage here(4, how);
    auto first = here.broker().ask(provision("db", 2));
    auto second = here.broker().ask(provision("other", 3));
    here.pass(20s);
    CHECK(succeeded(here.outside, "db"));
    CHECK(succeeded(here.outside, "other"));
    auto moving = here.broker().ask(move("db", {"c3", "c4"}));
    auto removal = here.broker().ask(deprovision("other"));
    here.pass(30s);
    CHECK(succeeded(here.outside, "db"));
    CHECK(cells_agree(here.outside, "db"));
    CHECK(leftovers(here.outside, "other").empty());
    CHECK(here.outside.node_count() == 2);
    CHECK(here.outside.violations.empty());
  }
}
