#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "invariants.hpp"
#include "platform.hpp"

namespace matriarch::simulation {

/// Something that a broker does, on request or by itself, to be cut off anywhere.
struct workflow {
  std::string name;
  std::function<void(stage&)> prepare; ///< not disturbed
  std::vector<errand> errands;
  std::map<std::string, expectation> expected; ///< every instance that must exist in the end
  /// Whether the broker's own work is over; if not set, the platform's tasks decide.
  std::function<bool(const world&)> over = {};
  /// What happens outside after that, before everything must be in order.
  std::function<void(world&)> afterwards = {};
  std::function<void(broker_settings&)> tune = {};
  int cells = 4;
};

[[nodiscard]] const std::vector<workflow>& workflows();

} // namespace matriarch::simulation
