#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "world.hpp"

namespace matriarch::simulation {

/// An instance as it shall be in the end.
struct expectation {
  int nodes = 2;
  std::vector<std::string> cells = {}; ///< that its nodes shall be on; empty means any
  model::cluster_settings settings = {};
  std::set<std::string> bindings = {};
  bool failed = false; ///< its last operation could not be done
  /// Whether its last rebuild succeeded, where that does not depend on when what happened.
  std::optional<bool> rebuilt = {};
};

/// Everything that has to hold once all is quiet, whatever has happened; in words, what does not.
/// `expected`: every instance that there shall be, by name.
[[nodiscard]] std::vector<std::string>
broken_rules(const world& outside, const std::map<std::string, expectation>& expected);

} // namespace matriarch::simulation
