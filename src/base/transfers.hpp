#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/event_loop.hpp"

/// The event loop's use of libcurl: no other file calls libcurl.
namespace matriarch::base {

/// A request or a stream, and its state.
struct transfer {
  using clock = std::chrono::steady_clock;

  transfer();
  ~transfer();

  event_loop::task_id id = 0;
  outgoing what;
  bool streams = false;
  std::function<void(std::string)> line;
  std::function<void(outcome)> done;
  clock::time_point deadline = clock::time_point::max();

  /// The answer; for a stream, the text that is not yet split into lines.
  std::string received;
  /// For a stream: how much of the present line has arrived.
  std::size_t line_bytes = 0;
  /// The scheme, host and port. Requests with the same origin share connections.
  std::string origin;
  /// Whether libcurl has the transfer.
  bool started = false;
  bool sent = false;
  bool too_long = false;
  bool touched = false;
  /// The transfers that have received something since the loop last checked.
  std::vector<event_loop::task_id>* arrivals = nullptr;

  /// libcurl's handles; nullptr before prepare().
  struct handles;
  std::unique_ptr<handles> curl;

  /// Makes libcurl's handles. The text tells what is wrong with the request.
  [[nodiscard]] std::optional<std::string> prepare();
  /// The answer's HTTP status; 0 while there is none.
  [[nodiscard]] int status() const;
  /// A hint for an error message; empty if TLS is not the reason.
  [[nodiscard]] std::string doubt_about_tls() const;
  [[nodiscard]] outcome failed(std::string reason) const;
};

/// The scheme, host and port of a URL.
[[nodiscard]] std::string origin_of(std::string_view url);

/// All transfers in progress, through libcurl's multi interface, which never waits by itself.
class transfers {
public:
  /// What libcurl asks the event loop for.
  class watcher {
  public:
    virtual ~watcher() = default;
    /// Call act() when the descriptor has input, or room to write.
    virtual void watch(int descriptor, bool input, bool room) = 0;
    virtual void forget(int descriptor) = 0;
    /// Call act_in_time() after this time at the latest; replaces the request before. Nothing: only
    /// when a descriptor is ready.
    virtual void remind(std::optional<std::chrono::milliseconds> after) = 0;
  };

  /// Throws std::runtime_error if libcurl does not start.
  explicit transfers(watcher& by);
  ~transfers();
  transfers(const transfers&) = delete;
  transfers& operator=(const transfers&) = delete;

  /// Gives a prepared transfer to libcurl; false if libcurl has no memory for it.
  [[nodiscard]] bool begin(transfer& one);
  /// Takes back a transfer that was begun, whether it has ended or not.
  void end(transfer& one);

  /// Tells libcurl that a descriptor is ready.
  void act(int descriptor, bool input, bool room, bool failed);
  /// Tells libcurl that the time of watcher::remind has come.
  void act_in_time();

  /// The next transfer that has ended, with libcurl's result code; nothing if there are no more.
  [[nodiscard]] std::optional<std::pair<transfer*, int>> next_ended();
  /// The outcome of a transfer that has ended with the result code `how`.
  [[nodiscard]] static outcome outcome_of(transfer& ended, int how);

private:
  struct implementation;
  std::unique_ptr<implementation> self_;
};

} // namespace matriarch::base
