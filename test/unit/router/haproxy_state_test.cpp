#include <doctest/doctest.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "checks.hpp"
#include "router/haproxy_config.hpp"
#include "router/haproxy_state.hpp"
#include "router/old_sessions.hpp"

namespace matriarch::router {

namespace {

slot_content at(int host) {
  auto address = "127.0.1." + std::to_string(host);
  return {{address, 5432}, {address, 8008}};
}

/// The same for a node whose Patroni has a certificate.
slot_content certified(int host) {
  auto one = at(host);
  one.control_has_tls = true;
  one.certified_as = "node-" + std::to_string(host);
  return one;
}

/// The command that makes a server's checks use the relay.
std::string by_relay(const std::string& slot) {
  auto relay = relay_of("/d");
  return "set server " + slot + " check-addr " + relay.host + " port " + std::to_string(relay.port);
}

/// A port that leads to the leader of the scope a.
wanted_port leading(std::vector<slot_content> servers, std::optional<slot_content> leader = {}) {
  wanted_port one;
  one.instance = one.scope = "a";
  one.check = leader_check;
  one.servers = std::move(servers);
  one.leader = std::move(leader);
  return one;
}

wanted_port reading(std::vector<slot_content> servers, std::optional<slot_content> leader = {}) {
  auto one = leading(std::move(servers), std::move(leader));
  one.check = replica_check;
  one.to_leader = false;
  one.fallback = 30001;
  return one;
}

port_table table(std::vector<std::pair<std::uint16_t, wanted_port>> ports) {
  port_table all;
  for (auto& [port, one] : ports)
    all.emplace(port, std::make_shared<const wanted_port>(std::move(one)));
  return all;
}

/// HAProxy's state once unused ports are closed.
proxy_state closed(int slots = 2) {
  auto state = empty_state({{30001, {true, slots}}, {30002, {true, slots}}});
  (void)bring_about({}, state, "/d");
  return state;
}

std::vector<std::string> commands(const port_changes& changes) {
  std::vector<std::string> all;
  for (const auto& line : changes.lines)
    for (auto rest = std::string_view{line.text}; !rest.empty();) {
      auto end = std::min(rest.find(';'), rest.size());
      all.emplace_back(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  return all;
}

/// The ports for which this is true.
std::set<std::uint16_t> ports_where(bool (*is_so)(const port_state&), const proxy_state& state) {
  std::set<std::uint16_t> ports;
  for (const auto& [port, one] : state)
    if (is_so(one))
      ports.insert(port);
  return ports;
}
std::set<std::uint16_t> unsettled(const proxy_state& state) {
  return ports_where(is_unsettled, state);
}
std::set<std::uint16_t> holding(const proxy_state& state) {
  return ports_where(is_holding, state);
}

std::ptrdiff_t place_of(const std::vector<std::string>& all, const std::string& command) {
  auto found = std::find(all.begin(), all.end(), command);
  INFO(command);
  REQUIRE(found != all.end());
  return std::distance(all.begin(), found);
}

bool has(const std::vector<std::string>& all, const std::string& command) {
  return std::find(all.begin(), all.end(), command) != all.end();
}

} // namespace

TEST_CASE("at the start every port is open, and unwanted ones are closed") {
  auto state = empty_state({{30001, {true, 1}}, {30002, {false, 1}}});
  CHECK(commands(bring_about({}, state, "/d"))
        == std::vector<std::string>{"disable frontend p30001"});
  CHECK(bring_about({}, state, "/d").lines.empty());
}

TEST_CASE("a port is opened last, when its leader takes connections") {
  auto state = closed();
  auto all = commands(bring_about(table({{30001, leading({at(1), at(2)}, at(2))}}), state, "/d"));
  CHECK(all.back() == "enable frontend p30001");
  CHECK(place_of(all, "add map /d/scopes.map p30001 a")
        < place_of(all, "set server p30001/n1 state ready"));
  CHECK(place_of(all, "set server p30001/n2 addr 127.0.1.2 port 5432")
        < place_of(all, "set server p30001/n2 health up"));
  CHECK(has(all, "add map /d/checks.map p30001 primary"));
  // The other server waits for its check.
  CHECK_FALSE(has(all, "set server p30001/n1 health up"));
}

TEST_CASE("a new server is down until its check has passed") {
  auto state = closed();
  for (const auto& line : bring_about(table({{30001, leading({at(1)})}}), state, "/d").lines)
    CHECK(line.text.find("set server p30001/n1 state ready;set server p30001/n1 health down")
          != std::string::npos);
}

TEST_CASE("a wanted state that HAProxy already has needs no command") {
  auto state = closed();
  auto wanted = table({{30001, leading({at(1)}, at(1))}, {30002, reading({at(1)}, at(1))}});
  CHECK_FALSE(bring_about(wanted, state, "/d").lines.empty());
  CHECK(bring_about(wanted, state, "/d").lines.empty());
  // An equal table needs no command either.
  CHECK(bring_about(table({{30001, leading({at(1)}, at(1))}, {30002, reading({at(1)}, at(1))}}),
                    state, "/d")
            .lines.empty());
}

TEST_CASE("only ports that may differ are compared") {
  auto state = closed();
  auto wanted = table({{30001, leading({at(1)}, at(1))}, {30002, reading({at(1)}, at(1))}});
  auto first = bring_about(wanted, {30002}, state, "/d");
  CHECK(std::ranges::all_of(first.lines, [](const auto& line) { return line.port == 30002; }));
  CHECK(bring_about(wanted, {30002}, state, "/d").lines.empty());
  auto others = bring_about(wanted, state, "/d");
  REQUIRE(others.lines.size() == 1);
  CHECK(others.lines[0].port == 30001);
  // A port that is no longer wanted is closed when it is compared.
  CHECK(bring_about({}, {30001}, state, "/d").lines.size() == 1);
  CHECK_FALSE(state.at(30001).open);
  CHECK(state.at(30002).open);
}

TEST_CASE("a change of the leader is one line, which first ends the old leader's sessions") {
  auto state = closed();
  (void)bring_about(table({{30001, leading({at(1), at(2)}, at(1))}}), state, "/d");
  auto changes = bring_about(table({{30001, leading({at(1), at(2)}, at(2))}}), state, "/d");
  REQUIRE(changes.lines.size() == 1);
  CHECK(commands(changes)
        == std::vector<std::string>{
            "set server p30001/n1 state drain", "shutdown sessions server p30001/n1",
            "set server p30001/n2 health up", "set server p30001/n2 state ready"});
  CHECK(unsettled(state) == std::set<std::uint16_t>{30001});
}

TEST_CASE("a leader that is no server of the port yet ends no sessions") {
  auto state = closed();
  (void)bring_about(table({{30001, leading({at(1), at(2)}, at(1))}}), state, "/d");
  CHECK(bring_about(table({{30001, leading({at(1), at(2)})}}), state, "/d").lines.empty());
}

TEST_CASE("a replica that becomes the leader loses its read-only sessions") {
  auto state = closed();
  (void)bring_about(table({{30002, reading({at(1), at(2)}, at(1))}}), state, "/d");
  auto all = commands(bring_about(table({{30002, reading({at(1), at(2)}, at(2))}}), state, "/d"));
  CHECK(all
        == std::vector<std::string>{"set server p30002/n2 state drain",
                                    "shutdown sessions server p30002/n2"});
}

TEST_CASE("a drained server follows its check again once the check has failed") {
  auto state = closed();
  (void)bring_about(table({{30001, leading({at(1), at(2)}, at(1))}}), state, "/d");
  (void)bring_about(table({{30001, leading({at(1), at(2)}, at(2))}}), state, "/d");
  auto told = [](const std::string& op_state, const std::string& check) {
    return "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state …\n4 p30001 1 n1 127.0.1.1 "
           + op_state + " 8 1 1 2 " + check + " 2 0 6 0 0 0 - 5432 - 0 8008 127.0.1.1 - 1\n";
  };
  CHECK(settle(state, told("2", "15")).empty());
  CHECK(settle(state, told("0", "1")).empty()); // its check has not run yet
  CHECK(unsettled(state) == std::set<std::uint16_t>{30001});
  auto lines = settle(state, told("0", "15"));
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].text == "set server p30001/n1 state ready");
  CHECK(unsettled(state).empty());
}

TEST_CASE("a held-back replica keeps its sessions, and gets new ones when it is released") {
  auto state = closed();
  auto all_read = table({{30002, reading({at(1), at(2)}, at(1))}});
  (void)bring_about(all_read, state, "/d");
  auto without = reading({at(1)}, at(1));
  without.held = {at(2)};
  auto held = table({{30002, without}});
  CHECK(commands(bring_about(held, state, "/d"))
        == std::vector<std::string>{"set server p30002/n2 state drain"});
  // Its check may fail; the server stays drained.
  CHECK(unsettled(state).empty());
  CHECK(settle(state, "4 p30002 2 n2 127.0.1.2 0 8 1 1 2 15 2 0 6 0 0 0 - 5432 - 0 8008 - - 1\n")
            .empty());
  // A restarted router finds this state, with or without etcd.
  told_state files;
  files.servers = server_state_file(state, "/d");
  for (auto which : all_maps)
    files.maps.push_back(map_text(which, state));
  auto found = state_of(files);
  CHECK(table_of(found).at(30002)->held == std::vector{at(2)});
  auto again = [](port_state& port) {
    port.bound = port.open = true;
    port.leader = at(1);
  };
  again(found[30002]);
  auto later = found;
  CHECK(commands(bring_about(held, found, "/d")).empty());
  for (auto* from : {&state, &later})
    CHECK(commands(bring_about(all_read, *from, "/d"))
          == std::vector<std::string>{"set server p30002/n2 state ready"});
}

TEST_CASE("sessions of a held-back server count towards the port's limit") {
  auto state = closed();
  auto all_read = table({{30002, reading({at(1), at(2)}, at(1))}});
  (void)bring_about(all_read, state, "/d");
  CHECK(holding(state).empty());
  auto without = reading({at(1)}, at(1));
  without.held = {at(2)};
  (void)bring_about(table({{30002, without}}), state, "/d");
  CHECK(holding(state) == std::set<std::uint16_t>{30002});
  const std::string told = "# pxname,svname,qcur,qmax,scur,smax\np30002,n1,0,0,3,5\n"
                           "p30002,n2,0,0,7,9\np30003,n2,0,0,1,1\n";
  auto lines = note_held(state, {30001, 30002}, told, "/d");
  const auto map = "set map /d/limits.map 30002 " + port_limits{}.text();
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].text == map + ":7");
  CHECK(note_held(state, {30001, 30002}, told, "/d").empty());
  CHECK(commands(bring_about(all_read, state, "/d"))
        == std::vector<std::string>{map + ":0", "set server p30002/n2 state ready"});
}

