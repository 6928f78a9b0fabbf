#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "model/record.hpp"

namespace matriarch::model {

/// The public ports for instances, `routing:` in the configuration.
struct port_range {
  int first = 30000;
  int last = 32767;
  /// How long a released port is not given to another instance, so that a client that still has the
  /// old address does not reach the new instance.
  duration rest{};
};

/// The use of a port, `/routing/port/<port>`.
struct port_use {
  std::string name; ///< the instance that has the port or had it last
  std::optional<wall_time> resting_since;
  std::int64_t revision = 0; ///< the key's; compared when the port is taken
  unknown_members unknown = {};
};

/// The least rest of a port, unless range.rest is shorter. Clients that were connected when the
/// instance was removed have noticed by then.
inline constexpr duration shortest_rest = std::chrono::minutes{10};

/// The lowest port that is free, not resting and not `unusable`, starting at `from` and wrapping
/// around. If there is none: the port that has rested longest, if at least `shortest_rest`.
[[nodiscard]] std::optional<int> choose_port(const port_range& range,
                                             const std::map<int, port_use>& known, int from,
                                             wall_time now, const std::set<int>& unusable = {});

} // namespace matriarch::model
