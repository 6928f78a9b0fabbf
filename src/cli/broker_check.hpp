#pragma once

#include <vector>

#include "actors/cell_agent.hpp"
#include "base/findings.hpp"
#include "config/broker_config.hpp"

namespace matriarch::broker {

/// Whether a broker with this configuration could serve: its address, etcd, whether its cells are
/// the configured ones, and whether their nodes would start with the catalog's plans. Changes
/// nothing, and asks no cell if etcd does not answer. Blocks, for some seconds at most, and at
/// worst for half a minute for each cell and fifty plans.
[[nodiscard]] base::findings check(const config::broker_config& config,
                                   const std::vector<actors::cell_settings>& cells,
                                   const actors::judged_plans& plans);

} // namespace matriarch::broker
