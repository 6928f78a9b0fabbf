#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

/// The client's half of HTTP, for every program; the server's is the folder http/.
namespace matriarch::base {

/// PEM files for outgoing TLS. Empty: the system's authorities; no client certificate.
struct tls_files {
  std::string authority = {};   ///< certificates of those who may sign the server's
  std::string certificate = {}; ///< the client's own
  std::string key = {};
  /// The same as `authority`, as text instead of a file's name.
  std::string authority_text = {};
  bool operator==(const tls_files&) const = default;
};

/// A request that this program makes of another.
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
  /// `host:port` to be connected to instead of the URL's, which then only says whom a certificate has
  /// to name, and whose connections are kept for it.
  std::string reached_at = {};
  std::chrono::milliseconds connect_timeout{1'000};
  /// From the call to the end of the answer. Not used by streams.
  std::chrono::milliseconds timeout{5'000};
  /// A longer answer, or a longer line of a stream, is an error. 64 MB: many times what anybody has
  /// to say at once.
  std::size_t max_answer_bytes = 64 * 1024 * 1024;
};

/// What came of an outgoing request.
struct outcome {
  /// The HTTP status; 0 if there was no complete answer.
  int status = 0;
  std::string body;
  /// Why there is no answer, in words: empty if and only if `status` is not 0.
  std::string error;
  /// True if it is certain that the other side never saw the request (the connection was refused or
  /// never made), so that it cannot have had an effect.
  bool never_sent = false;
  /// True if there was more of it than `outgoing::max_answer_bytes`.
  bool too_long = false;
  /// True if somebody is there who speaks no TLS, or does not show to be whom the URL names.
  bool unrecognised = false;
};

/// One thread that does this program's outgoing HTTP (libcurl's multi interface) and its timers.
/// Everything passed in is called on that thread and must not block. All members may be called from
/// any thread, also from within those calls.
class event_loop {
public:
  event_loop();
  /// Ends the thread. Nothing is called afterwards; pending requests are dropped silently. Not to
  /// be called from within one of the loop's own calls.
  ~event_loop();
  event_loop(const event_loop&) = delete;
  event_loop& operator=(const event_loop&) = delete;

  using task_id = std::uint64_t;

  /// Makes one request; `done` is called exactly once unless it is cancelled before. At most 32
  /// requests to one host are under way, the others wait, which counts towards their time-out. A
  /// body is announced as JSON unless there is a Content-Type among the headers.
  task_id send(outgoing what, std::function<void(outcome)> done);

  /// Opens a response that does not end (a watch). `line` gets each complete line, without its end;
  /// `done` is called once when the stream ends, for whatever reason, unless it was cancelled. Its
  /// outcome's body is what came after the last line end; if the status is not 2xx, there are no
  /// lines and it is the answer, of which 64 kB are kept.
  task_id stream(outgoing what, std::function<void(std::string)> line,
                 std::function<void(outcome)> done);

  /// Calls `then` once, after `delay`.
  task_id after(std::chrono::milliseconds delay, std::function<void()> then);

  /// Calls `then` soon, on the loop's thread.
  void post(std::function<void()> then);

  /// Calls `what` on the loop's thread, and waits for its end; not to be used on that thread.
  void run(const std::function<void()>& what);

  /// Ends a request, a stream or a timer without calling anything: no call begins after this
  /// returns, though one on the loop's thread may be under way. Unknown ids are ignored.
  void cancel(task_id task);

private:
  struct implementation;
  std::unique_ptr<implementation> self_;
};

} // namespace matriarch::base
