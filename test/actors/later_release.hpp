#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "world.hpp"

namespace matriarch::simulation {

/// A broker of a future release that was active for a while. It writes members that no broker of
/// today knows; all of them must still be there when it is active again.
class later_release {
public:
  /// Adds such members to every record and binding, and to their parts.
  void write(world& into);

  /// The missing members, in words. Members of values that were removed since do not count.
  [[nodiscard]] std::vector<std::string> missing(const world& from) const;

private:
  struct mark {
    store::revision made_at = 0;      ///< the key's; a key that was made again has none
    std::string operation = {};       ///< for a record: its operation's id
    std::set<std::string> nodes = {}; ///< for a record: its nodes' ids
  };
  std::map<std::string, mark> marks_; ///< by key
};

/// The value without those members, as written by a broker that does not keep unknown members.
[[nodiscard]] std::string without_later_members(const std::string& value);

} // namespace matriarch::simulation
