#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.hpp"

namespace matriarch::base {

/// Lines for a file or a pipe that may stand still: a thread of its own writes them, and nobody who
/// has a line waits for it. What does not fit into the queue, or cannot be written, is left out,
/// counted, and said in the sink itself, at its place, as soon as it goes on.
class line_sink {
public:
  struct settings {
    /// The line that says how many were left out.
    std::function<std::string(std::uint64_t left_out)> tell_left_out;
    /// Hears once of each time that lines begin to be left out, and why. On any thread; may be empty.
    std::function<void(const std::string& why)> complain = {};
    /// Some seconds of a flood: what an operator may have to wait for is as old at most.
    std::size_t most_bytes = 4 * 1024 * 1024;
  };

  /// Opens a file for appending, makes it with `mode` if there is none, and fails if that cannot be.
  /// A FIFO that nobody reads is opened when somebody does.
  [[nodiscard]] static result<std::unique_ptr<line_sink>> open(const std::string& path,
                                                               unsigned mode, settings how);
  /// Writes to a descriptor, which stays the caller's.
  line_sink(int descriptor, settings how);
  /// Gives what is queued a moment to be written. A thread that stands still is left behind.
  ~line_sink();
  line_sink(const line_sink&) = delete;
  line_sink& operator=(const line_sink&) = delete;

  /// One line, without its end. Never waits.
  void post(std::string line);

  /// Waits until all that was posted is written; false if that takes longer.
  bool drain(std::chrono::milliseconds patience);

private:
  struct shared;
  explicit line_sink(std::shared_ptr<shared> state);
  std::shared_ptr<shared> state_;
};

} // namespace matriarch::base
