#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace matriarch::base {

/// A thread that runs jobs in order: for blocking work that must not run on the event loop.
class background {
public:
  background() : thread_([this] { run(); }) {}

  /// Lets the running job end and drops the others.
  ~background() {
    {
      std::lock_guard guard{mutex_};
      ending_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }

  background(const background&) = delete;
  background& operator=(const background&) = delete;

  void submit(std::function<void()> job) {
    {
      std::lock_guard guard{mutex_};
      jobs_.push_back(std::move(job));
    }
    changed_.notify_one();
  }

private:
  void run() {
    std::unique_lock guard{mutex_};
    while (true) {
      changed_.wait(guard, [&] { return ending_ || !jobs_.empty(); });
      if (ending_)
        return;
      auto job = std::move(jobs_.front());
      jobs_.pop_front();
      guard.unlock();
      job();
      guard.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool ending_ = false;
  std::thread thread_;
};

} // namespace matriarch::base
