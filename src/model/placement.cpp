#include "model/placement.hpp"

#include <algorithm>
#include <tuple>

namespace matriarch::model {

namespace {

// Stands in for the capacity of a foreign cell, which does not report its own: such a cell counts
// as half full at eight nodes.
constexpr int assumed_capacity = 16;

struct candidate {
  const cell_view* cell;
  int nodes; // on the cell, with those chosen so far
};

double load_of(const candidate& c) {
  return static_cast<double>(c.nodes)
         / (c.cell->capacity > 0 ? c.cell->capacity : assumed_capacity);
}

bool full(const candidate& c) {
  return c.cell->capacity > 0 && c.nodes >= c.cell->capacity;
}

} // namespace

placement choose_cells(const placement_request& asked, const std::vector<cell_view>& cells) {
  placement chosen;
  std::vector<candidate> candidates;
  std::map<std::string, std::string> zone_of;
  std::string reasons;
  auto because = [&](const cell_view& cell, const std::string& why) {
    reasons += (reasons.empty() ? "" : "; ") + cell.guid + ": " + why;
  };
  for (const auto& cell : cells) {
    zone_of[cell.guid] = cell.availability_zone;
    if (!asked.among.empty()
        && std::find(asked.among.begin(), asked.among.end(), cell.guid) == asked.among.end())
      continue;
    if (auto avoided = asked.avoid.find(cell.guid); avoided != asked.avoid.end()) {
      because(cell, avoided->second);
    } else if (!cell.reachable) {
      // The details are for the operator, in /admin/cells.
      because(cell, cell.lacks_certificate ? "has no certificate yet" : "cannot be reached");
      chosen.may_improve = true;
    } else if (auto small = why_too_small(asked.limits, cell); !small.empty()) {
      because(cell, small);
    } else if (cell.fault_of(asked.settings) != nullptr && !asked.unfit_too) {
      because(cell, "its nodes would not start with the plan's settings");
    } else {
      candidates.push_back({&cell, cell.nodes});
    }
  }

  std::map<std::string, int> on_cell;
  std::map<std::string, int> in_zone;
  auto count = [&](const std::string& guid) {
    ++on_cell[guid];
    ++in_zone[zone_of[guid]];
  };
  for (const auto& guid : asked.used)
    count(guid);

  auto is_preferred = [&](const std::string& guid) {
    return std::find(asked.preferred.begin(), asked.preferred.end(), guid) != asked.preferred.end();
  };
  while (static_cast<int>(chosen.cells.size()) < asked.count) {
    candidate* best = nullptr;
    auto rank = [&](const candidate& c) {
      return std::tuple{c.cell->fault_of(asked.settings) != nullptr,
                        on_cell[c.cell->guid],
                        !is_preferred(c.cell->guid),
                        in_zone[c.cell->availability_zone],
                        load_of(c),
                        c.cell->guid};
    };
    for (auto& c : candidates)
      if (!full(c) && (best == nullptr || rank(c) < rank(*best)))
        best = &c;
    if (best == nullptr)
      break;
    ++best->nodes;
    count(best->cell->guid);
    chosen.cells.push_back(best->cell->guid);
  }

  if (static_cast<int>(chosen.cells.size()) < asked.count) {
    for (const auto& c : candidates)
      if (full(c))
        because(*c.cell, "full (" + std::to_string(c.cell->capacity) + " nodes)");
    chosen.shortage = reasons.empty() ? "there are no cells" : reasons;
  } else {
    chosen.may_improve = false;
  }
  return chosen;
}

} // namespace matriarch::model
