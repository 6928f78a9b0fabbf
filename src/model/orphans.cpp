#include "model/orphans.hpp"

#include <algorithm>
#include <iterator>

namespace matriarch::model {

std::vector<listed_node> unrecorded(const std::vector<listed_node>& listed,
                                    const std::set<std::string>& recorded) {
  std::vector<listed_node> without_record;
  std::ranges::copy_if(listed, std::back_inserter(without_record),
                       [&](const auto& node) { return !recorded.contains(node.node_id); });
  return without_record;
}

orphan_ruling judge_orphans(const std::vector<listed_node>& without_record,
                            const std::set<std::string>& graves,
                            const std::set<std::string>& suspects) {
  orphan_ruling ruled;
  for (const auto& node : without_record) {
    if (graves.contains(node.node_id)) {
      ruled.remove.push_back(node);
      continue;
    }
    ruled.suspects.insert(node.node_id);
    if (suspects.contains(node.node_id))
      ruled.report.push_back(node);
  }
  return ruled;
}

bool has_served(const std::string& node_id, const grave& which,
                const std::optional<std::set<std::string>>& listed, wall_time now) {
  auto age = which.buried_at ? now - *which.buried_at : duration{0};
  if (age > longest_grave_life)
    return true;
  bool old_enough = !which.buried_at || age > grave_life_after_listing;
  return listed && !listed->contains(node_id) && old_enough;
}

} // namespace matriarch::model
