#pragma once

#include <signal.h>

#include <chrono>
#include <initializer_list>
#include <mutex>
#include <string>

namespace matriarch::base {

/// What ends a server: a signal, or something in it that cannot go on. Made before any other thread,
/// which all inherit that the signals are held back for wait(); SIGPIPE is ignored.
class ending {
public:
  explicit ending(std::initializer_list<int> signals = {SIGTERM, SIGINT});
  ending(const ending&) = delete;
  ending& operator=(const ending&) = delete;

  struct cause {
    int signal = 0;
    std::string why; ///< empty if it was a signal
  };

  /// Waits for the first cause. For one thread.
  [[nodiscard]] cause wait();

  /// Whether there is a cause within that time; wait() gives it all the same. For the same thread.
  [[nodiscard]] bool comes_within(std::chrono::milliseconds time);

  /// The process cannot go on, and why; of several reasons the first one counts. From any thread.
  void fail(std::string why);

private:
  sigset_t signals_{};
  std::mutex mutex_;
  std::string why_;
};

} // namespace matriarch::base
