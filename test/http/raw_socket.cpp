#include "raw_socket.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <stdexcept>
#include <utility>

#include "../integration/awaiting.hpp"

namespace matriarch::test {

namespace {

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

bool readable_within_patience(int descriptor) {
  pollfd one{descriptor, POLLIN, 0};
  auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(patience).count();
  return ::poll(&one, 1, static_cast<int>(milliseconds)) == 1;
}

} // namespace

raw_socket raw_socket::to(std::uint16_t port, std::uint8_t last) {
  raw_socket made{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  auto from = loopback(0);
  from.sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + last);
  if (last != 1 && ::bind(made.descriptor_, reinterpret_cast<sockaddr*>(&from), sizeof from) != 0)
    throw std::runtime_error{"cannot connect from 127.0.0." + std::to_string(last)};
  auto address = loopback(port);
  if (::connect(made.descriptor_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    throw std::runtime_error{"cannot connect to port " + std::to_string(port)};
  return made;
}

raw_socket::raw_socket(raw_socket&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), buffer_(std::move(other.buffer_)),
      ended_(other.ended_), timed_out_(other.timed_out_) {}

raw_socket& raw_socket::operator=(raw_socket&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(buffer_, other.buffer_);
  std::swap(ended_, other.ended_);
  std::swap(timed_out_, other.timed_out_);
  return *this;
}

raw_socket::~raw_socket() {
  close();
}

void raw_socket::end_sending() {
  ::shutdown(descriptor_, SHUT_WR);
}

void raw_socket::close() {
  if (descriptor_ >= 0)
    ::close(std::exchange(descriptor_, -1));
}

void raw_socket::reset() {
  linger now{1, 0};
  ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close();
}

bool raw_socket::send(std::string_view bytes) {
  while (!bytes.empty()) {
    auto sent = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0)
      return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

bool raw_socket::more() {
  if (ended_ || timed_out_)
    return false;
  if (!readable_within_patience(descriptor_)) {
    timed_out_ = true;
    return false;
  }
  std::array<char, 65536> some;
  auto got = ::recv(descriptor_, some.data(), some.size(), 0);
  if (got <= 0) {
    ended_ = true;
    return false;
  }
  buffer_.append(some.data(), static_cast<std::size_t>(got));
  return true;
}

std::string raw_socket::receive() {
  if (buffer_.empty())
    more();
  return std::exchange(buffer_, {});
}

std::string raw_socket::receive_until(std::string_view end) {
  auto found = buffer_.find(end);
  while (found == std::string::npos && more())
    found = buffer_.find(end);
  if (found == std::string::npos)
    return std::exchange(buffer_, {});
  auto result = buffer_.substr(0, found + end.size());
  buffer_.erase(0, result.size());
  return result;
}

std::string raw_socket::receive_exactly(std::size_t count) {
  while (buffer_.size() < count && more()) {
  }
  auto result = buffer_.substr(0, count);
  buffer_.erase(0, result.size());
  return result;
}

std::optional<std::string> raw_socket::receive_all() {
  while (more()) {
  }
  if (timed_out_)
    return std::nullopt;
  return std::exchange(buffer_, {});
}

bool raw_socket::at_end() {
  return buffer_.empty() && !more() && ended_;
}

bool raw_socket::silent() {
  pollfd one{descriptor_, POLLIN, 0};
  return buffer_.empty() && ::poll(&one, 1, 0) == 0;
}

std::string raw_answer::header(std::string_view name) const {
  auto at = head.find("\r\n" + std::string{name} + ": ");
  if (at == std::string::npos)
    return {};
  at += name.size() + 4;
  return head.substr(at, head.find("\r\n", at) - at);
}

raw_answer read_answer(raw_socket& from, bool without_body) {
  raw_answer answer;
  answer.head = from.receive_until("\r\n\r\n");
  if (!answer.head.starts_with("HTTP/1.1 ") || !answer.head.ends_with("\r\n\r\n"))
    return answer;
  answer.status = std::atoi(answer.head.c_str() + 9);
  auto length = std::strtoull(answer.header("Content-Length").c_str(), nullptr, 10);
  if (without_body)
    return answer;
  answer.body = from.receive_exactly(length);
  return answer.body.size() == length ? answer : raw_answer{};
}

raw_answer ask(std::uint16_t port, std::string_view text) {
  auto socket = raw_socket::to(port);
  socket.send(text);
  return read_answer(socket);
}

raw_listener::raw_listener() : descriptor_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  auto address = loopback(0);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(descriptor_, generic, length) != 0 || ::listen(descriptor_, 128) != 0
      || ::getsockname(descriptor_, generic, &length) != 0)
    throw std::runtime_error{"cannot listen"};
  port_ = ntohs(address.sin_port);
}

raw_listener::~raw_listener() {
  close();
}

raw_socket raw_listener::accept() {
  if (!readable_within_patience(descriptor_))
    throw std::runtime_error{"nobody connects"};
  return raw_socket{::accept4(descriptor_, nullptr, nullptr, SOCK_CLOEXEC)};
}

void raw_listener::close() {
  if (descriptor_ >= 0)
    ::close(std::exchange(descriptor_, -1));
}

} // namespace matriarch::test
