#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/event_loop.hpp"
#include "router/host_addresses.hpp"
#include "router/limits.hpp"
#include "router/port_table.hpp"
#include "router/routing_table.hpp"

namespace matriarch::router {

/// What HAProxy should do according to etcd, with addresses in place of host names, and what cannot
/// be served. Belongs to the event loop's thread.
class placed_routes {
public:
  /// Both have to outlive it.
  placed_routes(const limit_settings& limits, const routing_table& table)
      : limits_(limits), table_(table) {}

  /// Begins to look names up. `changed` is called when a lookup has changed the addresses of
  /// instances.
  void start(base::event_loop& loop, std::function<void()> changed);
  /// Stops the lookups. From any thread.
  void stop();

  /// Sets the ports of all instances from the table; `routers` is how many share a node's
  /// connections.
  void place_all(int routers);
  /// The same for the ports of one instance.
  void place(const std::string& instance);
  /// The same for instances with nodes that have no address: names may have got addresses.
  void place_left_out();
  /// Looks up again the hosts of routes that do not change, for their addresses may; `changed`
  /// reports those.
  void look_at_names();

  /// How many routers share a node's connections, as of the last place_all(); negative before the
  /// first.
  [[nodiscard]] int sharing() const { return sharing_; }

  /// What HAProxy should do. Until etcd has listed its keys, this is what an earlier run served.
  [[nodiscard]] wanted_ports& wanted() { return wanted_; }
  [[nodiscard]] const wanted_ports& wanted() const { return wanted_; }
  /// What cannot be served, and why.
  [[nodiscard]] std::vector<router::left_out> left_out() const;

private:
  [[nodiscard]] port_table ports_of_instance(const std::string& instance);
  [[nodiscard]] port_table ports_that_stay(const std::string& instance,
                                           const std::vector<std::uint16_t>& ports) const;
  [[nodiscard]] port_table ports_of_route(const route& one, std::vector<router::left_out>& lost);

  const limit_settings& limits_;
  const routing_table& table_;
  std::unique_ptr<host_addresses> addresses_;
  int sharing_ = -1; ///< how many routers share what nodes take; none is known yet
  std::map<std::string, std::vector<router::left_out>> left_out_; ///< by instance
  /// The instances with nodes at a host name; also those that have left it, until the next
  /// place_all().
  std::map<std::string, std::set<std::string>> instances_at_;
  wanted_ports wanted_;
};

} // namespace matriarch::router
