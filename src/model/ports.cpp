#include "model/ports.hpp"

#include <algorithm>

namespace matriarch::model {

std::optional<int> choose_port(const port_range& range, const std::map<int, port_use>& known,
                               int from, wall_time now, const std::set<int>& unusable) {
  auto available = [&](int port) {
    if (unusable.contains(port))
      return false;
    auto found = known.find(port);
    return found == known.end()
           || (found->second.resting_since && *found->second.resting_since + range.rest <= now);
  };
  int start = std::clamp(from, range.first, range.last);
  int count = range.last - range.first + 1;
  for (int i = 0; i < count; ++i) {
    int port = range.first + (start - range.first + i) % count;
    if (available(port))
      return port;
  }
  return std::nullopt;
}

} // namespace matriarch::model
