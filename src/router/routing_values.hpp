#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "router/endpoint.hpp"
#include "router/engine_check.hpp"

/// The values in etcd that say which instance is reached where, as far as a router reads them.
namespace matriarch::router {

/// A member of a cluster, as it has announced itself.
struct routed_member {
  std::string name;
  endpoint database; ///< where clients connect
  endpoint control;  ///< where it is asked whether it leads
  bool control_has_tls = false;
  /// The cell has said that it shows a certificate of the fleet's authority for this node.
  bool is_certified = false;
  /// It may not know yet whose login was refused last: no reader is led there.
  bool held_back = false;
  bool operator==(const routed_member&) const = default;
};

/// What of an instance's record matters to a router.
struct routed_record {
  std::string scope;
  bool accepted = false;
  const engine_check* engine = nullptr; ///< always there if it is accepted
  /// Where the record says that a node is; what it does not say is empty. Without a value the
  /// record is from before it said so, and the node is where its member key says.
  struct place {
    std::string database;
    std::string control;
    bool is_certified = false;
    bool operator==(const place&) const = default;
  };
  std::map<std::string, std::optional<place>> nodes;
  std::set<std::string> held_back;    ///< of these
  std::optional<int> max_connections; ///< of the settings in force, if they say
  /// Why this release must not read it, for a later one has written it; nothing else is known then.
  std::string is_ahead = {};
  bool operator==(const routed_record&) const = default;
};

/// A record's text; not accepted if it cannot be read. `name` is the instance's name in keys.
[[nodiscard]] routed_record record_of(std::string_view name, std::string_view text,
                                      const engine_checks& engines);

/// A member's own key; nothing if it cannot be read.
[[nodiscard]] std::optional<routed_member> member_of(std::string_view name, std::string_view text);
/// Its own word for how it is, such as running.
[[nodiscard]] std::string state_of_member(std::string_view text);

/// The member as it is routed to; nothing if it is not.
[[nodiscard]] std::optional<routed_member>
vetted(const std::optional<routed_member>& announced,
       const std::optional<routed_record::place>& recorded);

/// How many connections a cluster's configuration in etcd lets each member take; 0 if it does not say.
[[nodiscard]] int max_connections_in_config(std::string_view text, const engine_checks& engines);
/// What all members of an accepted record take for certain; `configured` is what the cluster's
/// configuration says, if there is any.
[[nodiscard]] int max_connections_of(const routed_record& known, std::optional<int> configured);

} // namespace matriarch::router
