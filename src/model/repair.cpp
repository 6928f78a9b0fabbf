#include "model/repair.hpp"

#include <algorithm>

namespace matriarch::model {

cell_losses judge_cells(const std::vector<cell_signs>& cells, const unresponsive_cells& before,
                        steady_time now, duration after) {
  cell_losses judged;
  for (const auto& cell : cells) {
    if (cell.any())
      continue;
    auto earlier = before.find(cell.guid);
    auto since = earlier == before.end() ? now : earlier->second;
    judged.unresponsive_since[cell.guid] = since;
    if (cell.forgotten || now - since >= after)
      judged.lost.insert(cell.guid);
    else if (!judged.look_again_at || since + after < *judged.look_again_at)
      judged.look_again_at = since + after;
  }
  // All silent cells count, however short their silence: cells that are cut off together are
  // noticed one after the other. Forgotten cells do not count: an operator has explained them.
  auto riddles = std::count_if(cells.begin(), cells.end(),
                               [](const auto& cell) { return !cell.any() && !cell.forgotten; });
  if (2 * riddles > static_cast<std::ptrdiff_t>(cells.size()) && !judged.lost.empty()) {
    judged.halted = std::to_string(riddles) + " of " + std::to_string(cells.size())
                    + " cells seem lost: more than half, so the fault is taken to be on this side "
                      "and nothing is repaired; see matriarch show-cells";
    std::erase_if(judged.lost, [&](const std::string& guid) {
      return std::ranges::none_of(
          cells, [&](const auto& cell) { return cell.guid == guid && cell.forgotten; });
    });
  }
  return judged;
}

} // namespace matriarch::model
