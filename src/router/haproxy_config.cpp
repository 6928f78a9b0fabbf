#include "router/haproxy_config.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <iterator>
#include <optional>

#include <fmt/format.h>

#include "base/utf8.hpp"
#include "model/names.hpp"
#include "router/words.hpp"

namespace matriarch::router {

namespace {

constexpr std::string_view first_line =
    "# Written by matriarch router from what is in etcd; changes made here are lost.\n";

constexpr std::string_view description_prefix = "    description ";

/// The backend with the active broker.
const std::string active_broker = ":active-broker";

/// Tables that count connections: to all instances, to a node, and by address and port. One session
/// can be counted in three tables.
constexpr std::string_view instance_connections = ":instance-connections";
constexpr std::string_view node_connections = ":node-connections";
constexpr std::string_view source_connections = ":source-connections";
constexpr std::string_view broker_sources = ":broker-sources";

/// The share of connections kept for the brokers' port, so that an attacker who uses up all
/// connections for instances does not lock the operator out.
constexpr int share_of_brokers = 10;

/// The limit of TLS checks at a time: a frozen member holds each of its checks for two seconds.
/// They are counted apart from clients' connections, so that clients cannot delay checks.
constexpr int most_relayed = 2'000;

/// A worker that has lived through this many reloads ends, with its sessions. Reloads are rare: an
/// upgrade, a setting, a certificate, more slots, a port that became free.
constexpr int most_reloads = 100;

int connections_of_brokers(const router_config& settings) {
  return settings.broker ? std::max(1, settings.maxconn / share_of_brokers) : 0;
}

int connections_of_instances(const router_config& settings) {
  return std::max(1, settings.maxconn - connections_of_brokers(settings));
}

/// How many of one instance's connections an address may have when those of all instances together
/// are nearly used up: to use up the rest, the address has to find that many more instances at
/// which it has none. HAProxy 2.6 has three counters for a session, and all three are in use, so an
/// address's total over all instances is not known.
int few_of(const shared_limit& together, const limit_settings& settings) {
  constexpr int instances = 20, everything = 100; // percent
  return settings.per_source >= everything
             ? together.most
             : std::max(1, (together.most - together.nearly) / instances);
}

std::string with(std::string_view text,
                 std::initializer_list<std::pair<std::string_view, std::string>> values) {
  std::string filled{text};
  for (const auto& [name, value] : values)
    for (auto at = filled.find(name); at != std::string::npos; at = filled.find(name, at))
      filled.replace(at, name.size(), value);
  return filled;
}

std::string broker_text(const router_config& settings, const broker_front& front,
                        std::string_view certificate) {
  std::string tls;
  if (front.has_tls())
    tls = fmt::format(" ssl crt {} alpn http/1.1 ssl-min-ver TLSv1.2", certificate_path(settings));
  const auto most = connections_of_brokers(settings);
  // When nearly all connections are used up, an address gets more only if it has few: the silent
  // clients of one machine leave the rest to others.
  auto text =
      fmt::format("\nlisten {0}\n    bind {1}{2}\n    maxconn {3}\n"
                  "    tcp-request connection track-sc0 src,ipmask(32,64) table {4}\n"
                  "    tcp-request connection reject if {{ fe_conn gt {5} }} {{ sc0_conn_cur "
                  "gt {6} }}\n",
                  broker_listen, endpoint{settings.bind_host, front.listen}.text(), tls, most,
                  broker_sources, most - std::max(1, most / 10), std::max(1, most / 20));
  if (front.has_tls())
    text += fmt::format("    # the certificate {}\n", model::start_of_sha256(certificate, 16));
  // One broker acts. Its standby refuses writes, so requests go to it only while no broker acts.
  // The server's time-out is above the 50 s that a broker lets a synchronous request wait.
  constexpr std::string_view options =
      "    mode http\n"
      "    balance first\n"
      "    option forwardfor\n"
      "    option redispatch\n"
      "    retries 2\n"
      // A killed broker no longer answers. Requests that only read are sent to the other one.
      "    retry-on conn-failure empty-response\n"
      "    http-request disable-l7-retry unless METH_GET\n"
      "    timeout server 70s\n"
      "    timeout queue 5s\n"
      // A broker that no longer acts, or is stopping, still answers the requests that it has, so
      // they are not cut off when it is marked down. If its machine dies after it got the request,
      // the kernel notices within 25 s. If the request never arrived, or the broker is frozen, the
      // request waits until the server's time-out.
      "    srvtcpka-idle 10s\n"
      "    srvtcpka-intvl 5s\n"
      "    srvtcpka-cnt 3\n"
      // A broker may close an idle connection just as the next request comes.
      "    http-reuse never\n"
      "    option httpchk\n";
  auto add_servers = [&] {
    text += fmt::format("    default-server inter {}ms fastinter {}ms fall 2 rise 1 "
                        "init-addr libc,none\n",
                        settings.check_interval.count(), settings.check_interval.count() / 2);
    auto number = 0;
    for (const auto& address : front.servers)
      if (auto where = endpoint_of(address))
        text += fmt::format("    server broker{} {} check\n", ++number, where->text());
  };
  text += options;
  // Only this proxy may state where a request came from: the audit trail records it.
  text += fmt::format("    timeout client 60s\n"
                      "    timeout http-request 10s\n"
                      "    timeout http-keep-alive 10s\n"
                      "    http-request del-header X-Forwarded-For\n"
                      "    http-check send meth GET uri /healthz\n"
                      "    http-check expect status 200\n"
                      "    http-error status 503 content-type application/json hdr Retry-After 5 "
                      "string '{{\"description\":\"no broker can be reached; try again\"}}'\n"
                      "    use_backend {0} if {{ nbsrv({0}) gt 0 }}\n",
                      active_broker);
  add_servers();
  text += fmt::format("\nbackend {}\n", active_broker);
  text += options;
  text += "    http-check send meth GET uri /healthz?active\n"
          "    http-check expect status 200\n";
  add_servers();
  return text;
}

/// Asks a member by TLS in place of a slot: see relay_of(). If the member's cell has reported a
/// certificate, the member has to show one of the fleet's authority that names its node.
std::string relay_text(const router_config& settings, const pem_texts& pem) {
  auto members = path_of(haproxy_map::members, settings.data_dir);
  auto text = fmt::format("\nfrontend :relay\n"
                          "    mode http\n"
                          "    bind {}\n"
                          "    maxconn {}\n"
                          "    timeout client 3s\n"
                          "    timeout http-request 2s\n"
                          "    http-request deny unless METH_GET\n"
                          "    http-request set-var(txn.member) req.hdr(X-Member),map({})\n"
                          "    http-request deny unless {{ var(txn.member) -m found }}\n"
                          "    http-request set-var(txn.name) var(txn.member),field(3,/)\n"
                          "    default_backend :members\n",
                          relay_of(settings.data_dir).text(), most_relayed, members);
  auto backend = [](std::string_view name, const std::string& tls) {
    // A resumed session would not be checked against the present authority.
    return fmt::format("\nbackend {}\n"
                       "    mode http\n"
                       "    timeout server 2s\n"
                       "    http-reuse never\n"
                       "    http-request set-dst var(txn.member),field(1,/)\n"
                       "    http-request set-dst-port var(txn.member),field(2,/)\n"
                       "    http-request del-header X-Member\n"
                       "    server member 0.0.0.0:0 ssl no-ssl-reuse {}\n",
                       name, tls);
  };
  if (!pem.fleet.empty())
    text +=
        "    use_backend :certified-members if { var(txn.name) -m len gt 0 }\n"
        + fmt::format("    # the authority {}\n", model::start_of_sha256(pem.fleet, 16))
        + backend(":certified-members", fmt::format("verify required ca-file {} sni var(txn.name)",
                                                    authority_path(settings)));
  return text + backend(":members", "verify none");
}

std::string head_of(const router_config& settings) {
  // HAProxy does not start without any listener: the stats socket is one. 24 days is nearly
  // HAProxy's longest time-out: idle pools are not cut, and the kernel's keep-alive finds dead
  // peers within two minutes. A database disconnects a client that does not log in; without the
  // time-out for half-closed connections, a client that ignores even that would hold its connection
  // here for all of those days.
  return fmt::format(
      "    maxconn {0}\n"
      "    no strict-limits\n"
      // Each thread judges at once what it accepts. Connections that wait for another thread would
      // count as accepted and fill a port, although most of them are then rejected.
      "    tune.listener.multi-queue off\n"
      "    mworker-max-reloads {2}\n"
      "    server-state-file {1}/server-state\n"
      "    stats socket {1}/stats.sock mode 600 level admin\n"
      // Otherwise a few clients that use the socket would lock the router out of it.
      "    stats maxconn 100\n"
      "\n"
      "defaults\n"
      "    mode tcp\n"
      "    load-server-state-from-file global\n"
      "    retries 0\n"
      "    timeout connect 2s\n"
      "    timeout check 2s\n"
      "    timeout client 24d\n"
      "    timeout client-fin 10s\n"
      "    timeout server 24d\n"
      "    option clitcpka\n"
      "    clitcpka-idle 60s\n"
      "    clitcpka-intvl 10s\n"
      "    clitcpka-cnt 6\n"
      "    option srvtcpka\n"
      "    srvtcpka-idle 60s\n"
      "    srvtcpka-intvl 10s\n"
      "    srvtcpka-cnt 6\n"
      "    default-server inter {3}ms fastinter {4}ms fall 2 rise 1 init-addr none\n"
      "\nbackend {7}\n"
      "    stick-table type integer size 1 nopurge store conn_cur\n"
      "\nbackend {5}\n"
      "    stick-table type string len 8 size 10k expire 1h store conn_cur\n"
      "\nbackend {6}\n"
      "    stick-table type string len 48 size 100k expire 1h store conn_cur\n"
      "\nbackend {8}\n"
      "    stick-table type ipv6 size 10k expire 1h store conn_cur\n",
      settings.maxconn + most_relayed, settings.data_dir, most_reloads,
      settings.check_interval.count(), settings.check_interval.count() / 2, node_connections,
      source_connections, instance_connections, broker_sources);
}

/// Which clients are let in, and to which node. HAProxy's tables count; the numbers are in a map,
/// so that they can change while HAProxy runs. `set maxconn frontend` cannot be used: HAProxy 2.6
/// may deadlock over it.
std::string admission_of(const router_config& settings, const engine_check& kind,
                         const std::string& proxy) {
  // Accepted connections are counted by address and instance, whose two ports may lead to the same
  // node, and in total.
  constexpr std::string_view accepted =
      "    tcp-request connection set-var(sess.limits) dst_port,map({limits},0:0:0:0:0:0:0)\n"
      "    tcp-request connection set-var(sess.all) var(sess.limits),field(4,:)\n"
      "    tcp-request connection set-var(sess.all_nearly) var(sess.limits),field(5,:)\n"
      "    tcp-request connection set-var(sess.all_share) var(sess.limits),field(6,:)\n"
      "    tcp-request connection set-var(sess.instance) dst_port,map({fallbacks},{proxy})\n"
      "    tcp-request connection track-sc1 src,ipmask(32,64),concat(:,sess.instance) table "
      "{sources}\n"
      "    tcp-request connection track-sc2 int(1) table {instances}\n"
      "    tcp-request connection reject if { sc2_conn_cur gt {most} }\n"
      // One address can use many ports. When all connections together are nearly used up, an
      // address gets more only where it has few: the rest is for many addresses, or for one address
      // at many ports.
      "    tcp-request connection reject if { sc2_conn_cur gt {nearly} } { sc1_conn_cur gt {few} "
      "}\n"
      "    tcp-request connection reject if { fe_conn,sub(sess.all) gt 0 }\n"
      "    tcp-request connection reject if { fe_conn,sub(sess.all_nearly) gt 0 } { "
      "sc1_conn_cur,sub(sess.all_share) gt 0 }\n";
  // Connections that go to a node: the database's clients speak first. While a port has no server
  // of its own, its sessions count for the node that they go to.
  constexpr std::string_view passed =
      "    tcp-request inspect-delay {patience}ms\n"
      "    tcp-request content set-var(sess.begun) int(1) if { req.len ge 8 }\n"
      "    tcp-request content reject unless { var(sess.begun) -m found }\n"
      "{admission}"
      "    tcp-request content set-var(sess.servers) nbsrv({proxy})\n"
      "    tcp-request content set-var(sess.held) var(sess.limits),field(7,:)\n"
      "    tcp-request content set-var(sess.node) str({proxy})\n"
      "    tcp-request content set-var(sess.node) dst_port,map({fallbacks},{proxy}) if { "
      "nbsrv({proxy}) eq 0 }\n"
      "    tcp-request content set-var(sess.servers) int(1) if { nbsrv({proxy}) eq 0 }\n"
      "    tcp-request content set-var(sess.held) int(0) if { nbsrv({proxy}) eq 0 }\n"
      "    tcp-request content set-var(sess.most) "
      "var(sess.limits),field(1,:),mul(sess.servers),add(sess.held)\n"
      "    tcp-request content set-var(sess.nearly) "
      "var(sess.limits),field(2,:),mul(sess.servers),add(sess.held)\n"
      "    tcp-request content set-var(sess.share) "
      "var(sess.limits),field(3,:),mul(sess.servers)\n"
      // A connection that would be rejected anyway is rejected before it counts: otherwise a client
      // that comes again and again would keep others out. Two threads may pass this test at the
      // same time, so it is repeated once the connection counts.
      "    tcp-request content set-var(sess.at_node) var(sess.node),table_conn_cur({nodes})\n"
      "    tcp-request content reject if { var(sess.at_node),sub(sess.nearly) ge 0 } { "
      "sc1_conn_cur,sub(sess.share) gt 0 }\n"
      "    tcp-request content track-sc0 var(sess.node) table {nodes}\n"
      "    tcp-request content reject if { sc0_conn_cur,sub(sess.most) gt 0 }\n"
      "    tcp-request content reject if { sc0_conn_cur,sub(sess.nearly) gt 0 } { "
      "sc1_conn_cur,sub(sess.share) gt 0 }\n"
      "    tcp-request content accept\n";
  const auto together = shared_limit_of(connections_of_instances(settings), settings.limits);
  return with(std::string{accepted} + std::string{passed},
              {{"{admission}", std::string{kind.admission}},
               {"{limits}", path_of(haproxy_map::limits, settings.data_dir)},
               {"{fallbacks}", path_of(haproxy_map::fallbacks, settings.data_dir)},
               {"{patience}", std::to_string(settings.limits.first_bytes.count())},
               {"{most}", std::to_string(together.most)},
               {"{nearly}", std::to_string(together.nearly)},
               {"{few}", std::to_string(few_of(together, settings.limits))},
               {"{instances}", std::string{instance_connections}},
               {"{nodes}", std::string{node_connections}},
               {"{sources}", std::string{source_connections}},
               {"{proxy}", proxy}});
}

/// `relay` is relay_of(), passed in because computing it for each of thousands of servers takes
/// long.
const endpoint& checked_at(const endpoint& relay, const slot_content& content) {
  return content.control_has_tls ? relay : content.control;
}

std::string slot_line(const endpoint& relay, const server_slot& slot) {
  const auto content = slot.holds.value_or(slot_content{nowhere, nowhere});
  const auto& check = checked_at(relay, content);
  return fmt::format("    server {} {} check addr {} port {}{}\n", slot.name,
                     content.database.text(), check.host, check.port,
                     slot.holds ? "" : " disabled");
}

/// The listen of a port; only its backend if the port must not be opened, for another port may use
/// its servers.
std::string port_text(const router_config& settings, const endpoint& relay, std::uint16_t port,
                      const port_state& state) {
  const auto proxy = proxy_of(port);
  const auto& kind = settings.engines->usual();
  auto text = fmt::format("\n{} {}\n", state.bound ? "listen" : "backend", proxy);
  if (state.bound) {
    text += fmt::format("    bind {}\n", endpoint{settings.bind_host, port}.text());
    text += admission_of(settings, kind, proxy);
    text += fmt::format("    use_backend %[dst_port,map({},none)] if {{ nbsrv({}) eq 0 }}\n",
                        path_of(haproxy_map::fallbacks, settings.data_dir), proxy);
  }
  // A client of a node that no longer leads, or is gone, must reconnect to find the new leader.
  text += "    balance leastconn\n"
          "    default-server on-marked-down shutdown-sessions\n";
  text += with(kind.checks, {{"{checks}", path_of(haproxy_map::checks, settings.data_dir)},
                             {"{scopes}", path_of(haproxy_map::scopes, settings.data_dir)}});
  for (const auto& slot : state.slots)
    text += slot_line(relay, slot);
  return text;
}

std::string text_without_description(const router_config& settings, const proxy_state& state,
                                     const pem_texts& pem) {
  auto text = head_of(settings);
  text += relay_text(settings, pem);
  if (settings.broker)
    text += broker_text(settings, *settings.broker, pem.broker);
  const auto relay = relay_of(settings.data_dir);
  for (const auto& [port, one] : state)
    text += port_text(settings, relay, port, one);
  return text;
}

std::vector<server_slot> empty_slots(const port_shape& shape) {
  std::vector<server_slot> slots;
  for (int number = 1; number <= shape.slots; ++number)
    slots.push_back({slot_name(number), std::nullopt, false, false, false});
  return slots;
}

/// The number of slots for that many servers, in steps of the configured number of slots.
int slots_for(std::ptrdiff_t servers, int step) {
  return static_cast<int>((servers + step - 1) / step) * step;
}

} // namespace

haproxy_shape shape_of(const proxy_state& state) {
  haproxy_shape shape;
  for (const auto& [port, one] : state)
    shape[port] = {one.bound, static_cast<int>(one.slots.size())};
  return shape;
}

haproxy_shape shape_for(const router_config& settings, const port_table& wanted,
                        const haproxy_shape& now, const std::function<bool(std::uint16_t)>& free) {
  const port_shape usual{true, settings.slots};
  haproxy_shape shape;
  for (int port = settings.first_port; port <= settings.last_port; ++port)
    shape.emplace(static_cast<std::uint16_t>(port), usual);
  for (const auto& [port, one] : wanted) {
    auto& needed = shape.emplace(port, usual).first->second;
    needed.slots = std::max(needed.slots, slots_for(servers_of(*one), settings.slots));
  }
  for (auto& [port, one] : shape) {
    auto known = now.find(port);
    if (known != now.end()) {
      // Existing slots are kept: removing some would be a reload too.
      one.slots = std::max(one.slots, known->second.slots);
      one.bound = known->second.bound || (wanted.contains(port) && free(port));
    } else {
      one.bound = free(port);
    }
  }
  return shape;
}

proxy_state empty_state(const haproxy_shape& shape) {
  proxy_state state;
  for (const auto& [port, one] : shape) {
    auto& known = state[port];
    known.bound = known.open = one.bound;
    known.slots = empty_slots(one);
  }
  return state;
}

std::string haproxy_text(const router_config& settings, const proxy_state& state,
                         const pem_texts& pem) {
  return fmt::format("{}global\n{}{}\n{}", first_line, description_prefix,
                     description_of(settings, shape_of(state), pem),
                     text_without_description(settings, state, pem));
}

std::string description_of(const router_config& settings, const haproxy_shape& shape,
                           const pem_texts& pem) {
  // FNV-1a, 64 bits: the same in every build. It only distinguishes texts and protects nothing.
  std::uint64_t hash = 14695981039346656037u;
  for (unsigned char c : text_without_description(settings, empty_state(shape), pem))
    hash = (hash ^ c) * 1099511628211u;
  return fmt::format("ports-{:016x}", hash);
}

std::string map_text(haproxy_map which, const proxy_state& state) {
  std::string text;
  for (const auto& [port, one] : state)
    if (which == haproxy_map::members) {
      for (const auto& slot : one.slots)
        if (auto said = member_text(slot); !said.empty())
          fmt::format_to(std::back_inserter(text), "{} {}\n", member_key(port, slot), said);
    } else if (const auto& value = value_in(which, one); !value.empty()) {
      fmt::format_to(std::back_inserter(text), "{} {}\n", key_in(which, port), value);
    }
  return text;
}

std::string server_state_file(const proxy_state& state, const std::string& data_dir) {
  // The version and the column names of HAProxy 2.6. HAProxy finds servers by their names; the ids
  // do not matter.
  std::string text =
      "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight "
      "srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health "
      "srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord "
      "srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n";
  const auto relay = relay_of(data_dir);
  for (const auto& [port, one] : state) {
    const auto proxy = proxy_of(port);
    auto id = 0;
    for (const auto& slot : one.slots) {
      ++id;
      if (!slot.holds)
        continue;
      const auto& check = checked_at(relay, *slot.holds);
      auto is_up = leads_to_leader(one) && one.leader ? slot.holds == one.leader : slot.up;
      // A running server has the state 2 and the health 2, the best with `rise 1 fall 2`. A drained
      // server has the administrative state 8.
      fmt::format_to(std::back_inserter(text),
                     "1 {} {} {} {} {} {} 1 1 0 1 0 {} 6 0 0 0 - {} - 0 {} {} - 0\n", proxy, id,
                     slot.name, slot.holds->database.host, is_up ? 2 : 0, slot.drained ? 8 : 0,
                     is_up ? 2 : 0, slot.holds->database.port, check.port, check.host);
    }
  }
  return text;
}

std::string certificate_path(const router_config& settings) {
  return settings.data_dir + "/broker.pem";
}

std::string authority_path(const router_config& settings) {
  return settings.data_dir + "/fleet.crt";
}

haproxy_processes parse_show_proc(std::string_view answer) {
  haproxy_processes found;
  auto old = false;
  for (auto line : lines_of(answer)) {
    if (line.starts_with("# old workers"))
      old = true;
    auto words = words_of(line);
    if (words.size() < 3)
      continue;
    if (words[1] == "master") {
      found.master = number_of(words[0]);
      // `5 [failed: 0]`
      if (words.size() > 4 && words[3] == "[failed:")
        found.failed_reloads = number_of(words[4]);
    } else if (words[1] == "worker") {
      (old ? found.old : found.current).push_back(number_of(words[0]));
    }
  }
  return found;
}

std::set<std::uint16_t> ports_not_bound(std::string_view printed) {
  std::set<std::uint16_t> ports;
  for (auto line : lines_of(printed)) {
    // `Binding [/path:35] for proxy b: cannot bind socket (Address already in use) for [host:port]`
    auto last = line.rfind('[');
    if (line.find("cannot bind socket") == std::string_view::npos || last == std::string_view::npos)
      continue;
    auto where = line.substr(last + 1, line.rfind(']') - last - 1);
    if (auto colon = where.rfind(':'); colon != std::string_view::npos)
      if (auto port = port_of(where.substr(colon + 1)))
        ports.insert(*port);
  }
  return ports;
}

std::string alerts_in(std::string_view printed) {
  std::string alerts;
  std::string last;
  for (auto line : lines_of(printed)) {
    // `[ALERT]    (5804) : what it is about`
    auto colon = line.find(" : ");
    auto said = colon == std::string_view::npos ? line : line.substr(colon + 3);
    if (said.empty())
      continue;
    last = said;
    if (line.starts_with("[ALERT]")) {
      if (!alerts.empty())
        alerts += "; ";
      alerts += said;
    }
  }
  if (alerts.empty())
    alerts = last;
  // The same error may occur for each of thousands of ports; haproxy.log has them all.
  constexpr std::size_t longest = 1'000;
  return legible(alerts, longest);
}

} // namespace matriarch::router
