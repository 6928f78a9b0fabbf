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

/// What HAProxy shall do by what etcd says, with addresses in place of the names of hosts, and what
/// has no place for want of one. Belongs to the event loop's thread.
class placed_routes {
public:
  /// Both have to outlive it.
  placed_routes(const limit_settings& limits, const routing_table& table)
      : limits_(limits), table_(table) {}

  /// Begins to look names up. `changed` is called when instances have got other places by that.
  void start(base::event_loop& loop, std::function<void()> changed);
  /// Nothing is looked up any more. From any thread.
  void stop();

  /// Makes the ports of all instances what the table says; `routers` is how many share what a node
  /// takes.
  void place_all(int routers);
  /// The same for the ports of one.
  void place(const std::string& instance);
  /// And of those some of whose nodes have no place: names may have got addresses.
  void place_left_out();
  /// The hosts of routes that do not change may get other addresses, which are told of.
  void look_at_names();

  /// How many routers share what a node takes, as of the last place_all(); negative before it.
  [[nodiscard]] int sharing() const { return sharing_; }

  /// As long as etcd has not told, what an earlier run served.
  [[nodiscard]] wanted_ports& wanted() { return wanted_; }
  [[nodiscard]] const wanted_ports& wanted() const { return wanted_; }
  /// What has no place.
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
  /// Whose nodes' hosts are names; also who has left, until all are placed again.
  std::map<std::string, std::set<std::string>> instances_at_;
  wanted_ports wanted_;
};

} // namespace matriarch::router
