#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "model/names.hpp"
#include "router/haproxy_config.hpp"

namespace matriarch::router {

namespace {

router_config settings() {
  router_config config;
  config.data_dir = "/var/lib/router";
  return config;
}

route route_of(const std::string& instance, std::uint16_t port) {
  return {instance,
          instance,
          port,
          {{"n1", {"127.0.1.1", 5432}, {"127.0.1.1", 8008}, false},
           {"n2", {"127.0.1.2", 5432}, {"127.0.1.2", 8008}, false}},
          0,
          0};
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

const std::string columns =
    "1\n"
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state "
    "srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl "
    "srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n";

} // namespace

TEST_CASE("an instance's listen checks for the primary of its own scope") {
  auto config = haproxy_config_of(settings(), {route_of("a.b", 30001)});
  REQUIRE(config.listens.size() == 1);
  CHECK(config.listens[0].text == R"(
listen a.b
    bind 127.0.0.1:30001
    maxconn 500
    option httpchk
    http-check send meth GET uri /primary
    http-check expect rstring '"patroni": *\{[^}]*"scope": *"a\x2eb"'
    http-check expect status 200
    default-server inter 500ms fastinter 250ms fall 2 rise 1
    default-server on-marked-down shutdown-sessions init-addr libc,none
    server n1 127.0.1.1:5432 check port 8008
    server n2 127.0.1.2:5432 check port 8008
)");
  auto text = config.text();
  CHECK(contains(text, "    maxconn 4000\n"));
  CHECK(contains(text, "    hard-stop-after 3600000ms\n"));
  CHECK(contains(text, "    mworker-max-reloads 50\n"));
  CHECK(contains(text, "    server-state-file /var/lib/router/server-state\n"));
  CHECK(contains(text, "    load-server-state-from-file global\n"));
  CHECK(contains(text, "    retries 0\n"));
  CHECK(contains(text, "    timeout client-fin 10s\n"));
}

TEST_CASE("a scope cannot say anything else than itself in the check") {
  auto one = route_of("a", 30001);
  one.scope = "x' }\n.*\"";
  auto config = haproxy_config_of(settings(), {one});
  CHECK(contains(config.listens[0].text, R"("scope": *"x\x27\x20\x7d\x0a\x2e\x2a\x22"')"));
}

TEST_CASE("Patroni may be at another address and speak TLS") {
  auto one = route_of("a", 30001);
  one.members[0].patroni.host = "127.0.9.9";
  one.members[1].patroni_has_tls = true;
  auto text = haproxy_config_of(settings(), {one}).text();
  CHECK(contains(text, "server n1 127.0.1.1:5432 check port 8008 addr 127.0.9.9\n"));
  CHECK(contains(text, "server n2 127.0.1.2:5432 check port 8008 check-ssl verify none\n"));
}

TEST_CASE("the brokers have a listen if they are configured") {
  auto with = settings();
  with.broker = broker_front{8888, {"127.0.0.1:3000", "127.0.0.1:3001"}, "", ""};
  auto config = haproxy_config_of(with, {route_of("a", 30001)});
  REQUIRE(config.listens.size() == 2);
  CHECK(config.listens[0].name == ":broker");
  CHECK(contains(config.listens[0].text,
                 "    bind 127.0.0.1:8888\n    maxconn 400\n    mode http\n"));
  CHECK(contains(config.listens[0].text, "    http-check send meth GET uri /healthz\n"));
  CHECK(contains(config.listens[0].text, "    http-check send meth GET uri /healthz?active\n"));
  CHECK(contains(config.listens[0].text, "    use_backend :active-broker if "));
  CHECK(contains(config.listens[0].text, "\nbackend :active-broker\n"));
  REQUIRE(config.listens[0].servers.size() == 4);
  CHECK(config.listens[0].servers[3].proxy == ":active-broker");
  CHECK(contains(config.listens[0].text, "    server broker2 127.0.0.1:3001 check\n"));
}

TEST_CASE("no instance's port can take the connections of all others") {
  auto with = settings();
  auto one = route_of("a", 30001);
  one.read_only_port = 30002;
  one.members.push_back({"n3", {"127.0.1.3", 5432}, {"127.0.1.3", 8008}, false});
  auto limits = [&] {
    std::vector<std::string> found;
    for (const auto& listen : haproxy_config_of(with, {one}).listens)
      if (listen.name != ":broker") {
        auto at = listen.text.find("    maxconn ") + 12;
        found.push_back(listen.text.substr(at, listen.text.find('\n', at) - at));
      }
    return found;
  };
  using texts = std::vector<std::string>;
  CHECK(limits() == texts{"500", "500"});
  with.max_connections_per_port = 70;
  CHECK(limits() == texts{"70", "70"});
  // Who is too many for PostgreSQL hears it from PostgreSQL; here there are two replicas.
  one.max_connections = 300;
  CHECK(limits() == texts{"600", "1200"});
  one.max_connections = 262'143;
  CHECK(limits() == texts{"4000", "4000"});
  with.broker = broker_front{8888, {"127.0.0.1:3000"}, "", ""};
  CHECK(limits() == texts{"3600", "3600"});
  with.maxconn = 1;
  CHECK(limits() == texts{"1", "1"});
}

TEST_CASE("what instances' ports take together leaves the brokers' port its share") {
  auto with = settings();
  auto one = route_of("a", 30001);
  one.read_only_port = 30002;
  CHECK_FALSE(contains(haproxy_config_of(with, {one}).text(), "tcp-request"));
  with.broker = broker_front{8888, {"127.0.0.1:3000"}, "", ""};
  auto config = haproxy_config_of(with, {one});
  CHECK(contains(config.head, "\nbackend :instance-connections\n"
                              "    stick-table type integer size 1 nopurge store conn_cur\n"));
  REQUIRE(config.listens.size() == 3);
  CHECK(contains(config.listens[0].text, "    maxconn 400\n"));
  CHECK_FALSE(contains(config.listens[0].text, "tcp-request"));
  for (std::size_t i : {1, 2})
    CHECK(contains(config.listens[i].text,
                   "    tcp-request connection track-sc0 int(1) table :instance-connections\n"
                   "    tcp-request connection reject if { sc0_conn_cur(:instance-connections) gt "
                   "3600 }\n"));
  auto again = parse_haproxy_config(config.text());
  CHECK(again.head == config.head);
  CHECK(again.listens == config.listens);
}

TEST_CASE("the brokers' port speaks TLS and nothing else if it has a certificate") {
  auto with = settings();
  with.broker = broker_front{8888, {"127.0.0.1:3000"}, "/c.pem", ""};
  auto config = haproxy_config_of(with, {}, "certificate and key");
  CHECK(contains(config.listens[0].text,
                 "    bind 127.0.0.1:8888 ssl crt /var/lib/router/broker.pem alpn http/1.1 "
                 "ssl-min-ver TLSv1.2\n"));
  CHECK(config.listens[0].text.find("certificate and key") == std::string::npos);
  CHECK(haproxy_config_of(with, {}, "another").text() != config.text());
  auto again = parse_haproxy_config(config.text());
  CHECK(again.listens == config.listens);
  CHECK(again.text() == config.text());
}

TEST_CASE("the audit trail gets the client's address from this proxy alone") {
  auto with = settings();
  with.broker = broker_front{8888, {"127.0.0.1:3000"}, "", ""};
  auto text = haproxy_config_of(with, {}).text();
  CHECK(contains(text, "    option forwardfor\n"));
  CHECK(contains(text, "    http-request del-header X-Forwarded-For\n"));
}

TEST_CASE("a read-only port leads to the replicas, and to the leader while there is none") {
  auto one = route_of("a", 30001);
  one.members.resize(1);
  one.read_only_port = 30002;
  auto config = haproxy_config_of(settings(), {one});
  REQUIRE(config.listens.size() == 2);
  CHECK(is_first_port(config.listens[0]));
  CHECK_FALSE(is_first_port(config.listens[1]));
  CHECK(config.listens[1].port == 30002);
  CHECK(config.listens[1].servers
        == std::vector<haproxy_server>{{"a:read-only", "n1", {"127.0.1.1", 5432}},
                                       {"a:read-only-leader", "n1", {"127.0.1.1", 5432}}});
  CHECK(config.listens[1].text == R"(
listen a:read-only
    bind 127.0.0.1:30002
    maxconn 500
    option httpchk
    http-check send meth GET uri /replica
    http-check expect rstring '"patroni": *\{[^}]*"scope": *"a"'
    http-check expect status 200
    balance leastconn
    use_backend a:read-only-leader if { nbsrv(a:read-only) eq 0 }
    default-server inter 500ms fastinter 250ms fall 2 rise 1
    default-server on-marked-down shutdown-sessions init-addr libc,none
    server n1 127.0.1.1:5432 check port 8008

backend a:read-only-leader
    option httpchk
    http-check send meth GET uri /primary
    http-check expect rstring '"patroni": *\{[^}]*"scope": *"a"'
    http-check expect status 200
    default-server inter 500ms fastinter 250ms fall 2 rise 1
    default-server on-marked-down shutdown-sessions init-addr libc,none
    server n1 127.0.1.1:5432 check port 8008
)");
  CHECK(parse_haproxy_config(config.text()).listens == config.listens);
}

TEST_CASE("names become names of HAProxy, and those of instances come back") {
  CHECK(haproxy_name("c45ecc24-aa5d_1.x") == "c45ecc24-aa5d_1.x");
  auto hashed = model::name_of("strange id");
  CHECK(haproxy_name(hashed) == ":" + hashed.substr(1));
  CHECK(instance_of(haproxy_name(hashed)) == hashed);
  CHECK(instance_of("plain") == "plain");
  CHECK(instance_of(read_only_listen("plain")) == "plain");
  CHECK(instance_of(read_only_listen(hashed)) == hashed);
  CHECK(instance_of(read_only_leader(hashed)) == hashed);
  for (auto name : {"a b", "a\nb", "", "~short", "a/b"}) {
    auto made = haproxy_name(name);
    CHECK(made.size() == 41);
    CHECK(std::all_of(made.begin() + 1, made.end(), [](unsigned char c) { return isalnum(c); }));
  }
}

TEST_CASE("a configuration is read back from its own text") {
  auto with = settings();
  with.broker = broker_front{8888, {"127.0.0.1:3000"}, "", ""};
  auto config = haproxy_config_of(with, {route_of("a", 30001), route_of("b", 30002)});
  auto again = parse_haproxy_config(config.text());
  CHECK(again.text() == config.text());
  CHECK(again.listens == config.listens);
  CHECK(again.description() == config.description());
}

TEST_CASE("the description differs when anything does") {
  auto one = haproxy_config_of(settings(), {route_of("a", 30001)});
  auto other = haproxy_config_of(settings(), {route_of("a", 30002)});
  CHECK(one.description() != other.description());
  auto with = settings();
  with.maxconn = 1;
  CHECK(one.description() != haproxy_config_of(with, {route_of("a", 30001)}).description());
}

TEST_CASE("a line of the text leads to its listen") {
  auto config = haproxy_config_of(settings(), {route_of("a", 30001), route_of("b", 30002)});
  auto text = config.text();
  auto line_of = [&](const std::string& part) {
    auto at = text.find(part);
    REQUIRE(at != std::string::npos);
    return 1
           + static_cast<int>(std::count(text.begin(), text.begin() + static_cast<long>(at), '\n'));
  };
  CHECK(config.listen_at(line_of("listen a")) == &config.listens[0]);
  CHECK(config.listen_at(line_of("listen b") - 2) == &config.listens[0]);
  CHECK(config.listen_at(line_of("127.0.0.1:30002")) == &config.listens[1]);
  CHECK(config.listen_at(line_of("maxconn")) == nullptr);
  CHECK(config.listen_at(100'000) == nullptr);
}

TEST_CASE("new servers start down, known ones as they were") {
  auto config = haproxy_config_of(settings(), {route_of("a", 30001)});
  auto up = servers_up(columns
                       + "3 a 1 n1 127.0.1.1 2 0 1 1 7 15 3 2 6 0 1 0 - 5432 - 0 8008 - - 8008\n"
                         "3 a 2 n2 127.0.1.2 0 0 1 1 6 17 2 0 6 0 1 0 - 5432 - 0 8008 - - 8008\n");
  CHECK(up == std::map<server_key, endpoint>{{{"a", "n1"}, {"127.0.1.1", 5432}}});
  CHECK(server_state_file(config, {}, {})
        == columns
               + "1 a 1 n1 - 0 0 1 1 0 1 0 0 6 0 0 0 - 5432 - 0 0 - - 0\n"
                 "1 a 2 n2 - 0 0 1 1 0 1 0 0 6 0 0 0 - 5432 - 0 0 - - 0\n");
  CHECK(server_state_file(config, up, {})
        == columns
               + "1 a 1 n1 - 2 0 1 1 0 1 0 2 6 0 0 0 - 5432 - 0 0 - - 0\n"
                 "1 a 2 n2 - 0 0 1 1 0 1 0 0 6 0 0 0 - 5432 - 0 0 - - 0\n");
}

TEST_CASE("a server that has moved, or does not lead any more, starts down") {
  auto config = haproxy_config_of(settings(), {route_of("a", 30001)});
  auto all_down = server_state_file(config, {}, {});
  CHECK(server_state_file(config, {{{"a", "n1"}, {"127.0.1.9", 5432}}}, {}) == all_down);
  CHECK(server_state_file(config, {{{"a", "n1"}, {"127.0.1.1", 5432}}}, {{"a", "n2"}}) == all_down);
  CHECK(server_state_file(config, {{{"a", "n1"}, {"127.0.1.1", 5432}}}, {{"a", "n1"}}) != all_down);
}

TEST_CASE("behind a read-only port only the leader's backend knows who leads") {
  auto one = route_of("a", 30001);
  one.read_only_port = 30002;
  auto config = haproxy_config_of(settings(), {one});
  std::map<server_key, endpoint> up;
  for (const auto* proxy : {"a:read-only", "a:read-only-leader"})
    for (const auto& member : one.members)
      up[{proxy, member.name}] = member.postgresql;
  auto text = server_state_file(config, up, {{"a", "n1"}, {"a:read-only-leader", "n1"}});
  CHECK(contains(text, "1 a:read-only 1 n1 - 2 "));
  CHECK(contains(text, "1 a:read-only 2 n2 - 2 "));
  CHECK(contains(text, "1 a:read-only-leader 3 n1 - 2 "));
  CHECK(contains(text, "1 a:read-only-leader 4 n2 - 0 "));
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

TEST_CASE("lost are servers whose check has failed, and those that are not there any more") {
  check_results results{
      columns + "3 a 1 n1 127.0.1.1 2 0 1 1 7 15 3 2 6 0 1 0 - 5432 - 0 8008 - - 8008\n"
      + "3 a 2 n2 127.0.1.2 0 0 1 1 6 17 2 0 6 0 1 0 - 5432 - 0 8008 - - 8008\n"
      // One check of two has failed.
      + "3 a 3 n3 127.0.1.3 2 0 1 1 6 17 2 1 6 0 1 0 - 5432 - 0 8008 - - 8008\n"
      // It is being checked again.
      + "3 a 5 n5 127.0.1.5 0 0 1 1 6 17 0 0 6 0 1 0 - 5432 - 0 8008 - - 8008\n"
      // Not checked yet.
      + "3 a 4 n4 127.0.1.4 0 0 1 1 0 1 0 0 6 0 1 0 - 5432 - 0 8008 - - 8008\n"
      + "4 :broker 1 broker1 127.0.1.5 0 0 1 1 6 17 2 0 6 0 1 0 - 80 - 0 0 - - 0\n"};
  CHECK_FALSE(results.is_lost({"a", "n1"}));
  CHECK(results.is_lost({"a", "n2"}));
  CHECK_FALSE(results.is_lost({"a", "n3"}));
  CHECK_FALSE(results.is_lost({"a", "n4"}));
  CHECK(results.is_lost({"a", "n5"}));
  CHECK(results.is_lost({"a", "n6"}));
  CHECK_FALSE(results.is_lost({"b", "n1"}));
  CHECK_FALSE(results.is_lost({":broker", "broker1"}));
  CHECK_FALSE(check_results{""}.is_lost({"a", "n2"}));
}

TEST_CASE("the sessions with a server are found") {
  auto ids = sessions_with(
      [](const server_key& with) { return with.second != "n2"; },
      "0x564d557968c0: proto=tcpv4 src=127.0.0.1:47776 fe=:ab be=:ab srv=n1 ts=00 epoch=0 age=1s\n"
      "0x564d557968c1: proto=tcpv4 src=127.0.0.1:47777 fe=:ab be=:ab srv=n2 ts=00 epoch=0 age=1s\n"
      "0x564d557968c2: proto=tcpv4 src=127.0.0.1:47778 fe=c be=c srv=n1 ts=00 epoch=0 age=1s\n"
      "0x564d557968c3: proto=tcpv4 src=127.0.0.1:47779 fe=c be=c srv=<none> ts=00 epoch=0 age=1s\n"
      "0x564d558f8c70: proto=sockpair src=unix:1 fe=GLOBAL be=<NONE> srv=<none> ts=00 epoch=0\n\n");
  CHECK(ids == std::vector<std::string>{"0x564d557968c0", "0x564d557968c2"});
}

TEST_CASE("HAProxy's complaints are understood") {
  std::string printed =
      "[NOTICE]   (5804) : haproxy version is 2.6.12-1+deb12u4\n"
      "[WARNING]  (9652) : Paused proxy :ab.\n"
      "[ALERT]    (5804) : Binding [/d/haproxy.cfg:35] for proxy b2: cannot bind socket (Address "
      "already in use) for [127.0.0.1:30102]\n"
      "[ALERT]    (5804) : Binding [/d/haproxy.cfg:38] for proxy b3: cannot bind socket (Address "
      "already in use) for [127.0.0.1:30103]\n";
  CHECK(ports_not_bound(printed) == std::set<std::uint16_t>{30102, 30103});
  CHECK(lines_refused(printed, "/d/haproxy.cfg") == std::set<int>{35, 38});
  CHECK(lines_refused(printed, "/d/candidate.cfg").empty());
  CHECK(alerts_in("[NOTICE]   (1) : hello\n[ALERT]    (1) : one\n[ALERT]    (1) : two\n")
        == "one; two");
  CHECK(alerts_in("not found\n") == "not found");
}

} // namespace matriarch::router
