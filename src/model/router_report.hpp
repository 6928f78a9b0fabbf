#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace matriarch::model {

/// An instance that a router does not lead to as it should, and why, for operators.
struct unserved_instance {
  std::string instance; ///< its name in keys
  std::string why;      ///< may name a host
  auto operator<=>(const unserved_instance&) const = default;
};

/// What a router says of itself, for as long as it lives.
struct router_report {
  /// Its own, of all routers of a fleet: letters, digits, `-`, `_`, `.` and `:`.
  std::string id;
  /// The name of its machine, for people.
  std::string host;
  /// A revision of etcd. Every change up to and including it that matters to routing is in the
  /// router's HAProxy, and takes connections.
  std::int64_t serves = 0;
  /// The ports that it should open and cannot, in ascending order.
  std::vector<std::uint16_t> unbound;
  /// Of its data directory, which tells it from another router of the same id; earlier ones have none.
  std::string owner = {};
  /// The addresses of its machine, if it passes requests on to brokers: who comes from there may say
  /// for whom.
  std::vector<std::string> addresses = {};
  /// What `serves` does not hold for, in ascending order, each instance once.
  std::vector<unserved_instance> unserved = {};
  /// Why it takes no connections at all, whatever it has been told; empty if it takes them. `serves` is
  /// 0 then.
  std::string silent = {};
  bool operator==(const router_report&) const = default;
};

} // namespace matriarch::model
