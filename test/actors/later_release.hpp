#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "world.hpp"

namespace matriarch::simulation {

/// A broker of a release to come that acted for a while: what it wrote has members that no broker of
/// today knows, and all of them are still there when it acts again.
class later_release {
public:
  /// Adds such members to every record and binding, and to what is within them.
  void write(world& into);

  /// What is missing of them, in words. What was removed meanwhile took its own with it.
  [[nodiscard]] std::vector<std::string> missing(const world& from) const;

private:
  struct mark {
    store::revision made_at = 0;      ///< of the key: one that was made anew has none
    std::string operation = {};       ///< of a record, its id
    std::set<std::string> nodes = {}; ///< of a record, their ids
  };
  std::map<std::string, mark> marks_; ///< by key
};

/// The value without those members, as a broker leaves it that does not keep what it does not know.
[[nodiscard]] std::string without_later_members(const std::string& value);

} // namespace matriarch::simulation
