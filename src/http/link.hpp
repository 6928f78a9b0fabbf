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

/// One connection's socket, and TLS between it and the protocol. Whoever waits for sockets tells it
/// when there is something to be read or room to write. Belongs to one thread.
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

  /// What the client said.
  protocol spoken;
  const server_options& options;
  int descriptor = -1;
  /// The place in the order in which connections came.
  std::uint64_t number = 0;
  bool open = true;
  phase now = phase::receiving;
  /// The client has ended its side: it sends no more, and may still read.
  bool ended = false;
  /// Which request is being answered: an answer to an earlier one comes too late.
  std::uint64_t turn = 0;
  /// What was asked to be told of the socket.
  bool awaits_input = true;
  bool awaits_room = false;

  /// Nothing while the first byte has not come, and where the client does not speak TLS.
  std::unique_ptr<tls::server_session> tls = {};
  bool greeted = false; ///< the first byte has come
  std::size_t dropped_bytes = 0;

  std::string out = {};
  std::size_t written = 0;
  /// How much of `out` was written when its deadline was set.
  std::size_t written_before = 0;

  /// Guards against being processed again by an answer that comes at once.
  bool processing = false;
  clock::time_point deadline = clock::time_point::max();
  /// When the first byte of the present request came.
  std::optional<clock::time_point> begun = {};

  [[nodiscard]] bool between_requests() const {
    return now == phase::receiving && spoken.is_idle() && out.empty();
  }
  /// Some of a request has come, and not all.
  [[nodiscard]] bool halfway() const {
    return now == phase::receiving && !spoken.is_idle() && out.empty();
  }
  /// More is read of a client than is served only to learn that it has left.
  [[nodiscard]] bool wants_input() const;

  /// Takes in bytes from the socket, which TLS may be in between. False if nothing can come of them.
  [[nodiscard]] bool take(std::string_view bytes);
  /// Sends what fits into the socket and keeps the rest for `flush`.
  void write(std::string text);
  /// Sends what was kept; true once that is all of it.
  [[nodiscard]] bool flush();
  /// Sends the server's own last word.
  void refuse(response why);
  /// No more is served; what was written is sent.
  void close_after_answer();
  /// Everything is written: tells the client so, and gives it time to read.
  void end_writing();

private:
  void write_bytes(std::string bytes);
};

} // namespace matriarch::http
