#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.hpp"

namespace matriarch::base {

/// Writes lines to a file or a pipe that may block. The sink's own thread writes, so that callers
/// never wait. Lines that do not fit into the queue or cannot be written are dropped and counted.
/// As soon as writing works again, a line at their place tells how many were dropped.
class line_sink {
public:
  struct settings {
    /// Makes the line that tells how many lines were dropped.
    std::function<std::string(std::uint64_t left_out)> tell_left_out;
    /// Called once, with the reason, each time that dropping begins. On any thread; may be empty.
    std::function<void(const std::string& why)> complain = {};
    /// Some seconds of heavy logging. So a line is at most that old when an operator sees it.
    std::size_t most_bytes = 4 * 1024 * 1024;
  };

  /// Opens a file for appending; creates it with `mode` if it does not exist. The failure tells
  /// why. A FIFO without a reader is opened as soon as it has one.
  [[nodiscard]] static result<std::unique_ptr<line_sink>> open(const std::string& path,
                                                               unsigned mode, settings how);
  /// Writes to a descriptor, which the caller keeps and closes.
  line_sink(int descriptor, settings how);
  /// Waits a moment for queued lines to be written. A blocked thread is abandoned.
  ~line_sink();
  line_sink(const line_sink&) = delete;
  line_sink& operator=(const line_sink&) = delete;

  /// Adds one line, without its end. Never waits.
  void post(std::string line);

  /// Waits until all posted lines are written; false if that takes longer than `patience`.
  bool drain(std::chrono::milliseconds patience);

private:
  struct shared;
  explicit line_sink(std::shared_ptr<shared> state);
  std::shared_ptr<shared> state_;
};

} // namespace matriarch::base
