#pragma once

#include <algorithm>
#include <chrono>

#include "model/record.hpp"

namespace matriarch::model {

/// The time of day for deadlines that are stored as times of day, so that they survive a restart.
/// When the system's clock is set, this clock does not jump but approaches the new time by a tenth
/// of the time that passes. So a corrected clock ends no operation early, and delays none much.
class smooth_clock {
public:
  using steady_time = std::chrono::steady_clock::time_point;

  /// `steady` never decreases from call to call; `system` may be any time.
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
  /// A tenth: a deadline of ten minutes is never off by more than one.
  static constexpr int share_of_correction = 10;

  bool started_ = false;
  steady_time last_;
  std::chrono::sys_time<std::chrono::nanoseconds> told_;
};

} // namespace matriarch::model
