#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "model/record.hpp"

/// What the platform and the operator ask for, checked against the catalog, free of HTTP.
namespace matriarch::model {

/// How long a change may take until it is accepted: etcd's own time-outs are 3 s, so one that needs
/// several transactions is answered well within the platform's 60 s.
inline constexpr duration request_patience = std::chrono::seconds{20};

struct provision_request {
  std::string instance_id;
  std::string service_id;
  std::string plan_id;
  std::string organization_guid;
  std::string space_guid;
  std::string parameters = "{}"; ///< canonical JSON
  desired_state desired;
  duration longest{}; ///< the plan's maximum_polling_duration
};

struct update_request {
  std::string instance_id;
  std::string service_id;
  std::string plan_id; ///< empty: unchanged
  std::string parameters = "{}";
  std::optional<int> node_count;
  std::optional<std::vector<std::string>> cells;
  duration longest{};
};

struct deprovision_request {
  std::string instance_id;
  std::string service_id; ///< empty: not given, which only a broker that is not strict lets pass
  std::string plan_id;
  duration longest{};
};

struct bind_request {
  std::string instance_id;
  binding wanted;
};

struct unbind_request {
  std::string instance_id;
  std::string binding_id;
  std::string service_id;
  std::string plan_id;
};

/// Asks for the instance as it is, with a linearizable look into etcd if it is not known here.
struct lookup_request {
  std::string instance_id;
};

/// Asks to be told when an operation has ended.
struct await_request {
  std::string instance_id;
  std::string operation_id;
};

/// Moves every leader off a cell.
struct demote_request {
  std::string cell;
};

/// What became of a request.
enum class verdict_kind {
  created,     ///< done, and it was new
  done,        ///< done, or it was so already
  accepted,    ///< under way
  bad_request, ///< what was asked cannot be meant
  conflict,    ///< exists with other attributes
  busy,        ///< another operation is in progress
  refused,     ///< understood, but not possible
  not_found,   ///< there is no such thing and, as far as is known, never was
  gone,        ///< there was such a thing
  unavailable, ///< cannot be said or done now; nothing was changed; try again
};

struct verdict {
  verdict_kind is = verdict_kind::unavailable;
  /// For a person: what was wrong and what would be right. Empty on success.
  std::string description = {};
  std::string operation_id = {};
  /// The instance after the request, where there is one.
  std::shared_ptr<const struct instance_snapshot> instance = nullptr;
};

/// The end of a demote request.
struct demote_report {
  bool known = false; ///< whether there is such a cell
  struct entry {
    std::string instance_id;
    std::string from;
    std::string to;  ///< the new leader, if it moved
    std::string why; ///< why not, if it did not
  };
  std::vector<entry> entries;
};

using request = std::variant<provision_request, update_request, deprovision_request, bind_request,
                             unbind_request, lookup_request, await_request>;

} // namespace matriarch::model
