// Self-repair in virtual time: cells that are lost for good, or come back at a bad moment.
#include <doctest/doctest.h>

#include <algorithm>

#include "../texts.hpp"
#include "model/plan.hpp"
#include "requests.hpp"

using namespace matriarch;
using namespace matriarch::simulation;
using namespace std::chrono_literals;
using model::verdict_kind;
namespace keys = store::keys;

namespace {

constexpr model::duration repair_after = 60s;
constexpr model::duration ttl = world::ttl;

broker_settings settings(int parallel = 2) {
  broker_settings how;
  how.repair = {repair_after, parallel};
  return how;
}

std::string member_text(const std::string& node, const std::string& state) {
  return "{\"state\":\"" + state + "\",\"api_url\":\"http://" + node
         + ":8008/patroni\",\"conn_url\":\"postgres://" + node + ":5432/postgres\"}";
}

std::string cell_of(const world& outside, const std::string& name, const std::string& node_id) {
  for (const auto& n : recorded_nodes(outside, name))
    if (n.node_id == node_id)
      return n.cell;
  return "";
}

/// The leader's cell, and a replica's.
std::string leaders_cell(const world& outside, const std::string& name) {
  return cell_of(outside, name, outside.leader_of(name));
}
std::string replicas_cell(const world& outside, const std::string& name) {
  for (const auto& n : recorded_nodes(outside, name))
    if (n.node_id != outside.leader_of(name) && n.phase == model::node_phase::started)
      return n.cell;
  return "";
}

std::set<std::string> started_cells(const world& outside, const std::string& name) {
  std::set<std::string> found;
  for (const auto& n : recorded_nodes(outside, name))
    if (n.phase == model::node_phase::started && outside.member_state(name, n.node_id) == "running")
      found.insert(n.cell);
  return found;
}

/// Whether as many nodes run as wanted, none of them on a lost cell, and one leads.
bool repaired(const world& outside, const std::string& name, std::size_t nodes = 2) {
  auto known = outside.record_of(name);
  return known && started_cells(outside, name).size() == nodes
         && std::ranges::all_of(known->living.nodes,
                                [&](const auto& n) {
                                  return n.phase == model::node_phase::removing
                                         || outside.member_state(name, n.node_id) == "running";
                                })
         && known->living.find_node(outside.leader_of(name)) != nullptr;
}

/// Loses a cell and waits until its nodes are replaced.
bool repairs_loss(stage& here, const std::string& guid, const std::string& name = "db") {
  here.outside.lose(guid);
  here.pass(ttl + 1s);
  return here.pass_until([&] { return repaired(here.outside, name); }, 10min);
}

/// Whether the record has only these nodes, and the cells run no others.
bool tidy(const world& outside, const std::string& name, std::size_t nodes = 2) {
  return recorded_nodes(outside, name).size() == nodes && cells_agree(outside, name);
}

std::size_t starts(const world& outside) {
  return outside.orders("PUT").size();
}

std::string repair_of(stage& here, const std::string& name) {
  auto published = here.broker().find(name);
  return published ? published->repair : "";
}

using matriarch::test::contains;

} // namespace

TEST_CASE("a copy of a former leader begins again") {
  stage here(4);
  REQUIRE(make(here, "db", 2));
  here.outside.copies_hang = true;
  REQUIRE(here.ask(resize("db", 3)).is == model::verdict_kind::accepted);
  REQUIRE(here.pass_until([&] { return here.outside.nodes_of("db").size() == 3; }, 60s));
  here.pass(10s);
  REQUIRE(here.outside.running_nodes("db") == 2);
  auto leader = here.outside.leader_of("db");
  auto nodes = here.outside.nodes_of("db");
  here.outside.lose(nodes.at(leader), 1s);
  REQUIRE(here.pass_until(
      [&] {
        auto now = here.outside.leader_of("db");
        return !now.empty() && now != leader;
      },
      60s));
  CHECK(here.pass_until([&] { return here.outside.running_nodes("db") == 2; }, 20s));
  CHECK_FALSE(here.outside.copies_hang);
}

