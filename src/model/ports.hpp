#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "model/record.hpp"

namespace matriarch::model {

/// The public ports that instances may get, `routing:` in the configuration.
struct port_range {
  int first = 30000;
  int last = 32767;
  /// How long a released port is not given to another instance, so that a forgotten client of the
  /// old one does not reach the new one.
  duration rest{};
};

/// What is known of a port, `/routing/port/<port>`.
struct port_use {
  std::string name; ///< the instance that holds it or held it last
  std::optional<wall_time> resting_since;
  std::int64_t revision = 0; ///< of its key, to be compared when it is taken
  unknown_members unknown = {};
};

/// The rest that a port has in any case, if range.rest is not shorter: clients that were connected
/// when its instance ended have noticed by then.
inline constexpr duration shortest_rest = std::chrono::minutes{10};

/// The lowest port of the range that is neither held nor resting, nor one of `unusable`, beginning at
/// `from` and going round. If there is none: the one that has rested longest, for `shortest_rest` at
/// least.
[[nodiscard]] std::optional<int> choose_port(const port_range& range,
                                             const std::map<int, port_use>& known, int from,
                                             wall_time now, const std::set<int>& unusable = {});

} // namespace matriarch::model
