#pragma once

#include "base/findings.hpp"
#include "router/router_config.hpp"

namespace matriarch::router {

/// Whether HAProxy is there, and new enough. Blocks until it has said its version.
void look_at_haproxy(const router_config& config, base::findings& found);

/// Whether a router with this configuration could serve: HAProxy, its directory, its addresses and
/// etcd. Changes nothing. Blocks, for some seconds at most.
[[nodiscard]] base::findings check(const router_config& config);

} // namespace matriarch::router
