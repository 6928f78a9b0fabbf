#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model/record.hpp"

/// Decides which cells are lost. A cell is lost only if its agent is unreachable, its lease has
/// ended, and no member on it has renewed its key, all for `repair.after`. If more than half of the
/// cells seem lost, this broker is taken to be the one that is cut off.
namespace matriarch::model {

/// `repair:` of the configuration.
struct repair_settings {
  /// How long a cell or a node shows no sign of life before its nodes are replaced.
  duration after = std::chrono::minutes{5};
  /// How many instances are repaired at a time.
  int parallel = 2;
};

/// Monotonic time since an arbitrary moment: setting the system's clock must not make a cell lost.
using steady_time = std::chrono::milliseconds;

/// The signs of life of a cell at one moment.
struct cell_signs {
  std::string guid;
  bool reachable = false; ///< the agent answers
  bool announced = false; ///< `/cells/<guid>` is in etcd; never true for a foreign cell
  bool members = false;   ///< a node on it has its member key
  bool forgotten = false; ///< an operator has said that the cell never comes back
  [[nodiscard]] bool any() const { return reachable || announced || members; }
};

/// The time since which each cell has shown no sign of life, by guid.
using unresponsive_cells = std::map<std::string, steady_time>;

/// The verdict on all cells.
struct cell_losses {
  unresponsive_cells unresponsive_since;
  std::set<std::string> lost;
  /// Why no cell counts as lost although some seem so; empty if there is no reason. `lost` then
  /// contains forgotten cells only.
  std::string halted;
  /// When the next cell will be lost if it shows no sign of life until then.
  std::optional<steady_time> look_again_at;
};

/// `before`: the result of the last call; empty if the broker has just become active or etcd has
/// just come back. `cells`: one entry for each cell.
[[nodiscard]] cell_losses judge_cells(const std::vector<cell_signs>& cells,
                                      const unresponsive_cells& before, steady_time now,
                                      duration after);

} // namespace matriarch::model
