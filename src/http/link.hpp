#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "http/protocol.hpp"
#include "tls/session.hpp"

namespace matriarch::http {

/// The peer's `host:port`, as in request::remote.
[[nodiscard]] std::string place_of(const sockaddr_storage& address);

/// The socket of one connection, and the TLS between the socket and the protocol. Whoever waits for
/// sockets calls it when there is something to read or room to write. Belongs to one thread.
struct link {
  using clock = std::chrono::steady_clock;
  enum class phase {
    /// The client sends, or is silent between two requests.
    receiving,
    /// The handler has a request and owes an answer.
    answering,
    /// The last answer is sent or being sent; whatever arrives is dropped.
    closing,
  };

  /// The protocol state of what the client has sent.
  protocol spoken;
  const server_options& options;
  int descriptor = -1;
  /// The place in the order in which connections came.
  std::uint64_t number = 0;
  bool open = true;
  phase now = phase::receiving;
  /// The client has closed its sending side: it sends no more, but may still read.
  bool ended = false;
  /// Which request is being answered: a late answer to an earlier request is dropped.
  std::uint64_t turn = 0;
  /// The socket events that the reactor was asked for.
  bool awaits_input = true;
  bool awaits_room = false;

  /// Null until the first byte has come, and if the client does not speak TLS.
  std::unique_ptr<tls::server_session> tls = {};
  bool greeted = false; ///< the first byte has come
  std::size_t dropped_bytes = 0;

  std::string out = {};
  std::size_t written = 0;
  /// How much of `out` was written when its deadline was set.
  std::size_t written_before = 0;

  /// Prevents processing from being re-entered by an answer that comes at once.
  bool processing = false;
  clock::time_point deadline = clock::time_point::max();
  /// When the first byte of the present request came.
  std::optional<clock::time_point> begun = {};

  [[nodiscard]] bool between_requests() const {
    return now == phase::receiving && spoken.is_idle() && out.empty();
  }
  /// A part of a request has come, but not all of it.
  [[nodiscard]] bool halfway() const {
    return now == phase::receiving && !spoken.is_idle() && out.empty();
  }
  /// Whether to read on. After the last request that is served, reading continues only to notice
  /// that the client has left.
  [[nodiscard]] bool wants_input() const;

  /// Takes bytes from the socket, through TLS if the client speaks it. False if the connection
  /// cannot go on.
  [[nodiscard]] bool take(std::string_view bytes);
  /// Sends what fits into the socket and keeps the rest for `flush`.
  void write(std::string text);
  /// Sends what was kept; true once that is all of it.
  [[nodiscard]] bool flush();
  /// Sends the server's own final answer.
  void refuse(response why);
  /// Serves no further requests; what was written is still sent.
  void close_after_answer();
  /// Everything is written: closes the sending side, and gives the client time to read.
  void end_writing();

private:
  void write_bytes(std::string bytes);
};

} // namespace matriarch::http
