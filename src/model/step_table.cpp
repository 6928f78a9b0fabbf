#include "model/step_table.hpp"

#include <algorithm>
#include <utility>

namespace matriarch::model {

bool step_table::under_way(const step_key& which) const {
  auto found = steps_.find(which);
  return found != steps_.end() && found->second.under_way;
}

bool step_table::begin(const step_key& which) {
  return !std::exchange(steps_[which].under_way, true);
}

void step_table::end(const step_key& which) {
  auto found = steps_.find(which);
  if (found == steps_.end())
    return;
  found->second.under_way = false;
  if (found->second.not_before == time_point{})
    steps_.erase(which);
}

bool step_table::idle() const {
  return std::ranges::none_of(steps_.entries(),
                              [](const auto& one) { return one.second.under_way; });
}

void step_table::put_off(const step_key& which, time_point until) {
  steps_[which].not_before = until;
}

step_table::time_point step_table::put_off_until(const step_key& which) const {
  auto found = steps_.find(which);
  return found == steps_.end() ? time_point{} : found->second.not_before;
}

void step_table::let_go(time_point now) {
  erase_if(steps_, [now](const auto& one) {
    return !one.second.under_way && one.second.not_before <= now;
  });
}

} // namespace matriarch::model