TEST_CASE("a server that left loses its sessions, and its slot is used again") {
  auto state = closed();
  (void)bring_about(table({{30001, leading({at(1), at(2)}, at(1))}}), state, "/d");
  auto all = commands(bring_about(table({{30001, leading({at(1), at(3)}, at(1))}}), state, "/d"));
  CHECK(place_of(all, "set server p30001/n2 state maint")
        < place_of(all, "shutdown sessions server p30001/n2"));
  CHECK(place_of(all, "shutdown sessions server p30001/n2")
        < place_of(all, "set server p30001/n2 addr 127.0.1.3 port 5432"));
  CHECK_FALSE(has(all, "set server p30001/n1 state ready"));
}

TEST_CASE("a port that is no longer wanted refuses connections before its servers are removed") {
  auto state = closed();
  (void)bring_about(table({{30001, leading({at(1)}, at(1))}}), state, "/d");
  auto all = commands(bring_about({}, state, "/d"));
  CHECK(all.front() == "disable frontend p30001");
  CHECK(has(all, "shutdown sessions server p30001/n1"));
  CHECK(has(all, "set server p30001/n1 addr 0.0.0.0 port 1"));
  CHECK(has(all, "del map /d/scopes.map p30001"));
  CHECK(state == closed());
}

TEST_CASE("another instance at the same port is checked by its own scope") {
  auto state = closed();
  (void)bring_about(table({{30001, leading({at(1)}, at(1))}}), state, "/d");
  auto other = leading({at(3)}, at(3));
  other.scope = "b";
  auto all = commands(bring_about(table({{30001, other}}), state, "/d"));
  CHECK(place_of(all, "set map /d/scopes.map p30001 b")
        < place_of(all, "set server p30001/n1 state ready"));
  CHECK(has(all, "shutdown sessions server p30001/n1"));
}

