#include "router/haproxy_state.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <iterator>

#include <fmt/format.h>

#include "model/names.hpp"
#include "router/words.hpp"

namespace matriarch::router {

namespace {

// HAProxy's columns of `show servers state`, and the bits of the administrative state.
constexpr std::size_t proxy_column = 1, server_column = 3, address_column = 4, state_column = 5,
                      admin_column = 6, check_status_column = 10, port_column = 18,
                      check_port_column = 21, check_address_column = 22;
constexpr std::string_view stopped = "0", not_checked = "1";
constexpr int in_maintenance = 1, in_drain = 8;

// The columns of `show stat`.
constexpr std::size_t stat_proxy_column = 0, stat_server_column = 1, stat_sessions_column = 4;

/// HAProxy's buffer for a line holds 16 kB.
constexpr std::size_t longest_line = 8'000;

/// Commands for one port, collected into one line, or several if they are many.
class line {
public:
  line(std::uint16_t port, std::vector<command_line>& into)
      : port_(port), proxy_(proxy_of(port)), into_(into) {}
  ~line() {
    if (!text_.empty())
      into_.push_back({std::move(text_), port_});
  }
  line(const line&) = delete;
  line& operator=(const line&) = delete;

  void add(const std::string& command) {
    if (text_.size() > longest_line) {
      into_.push_back({std::move(text_), port_});
      text_.clear();
    }
    if (!text_.empty())
      text_ += ';';
    text_ += command;
  }
  void set(const server_slot& slot, std::string_view what) {
    add(fmt::format("set server {}/{} {}", proxy_, slot.name, what));
  }
  void end_sessions(const server_slot& slot) {
    add(fmt::format("shutdown sessions server {}/{}", proxy_, slot.name));
  }
  void ready_once_checked(const server_slot& slot) {
    add(fmt::format("set server {0}/{1} state ready;set server {0}/{1} health down", proxy_,
                    slot.name));
  }
  void frontend(bool open) {
    add(fmt::format("{} frontend {}", open ? "enable" : "disable", proxy_));
  }

private:
  std::uint16_t port_;
  std::string proxy_;
  std::vector<command_line>& into_;
  std::string text_;
};

std::string& value_in(haproxy_map which, port_state& port) {
  return const_cast<std::string&>(value_in(which, std::as_const(port)));
}

void set_map(line& out, haproxy_map which, std::uint16_t port, port_state& state,
             const std::string& value, const std::string& data_dir) {
  auto& known = value_in(which, state);
  if (known == value)
    return;
  auto path = path_of(which, data_dir);
  auto key = key_in(which, port);
  // Adding a key twice would store it twice.
  if (value.empty())
    out.add(fmt::format("del map {} {}", path, key));
  else
    out.add(fmt::format("{} map {} {} {}", known.empty() ? "add" : "set", path, key, value));
  known = value;
}

/// The limits of a port, followed by the number of its sessions that are not counted: those of
/// held-back servers, which get no new ones.
std::string limits_text(std::string_view limits, int held) {
  return fmt::format("{}:{}", limits, held);
}

/// The commands for one port, and for the slots of its listen.
struct changes_of_port {
  line& out;
  std::uint16_t port;
  const std::string& data_dir;

  /// Sets what the slot holds; this changes its value in the map of members.
  void contain(server_slot& slot, std::optional<slot_content> what) const {
    auto before = member_text(slot);
    slot.holds = std::move(what);
    auto now = member_text(slot);
    if (before == now)
      return;
    auto map =
        fmt::format("map {} {}", path_of(haproxy_map::members, data_dir), member_key(port, slot));
    if (now.empty())
      out.add("del " + map);
    else
      out.add(fmt::format("{} {} {}", before.empty() ? "add" : "set", map, now));
  }

  void check_where_it_is(const server_slot& slot) const {
    auto where = slot.holds->control_has_tls ? relay_of(data_dir) : slot.holds->control;
    out.set(slot, fmt::format("check-addr {} port {}", where.host, where.port));
  }

  void fill(server_slot& slot, const slot_content& with) const {
    contain(slot, with);
    out.set(slot, fmt::format("addr {} port {}", with.database.host, with.database.port));
    check_where_it_is(slot);
    // A server set to ready is up at once: the same line takes it down until its check has passed.
    out.ready_once_checked(slot);
    slot.drained = slot.held = false;
  }

