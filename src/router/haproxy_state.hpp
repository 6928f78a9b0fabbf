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

/// What HAProxy does with each public port, and the commands that make it do what it shall.
namespace matriarch::router {

/// Room for one server in the listen of a port. What it holds is set while HAProxy runs, also whether
/// it is asked by TLS: then its checks go by the relay.
struct server_slot {
  std::string name;
  std::optional<slot_content> holds;
  /// It takes no new connections, although its check may pass: someone else leads.
  bool drained = false;
  /// That is so because it is held back, and not until its check has failed.
  bool held = false;
  /// As HAProxy last told; not followed, for checks change them.
  bool up = false;
  bool is_checked = false;
  bool operator==(const server_slot&) const = default;
};

/// A port's listen, or its backend where the port could not be opened.
struct port_state {
  bool bound = true; ///< HAProxy has the port, open or not
  bool open = true;
  std::vector<server_slot> slots;
  // What the maps say; empty if they say nothing.
  std::string scope;
  std::string check;
  std::string fallback;
  std::string limits; ///< and behind them, how many sessions servers have that are held back
  /// Whom HAProxy was told to take for the leader; nothing if it was not told.
  std::optional<slot_content> leader;
  /// What was last brought about here: nothing has to be compared if it is wanted still.
  std::shared_ptr<const wanted_port> done;
  bool operator==(const port_state&) const = default;
};
using proxy_state = std::map<std::uint16_t, port_state>;

/// Whether it is used, and by who leads alone: a port that leads to others has another one to fall back
/// to.
[[nodiscard]] inline bool leads_to_leader(const port_state& port) {
  return !port.check.empty() && port.fallback.empty();
}

/// The name of a port's listen, `p30001`: it cannot change while HAProxy runs.
[[nodiscard]] std::string proxy_of(std::uint16_t port);
/// The other way round; nothing if it is no such name.
[[nodiscard]] std::optional<std::uint16_t> port_of_proxy(std::string_view name);

/// What an empty slot holds, and the name of the `number`th slot, counted from 1.
inline const endpoint nowhere{"0.0.0.0", 1};
[[nodiscard]] std::string slot_name(int number);

/// Where checks by TLS go: a frontend of HAProxy's own, on a loopback address that is this router's.
/// It asks the member in the slot's place, as the map of members says. HAProxy would take a
/// context of OpenSSL's for each slot otherwise, which nobody has time and memory for: 16,608 of them
/// take 19 s at each start, and 220 MB.
[[nodiscard]] endpoint relay_of(const std::string& data_dir);

/// The files of the maps, which are in the data directory.
enum class haproxy_map { scopes, checks, fallbacks, limits, members };
inline constexpr haproxy_map all_maps[] = {haproxy_map::scopes, haproxy_map::checks,
                                           haproxy_map::fallbacks, haproxy_map::limits,
                                           haproxy_map::members};
/// Those that have one value for each port; that of the members has one for each slot.
inline constexpr haproxy_map port_maps[] = {haproxy_map::scopes, haproxy_map::checks,
                                            haproxy_map::fallbacks, haproxy_map::limits};
[[nodiscard]] std::string path_of(haproxy_map which, const std::string& data_dir);
/// The files' keys: the name of the listen, or for the last two its port.
[[nodiscard]] std::string key_in(haproxy_map which, std::uint16_t port);
/// The same of the map of members, by listen and slot, and what it says: the address and
/// port and what its certificate has to name, with slashes between them. Empty: it is not asked by TLS.
[[nodiscard]] std::string member_key(std::uint16_t port, const server_slot& slot);
[[nodiscard]] std::string member_text(const server_slot& slot);
/// What one of port_maps says of a port; empty if nothing.
[[nodiscard]] const std::string& value_in(haproxy_map which, const port_state& port);

/// One line of commands, which HAProxy carries out one after the other before anything else.
struct command_line {
  std::string text;
  std::uint16_t port = 0; ///< whom it is for
};

/// What it takes to bring the ports to what is wanted.
struct port_changes {
  std::vector<command_line> lines;
  /// Ports of which the members do not fit into the slots.
  std::set<std::uint16_t> crowded;
  /// Wanted ports that HAProxy does not have.
  std::set<std::uint16_t> unbound;
};

/// The commands that make HAProxy do what is wanted with these ports where it does `state`, which
/// becomes what it does then. In this order: a port that is not wanted is closed, and its servers'
/// sessions end; servers that left are emptied with their sessions; a leader that was replaced takes
/// no new sessions and loses those it has in the same line that makes the new one be used at once;
/// and a port is opened last, when it leads somewhere. A new server is not used before its check has
/// passed, unless etcd says that it leads.
[[nodiscard]] port_changes bring_about(const port_table& wanted,
                                       const std::set<std::uint16_t>& ports, proxy_state& state,
                                       const std::string& data_dir);
/// The same for all ports.
[[nodiscard]] port_changes bring_about(const port_table& wanted, proxy_state& state,
                                       const std::string& data_dir);

/// The commands that end what leader changes leave behind: a server that is drained and whose check
/// has failed since can be followed by its checks again. `told` is HAProxy's answer to `show servers
/// state`. The state becomes what HAProxy does then.
[[nodiscard]] std::vector<command_line> settle(proxy_state& state, std::string_view told);

/// Whether settle() has anything to wait for there.
[[nodiscard]] bool is_unsettled(const port_state& port);

/// Whether a server is held back there.
[[nodiscard]] bool is_holding(const port_state& port);

/// The commands that let through to the other servers of such ports what they take, whatever those that
/// are held back still have. `told` is HAProxy's answer to `show stat` of these ports' servers. The state
/// becomes what HAProxy does then.
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
/// What HAProxy does, from what it says. A port's leader is its only server that takes sessions.
[[nodiscard]] proxy_state state_of(const told_state& told);

/// The table that such a state is what came of, as far as it can be told: without instances.
[[nodiscard]] port_table table_of(const proxy_state& state);

/// What in HAProxy's answer to such commands is not what they answer when they are carried out;
/// empty if they all were.
[[nodiscard]] std::string refusal_in(std::string_view answer);

} // namespace matriarch::router
