// Nodes without a record, forgotten cells, and what is kept of removed instances and nodes.
#include <doctest/doctest.h>

#include <algorithm>

#include "../texts.hpp"
#include "requests.hpp"
#include "store/grave_json.hpp"
#include "store/tombstone_json.hpp"

using namespace matriarch;
using namespace matriarch::simulation;
using namespace std::chrono_literals;
using model::verdict_kind;
namespace keys = store::keys;

namespace {

/// Enough time for two comparisons.
constexpr model::duration two_listings = 130s;

cell_node stranger() {
  return {"other", "plan"};
}

model::verdict remove(stage& here, const std::string& cell, const std::string& node) {
  auto came = here.broker().remove_orphan(cell, node);
  here.pass_until([&] { return came->has_value(); }, 1min);
  return came->value_or(model::verdict{});
}

model::forget_report forget(stage& here, const std::string& cell) {
  auto came = here.broker().forget(cell);
  here.pass_until([&] { return came->has_value(); }, 1min);
  return came->value_or(model::forget_report{});
}

std::string any_cell_of(const world& outside, const std::string& name) {
  return recorded_nodes(outside, name).front().cell;
}

using matriarch::test::contains;

} // namespace

TEST_CASE("a node without a record is reported, and removed only by an operator") {
  stage here;
  REQUIRE(make(here, "db"));
  here.outside.at("c3").nodes["stray"] = stranger();
  here.pass(two_listings);
  REQUIRE(here.broker().orphans().size() == 1);
  CHECK(here.broker().orphans()[0].cell == "c3");
  CHECK(here.broker().orphans()[0].node.node_id == "stray");
  CHECK(here.broker().orphans()[0].node.scope == "other");
  here.pass(1h);
  CHECK(here.outside.at("c3").nodes.contains("stray"));
  CHECK(remove(here, "c2", "stray").is == verdict_kind::not_found);
  CHECK(remove(here, "c3", "stray").is == verdict_kind::done);
  CHECK_FALSE(here.outside.at("c3").nodes.contains("stray"));
  CHECK(here.outside.etcd.contains(keys::grave("c3", "stray")));
  CHECK(here.broker().orphans().empty());
  CHECK(cells_agree(here.outside, "db"));
}

TEST_CASE("a node with a grave is removed if it runs again") {
  stage here;
  REQUIRE(make(here, "db", 3));
  auto gone = recorded_nodes(here.outside, "db");
  here.ask(resize("db", 2));
  REQUIRE(finish(here, "db"));
  for (const auto& n : recorded_nodes(here.outside, "db"))
    std::erase_if(gone, [&](const auto& one) { return one.node_id == n.node_id; });
  REQUIRE(gone.size() == 1);
  // As after a restored snapshot of the machine's disk: the cell has forgotten the removal.
  auto& cell = here.outside.at(gone[0].cell);
  cell.fence = {};
  cell.nodes[gone[0].node_id] = {"db", "plan"};
  CHECK(here.pass_until([&] { return cells_agree(here.outside, "db"); }, two_listings));
  CHECK(here.broker().orphans().empty());
}

TEST_CASE("an operator's removal that the cell does not confirm is carried out later") {
  stage here;
  here.outside.at("c3").nodes["stray"] = stranger();
  here.pass(two_listings);
  here.outside.at("c3").orders = manner::failing;
  auto said = remove(here, "c3", "stray");
  CHECK(said.is == verdict_kind::refused);
  CHECK(contains(said.description, "tried again each minute"));
  here.outside.at("c3").orders = manner::well;
  here.pass(two_listings);
  CHECK_FALSE(here.outside.at("c3").nodes.contains("stray"));
}

TEST_CASE("an orphan that is in a record after all is not removed") {
  stage here;
  here.outside.at("c3").nodes["stray"] = stranger();
  here.pass(two_listings);
  // A record that this broker cannot read, for instance sealed with a key that it does not have.
  here.outside.etcd.put(keys::record("other"), "{\"nodes\":[{\"node_id\":\"stray\"}]}");
  here.pass(1s);
  auto said = remove(here, "c3", "stray");
  CHECK(said.is == verdict_kind::refused);
  CHECK(contains(said.description, keys::record("other")));
  CHECK(here.outside.at("c3").nodes.contains("stray"));
  CHECK_FALSE(here.outside.etcd.contains(keys::grave("c3", "stray")));
}

TEST_CASE("a broker on an empty etcd, or on a restored older etcd, removes nothing") {
  for (bool older : {false, true}) {
    CAPTURE(older);
    stage here;
    REQUIRE(make(here, "first"));
    auto backup = here.outside.etcd.range(store::keys_below("/"));
    REQUIRE(make(here, "second"));
    here.ask(resize("first", 3));
    REQUIRE(finish(here, "first"));
    auto running = here.outside.node_count();
    CHECK(running == 5);
    here.brokers.clear();
    for (const auto& entry : here.outside.etcd.range(store::keys_below("/")))
      here.outside.etcd.erase(entry.key);
    if (older)
      for (const auto& entry : backup)
        if (entry.key != keys::active)
          here.outside.etcd.put(entry.key, entry.value);
    here.brokers.push_back(std::make_unique<simulated_broker>(here.outside));
    here.pass(1h);
    CHECK(here.outside.node_count() == running);
    CHECK(here.broker().orphans().size() == (older ? 3 : 5));
    CHECK(here.outside.orders("DELETE").empty());
  }
}

