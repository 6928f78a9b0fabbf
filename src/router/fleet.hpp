#pragma once

#include <optional>
#include <string>

#include "router/router_config.hpp"

namespace matriarch::router {

/// Why a router with this configuration would serve another fleet's instances in place of those that
/// its directory is about, if etcd says that it knows the fleet of that name; empty: it does not say.
[[nodiscard]] std::optional<std::string> why_not_of_fleet(const router_config& config,
                                                          const std::string& fleet_in_etcd);

/// Whether the router's directory is about a fleet's instances, of whatever name.
[[nodiscard]] bool knows_fleet(const router_config& config);

/// Keeps in the router's directory which fleet it serves, if that is not known there yet.
void remember_fleet(const router_config& config, const std::string& fleet_in_etcd);

} // namespace matriarch::router
