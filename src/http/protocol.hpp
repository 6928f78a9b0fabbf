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

/// The server's side of HTTP/1.1 with one client, without socket and clock: takes in the client's
/// bytes and returns what has to be done. Belongs to one thread.
class protocol {
public:
  /// What all connections of a server share.
  struct fleet_observations {
    const server_options& options;
    const service& parts;
    /// The total bytes of bodies; see server_options::max_bodies_bytes.
    std::shared_ptr<std::atomic<std::size_t>> bodies;
  };

  /// The client has to send more first.
  struct wait {};
  /// To be sent now; the final answer follows later.
  struct interim {
    std::string text;
  };
  /// The server's own answer to a request that does not reach the handler, as it is sent.
  struct own_answer {
    std::string text;
    bool keep_alive = false;
  };
  /// A request for the handler.
  struct complete {
    request content;
    bool without_body = false; ///< the answer must have no body
    bool keep_alive = false;
    reservation body; ///< the memory reserved for the request's body
  };
  using step = std::variant<wait, interim, own_answer, complete>;

  /// `remote` is the peer's `host:port`. The objects in `around` must outlive the last step.
  protocol(const fleet_observations& around, std::string remote);

  void receive(std::string_view bytes) { in_.append(bytes); }

  /// The next step. A `draining` server serves no further requests on any connection. After an
  /// answer that does not keep the connection alive there are no more steps.
  [[nodiscard]] step next(bool draining);

  /// The final answer to the input so far, complete or not.
  [[nodiscard]] own_answer refuse(response why) const;

  /// Frees the memory of the input.
  void drop();
  /// Between two requests: frees the memory that the last one took, except for a little.
  void rest();

  [[nodiscard]] const std::string& remote() const { return remote_; }
  /// True if no input is left that was not answered or handed out.
  [[nodiscard]] bool is_idle() const { return in_.empty() && !head_; }
  /// The bytes that were not yet looked at.
  [[nodiscard]] std::size_t unread() const { return in_.size(); }
  /// Whether the doorkeeper has recognised a request of this connection; always true without a
  /// doorkeeper.
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
  /// The part of `in_` that was already searched for the end of the head.
  std::size_t searched_ = 0;
  /// The head of a request whose body has not come completely.
  std::optional<request_head> head_;
  reservation body_;
};

} // namespace matriarch::http
