#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "world.hpp"

namespace matriarch::simulation {

/// The expected state of an instance in the end.
struct expectation {
  int nodes = 2;
  std::vector<std::string> cells = {}; ///< cells that its nodes must be on; empty: any
  model::cluster_settings settings = {};
  std::set<std::string> bindings = {};
  bool failed = false; ///< its last operation could not be done
  /// Whether its last rebuild succeeded, where that does not depend on when what happened.
  std::optional<bool> rebuilt = {};
};

/// Checks everything that must hold once all is quiet. Returns the broken rules, in words.
/// `expected`: all instances that must exist, by name.
[[nodiscard]] std::vector<std::string>
broken_rules(const world& outside, const std::map<std::string, expectation>& expected);

} // namespace matriarch::simulation
