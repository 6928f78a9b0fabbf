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

/// A member of a cluster, as announced in its key.
struct routed_member {
  std::string name;
  endpoint database; ///< where clients connect
  endpoint control;  ///< where HAProxy checks whether it leads
  bool control_has_tls = false;
  /// The cell has reported that the node shows a certificate of the fleet's authority.
  bool is_certified = false;
  /// The replica may lack the last revocation of a login: readers are not led there.
  bool held_back = false;
  bool operator==(const routed_member&) const = default;
};

/// The parts of an instance's record that matter to a router.
struct routed_record {
  std::string scope;
  bool accepted = false;
  const engine_check* engine = nullptr; ///< never null in an accepted record
  /// The address of a node in the record; unknown parts are empty. In a record from before
  /// addresses were recorded there is none, and the node is where its member key says.
  struct place {
    std::string database;
    std::string control;
    bool is_certified = false;
    bool operator==(const place&) const = default;
  };
  std::map<std::string, std::optional<place>> nodes;
  std::set<std::string> held_back;    ///< of these
  std::optional<int> max_connections; ///< of the settings in force, if they say
  /// Why this release must not read the record, which a later release wrote; everything else is
  /// empty then.
  std::string is_ahead = {};
  bool operator==(const routed_record&) const = default;
};

/// A record's text; not accepted if it cannot be read. `name` is the instance's name in keys.
[[nodiscard]] routed_record record_of(std::string_view name, std::string_view text,
                                      const engine_checks& engines);

/// A member's own key; nothing if it cannot be read.
[[nodiscard]] std::optional<routed_member> member_of(std::string_view name, std::string_view text);
/// The state that the member's key states, such as running.
[[nodiscard]] std::string state_of_member(std::string_view text);

/// The member with the address to route to; nothing if it gets no route.
[[nodiscard]] std::optional<routed_member>
vetted(const std::optional<routed_member>& announced,
       const std::optional<routed_record::place>& recorded);

/// How many connections a cluster's configuration in etcd lets each member take; 0 if it does not say.
[[nodiscard]] int max_connections_in_config(std::string_view text, const engine_checks& engines);
/// The number of connections that all members of an accepted record certainly take; `configured` is
/// what the cluster's configuration says, if anything.
[[nodiscard]] int max_connections_of(const routed_record& known, std::optional<int> configured);

} // namespace matriarch::router
