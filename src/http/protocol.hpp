#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "http/request_head.hpp"
#include "http/reservation.hpp"
#include "http/server.hpp"

namespace matriarch::http {

/// The server's side of HTTP/1.1 with one client, without its socket and its clock: what the client
/// sent goes in, and what has to be done about it comes out. Belongs to one thread.
class protocol {
public:
  /// What the connections of a server have in common.
  struct surroundings {
    const server_options& options;
    const service& parts;
    /// How many bytes of bodies there are; see server_options::max_bodies_bytes.
    std::shared_ptr<std::atomic<std::size_t>> bodies;
  };

  /// Nothing can be done before the client has sent more.
  struct wait {};
  /// To be sent now; the answer follows later.
  struct interim {
    std::string text;
  };
  /// The server's own answer to a request that the handler does not get, as it is sent.
  struct own_answer {
    std::string text;
    bool keep_alive = false;
  };
  /// A request for the handler.
  struct complete {
    request content;
    bool without_body = false; ///< its answer has none
    bool keep_alive = false;
    reservation body; ///< the room for the request's body
  };
  using step = std::variant<wait, interim, own_answer, complete>;

  /// `remote` is the peer's `host:port`. What `around` refers to has to outlive the last step.
  protocol(const surroundings& around, std::string remote);

  void receive(std::string_view bytes) { in_.append(bytes); }

  /// What is next. A server that is `draining` serves no connection's further requests. After an
  /// answer that does not keep the connection alive there is nothing more to be done.
  [[nodiscard]] step next(bool draining);

  /// The last answer to whatever has come, complete or not.
  [[nodiscard]] own_answer refuse(response why) const;

  /// Gives back the memory of all that has come.
  void drop();
  /// Between two requests: gives back what the last one took, beyond a little.
  void rest();

  [[nodiscard]] const std::string& remote() const { return remote_; }
  /// Nothing of a request has come that was not answered or handed out.
  [[nodiscard]] bool is_idle() const { return in_.empty() && !head_; }
  /// How much has come that was not looked at yet.
  [[nodiscard]] std::size_t unread() const { return in_.size(); }
  /// Somebody whom the doorkeeper recognised has used it; always so without a doorkeeper.
  [[nodiscard]] bool is_trusted() const { return trusted_; }

private:
  using head_or_refusal = std::variant<request_head, refusal>;

  std::optional<head_or_refusal> read_head();
  std::optional<response> ask_doorkeeper();
  own_answer turn_down(response why, bool draining);
  std::optional<response> reserve_body();
  complete hand_out(bool draining);
  [[nodiscard]] bool stays(bool draining) const;
  void echo(response& into) const;

  const server_options* options_;
  const service* parts_;
  std::shared_ptr<std::atomic<std::size_t>> bodies_;
  std::string remote_;
  bool trusted_;

  std::string in_;
  /// How much of `in_` was searched for the end of the head.
  std::size_t searched_ = 0;
  /// Of the request whose body has not come as a whole.
  std::optional<request_head> head_;
  reservation body_;
};

} // namespace matriarch::http
