#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "router/router_config.hpp"
#include "router/routing_table.hpp"

/// HAProxy's files as texts: its configuration, and what it knows of its servers.
namespace matriarch::router {

struct haproxy_server {
  std::string proxy; ///< the listen or backend it is in
  std::string name;
  endpoint where;
  bool operator==(const haproxy_server&) const = default;
};

/// One `listen` section, with the backends after it that belong to it.
struct haproxy_listen {
  std::string name;
  std::string bind_host;
  std::uint16_t port = 0;
  std::vector<haproxy_server> servers;
  std::string text; ///< the whole section
  bool operator==(const haproxy_listen&) const = default;
};

/// A whole configuration, in sections that can be left out.
struct haproxy_config {
  std::string head; ///< `global` without the description, and `defaults`
  std::vector<haproxy_listen> listens;

  /// HAProxy tells its `description`, so this says which configuration a worker runs: it is made
  /// from everything else in the text.
  [[nodiscard]] std::string description() const;
  [[nodiscard]] std::string text() const;
  /// The listen that holds a line of text(), counted from 1; nullptr if none does.
  [[nodiscard]] const haproxy_listen* listen_at(int line) const;
  bool operator==(const haproxy_config&) const = default;
};

/// The name of an instance's listen or of a member's server. HAProxy takes letters, digits, `-`,
/// `_`, `.` and `:`; so the `~` of a name that is a hash becomes `:`.
[[nodiscard]] std::string haproxy_name(std::string_view name);
/// The other way round, for the listens of instances: both of an instance's lead to its name.
[[nodiscard]] std::string instance_of(std::string_view haproxy_name);

/// The listen of the brokers; no instance can have this name.
inline const std::string broker_listen = ":broker";

/// The listen of an instance's second port, which leads to its replicas, and the backend that it
/// uses while no replica is up; no instance can have these names.
[[nodiscard]] std::string read_only_listen(std::string_view instance);
[[nodiscard]] std::string read_only_leader(std::string_view instance);

/// Whether a listen is that of an instance's first port, or of its second; the brokers' is neither.
[[nodiscard]] bool is_first_port(const haproxy_listen& listen);
[[nodiscard]] bool is_read_only_port(const haproxy_listen& listen);

/// Where the certificate and the key of the brokers' port are, as one file.
[[nodiscard]] std::string certificate_path(const router_config& settings);

/// What HAProxy shall run. Equal arguments give equal texts. `certificate` is what is at
/// certificate_path(): HAProxy reads it anew with a configuration that is another text.
[[nodiscard]] haproxy_config haproxy_config_of(const router_config& settings,
                                               const std::vector<route>& served,
                                               std::string_view certificate = {});

/// Reads back a text that haproxy_config::text() made, of this or an earlier version.
[[nodiscard]] haproxy_config parse_haproxy_config(std::string_view text);

/// A listen or backend, and one of its servers.
using server_key = std::pair<std::string, std::string>;

/// The servers that are up, and where, from the answer to `show servers state`.
[[nodiscard]] std::map<server_key, endpoint> servers_up(std::string_view show_servers_state);

/// The server-state-file for a configuration: up are the servers in `up` that are still where they
/// were, unless another is known to lead (`leaders`, server by listen or backend). All others are
/// down until their first check, where HAProxy 2.6 would take any new server to be up.
[[nodiscard]] std::string server_state_file(const haproxy_config& config,
                                            const std::map<server_key, endpoint>& up,
                                            const std::map<std::string, std::string>& leaders);

/// What the checks of a worker say of the servers of its instances' ports.
class check_results {
public:
  /// From the answer to `show servers state`.
  explicit check_results(std::string_view show_servers_state);

  /// Whether a session with that server has nothing more to hope for: the server's check has failed
  /// so that it is down, or it is no server of this listen or backend any more. Not if the listen
  /// or backend itself is unknown, nor before a server's first check.
  [[nodiscard]] bool is_lost(const server_key& server) const;

private:
  std::set<std::string, std::less<>> proxies_;
  std::set<server_key> not_failed_;
};

/// The worker processes as the master tells them.
struct haproxy_processes {
  int master = 0;
  int failed_reloads = 0;
  std::vector<int> current;
  std::vector<int> old;
};
/// Reads the answer to `show proc`; `master` is 0 if it is no such answer.
[[nodiscard]] haproxy_processes parse_show_proc(std::string_view answer);

/// The ids of the sessions with a server of which that is true, from the answer to `show sess`.
[[nodiscard]] std::vector<std::string>
sessions_with(const std::function<bool(const server_key&)>& is_meant, std::string_view show_sess);

/// The ports that HAProxy says it could not bind, from what it printed.
[[nodiscard]] std::set<std::uint16_t> ports_not_bound(std::string_view printed);

/// The lines of the configuration file `path` that HAProxy complains about, from what it printed.
[[nodiscard]] std::set<int> lines_refused(std::string_view printed, std::string_view path);

/// The alerts in what HAProxy printed, on one line; without any, the last line.
[[nodiscard]] std::string alerts_in(std::string_view printed);

} // namespace matriarch::router
