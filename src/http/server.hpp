#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tls/session.hpp"

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
  /// Whose credentials it came with, if a doorkeeper recognised them; empty for a stranger.
  std::string user;

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
  /// What the answer is sent by: at most one.
  class connection {
  public:
    virtual ~connection() = default;
    virtual void send(const response& answer) = 0;
  };
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

/// What is decided about a request whose head has come and whose body has not.
struct admission {
  /// Is sent instead of serving the request, whose body is not read then.
  std::optional<response> refusal;
  /// Becomes request::user.
  std::string user;
};

/// Called on one of the server's threads with a request without its body: must be quick, for it is
/// what a stranger's request costs.
using doorkeeper = std::function<admission(const request&)>;

/// A server's two parts. Without a doorkeeper everybody is served, and nobody is a stranger.
struct service {
  doorkeeper admit;
  handler serve;
  /// A header of requests that the server's own answers to them repeat: its name as it is looked for
  /// and as it is written.
  std::string echoed = {};
  std::string echoed_name = {};
};

struct server_options {
  std::string bind_host = "127.0.0.1";
  /// 0 lets the kernel choose; see server::port().
  std::uint16_t port = 0;
  int threads = 1;
  /// Bodies above this are answered with 413. 1 MB: OSB bodies are a few kB.
  std::size_t max_body_bytes = 1024 * 1024;
  /// The same for bodies of strangers, where there is a doorkeeper: nothing open to them takes one.
  std::size_t max_stranger_body_bytes = 4 * 1024;
  /// All bodies that are being received or belong to requests without an answer; what would
  /// exceed this is answered with 503. Sixty-four of the largest.
  std::size_t max_bodies_bytes = 64 * 1024 * 1024;
  /// Connections at a time, and never more than half of the descriptors that the process may have:
  /// the others are for what the handler does. Beyond, a stranger's connection is closed for the
  /// new one (of the address that has the most, the oldest), then the one that is unused for the
  /// longest time; if all are in use, the new one is answered with 503. 1,024: a platform keeps
  /// some tens.
  std::size_t max_connections = 1'024;
  /// How long a client may take to send its head and its body.
  std::chrono::milliseconds receive_timeout{10'000};
  /// A client that reads less than 64 kB of its answer in so long is gone, or wants to keep the
  /// server busy. Slower than any modem.
  std::chrono::milliseconds write_patience{30'000};
  /// How long stop() waits for answers under way; then their clients get a 503. Service managers
  /// and the broker itself allow 5 s for everything.
  std::chrono::milliseconds drain_patience{3'000};
  /// Told, once a minute at most, that connections were closed or turned away for want of room; a
  /// sentence for the operator. Called on a thread of the server.
  std::function<void(std::string)> warn = {};
  /// What is shown to clients that speak TLS (1.2 or later). Without it none can; with it they can on
  /// the same port, as their first byte tells, and it says whether others are refused.
  std::shared_ptr<const tls::server_identity> tls = {};
};

/// What a server has to do at a moment, and what it had to turn away since its start.
struct server_load {
  std::size_t connections = 0;
  std::size_t max_connections = 0;
  std::size_t bodies_bytes = 0;
  /// Connections closed to make room for others, and new ones for which there was none.
  std::uint64_t closed_for_room = 0;
  std::uint64_t turned_away = 0;
};

/// An HTTP/1.1 server. It is the wall around Pistache 0.0.5, whose traps are numbered in workers.cpp:
/// whatever reaches the handler is a complete, well-formed request; everything else is answered
/// here with a JSON error.
class server {
public:
  server(server_options options, handler serve);
  server(server_options options, service both);
  ~server();
  server(const server&) = delete;
  server& operator=(const server&) = delete;

  /// Binds and starts to serve. An error names the address and the reason.
  [[nodiscard]] std::optional<std::string> start();
  /// Stops accepting, lets answers under way be sent, and ends the threads. Takes no longer than
  /// drain_patience and half a second, unless a handler blocks.
  void stop();
  /// The bound port, once started.
  [[nodiscard]] std::uint16_t port() const;
  [[nodiscard]] server_load load() const;

private:
  struct implementation;
  std::unique_ptr<implementation> self_;
};

} // namespace matriarch::http
