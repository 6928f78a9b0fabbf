// A tenant who controls a node's Patroni can write its member key. Nothing may connect to the
// address in it.
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

std::string member_at(const std::string& host) {
  return "{\"state\":\"running\",\"api_url\":\"http://" + host
         + ":8008/patroni\",\"conn_url\":\"postgres://" + host + ":5432/postgres\"}";
}

/// Gives every node's member key a false address.
void lie(stage& here, const std::string& name) {
  here.outside.lie(name);
  here.pass(1s);
}

bool all_recorded(const world& outside, const std::string& name) {
  auto nodes = recorded_nodes(outside, name);
  return !nodes.empty() && std::ranges::all_of(nodes, [](const auto& n) {
    return n.address == n.node_id + ":5432" && n.control_address == n.node_id + ":8008";
  });
}

/// Makes the record look like an earlier release's, without addresses.
void forget_addresses(stage& here, const std::string& name) {
  auto known = *here.outside.record_of(name);
  for (auto& n : known.living.nodes) {
    n.address.reset();
    n.control_address.clear();
  }
  here.outside.etcd.put(keys::record(name), store::encode_record(known, store::keyring{}));
}

} // namespace

TEST_CASE("a node's address is in the record as soon as its cell has started it") {
  stage here;
  REQUIRE(make(here, "db"));
  CHECK(all_recorded(here.outside, "db"));
}

TEST_CASE("bindings, switchovers and settings go where the record says, whatever members say") {
  stage here;
  REQUIRE(make(here, "db"));
  lie(here, "db");
  CHECK(here.ask(bind("db", "b1")).is == verdict_kind::created);
  CHECK(here.outside.roles_of("db").password_of.size() == 1);
  auto before = here.outside.leader_of("db");
  auto cell = here.outside.record_of("db")->living.find_node(before)->cell;
  here.broker().demote(cell);
  here.pass(20s);
  CHECK(here.outside.leader_of("db") != before);
}

TEST_CASE("a member that is in no record is never connected to, even if it leads") {
  stage here;
  REQUIRE(make(here, "db"));
  here.outside.etcd.put(keys::member("db", "stranger"), member_at(here.outside.leader_of("db")));
  here.outside.etcd.put(keys::leader("db"), "stranger");
  here.pass(1s);
  auto asked = bind("db", "b1");
  asked.may_poll = true;
  CHECK(here.ask(asked).is == verdict_kind::accepted);
  CHECK(here.outside.roles_of("db").password_of.empty());
}

TEST_CASE("instances of an earlier release get their addresses from the cells' lists") {
  stage here;
  REQUIRE(make(here, "db"));
  forget_addresses(here, "db");
  here.restart();
  here.pass(5s);
  CHECK(all_recorded(here.outside, "db"));
}

TEST_CASE("the list of a cell that gives addresses nowhere else is asked for at once") {
  stage here;
  for (auto& guid : {"c1", "c2", "c3"})
    here.outside.at(guid).silent_of_places = true;
  REQUIRE(make(here, "db"));
  here.pass(10s);
  CHECK(all_recorded(here.outside, "db"));
}

TEST_CASE("at most a hundred members without a record are kept, whatever a tenant writes") {
  stage here;
  REQUIRE(make(here, "db"));
  constexpr int written = 1'000;
  for (int i = 0; i < written; ++i)
    here.outside.etcd.put(keys::member("db", "a-stranger-" + std::to_string(i)),
                          member_at("10.0.0.9"));
  here.outside.etcd.put(keys::member("db", std::string(10'000, 'a')), member_at("10.0.0.9"));
  here.pass(1s);
  auto known = here.broker().find("db");
  REQUIRE(known);
  constexpr std::size_t most = 100 + 2 * 2; // the two nodes, and as many strangers
  CHECK(known->seen.members.size() <= most);
  for (const auto& n : recorded_nodes(here.outside, "db"))
    CHECK(known->seen.members.contains(n.node_id));
  // Also if the strangers come first, in a listing.
  here.broker().list_again();
  here.pass(1s);
  known = here.broker().find("db");
  CHECK(known->seen.members.size() <= most);
  for (const auto& n : recorded_nodes(here.outside, "db"))
    CHECK(known->seen.members.contains(n.node_id));
  CHECK(here.ask(bind("db", "b1")).is == verdict_kind::created);
}
