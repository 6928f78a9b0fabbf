#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace matriarch::http {

enum class method { get, head, post, put, patch, del, options, other };

/// A request as the routes see it: plain values, checked and decoded, with no tie to the
/// connection.
struct request {
  method verb = method::get;
  /// The path as it was sent, without the query; for logs.
  std::string path;
  /// The path's segments, each percent-decoded exactly once. `/a/b%2Fc` is {"a", "b/c"}.
  std::vector<std::string> segments;
  /// The query's pairs in their order, percent-decoded once.
  std::vector<std::pair<std::string, std::string>> query;
  /// Header names in lower case, in their order, with the surrounding white space removed.
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  /// The peer's address, `127.0.0.1:54321`; for the audit trail.
  std::string remote;

  /// The first header of that name (lower case), if there is one.
  [[nodiscard]] const std::string* header(std::string_view name) const;
  /// The first query value of that name, if there is one.
  [[nodiscard]] const std::string* query_value(std::string_view name) const;
};

struct response {
  int status = 200;
  std::string body;
  /// Further headers. Content-Type, Content-Length and Connection are the server's affair.
  std::vector<std::pair<std::string, std::string>> headers;
  std::string content_type = "application/json";
};

/// The one answer that a request gets. It can be kept and used later, from any thread. One that is
/// dropped unanswered sends a 500, so that no client waits for a time-out.
class responder {
public:
  class connection;
  explicit responder(std::unique_ptr<connection> to);
  responder(responder&&) noexcept;
  responder& operator=(responder&&) noexcept;
  ~responder();

  /// A header that the answer will have, whoever sends it.
  void add_header(std::string name, std::string value);

  /// Sends the answer. A second call does nothing.
  void send(response answer);

private:
  std::unique_ptr<connection> to_;
  std::vector<std::pair<std::string, std::string>> headers_;
};

/// Called on one of the server's threads: must not block and may answer later.
using handler = std::function<void(request, responder)>;

struct server_options {
  std::string bind_host = "127.0.0.1";
  /// 0 lets the kernel choose; see server::port().
  std::uint16_t port = 0;
  int threads = 1;
  /// Bodies above this are answered with 413. 1 MB: OSB bodies are a few kB.
  std::size_t max_body_bytes = 1024 * 1024;
  /// How long a client may take to send its head and its body.
  std::chrono::milliseconds receive_timeout{10'000};
};

/// An HTTP/1.1 server. It is the wall around Pistache 0.0.5, whose traps are numbered in its .cpp:
/// whatever reaches the handler is a complete, well-formed request; everything else is answered
/// here with a JSON error.
class server {
public:
  server(server_options options, handler serve);
  ~server();
  server(const server&) = delete;
  server& operator=(const server&) = delete;

  /// Binds and starts to serve. An error names the address and the reason.
  [[nodiscard]] std::optional<std::string> start();
  /// Stops accepting, lets answers under way be sent, and ends the threads.
  void stop();
  /// The bound port, once started.
  [[nodiscard]] std::uint16_t port() const;

private:
  struct implementation;
  std::unique_ptr<implementation> self_;
};

} // namespace matriarch::http
