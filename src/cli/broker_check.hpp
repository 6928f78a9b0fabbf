#pragma once

#include <vector>

#include "actors/cell_agent.hpp"
#include "base/findings.hpp"
#include "config/broker_config.hpp"

namespace matriarch::broker {

/// Whether a broker with this configuration could serve: its address, etcd, and whether its cells answer
/// as those that are configured. Changes nothing. Blocks, for some seconds at most.
[[nodiscard]] base::findings check(const config::broker_config& config,
                                   const std::vector<actors::cell_settings>& cells);

} // namespace matriarch::broker
