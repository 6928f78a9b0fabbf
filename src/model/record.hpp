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

/// What is true of a service instance, whoever asks: plain values, written to etcd as they are.
namespace matriarch::model {

/// What the user asked for, as last accepted.
struct desired_state {
  bool exists = true;
  int node_count = 2;
  /// The cells that the nodes shall be on; empty means any.
  std::vector<std::string> cells = {};
  cluster_settings settings = {};
  bool operator==(const desired_state&) const = default;
};

enum class operation_type { provision, update, deprovision };
enum class operation_state { in_progress, succeeded, failed };

/// The last thing that the platform asked for. Repair and failover never appear here.
struct operation {
  std::string id;
  operation_type type = operation_type::provision;
  operation_state state = operation_state::in_progress;
  /// In progress: empty, the description is made from what is observed. Ended: the final one.
  std::string description;
  wall_time started_at;
  wall_time deadline;
  /// Why it cannot succeed any more; set while what it made is being taken back.
  std::string failing_because;
  /// Of an update: what was desired before, and the plan, maintenance version and parameters that
  /// went with it, to go back to.
  rare_value<desired_state> desired_before;
  std::string plan_id_before;
  std::string maintenance_version_before;
  std::string parameters_before;
  /// Of an update: what the request itself asked for, to recognise it when it is sent again.
  std::string requested;
  /// Who asked: the originating identity as the platform sent it (`platform {json}`); may be empty.
  std::string requested_by;
  /// Cells that failed to start a node in this operation, with the reason; not tried again.
  rare_map<std::string, std::string> failed_cells;
  /// Set once an update has moved the leader: from there on it only goes forward.
  bool switched_over = false;
  bool operator==(const operation&) const = default;
};

/// A binding that is gone: when it went, and by which operation.
struct ended_binding {
  wall_time at;
  /// Empty where nobody was told of one, or where an earlier release removed it.
  std::string operation_id = {};
  bool operator==(const ended_binding&) const = default;
};

enum class record_phase {
  accepting, ///< written, but not yet answered for: undone if the broker ends here
  accepted,
};

/// How far the replacement of an instance's cluster by a new one is.
enum class rebuild_phase {
  copying,   ///< the new one is made, and follows the one that serves
  halting,   ///< the one that serves is being stopped; clients wait
  promoting, ///< the new one serves from now on, and is being told to take writes
  ended,
};

/// The replacement of an instance's cluster by a new one beside it, which an operator has asked for. Up
/// to `promoting` it can be taken back; from there on it goes forward.
struct rebuild {
  std::string id;
  rebuild_phase phase = rebuild_phase::copying;
  std::string requested_by; ///< who asked; may be empty
  wall_time started_at;
  wall_time deadline;
  /// Until when the cluster that serves may be on its way to a stop; else it starts again.
  std::optional<wall_time> halt_until = {};
  /// The leader of the cluster that serves when its stop began: no other node of it has all that this one has.
  std::string leader = {};
  /// The history that it wrote; see data_at_stop.
  std::int64_t history = 0;
  /// Cells that failed to start a node for it, with the reason; not tried again.
  rare_map<std::string, std::string> failed_cells = {};
  bool succeeded = false;   ///< of one that has ended
  std::string outcome = {}; ///< why it has failed; empty if it has not
  bool operator==(const rebuild&) const = default;
};

/// The places at which clients reach an instance, each with a public port of its own.
enum class endpoint {
  primary,   ///< whoever leads
  read_only, ///< the replicas; it has a port once a read-only binding needs it
};

/// The public ports of an instance's endpoints; 0: none yet.
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

/// The record of one service instance, `/service/<name>/state`: the instance itself, and the cluster
/// that it is made of. Only the instance's actor writes it.
struct record {
  std::string instance_id;
  std::string service_id;
  std::string plan_id;
  std::string organization_guid;
  std::string space_guid;
  /// The request's parameters as last accepted, as canonical JSON.
  std::string parameters = "{}";
  /// Where clients reach it, whatever it is made of.
  ports_by_endpoint endpoints;
  /// Of the plan's maintenance_info, as last applied; empty if the plan had none.
  std::string maintenance_version;
  /// The platform's `context`, as canonical JSON, as last sent.
  std::string context = "{}";
  record_phase phase = record_phase::accepting;
  desired_state desired;
  operation current;
  /// What serves: its members are the record's own in etcd, where the seeds' schema has them.
  cluster living;
  /// What is made to take its place, or is removed because it did not come to that.
  rare_value<cluster> incoming;
  /// What served before, and is being removed.
  rare_value<cluster> outgoing;
  /// The last one, if there was one.
  rare_value<rebuild> rebuilt;
  /// Of the newest of all clusters that it has had: scope_of().
  int last_scope = 1;
  /// Bindings that are gone, by their ids, for as long as somebody may still poll.
  rare_map<std::string, ended_binding> ended_bindings;
  /// Fresh with each write, so that a writer recognises its own after a time-out.
  std::string write_id;
  /// What a later release wrote beside all this.
  unknown_members unknown = {};

  /// The cluster of that scope; nullptr if there is none any more.
  [[nodiscard]] cluster* cluster_of(const std::string& scope) {
    for (auto* one : clusters())
      if (one->scope == scope)
        return one;
    return nullptr;
  }
  [[nodiscard]] const cluster* cluster_of(const std::string& scope) const {
    return const_cast<record*>(this)->cluster_of(scope);
  }
  /// All there are, the one that serves first.
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

/// Where a binding stands. It is written down before its role is made, and leaves etcd after its
/// role is gone.
enum class binding_phase {
  creating, ///< its role is being made
  ready,
  removing, ///< its role is being removed
};

/// A binding, `/service/<name>/bindings/<binding>`: the desired state of a user of the database.
struct binding {
  std::string binding_id;
  std::string service_id;
  std::string plan_id;
  std::string app_guid;
  std::string parameters = "{}"; ///< canonical JSON
  /// The binding that this one takes over from, if it was asked for as a rotation.
  std::string predecessor = {};
  bool read_only = false;
  /// Its own role; without a username, the instance's application user.
  credentials role = {};
  binding_phase phase = binding_phase::creating;
  /// Of the request that made it, and after an unbind of that one.
  std::string operation_id = {};
  /// Whether somebody was told to poll for the end of that operation.
  bool polled = false;
  wall_time created_at = {};
  /// When that operation was asked for.
  wall_time asked_at = {};
  std::optional<wall_time> expires_at = {};
  /// From when on a successor should be made; not after `expires_at`.
  std::optional<wall_time> renew_before = {};
  /// What a user should know besides; for instance that no replica has the role yet.
  std::string note = {};
  /// What a later release wrote beside all this.
  unknown_members unknown = {};
  bool operator==(const binding&) const = default;
};

/// After how long a binding that is not made, or not removed, is called failed. The work goes on.
inline constexpr duration longest_binding_operation = std::chrono::minutes{10};

/// What is left of an instance after its removal, `/matriarch/tombstones/<name>`.
struct tombstone {
  std::string instance_id;
  std::string operation_id;
  wall_time removed_at;
  /// As the record had them, and those that ended with it.
  rare_map<std::string, ended_binding> ended_bindings = {};
  unknown_members unknown = {};
};

/// For how long a tombstone answers last_operation: that the removal succeeded to a poll that names
/// its operation, with 410 to all others.
inline constexpr duration tombstone_life = std::chrono::hours{24 * 7};

} // namespace matriarch::model