  /// The same database with another check: its sessions go on.
  void ask_otherwise(server_slot& slot, const slot_content& with) const {
    contain(slot, with);
    check_where_it_is(slot);
  }

  void empty(server_slot& slot) const {
    out.set(slot, "state maint");
    out.end_sessions(slot);
    out.set(slot, fmt::format("addr {} port {}", nowhere.host, nowhere.port));
    contain(slot, std::nullopt);
    slot.drained = slot.held = false;
  }
};

void drain(line& out, server_slot& slot) {
  out.set(slot, "state drain");
  out.end_sessions(slot);
  slot.drained = true;
}

using slot_names = std::set<std::string, std::less<>>;

/// Makes HAProxy follow a change of the leader before its checks do. Slots that were just filled
/// are down until their check has passed, and follow their checks from the start. So if this router
/// dies in the next moment, HAProxy's checks suffice.
void follow_leader(line& out, port_state& state, const wanted_port& wanted,
                   const slot_names& filled) {
  if (!wanted.leader || state.leader == wanted.leader)
    return;
  // Drains the servers that must lose their sessions: on the port to the leader all others; on the
  // port to the replicas the new leader. Their checks may pass for a while yet.
  for (auto& slot : state.slots)
    if (slot.holds && (slot.holds == wanted.leader) != wanted.to_leader
        && !filled.contains(slot.name))
      drain(out, slot);
  if (wanted.to_leader)
    for (auto& slot : state.slots)
      if (slot.holds == wanted.leader) {
        out.set(slot, "health up");
        out.set(slot, "state ready");
        slot.drained = false;
      }
  state.leader = wanted.leader;
}

void close(line& out, std::uint16_t port, port_state& state, const std::string& data_dir) {
  const changes_of_port change{out, port, data_dir};
  if (state.bound && state.open)
    out.frontend(false);
  state.open = false;
  for (auto& slot : state.slots)
    if (slot.holds)
      change.empty(slot);
  for (auto which : port_maps)
    set_map(out, which, port, state, {}, data_dir);
  state.leader.reset();
  state.done.reset();
}

bool is_closed(const port_state& state) {
  return !(state.bound && state.open)
         && std::all_of(std::begin(port_maps), std::end(port_maps),
                        [&](haproxy_map which) { return value_in(which, state).empty(); })
         && std::none_of(state.slots.begin(), state.slots.end(),
                         [](const server_slot& slot) { return slot.holds.has_value(); });
}

bool is_among(const std::vector<slot_content>& servers, const slot_content& one) {
  return std::binary_search(servers.begin(), servers.end(), one);
}

/// If a server's check alone has changed, for example to TLS, nothing else of the server changes.
void follow_checks(const changes_of_port& change, port_state& state,
                   const std::vector<slot_content>& servers) {
  auto is_held = [&](const slot_content& server) {
    return std::any_of(state.slots.begin(), state.slots.end(),
                       [&](const server_slot& slot) { return slot.holds == server; });
  };
  for (auto& slot : state.slots) {
    if (!slot.holds || is_among(servers, *slot.holds))
      continue;
    auto now = std::find_if(servers.begin(), servers.end(), [&](const slot_content& server) {
      return server.database == slot.holds->database && !is_held(server);
    });
    if (now == servers.end())
      continue;
    if (state.leader == slot.holds)
      state.leader = *now;
    change.ask_otherwise(slot, *now);
  }
}

/// False if some servers got no slot; `filled` gets the names of the slots that were filled.
bool place(const changes_of_port& change, port_state& state, const wanted_port& wanted,
           slot_names& filled) {
  follow_checks(change, state, wanted.servers);
  follow_checks(change, state, wanted.held);
  for (auto& slot : state.slots)
    if (slot.holds && !is_among(wanted.servers, *slot.holds) && !is_among(wanted.held, *slot.holds))
      change.empty(slot);
  auto all_fit = true;
  for (const auto& server : wanted.servers) {
    auto has = [&](const server_slot& slot) { return slot.holds == server; };
    if (std::any_of(state.slots.begin(), state.slots.end(), has))
      continue;
    auto free = std::find_if(state.slots.begin(), state.slots.end(),
                             [](const server_slot& slot) { return !slot.holds; });
    if (free == state.slots.end()) {
      all_fit = false;
      continue;
    }
    change.fill(*free, server);
    filled.insert(free->name);
  }
  return all_fit;
}

/// Held-back servers keep their sessions; servers that are no longer held back take new ones again.
/// On a port to replicas only the leader is drained for another reason.
void hold(line& out, port_state& state, const wanted_port& wanted) {
  for (auto& slot : state.slots) {
    slot.held = slot.holds && is_among(wanted.held, *slot.holds);
    auto drained = slot.held || (slot.drained && (wanted.to_leader || slot.holds == wanted.leader));
    if (slot.holds && drained != slot.drained)
      out.set(slot, drained ? "state drain" : "state ready");
    slot.drained = drained;
  }
}

} // namespace

std::string proxy_of(std::uint16_t port) {
  return fmt::format("p{}", port);
}

std::optional<std::uint16_t> port_of_proxy(std::string_view name) {
  if (!name.starts_with('p'))
    return std::nullopt;
  return port_of(name.substr(1));
}

std::string slot_name(int number) {
  return fmt::format("n{}", number);
}

endpoint relay_of(const std::string& data_dir) {
  // All of 127.0.0.0/8 belongs to this machine: routers on one machine do not collide with each
  // other, nor with nodes, whose addresses are configured.
  constexpr int first = 240, firsts = 15;
  constexpr std::uint16_t port = 8891;
  auto digits = model::start_of_sha256(data_dir, 6);
  auto octet = [&](std::size_t number) {
    return std::stoi(digits.substr(2 * number, 2), nullptr, 16) % 254 + 1;
  };
  return {fmt::format("127.{}.{}.{}", first + octet(0) % firsts, octet(1), octet(2)), port};
}

std::string member_key(std::uint16_t port, const server_slot& slot) {
  return fmt::format("{}/{}", proxy_of(port), slot.name);
}

std::string member_text(const server_slot& slot) {
  if (!slot.holds || !slot.holds->control_has_tls)
    return {};
  return fmt::format("{}/{}/{}", slot.holds->control.host, slot.holds->control.port,
                     slot.holds->certified_as);
}

std::string path_of(haproxy_map which, const std::string& data_dir) {
  constexpr std::array<std::string_view, 5> names{"scopes", "checks", "fallbacks", "limits",
                                                  "members"};
  return fmt::format("{}/{}.map", data_dir, names[static_cast<std::size_t>(which)]);
}

std::string key_in(haproxy_map which, std::uint16_t port) {
  return which == haproxy_map::scopes || which == haproxy_map::checks ? proxy_of(port)
                                                                      : std::to_string(port);
}

const std::string& value_in(haproxy_map which, const port_state& port) {
  switch (which) {
  case haproxy_map::scopes:
    return port.scope;
  case haproxy_map::checks:
    return port.check;
  case haproxy_map::fallbacks:
    return port.fallback;
  case haproxy_map::limits:
  case haproxy_map::members:
    break;
  }
  return port.limits;
}

port_changes bring_about(const port_table& wanted, const std::set<std::uint16_t>& ports,
                         proxy_state& state, const std::string& data_dir) {
  port_changes changes;
  // Ports that must no longer be reached come first. Nothing else waits for what this frees.
  for (auto port : ports)
    if (auto known = state.find(port);
        known != state.end() && !wanted.contains(port) && !is_closed(known->second)) {
      line out{port, changes.lines};
      close(out, port, known->second, data_dir);
    }
  for (auto port : ports) {
    auto wish = wanted.find(port);
    if (wish == wanted.end())
      continue;
    const auto& want = wish->second;
    auto found = state.find(port);
    if (found == state.end() || !found->second.bound)
      changes.unbound.insert(port);
    if (found == state.end())
      continue;
    auto& known = found->second;
    if (known.done == want)
      continue;
    line out{port, changes.lines};
    auto set = [&](haproxy_map which, const std::string& value) {
      set_map(out, which, port, known, value, data_dir);
    };
    // The checks of a new server begin at once, and need these values.
    set(haproxy_map::scopes, want->scope);
    // A port with a check and nothing to fall back to leads to the leader.
    set(haproxy_map::fallbacks, want->fallback == 0 ? "" : proxy_of(want->fallback));
    set(haproxy_map::checks, want->check);
    set(haproxy_map::limits, limits_text(want->limits.text(), 0));
    slot_names filled;
    auto all_fit = place({out, port, data_dir}, known, *want, filled);
    hold(out, known, *want);
    follow_leader(out, known, *want, filled);
    if (known.bound && !known.open)
      out.frontend(true);
    known.open = true;
    if (all_fit)
      known.done = want;
    else
      changes.crowded.insert(port);
  }
  return changes;
}

port_changes bring_about(const port_table& wanted, proxy_state& state,
                         const std::string& data_dir) {
  std::set<std::uint16_t> ports;
  for (const auto& [port, known] : state)
    ports.insert(port);
  for (const auto& [port, want] : wanted)
    ports.insert(port);
  return bring_about(wanted, ports, state, data_dir);
}

std::vector<command_line> settle(proxy_state& state, std::string_view told) {
  std::vector<command_line> lines;
  for (auto text : lines_of(told)) {
    auto words = words_of(text);
    if (words.size() <= check_status_column || words[state_column] != stopped
        || words[check_status_column] == not_checked)
      continue;
    auto port = port_of_proxy(words[proxy_column]);
    auto known = port ? state.find(*port) : state.end();
    if (known == state.end())
      continue;
    for (auto& slot : known->second.slots)
      if (slot.name == words[server_column] && slot.drained && !slot.held) {
        line out{*port, lines};
        out.set(slot, "state ready");
        slot.drained = false;
      }
  }
  return lines;
}

bool is_unsettled(const port_state& port) {
  return std::any_of(port.slots.begin(), port.slots.end(),
                     [](const server_slot& slot) { return slot.drained && !slot.held; });
}

bool is_holding(const port_state& port) {
  return std::any_of(port.slots.begin(), port.slots.end(),
                     [](const server_slot& slot) { return slot.held; });
}

std::vector<command_line> note_held(proxy_state& state, const std::set<std::uint16_t>& ports,
                                    std::string_view told, const std::string& data_dir) {
  std::map<std::uint16_t, int> sessions;
  for (auto port : ports)
    if (auto known = state.find(port); known != state.end() && is_holding(known->second))
      sessions[port] = 0;
  for (auto text : lines_of(told)) {
    std::array<std::string_view, stat_sessions_column + 1> columns;
    for (auto& column : columns) {
      auto comma = text.find(',');
      column = text.substr(0, comma);
      text = comma == std::string_view::npos ? std::string_view{} : text.substr(comma + 1);
    }
    auto port = port_of_proxy(columns[stat_proxy_column]);
    if (!port || !sessions.contains(*port))
      continue;
    for (const auto& slot : state[*port].slots)
      if (slot.held && slot.name == columns[stat_server_column])
        sessions[*port] += number_of(columns[stat_sessions_column]);
  }
  std::vector<command_line> lines;
  for (const auto& [port, count] : sessions) {
    auto& known = state[port];
    line out{port, lines};
    set_map(out, haproxy_map::limits, port, known,
            limits_text(port_limits_of(known.limits).text(), count), data_dir);
  }
  return lines;
}

namespace {

/// The words of each line of a map. HAProxy prints `0x5581… p30001 primary`; the files lack the
/// first word.
std::vector<std::vector<std::string>> entries_in(const told_state& told, haproxy_map which) {
  std::vector<std::vector<std::string>> entries;
  auto index = static_cast<std::size_t>(which);
  if (index >= told.maps.size())
    return entries;
  for (auto text : lines_of(told.maps[index])) {
    auto words = words_of(text);
    if (!words.empty() && words[0].starts_with("0x"))
      words.erase(words.begin());
    if (words.size() >= 2)
      entries.push_back(std::move(words));
  }
  return entries;
}

/// Parses a text of member_text().
std::optional<slot_content> member_in(std::string_view text, const endpoint& database) {
  auto first = text.find('/');
  auto second = text.find('/', first + 1);
  if (first == std::string_view::npos || second == std::string_view::npos)
    return std::nullopt;
  auto port = port_of(text.substr(first + 1, second - first - 1));
  if (!port)
    return std::nullopt;
  return slot_content{database,
                      {std::string{text.substr(0, first)}, *port},
                      true,
                      std::string{text.substr(second + 1)}};
}

} // namespace

proxy_state state_of(const told_state& told) {
  proxy_state state;
  std::map<std::string, std::string> members;
  for (auto& words : entries_in(told, haproxy_map::members))
    members[words[0]] = words[1];
  for (auto text : lines_of(told.servers)) {
    auto words = words_of(text);
    if (words.size() <= check_address_column)
      continue;
    auto port = port_of_proxy(words[proxy_column]);
    if (!port)
      continue;
    auto& known = state[*port];
    known.bound = known.open = false;
    server_slot slot;
    slot.name = words[server_column];
    auto admin = number_of(words[admin_column]);
    auto database_port = port_of(words[port_column]);
    auto check_port = port_of(words[check_port_column]);
    if ((admin & in_maintenance) == 0 && words[address_column] != nowhere.host && database_port
        && check_port) {
      auto check_host =
          words[check_address_column] == "-" ? words[address_column] : words[check_address_column];
      const endpoint database{words[address_column], *database_port};
      // HAProxy of an earlier release had slots of two kinds.
      slot.holds = slot_content{database, {check_host, *check_port}, slot.name.starts_with('s')};
      if (auto found = members.find(member_key(*port, slot)); found != members.end())
        slot.holds = member_in(found->second, database);
      slot.drained = (admin & in_drain) != 0;
      slot.up = words[state_column] != stopped;
      slot.is_checked = words[check_status_column] != not_checked;
    }
    known.slots.push_back(std::move(slot));
  }
  // `p30001,FRONTEND,…,OPEN,…`
  for (auto text : lines_of(told.frontends)) {
    auto comma = text.find(',');
    if (comma == std::string_view::npos)
      continue;
    auto port = port_of_proxy(text.substr(0, comma));
    auto found = port ? state.find(*port) : state.end();
    if (found == state.end())
      continue;
    found->second.bound = true;
    found->second.open = text.find(",OPEN,") != std::string_view::npos;
  }
  for (auto which : port_maps) {
    for (const auto& words : entries_in(told, which)) {
      auto port = which == haproxy_map::scopes || which == haproxy_map::checks
                      ? port_of_proxy(words[0])
                      : port_of(words[0]);
      if (auto found = port ? state.find(*port) : state.end(); found != state.end())
        value_in(which, found->second) = words[1];
    }
  }
  for (auto& [port, known] : state) {
    if (!leads_to_leader(known))
      continue;
    auto takes = [](const server_slot& slot) { return slot.holds && slot.up && !slot.drained; };
    auto only = std::find_if(known.slots.begin(), known.slots.end(), takes);
    if (only != known.slots.end() && std::none_of(only + 1, known.slots.end(), takes))
      known.leader = only->holds;
  }
  return state;
}

port_table table_of(const proxy_state& state) {
  port_table table;
  for (const auto& [port, known] : state) {
    wanted_port one;
    // On a port to replicas, a drained server is held back, or is the leader.
    for (const auto& slot : known.slots)
      if (slot.holds)
        (slot.drained && !leads_to_leader(known) ? one.held : one.servers).push_back(*slot.holds);
    if ((one.servers.empty() && one.held.empty()) || known.scope.empty())
      continue;
    std::sort(one.servers.begin(), one.servers.end());
    std::sort(one.held.begin(), one.held.end());
    one.scope = known.scope;
    one.check = known.check;
    one.fallback = port_of_proxy(known.fallback).value_or(0);
    one.to_leader = leads_to_leader(known);
    one.leader = known.leader;
    one.limits = port_limits_of(known.limits);
    table.emplace(port, std::make_shared<const wanted_port>(std::move(one)));
  }
  return table;
}

std::string refusal_in(std::string_view answer) {
  // The answers of these commands when they succeed, or had nothing to do.
  constexpr std::array<std::string_view, 4> fine{"IP changed from", "no need to change the",
                                                 "All sockets are already", "port changed from"};
  auto is_fine = [&](std::string_view said) {
    return std::any_of(fine.begin(), fine.end(),
                       [&](std::string_view start) { return said.starts_with(start); });
  };
  // An address and a port are answered separately, on one line.
  constexpr std::string_view between = ", ";
  for (auto text : lines_of(answer))
    for (auto rest = text; !rest.empty();) {
      auto end = rest.find(between);
      if (!is_fine(rest.substr(0, end)))
        return std::string{text};
      rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + between.size());
    }
  return {};
}

} // namespace matriarch::router
