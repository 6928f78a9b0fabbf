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

/// A request as the routes see it: plain values, checked and decoded, independent of the
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
  /// The user whose credentials a doorkeeper recognised; empty for a stranger.
  std::string user;

  /// The first header of that name (lower case), if there is one.
  [[nodiscard]] const std::string* header(std::string_view name) const;
  /// The first query value of that name, if there is one.
  [[nodiscard]] const std::string* query_value(std::string_view name) const;
};

struct response {
  int status = 200;
  std::string body;
  /// Further headers. The server itself sets Content-Type, Content-Length and Connection.
  std::vector<std::pair<std::string, std::string>> headers;
  std::string content_type = "application/json";
};

/// The one answer that a request gets. It can be kept and used later, from any thread. A responder
/// that is dropped unanswered sends a 500, so that no client waits for a time-out.
class responder {
public:
  /// Sends the answer, at most one.
  class connection {
  public:
    virtual ~connection() = default;
    virtual void send(const response& answer) = 0;
  };
  explicit responder(std::unique_ptr<connection> to);
  responder(responder&&) noexcept;
  responder& operator=(responder&&) noexcept;
  ~responder();

  /// Adds a header to the answer, whoever sends it.
  void add_header(std::string name, std::string value);

  /// Sends the answer. A second call does nothing.
  void send(response answer);

private:
  std::unique_ptr<connection> to_;
  std::vector<std::pair<std::string, std::string>> headers_;
};

/// Called on one of the server's threads: must not block and may answer later.
using handler = std::function<void(request, responder)>;

/// A decision about a request whose head has come but whose body has not.
struct admission {
  /// Sent instead of serving the request; the body is not read then.
  std::optional<response> refusal;
  /// Becomes request::user.
  std::string user;
};

/// Called on one of the server's threads with a request without its body. It must be quick, for its
/// time is what a stranger's request costs.
using doorkeeper = std::function<admission(const request&)>;

/// A server's two parts. Without a doorkeeper every request is served, and no client is a stranger.
struct service {
  doorkeeper admit;
  handler serve;
  /// A request header that the server's own answers repeat: its name in lower case and as it is
  /// written.
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
  /// The same for strangers' bodies, if there is a doorkeeper: nothing that is open to strangers
  /// takes a body.
  std::size_t max_stranger_body_bytes = 4 * 1024;
  /// The limit for all bodies that are being received or belong to unanswered requests; requests
  /// beyond it get 503. Sixty-four of the largest bodies.
  std::size_t max_bodies_bytes = 64 * 1024 * 1024;
  /// The most connections at a time, and never more than half of the descriptors that the process
  /// may have: the handler needs the others. At the limit, a new connection replaces a stranger's
  /// (the oldest of the address that has the most), or else the one that was unused the longest; if
  /// all are in use, the new one gets 503. 1,024: a platform keeps some tens.
  std::size_t max_connections = 1'024;
  /// How long a client may take to send its head and its body.
  std::chrono::milliseconds receive_timeout{10'000};
  /// A client that reads less than 64 kB of its answer in this time is gone, or wants to keep the
  /// server busy. Slower than any modem.
  std::chrono::milliseconds write_patience{30'000};
  /// How long stop() waits for pending answers; after that their clients get a 503. Service
  /// managers and the broker itself allow 5 s for everything.
  std::chrono::milliseconds drain_patience{3'000};
  /// Called, once a minute at most, with a sentence for the operator when connections were closed
  /// or refused for lack of room. Called on a thread of the server.
  std::function<void(std::string)> warn = {};
  /// The identity shown to clients that speak TLS (1.2 or later). Without it no client can. With it
  /// clients may use TLS on the same port, recognised by their first byte, and it decides whether
  /// plain HTTP is refused.
  std::shared_ptr<const tls::server_identity> tls = {};
};

/// The server's present load, and what it had to refuse since its start.
struct server_load {
  std::size_t connections = 0;
  std::size_t max_connections = 0;
  std::size_t bodies_bytes = 0;
  /// Connections closed to make room for others, and new ones that found no room.
  std::uint64_t closed_for_room = 0;
  std::uint64_t turned_away = 0;
};

/// An HTTP/1.1 server. It isolates the rest of the program from Pistache 0.0.5, whose traps are
/// numbered in workers.cpp. Only complete, well-formed requests reach the handler; the server
/// answers everything else itself with a JSON error.
class server {
public:
  server(server_options options, handler serve);
  server(server_options options, service both);
  ~server();
  server(const server&) = delete;
  server& operator=(const server&) = delete;

  /// Binds and starts to serve. An error names the address and the reason.
  [[nodiscard]] std::optional<std::string> start();
  /// Stops accepting, lets pending answers be sent, and ends the threads. Takes no longer than
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
