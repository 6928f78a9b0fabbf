#pragma once

#include <iosfwd>
#include <string>

#include "router/engine_check.hpp"

/// `matriarch router`: keeps HAProxy's configuration in line with etcd, so that each instance's
/// public port reaches its leader and nothing else.
namespace matriarch::router {

/// Runs until SIGTERM or SIGINT, which stop HAProxy too, or SIGUSR1, which leaves HAProxy running
/// for the next router, as a kill does. Returns the exit code: 0, 1 if it cannot serve, 2 if the
/// configuration is wrong.
int run(const std::string& config_path, const engine_checks& engines);

/// `matriarch router --check`: prints on `out` whether the router could serve; returns 0 or 2.
[[nodiscard]] int check(const std::string& config_path, std::ostream& out);

} // namespace matriarch::router
