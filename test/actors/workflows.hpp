#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "invariants.hpp"
#include "platform.hpp"

namespace matriarch::simulation {

/// Something that a broker does from a request, or by itself, to its end, to be cut off anywhere.
struct workflow {
  std::string name;
  std::function<void(stage&)> prepare; ///< nothing is cut off during it
  std::vector<errand> errands;
  std::map<std::string, expectation> expected; ///< every instance that there shall be in the end
  /// What the broker does by itself is over; without it, the errands' end is.
  std::function<bool(const world&)> over = {};
  /// What happens outside once it is over, before everything has to be in order.
  std::function<void(world&)> afterwards = {};
  std::function<void(broker_settings&)> tune = {};
  int cells = 4;
};

[[nodiscard]] const std::vector<workflow>& workflows();

} // namespace matriarch::simulation
