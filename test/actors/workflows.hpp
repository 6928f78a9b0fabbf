#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "invariants.hpp"
#include "platform.hpp"

namespace matriarch::simulation {

/// Something that a broker does from a request to its end, to be cut off anywhere.
struct workflow {
  std::string name;
  std::function<void(stage&)> prepare; ///< nothing is cut off during it
  std::vector<errand> errands;
  std::map<std::string, expectation> expected; ///< every instance that there shall be in the end
  /// Instances that may be there or not, since the platform did not wait for an answer.
  int cells = 4;
};

[[nodiscard]] const std::vector<workflow>& workflows();

} // namespace matriarch::simulation
