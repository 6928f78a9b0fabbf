#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "router/haproxy_state.hpp"
#include "router/router_config.hpp"

/// HAProxy's files as texts: its configuration, the maps that it reads, and what it knows of its
/// servers. While it runs all that changes goes by its socket; the files are for its next start.
namespace matriarch::router {

/// How many slots a port has, and whether HAProxy shall open it.
struct port_shape {
  bool bound = true;
  int slots = 0;
  bool operator==(const port_shape&) const = default;
};
/// What only a reload can change. By port.
using haproxy_shape = std::map<std::uint16_t, port_shape>;

/// The shape that a state of HAProxy has.
[[nodiscard]] haproxy_shape shape_of(const proxy_state& state);

/// The shape that HAProxy needs: that of `now` if it is enough, so that it is reloaded as seldom as
/// can be. Every port of the range has the settings' slots; more where a port's servers do not fit. A
/// wanted port out of the range is added. `free` says of a port that HAProxy does not have whether it could be opened; one that
/// cannot is not. Those of `now` that are not bound are opened only when they are wanted.
[[nodiscard]] haproxy_shape shape_for(const router_config& settings, const port_table& wanted,
                                      const haproxy_shape& now,
                                      const std::function<bool(std::uint16_t)>& free);

/// An empty state of that shape: nothing is in it and every port is open, as HAProxy starts.
[[nodiscard]] proxy_state empty_state(const haproxy_shape& shape);

/// What HAProxy reads beside its file, PEM.
struct pem_texts {
  std::string broker = {}; ///< the certificate and the key of the brokers' port
  /// Who may have signed members' certificates: the fleet's authority. While nobody has said
  /// who that is, they are not looked at.
  std::string fleet = {};
  bool operator==(const pem_texts&) const = default;
};

/// HAProxy's file. Equal arguments give equal texts. What is in the slots is for the next start:
/// description() does not tell it. `pem` is what is at certificate_path() and authority_path().
[[nodiscard]] std::string haproxy_text(const router_config& settings, const proxy_state& state,
                                       const pem_texts& pem = {});

/// HAProxy tells its `description`, so this says whether it runs what haproxy_text() would have it
/// run, whatever is in the slots.
[[nodiscard]] std::string description_of(const router_config& settings, const haproxy_shape& shape,
                                         const pem_texts& pem = {});

/// The text of a map's file.
[[nodiscard]] std::string map_text(haproxy_map which, const proxy_state& state);

/// The server-state-file: who is drained, and that those in slots are up whom etcd has called the
/// leader, or who were up when HAProxy was asked last. All others are down until their first check,
/// where HAProxy 2.6 would take any server to be up.
[[nodiscard]] std::string server_state_file(const proxy_state& state, const std::string& data_dir);

/// The listen of the brokers.
inline const std::string broker_listen = ":broker";

/// Where the certificate and the key of the brokers' port are, as one file.
[[nodiscard]] std::string certificate_path(const router_config& settings);
/// Where the certificates of the fleet's authority are.
[[nodiscard]] std::string authority_path(const router_config& settings);

/// The worker processes as the master tells them.
struct haproxy_processes {
  int master = 0;
  int failed_reloads = 0;
  std::vector<int> current;
  std::vector<int> old;
};
/// Reads the answer to `show proc`; `master` is 0 if it is no such answer.
[[nodiscard]] haproxy_processes parse_show_proc(std::string_view answer);

/// The ports that HAProxy says it could not bind, from what it printed.
[[nodiscard]] std::set<std::uint16_t> ports_not_bound(std::string_view printed);

/// The alerts in what HAProxy printed, on one line; without any, the last line.
[[nodiscard]] std::string alerts_in(std::string_view printed);

} // namespace matriarch::router
