#pragma once

#include <optional>
#include <string>

#include "router/router_config.hpp"

namespace matriarch::router {

/// Why this router must not serve: etcd belongs to the fleet of that name, and the router's
/// directory to another. Empty if etcd does not name its fleet.
[[nodiscard]] std::optional<std::string> why_not_of_fleet(const router_config& config,
                                                          const std::string& fleet_in_etcd);

/// Whether the router's directory already belongs to a fleet, whichever.
[[nodiscard]] bool knows_fleet(const router_config& config);

/// Stores in the router's directory which fleet it serves, if the directory does not have that yet.
void remember_fleet(const router_config& config, const std::string& fleet_in_etcd);

} // namespace matriarch::router
