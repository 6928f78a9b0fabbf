#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "router/haproxy_state.hpp"

namespace matriarch::router {

/// Commands to HAProxy: each call is a connection of its own to one of its Unix sockets, the
/// worker's or the master's, and blocks until the answer is there.
class haproxy_socket {
public:
  explicit haproxy_socket(std::string path) : path_(std::move(path)) {}

  /// The answer to one line. The failure says what HAProxy did not do.
  [[nodiscard]] result<std::string> ask(std::string_view line,
                                        std::chrono::milliseconds patience) const;

  /// What came of several lines.
  struct outcome {
    std::string error;                 ///< why HAProxy could not be asked; empty if it could
    std::vector<command_line> refused; ///< what HAProxy did not do; only without an error
    std::string reason;                ///< HAProxy's answer to the first of these
  };
  /// Sends them in order, in as few batches as possible. The lines of a batch that is refused are
  /// sent once more, each by itself, so each line must be harmless if it is done twice. Asks at
  /// least one question, so that no error means that HAProxy answers.
  [[nodiscard]] outcome send(const std::vector<command_line>& lines,
                             std::chrono::milliseconds patience) const;

private:
  std::string path_;
};

} // namespace matriarch::router