TEST_CASE("a passive broker compares nothing and removes nothing") {
  stage here;
  REQUIRE(make(here, "db"));
  here.brokers.push_back(
      std::make_unique<simulated_broker>(here.outside, broker_settings{"127.0.0.2:8080"}));
  here.outside.at("c3").nodes["stray"] = stranger();
  here.pass(two_listings);
  CHECK_FALSE(here.brokers[1]->active());
  CHECK(here.brokers[1]->orphans().empty());
  auto came = here.brokers[1]->remove_orphan("c3", "stray");
  here.pass(1s);
  REQUIRE(came->has_value());
  CHECK((*came)->is == verdict_kind::unavailable);
}

TEST_CASE("a cell with any sign of life is not forgotten") {
  stage here(4);
  REQUIRE(make(here, "db"));
  auto cell = any_cell_of(here.outside, "db");
  CHECK_FALSE(forget(here, "nowhere").known);
  CHECK(contains(forget(here, cell).refused, "it answers"));
  here.outside.at(cell).orders = here.outside.at(cell).health = manner::away;
  here.pass(10s);
  CHECK(contains(forget(here, cell).refused, "is alive in etcd"));
  here.outside.lose(cell, 0s);
  here.outside.etcd.put(keys::cell(cell), "{}");
  here.pass(1s);
  CHECK(contains(forget(here, cell).refused, "lease"));
  here.outside.etcd.erase(keys::cell(cell));
  here.pass(1s);
  CHECK(forget(here, cell).refused.empty());
}

TEST_CASE("a forgotten cell's nodes are replaced at once, without confirmed removals") {
  stage here(4);
  REQUIRE(make(here, "db"));
  auto cell = any_cell_of(here.outside, "db");
  auto node = here.outside.at(cell).nodes.begin()->first;
  here.outside.lose(cell, 0s);
  here.pass(10s);
  auto report = forget(here, cell);
  REQUIRE(report.entries.size() == 1);
  CHECK(report.entries[0].node_id == node);
  CHECK_FALSE(report.entries[0].buried);
  CHECK(report.entries[0].why.empty());
  REQUIRE(here.pass_until(
      [&] {
        return recorded_nodes(here.outside, "db").size() == 2
               && here.outside.running_nodes("db") == 2
               && here.outside.record_of("db")->living.find_node(node) == nullptr;
      },
      30s));
  CHECK(here.outside.etcd.contains(keys::grave(cell, node)));
  // The cell comes back after all: its nodes' graves tell what to remove.
  here.outside.at(cell).orders = here.outside.at(cell).health = manner::well;
  CHECK(here.pass_until([&] { return !here.outside.at(cell).nodes.contains(node); }, two_listings));
}

TEST_CASE("a deprovision that waits for a lost cell ends when the cell is forgotten") {
  stage here(4);
  REQUIRE(make(here, "db"));
  auto cell = any_cell_of(here.outside, "db");
  here.outside.lose(cell, 0s);
  here.pass(10s);
  here.ask(deprovision("db"));
  REQUIRE(finish(here, "db"));
  CHECK(here.outside.record_of("db")->current.state == model::operation_state::failed);
  auto report = forget(here, cell);
  REQUIRE(report.entries.size() == 1);
  CHECK(report.entries[0].buried);
  CHECK(here.pass_until([&] { return leftovers(here.outside, "db").empty(); }, 30s));
}

TEST_CASE("an instance can be made again after a forgotten cell came back with its old nodes") {
  stage here(4);
  REQUIRE(make(here, "db"));
  auto cell = any_cell_of(here.outside, "db");
  here.outside.lose(cell, 0s);
  here.pass(10s);
  here.ask(deprovision("db"));
  REQUIRE(finish(here, "db"));
  forget(here, cell);
  REQUIRE(here.pass_until([&] { return leftovers(here.outside, "db").empty(); }, 30s));
  here.outside.bring_back(cell);
  CHECK(here.outside.etcd.contains(keys::initialize("db")));
  REQUIRE(here.pass_until([&] { return here.outside.nodes_of("db").empty(); }, two_listings));
  here.pass(1min);
  CHECK(make(here, "db"));
  CHECK(cells_agree(here.outside, "db"));
}

TEST_CASE("a forgotten cell stays forgotten when the broker is started again") {
  stage here(4);
  REQUIRE(make(here, "db"));
  auto cell = any_cell_of(here.outside, "db");
  here.outside.lose(cell, 0s);
  here.pass(10s);
  forget(here, cell);
  here.restart();
  CHECK(here.pass_until(
      [&] {
        auto nodes = recorded_nodes(here.outside, "db");
        return nodes.size() == 2 && here.outside.running_nodes("db") == 2
               && std::ranges::none_of(nodes, [&](const auto& n) { return n.cell == cell; });
      },
      60s));
}

