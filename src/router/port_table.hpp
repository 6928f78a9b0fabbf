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

/// What HAProxy shall do with each public port, as opposed to what it does.
namespace matriarch::router {

/// Where a member's clients connect, and where it is asked who it is: what a slot of HAProxy's holds. The hosts are
/// addresses, for HAProxy takes no names while it runs.
struct slot_content {
  endpoint database;
  endpoint control;
  bool control_has_tls = false;
  /// What its certificate, of the fleet's authority, has to name; empty: any certificate is taken,
  /// as of a member of another make.
  std::string certified_as = {};
  auto operator<=>(const slot_content&) const = default;
};

/// What a public port shall do.
struct wanted_port {
  std::string instance;
  std::string scope; ///< a server has to answer so
  std::string check; ///< by which a server says that it is the right one, see engine_check
  /// The port whose servers are used while none of its own is up; 0 if there is none.
  std::uint16_t fallback = 0;
  /// Whether it leads to the cluster's leader, or to the others.
  bool to_leader = true;
  std::vector<slot_content> servers; ///< sorted
  /// Who gets no new connections and keeps those that are there; sorted.
  std::vector<slot_content> held = {};
  /// Whom etcd names as the leader; nothing if nobody is, or one that is no server of this port.
  std::optional<slot_content> leader;
  port_limits limits;
  bool operator==(const wanted_port&) const = default;
};

/// How many slots it takes.
[[nodiscard]] inline std::ptrdiff_t servers_of(const wanted_port& one) {
  return std::ssize(one.servers) + std::ssize(one.held);
}

/// By port. What has not changed is the same object as before, so that a look at it tells.
using port_table = std::map<std::uint16_t, std::shared_ptr<const wanted_port>>;

/// The ports of one route. `leader` is the name of the leading member, empty if none is known;
/// `routers` is how many share what a node takes.
[[nodiscard]] port_table ports_of(const route& what, const std::string& leader,
                                  const limit_settings& limits, int routers);

/// Puts changes into a table: the ports without an object are not wanted any more.
void take_up(port_table& table, const port_table& changes);

/// What is wanted of all instances' ports, and what of that is new.
class wanted_ports {
public:
  [[nodiscard]] const port_table& table() const { return table_; }

  /// These are the instance's ports from now on.
  void set(const std::string& instance, port_table ports);
  /// These are all ports from now on.
  void replace(port_table all);

  /// The ports that have changed since the last call; those that are wanted no more have no object.
  [[nodiscard]] port_table take_changes();

private:
  void put(std::uint16_t port, std::shared_ptr<const wanted_port> one);
  void remove(std::uint16_t port);

  port_table table_;
  std::map<std::string, std::vector<std::uint16_t>> ports_of_; ///< by instance
  std::set<std::uint16_t> changed_;
};

} // namespace matriarch::router
