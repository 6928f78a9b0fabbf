#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

/// The HTTP client of all programs; the HTTP server is in the folder http/.
namespace matriarch::base {

/// PEM files for outgoing TLS. Empty: the system's authorities; no client certificate.
struct tls_files {
  std::string authority = {};   ///< certificates of the authorities that may sign the server's
  std::string certificate = {}; ///< the client's own
  std::string key = {};
  /// Like `authority`, but the text itself instead of a file name.
  std::string authority_text = {};
  bool operator==(const tls_files&) const = default;
};

/// A request that this program sends.
struct outgoing {
  std::string verb = "GET";
  /// `http://host:port/path` or `https://…`, already percent-encoded.
  std::string url;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  /// Basic authentication, if `username` is not empty.
  std::string username;
  std::string password;
  tls_files tls = {};
  /// The `host:port` to connect to instead of the URL's. The URL's host is then only the name that
  /// the certificate must have, and the key under which connections are kept.
  std::string reached_at = {};
  std::chrono::milliseconds connect_timeout{1'000};
  /// From the call to the end of the answer. Streams do not use it.
  std::chrono::milliseconds timeout{5'000};
  /// A longer answer, or a longer line of a stream, is an error. 64 MB is far more than any answer
  /// needs.
  std::size_t max_answer_bytes = 64 * 1024 * 1024;
};

/// The result of an outgoing request.
struct outcome {
  /// The HTTP status; 0 if there was no complete answer.
  int status = 0;
  std::string body;
  /// Why there is no answer; empty if and only if `status` is not 0.
  std::string error;
  /// Whether the other side certainly never got the request (the connection was refused or never
  /// made), so that the request had no effect.
  bool never_sent = false;
  /// Whether the answer was longer than `outgoing::max_answer_bytes`.
  bool too_long = false;
  /// Whether the other side speaks no TLS, or has no valid certificate for the URL's host.
  bool unrecognised = false;
};

/// A thread that does this program's outgoing HTTP (libcurl's multi interface) and its timers. All
/// callbacks run on that thread and must not block. All members may be called from any thread, also
/// from within callbacks.
class event_loop {
public:
  event_loop();
  /// Ends the thread. No callback runs afterwards; pending requests are dropped silently. Do not
  /// call from within a callback.
  ~event_loop();
  event_loop(const event_loop&) = delete;
  event_loop& operator=(const event_loop&) = delete;

  using task_id = std::uint64_t;

  /// Sends a request. `done` is called exactly once, unless the request is cancelled before. At
  /// most 32 requests to one host run at a time; the others wait, and their time-out counts
  /// meanwhile. A body gets the type JSON unless the headers have a Content-Type.
  task_id send(outgoing what, std::function<void(outcome)> done);

  /// Opens a response that does not end (a watch). `line` gets each complete line, without its end.
  /// `done` is called once when the stream ends for any reason, unless it was cancelled. The
  /// outcome's body is the text after the last line end. If the status is not 2xx, there are no
  /// lines, and the body is the answer, of which 64 kB are kept.
  task_id stream(outgoing what, std::function<void(std::string)> line,
                 std::function<void(outcome)> done);

  /// Calls `then` once after `delay`.
  task_id after(std::chrono::milliseconds delay, std::function<void()> then);

  /// Calls `then` soon, on the loop's thread.
  void post(std::function<void()> then);

  /// Calls `what` on the loop's thread and waits for its end. Do not call on that thread.
  void run(const std::function<void()>& what);

  /// Ends a request, a stream or a timer. None of its callbacks begins after this returns, but one
  /// may still be running on the loop's thread. Unknown ids are ignored.
  void cancel(task_id task);

private:
  struct implementation;
  std::unique_ptr<implementation> self_;
};

} // namespace matriarch::base
