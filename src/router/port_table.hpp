#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "router/limits.hpp"
#include "router/routing_table.hpp"

/// What HAProxy should do with each public port, as opposed to what it does.
namespace matriarch::router {

/// The content of a HAProxy slot: where a member's clients connect, and where HAProxy checks it.
/// The hosts are addresses, for HAProxy accepts no names while it runs.
struct slot_content {
  endpoint database;
  endpoint control;
  bool control_has_tls = false;
  /// The name that the member's certificate must have, signed by the fleet's authority. Empty: any
  /// certificate is accepted, as for a member of another make.
  std::string certified_as = {};
  auto operator<=>(const slot_content&) const = default;
};

/// What a public port should do.
struct wanted_port {
  std::string instance;
  std::string scope; ///< the scope that a server has to answer with
  std::string check; ///< how a server is asked whether it is the right one, see engine_check
  /// The port whose servers are used while none of its own is up; 0 if there is none.
  std::uint16_t fallback = 0;
  /// Whether the port leads to the cluster's leader, or to the replicas.
  bool to_leader = true;
  std::vector<slot_content> servers; ///< sorted
  /// Servers that get no new connections and keep those that they have; sorted.
  std::vector<slot_content> held = {};
  /// The leader that etcd names; nothing if it names none, or one that is no server of this port.
  std::optional<slot_content> leader;
  port_limits limits;
  bool operator==(const wanted_port&) const = default;
};

/// How many slots it takes.
[[nodiscard]] inline std::ptrdiff_t servers_of(const wanted_port& one) {
  return std::ssize(one.servers) + std::ssize(one.held);
}

/// By port. An entry that has not changed is the same object as before, so that comparing pointers
/// suffices.
using port_table = std::map<std::uint16_t, std::shared_ptr<const wanted_port>>;

/// The ports of one route. `leader` is the name of the leading member, empty if none is known;
/// `routers` is how many share a node's connections.
[[nodiscard]] port_table ports_of(const route& what, const std::string& leader,
                                  const limit_settings& limits, int routers);

/// Applies changes to a table: a port without an object is not wanted any more.
void take_up(port_table& table, const port_table& changes);

/// What is wanted of all instances' ports, and which of it is new.
class wanted_ports {
public:
  [[nodiscard]] const port_table& table() const { return table_; }

  /// Replaces the instance's ports.
  void set(const std::string& instance, port_table ports);
  /// Replaces all ports.
  void replace(port_table all);

  /// The ports that have changed since the last call; a port that is no longer wanted has no
  /// object.
  [[nodiscard]] port_table take_changes();

private:
  void put(std::uint16_t port, std::shared_ptr<const wanted_port> one);
  void remove(std::uint16_t port);

  port_table table_;
  std::map<std::string, std::vector<std::uint16_t>> ports_of_; ///< by instance
  std::set<std::uint16_t> changed_;
};

} // namespace matriarch::router
