#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "model/record.hpp"
#include "model/router_report.hpp"

/// Decides whether clients can reach an instance: compares what the routers report to serve with
/// what they have to serve. No operation succeeds before that.
namespace matriarch::model {

/// A router whose lease is alive.
struct router_view {
  router_report said;
  /// The time at which this broker first saw the router.
  wall_time since;
  bool operator==(const router_view&) const = default;
};

/// All routers at one moment, never changed once published.
struct routers {
  /// `routing.wait_for_routers`: whether operations wait for routers.
  bool awaited = false;
  std::map<std::string, router_view> living; ///< by id
  /// The ports of instances that some router cannot open, with the instance.
  std::map<int, std::string> lost_ports;
  /// The newest revision that some router has to serve, or serves.
  std::int64_t newest = 0;
  /// How many operations and bindings wait for each router, by id.
  std::map<std::string, int> holding_up;
  /// Grows with each change of the members above, `holding_up` excepted.
  std::uint64_t version = 0;

  /// The ports that some router cannot open.
  [[nodiscard]] std::set<int> unusable_ports() const;
  /// The names in keys of the instances that some router does not serve as it should.
  [[nodiscard]] std::set<std::string> unserved_instances() const;
  /// How many live routers take no connections.
  [[nodiscard]] std::ptrdiff_t silent() const;
  /// Whether all routers take connections and serve every instance, and there is one if any is
  /// needed.
  [[nodiscard]] bool all_well() const;
};
using router_table = std::shared_ptr<const routers>;

/// A route that routers have to serve.
struct route {
  /// The etcd revision of the last change to the instance's port, record, leader or members.
  std::int64_t changed_at = 0;
  /// The port that a client is about to be told; 0 if clients are told nothing new.
  int port = 0;
  /// Whether at least one router has to be alive. Not needed for a change that leaves the route as
  /// it was: no client loses anything by that.
  bool one_at_least = true;
  /// The instance's name in keys.
  std::string instance = {};
  bool operator==(const route&) const = default;
};

/// What a route still waits for; empty if it is served.
struct route_wait {
  bool nobody = false;              ///< no router is alive
  std::vector<std::string> unbound; ///< the ids of routers that cannot open its port
  std::vector<std::string> behind;  ///< the ids of routers that do not serve its revision yet
  /// The ids of routers that serve the revision, except for this instance.
  std::vector<std::string> unserved = {};
  [[nodiscard]] bool over() const {
    return !nobody && unbound.empty() && behind.empty() && unserved.empty();
  }
  bool operator==(const route_wait&) const = default;
};

/// Every router whose lease is alive has to serve the route. A hanging router counts until its
/// lease ends.
[[nodiscard]] route_wait waits_for(const routers& all, const route& wanted);

/// The same in words that a tenant may read. No router is named, since its id may contain a host
/// name. Empty if nothing is missing.
[[nodiscard]] std::string words_of(const route_wait& wait, const routers& all, const route& wanted);

/// The state of the routers, for any reader: no router is named.
[[nodiscard]] std::string words_of(const routers& all);

/// For the operator: which routers are late, and how far they are. Empty if nothing is missing.
[[nodiscard]] std::string details_of(const route_wait& wait, const routers& all,
                                     const route& wanted);

/// Whether both records are the same for routers. A member counts as relevant to routers unless it
/// is known not to be.
[[nodiscard]] bool routed_alike(const record& one, const record& other);

} // namespace matriarch::model
