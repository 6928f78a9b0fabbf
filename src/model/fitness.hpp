#pragma once

#include <string>
#include <vector>

#include "model/observation.hpp"
#include "model/settings.hpp"

/// Whether cells can start nodes as a plan has them, before anything is changed for that.
namespace matriarch::model {

/// What a plan asks of its nodes.
struct plan_settings {
  std::string plan_id;
  cluster_settings settings;
};

/// Why no instance of a plan can be made, in words; empty if one can. `among`: the cells that it may be
/// on, each of which has to be fit; none stands for all, of which one has to be. A cell that does not
/// say what it has counts as fit, and one that takes no nodes now counts only if it was asked for.
[[nodiscard]] std::string why_unfit_for_new(const std::string& plan_id,
                                            const cluster_settings& settings,
                                            const std::vector<std::string>& among,
                                            const std::vector<cell_view>& cells);

/// The same of a change to those settings of an instance that has nodes on `used`: each of these has
/// to be fit, and each of `among`.
[[nodiscard]] std::string why_unfit_for_change(const std::string& plan_id,
                                               const cluster_settings& settings,
                                               const std::vector<std::string>& among,
                                               const std::vector<std::string>& used,
                                               const std::vector<cell_view>& cells);

} // namespace matriarch::model
