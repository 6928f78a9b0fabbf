#pragma once

#include <signal.h>

#include <chrono>
#include <initializer_list>
#include <mutex>
#include <string>

namespace matriarch::base {

/// Waits for the end of a server: a signal, or a failure inside the server. Create it before all
/// other threads: they inherit the mask that keeps the signals for wait(). SIGPIPE is ignored.
class ending {
public:
  explicit ending(std::initializer_list<int> signals = {SIGTERM, SIGINT});
  ending(const ending&) = delete;
  ending& operator=(const ending&) = delete;

  struct cause {
    int signal = 0;
    std::string why; ///< empty if a signal was the cause
  };

  /// Waits for the first cause. Call from one thread only.
  [[nodiscard]] cause wait();

  /// Whether a cause comes within that time; wait() still returns the cause afterwards. Call from
  /// the same thread as wait().
  [[nodiscard]] bool comes_within(std::chrono::milliseconds time);

  /// Ends the server with a reason; only the first reason is kept. May be called from any thread.
  void fail(std::string why);

private:
  sigset_t signals_{};
  std::mutex mutex_;
  std::string why_;
};

} // namespace matriarch::base
