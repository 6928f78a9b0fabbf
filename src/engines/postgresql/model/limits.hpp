#pragma once

#include <map>
#include <optional>
#include <string>

#include "model/engine.hpp"

/// What a plan's limits mean to PostgreSQL.
namespace matriarch::engines::postgresql {

/// The parameters, with what lets a node start, and work, within its limits. What they say themselves
/// stays.
[[nodiscard]] std::map<std::string, std::string>
parameters_within(std::map<std::string, std::string> parameters, const model::node_limits& limits);

/// The limit, by its name in a plan, that is too small for these parameters, and why.
[[nodiscard]] std::optional<model::parameter_fault>
why_not_within(const std::map<std::string, std::string>& parameters,
               const model::node_limits& limits);

} // namespace matriarch::engines::postgresql
