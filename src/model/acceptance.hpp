#pragma once

#include <map>
#include <optional>
#include <string>

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
  credentials admin, superuser, application, replication, patroni;
  wall_time now;
};
[[nodiscard]] record new_record(const provision_request& asked, new_instance_values values);

/// For an instance that exists already: 202 with the same operation, 200, or 409.
[[nodiscard]] verdict judge_provision(const provision_request& asked, const record& known);

[[nodiscard]] ruling judge_update(const update_request& asked, const record& known,
                                  const std::string& operation_id, wall_time now);

[[nodiscard]] ruling judge_deprovision(const deprovision_request& asked, const record& known,
                                       const std::string& operation_id, wall_time now);

/// What a bind leads to, before anything is written: `created` means that it may be.
[[nodiscard]] verdict judge_bind(const bind_request& asked, const record& known,
                                 const std::map<std::string, binding>& existing);

/// What an unbind leads to: `done` means that the binding is to be removed.
[[nodiscard]] verdict judge_unbind(const unbind_request& asked, const record& known,
                                   const std::map<std::string, binding>& existing);

} // namespace matriarch::model
