#include <doctest/doctest.h>

#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "checks.hpp"
#include "router/port_table.hpp"
#include "router/routing_table.hpp"

namespace matriarch::router {

namespace {

std::string record(const std::string& scope, const std::string& phase,
                   const std::vector<std::string>& nodes) {
  std::string list;
  for (const auto& node : nodes)
    list += (list.empty() ? "" : ",") + (R"({"node_id":")" + node + R"("})");
  return R"({"scope":")" + scope + R"(","phase":")" + phase + R"(","nodes":[)" + list + "]}";
}

std::string member(const std::string& host) {
  return R"({"conn_url":"postgres://)" + host + R"(:5432/postgres","api_url":"http://)" + host
         + R"(:8008/patroni","state":"running","role":"master"})";
}

/// One instance `a` on port 30001 with the nodes n1 and n2.
routing_table one_instance() {
  routing_table table{known_engines};
  table.put("/routing/allocation/a", "30001");
  table.put("/service/a/state", record("a", "accepted", {"n1", "n2"}));
  table.put("/service/a/members/n2", member("127.0.1.2"));
  table.put("/service/a/members/n1", member("127.0.1.1"));
  return table;
}

const route served_one{"a",
                       "a",
                       30001,
                       {{"n1", {"127.0.1.1", 5432}, {"127.0.1.1", 8008}, false},
                        {"n2", {"127.0.1.2", 5432}, {"127.0.1.2", 8008}, false}},
                       0,
                       &known_engines.usual(),
                       a_check().usual_connections};

bool list_all(routing_table& table, const std::vector<std::pair<std::string, std::string>>& all) {
  table.begin_listing();
  for (const auto& [key, value] : all)
    table.list(key, value);
  return table.end_listing();
}

} // namespace

