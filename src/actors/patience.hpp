#pragma once

#include <caf/all.hpp>

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <utility>

namespace matriarch::actors {

/// How long a leader is left alone that could not be asked, while nobody waits for it: 10 s at first, and
/// five minutes in the end, or up to half as long again. Of a large fleet thousands may be out of reach at
/// the same time, and to ask all of them every 10 s, or at the same moment, takes the processors from those
/// who are served.
class patience {
public:
  /// `whom`: which leader, of which timeline. Another one has not failed yet.
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
  int failures_ = 0; ///< in a row
};

} // namespace matriarch::actors