TEST_CASE("the nodes of a lost cell are replaced, and removed from it when it comes back") {
  for (bool leader : {false, true}) {
    CAPTURE(leader);
    stage here(5, settings());
    REQUIRE(make(here, "db"));
    auto before = here.outside.record_of("db")->current;
    auto gone = leader ? leaders_cell(here.outside, "db") : replicas_cell(here.outside, "db");
    auto node = here.outside.at(gone).nodes.begin()->first;
    here.outside.lose(gone);
    here.pass(ttl + repair_after - 2s);
    CHECK(recorded_nodes(here.outside, "db").size() == 2); // not yet: the cell may still come back
    REQUIRE(here.pass_until([&] { return repaired(here.outside, "db"); }, 60s));
    CHECK(started_cells(here.outside, "db").count(gone) == 0);
    CHECK(here.outside.record_of("db")->current == before); // nobody requested it
    CHECK(here.outside.at(gone).nodes.contains(node));
    CHECK(
        contains(repair_of(here, "db"), "is removed from cell " + gone + " when the cell is back"));
    here.outside.bring_back(gone);
    REQUIRE(here.pass_until([&] { return tidy(here.outside, "db"); }, 60s));
    CHECK(here.outside.at(gone).nodes.empty());
    CHECK(here.outside.etcd.contains(keys::grave(gone, node)));
    CHECK(here.pass_until([&] { return repair_of(here, "db").empty(); }, 10s));
    CHECK(here.outside.violations.empty());
  }
}

TEST_CASE("a cell with a lease, or a live member, is not lost") {
  for (bool by_lease : {true, false}) {
    CAPTURE(by_lease);
    stage here(5, settings());
    REQUIRE(make(here, "db"));
    auto& cell = here.outside.at(replicas_cell(here.outside, "db"));
    auto node = cell.nodes.begin()->first;
    if (by_lease) {
      here.outside.etcd.put(keys::cell(cell.guid), "{}");
      here.outside.lose(cell.guid);
    } else {
      cell.orders = cell.health = manner::away; // only its agent has died
    }
    here.pass(repair_after + ttl - 5s);
    CHECK(recorded_nodes(here.outside, "db").size() == 2);
    here.pass(10min);
    // With its lease the cell is not lost, but its node is unhealthy while the other one leads.
    CHECK(here.broker().cells()->at(0).lost == false);
    for (const auto& view : *here.broker().cells())
      CHECK_FALSE(view.lost);
    if (!by_lease) {
      CHECK(recorded_nodes(here.outside, "db").size() == 2);
      CHECK(here.outside.record_of("db")->living.find_node(node) != nullptr);
    }
  }
}

TEST_CASE("the clock of a loss restarts when a broker becomes active and when etcd comes back") {
  for (bool by_restart : {true, false}) {
    CAPTURE(by_restart);
    stage here(5, settings());
    REQUIRE(make(here, "db"));
    here.outside.lose(replicas_cell(here.outside, "db"));
    here.pass(ttl + repair_after - 3s);
    if (by_restart) {
      here.restart();
    } else {
      here.broker().lose_etcd("frozen");
      here.pass(1s);
      here.broker().list_again();
    }
    here.pass(repair_after - 5s);
    CHECK(recorded_nodes(here.outside, "db").size() == 2);
    CHECK(here.pass_until([&] { return repaired(here.outside, "db"); }, 60s));
  }
}

TEST_CASE("when more than half of the cells seem lost nothing is repaired") {
  stage here(4, settings());
  REQUIRE(make(here, "db"));
  auto leader = leaders_cell(here.outside, "db");
  for (const auto& cell : std::vector<simulation::cell>(here.outside.cells()))
    if (cell.guid != leader)
      here.outside.lose(cell.guid);
  here.pass(20min);
  CHECK(recorded_nodes(here.outside, "db").size() == 2);
  CHECK(contains(repair_of(here, "db"), "3 of 4 cells seem lost"));
  CHECK(contains(here.broker().repair_halted(), "3 of 4 cells seem lost"));
}

TEST_CASE("both cells of a cluster are lost and one comes back: no empty database, then a repair") {
  for (bool old_leader : {true, false}) {
    CAPTURE(old_leader);
    stage here(6, settings());
    REQUIRE(make(here, "db"));
    auto identity = here.outside.etcd.value(keys::initialize("db"));
    REQUIRE(identity);
    auto first = leaders_cell(here.outside, "db");
    auto second = replicas_cell(here.outside, "db");
    auto orders = starts(here.outside);
    here.outside.lose(first);
    here.outside.lose(second);
    here.pass(20min);
    CHECK(starts(here.outside) == orders); // a new node would have nothing to copy
    CHECK(recorded_nodes(here.outside, "db").size() == 2);
    CHECK(contains(repair_of(here, "db"), "no member leads"));
    auto back = old_leader ? first : second;
    auto survivor = here.outside.at(back).nodes.begin()->first;
    here.outside.bring_back(back);
    here.pass(10s);
    REQUIRE(here.pass_until([&] { return repaired(here.outside, "db"); }, 5min));
    CHECK(here.outside.leader_of("db") == survivor);
    CHECK(here.outside.etcd.value(keys::initialize("db")) == identity);
  }
}

