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

/// Whether clients reach what has been made: what the routers say they serve, compared with what
/// they have to. Nothing has succeeded for a client before that.
namespace matriarch::model {

/// A router whose lease lives.
struct router_view {
  router_report said;
  /// Since when this broker knows of it.
  wall_time since;
  bool operator==(const router_view&) const = default;
};

/// All routers at one moment, never changed once published.
struct routers {
  /// `routing.wait_for_routers`: whether anything waits for routers at all.
  bool awaited = false;
  std::map<std::string, router_view> living; ///< by id
  /// The ports that belong to an instance and that some router cannot open, with the instance.
  std::map<int, std::string> lost_ports;
  /// The newest revision that some router has to serve, or does.
  std::int64_t newest = 0;
  /// How many operations and bindings wait for each router, by id.
  std::map<std::string, int> holding_up;
  /// Grows with each change of the above but the last.
  std::uint64_t version = 0;

  /// The ports that some router cannot open.
  [[nodiscard]] std::set<int> unusable_ports() const;
  /// The names in keys of the instances that some router does not lead to as it should.
  [[nodiscard]] std::set<std::string> unserved_instances() const;
  /// How many routers take no connections, though they live.
  [[nodiscard]] std::ptrdiff_t silent() const;
  /// Whether somebody is there, if that matters, all take connections, and every instance is served.
  [[nodiscard]] bool all_well() const;
};
using router_table = std::shared_ptr<const routers>;

/// What is to be reached.
struct route {
  /// etcd's revision of the last change to it: its port, its record, its leader, its members.
  std::int64_t changed_at = 0;
  /// The port that a client is about to be told of; 0 if nobody is told anything new.
  int port = 0;
  /// Whether one router at least has to be there. Not for a change that leaves the route as it was:
  /// nobody reaches less than before by it.
  bool one_at_least = true;
  /// Whose it is: the instance's name in keys.
  std::string instance = {};
  bool operator==(const route&) const = default;
};

/// What a route still waits for; nothing if it is served.
struct route_wait {
  bool nobody = false;              ///< no router is there at all
  std::vector<std::string> unbound; ///< the ids of those that cannot open its port
  std::vector<std::string> behind;  ///< the ids of those that do not serve it yet
  /// The ids of those that serve what there is, but for this instance.
  std::vector<std::string> unserved = {};
  [[nodiscard]] bool over() const {
    return !nobody && unbound.empty() && behind.empty() && unserved.empty();
  }
  bool operator==(const route_wait&) const = default;
};

/// Every router whose lease lives has to serve the route. One that stands still does so until its
/// lease has ended.
[[nodiscard]] route_wait waits_for(const routers& all, const route& wanted);

/// The same in words that a tenant may read: they name no router, whose id may hold a host's name.
/// Empty if it is over.
[[nodiscard]] std::string words_of(const route_wait& wait, const routers& all, const route& wanted);

/// How the routers are, for anybody: no router is named.
[[nodiscard]] std::string words_of(const routers& all);

/// For the operator: which routers, and how far they are. Empty if it is over.
[[nodiscard]] std::string details_of(const route_wait& wait, const routers& all,
                                     const route& wanted);

/// Whether routers read the one record otherwise than the other. What is not known not to matter to
/// them counts.
[[nodiscard]] bool routed_alike(const record& one, const record& other);

} // namespace matriarch::model
