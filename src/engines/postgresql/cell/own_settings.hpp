#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "cell/cell_config.hpp"
#include "cell/node_driver.hpp"
#include "cell/node_engine.hpp"
#include "engines/postgresql/cell/settings_check.hpp"
#include "engines/postgresql/cell/settings_judge.hpp"

/// Whether PostgreSQL starts with the settings in the cell's own configuration.
namespace matriarch::engines::postgresql {

/// The settings for all nodes, with an empty id, and those of each configured plan.
[[nodiscard]] plans_parameters own_settings(const cell::cell_config& config);

/// The faults, in words that name the configuration's field, the value, and the allowed values.
/// Faults in the settings for all nodes are listed once.
[[nodiscard]] std::vector<std::string> own_faults(const cell::cell_config& config,
                                                  const plans_faults& found);

/// Has PostgreSQL check the settings in a temporary directory. Blocks for some hundredths of a
/// second per plan, half a minute at most.
[[nodiscard]] cell::own_judgement judge_own_settings(const cell::cell_config& config,
                                                     cell::node_driver& driver);

} // namespace matriarch::engines::postgresql
