#pragma once

#include <algorithm>
#include <chrono>

namespace matriarch::cell {

/// How long to wait before a node whose processes ended is started again.
class restart_pause {
public:
  using duration = std::chrono::milliseconds;

  /// Short enough that a killed leader is back before its lease of five seconds or more ends.
  static constexpr duration first{500};
  /// Long enough that a broken node costs next to nothing, short enough for a person who is
  /// waiting.
  static constexpr duration longest{60'000};
  /// A node that lived this long has completed its start: the next end is a new incident.
  static constexpr duration proven{30'000};

  /// The pause after a life of that length: `first`, then twice the previous one.
  [[nodiscard]] duration next(duration lived) {
    pause_ = lived >= proven || pause_ == duration::zero() ? first : std::min(pause_ * 2, longest);
    return pause_;
  }

private:
  duration pause_ = duration::zero();
};

} // namespace matriarch::cell
