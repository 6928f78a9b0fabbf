#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "../../texts.hpp"
#include "checks.hpp"
#include "router/haproxy_config.hpp"

namespace matriarch::router {

namespace {

/// Two ports.
router_config settings() {
  router_config config;
  config.engines = &known_engines;
  config.data_dir = "/d";
  config.first_port = 30001;
  config.last_port = 30002;
  config.slots = 2;
  return config;
}

slot_content at(int host, bool tls = false) {
  auto address = "127.0.1." + std::to_string(host);
  return {{address, 5432}, {address, 8008}, tls};
}

port_table wanting(std::uint16_t port, std::vector<slot_content> servers,
                   std::optional<slot_content> leader = {}) {
  wanted_port one;
  one.instance = one.scope = "a";
  one.check = leader_check;
  one.servers = std::move(servers);
  one.leader = std::move(leader);
  one.limits = limits_of(100, 1, {}, 1);
  return {{port, std::make_shared<const wanted_port>(std::move(one))}};
}

using matriarch::test::contains;

bool everything_is_free(std::uint16_t) {
  return true;
}

haproxy_shape fresh(const router_config& with, const port_table& wanted = {}) {
  return shape_for(with, wanted, {}, everything_is_free);
}

std::string text_of(const router_config& with, const port_table& wanted = {}) {
  auto state = empty_state(fresh(with, wanted));
  (void)bring_about(wanted, state, with.data_dir);
  return haproxy_text(with, state);
}

} // namespace

TEST_CASE("each port of the range has a listen with empty slots, checked by the maps' values") {
  auto text = text_of(settings());
  CHECK(contains(text, "\nlisten p30001\n    bind 127.0.0.1:30001\n"));
  CHECK(contains(text, "\nlisten p30002\n    bind 127.0.0.1:30002\n"));
  CHECK(contains(text,
                 "    http-check send meth GET uri-lf \"/%[be_name,map(/d/checks.map,none)]\" "
                 "hdr X-Member \"%[be_name]/%[srv_name]\"\n"
                 "    http-check expect string-lf '\"scope\": "
                 "\"%[be_name,map(/d/scopes.map,-)]\"'\n"
                 "    http-check expect status 200\n"));
  CHECK(contains(text, "    server n2 0.0.0.0:1 check addr 0.0.0.0 port 1 disabled\n"));
  CHECK(contains(text,
                 "    use_backend %[dst_port,map(/d/fallbacks.map,none)] if { nbsrv(p30002) eq "
                 "0 }\n"));
  CHECK(contains(text, "track-sc1 src,ipmask(32,64),concat("));
  CHECK(contains(text, "    retries 0\n"));
  CHECK(contains(text.substr(text.find("\nlisten p30001\n")), "on-marked-down shutdown-sessions"));
  // The file fixes only the shape; the servers in the slots are set over the socket.
  CHECK_FALSE(contains(text, "    maxconn 500"));
}

TEST_CASE("the servers in the slots are in the file for the next start, without a reload") {
  auto wanted = wanting(30001, {at(1), at(2)}, at(2));
  auto shape = fresh(settings(), wanted);
  auto state = empty_state(shape);
  (void)bring_about(wanted, state, "/d");
  auto text = haproxy_text(settings(), state);
  CHECK(contains(text, "    server n1 127.0.1.1:5432 check addr 127.0.1.1 port 8008\n"));
  CHECK(contains(text, "    description " + description_of(settings(), shape) + "\n"));
  CHECK(map_text(haproxy_map::scopes, state) == "p30001 a\n");
  CHECK(map_text(haproxy_map::limits, state) == "30001 90:81:18:500:450:100:0\n");
  // Of the servers in etcd only the leader is up at once.
  auto servers = server_state_file(state, "/d");
  CHECK(contains(servers,
                 "1 p30001 1 n1 127.0.1.1 0 0 1 1 0 1 0 0 6 0 0 0 - 5432 - 0 8008 127.0.1.1 "
                 "- 0\n"));
  CHECK(contains(servers,
                 "1 p30001 2 n2 127.0.1.2 2 0 1 1 0 1 0 2 6 0 0 0 - 5432 - 0 8008 127.0.1.2 "
                 "- 0\n"));
}

TEST_CASE("the description depends on the shape and the settings") {
  auto with = settings();
  auto first = description_of(with, fresh(with));
  CHECK(description_of(with, fresh(with)) == first);
  CHECK(description_of(with, fresh(with), {"another certificate", ""}) == first); // no such port
  with.check_interval = std::chrono::milliseconds{70};
  CHECK(description_of(with, fresh(with)) != first);
  with = settings();
  with.limits.first_bytes = std::chrono::seconds{3};
  CHECK(description_of(with, fresh(with)) != first);
  with = settings();
  with.last_port = 30003;
  CHECK(description_of(with, fresh(with)) != first);
  // The limits themselves are in a map.
  with = settings();
  with.limits.reserve = 3;
  CHECK(text_of(with).find("90:81") == std::string::npos);
}

TEST_CASE("a port whose servers do not fit gets more slots, and keeps them") {
  auto with = settings();
  auto now = fresh(with, wanting(30001, {at(1)}));
  auto more = shape_for(with, wanting(30001, {at(1), at(2), at(3)}), now, everything_is_free);
  CHECK(more[30001] == port_shape{true, 4});
  CHECK(more[30002] == port_shape{true, 2});
  CHECK(shape_for(with, {}, more, everything_is_free) == more);
}

TEST_CASE("a port in use is left out, and opened when it is free and wanted") {
  auto with = settings();
  auto is_taken = true;
  auto free = [&](std::uint16_t port) { return port != 30001 || !is_taken; };
  auto now = shape_for(with, {}, {}, free);
  CHECK_FALSE(now[30001].bound);
  CHECK(now[30002].bound);
  auto wanted = wanting(30001, {at(1)}, at(1));
  CHECK_FALSE(shape_for(with, wanted, now, free)[30001].bound);
  is_taken = false;
  CHECK(shape_for(with, {}, now, free) == now);
  CHECK(shape_for(with, wanted, now, free)[30001].bound);
  // Other ports may use its servers.
  auto text = haproxy_text(with, empty_state(now));
  CHECK(contains(text, "\nbackend p30001\n    balance leastconn\n"));
  CHECK_FALSE(contains(text, "127.0.0.1:30001"));
}

TEST_CASE("an instance's port outside the range is served too") {
  auto with = settings();
  auto wanted = wanting(40000, {at(1)}, at(1));
  auto shape = fresh(with, wanted);
  CHECK(shape.size() == 3);
  CHECK(contains(haproxy_text(with, empty_state(shape)), "    bind 127.0.0.1:40000\n"));
  CHECK(shape_for(with, {}, shape, everything_is_free).size() == 2);
}

TEST_CASE("Patroni may be at another address, and one that speaks TLS is asked by the relay") {
  auto one = at(1);
  one.control.host = "127.0.9.9";
  auto text = text_of(settings(), wanting(30001, {one, at(2, true)}, one));
  auto relay = relay_of("/d");
  CHECK(contains(text, "    server n1 127.0.1.1:5432 check addr 127.0.9.9 port 8008\n"));
  CHECK(contains(text, "    server n2 127.0.1.2:5432 check addr " + relay.host + " port 8891\n"));
  CHECK(contains(text, "\nfrontend :relay\n    mode http\n    bind " + relay.host + ":8891\n"));
  CHECK(contains(text, "    http-request deny unless METH_GET\n"));
  // Checks do not compete with clients for connections.
  CHECK(contains(text, "global\n    description "));
  CHECK(contains(text, "    maxconn 6000\n"));
}

TEST_CASE("a certified node is checked by the fleet's authority and name, once that is known") {
  auto with = settings();
  auto verified =
      "    server member 0.0.0.0:0 ssl no-ssl-reuse verify required ca-file /d/fleet.crt "
      "sni var(txn.name)\n";
  auto state = empty_state(fresh(with));
  CHECK_FALSE(contains(haproxy_text(with, state), "verify required"));
  auto text = haproxy_text(with, state, {"", "the authority's certificate"});
  CHECK(contains(text, verified));
  CHECK(contains(text, "    use_backend :certified-members if { var(txn.name) -m len gt 0 }\n"));
  CHECK_FALSE(contains(text, "the authority's certificate"));
  auto first = description_of(with, fresh(with), {"", "one"});
  CHECK(first != description_of(with, fresh(with)));
  CHECK(first != description_of(with, fresh(with), {"", "another"}));
}

TEST_CASE("configured brokers have a listen and their own connections") {
  auto with = settings();
  CHECK(contains(text_of(with), "reject if { sc2_conn_cur gt 4000 }\n"));
  with.broker = broker_front{8888, {"127.0.0.1:3000", "127.0.0.1:3001"}, "", ""};
  auto text = text_of(with);
  auto listen = text.substr(text.find("\nlisten :broker\n"));
  listen = listen.substr(0, listen.find("\nlisten p30001"));
  CHECK(contains(listen, "    bind 127.0.0.1:8888\n    maxconn 400\n"));
  CHECK(contains(listen, "track-sc0 src,ipmask(32,64) table :broker-sources\n"));
  CHECK(contains(listen, "reject if { fe_conn gt 360 } { sc0_conn_cur gt 20 }\n    mode http\n"));
  CHECK(contains(listen, "    http-check send meth GET uri /healthz\n"));
  CHECK(contains(listen, "    http-check send meth GET uri /healthz?active\n"));
  CHECK(contains(listen, "    use_backend :active-broker if "));
  CHECK(contains(listen, "\nbackend :active-broker\n"));
  CHECK(contains(listen, "    server broker2 127.0.0.1:3001 check\n"));
  CHECK(contains(listen, "    option forwardfor\n"));
  // A broker that is marked down still answers its open requests.
  CHECK_FALSE(contains(text.substr(0, text.find("\nlisten p30001")), "on-marked-down"));
  CHECK(contains(listen, "    http-reuse never\n"));
  CHECK(contains(text, "reject if { sc2_conn_cur gt 3600 }\n"));
}

TEST_CASE("the brokers' port speaks TLS and nothing else if it has a certificate") {
  auto with = settings();
  with.broker = broker_front{8888, {"127.0.0.1:3000"}, "/c.pem", ""};
  auto text = haproxy_text(with, empty_state(fresh(with)), {"certificate and key", ""});
  CHECK(contains(text, "    bind 127.0.0.1:8888 ssl crt /d/broker.pem alpn http/1.1 ssl-min-ver "
                       "TLSv1.2\n"));
  CHECK_FALSE(contains(text, "certificate and key"));
  CHECK(description_of(with, fresh(with), {"certificate and key", ""})
        != description_of(with, fresh(with), {"another", ""}));
}

TEST_CASE("the master's processes are read") {
  auto found = parse_show_proc(
      "#<PID>          <type>          <reloads>       <uptime>        <version>      \n"
      "5804            master          2 [failed: 1]   0d00h02m28s     2.6.12-1+deb12u4\n"
      "# workers\n"
      "9652            worker          1               0d00h01m40s     2.6.12-1+deb12u4\n"
      "# old workers\n"
      "9001            worker          1               0d00h01m40s     2.6.12-1+deb12u4\n"
      "9000            worker          2               0d00h01m40s     2.6.12-1+deb12u4\n"
      "# programs\n\n");
  CHECK(found.master == 5804);
  CHECK(found.failed_reloads == 1);
  CHECK(found.current == std::vector<int>{9652});
  CHECK(found.old == std::vector<int>{9001, 9000});
  CHECK(parse_show_proc("").master == 0);
}

TEST_CASE("HAProxy's error messages are parsed") {
  std::string printed =
      "[NOTICE]   (5804) : haproxy version is 2.6.12-1+deb12u4\n"
      "[WARNING]  (9652) : Paused proxy :ab.\n"
      "[ALERT]    (5804) : Binding [/d/haproxy.cfg:35] for proxy b2: cannot bind socket (Address "
      "already in use) for [127.0.0.1:30102]\n"
      "[ALERT]    (5804) : Binding [/d/haproxy.cfg:38] for proxy b3: cannot bind socket (Address "
      "already in use) for [127.0.0.1:30103]\n";
  CHECK(ports_not_bound(printed) == std::set<std::uint16_t>{30102, 30103});
  CHECK(alerts_in("[NOTICE]   (1) : hello\n[ALERT]    (1) : one\n[ALERT]    (1) : two\n")
        == "one; two");
  CHECK(alerts_in("not found\n") == "not found");
}

} // namespace matriarch::router