TEST_CASE(
    "tombstones are cleared after a week, and graves when their cell no longer lists the node") {
  stage here;
  here.outside.at("c2").foreign = true;
  here.outside.at("c1").nodes["n3"] = stranger();
  auto now = here.outside.now();
  auto bury = [&](const std::string& cell, const std::string& node, model::duration ago) {
    here.outside.etcd.put(keys::grave(cell, node), store::encode_grave({"db", now - ago}));
  };
  bury("c1", "n1", 23h);
  bury("c1", "n2", 25h);
  bury("c1", "n3", 25h); // its cell runs the node again
  bury("c2", "n4", 24h * 364);
  bury("c2", "n5", 24h * 366);
  here.outside.etcd.put(keys::tombstone("old"), store::encode_tombstone({"old", "op", now - 169h}));
  here.outside.etcd.put(keys::tombstone("new"), store::encode_tombstone({"new", "op", now - 167h}));
  here.restart();
  here.pass(two_listings);
  auto left = [&](const std::string& cell, const std::string& node) {
    return here.outside.etcd.contains(keys::grave(cell, node));
  };
  CHECK(left("c1", "n1"));
  CHECK_FALSE(left("c1", "n2"));
  CHECK(left("c1", "n3"));
  CHECK_FALSE(here.outside.at("c1").nodes.contains("n3"));
  CHECK(left("c2", "n4"));
  CHECK_FALSE(left("c2", "n5"));
  CHECK_FALSE(here.outside.etcd.contains(keys::tombstone("old")));
  CHECK(here.outside.etcd.contains(keys::tombstone("new")));
}

TEST_CASE("tombstones and graves of a later release's format are left unchanged") {
  stage here;
  const std::string more = R"(,"format":3,"min_reader":3})";
  auto now = here.outside.now();
  auto grave = R"({"scope":"db","buried_at":)" + std::to_string(now.time_since_epoch().count() / 2);
  auto tombstone = R"({"instance_id":"old","operation_id":"op","removed_at":1)";
  here.outside.etcd.put(keys::grave("c1", "n1"), grave + "}");
  here.outside.etcd.put(keys::grave("c1", "n2"), grave + more);
  here.outside.etcd.put(keys::tombstone("old"), tombstone + std::string{"}"});
  here.outside.etcd.put(keys::tombstone("later"), tombstone + more);
  here.restart();
  here.pass(two_listings);
  CHECK_FALSE(here.outside.etcd.contains(keys::grave("c1", "n1")));
  CHECK(here.outside.etcd.value(keys::grave("c1", "n2")) == grave + more);
  CHECK_FALSE(here.outside.etcd.contains(keys::tombstone("old")));
  CHECK(here.outside.etcd.value(keys::tombstone("later")) == tombstone + more);
}

TEST_CASE("one clearing erases any number of old tombstones and graves") {
  stage here;
  auto now = here.outside.now();
  for (int i = 0; i < 350; ++i) {
    auto number = std::to_string(i);
    auto age = i % 3 == 0 ? 1h : 1000h;
    here.outside.etcd.put(keys::tombstone("t" + number),
                          store::encode_tombstone({"t" + number, "op", now - age}));
    here.outside.etcd.put(keys::grave("c1", "n" + number), store::encode_grave({"db", now - age}));
  }
  here.restart();
  here.pass(two_listings);
  CHECK(here.outside.etcd.range(store::keys_below(keys::tombstones)).size() == 117);
  CHECK(here.outside.etcd.range(store::keys_below(keys::graves_on("c1"))).size() == 117);
}

TEST_CASE("each of many nodes without a record is judged by its own grave") {
  stage here;
  for (int i = 0; i < 230; ++i) {
    auto node = "stray" + std::to_string(i);
    here.outside.at("c3").nodes[node] = stranger();
    if (i % 2 == 0)
      here.outside.etcd.put(keys::grave("c3", node),
                            store::encode_grave({"other", here.outside.now()}));
  }
  here.restart();
  here.pass(two_listings);
  CHECK(here.broker().orphans().size() == 115);
}

TEST_CASE("a cell that does not remember removals is asked again after a late start") {
  stage here;
  auto& cell = here.outside.at("c1");
  cell.foreign = true;
  cell.transit = 17s; // the answer is too late; the start itself arrives after the removal
  here.ask(provision("db"));
  REQUIRE(here.outside.record_of("db"));
  here.pass(12s);
  cell.transit = 0s; // the removal is faster than the start
  REQUIRE(finish(here, "db"));
  CHECK(succeeded(here.outside, "db"));
  here.pass(2min);
  CHECK(cells_agree(here.outside, "db"));
  CHECK(here.outside.at("c1").nodes.empty());
}
