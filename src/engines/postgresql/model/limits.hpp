#pragma once

#include <map>
#include <optional>
#include <string>

#include "model/engine.hpp"

/// The effect of a plan's limits on PostgreSQL.
namespace matriarch::engines::postgresql {

/// The parameters, completed so that a node starts and works within its limits. Given parameters
/// stay.
[[nodiscard]] std::map<std::string, std::string>
parameters_within(std::map<std::string, std::string> parameters, const model::node_limits& limits);

/// The limit that is too small for these parameters, by its name in a plan, and why.
[[nodiscard]] std::optional<model::parameter_fault>
why_not_within(const std::map<std::string, std::string>& parameters,
               const model::node_limits& limits);

} // namespace matriarch::engines::postgresql
