#pragma once

#include <map>
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
  std::string maintenance_version; ///< the plan's
  std::string context = "{}";      ///< canonical JSON
  std::string requested_by;        ///< the originating identity, `platform {json}`, or empty
  duration longest{};              ///< the plan's maximum_polling_duration
};

/// What the catalog says of a plan, as far as an update needs it.
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
  /// The version that the request names; naming it takes up the plan's settings as they are now.
  std::optional<std::string> maintenance_version;
  /// All plans of the service, by id: which one the instance has is not the request's to say.
  std::map<std::string, plan_offer> offers;
  /// The new context, if the request has one; canonical JSON.
  std::optional<std::string> context;
  /// It has one that is not kept, since the service does not take changes of it.
  bool drops_context = false;
  std::string requested_by;
  duration longest{};
  /// Whether the platform can poll: without that only what is done at once can be asked for.
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
  /// Without role, operation and times, which the instance's actor adds.
  binding wanted;
  std::int64_t lifetime = 0; ///< the plan's binding_lifetime in seconds; 0: no end
  /// Whether the platform can poll: then an answer that takes long is `accepted` instead.
  bool may_poll = false;
};

struct unbind_request {
  std::string instance_id;
  std::string binding_id;
  std::string service_id;
  std::string plan_id;
  bool may_poll = false;
};

/// Has everything of this instance that holds secrets written anew, with the newest key.
struct reencrypt_request {
  std::string instance_id;
};

/// An operator wants a new cluster on fresh nodes in place of the one that serves.
struct rebuild_request {
  std::string instance_id;
  std::string requested_by; ///< who asked, as the broker knows them
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

/// An operator says that a cell never comes back.
struct forget_request {
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
  outdated,    ///< the maintenance version named is not the catalog's
  needs_polls, ///< takes time, and the platform cannot poll
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
  /// Of a bind: the binding as it is now.
  std::optional<binding> bound = {};
  /// Of something gone: what its tombstone says.
  std::optional<tombstone> left = {};
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

/// The end of a forget request.
struct forget_report {
  bool known = false;  ///< whether there is such a cell
  std::string refused; ///< why it cannot be forgotten, if so
  struct entry {
    std::string instance_id;
    std::string node_id;
    bool buried = false; ///< it was to go; otherwise it is replaced
    std::string why;     ///< why not, if it could not be written down
  };
  std::vector<entry> entries; ///< one for each node on the cell
};

/// What became of having the secrets of many instances written anew.
struct reencryption_report {
  struct entry {
    std::string instance_id;
    std::string why;
  };
  std::size_t instances = 0; ///< that were rewritten
  std::vector<entry> failed;
};

using request =
    std::variant<provision_request, update_request, deprovision_request, bind_request,
                 unbind_request, reencrypt_request, rebuild_request, lookup_request, await_request>;

} // namespace matriarch::model
