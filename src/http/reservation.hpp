#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

namespace matriarch::http {

/// A part of the memory for bodies, returned when this object ends. It may outlive the server.
class reservation {
public:
  reservation() = default;
  reservation(reservation&& other) noexcept
      : taken_(std::move(other.taken_)), bytes_(std::exchange(other.bytes_, 0)) {}
  reservation& operator=(reservation&& other) noexcept {
    release();
    taken_ = std::move(other.taken_);
    bytes_ = std::exchange(other.bytes_, 0);
    return *this;
  }
  ~reservation() { release(); }

  /// Takes `bytes` of `most`; false if not enough are left.
  [[nodiscard]] bool take(std::shared_ptr<std::atomic<std::size_t>> from, std::size_t bytes,
                          std::size_t most) {
    release();
    if (from->fetch_add(bytes) + bytes > most) {
      from->fetch_sub(bytes);
      return false;
    }
    taken_ = std::move(from);
    bytes_ = bytes;
    return true;
  }

  void release() {
    if (auto from = std::exchange(taken_, nullptr))
      from->fetch_sub(std::exchange(bytes_, 0));
  }

private:
  std::shared_ptr<std::atomic<std::size_t>> taken_;
  std::size_t bytes_ = 0;
};

} // namespace matriarch::http
