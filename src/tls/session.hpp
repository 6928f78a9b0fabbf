#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "tls/certificate.hpp"

/// The server's side of TLS between texts: no socket, so that nothing here ever waits.
namespace matriarch::tls {

/// What a server shows, for all its sessions. It can be changed at any time, from any thread; those
/// that have begun go on with what they began with.
class server_identity {
public:
  server_identity();
  ~server_identity();
  server_identity(const server_identity&) = delete;
  server_identity& operator=(const server_identity&) = delete;

  /// The certificate first, then those between it and the root. The failure says what is wrong, and
  /// then nothing has changed.
  [[nodiscard]] std::optional<std::string> show(const key_pair& what);
  /// Whether clients that do not speak TLS are refused from now on. They are not, to begin with.
  void refuse_plain(bool so) { refuses_plain_ = so; }
  [[nodiscard]] bool refuses_plain() const { return refuses_plain_; }

private:
  friend class server_session;
  struct context;
  std::atomic<std::shared_ptr<context>> now_;
  std::atomic<bool> refuses_plain_ = false;
};

/// One connection. Belongs to one thread.
class server_session {
public:
  /// There must be something to show.
  explicit server_session(const server_identity& as);
  ~server_session();
  server_session(const server_session&) = delete;
  server_session& operator=(const server_session&) = delete;

  /// Whether bytes, the first of a connection, begin a handshake: anything else is no TLS.
  [[nodiscard]] static bool is_handshake(char first) { return first == '\x16'; }

  /// Takes what the client sent, and appends what it says by that. False: it does not keep to TLS,
  /// and nothing more can come; there may be an alert to be sent.
  [[nodiscard]] bool receive(std::string_view bytes, std::string& said);
  /// Whether the handshake is done.
  [[nodiscard]] bool is_ready() const;
  /// Whether the client has begun to say something and not ended.
  [[nodiscard]] bool is_halfway() const;
  /// Whether the client has said that it sends no more.
  [[nodiscard]] bool has_ended() const { return ended_; }

  /// Encrypts. False, and nothing is to be sent, before the handshake is done.
  [[nodiscard]] bool say(std::string_view text);
  /// Says that no more is sent.
  void end();

  /// What has to be sent now, as bytes.
  [[nodiscard]] std::string to_send();

private:
  struct connection;
  std::unique_ptr<connection> self_;
  bool ended_ = false;
};

} // namespace matriarch::tls
