#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "model/record.hpp"

/// The requests of platforms and operators, checked against the catalog, independent of HTTP.
namespace matriarch::model {

/// How long a request may take until it is accepted. etcd's time-outs are 3 s each: a request of
/// several transactions is still answered well within the platform's 60 s.
inline constexpr duration request_patience = std::chrono::seconds{20};

struct provision_request {
  std::string instance_id;
  std::string service_id;
  std::string plan_id;
  std::string organization_guid;
  std::string space_guid;
  std::string parameters = "{}"; ///< canonical JSON
  desired_state desired;
  std::string maintenance_version; ///< the plan's
  std::string context = "{}";      ///< canonical JSON
  std::string requested_by;        ///< the originating identity, `platform {json}`, or empty
  duration longest{};              ///< the plan's maximum_polling_duration
};

/// What an update needs to know of a plan in the catalog.
struct plan_offer {
  int node_count = 2;
  cluster_settings settings;
  std::string maintenance_version; ///< empty if the plan has none
  bool updateable = false;         ///< whether its instances may change to another plan
};

struct update_request {
  std::string instance_id;
  std::string service_id;
  std::string plan_id; ///< empty: unchanged
  std::string parameters = "{}";
  std::optional<int> node_count;
  std::optional<std::vector<std::string>> cells;
  /// The version that the request names; naming a version applies the plan's present settings.
  std::optional<std::string> maintenance_version;
  /// All plans of the service, by id: the request does not tell which plan the instance has.
  std::map<std::string, plan_offer> offers;
  /// The new context, if the request has one; canonical JSON.
  std::optional<std::string> context;
  /// The request has a context that is ignored, since the service allows no context updates.
  bool drops_context = false;
  std::string requested_by;
  duration longest{};
  /// Whether the platform can poll; if not, only changes that are done at once are accepted.
  bool may_poll = true;
};

struct deprovision_request {
  std::string instance_id;
  std::string service_id;
  std::string plan_id;
  std::string requested_by;
  duration longest{};
};

struct bind_request {
  std::string instance_id;
  /// Without role, operation and times: the instance's actor adds these.
  binding wanted;
  std::int64_t lifetime = 0; ///< the plan's binding_lifetime in seconds; 0: no end
  /// Whether the platform can poll: then a bind that takes long is answered `accepted`.
  bool may_poll = false;
};

struct unbind_request {
  std::string instance_id;
  std::string binding_id;
  std::string service_id;
  std::string plan_id;
  bool may_poll = false;
};

/// Has all values of this instance that contain secrets encrypted again, with the newest key.
struct reencrypt_request {
  std::string instance_id;
};

/// An operator wants a new cluster on new nodes in place of the one that serves.
struct rebuild_request {
  std::string instance_id;
  std::string requested_by; ///< the operator, as the broker knows them
};

/// Asks for the instance's snapshot. An instance that is not in memory is looked up in etcd.
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

/// An operator says that a cell never comes back.
struct forget_request {
  std::string cell;
};

/// The outcome of a request.
enum class verdict_kind {
  created,     ///< done; it did not exist before
  done,        ///< done, or already so
  accepted,    ///< under way
  bad_request, ///< the request contradicts itself or the instance
  conflict,    ///< exists with other attributes
  busy,        ///< another operation is in progress
  refused,     ///< understood, but not possible
  outdated,    ///< the maintenance version named is not the catalog's
  needs_polls, ///< takes long, and the platform cannot poll
  not_found,   ///< does not exist and, as far as is known, never did
  gone,        ///< existed, and was removed
  unavailable, ///< cannot be answered or done now; nothing was changed; try again
};

struct verdict {
  verdict_kind is = verdict_kind::unavailable;
  /// For people: what was wrong and what would be right. Empty on success.
  std::string description = {};
  std::string operation_id = {};
  /// The instance after the request, where there is one.
  std::shared_ptr<const struct instance_snapshot> instance = nullptr;
  /// After a bind: the binding as it is now.
  std::optional<binding> bound = {};
  /// For something that is gone: its tombstone.
  std::optional<tombstone> left = {};
};

/// The result of a demote request.
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

/// The result of a forget request.
struct forget_report {
  bool known = false;  ///< whether there is such a cell
  std::string refused; ///< why it cannot be forgotten; empty if it can
  struct entry {
    std::string instance_id;
    std::string node_id;
    bool buried = false; ///< the node was being removed; otherwise it is replaced
    std::string why;     ///< why it could not be recorded; empty if it was
  };
  std::vector<entry> entries; ///< one for each node on the cell
};

/// The result of encrypting the secrets of many instances again.
struct reencryption_report {
  struct entry {
    std::string instance_id;
    std::string why;
  };
  std::size_t instances = 0; ///< those that were written again
  std::vector<entry> failed;
};

using request =
    std::variant<provision_request, update_request, deprovision_request, bind_request,
                 unbind_request, reencrypt_request, rebuild_request, lookup_request, await_request>;

} // namespace matriarch::model
