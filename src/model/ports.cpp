#include "model/ports.hpp"

#include <algorithm>

namespace matriarch::model {

std::optional<int> choose_port(const port_range& range, const std::map<int, port_use>& known,
                               int from, wall_time now, const std::set<int>& unusable) {
  const auto least = std::min<duration>(range.rest, shortest_rest);
  int start = std::clamp(from, range.first, range.last);
  int count = range.last - range.first + 1;
  std::optional<int> rested;
  wall_time since = now - least;
  for (int i = 0; i < count; ++i) {
    int port = range.first + (start - range.first + i) % count;
    if (unusable.contains(port))
      continue;
    auto found = known.find(port);
    if (found == known.end())
      return port;
    const auto& resting = found->second.resting_since;
    if (!resting)
      continue;
    if (*resting + range.rest <= now)
      return port;
    if (*resting <= since && (!rested || *resting < since)) {
      rested = port;
      since = *resting;
    }
  }
  return rested;
}

} // namespace matriarch::model
