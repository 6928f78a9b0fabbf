#pragma once

#include <map>
#include <string>
#include <vector>

#include "model/observation.hpp"

namespace matriarch::model {

/// A request for cells for new nodes.
struct placement_request {
  int count = 1;
  /// Only these cells; empty means any.
  std::vector<std::string> among;
  /// Cells to choose before all others, as long as the cluster does not use them yet.
  std::vector<std::string> preferred = {};
  /// The cells of the cluster's other nodes, one entry a node.
  std::vector<std::string> used;
  /// Cells that must not be chosen, with the reason.
  std::map<std::string, std::string> avoid;
  /// The digest of the cluster's settings. Cells whose nodes do not start with these settings are
  /// not chosen; with `unfit_too` they come last.
  std::string settings = {};
  bool unfit_too = false;
  /// Cells smaller than these limits are never chosen.
  node_limits limits = {};
};

struct placement {
  /// One cell for each node that could be placed, in order; fewer than `count` if there are not
  /// enough cells.
  std::vector<std::string> cells;
  /// If there are fewer: why each other cell was not chosen.
  std::string shortage;
  /// If there are fewer: whether waiting can help, because a cell is only unreachable.
  bool may_improve = false;
};

/// Chooses cells in the order of: unfit for the settings, already used by this cluster, not
/// preferred, this cluster's nodes in the zone, load ÷ capacity, guid. A cell that the cluster
/// already uses is chosen only if the others are lost or full. Unreachable, full and avoided cells
/// are never chosen.
[[nodiscard]] placement choose_cells(const placement_request& asked,
                                     const std::vector<cell_view>& cells);

} // namespace matriarch::model