TEST_CASE("a node whose removal is pending is kept if it holds the last copy") {
  stage here(7, settings());
  REQUIRE(make(here, "db"));
  auto gone = replicas_cell(here.outside, "db");
  auto last = here.outside.at(gone).nodes.begin()->first;
  REQUIRE(repairs_loss(here, gone));
  // Now those two are lost as well, and the old node comes back alone.
  for (const auto& guid : started_cells(here.outside, "db"))
    here.outside.lose(guid);
  here.pass(5min);
  here.outside.bring_back(gone);
  CHECK(here.outside.leader_of("db") == last);
  REQUIRE(here.pass_until([&] { return repaired(here.outside, "db"); }, 10min));
  CHECK(here.outside.leader_of("db") != last);
  CHECK(here.pass_until([&] { return !here.outside.at(gone).nodes.contains(last); }, 1min));
}

TEST_CASE("a free named cell gets the replacement, else any cell, which is reported and kept") {
  stage here(5, settings());
  here.ask([&] {
    auto asked = provision("db");
    asked.desired.cells = {"c1", "c2", "c4"};
    asked.parameters = "{\"cells\":[\"c1\",\"c2\",\"c4\"]}";
    return asked;
  }());
  REQUIRE(finish(here, "db"));
  REQUIRE(succeeded(here.outside, "db"));
  auto first = replicas_cell(here.outside, "db");
  REQUIRE(repairs_loss(here, first));
  for (const auto& guid : started_cells(here.outside, "db"))
    CHECK((guid == "c1" || guid == "c2" || guid == "c4"));
  CHECK_FALSE(contains(repair_of(here, "db"), "none of the cells asked for"));
  // The next repair finds no other named cell that this cluster does not use.
  auto second = replicas_cell(here.outside, "db");
  auto leader = leaders_cell(here.outside, "db");
  REQUIRE(repairs_loss(here, second));
  auto now = started_cells(here.outside, "db");
  CHECK(now.size() == 2);
  CHECK((now.contains("c3") || now.contains("c5")));
  CHECK(contains(repair_of(here, "db"), "because none of the cells asked for was free"));
  here.pass(10min);
  CHECK(started_cells(here.outside, "db") == now);
  // Naming the same cells again brings the node back onto them.
  here.outside.bring_back(first);
  here.outside.bring_back(second);
  here.pass(1min);
  CHECK(here.ask(move("db", {"c1", "c2", "c4"})).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  CHECK(succeeded(here.outside, "db"));
  for (const auto& guid : started_cells(here.outside, "db"))
    CHECK((guid == "c1" || guid == "c2" || guid == "c4"));
}

TEST_CASE("an update during a repair is accepted, and done together with it") {
  for (int nodes : {1, 2, 3}) {
    CAPTURE(nodes);
    stage here(6, settings());
    REQUIRE(make(here, "db"));
    auto gone = replicas_cell(here.outside, "db");
    here.outside.lose(gone);
    REQUIRE(here.pass_until(
        [&] {
          auto all = recorded_nodes(here.outside, "db");
          return std::ranges::any_of(all, [](const auto& n) { return !n.failing.empty(); })
                 && all.size() == 3;
        },
        10min));
    auto asked = resize("db", nodes);
    asked.parameters = "{\"node-count\":" + std::to_string(nodes) + "}";
    auto said = here.ask(asked);
    CHECK((said.is == verdict_kind::accepted || (nodes == 2 && said.is == verdict_kind::done)));
    REQUIRE(here.pass_until(
        [&] { return repaired(here.outside, "db", static_cast<std::size_t>(nodes)); }, 10min));
    here.pass(10s);
    CHECK(succeeded(here.outside, "db"));
    CHECK(started_cells(here.outside, "db").count(gone) == 0);
  }
}

TEST_CASE("an update of a cluster that has just lost a machine replaces its node as well") {
  stage here(6, settings());
  REQUIRE(make(here, "db"));
  auto gone = replicas_cell(here.outside, "db");
  here.outside.lose(gone);
  here.pass(ttl + 5s);
  REQUIRE(here.ask(resize("db", 3)).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db", 5min));
  CHECK(succeeded(here.outside, "db"));
  CHECK(repaired(here.outside, "db", 3));
  here.outside.bring_back(gone);
  CHECK(here.pass_until([&] { return tidy(here.outside, "db", 3); }, 1min));
}

TEST_CASE("a deprovision with a lost cell fails in time, names it, and ends when it is back") {
  stage here(5, settings());
  REQUIRE(make(here, "db"));
  auto gone = replicas_cell(here.outside, "db");
  here.outside.lose(gone);
  here.pass(ttl + 5s);
  CHECK(here.ask(deprovision("db")).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  auto op = here.outside.record_of("db")->current;
  CHECK(op.state == model::operation_state::failed);
  CHECK(contains(op.description, "cell " + gone + " has not confirmed"));
  CHECK_FALSE(contains(op.description, "http")); // a tenant reads it
  CHECK(contains(op.description, "matriarch forget-cell " + gone));
  CHECK(here.outside.node_count() == 1);
  here.outside.bring_back(gone);
  CHECK(here.pass_until([&] { return leftovers(here.outside, "db").empty(); }, 2min));
  CHECK(here.outside.node_count() == 0);
}

TEST_CASE("a node that stays down on a reachable cell is replaced under another id") {
  stage here(3, settings());
  REQUIRE(make(here, "db", 3));
  auto cell = replicas_cell(here.outside, "db");
  auto node = here.outside.at(cell).nodes.begin()->first;
  here.outside.etcd.put(keys::member("db", node), member_text(node, "start failed"));
  here.pass(repair_after - 3s);
  CHECK(recorded_nodes(here.outside, "db").size() == 3);
  REQUIRE(here.pass_until([&] { return recorded_nodes(here.outside, "db").size() == 4; }, 10s));
  CHECK(here.outside.at(cell).nodes.contains(node)); // the new node first
  REQUIRE(here.pass_until(
      [&] {
        return recorded_nodes(here.outside, "db").size() == 3
               && here.outside.running_nodes("db") == 3;
      },
      2min));
  CHECK(here.outside.record_of("db")->living.find_node(node) == nullptr);
  CHECK(cells_agree(here.outside, "db"));
}

TEST_CASE("a replica that copies a big database is not disturbed") {
  stage here(5, settings());
  REQUIRE(make(here, "db"));
  auto cell = replicas_cell(here.outside, "db");
  auto node = here.outside.at(cell).nodes.begin()->first;
  here.outside.etcd.put(keys::member("db", node), member_text(node, "creating replica"));
  here.pass(30min);
  CHECK(recorded_nodes(here.outside, "db").size() == 2);
}

TEST_CASE("a lost node is removed only after its replacement has caught up") {
  stage here(5, settings());
  REQUIRE(make(here, "db"));
  here.outside.lag = 10 * model::negligible_lag_bytes;
  auto gone = replicas_cell(here.outside, "db");
  auto node = here.outside.at(gone).nodes.begin()->first;
  here.outside.lose(gone);
  here.pass(10min);
  REQUIRE(here.outside.record_of("db")->living.find_node(node) != nullptr);
  CHECK(here.outside.record_of("db")->living.find_node(node)->phase == model::node_phase::started);
  here.outside.lag = 0;
  here.pass(10s);
  CHECK(here.outside.record_of("db")->living.find_node(node)->phase == model::node_phase::removing);
}

TEST_CASE("a repair never removes a node in the sync key") {
  stage here(5, settings());
  auto asked = provision("db");
  asked.desired.settings.synchronous = model::synchronous_mode::on;
  here.ask(asked);
  REQUIRE(finish(here, "db"));
  auto gone = replicas_cell(here.outside, "db");
  auto node = here.outside.at(gone).nodes.begin()->first;
  auto leader = here.outside.leader_of("db");
  here.outside.lose(gone);
  // Patroni would choose another one as soon as that streams; this test assumes that it does not.
  auto standby = node;
  here.outside.watch_over = [&] {
    auto text = "{\"leader\":\"" + leader + "\",\"sync_standby\":\"" + standby + "\"}";
    if (here.outside.etcd.value(keys::sync("db")) != text)
      here.outside.etcd.put(keys::sync("db"), text);
  };
  here.pass(10min);
  REQUIRE(here.outside.record_of("db")->living.find_node(node) != nullptr);
  CHECK(here.outside.record_of("db")->living.find_node(node)->phase == model::node_phase::started);
  // Reported after each answer of the leader about its replicas.
  CHECK(
      here.pass_until([&] { return contains(repair_of(here, "db"), "synchronous replica"); }, 30s));
  standby = here.outside.record_of("db")->living.nodes.back().node_id;
  here.pass(10s);
  CHECK(here.outside.record_of("db")->living.find_node(node)->phase == model::node_phase::removing);
}

TEST_CASE("a bounded number of instances is repaired at a time, lost leaders first") {
  stage here(4, settings(1));
  std::vector<std::string> names{"a", "b", "c", "d"};
  for (const auto& name : names) {
    auto asked = provision(name);
    asked.desired.cells = {"c1", "c2"};
    here.ask(asked);
    REQUIRE(finish(here, name));
  }
  // Two instances' leaders are moved onto the cell to be lost, the other two's off it.
  for (const auto& name : names)
    for (const auto& n : recorded_nodes(here.outside, name))
      if ((n.cell == "c2") == (name == "c" || name == "d"))
        here.outside.etcd.put(keys::leader(name), n.node_id);
  here.pass(5min);
  here.outside.lose("c2");
  here.pass(ttl + 1s);
  auto repairing = [&] {
    std::vector<std::string> busy;
    for (const auto& name : names) {
      auto known = here.outside.record_of(name);
      if (std::ranges::any_of(known->living.nodes, [](const auto& n) {
            return !n.failing.empty() && n.phase != model::node_phase::removing;
          }))
        busy.push_back(name);
    }
    return busy;
  };
  std::vector<std::string> order;
  here.outside.watch_over = [&] {
    auto busy = repairing();
    CHECK(busy.size() <= 1);
    for (const auto& name : busy)
      if (std::ranges::find(order, name) == order.end())
        order.push_back(name);
  };
  REQUIRE(here.pass_until(
      [&] {
        return std::ranges::all_of(names,
                                   [&](const auto& name) { return repaired(here.outside, name); });
      },
      15min));
  REQUIRE(order.size() == 4);
  CHECK(std::set<std::string>{order[0], order[1]} == std::set<std::string>{"c", "d"});
  here.outside.watch_over = nullptr;
}

TEST_CASE("an instance whose actor ends loses its turn") {
  stage here(4, settings(1));
  REQUIRE(make(here, "a"));
  REQUIRE(make(here, "b"));
  here.outside.lag = 10 * model::negligible_lag_bytes; // the first repair cannot end
  auto both = started_cells(here.outside, "a");
  std::string shared;
  for (const auto& guid : started_cells(here.outside, "b"))
    if (both.contains(guid))
      shared = guid;
  if (shared.empty())
    return;
  here.outside.lose(shared);
  auto marked = [&](const std::string& name) {
    return std::ranges::any_of(recorded_nodes(here.outside, name),
                               [](const auto& n) { return !n.failing.empty(); });
  };
  REQUIRE(here.pass_until([&] { return marked("a") || marked("b"); }, 10min));
  std::string first = marked("a") ? "a" : "b";
  std::string other = first == "a" ? "b" : "a";
  here.pass(30s);
  CHECK_FALSE(marked(other));
  here.broker().kill_instance(first);
  CHECK(here.pass_until([&] { return marked(other); }, 30s));
}

TEST_CASE("a repair without a free cell waits, lets others go first, and continues later") {
  stage here(3, settings(1));
  for (auto& one : here.outside.cells())
    one.capacity = 1;
  REQUIRE(make(here, "a"));
  here.outside.at("c3").orders = manner::full;
  here.outside.lose(replicas_cell(here.outside, "a"));
  here.pass(10min);
  auto known = here.outside.record_of("a");
  CHECK(known->current.state == model::operation_state::succeeded);
  here.outside.at("c3").orders = manner::well;
  here.outside.at("c3").capacity = 10;
  CHECK(here.pass_until([&] { return repaired(here.outside, "a"); }, 5min));
}

TEST_CASE("a broker continues a repair that its predecessor began") {
  for (int steps = 0; steps < 40; ++steps) {
    CAPTURE(steps);
    stage here(5, settings());
    REQUIRE(make(here, "db"));
    auto gone = replicas_cell(here.outside, "db");
    here.outside.lose(gone);
    here.pass(ttl + repair_after - 2s + steps * 200ms);
    here.restart();
    REQUIRE(here.pass_until([&] { return repaired(here.outside, "db"); }, 10min));
    here.outside.bring_back(gone);
    CHECK(here.pass_until([&] { return tidy(here.outside, "db"); }, 2min));
    CHECK(here.outside.violations.empty());
  }
}