TEST_CASE("a route has the max_connections that all its members certainly have") {
  auto table = one_instance();
  auto record_says = [&](const std::string& settings) {
    table.put("/service/a/state",
              R"({"scope":"a","phase":"accepted","nodes":[{"node_id":"n1"},{"node_id":"n2"}])"
                  + settings + "}");
    return table.current().served.at(0).max_connections;
  };
  auto patroni_says = [&](const std::string& parameters) {
    CHECK_FALSE(parameters.empty());
    table.put("/service/a/config", R"({"ttl":30,"postgresql":{"parameters":)" + parameters + "}}");
    return table.current().served.at(0).max_connections;
  };
  auto in_force = [](const std::string& value) {
    return R"(,"in_force":{"parameters":{"max_connections":")" + value + R"("}})";
  };
  CHECK(record_says("") == 100);
  CHECK(record_says(in_force("300")) == 300);
  CHECK(record_says(in_force("many")) == 100);
  CHECK(record_says(in_force("-5")) == 100);
  CHECK(record_says(in_force("9000000")) == 262'143);
  CHECK(record_says(R"(,"in_force":{"parameters":[]})") == 100);
  // A plan without the parameter: the cells' own configuration is in Patroni's.
  CHECK(patroni_says(R"({"max_connections":"40"})") == 40);
  CHECK(patroni_says(R"({"max_connections":50})") == 50);
  // Raised: some node may have the old value until the record has the new one.
  CHECK(record_says(in_force("50")) == 50);
  CHECK(patroni_says(R"({"max_connections":"150"})") == 50);
  CHECK(record_says(in_force("150")) == 150);
  // Lowered to PostgreSQL's default.
  CHECK(patroni_says("{}") == 100);
  CHECK(record_says("") == 100);
}

TEST_CASE("routers are counted by their keys in etcd") {
  auto table = one_instance();
  CHECK(table.routers() == 0);
  CHECK(table.put("/routers/a", "{}"));
  CHECK_FALSE(table.put("/routers/a", R"({"serves":"7"})"));
  CHECK(table.put("/routers/b", "{}"));
  CHECK(table.routers() == 2);
  table.put("/routers/b", R"({"id":"b","serves":"7"})");
  CHECK(table.has_router("b"));
  CHECK_FALSE(table.has_router("c"));
  CHECK(table.others_serve("a", 7));
  CHECK_FALSE(table.others_serve("a", 8));
  CHECK_FALSE(table.others_serve("b", 7)); // a reports no revision
  table.put("/routers/a", R"({"id":"a","serves":"7"})");
  CHECK(table.others_serve("b", 7));
  CHECK(table.erase("/routers/a"));
  CHECK(table.routers() == 1);
  CHECK(list_all(table, {}));
  CHECK(table.routers() == 0);
}

TEST_CASE("only changes that a broker waits for are reported at once") {
  auto table = one_instance();
  CHECK(table.take_news());
  CHECK_FALSE(table.take_news());
  auto is_news = [&](const std::string& key, const std::string& value) {
    (void)table.put(key, value);
    return table.take_news();
  };
  CHECK(is_news("/routing/allocation/a", "30001"));
  CHECK(is_news("/routing/readonly/a", "30002"));
  CHECK(is_news("/routing/port/30001", "{}"));
  CHECK(is_news("/service/a/state", record("a", "accepted", {"n1", "n2"})));
  CHECK(is_news("/service/a/leader", "n1"));
  CHECK_FALSE(is_news("/service/a/members/n1", member("127.0.1.1")));
  // The state changes at the same address.
  CHECK(is_news("/service/a/members/n1",
                R"({"conn_url":"postgres://127.0.1.1:5432/postgres",)"
                R"("api_url":"http://127.0.1.1:8008/patroni","state":"starting"})"));
  CHECK(is_news("/service/a/members/n1", member("127.0.1.1")));
  CHECK_FALSE(is_news("/routers/a", "{}"));
  CHECK_FALSE(is_news("/service/a/status", "{}"));
  CHECK_FALSE(is_news("/service/a/bindings/b", "{}"));
  (void)table.erase("/service/a/leader");
  CHECK(table.take_news());
}

TEST_CASE("an instance is served once it has a port, an accepted record and a member") {
  routing_table table{known_engines};
  CHECK(table.put("/routing/allocation/a", "30001"));
  CHECK(table.current() == routes{});
  CHECK(table.put("/service/a/state", record("a", "accepting", {"n1", "n2"})));
  CHECK(table.put("/service/a/members/n2", member("127.0.1.2")));
  CHECK(table.current() == routes{});
  CHECK(table.put("/service/a/members/n1", member("127.0.1.1")));
  CHECK(table.put("/service/a/state", record("a", "accepted", {"n1", "n2"})));
  CHECK(table.current().served == std::vector<route>{served_one});
}

TEST_CASE("an instance whose removal was accepted is not served, even while its nodes run") {
  auto table = one_instance();
  auto with = [](const std::string& exists) {
    return R"({"scope":"a","phase":"accepted","desired":{)" + exists
           + R"("node_count":2},"nodes":[{"node_id":"n1"},{"node_id":"n2"}]})";
  };
  CHECK_FALSE(table.put("/service/a/state", with(R"("exists":true,)")));
  CHECK_FALSE(table.put("/service/a/state", with("")));
  CHECK(table.put("/service/a/state", with(R"("exists":false,)")));
  CHECK(table.current().served.empty());
}

TEST_CASE("keys that concern no route change nothing") {
  auto table = one_instance();
  CHECK_FALSE(table.put("/service/a/members/n1", member("127.0.1.1")));
  CHECK_FALSE(table.put("/service/a/members/n1",
                        R"({"conn_url":"postgres://127.0.1.1:5432/postgres",)"
                        R"("api_url":"http://127.0.1.1:8008/patroni","xlog_location":7})"));
  CHECK_FALSE(table.put("/service/a/state", record("a", "accepted", {"n2", "n1"})));
  CHECK_FALSE(table.put("/routing/allocation/a", "30001"));
  CHECK_FALSE(table.put("/service/a/status", "{}"));
  CHECK_FALSE(table.put("/service/a/bindings/b", "{}"));
  CHECK_FALSE(table.put("/routing/nextport", "30002"));
  CHECK_FALSE(table.erase("/service/b/state"));
}

TEST_CASE("a record of the seeds, without scope and phase, is served") {
  auto table = one_instance();
  CHECK_FALSE(table.put("/service/a/state", R"({"nodes":[{"node_id":"n1"},{"node_id":"n2"}]})"));
  CHECK(table.current().served == std::vector<route>{served_one});
}

TEST_CASE("the members are those of the record's scope") {
  auto table = one_instance();
  table.put("/service/a2/members/m1", member("127.0.2.1"));
  CHECK(table.current().served[0].members.size() == 2);
  CHECK(table.put("/service/a/state", record("a2", "accepted", {"m1"})));
  auto served = table.current().served;
  REQUIRE(served.size() == 1);
  CHECK(served[0].instance == "a");
  CHECK(served[0].scope == "a2");
  REQUIRE(served[0].members.size() == 1);
  CHECK(served[0].members[0].name == "m1");
}

TEST_CASE("an instance without its record or its allocation is not served") {
  auto table = one_instance();
  CHECK(table.erase("/service/a/state"));
  CHECK(table.current() == routes{});
  table = one_instance();
  CHECK(table.erase("/routing/allocation/a"));
  CHECK(table.current() == routes{});
}

TEST_CASE("a member without its key stays while the record lists its node") {
  auto table = one_instance();
  CHECK_FALSE(table.erase("/service/a/members/n1"));
  CHECK(table.current().served == std::vector<route>{served_one});
  CHECK(table.put("/service/a/state", record("a", "accepted", {"n2"})));
  REQUIRE(table.current().served.size() == 1);
  CHECK(table.current().served[0].members.size() == 1);
}

TEST_CASE("a member that no record lists is not routed to") {
  auto table = one_instance();
  table.put("/service/a/members/stranger", member("127.0.9.9"));
  CHECK(table.current().served == std::vector<route>{served_one});
  table.put("/service/a/state", record("a", "accepted", {"n2"}));
  REQUIRE(table.current().served.size() == 1);
  REQUIRE(table.current().served[0].members.size() == 1);
  CHECK(table.current().served[0].members[0].name == "n2");
}

TEST_CASE("members that no record lists change nothing, and few of them are kept") {
  auto table = one_instance();
  CHECK(table.take_changes() == std::set<std::string>{"a"});
  (void)table.take_news();
  const auto value = member("127.0.9.9");
  auto name = [](int i) { return "crowd-" + std::to_string(i); };
  CHECK_FALSE(table.put("/service/a/members/passing", value));
  CHECK_FALSE(table.erase("/service/a/members/passing"));
  for (int i = 0; i < 100'000; ++i) {
    REQUIRE_FALSE(table.put("/service/a/members/" + name(i), value));
    REQUIRE_FALSE(table.take_news());
    REQUIRE(table.take_changes().empty());
  }
  CHECK(table.unread().empty());
  CHECK(table.current().served == std::vector<route>{served_one});
  CHECK(table.put("/service/a/members/n1", member("127.0.1.9")));
  CHECK(table.current().served.at(0).members.at(0).database.host == "127.0.1.9");

  INFO("a record that lists them tells how many were kept");
  std::vector<std::string> names;
  for (int i = 0; i < 1'000; ++i)
    names.push_back(name(i));
  table.put("/service/a/state", record("a", "accepted", names));
  CHECK(table.unread().size() >= 900);
  CHECK(table.unread().size() < 1'000);
}

TEST_CASE("a member that was not kept among too many is read again once a record lists it") {
  const std::string key = "/service/a/members/n1";
  std::vector<std::pair<std::string, std::string>> all{{"/routing/allocation/a", "30001"}};
  for (int i = 0; i < 150; ++i)
    all.emplace_back("/service/a/members/a" + std::to_string(i), member("127.0.9.9"));
  all.emplace_back(key, member("127.0.1.1"));
  all.emplace_back("/service/a/members/n2", member("127.0.1.2"));
  const auto without_record = all;
  all.emplace_back("/service/a/state", record("a", "accepted", {"n1"}));

  routing_table table{known_engines};
  list_all(table, all);
  CHECK(table.current().served.empty());
  CHECK(table.unread() == std::set<std::string>{key});
  CHECK(table.put_read(key, member("127.0.1.1")));
  CHECK(table.unread().empty());
  REQUIRE(table.current().served.size() == 1);
  CHECK(table.current().served[0].members.at(0).name == "n1");

  INFO("once the record is known, a listing is enough");
  CHECK_FALSE(list_all(table, all));
  CHECK(table.unread().empty());
  CHECK(table.current().served.size() == 1);

  INFO("a value that was read and has changed since is ignored");
  table.put("/service/a/state", record("a", "accepted", {"n1", "n2"}));
  REQUIRE(table.unread() == std::set<std::string>{"/service/a/members/n2"});
  CHECK(table.put("/service/a/members/n2", member("127.0.1.9")));
  CHECK_FALSE(table.put_read("/service/a/members/n2", member("127.0.1.2")));
  CHECK(table.current().served.at(0).members.at(1).database.host == "127.0.1.9");
  table.put("/service/a/state", record("a", "accepted", {"n1", "n2", "n3"}));
  table.erase("/service/a/members/n3");
  CHECK_FALSE(table.put_read("/service/a/members/n3", member("127.0.1.3")));

  INFO("a member without a key that comes later");
  table.put("/service/a/state", record("a", "accepted", {"n1", "n4"}));
  CHECK(table.unread() == std::set<std::string>{"/service/a/members/n4"});
  CHECK_FALSE(table.put_read("/service/a/members/n4", std::nullopt));
  CHECK(table.unread().empty());
  CHECK(table.put("/service/a/members/n4", member("127.0.1.4")));
  CHECK(table.current().served.at(0).members.size() == 2);

  INFO("members of another scope, listed before the instance's record");
  routing_table other{known_engines};
  list_all(other, without_record);
  other.put("/routing/allocation/b", "30002");
  other.put("/service/b/state", record("a", "accepted", {"n2"}));
  CHECK(other.unread() == std::set<std::string>{"/service/a/members/n2"});
}

TEST_CASE("a member is forgotten with its key once no record lists it") {
  auto table = one_instance();
  table.erase("/service/a/members/n1");
  table.put("/service/a/state", record("a", "accepted", {"n2"}));
  table.put("/service/a/state", record("a", "accepted", {"n1", "n2"}));
  CHECK(table.current().served.at(0).members.size() == 1);
}

TEST_CASE("a member's name is as long as a node's can be") {
  auto table = one_instance();
  for (auto size : {std::size_t{128}, std::size_t{129}}) {
    const std::string name(size, 'n');
    table.put("/service/a/state", record("a", "accepted", {name}));
    CHECK(table.put("/service/a/members/" + name, member("127.0.1.1")) == (size == 128));
    CHECK(table.current().served.size() == (size == 128 ? 1U : 0U));
  }
}

TEST_CASE("a node is routed to where the record says, whatever its member key says") {
  auto with = [](const std::string& places) {
    auto table = one_instance();
    table.put("/service/a/state", R"({"scope":"a","phase":"accepted","nodes":[{"node_id":"n1")"
                                      + places + R"(},{"node_id":"n2"}]})");
    return table;
  };
  auto registered = with(R"(,"address":"127.0.1.1:5432","patroni_address":"127.0.1.1:8008")");
  CHECK(registered.current().served == std::vector<route>{served_one});
  registered.put("/service/a/members/n1", member("127.9.9.9"));
  CHECK(registered.current().served == std::vector<route>{served_one});
  registered.erase("/service/a/members/n1");
  CHECK(registered.current().served == std::vector<route>{served_one});

  INFO("a node whose cell has not reported has no address; its instance counts as unserved");
  auto waiting = with(R"(,"address":"","patroni_address":"")");
  REQUIRE(waiting.current().served.size() == 1);
  REQUIRE(waiting.current().served[0].members.size() == 1);
  CHECK(waiting.current().served[0].members[0].name == "n2");
  REQUIRE(waiting.current().unserved.size() == 1);
  CHECK(waiting.current().unserved[0].instance == "a");
  waiting.put("/service/a/state", R"({"scope":"a","phase":"accepted","nodes":[{"node_id":"n1",)"
                                  R"("address":"","patroni_address":""}]})");
  CHECK(waiting.current().served.empty());
  CHECK(waiting.current().unserved.size() == 1);
  waiting.put("/service/a/state", record("a", "accepted", {"n2"}));
  CHECK(waiting.current().unserved.empty());

  INFO("if a cell does not report Patroni's port, any port on the node's host is accepted");
  auto half = with(R"(,"address":"127.0.1.1:5432","patroni_address":"")");
  CHECK(half.current().served == std::vector<route>{served_one});
  half.put("/service/a/members/n1", member("127.9.9.9"));
  REQUIRE(half.current().served.size() == 1);
  CHECK(half.current().served[0].members.size() == 1);
}

TEST_CASE("a node that its cell calls certified is checked by TLS, whatever its member key says") {
  auto table = one_instance();
  auto record_saying = [](const std::string& more) {
    return R"({"scope":"a","phase":"accepted","nodes":[{"node_id":"n1","address":"127.0.1.1:5432",)"
           R"("patroni_address":"127.0.1.1:8008")"
           + more + "}]}";
  };
  auto first = [&] { return table.current().served.at(0).members.at(0); };
  table.put("/service/a/state", record_saying(""));
  CHECK_FALSE(first().control_has_tls);
  auto by_tls = member("127.0.1.1");
  by_tls.replace(by_tls.find("http://"), 7, "https://");
  CHECK(table.put("/service/a/members/n1", by_tls));
  CHECK(first().control_has_tls);
  CHECK_FALSE(first().is_certified);
  CHECK(table.put("/service/a/state", record_saying(R"(,"patroni_certified":true)")));
  CHECK(first().is_certified);
  table.put("/service/a/members/n1", member("127.0.1.1"));
  CHECK(first().control_has_tls);
  CHECK(first().is_certified);
  route where = table.current().served.at(0);
  CHECK(ports_of(where, "n1", {}, 1).at(where.port)->servers.at(0).certified_as == "n1");
}

TEST_CASE("the fleet's authority stays known after its key was deleted") {
  routing_table table{known_engines};
  CHECK(table.authority().empty());
  CHECK(table.put("/routing/authority", "PEM"));
  CHECK_FALSE(table.put("/routing/authority", "PEM"));
  CHECK_FALSE(table.erase("/routing/authority"));
  CHECK(table.authority() == "PEM");
}

TEST_CASE("a member that is back at another address is served there") {
  auto table = one_instance();
  table.erase("/service/a/members/n1");
  CHECK(table.put("/service/a/members/n1", member("127.0.1.9")));
  CHECK(table.current().served[0].members[0].database.host == "127.0.1.9");
}

TEST_CASE("a key that a full listing does not contain is gone") {
  auto table = one_instance();
  table.put("/routing/allocation/b", "30002");
  table.put("/service/b/state", record("b", "accepted", {"m"}));
  table.put("/service/b/members/m", member("127.0.1.3"));
  CHECK(table.current().served.size() == 2);
  std::vector<std::pair<std::string, std::string>> all = {
      {"/routing/allocation/a", "30001"},
      {"/service/a/state", record("a", "accepted", {"n1", "n2"})},
      {"/service/a/members/n2", member("127.0.1.2")}};
  CHECK(list_all(table, all));
  CHECK(table.current().served == std::vector<route>{served_one});
  CHECK_FALSE(list_all(table, all));
}

TEST_CASE("an incomplete listing does not show which keys are gone") {
  auto table = one_instance();
  table.begin_listing();
  table.list("/routing/allocation/b", "30002");
  CHECK(table.current().served == std::vector<route>{served_one});
  table.begin_listing();
  table.list("/routing/allocation/a", "30001");
  table.list("/service/a/state", record("a", "accepted", {"n1", "n2"}));
  table.list("/service/a/members/n2", member("127.0.1.2"));
  CHECK(table.end_listing());
  CHECK(table.current() == routes{{served_one}, {}});
}

TEST_CASE("changes from an incomplete listing are reported with the next full one") {
  auto table = one_instance();
  const std::vector<std::pair<std::string, std::string>> all = {
      {"/routing/allocation/a", "30001"},
      {"/routing/allocation/b", "30002"},
      {"/service/a/state", record("a", "accepted", {"n1", "n2"})},
      {"/service/a/members/n1", member("127.0.1.1")},
      {"/service/a/members/n2", member("127.0.1.2")}};
  table.begin_listing();
  for (const auto& [key, value] : all)
    table.list(key, value);
  CHECK(list_all(table, all));
  CHECK_FALSE(list_all(table, all));
}

TEST_CASE("a scope's members stay while any instance's record has it") {
  auto table = one_instance();
  table.put("/service/b/state", record("a", "accepted", {"n1", "n2"}));
  table.erase("/service/a/members/n2");
  table.erase("/service/a/state");
  table.put("/routing/allocation/b", "30002");
  REQUIRE(table.current().served.size() == 1);
  CHECK(table.current().served[0].instance == "b");
  CHECK(table.current().served[0].members == served_one.members);
  table.erase("/service/b/state");
  table.put("/service/b/state", record("a", "accepted", {"n1", "n2"}));
  CHECK(table.current().served.at(0).members.size() == 1); // n2 had no key any more
}

TEST_CASE("if two instances have the same port, the second is left out") {
  auto table = one_instance();
  table.put("/routing/allocation/b", "30001");
  table.put("/service/b/state", record("b", "accepted", {"m"}));
  table.put("/service/b/members/m", member("127.0.1.3"));
  auto all = table.current();
  CHECK(all.served == std::vector<route>{served_one});
  REQUIRE(all.unserved.size() == 1);
  CHECK(all.unserved[0].instance == "b");
  CHECK(all.unserved[0].port == 30001);
}

TEST_CASE("an allocation that is no port is left out and reported") {
  auto table = one_instance();
  table.put("/routing/allocation/a", "many");
  auto all = table.current();
  CHECK(all.served.empty());
  REQUIRE(all.unserved.size() == 1);
  CHECK(all.unserved[0].instance == "a");
}

TEST_CASE("an instance gets and loses a read-only port") {
  auto table = one_instance();
  CHECK(table.put("/routing/readonly/a", "30002"));
  CHECK_FALSE(table.put("/routing/readonly/a", "30002"));
  auto expected = served_one;
  expected.read_only_port = 30002;
  CHECK(table.current() == routes{{expected}, {}});
  CHECK(table.erase("/routing/readonly/a"));
  CHECK(table.current() == routes{{served_one}, {}});
  table.put("/routing/readonly/a", "30002");
  CHECK(list_all(table, {{"/routing/allocation/a", "30001"},
                         {"/service/a/state", record("a", "accepted", {"n1", "n2"})}}));
  CHECK(table.current() == routes{{served_one}, {}});
}

TEST_CASE("a held-back replica gets no read-only sessions, but all once it is the leader") {
  auto table = one_instance();
  table.put("/routing/readonly/a", "30002");
  table.put("/service/a/leader", "n1");
  table.put("/service/a/state", R"({"scope":"a","phase":"accepted","nodes":[{"node_id":"n1"},)"
                                R"({"node_id":"n2","held_back":true}]})");
  auto at = [&](std::uint16_t port, const std::string& leader) {
    return ports_of(table.current().served.at(0), leader, {}, 1).at(port);
  };
  auto servers_at = [&](std::uint16_t port, const std::string& leader) {
    return at(port, leader)->servers.size();
  };
  CHECK(servers_at(30001, "n1") == 2);
  CHECK(at(30001, "n1")->held.empty());
  CHECK(servers_at(30002, "n1") == 1);
  CHECK(at(30002, "n1")->held.size() == 1);
  CHECK(servers_at(30002, "n2") == 2);
  CHECK(at(30002, "n2")->held.empty());
  table.put("/service/a/state", record("a", "accepted", {"n1", "n2"}));
  CHECK(servers_at(30002, "n1") == 2);
}

TEST_CASE("a read-only port alone serves nothing") {
  auto table = one_instance();
  table.put("/routing/readonly/a", "30002");
  table.erase("/routing/allocation/a");
  CHECK(table.current() == routes{});
  CHECK_FALSE(table.put("/routing/readonly/a/b", "30003"));
}

TEST_CASE("an invalid read-only port is left out, and the first port is served") {
  auto table = one_instance();
  table.put("/routing/allocation/b", "30002");
  table.put("/service/b/state", record("b", "accepted", {"m"}));
  table.put("/service/b/members/m", member("127.0.1.3"));
  for (const auto* port : {"30001", "30002", "many"}) {
    table.put("/routing/readonly/a", port);
    auto all = table.current();
    CHECK(all.served.size() == 2);
    CHECK(all.served[0] == served_one);
    REQUIRE(all.unserved.size() == 1);
    CHECK(all.unserved[0].instance == "a");
  }
}

TEST_CASE("a changed key affects its instance and those that want the same ports") {
  using names = std::set<std::string>;
  auto table = one_instance();
  for (const auto* name : {"b", "c"}) {
    const std::string instance = name;
    table.put("/routing/allocation/" + instance, instance == "b" ? "30003" : "30005");
    table.put("/routing/readonly/" + instance, "30006");
    table.put("/service/" + instance + "/state", record(instance, "accepted", {"m"}));
    table.put("/service/" + instance + "/members/m", member("127.0.2.1"));
  }
  CHECK(table.take_changes() == names{"a", "b", "c"});
  CHECK(table.take_changes().empty());
  CHECK(table.of("b").served->read_only_port == 30006);
  CHECK(table.of("c").unserved.size() == 1);

  table.put("/service/a/members/n1", member("127.0.1.9"));
  table.put("/service/a/leader", "n1");
  table.put("/service/c/status", "{}");
  CHECK(table.take_changes() == names{"a"});
  CHECK(table.of("a").served->members.at(0).database.host == "127.0.1.9");
  table.put("/service/a/config", R"({"postgresql":{"parameters":{"max_connections":40}}})");
  CHECK(table.take_changes() == names{"a"});

  INFO("a takes b's first port, so b loses its second port to c");
  table.put("/routing/allocation/a", "30003");
  CHECK(table.take_changes() == names{"a", "b", "c"});
  CHECK_FALSE(table.of("b").served);
  CHECK(table.of("c").served->read_only_port == 30006);
  CHECK(table.of("c").unserved.empty());
  table.erase("/routing/allocation/a");
  CHECK(table.take_changes() == names{"a", "b", "c"});
  CHECK(table.of("a") == served_instance{});
  CHECK(table.of("b").served->read_only_port == 30006);
}

TEST_CASE("keys one by one give the same table as all keys together") {
  const std::vector<std::string> names{"a", "b", "c", "d", "e"};
  const std::vector<std::string> ports{"30001", "30002", "30003", "many"};
  std::mt19937 random{4711};
  auto any = [&](const auto& of) { return of[random() % of.size()]; };
  for (int round = 0; round < 50; ++round) {
    routing_table one_by_one{known_engines};
    routing_table together{known_engines};
    std::map<std::string, served_instance> followed;
    for (int step = 0; step < 60; ++step) {
      const auto name = any(names);
      const auto scope = any(names);
      const std::vector<std::pair<std::string, std::string>> entries{
          {"/routing/allocation/" + name, any(ports)},
          {"/routing/readonly/" + name, any(ports)},
          {"/service/" + name + "/state", record(scope, "accepted", {"n1", "n2"})},
          {"/service/" + name + "/state",
           R"({"nodes":[{"node_id":"n1","address":""},{"node_id":"n2","held_back":true}]})"},
          {"/service/" + name + "/members/n" + std::to_string(random() % 3), member(scope)},
          {"/service/" + name + "/config", "{}"}};
      const auto [key, value] = any(entries);
      const auto is_put = random() % 3 != 0;
      for (auto* table : {&one_by_one, &together})
        is_put ? table->put(key, value) : table->erase(key);
      for (const auto& instance : one_by_one.take_changes())
        if (one_by_one.of(instance) == served_instance{})
          followed.erase(instance);
        else
          followed[instance] = one_by_one.of(instance);
    }
    CHECK(one_by_one.current() == together.current());
    CHECK(followed == together.instances());
  }
}

TEST_CASE("values that cannot be read are no members and no accepted records") {
  auto table = one_instance();
  table.put("/service/a/members/n1", "{");
  table.put("/service/a/members/n2", R"({"conn_url":"postgres://x y:1/","api_url":"http://h:1"})");
  CHECK(table.current() == routes{});
  table = one_instance();
  table.put("/service/a/state", "[]");
  CHECK(table.current() == routes{});
}

TEST_CASE("a record with a too high min_reader leaves the ports unchanged, and is reported") {
  auto ahead = record("other", "accepting", {"n9"});
  ahead.insert(ahead.size() - 1, R"(,"format":99,"min_reader":99)");
  auto table = one_instance();
  (void)table.take_changes();
  CHECK(table.put("/service/a/state", ahead));
  CHECK_FALSE(table.put("/service/a/state", ahead));
  CHECK(table.take_changes() == std::set<std::string>{"a"});
  CHECK(table.of("a").stay == std::vector<std::uint16_t>{30001});
  CHECK_FALSE(table.of("a").served);
  REQUIRE(table.of("a").unserved.size() == 1);
  CHECK(table.of("a").unserved[0].port == 30001);
  CHECK(table.of("a").unserved[0].reason.find("format 99") != std::string::npos);
  INFO("its member keys and leaders change nothing either");
  table.put("/service/a/members/n1", member("127.0.1.7"));
  CHECK(table.of("a").stay == std::vector<std::uint16_t>{30001});
  INFO("a readable record is served again, also if it is unchanged");
  CHECK(table.put("/service/a/state", record("a", "accepted", {"n1", "n2"})));
  CHECK(table.take_changes() == std::set<std::string>{"a"});
  CHECK(table.of("a").served);
  CHECK(table.of("a").stay.empty());
}

TEST_CASE("a deleted record with a too high min_reader leaves nothing behind") {
  auto ahead = record("a", "accepted", {"n1"});
  ahead.insert(ahead.size() - 1, R"(,"min_reader":99)");
  routing_table table{known_engines};
  INFO("an instance whose record this router has never read");
  CHECK(list_all(table, {{"/routing/allocation/a", "30001"}, {"/service/a/state", ahead}}));
  CHECK(table.take_changes() == std::set<std::string>{"a"});
  CHECK(table.of("a").stay == std::vector<std::uint16_t>{30001});
  CHECK(table.erase("/service/a/state"));
  CHECK(table.take_changes() == std::set<std::string>{"a"});
  CHECK(table.of("a") == served_instance{});
  table.put("/service/a/state", ahead);
  CHECK(list_all(table, {{"/routing/allocation/a", "30001"}}));
  (void)table.take_changes();
  CHECK(table.of("a") == served_instance{});
}

TEST_CASE("a new leader is a change, a missing leader is none") {
  auto table = one_instance();
  CHECK_FALSE(table.put("/service/a/leader", "n1"));
  CHECK(table.take_leader_changes() == std::vector<leader_change>{{"a", "", "n1"}});
  CHECK(table.take_leader_changes().empty());
  table.put("/service/a/leader", "n1");
  table.erase("/service/a/leader");
  table.put("/service/a/leader", "n1");
  CHECK(table.take_leader_changes().empty());
  table.erase("/service/a/leader");
  CHECK(table.leader("a") == "n1");
  table.put("/service/a/leader", "n2");
  CHECK(table.take_leader_changes() == std::vector<leader_change>{{"a", "n1", "n2"}});
}

TEST_CASE("a leader that changed between listings is found by the next one") {
  auto table = one_instance();
  table.put("/service/a/leader", "n1");
  (void)table.take_leader_changes();
  list_all(table, {{"/routing/allocation/a", "30001"},
                   {"/service/a/state", record("a", "accepted", {"n1", "n2"})},
                   {"/service/a/leader", "n2"}});
  CHECK(table.take_leader_changes() == std::vector<leader_change>{{"a", "n1", "n2"}});
}

} // namespace matriarch::router
