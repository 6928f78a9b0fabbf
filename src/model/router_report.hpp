#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace matriarch::model {

/// An instance that a router does not serve as it should, and why, for operators.
struct unserved_instance {
  std::string instance; ///< its name in keys
  std::string why;      ///< may name a host
  auto operator<=>(const unserved_instance&) const = default;
};

/// What a router reports of itself for as long as it runs.
struct router_report {
  /// Unique among the fleet's routers: letters, digits, `-`, `_`, `.` and `:`.
  std::string id;
  /// The name of its machine, for people.
  std::string host;
  /// An etcd revision. The router's HAProxy has every change to routing up to this revision, and
  /// takes connections.
  std::int64_t serves = 0;
  /// The ports that the router should open but cannot, in ascending order.
  std::vector<std::uint16_t> unbound;
  /// The owner of its data directory: tells routers of the same id apart. Earlier releases have
  /// none.
  std::string owner = {};
  /// The addresses of the router's machine, if it forwards requests to brokers: requests from these
  /// addresses may name their original sender.
  std::vector<std::string> addresses = {};
  /// The instances that `serves` does not hold for, in ascending order, each once.
  std::vector<unserved_instance> unserved = {};
  /// Why the router takes no connections at all; empty if it takes them. `serves` is 0 then.
  std::string silent = {};
  bool operator==(const router_report&) const = default;
};

} // namespace matriarch::model
