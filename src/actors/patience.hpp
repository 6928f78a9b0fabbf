#pragma once

#include <caf/all.hpp>

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <utility>

namespace matriarch::actors {

/// The pause before an unreachable leader is asked again while nobody waits for it: 10 s at first,
/// five minutes in the end, plus up to half as much. In a large fleet thousands of leaders may be
/// out of reach; asking all of them every 10 s, or at the same moment, would take the processors
/// from healthy instances.
class patience {
public:
  /// `whom`: the leader and its timeline. Another leader starts without failures.
  void begin(const std::string& whom) {
    if (std::exchange(whom_, whom) != whom)
      failures_ = 0;
  }
  void end(bool answered) { failures_ = answered ? 0 : failures_ + 1; }

  [[nodiscard]] caf::timespan pause(const std::string& whom) const {
    constexpr caf::timespan first = std::chrono::seconds{10};
    constexpr int most_doublings = 5;
    constexpr std::size_t parts = 1'000;
    const auto pause =
        first * (1 << std::clamp(whom == whom_ ? failures_ - 1 : 0, 0, most_doublings));
    return pause
           + pause / 2 * static_cast<int>(std::hash<std::string>{}(whom) % parts) / int{parts};
  }

private:
  std::string whom_;
  int failures_ = 0; ///< consecutive
};

} // namespace matriarch::actors
