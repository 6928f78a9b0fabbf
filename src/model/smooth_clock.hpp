#pragma once

#include <algorithm>
#include <chrono>

#include "model/record.hpp"

namespace matriarch::model {

/// The time of day for a program whose deadlines are written down as times of day, so that they
/// outlive it: where the system's clock is set, this one does not jump but comes closer to it by a
/// tenth of the time that passes. So no operation ends, and none is waited for much longer, because
/// somebody corrected a clock.
class smooth_clock {
public:
  using steady_time = std::chrono::steady_clock::time_point;

  /// `steady` is never less than in the call before; `system` may be anything.
  [[nodiscard]] wall_time read(steady_time steady, std::chrono::system_clock::time_point system) {
    using nanoseconds = std::chrono::nanoseconds;
    const auto wanted = std::chrono::time_point_cast<nanoseconds>(system);
    if (!started_) {
      started_ = true;
      told_ = wanted;
    } else {
      const auto passed = std::chrono::duration_cast<nanoseconds>(steady - last_);
      told_ += passed;
      const auto closer = passed / share_of_correction;
      told_ += std::clamp<nanoseconds>(wanted - told_, -closer, closer);
    }
    last_ = steady;
    return std::chrono::floor<duration>(told_);
  }

private:
  /// A deadline of ten minutes is never off by more than one.
  static constexpr int share_of_correction = 10;

  bool started_ = false;
  steady_time last_;
  std::chrono::sys_time<std::chrono::nanoseconds> told_;
};

} // namespace matriarch::model
