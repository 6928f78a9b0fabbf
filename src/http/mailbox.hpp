#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace matriarch::http {

struct link;
class worker;

/// The queue through which other threads pass answers to a worker. It outlives the worker, so that
/// a responder can be used at any time.
class mailbox {
public:
  struct item {
    std::shared_ptr<link> to;
    std::uint64_t turn = 0;
    std::string text;
    bool keep_alive = false;
  };

  mailbox() : descriptor_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (descriptor_ < 0)
      throw std::runtime_error{"no descriptors left"};
  }
  ~mailbox() { ::close(descriptor_); }
  mailbox(const mailbox&) = delete;
  mailbox& operator=(const mailbox&) = delete;

  [[nodiscard]] int descriptor() const { return descriptor_; }

  void wake() const {
    std::uint64_t one = 1;
    [[maybe_unused]] auto written = ::write(descriptor_, &one, sizeof one);
  }

  void push(item what) {
    bool first = false;
    {
      std::lock_guard guard{mutex_};
      if (closed_)
        return;
      first = items_.empty();
      items_.push_back(std::move(what));
    }
    if (first)
      wake();
  }

  std::vector<item> take() {
    std::uint64_t ignored = 0;
    [[maybe_unused]] auto got = ::read(descriptor_, &ignored, sizeof ignored);
    std::lock_guard guard{mutex_};
    return std::exchange(items_, {});
  }

  /// From now on answers announce that the connection will be closed.
  void leave() { leaving_ = true; }
  [[nodiscard]] bool leaving() const { return leaving_; }

  /// From now on nothing is accepted and no worker is called.
  void close() {
    std::lock_guard guard{mutex_};
    closed_ = true;
    items_.clear();
  }

  /// The worker, if it is alive and this is its thread.
  [[nodiscard]] worker* worker_here() const {
    return !closed_ && thread_ == std::this_thread::get_id() ? worker_.load() : nullptr;
  }

  void belong_to(worker* owner) {
    worker_ = owner;
    thread_ = std::this_thread::get_id();
  }

private:
  int descriptor_;
  std::mutex mutex_;
  std::vector<item> items_;
  std::atomic<bool> leaving_ = false;
  std::atomic<bool> closed_ = false;
  std::atomic<worker*> worker_ = nullptr;
  std::atomic<std::thread::id> thread_;
};

} // namespace matriarch::http
