#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "model/observation.hpp"
#include "model/record.hpp"
#include "model/requests.hpp"

/// Whether a request is accepted, given what is recorded: the OSB specification's rules for
/// requests that are repeated, that contradict what exists, or that come while something else is
/// under way.
namespace matriarch::model {

/// Either a verdict that ends the matter, or what has to be written first.
struct ruling {
  verdict answer;
  /// Set if the request changes the record: this one has to be written, then `answer` holds.
  std::optional<record> write = {};
};

/// A share of its plan's `maximum_polling_duration` that an operation may take, so that it has
/// ended, with its reason, before the platform gives up on it.
inline constexpr double share_of_polling = 0.9;

/// The first record of an instance: phase `accepting`, its operation in progress.
struct new_instance_values {
  std::string operation_id;
  std::map<std::string_view, credentials> secrets; ///< of its cluster, by name
  wall_time now;
};
[[nodiscard]] record new_record(const provision_request& asked, new_instance_values values);

/// For an instance that exists already: 202 with the same operation, 200, or 409.
[[nodiscard]] verdict judge_provision(const provision_request& asked, const record& known);

/// `all_well`: of the nodes, as they are seen. What is asked for and there already is done only then.
[[nodiscard]] ruling judge_update(const update_request& asked, const record& known,
                                  const std::string& operation_id, wall_time now,
                                  bool all_well = true);

/// The record after an update that could not even begin: all is as it was, and the operation that was
/// asked for has failed, since `why`. Its sender asked for nothing wrong, and hears of it where it would
/// hear of what fails later.
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
  credentials role; ///< its own, where the plan gives each binding one
  wall_time now;
};

/// What a bind leads to. `accepted`: its role is to be made, or is being made, and its login to be tried;
/// `done`: it is there already.
[[nodiscard]] binding_ruling judge_bind(const bind_request& asked, const record& known,
                                        const std::map<std::string, binding>& existing,
                                        new_binding_values values);

/// What an unbind leads to. `accepted`: its role is to be removed, or is being removed; `done`: the
/// binding can be deleted as it is.
[[nodiscard]] binding_ruling judge_unbind(const unbind_request& asked, const record& known,
                                          const std::map<std::string, binding>& existing,
                                          std::string operation_id, wall_time now);

/// What is said of a binding whose record in etcd cannot be read.
[[nodiscard]] std::string unreadable(const std::string& binding_id);

/// What is left of an instance whose removal ends now.
[[nodiscard]] tombstone tombstone_of(const record& known,
                                     const std::map<std::string, binding>& bindings, wall_time now);

/// Drops those ended bindings that nobody polls any more, after `tombstone_life`, and of very many
/// the oldest.
void forget_ended_bindings(record& known, wall_time now);

/// Whether this instance's database has, or may have, users of bindings.
[[nodiscard]] bool has_own_roles(const record& known,
                                 const std::map<std::string, binding>& bindings);

/// Whether applications log in as the instance's application user itself.
[[nodiscard]] bool owner_logs_in(const record& known,
                                 const std::map<std::string, binding>& bindings);

} // namespace matriarch::model
