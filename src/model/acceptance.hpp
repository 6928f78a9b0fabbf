#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "model/observation.hpp"
#include "model/record.hpp"
#include "model/requests.hpp"

/// Decides whether a request is accepted, given the record: the OSB specification's rules for
/// requests that are repeated, that contradict what exists, or that arrive during another
/// operation.
namespace matriarch::model {

/// Either a final verdict, or a record that has to be written first.
struct ruling {
  verdict answer;
  /// Set if the request changes the record: write this record, then give `answer`.
  std::optional<record> write = {};
};

/// The share of the plan's `maximum_polling_duration` that an operation may take. The rest lets the
/// operation end, with its reason, before the platform gives up polling.
inline constexpr double share_of_polling = 0.9;

/// The first record of an instance: phase `accepting`, its operation in progress.
struct new_instance_values {
  std::string operation_id;
  std::map<std::string_view, credentials> secrets; ///< of the new cluster, by name
  wall_time now;
};
[[nodiscard]] record new_record(const provision_request& asked, new_instance_values values);

/// Judges a provision of an instance that exists: 202 with the same operation, 200, or 409.
[[nodiscard]] verdict judge_provision(const provision_request& asked, const record& known);

/// `all_well`: whether all nodes are well. An update that changes nothing is done at once only
/// then; otherwise the update waits for the nodes.
[[nodiscard]] ruling judge_update(const update_request& asked, const record& known,
                                  const std::string& operation_id, wall_time now,
                                  bool all_well = true);

/// The record after an update that could not begin: the instance is unchanged, and the requested
/// operation has failed because of `why`. The request itself was valid, so the platform learns of
/// the failure from last_operation, as it does of later failures.
[[nodiscard]] record failed_at_once(const record& known, const record& asked, std::string why);

[[nodiscard]] ruling judge_deprovision(const deprovision_request& asked, const record& known,
                                       const std::string& operation_id, wall_time now);

/// A verdict on a bind or an unbind, and the binding as it has to be written before that holds.
struct binding_ruling {
  verdict answer;
  std::optional<binding> write = {};
};

/// What a new binding gets.
struct new_binding_values {
  std::string operation_id;
  credentials role; ///< the binding's own, if the plan gives each binding a role
  wall_time now;
};

/// The result of a bind. `accepted`: the role has to be made, or is being made, and its login
/// tested. `done`: the binding exists and is ready.
[[nodiscard]] binding_ruling judge_bind(const bind_request& asked, const record& known,
                                        const std::map<std::string, binding>& existing,
                                        new_binding_values values);

/// The result of an unbind. `accepted`: the role has to be removed, or is being removed. `done`:
/// the binding can be deleted at once.
[[nodiscard]] binding_ruling judge_unbind(const unbind_request& asked, const record& known,
                                          const std::map<std::string, binding>& existing,
                                          std::string operation_id, wall_time now);

/// The error text for a binding whose record in etcd cannot be read.
[[nodiscard]] std::string unreadable(const std::string& binding_id);

/// The tombstone of an instance whose removal ends now.
[[nodiscard]] tombstone tombstone_of(const record& known,
                                     const std::map<std::string, binding>& bindings, wall_time now);

/// Drops ended bindings older than `tombstone_life`, since nobody polls them any more. If very many
/// are left, the oldest go too.
void forget_ended_bindings(record& known, wall_time now);

/// Whether this instance's database has, or may have, roles of single bindings.
[[nodiscard]] bool has_own_roles(const record& known,
                                 const std::map<std::string, binding>& bindings);

/// Whether applications log in as the instance's application user.
[[nodiscard]] bool owner_logs_in(const record& known,
                                 const std::map<std::string, binding>& bindings);

} // namespace matriarch::model
