#pragma once

#include <string>
#include <vector>

#include "model/observation.hpp"
#include "model/settings.hpp"

/// Checks whether cells can start nodes with a plan's settings, before anything is changed.
namespace matriarch::model {

/// The settings that a plan gives its nodes.
struct plan_settings {
  std::string plan_id;
  cluster_settings settings;
};

/// Why no instance of a plan can be made; empty if one can. `among`: the cells that the instance
/// may be on, all of which have to be fit; empty: any cell, at least one of which has to be fit. A
/// cell that does not report its abilities counts as fit. An unreachable cell counts only if
/// `among` names it.
[[nodiscard]] std::string why_unfit_for_new(const std::string& plan_id,
                                            const cluster_settings& settings,
                                            const std::vector<std::string>& among,
                                            const std::vector<cell_view>& cells);

/// Why an instance cannot change to these settings; empty if it can. The instance has nodes on
/// `used`. All cells in `used` and `among` have to be fit.
[[nodiscard]] std::string why_unfit_for_change(const std::string& plan_id,
                                               const cluster_settings& settings,
                                               const std::vector<std::string>& among,
                                               const std::vector<std::string>& used,
                                               const std::vector<cell_view>& cells);

} // namespace matriarch::model
