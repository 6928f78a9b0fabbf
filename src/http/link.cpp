#include "http/link.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "http/answer_text.hpp"

namespace matriarch::http {

namespace {

/// How much a client has to read of its answer in server_options::write_patience.
constexpr std::size_t least_progress = 64 * 1024;
/// After the final answer a connection stays half open this long: a client that is still sending
/// would otherwise get a reset, and might never read the answer.
constexpr std::chrono::milliseconds linger_patience{2'000};
/// How much is read beyond the request that is being answered: the next one's head.
constexpr std::size_t read_ahead = 16 * 1024;

bool may_go_on_later(int error) {
  return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

} // namespace

std::string place_of(const sockaddr_storage& address) {
  std::array<char, INET6_ADDRSTRLEN> host{};
  if (address.ss_family == AF_INET6) {
    const auto& six = reinterpret_cast<const sockaddr_in6&>(address);
    ::inet_ntop(AF_INET6, &six.sin6_addr, host.data(), host.size());
    return fmt::format("[{}]:{}", host.data(), ntohs(six.sin6_port));
  }
  const auto& four = reinterpret_cast<const sockaddr_in&>(address);
  ::inet_ntop(AF_INET, &four.sin_addr, host.data(), host.size());
  return fmt::format("{}:{}", host.data(), ntohs(four.sin_port));
}

bool link::wants_input() const {
  // TLS answers some messages by itself: a client that does not read these answers gets no further.
  if (tls && !out.empty() && now != phase::closing)
    return false;
  return !ended
         && (now == phase::closing || (now == phase::receiving && out.empty())
             || spoken.unread() < read_ahead);
}

bool link::take(std::string_view bytes) {
  if (!greeted && options.tls) {
    if (tls::server_session::is_handshake(bytes.front()))
      tls = std::make_unique<tls::server_session>(*options.tls);
    else if (options.tls->refuses_plain())
      refuse(error_answer(400, "This port speaks TLS and nothing else: use https:// here."));
  }
  greeted = true;
  if (now == phase::closing)
    return true;
  if (!tls) {
    spoken.receive(bytes);
    return true;
  }
  std::string said;
  bool well = tls->receive(bytes, said);
  spoken.receive(said);
  write_bytes(tls->to_send());
  ended = ended || tls->has_ended();
  return well;
}

void link::write(std::string text) {
  if (!tls)
    return write_bytes(std::move(text));
  // Nothing is sent before the handshake is done.
  if (tls->say(text))
    write_bytes(tls->to_send());
}

void link::write_bytes(std::string bytes) {
  if (bytes.empty())
    return;
  if (!out.empty()) {
    out += bytes;
    return;
  }
  auto sent = ::send(descriptor, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent == static_cast<ssize_t>(bytes.size()))
    return;
  if (sent < 0 && !may_go_on_later(errno)) {
    // The reactor reports this as a hang-up.
    ::shutdown(descriptor, SHUT_RDWR);
    return;
  }
  out = std::move(bytes);
  written = written_before = static_cast<std::size_t>(std::max<ssize_t>(0, sent));
  deadline = clock::now() + options.write_patience;
}

bool link::flush() {
  while (written < out.size()) {
    auto sent =
        ::send(descriptor, out.data() + written, out.size() - written, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      if (!may_go_on_later(errno))
        ::shutdown(descriptor, SHUT_RDWR);
      return false;
    }
    written += static_cast<std::size_t>(sent);
    if (written - written_before >= least_progress) {
      written_before = written;
      deadline = clock::now() + options.write_patience;
    }
  }
  if (out.empty())
    return false;
  out = {};
  written = 0;
  return true;
}

void link::refuse(response why) {
  write(spoken.refuse(std::move(why)).text);
  close_after_answer();
}

void link::close_after_answer() {
  now = phase::closing;
  spoken.drop();
  if (out.empty())
    end_writing();
}

void link::end_writing() {
  if (tls) {
    tls->end();
    auto bye = tls->to_send();
    (void)::send(descriptor, bye.data(), bye.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  ::shutdown(descriptor, SHUT_WR);
  deadline = clock::now() + linger_patience;
}

} // namespace matriarch::http