TEST_CASE("too many servers for the slots are reported") {
  auto state = closed(2);
  auto changes = bring_about(table({{30001, leading({at(1), at(2), at(3)}, at(1))}}), state, "/d");
  CHECK(changes.crowded == std::set<std::uint16_t>{30001});
}

TEST_CASE("a Patroni with TLS is checked through the relay, which gets its address first") {
  auto state = closed();
  auto all = commands(bring_about(table({{30001, leading({certified(1)})}}), state, "/d"));
  CHECK(place_of(all, "add map /d/members.map p30001/n1 127.0.1.1/8008/node-1")
        < place_of(all, by_relay("p30001/n1")));
  CHECK(place_of(all, by_relay("p30001/n1")) < place_of(all, "set server p30001/n1 state ready"));
  auto unnamed = certified(2);
  unnamed.certified_as.clear();
  all = commands(bring_about(table({{30001, leading({unnamed})}}), state, "/d"));
  CHECK(has(all, "add map /d/members.map p30001/n1 127.0.1.2/8008/"));
  all = commands(bring_about({}, state, "/d"));
  CHECK(has(all, "del map /d/members.map p30001/n1"));
  CHECK(state == closed());
}

TEST_CASE("a Patroni that begins to serve TLS, or is certified, ends no session") {
  auto state = closed();
  auto uncertified = certified(1);
  uncertified.certified_as.clear();
  (void)bring_about(table({{30001, leading({at(1), at(2)}, at(1))}}), state, "/d");
  CHECK(commands(
            bring_about(table({{30001, leading({uncertified, at(2)}, uncertified)}}), state, "/d"))
        == std::vector<std::string>{"add map /d/members.map p30001/n1 127.0.1.1/8008/",
                                    by_relay("p30001/n1")});
  CHECK(commands(bring_about(table({{30001, leading({certified(1), at(2)}, certified(1))}}), state,
                             "/d"))
        == std::vector<std::string>{"set map /d/members.map p30001/n1 127.0.1.1/8008/node-1",
                                    by_relay("p30001/n1")});
  CHECK(commands(bring_about(table({{30001, leading({at(1), at(2)}, at(1))}}), state, "/d"))
        == std::vector<std::string>{"del map /d/members.map p30001/n1",
                                    "set server p30001/n1 check-addr 127.0.1.1 port 8008"});
  INFO("a leader that changes at the same time is followed as usual");
  auto changes =
      bring_about(table({{30001, leading({at(1), certified(2)}, certified(2))}}), state, "/d");
  REQUIRE(changes.lines.size() == 1);
  auto all = commands(changes);
  CHECK(has(all, "shutdown sessions server p30001/n1"));
  CHECK(all.back() == "set server p30001/n2 state ready");
}

