#include "http/answer_text.hpp"
#include "http/server.hpp"

namespace matriarch::http {

responder::responder(std::unique_ptr<connection> to) : to_(std::move(to)) {}

responder::responder(responder&&) noexcept = default;

responder& responder::operator=(responder&& other) noexcept {
  if (this != &other) {
    responder dropped{std::move(*this)};
    to_ = std::move(other.to_);
    headers_ = std::move(other.headers_);
  }
  return *this;
}

responder::~responder() {
  if (!to_)
    return;
  try {
    send(error_answer(500, "The request was given up because of an internal error; try it again."));
  } catch (...) {
    // Out of memory: the client will run into its own time-out.
  }
}

void responder::add_header(std::string name, std::string value) {
  headers_.emplace_back(std::move(name), std::move(value));
}

void responder::send(response answer) {
  auto to = std::move(to_);
  if (!to)
    return;
  answer.headers.insert(answer.headers.end(), headers_.begin(), headers_.end());
  to->send(answer);
}

} // namespace matriarch::http
