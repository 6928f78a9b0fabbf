#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/result.hpp"

/// Where a cell's nodes listen, and which place the next node gets.
namespace matriarch::cell {

/// The ports a node uses on an address of its own.
struct node_ports {
  int data = 0; ///< where clients connect
  int api = 0;  ///< its API
};

/// How long a node's `host:port` is left alone after the node's removal. A stale route or a pooled
/// connection of a client must not meet another tenant there; ten minutes is the design's number.
inline constexpr std::chrono::milliseconds endpoint_rest = std::chrono::minutes{10};

struct endpoint {
  std::string host;
  int port = 0;
  int api_port = 0;

  auto operator<=>(const endpoint&) const = default;
};

/// `host:port` for clients: the name of an endpoint in files and keys.
[[nodiscard]] std::string name_of(const endpoint& where);

/// The endpoints that a cell may give to nodes, in a fixed order.
class endpoint_pool {
public:
  /// Each node gets an address of an IPv4 network (`127.77.1.0/24`, /8 to /30), with those ports. The network's own address and its broadcast address are left out.
  static result<endpoint_pool> of_network(std::string_view cidr, node_ports ports);
  /// Each node gets two neighbouring ports, from `first` to `last`, of one address.
  static result<endpoint_pool> of_host(std::string host, int first, int last);

  [[nodiscard]] std::size_t size() const { return size_; }
  /// The endpoint of an index below size().
  [[nodiscard]] endpoint at(std::size_t index) const;
  /// The client addresses that nodes have to let in: other nodes and HAProxy.
  [[nodiscard]] std::string clients() const;

private:
  std::string host_; ///< empty: a network
  std::uint32_t first_address_ = 0;
  int first_port_ = 0;
  node_ports ports_; ///< of each address
  std::size_t size_ = 0;
};

/// When each removed node's endpoint became free, in milliseconds since 1970, by name_of().
using resting_endpoints = std::map<std::string, std::int64_t>;

/// The endpoint of the next node: the first that no node has and that is not resting. If all free
/// ones rest, the one that has rested longest, for a cell that refuses nodes helps nobody. `usable`
/// tells whether other programs leave the ports free. Nothing if every endpoint is taken.
[[nodiscard]] std::optional<endpoint>
choose_endpoint(const endpoint_pool& pool, const std::set<std::string>& taken,
                const resting_endpoints& resting, std::int64_t now,
                const std::function<bool(const endpoint&)>& usable);

/// Whether nobody listens on a port of an address of this machine.
[[nodiscard]] bool can_listen(const std::string& host, int port);

} // namespace matriarch::cell