TEST_CASE("routers on one machine have separate relays") {
  auto relay = relay_of("/d");
  CHECK(relay.host.starts_with("127."));
  CHECK(relay_of("/d") == relay);
  CHECK(relay_of("/e") != relay);
}

TEST_CASE("wanted ports that HAProxy lacks are reported, and do not affect other ports") {
  auto state = empty_state({{30001, {false, 1}}, {30002, {true, 1}}});
  (void)bring_about({}, state, "/d");
  auto changes = bring_about(table({{30001, leading({at(1)}, at(1))},
                                    {30002, reading({at(1)}, at(1))},
                                    {40000, leading({at(1)})}}),
                             state, "/d");
  CHECK(changes.unbound == std::set<std::uint16_t>{30001, 40000});
  auto all = commands(changes);
  CHECK(has(all, "set server p30001/n1 health up"));
  CHECK_FALSE(has(all, "enable frontend p30001"));
  CHECK(has(all, "add map /d/fallbacks.map 30002 p30001"));
}

TEST_CASE("lines fit into HAProxy's buffer") {
  auto state = closed(100);
  std::vector<slot_content> many;
  for (int host = 1; host <= 100; ++host)
    many.push_back(at(host));
  std::sort(many.begin(), many.end());
  auto changes = bring_about(table({{30001, leading(many, many[0])}}), state, "/d");
  CHECK(changes.lines.size() > 1);
  for (const auto& line : changes.lines)
    CHECK(line.text.size() < 10'000);
}

TEST_CASE("HAProxy's state is read back from its answers") {
  told_state told;
  told.servers =
      "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state …\n"
      "4 p30001 1 n1 127.0.1.1 0 12 1 1 2 8 2 0 6 0 0 0 - 5432 - 0 8008 127.0.1.1 - 1\n"
      "4 p30001 2 n2 127.0.1.2 2 4 1 1 4 15 3 2 6 0 0 0 - 5432 - 0 8008 127.0.9.2 127.0.0.2 8008\n"
      "4 p30001 3 n3 0.0.0.0 0 5 1 1 4 1 0 0 14 0 0 0 - 1 - 0 1 - - 1\n"
      "4 p30001 4 n4 127.0.1.4 0 4 1 1 4 15 3 2 6 0 0 0 - 5432 - 0 8891 127.3.3.3 - 1\n"
      "4 p30001 5 s1 127.0.1.5 0 4 1 1 4 15 3 2 6 0 0 0 - 5432 - 0 8008 127.0.1.5 - 1\n"
      "5 p30002 1 n1 0.0.0.0 0 5 1 1 4 1 0 0 14 0 0 0 - 1 - 0 1 - - 1\n"
      "6 p30003 1 n1 0.0.0.0 0 5 1 1 4 1 0 0 14 0 0 0 - 1 - 0 1 - - 1\n"
      "7 :broker 1 broker1 127.0.0.1 2 0 1 1 4 15 3 2 6 0 0 0 - 3000 - 0 0 - - 0\n";
  told.frontends =
      "# pxname,svname,…\np30001,FRONTEND,,,0,0,OPEN,,\np30002,FRONTEND,,,0,0,PAUSED,,\n";
  told.maps = {"0x7f41 p30001 a\n", "0x7f42 p30001 primary\n", "0x7f43 30002 p30001\n",
               "0x7f44 30001 1:1:1:1:1:1\n", "0x7f45 p30001/n4 127.0.9.4/8009/node-4\n"};
  auto state = state_of(told);
  REQUIRE(state.size() == 3);
  const auto& one = state[30001];
  CHECK(one.bound);
  CHECK(one.open);
  CHECK(one.scope == "a");
  CHECK(one.check == "primary");
  CHECK(state[30002].fallback == "p30001");
  CHECK(one.limits == "1:1:1:1:1:1");
  REQUIRE(one.slots.size() == 5);
  CHECK(one.slots[0].holds == at(1));
  CHECK(one.slots[0].drained);
  CHECK(one.slots[1].holds == slot_content{{"127.0.1.2", 5432}, {"127.0.9.2", 8008}, false});
  CHECK_FALSE(one.slots[1].drained);
  CHECK(one.slots[1].up);
  CHECK_FALSE(one.slots[2].holds);
  CHECK(one.slots[3].holds
        == slot_content{{"127.0.1.4", 5432}, {"127.0.9.4", 8009}, true, "node-4"});
  // As earlier routers set it.
  CHECK(one.slots[4].holds == slot_content{{"127.0.1.5", 5432}, {"127.0.1.5", 8008}, true});
  CHECK(one.leader == one.slots[1].holds);
  CHECK(state[30002].bound);
  CHECK_FALSE(state[30002].open);
  CHECK_FALSE(state[30003].bound);
}

TEST_CASE("a router that finds HAProxy in the wanted state sends no commands") {
  auto state = closed();
  auto wanted = table({{30001, leading({at(1), at(2)}, at(1))}});
  (void)bring_about(wanted, state, "/d");
  // As read back: without data that only the earlier router had.
  for (auto& [port, one] : state)
    one.done.reset();
  CHECK(bring_about(wanted, state, "/d").lines.empty());
}

TEST_CASE("the state read from the files is the wanted table without the instances' names") {
  auto state = closed();
  auto first = leading({at(1), certified(2)}, certified(2));
  auto second = reading({at(1), certified(2)}, certified(2));
  for (auto* one : {&first, &second}) {
    one->instance.clear();
    one->limits = limits_of(100, 1, {}, 1);
  }
  (void)bring_about(table({{30001, first}, {30002, second}}), state, "/d");
  told_state files;
  files.servers = server_state_file(state, "/d");
  for (auto which : all_maps)
    files.maps.push_back(map_text(which, state));
  auto read = table_of(state_of(files));
  REQUIRE(read.size() == 2);
  CHECK(*read[30001] == first);
  second.leader.reset(); // a read-only port's leader is known from the first port
  CHECK(*read[30002] == second);
}

TEST_CASE("HAProxy's answers that are no confirmation are errors") {
  CHECK(
      refusal_in("\n\nIP changed from '0.0.0.0' to '127.0.0.3', port changed from '1' to '5433' by "
                 "'stats socket command'\n\n")
          .empty());
  CHECK(refusal_in(
            "no need to change the addr, no need to change the port\n\nAll sockets are already "
            "enabled.\n")
            .empty());
  CHECK(refusal_in("\nNo such server.\n\n\n") == "No such server.");
  CHECK(refusal_in("entry not found.\n") == "entry not found.");
  for (auto half :
       {"IP changed from '0.0.0.0' to '127.0.0.3', problem converting string 'x' to int",
        "no need to change the addr, can't change <port> to port map because health "
        "checks are enabled on it"})
    CHECK(refusal_in(half) == half);
}

TEST_CASE("sessions from before a reload end if their server is no longer used") {
  auto state = closed(3);
  (void)bring_about(table({{30001, leading({at(1), at(2), at(3)}, at(1))}}), state, "/d");
  // The third has not been checked yet.
  state[30001].slots[0].up = true;
  state[30001].slots[2].drained = false;
  state[30001].slots[0].is_checked = state[30001].slots[1].is_checked = true;
  const std::string servers =
      "1\n# …\n4 p30001 1 n2 127.0.1.1 2 0 1 1 4 15 3 2 6 0 0 0 - 5432 - 0 8008 - - 0\n"
      "4 p30001 2 n1 127.0.1.2 2 0 1 1 4 15 3 2 6 0 0 0 - 5432 - 0 8008 - - 0\n"
      "4 p30001 3 n3 127.0.1.3 2 0 1 1 4 15 3 2 6 0 0 0 - 5432 - 0 8008 - - 0\n"
      "4 old 1 x 127.0.1.9 2 0 1 1 4 15 3 2 6 0 0 0 - 5432 - 0 8008 - - 0\n"
      "5 :broker 1 broker1 127.0.0.1 2 0 1 1 4 15 3 2 6 0 0 0 - 3000 - 0 0 - - 0\n";
  const std::string sessions =
      "0x1: proto=tcpv4 src=127.0.0.1:1 fe=p30001 be=p30001 srv=n2 ts=00\n"
      "0x2: proto=tcpv4 src=127.0.0.1:2 fe=p30001 be=p30001 srv=n1 ts=00\n"
      "0x3: proto=tcpv4 src=127.0.0.1:3 fe=p30001 be=p30001 srv=<none>\n"
      "0x7: proto=tcpv4 src=127.0.0.1:7 fe=p30001 be=p30001 srv=n3\n"
      "0x4: proto=tcpv4 src=127.0.0.1:4 fe=old be=old srv=x ts=00\n"
      "0x5: proto=tcpv4 src=127.0.0.1:5 fe=:broker be=:broker srv=broker1\n"
      "0x6: proto=unix_stream fe=GLOBAL be=<NONE> srv=<none> ts=00\n";
  auto port_of = [](std::string_view proxy) -> std::optional<std::uint16_t> {
    if (proxy.starts_with(":broker"))
      return 0;
    return port_of_proxy(proxy);
  };
  CHECK(sessions_to_end(sessions, servers, state, port_of)
        == std::vector<std::string>{"0x2", "0x4"});
  state[30001].slots[0].drained = true;
  CHECK(sessions_to_end(sessions, servers, state, port_of)
        == std::vector<std::string>{"0x1", "0x2", "0x4"});
}

} // namespace matriarch::router
