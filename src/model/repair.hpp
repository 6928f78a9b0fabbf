#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model/record.hpp"

/// Which cells are lost. The design's rule: a cell is lost only if its agent cannot reach it, its
/// lease is gone, and no member on it has renewed its key, all for `repair_after`; and when more
/// than half of the cells seem lost, it is this broker that has lost the cells.
namespace matriarch::model {

/// `repair:` of the configuration.
struct repair_settings {
  /// How long a cell or a node shows no sign of life before its nodes are replaced.
  duration after = std::chrono::minutes{5};
  /// How many instances are repaired at a time.
  int parallel = 2;
};

/// Time that passes evenly, since any fixed moment: a wall clock that is set must lose no cell.
using steady_time = std::chrono::milliseconds;

/// What speaks for a cell at one moment.
struct cell_signs {
  std::string guid;
  bool reachable = false; ///< it answers
  bool announced = false; ///< `/cells/<guid>` is in etcd; of a foreign cell it never is
  bool members = false;   ///< a node on it has its member key
  bool forgotten = false; ///< an operator has said that it never comes back
  [[nodiscard]] bool any() const { return reachable || announced || members; }
};

/// Since when cells have shown no sign of life, by guid.
using silences = std::map<std::string, steady_time>;

/// The cells as they have to be treated.
struct cell_losses {
  silences silent_since;
  std::set<std::string> lost;
  /// Why nothing is to be repaired, in words; empty if all is well enough. `lost` is empty then.
  std::string halted;
  /// When the next cell will be lost, if nothing is heard until then.
  std::optional<steady_time> look_again_at;
};

/// `before` is of the last call; empty when the clock restarts, because the broker became active or
/// etcd came back. One entry of `cells` for each cell.
[[nodiscard]] cell_losses judge_cells(const std::vector<cell_signs>& cells, const silences& before,
                                      steady_time now, duration after);

} // namespace matriarch::model
