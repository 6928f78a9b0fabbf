#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "router/haproxy_state.hpp"
#include "router/router_config.hpp"

/// HAProxy's files as texts: its configuration, its maps, and the state of its servers. While
/// HAProxy runs, all changes go through its socket; the files are for its next start.
namespace matriarch::router {

/// How many slots a port has, and whether HAProxy should open it.
struct port_shape {
  bool bound = true;
  int slots = 0;
  bool operator==(const port_shape&) const = default;
};
/// What only a reload can change. By port.
using haproxy_shape = std::map<std::uint16_t, port_shape>;

/// The shape that a state of HAProxy has.
[[nodiscard]] haproxy_shape shape_of(const proxy_state& state);

/// The shape that HAProxy needs. It is that of `now` if that is enough, so that HAProxy is reloaded
/// as seldom as possible. Every port of the range has the settings' slots, or more where a port's
/// servers do not fit. A wanted port out of the range is added. `free` tells whether a port that
/// HAProxy does not have could be opened; a port that could not is left out. Ports of `now` that
/// are not bound are opened only when they are wanted.
[[nodiscard]] haproxy_shape shape_for(const router_config& settings, const port_table& wanted,
                                      const haproxy_shape& now,
                                      const std::function<bool(std::uint16_t)>& free);

/// An empty state of that shape, as HAProxy starts: no servers, and every port open.
[[nodiscard]] proxy_state empty_state(const haproxy_shape& shape);

/// What HAProxy reads beside its file, PEM.
struct pem_texts {
  std::string broker = {}; ///< the certificate and the key of the brokers' port
  /// The certificates of the fleet's authority, which must have signed the members' certificates.
  /// Empty: the authority is not known, and members' certificates are not checked.
  std::string fleet = {};
  bool operator==(const pem_texts&) const = default;
};

/// HAProxy's file. Equal arguments give equal texts. The contents of the slots are for the next
/// start only: description_of() does not depend on them. `pem` is what is at certificate_path() and
/// authority_path().
[[nodiscard]] std::string haproxy_text(const router_config& settings, const proxy_state& state,
                                       const pem_texts& pem = {});

/// The `description` line of that file. HAProxy reports it, which shows whether it runs what
/// haproxy_text() would have it run, whatever is in the slots.
[[nodiscard]] std::string description_of(const router_config& settings, const haproxy_shape& shape,
                                         const pem_texts& pem = {});

/// The text of a map's file.
[[nodiscard]] std::string map_text(haproxy_map which, const proxy_state& state);

/// The server-state-file: which servers are drained and which are up. Up are those in slots that
/// etcd has called the leader, and those that were up when HAProxy was last asked. All others are
/// down until their first check; HAProxy 2.6 would otherwise take every server to be up.
[[nodiscard]] std::string server_state_file(const proxy_state& state, const std::string& data_dir);

/// The name of the listen for the brokers.
inline const std::string broker_listen = ":broker";

/// Where the certificate and the key of the brokers' port are, as one file.
[[nodiscard]] std::string certificate_path(const router_config& settings);
/// Where the certificates of the fleet's authority are.
[[nodiscard]] std::string authority_path(const router_config& settings);

/// The processes as the master reports them.
struct haproxy_processes {
  int master = 0;
  int failed_reloads = 0;
  std::vector<int> current;
  std::vector<int> old;
};
/// Reads the answer to `show proc`; `master` is 0 if the text is no such answer.
[[nodiscard]] haproxy_processes parse_show_proc(std::string_view answer);

/// The ports that HAProxy says it could not bind, from what it printed.
[[nodiscard]] std::set<std::uint16_t> ports_not_bound(std::string_view printed);

/// The alerts in what HAProxy printed, on one line; without any, the last line.
[[nodiscard]] std::string alerts_in(std::string_view printed);

} // namespace matriarch::router
