#pragma once

#include <caf/all.hpp>

#include <algorithm>
#include <chrono>

namespace matriarch::actors {

/// How long a leader is left alone that nobody waits for and that could not be asked `failures` times in a
/// row: 10 s at first, and five minutes in the end. Of a large fleet thousands may be out of reach at the
/// same time, and to ask all of them every 10 s takes the processors from those who are served.
[[nodiscard]] inline caf::timespan pause_after(int failures) {
  constexpr caf::timespan first = std::chrono::seconds{10};
  constexpr int most_doublings = 5;
  return first * (1 << std::clamp(failures - 1, 0, most_doublings));
}

} // namespace matriarch::actors
