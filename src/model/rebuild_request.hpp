#pragma once

#include <map>
#include <string>
#include <string_view>

#include "model/acceptance.hpp"
#include "model/engine.hpp"
#include "model/instance_observations.hpp"

/// Decides whether an operator's request for a new cluster is accepted.
namespace matriarch::model {

/// The time in which the new cluster has to be ready: a copy of a terabyte takes hours.
inline constexpr duration longest_copy = std::chrono::hours{12};

/// The values of a new rebuild.
struct new_rebuild_values {
  std::string id;
  std::string requested_by;
  /// How many of the next scopes are passed over, since something stands there.
  int scopes_passed_over = 0;
  /// Those secrets of the new cluster that are not its source's: by name.
  std::map<std::string_view, credentials> secrets;
  wall_time now;
};

/// The record with a new cluster that nothing has been placed for yet; or why that cannot be. One that is
/// under way already is accepted once more.
[[nodiscard]] ruling judge_rebuild(const record& known, const instance_observations& observations,
                                   new_rebuild_values values);

/// The scope that the next cluster of an instance has, if so many are passed over.
[[nodiscard]] std::string next_scope(const record& known, int passed_over = 0);

/// The text that refuses other changes during a rebuild.
[[nodiscard]] std::string being_rebuilt();

} // namespace matriarch::model
