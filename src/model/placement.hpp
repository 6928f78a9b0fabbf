#pragma once

#include <map>
#include <string>
#include <vector>

#include "model/observation.hpp"

namespace matriarch::model {

/// Where nodes shall go.
struct placement_request {
  int count = 1;
  /// Only these cells; empty means any.
  std::vector<std::string> among;
  /// These rather than other cells, as long as the cluster does not use them yet.
  std::vector<std::string> preferred = {};
  /// Cells of the cluster's other nodes, one entry a node.
  std::vector<std::string> used;
  /// Cells not to be tried, with the reason.
  std::map<std::string, std::string> avoid;
  /// The digest of the cluster's settings: cells whose nodes do not start with them are not
  /// chosen, or, where a node must not be without a place, come last.
  std::string settings = {};
  bool unfit_too = false;
  /// Cells with less than that are never chosen.
  node_limits limits = {};
};

struct placement {
  /// One cell for each node that could be placed, in order; fewer than asked for if there are not
  /// enough.
  std::vector<std::string> cells;
  /// If fewer: why each other cell was not taken, in words.
  std::string shortage;
  /// If fewer: whether waiting can help, because a cell is only out of reach.
  bool may_improve = false;
};

/// Chooses cells in the order of (unfit for the settings, already used by this cluster, not preferred, this
/// cluster's nodes in the zone, load ÷ capacity, guid). A cell the cluster already uses is the fallback when others are lost
/// or full. Cells that are out of reach, full or to be avoided are never chosen.
[[nodiscard]] placement choose_cells(const placement_request& asked,
                                     const std::vector<cell_view>& cells);

} // namespace matriarch::model
