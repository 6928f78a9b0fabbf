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

/// libcurl's part in the event loop: nobody else speaks to it.
namespace matriarch::base {

/// One request or stream, and what has come of it.
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

  /// The answer, or of a stream what is not yet split into lines.
  std::string received;
  /// How much of a stream's present line has arrived.
  std::size_t line_bytes = 0;
  /// Which requests share their connections: scheme, host and port.
  std::string origin;
  /// True if libcurl has it.
  bool started = false;
  bool sent = false;
  bool too_long = false;
  bool touched = false;
  /// The transfers that received something since the loop last looked.
  std::vector<event_loop::task_id>* arrivals = nullptr;

  /// libcurl's; none before it is prepared.
  struct handles;
  std::unique_ptr<handles> curl;

  /// Makes what libcurl needs. The text says what is wrong with the request.
  [[nodiscard]] std::optional<std::string> prepare();
  /// Of the answer; 0 while there is none.
  [[nodiscard]] int status() const;
  /// To be added to what went wrong; empty if TLS has nothing to do with it.
  [[nodiscard]] std::string doubt_about_tls() const;
  [[nodiscard]] outcome failed(std::string reason) const;
};

/// The scheme, host and port of a URL.
[[nodiscard]] std::string origin_of(std::string_view url);

/// All transfers that are under way, by libcurl's multi interface, which never waits by itself.
class transfers {
public:
  /// What libcurl asks for.
  class watcher {
  public:
    virtual ~watcher() = default;
    /// To be told when there is input at the descriptor, and when there is room to write.
    virtual void watch(int descriptor, bool input, bool room) = 0;
    virtual void forget(int descriptor) = 0;
    /// To be called after so long at the latest, in place of what it asked for before; nothing: only
    /// when a descriptor is ready.
    virtual void remind(std::optional<std::chrono::milliseconds> after) = 0;
  };

  /// Throws std::runtime_error if libcurl does not start.
  explicit transfers(watcher& by);
  ~transfers();
  transfers(const transfers&) = delete;
  transfers& operator=(const transfers&) = delete;

  /// Hands a prepared transfer to libcurl; false if that has no memory for it.
  [[nodiscard]] bool begin(transfer& one);
  /// Takes one back that was begun, whether it has ended or not.
  void end(transfer& one);

  /// A descriptor is ready.
  void act(int descriptor, bool input, bool room, bool failed);
  /// It is time; see watcher::remind.
  void act_in_time();

  /// One that has ended, with libcurl's word for how; nothing if there are no more.
  [[nodiscard]] std::optional<std::pair<transfer*, int>> next_ended();
  /// What came of a transfer that has ended so.
  [[nodiscard]] static outcome outcome_of(transfer& ended, int how);

private:
  struct implementation;
  std::unique_ptr<implementation> self_;
};

} // namespace matriarch::base
