#include "router/haproxy_config.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>

#include <fmt/format.h>

#include "model/names.hpp"

namespace matriarch::router {

namespace {

constexpr std::string_view first_line =
    "# Written by matriarch router from what is in etcd; changes made here are lost.\n";

constexpr std::string_view description_prefix = "    description ";

/// The backend of the broker that acts; no instance can have this name.
const std::string active_broker = ":active-broker";

/// What follows an instance's name in those of its other sections; a name holds no colon but the
/// one that may be its first character.
constexpr std::string_view read_only_suffix = ":read-only";
constexpr std::string_view read_only_leader_suffix = ":read-only-leader";

/// Counts the connections of all instances' ports; no instance can have this name.
constexpr std::string_view instance_connections = ":instance-connections";

/// What of the connections is kept for the brokers' port: whoever takes all that there are for
/// instances leaves the operator a way in.
constexpr int share_of_brokers = 10;

int connections_of_brokers(const router_config& settings) {
  return settings.broker ? std::max(1, settings.maxconn / share_of_brokers) : 0;
}

int connections_of_instances(const router_config& settings) {
  return std::max(1, settings.maxconn - connections_of_brokers(settings));
}

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    auto end = text.find('\n');
    lines.push_back(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  }
  return lines;
}

std::vector<std::string> words_of(std::string_view line) {
  constexpr std::string_view blanks = " \t\r";
  std::vector<std::string> words;
  for (auto begin = line.find_first_not_of(blanks); begin != std::string_view::npos;) {
    auto end = line.find_first_of(blanks, begin);
    words.emplace_back(line.substr(begin, end - begin));
    begin = line.find_first_not_of(blanks, end);
  }
  return words;
}

int number_of(std::string_view text) {
  int number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

/// A text as a regular expression that matches it alone, safe within single quotes.
std::string literal(std::string_view text) {
  std::string expression;
  for (char c : text)
    if (is_letter_or_digit(c) || c == '_' || c == '-')
      expression += c;
    else
      expression += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return expression;
}

std::string server_line(const haproxy_server& server, std::string_view options) {
  return fmt::format("    server {} {}{}\n", server.name, server.where.text(), options);
}

std::string check_options(const routed_member& member) {
  auto options = fmt::format(" check port {}", member.patroni.port);
  // The cluster's members check each other's certificates; here the scope in the answer counts.
  if (member.patroni_has_tls)
    options += " check-ssl verify none";
  if (member.patroni.host != member.postgresql.host)
    options += " addr " + member.patroni.host;
  return options;
}

/// The check that finds the members of a scope with this role, and the members as servers of
/// `proxy`, after `options` of its own.
void add_members(haproxy_listen& into, const router_config& settings, const route& what,
                 const std::string& proxy, std::string_view role, std::string_view options) {
  // The scope comes first: Patroni's answer is then always read to its end. Without the scope an
  // address that another cluster has got meanwhile would be taken for this one's.
  into.text += fmt::format("    option httpchk\n"
                           "    http-check send meth GET uri /{}\n"
                           "    http-check expect rstring "
                           R"('"patroni": *\{{[^}}]*"scope": *"{}"')"
                           "\n"
                           "    http-check expect status 200\n",
                           role, literal(what.scope));
  into.text += options;
  into.text += fmt::format("    default-server inter {}ms fastinter {}ms fall 2 rise 1\n"
                           "    default-server on-marked-down shutdown-sessions "
                           "init-addr libc,none\n",
                           settings.check_interval.count(), settings.check_interval.count() / 2);
  for (const auto& member : what.members) {
    into.servers.push_back({proxy, haproxy_name(member.name), member.postgresql});
    into.text += server_line(into.servers.back(), check_options(member));
  }
}

haproxy_listen begun_listen(std::string name, const std::string& host, std::uint16_t port,
                            std::string_view bind_options = {}) {
  haproxy_listen one{std::move(name), host, port, {}, {}};
  one.text = fmt::format("\nlisten {}\n    bind {}{}\n", one.name, endpoint{host, port}.text(),
                         bind_options);
  return one;
}

/// How many connections a port that leads to so many members may have at a time. What is above waits
/// in the kernel and harms no other port. Where PostgreSQL takes fewer it shall be the one to refuse,
/// for its refusal says why: hence twice what it takes.
void add_limits(haproxy_listen& into, const router_config& settings, const route& what,
                std::size_t members) {
  auto useful =
      2 * static_cast<std::int64_t>(what.max_connections) * static_cast<std::int64_t>(members);
  auto limit = std::max<std::int64_t>(settings.max_connections_per_port, useful);
  into.text += fmt::format("    maxconn {}\n",
                           std::min<std::int64_t>(limit, connections_of_instances(settings)));
  // HAProxy's maxconn of all ports cannot be shared out; a table of one entry counts for that.
  if (settings.broker)
    into.text +=
        fmt::format("    tcp-request connection track-sc0 int(1) table {0}\n"
                    "    tcp-request connection reject if {{ sc0_conn_cur({0}) gt {1} }}\n",
                    instance_connections, connections_of_instances(settings));
}

haproxy_listen listen_of(const router_config& settings, const route& what) {
  auto one = begun_listen(haproxy_name(what.instance), settings.bind_host, what.port);
  add_limits(one, settings, what, 1);
  add_members(one, settings, what, one.name, "primary", {});
  return one;
}

haproxy_listen read_only_listen_of(const router_config& settings, const route& what) {
  auto one = begun_listen(read_only_listen(what.instance), settings.bind_host, what.read_only_port);
  add_limits(one, settings, what, std::max<std::size_t>(what.members.size(), 2) - 1);
  auto leader = read_only_leader(what.instance);
  add_members(one, settings, what, one.name, "replica",
              fmt::format("    balance leastconn\n"
                          "    use_backend {} if {{ nbsrv({}) eq 0 }}\n",
                          leader, one.name));
  // A backend of its own, for the listen of the first port may be left out.
  one.text += fmt::format("\nbackend {}\n", leader);
  add_members(one, settings, what, leader, "primary", {});
  return one;
}

haproxy_listen listen_of(const router_config& settings, const broker_front& front,
                         std::string_view certificate) {
  std::string tls;
  if (front.has_tls())
    tls = fmt::format(" ssl crt {} alpn http/1.1 ssl-min-ver TLSv1.2", certificate_path(settings));
  auto one = begun_listen(broker_listen, settings.bind_host, front.listen, tls);
  one.text += fmt::format("    maxconn {}\n", connections_of_brokers(settings));
  if (front.has_tls())
    one.text += fmt::format("    # the certificate {}\n", model::start_of_sha256(certificate, 16));
  // One broker acts. Its standby refuses what writes, so it serves only while nobody acts. The
  // server's time is above the 50 s that a broker lets a synchronous request wait.
  constexpr std::string_view options = "    mode http\n"
                                       "    balance first\n"
                                       "    option forwardfor\n"
                                       "    option redispatch\n"
                                       "    retries 2\n"
                                       "    timeout server 70s\n"
                                       "    timeout queue 5s\n"
                                       "    option httpchk\n";
  auto add_servers = [&](const std::string& proxy) {
    one.text += fmt::format("    default-server inter {}ms fastinter {}ms fall 2 rise 1 "
                            "init-addr libc,none\n",
                            settings.check_interval.count(), settings.check_interval.count() / 2);
    auto number = 0;
    for (const auto& address : front.servers)
      if (auto where = endpoint_of(address)) {
        one.servers.push_back({proxy, fmt::format("broker{}", ++number), *where});
        one.text += server_line(one.servers.back(), " check");
      }
  };
  one.text += options;
  // Who a request came from is for this proxy to say: the audit trail records it.
  one.text +=
      fmt::format("    timeout client 60s\n"
                  "    timeout http-request 10s\n"
                  "    timeout http-keep-alive 10s\n"
                  "    http-request del-header X-Forwarded-For\n"
                  "    http-check send meth GET uri /healthz\n"
                  "    http-check expect status 200\n"
                  "    http-error status 503 content-type application/json hdr Retry-After 5 "
                  "string '{{\"description\":\"no broker can be reached; try again\"}}'\n"
                  "    use_backend {0} if {{ nbsrv({0}) gt 0 }}\n",
                  active_broker);
  add_servers(one.name);
  one.text += fmt::format("\nbackend {}\n", active_broker);
  one.text += options;
  one.text += "    http-check send meth GET uri /healthz?active\n"
              "    http-check expect status 200\n";
  add_servers(active_broker);
  return one;
}

std::string head_of(const router_config& settings) {
  // Without any listener HAProxy does not start: the stats socket is one, and serves operators.
  // 24 days is nearly HAProxy's longest time: idle pools are not cut, and dead peers are found by
  // the kernel's keep-alive within two minutes. PostgreSQL ends a client that says nothing after its
  // authentication_timeout; one that ignores even that would hold its connection here for all of
  // those days, but for the time-out of what is half closed.
  auto head = fmt::format("    maxconn {0}\n"
                          "    no strict-limits\n"
                          "    hard-stop-after {1}ms\n"
                          "    mworker-max-reloads {3}\n"
                          "    server-state-file {2}/server-state\n"
                          "    stats socket {2}/stats.sock mode 600 level operator\n"
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
                          "    srvtcpka-cnt 6\n",
                          settings.maxconn, settings.hard_stop_after.count(), settings.data_dir,
                          settings.max_old_workers);
  if (settings.broker)
    head += fmt::format("\nbackend {}\n"
                        "    stick-table type integer size 1 nopurge store conn_cur\n",
                        instance_connections);
  return head;
}

} // namespace

std::string haproxy_name(std::string_view name) {
  auto is_plain = [](char c) { return is_letter_or_digit(c) || c == '-' || c == '_' || c == '.'; };
  auto is_hash = name.size() == 41 && name.front() == '~';
  auto rest = is_hash ? name.substr(1) : name;
  if (!rest.empty() && rest.size() <= 64 && std::all_of(rest.begin(), rest.end(), is_plain))
    return is_hash ? ":" + std::string{rest} : std::string{rest};
  // A key that nobody here wrote can hold anything: a space makes any of them one to be hashed.
  auto hashed = model::name_of(" " + std::string{name});
  return ":" + hashed.substr(1);
}

std::string instance_of(std::string_view haproxy_name) {
  for (auto suffix : {read_only_suffix, read_only_leader_suffix})
    if (haproxy_name.size() > suffix.size() && haproxy_name.ends_with(suffix))
      haproxy_name.remove_suffix(suffix.size());
  std::string name{haproxy_name};
  if (!name.empty() && name.front() == ':')
    name.front() = '~';
  return name;
}

std::string haproxy_config::description() const {
  // FNV-1a, 64 bits: it has to be the same in every build, and tells apart, but protects nothing.
  std::uint64_t hash = 14695981039346656037u;
  auto add = [&](std::string_view text) {
    for (unsigned char c : text)
      hash = (hash ^ c) * 1099511628211u;
  };
  add(head);
  for (const auto& listen : listens)
    add(listen.text);
  return fmt::format("routes-{:016x}", hash);
}

std::string haproxy_config::text() const {
  std::string all{first_line};
  all += fmt::format("global\n{}{}\n{}", description_prefix, description(), head);
  for (const auto& listen : listens)
    all += listen.text;
  return all;
}

const haproxy_listen* haproxy_config::listen_at(int line) const {
  // The comment, `global` and the description precede the head.
  auto next = 4 + std::count(head.begin(), head.end(), '\n');
  for (const auto& listen : listens) {
    auto first = next;
    next += std::count(listen.text.begin(), listen.text.end(), '\n');
    if (line >= first && line < next)
      return &listen;
  }
  return nullptr;
}

std::string read_only_listen(std::string_view instance) {
  return haproxy_name(instance) + std::string{read_only_suffix};
}

std::string read_only_leader(std::string_view instance) {
  return haproxy_name(instance) + std::string{read_only_leader_suffix};
}

bool is_first_port(const haproxy_listen& listen) {
  return listen.name != broker_listen && !is_read_only_port(listen);
}

bool is_read_only_port(const haproxy_listen& listen) {
  return listen.name.ends_with(read_only_suffix);
}

std::string certificate_path(const router_config& settings) {
  return settings.data_dir + "/broker.pem";
}

haproxy_config haproxy_config_of(const router_config& settings, const std::vector<route>& served,
                                 std::string_view certificate) {
  haproxy_config config;
  config.head = head_of(settings);
  if (settings.broker)
    config.listens.push_back(listen_of(settings, *settings.broker, certificate));
  for (const auto& one : served) {
    config.listens.push_back(listen_of(settings, one));
    if (one.read_only_port != 0)
      config.listens.push_back(read_only_listen_of(settings, one));
  }
  return config;
}

haproxy_config parse_haproxy_config(std::string_view text) {
  haproxy_config config;
  auto in_head = false;
  std::string blank; // belongs to the section after it
  std::string proxy;
  for (auto line : lines_of(text)) {
    auto words = words_of(line);
    if (words.empty()) {
      blank += "\n";
      continue;
    }
    if ((words[0] == "listen" || words[0] == "backend") && words.size() > 1)
      proxy = words[1];
    if (words[0] == "listen" && words.size() > 1)
      config.listens.push_back({words[1], {}, 0, {}, {}});
    else if (config.listens.empty() && !in_head) {
      in_head = line.starts_with(description_prefix);
      continue;
    }
    auto whole = blank + std::string{line} + "\n";
    blank.clear();
    if (config.listens.empty()) {
      config.head += whole;
      continue;
    }
    auto& listen = config.listens.back();
    listen.text += whole;
    if (words[0] == "bind" && words.size() > 1) {
      if (auto where = endpoint_of(words[1])) {
        listen.bind_host = where->host;
        listen.port = where->port;
      }
    } else if (words[0] == "server" && words.size() > 2) {
      if (auto where = endpoint_of(words[2]))
        listen.servers.push_back({proxy, words[1], *where});
    }
  }
  return config;
}

std::map<server_key, endpoint> servers_up(std::string_view show_servers_state) {
  // be_id be_name srv_id srv_name srv_addr srv_op_state … srv_fqdn (18th) srv_port (19th)
  constexpr std::size_t listen = 1, server = 3, address = 4, state = 5, host = 17, port = 18;
  constexpr std::string_view running = "2";
  std::map<server_key, endpoint> up;
  for (auto line : lines_of(show_servers_state)) {
    auto words = words_of(line);
    if (words.size() <= port || words[state] != running)
      continue;
    if (auto number = port_of(words[port]))
      up[{words[listen], words[server]}] = {words[host] == "-" ? words[address] : words[host],
                                            *number};
  }
  return up;
}

std::string server_state_file(const haproxy_config& config,
                              const std::map<server_key, endpoint>& up,
                              const std::map<std::string, std::string>& leaders) {
  // The version and the names of HAProxy 2.6's columns. It finds servers by their names; the ids
  // do not matter. A port of 0 would be taken for the server's port.
  std::string text =
      "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight "
      "srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health "
      "srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord "
      "srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n";
  for (const auto& listen : config.listens) {
    auto id = 0;
    for (const auto& server : listen.servers) {
      auto leader = leaders.find(server.proxy);
      auto was = up.find({server.proxy, server.name});
      auto is_up = was != up.end() && was->second == server.where
                   && (leader == leaders.end() || leader->second == server.name);
      // Running has the state 2 and the health of `rise 1 fall 2` at its best, which is 2.
      text += fmt::format("1 {} {} {} - {} 0 1 1 0 1 0 {} 6 0 0 0 - {} - 0 0 - - 0\n", server.proxy,
                          ++id, server.name, is_up ? 2 : 0, is_up ? 2 : 0, server.where.port);
    }
  }
  return text;
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

check_results::check_results(std::string_view show_servers_state) {
  // be_id be_name srv_id srv_name srv_addr srv_op_state … srv_check_status (11th) srv_check_result …
  // The result is forgotten when the next check begins, and one of a frozen server is nearly always
  // under way; the status is kept, and 1 before the first check.
  constexpr std::size_t proxy = 1, server = 3, state = 5, status = 10;
  constexpr std::string_view stopped = "0", not_checked = "1";
  for (auto line : lines_of(show_servers_state)) {
    auto words = words_of(line);
    // The brokers' requests have time-outs of their own.
    if (line.starts_with('#') || words.size() <= status || words[proxy] == broker_listen
        || words[proxy] == active_broker)
      continue;
    proxies_.insert(words[proxy]);
    if (words[state] != stopped || words[status] == not_checked)
      not_failed_.emplace(words[proxy], words[server]);
  }
}

bool check_results::is_lost(const server_key& server) const {
  return proxies_.contains(server.first) && !not_failed_.contains(server);
}

std::vector<std::string> sessions_with(const std::function<bool(const server_key&)>& is_meant,
                                       std::string_view show_sess) {
  // `0x564d557968c0: proto=tcpv4 src=127.0.0.1:47776 fe=a be=a srv=n1 ts=00 …`
  std::vector<std::string> ids;
  for (auto line : lines_of(show_sess)) {
    auto colon = line.find(": ");
    if (!line.starts_with("0x") || colon == std::string_view::npos)
      continue;
    server_key with;
    for (const auto& word : words_of(line.substr(colon + 1))) {
      if (word.starts_with("be="))
        with.first = word.substr(3);
      if (word.starts_with("srv="))
        with.second = word.substr(4);
    }
    // It has none yet while it waits for one.
    if (with.second != "<none>" && is_meant(with))
      ids.emplace_back(line.substr(0, colon));
  }
  return ids;
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

std::set<int> lines_refused(std::string_view printed, std::string_view path) {
  std::set<int> numbers;
  auto wanted = fmt::format("[{}:", path);
  for (auto line : lines_of(printed))
    if (line.find("[ALERT]") != std::string_view::npos)
      if (auto at = line.find(wanted); at != std::string_view::npos)
        numbers.insert(number_of(line.substr(at + wanted.size())));
  return numbers;
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
  return alerts.empty() ? last : alerts;
}

} // namespace matriarch::router
