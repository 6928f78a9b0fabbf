#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "cell/cell_config.hpp"
#include "cell/drivers/process.hpp"
#include "cell/settings_check.hpp"
#include "cell/settings_judge.hpp"

/// Whether PostgreSQL starts with what the cell's own configuration says.
namespace matriarch::cell {

/// The settings of all nodes, by an empty id, and those of each plan that is configured.
[[nodiscard]] plans_parameters own_settings(const cell_config& config);

/// What was found wrong with them, each in words that name the configuration's field, the value, and
/// what is allowed; what all nodes have is told once.
[[nodiscard]] std::vector<std::string> own_faults(const cell_config& config,
                                                  const plans_faults& found);

/// How PostgreSQL's programs are started in a directory of the judge's own.
[[nodiscard]] settings_judge::surroundings surroundings_of(const cell_config& config,
                                                           const system_user& user, fencing how,
                                                           std::string directory);

/// What was found, in words.
struct own_judgement {
  std::vector<std::string> faults;
  std::vector<std::string> unknown; ///< what could not be judged, and why
};

/// Has PostgreSQL look at them, in a directory that is gone afterwards. Blocks, for some hundredths of a
/// second a plan, and for half a minute at most.
[[nodiscard]] own_judgement judge_own_settings(const cell_config& config, const system_user& user,
                                               fencing how);

} // namespace matriarch::cell
