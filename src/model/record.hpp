#pragma once

#include <array>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/cluster.hpp"
#include "model/rare.hpp"
#include "model/settings.hpp"
#include "model/unknown_members.hpp"

/// The stored state of service instances: plain values, written to etcd as they are.
namespace matriarch::model {

/// What the user asked for, as last accepted.
struct desired_state {
  bool exists = true;
  int node_count = 2;
  /// The cells that the nodes shall be on; empty: any.
  std::vector<std::string> cells = {};
  cluster_settings settings = {};
  bool operator==(const desired_state&) const = default;
};

enum class operation_type { provision, update, deprovision };
enum class operation_state { in_progress, succeeded, failed };

/// The last operation that the platform asked for. Repair and failover never appear here.
struct operation {
  std::string id;
  operation_type type = operation_type::provision;
  operation_state state = operation_state::in_progress;
  /// Empty while in progress: the description is made from the observations. Then the final one.
  std::string description;
  wall_time started_at;
  wall_time deadline;
  /// Why the operation cannot succeed; set while its nodes are being removed.
  std::string failing_because;
  /// For an update: the desired state, plan, maintenance version and parameters of before, to go
  /// back to.
  rare_value<desired_state> desired_before;
  std::string plan_id_before;
  std::string maintenance_version_before;
  std::string parameters_before;
  /// For an update: the request itself, to recognise it when it is sent again.
  std::string requested;
  /// The originating identity as the platform sent it (`platform {json}`); may be empty.
  std::string requested_by;
  /// Cells that failed to start a node in this operation, with the reason; not tried again.
  rare_map<std::string, std::string> failed_cells;
  /// Set once an update has moved the leader: from then on the move is not reverted.
  bool switched_over = false;
  bool operator==(const operation&) const = default;
};

/// A binding that no longer exists: when it ended, and by which operation.
struct ended_binding {
  wall_time at;
  /// Empty if nobody was told an operation, or if an earlier release removed the binding.
  std::string operation_id = {};
  bool operator==(const ended_binding&) const = default;
};

enum class record_phase {
  accepting, ///< written, but the request is not answered yet: removed if the broker ends now
  accepted,
};

/// The phase of the replacement of an instance's cluster by a new one.
enum class rebuild_phase {
  copying,   ///< the new cluster is made, and follows the one that serves
  halting,   ///< the cluster that serves is being stopped; clients wait
  promoting, ///< the new cluster serves from now on, and is being told to take writes
  ended,
};

/// The replacement of an instance's cluster by a new one, which an operator has asked for. It can
/// be taken back before `promoting`, and only continued from then on.
struct rebuild {
  std::string id;
  rebuild_phase phase = rebuild_phase::copying;
  std::string requested_by; ///< the operator's name; may be empty
  wall_time started_at;
  wall_time deadline;
  /// When the stop of the cluster that serves is given up, and its nodes start again.
  std::optional<wall_time> halt_until = {};
  /// The leader of the cluster that serves when its stop began: no other node of it has all that this one has.
  std::string leader = {};
  /// The history that it wrote; see data_at_stop.
  std::int64_t history = 0;
  /// Until when the nodes that served before are kept at most, of one that has succeeded.
  std::optional<wall_time> keep_until = {};
  /// Cells that failed to start a node for it, with the reason; not tried again.
  rare_map<std::string, std::string> failed_cells = {};
  bool succeeded = false;   ///< meaningful once ended
  std::string outcome = {}; ///< why it failed; empty if it has not
  bool operator==(const rebuild&) const = default;
};

/// The points at which clients reach an instance; each has its own public port.
enum class endpoint {
  primary,   ///< the leader
  read_only, ///< the replicas; the port is allocated for the first read-only binding
};

/// The public ports of an instance's endpoints; 0: no port yet.
class ports_by_endpoint {
public:
  [[nodiscard]] int operator[](endpoint which) const { return at_[index_of(which)]; }
  int& operator[](endpoint which) { return at_[index_of(which)]; }
  [[nodiscard]] const auto& all() const { return at_; }
  bool operator==(const ports_by_endpoint&) const = default;

private:
  static std::size_t index_of(endpoint which) { return static_cast<std::size_t>(which); }
  std::array<int, 2> at_{};
};

/// The record of a service instance, `/service/<name>/state`: the instance itself and its cluster.
/// Only the instance's actor writes it.
struct record {
  std::string instance_id;
  std::string service_id;
  std::string plan_id;
  std::string organization_guid;
  std::string space_guid;
  /// The request's parameters as last accepted, as canonical JSON.
  std::string parameters = "{}";
  /// Where clients reach the instance; these ports stay when the cluster is replaced.
  ports_by_endpoint endpoints;
  /// From the plan's maintenance_info, as last applied; empty if the plan had none.
  std::string maintenance_version;
  /// The platform's `context`, as canonical JSON, as last sent.
  std::string context = "{}";
  record_phase phase = record_phase::accepting;
  desired_state desired;
  operation current;
  /// The cluster that serves. Its members are members of the record in etcd, as in the seeds'
  /// schema.
  cluster living;
  /// A cluster that is made to replace the one that serves, or is being removed after a failure.
  rare_value<cluster> incoming;
  /// The cluster that served before, and is being removed.
  rare_value<cluster> outgoing;
  /// The last rebuild, if there was one.
  rare_value<rebuild> rebuilt;
  /// The number of the instance's newest cluster, see scope_of().
  int last_scope = 1;
  /// Ended bindings by id, kept for as long as somebody may still poll.
  rare_map<std::string, ended_binding> ended_bindings;
  /// New with each write: shows a writer after a time-out whether its own write succeeded.
  std::string write_id;
  /// Members that a later release wrote.
  unknown_members unknown = {};

