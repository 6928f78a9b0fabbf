#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <utility>

namespace matriarch::test {

/// A test that waits longer has failed; long enough for a machine with other load.
constexpr std::chrono::seconds patience{180};

/// The value that an asynchronous call hands to its callback: `call` gets the callback.
template <class Value>
Value awaited(const std::function<void(std::function<void(Value)>)>& call) {
  auto promised = std::make_shared<std::promise<Value>>();
  auto value = promised->get_future();
  call([promised](Value what) { promised->set_value(std::move(what)); });
  if (value.wait_for(patience) != std::future_status::ready)
    throw std::runtime_error{"no call came back"};
  return value.get();
}

/// Something that other threads change and a test waits on.
template <class State>
class shared_state {
public:
  template <class Change>
  void change(Change how) {
    std::lock_guard guard{mutex_};
    how(state_);
    changed_.notify_all();
  }

  /// Waits until `condition` holds; false if it does not within the test's patience.
  template <class Condition>
  [[nodiscard]] bool becomes(Condition condition) {
    std::unique_lock guard{mutex_};
    return changed_.wait_for(guard, patience, [&] { return condition(state_); });
  }

  [[nodiscard]] State now() {
    std::lock_guard guard{mutex_};
    return state_;
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  State state_{};
};

} // namespace matriarch::test
