#include "http/protocol.hpp"

#include <algorithm>
#include <utility>

#include "http/answer_text.hpp"

namespace matriarch::http {

namespace {

/// Larger heads get 431. The limit is twice what Apache and nginx accept for one header.
constexpr std::size_t max_head_bytes = 16 * 1024;
/// The most memory that an unused connection keeps for its next request: most requests are smaller.
constexpr std::size_t kept_input = 4 * 1024;

} // namespace

protocol::protocol(const fleet_observations& around, std::string remote)
    : options_(&around.options), parts_(&around.parts), bodies_(around.bodies),
      remote_(std::move(remote)), trusted_(!around.parts.admit) {}

protocol::step protocol::next(bool draining) {
  if (!head_) {
    auto head = read_head();
    if (!head)
      return wait{};
    if (auto* refused = std::get_if<refusal>(&*head))
      return refuse(error_answer(refused->status, refused->description));
    head_ = std::move(std::get<request_head>(*head));
    head_->content.remote = remote_;
    if (auto refused = ask_doorkeeper())
      return turn_down(std::move(*refused), draining);
    if (auto refused = reserve_body())
      return refuse(std::move(*refused));
    if (head_->expects_continue && in_.size() < head_->content_length)
      return interim{"HTTP/1.1 100 Continue\r\n\r\n"};
  }
  if (in_.size() < head_->content_length)
    return wait{};
  return hand_out(draining);
}

/// The head of the next request, or its error; nothing if it has not come completely.
std::optional<protocol::head_or_refusal> protocol::read_head() {
  // RFC 9112, section 2.2: empty lines before a request are accepted.
  while (in_.starts_with("\r\n"))
    in_.erase(0, 2);
  for (auto at = in_.find('\n', searched_); at != std::string::npos; at = in_.find('\n', at + 1)) {
    searched_ = at + 1;
    if (at == 0 || in_[at - 1] != '\r')
      return refusal{400,
                     "A line of the head ends without a carriage return; end each with CR LF."};
    if (at >= 3 && in_[at - 2] == '\n' && at <= max_head_bytes) {
      auto head = http::read_head(std::string_view{in_}.substr(0, at - 3));
      if (std::holds_alternative<request_head>(head)) {
        in_.erase(0, at + 1);
        searched_ = 0;
      }
      return head;
    }
    if (at > max_head_bytes)
      break;
  }
  if (in_.size() > max_head_bytes)
    return refusal{431, "The request's head is longer than 16 kB."};
  return std::nullopt;
}

/// The doorkeeper's refusal, if it refuses the request.
std::optional<response> protocol::ask_doorkeeper() {
  if (!parts_->admit)
    return std::nullopt;
  auto& content = head_->content;
  try {
    auto said = parts_->admit(content);
    if (said.refusal)
      return std::move(said.refusal);
    content.user = std::move(said.user);
  } catch (...) {
    return error_answer(500, "The request could not be looked at; try it again.");
  }
  trusted_ = trusted_ || !content.user.empty();
  return std::nullopt;
}

/// Refuses for the doorkeeper. The connection stays open if the body is there, or if there is none.
protocol::own_answer protocol::turn_down(response why, bool draining) {
  if (in_.size() < head_->content_length || !stays(draining))
    return refuse(std::move(why));
  echo(why);
  in_.erase(0, head_->content_length);
  bool without_body = head_->content.verb == method::head;
  head_.reset();
  return {text_of(why, without_body, true), true};
}

/// Whether the connection is used for more than its first request. A stranger's is not if more
/// input has already come: each of a stranger's requests must cost as many reads as another's.
bool protocol::stays(bool draining) const {
  return head_->keep_alive && !draining && (trusted_ || in_.size() <= head_->content_length);
}

/// Reserves memory for the body, or returns why the body may not come.
std::optional<response> protocol::reserve_body() {
  auto length = head_->content_length;
  bool stranger = parts_->admit && head_->content.user.empty();
  auto most = stranger ? std::min(options_->max_stranger_body_bytes, options_->max_body_bytes)
                       : options_->max_body_bytes;
  if (length > most)
    return error_answer(413,
                        "The request's body is longer than " + std::to_string(most) + " bytes.");
  if (length > 0 && !body_.take(bodies_, length, options_->max_bodies_bytes))
    return unavailable_answer("Too many bodies are under way; try again.");
  return std::nullopt;
}

protocol::complete protocol::hand_out(bool draining) {
  complete whole;
  whole.keep_alive = stays(draining);
  auto length = head_->content_length;
  whole.content = std::move(head_->content);
  head_.reset();
  if (length > 0) {
    // The connection must not keep the memory of the body.
    auto rest = in_.substr(length);
    in_.resize(length);
    whole.content.body = std::exchange(in_, std::move(rest));
  }
  whole.without_body = whole.content.verb == method::head;
  whole.body = std::move(body_);
  return whole;
}

protocol::own_answer protocol::refuse(response why) const {
  bool head_only = head_ ? head_->content.verb == method::head : in_.starts_with("HEAD ");
  echo(why);
  return {text_of(why, head_only, false), false};
}

void protocol::echo(response& into) const {
  const auto& name = parts_->echoed;
  if (const auto* value = head_ && !name.empty() ? head_->content.header(name) : nullptr)
    into.headers.emplace_back(parts_->echoed_name, *value);
}

void protocol::drop() {
  in_ = {};
  body_.release();
}

void protocol::rest() {
  if (in_.capacity() > kept_input)
    in_ = {};
}

} // namespace matriarch::http
