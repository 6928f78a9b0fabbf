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

/// Whether PostgreSQL starts with what the cell's own configuration says.
namespace matriarch::engines::postgresql {

/// The settings of all nodes, by an empty id, and those of each plan that is configured.
[[nodiscard]] plans_parameters own_settings(const cell::cell_config& config);

/// What was found wrong with them, each in words that name the configuration's field, the value, and
/// what is allowed; what all nodes have is told once.
[[nodiscard]] std::vector<std::string> own_faults(const cell::cell_config& config,
                                                  const plans_faults& found);

/// Has PostgreSQL look at them, in a directory that is gone afterwards. Blocks, for some hundredths of a
/// second a plan, and for half a minute at most.
[[nodiscard]] cell::own_judgement judge_own_settings(const cell::cell_config& config,
                                                     cell::node_driver& driver);

} // namespace matriarch::engines::postgresql
