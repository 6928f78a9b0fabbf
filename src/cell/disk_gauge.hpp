#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/background.hpp"
#include "base/event_loop.hpp"

namespace matriarch::cell {

/// The use of a disk.
struct disk_use {
  std::int64_t used = 0; ///< bytes, below a directory
  std::int64_t free = 0; ///< bytes, of its file system, for who is not root
  std::int64_t size = 0; ///< bytes, of all of its file system; 0: that cannot be known
  bool operator==(const disk_use&) const = default;
};

/// How close a node's disk is to being full. A database without room for its WAL stops, and a
/// failover would not help, for all nodes of a cluster have as much data.
enum class disk_state {
  roomy,
  nearly_full, ///< new transactions do not write
  full,        ///< and running statements that write are cancelled
};
[[nodiscard]] std::string_view word_for(disk_state is);

/// What a node may fill.
struct disk_bounds {
  std::int64_t limit = 0; ///< bytes, of the node's plan; 0: it has none
  /// Bytes that are to stay free on the file system, or a twentieth of it if that is less, 64 MB at
  /// least; 0: whatever is left is used.
  std::int64_t least_free = 0;
};

/// `before`: once little is left, some more has to become free than what was missing, so that it does not
/// change to and fro.
[[nodiscard]] disk_state judge_disk(const disk_use& now, const disk_bounds& bounds,
                                    disk_state before);

/// Measures what is used below a directory, if `all`, and what is free on its file system. Files
/// may come and go during the measurement.
[[nodiscard]] disk_use measure_disk(const std::string& directory, bool all = true);

/// A thread that measures, for a measurement can take longer than an event loop may wait.
class disk_gauge {
public:
  explicit disk_gauge(base::event_loop& loop) : loop_(loop) {}

  /// Without `all` only the file system is queried, which costs nothing. `then` is called on the
  /// event loop's thread.
  void measure(std::string directory, bool all, std::function<void(disk_use)> then);

private:
  base::event_loop& loop_;
  base::background thread_;
};

} // namespace matriarch::cell
