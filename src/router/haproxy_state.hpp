#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "router/port_table.hpp"

/// What HAProxy does with each public port, and the commands that make it do what is wanted.
namespace matriarch::router {

/// Room for one server in the listen of a port. Its content is set while HAProxy runs. If the
/// server is asked by TLS, its checks go through the relay.
struct server_slot {
  std::string name;
  std::optional<slot_content> holds;
  /// The server takes no new connections, although its check may pass: another member leads.
  bool drained = false;
  /// The server is drained because it is held back, and not only until its check has failed.
  bool held = false;
  /// As HAProxy last reported. Not kept current, for checks change it.
  bool up = false;
  bool is_checked = false;
  bool operator==(const server_slot&) const = default;
};

/// A port's listen, or its backend where the port could not be opened.
struct port_state {
  bool bound = true; ///< HAProxy has the port, open or not
  bool open = true;
  std::vector<server_slot> slots;
  // The values in the maps; empty if a map has none.
  std::string scope;
  std::string check;
  std::string fallback;
  std::string limits; ///< behind the limits: how many sessions the held-back servers have
  /// The server that HAProxy was told to treat as the leader; nothing if it was told of none.
  std::optional<slot_content> leader;
  /// The last wanted port that was brought about here. If the same object is still wanted, nothing
  /// has to be compared.
  std::shared_ptr<const wanted_port> done;
  bool operator==(const port_state&) const = default;
};
using proxy_state = std::map<std::uint16_t, port_state>;

/// Whether the port is used and leads to the leader alone: a port that leads to replicas has a
/// fallback.
[[nodiscard]] inline bool leads_to_leader(const port_state& port) {
  return !port.check.empty() && port.fallback.empty();
}

/// The name of a port's listen, such as `p30001`: it cannot change while HAProxy runs.
[[nodiscard]] std::string proxy_of(std::uint16_t port);
/// The port of such a name; nothing if the text is no such name.
[[nodiscard]] std::optional<std::uint16_t> port_of_proxy(std::string_view name);

/// The content of an empty slot, and the name of the `number`th slot, counted from 1.
inline const endpoint nowhere{"0.0.0.0", 1};
[[nodiscard]] std::string slot_name(int number);

/// Where checks by TLS go: a frontend of HAProxy's own, on a loopback address of this router. The
/// relay asks the member in the slot's place, as the map of members says. Without it HAProxy would
/// make an OpenSSL context for each slot, which costs too much time and memory: 16,608 of them take
/// 19 s at each start, and 220 MB.
[[nodiscard]] endpoint relay_of(const std::string& data_dir);

/// The files of the maps, which are in the data directory.
enum class haproxy_map { scopes, checks, fallbacks, limits, members };
inline constexpr haproxy_map all_maps[] = {haproxy_map::scopes, haproxy_map::checks,
                                           haproxy_map::fallbacks, haproxy_map::limits,
                                           haproxy_map::members};
/// The maps that have one value for each port; the map of members has one for each slot.
inline constexpr haproxy_map port_maps[] = {haproxy_map::scopes, haproxy_map::checks,
                                            haproxy_map::fallbacks, haproxy_map::limits};
[[nodiscard]] std::string path_of(haproxy_map which, const std::string& data_dir);
/// The key in a map's file: the name of the listen, or for the last two maps the port.
[[nodiscard]] std::string key_in(haproxy_map which, std::uint16_t port);
/// The key in the map of members, by listen and slot, and the value: address, port and the name
/// that the member's certificate must have, separated by slashes. The value is empty if the member
/// is not asked by TLS.
[[nodiscard]] std::string member_key(std::uint16_t port, const server_slot& slot);
[[nodiscard]] std::string member_text(const server_slot& slot);
/// The value in one of port_maps for a port; empty if there is none.
[[nodiscard]] const std::string& value_in(haproxy_map which, const port_state& port);

/// One line of commands, all of which HAProxy carries out before it does anything else.
struct command_line {
  std::string text;
  std::uint16_t port = 0; ///< the port that the commands are for
};

/// The commands that bring the ports to what is wanted.
struct port_changes {
  std::vector<command_line> lines;
  /// Ports whose members do not fit into the slots.
  std::set<std::uint16_t> crowded;
  /// Wanted ports that HAProxy does not have.
  std::set<std::uint16_t> unbound;
};

/// The commands that change these ports from `state` to what is wanted; `state` becomes the new
/// state. The order: a port that is not wanted is closed, and its servers' sessions end; servers
/// that left are removed from their slots, with their sessions; one and the same line takes new and
/// present sessions away from a leader that was replaced and puts the new leader to use; a port is
/// opened last, when it leads somewhere. A new server is not used before its check has passed,
/// unless etcd says that it leads.
[[nodiscard]] port_changes bring_about(const port_table& wanted,
                                       const std::set<std::uint16_t>& ports, proxy_state& state,
                                       const std::string& data_dir);
/// The same for all ports.
[[nodiscard]] port_changes bring_about(const port_table& wanted, proxy_state& state,
                                       const std::string& data_dir);

/// The commands that end what leader changes leave behind: a drained server whose check has failed
/// since then is left to its checks again. `told` is HAProxy's answer to `show servers state`.
/// `state` becomes the new state.
[[nodiscard]] std::vector<command_line> settle(proxy_state& state, std::string_view told);

/// Whether settle() has anything to wait for at this port.
[[nodiscard]] bool is_unsettled(const port_state& port);

/// Whether a server of this port is held back.
[[nodiscard]] bool is_holding(const port_state& port);

/// The commands that let the other servers of such ports have their full number of sessions,
/// however many the held-back servers still have. `told` is HAProxy's answer to `show stat` of
/// these ports' servers. `state` becomes the new state.
[[nodiscard]] std::vector<command_line> note_held(proxy_state& state,
                                                  const std::set<std::uint16_t>& ports,
                                                  std::string_view told,
                                                  const std::string& data_dir);

/// What HAProxy answers to `show servers state`, `show stat -1 1 -1` (the frontends), and `show map`
/// of each map's file, in the order of all_maps.
struct told_state {
  std::string servers;
  std::string frontends;
  std::vector<std::string> maps;
};
/// HAProxy's state, from its answers. A port's leader is its only server that takes sessions.
[[nodiscard]] proxy_state state_of(const told_state& told);

/// The table that leads to such a state, as far as the state tells: without instances.
[[nodiscard]] port_table table_of(const proxy_state& state);

/// The part of HAProxy's answer that does not confirm the commands; empty if all were carried out.
[[nodiscard]] std::string refusal_in(std::string_view answer);

} // namespace matriarch::router