  /// The cluster of that scope; nullptr if there is none.
  [[nodiscard]] cluster* cluster_of(const std::string& scope) {
    for (auto* one : clusters())
      if (one->scope == scope)
        return one;
    return nullptr;
  }
  [[nodiscard]] const cluster* cluster_of(const std::string& scope) const {
    return const_cast<record*>(this)->cluster_of(scope);
  }
  /// All clusters, the one that serves first.
  [[nodiscard]] std::vector<cluster*> clusters() {
    std::vector<cluster*> all{&living};
    for (auto* one : {&incoming, &outgoing})
      if (one->has_value())
        all.push_back(&**one);
    return all;
  }
  [[nodiscard]] std::vector<const cluster*> clusters() const {
    auto all = const_cast<record*>(this)->clusters();
    return {all.begin(), all.end()};
  }
  [[nodiscard]] bool is_being_rebuilt() const {
    return rebuilt && rebuilt->phase != rebuild_phase::ended;
  }
  bool operator==(const record&) const = default;
};

/// The phase of a binding. A binding is in etcd before its role is made, and leaves etcd after its
/// role is removed.
enum class binding_phase {
  creating, ///< its role is being made
  ready,
  removing, ///< its role is being removed
};

/// A binding, `/service/<name>/bindings/<binding>`: the desired state of a database user.
struct binding {
  std::string binding_id;
  std::string service_id;
  std::string plan_id;
  std::string app_guid;
  std::string parameters = "{}"; ///< canonical JSON
  /// The binding that this one replaces, if this binding is a rotation.
  std::string predecessor = {};
  bool read_only = false;
  /// Its own role; without a username the binding uses the instance's application user.
  credentials role = {};
  binding_phase phase = binding_phase::creating;
  /// The operation that made the binding; after an unbind, the one that removes it.
  std::string operation_id = {};
  /// Whether somebody was told to poll for that operation.
  bool polled = false;
  wall_time created_at = {};
  /// When that operation was asked for.
  wall_time asked_at = {};
  std::optional<wall_time> expires_at = {};
  /// From when on a successor should be made; not after `expires_at`.
  std::optional<wall_time> renew_before = {};
  /// A note for the user, for instance that no replica has the role yet.
  std::string note = {};
  /// Members that a later release wrote.
  unknown_members unknown = {};
  bool operator==(const binding&) const = default;
};

/// After this time an unfinished bind or unbind is reported as failed. The work goes on.
inline constexpr duration longest_binding_operation = std::chrono::minutes{10};

/// What remains of a removed instance, `/matriarch/tombstones/<name>`.
struct tombstone {
  std::string instance_id;
  std::string operation_id;
  wall_time removed_at;
  /// The record's ended bindings, and those that ended with the instance.
  rare_map<std::string, ended_binding> ended_bindings = {};
  unknown_members unknown = {};
};

/// How long a tombstone answers last_operation: success to a poll that names its operation, 410 to
/// all others.
inline constexpr duration tombstone_life = std::chrono::hours{24 * 7};

} // namespace matriarch::model
