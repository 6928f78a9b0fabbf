#include "router/haproxy_socket.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <iterator>

#include <fmt/format.h>

#include "base/descriptor.hpp"

namespace matriarch::router {

namespace {

/// A command line must fit into HAProxy's buffer of 16 kB.
constexpr std::size_t longest_batch = 8'000;

} // namespace

result<std::string> haproxy_socket::ask(std::string_view line,
                                        std::chrono::milliseconds patience) const {
  auto deadline = std::chrono::steady_clock::now() + patience;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path_.size() >= sizeof address.sun_path)
    return failure{"the path of HAProxy's socket is too long"};
  std::memcpy(address.sun_path, path_.c_str(), path_.size() + 1);
  base::descriptor socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return failure{fmt::format("HAProxy's socket {}: {}", path_, std::strerror(errno))};
  auto text = fmt::format("{}\n", line);
  std::string_view unsent = text;
  while (!unsent.empty()) {
    auto sent = ::send(socket, unsent.data(), unsent.size(), MSG_NOSIGNAL);
    if (sent > 0)
      unsent.remove_prefix(static_cast<std::size_t>(sent));
    else if (errno != EAGAIN || !base::wait_for(socket, POLLOUT, deadline))
      return failure{"HAProxy does not take commands"};
  }
  // HAProxy ends the connection when the client has nothing more to send.
  ::shutdown(socket, SHUT_WR);
  std::string answer;
  std::array<char, 65'536> piece;
  while (base::wait_for(socket, POLLIN, deadline)) {
    auto got = ::recv(socket, piece.data(), piece.size(), 0);
    if (got == 0)
      return answer;
    if (got > 0)
      answer.append(piece.data(), static_cast<std::size_t>(got));
    else if (errno != EAGAIN && errno != EINTR)
      return failure{"HAProxy closed the connection"};
  }
  return failure{"HAProxy does not answer"};
}

haproxy_socket::outcome haproxy_socket::send(const std::vector<command_line>& lines,
                                             std::chrono::milliseconds patience) const {
  outcome out;
  if (lines.empty()) {
    // `show cli level` is the simplest question.
    if (auto answer = ask("show cli level", patience); !answer)
      out.error = answer.error();
    return out;
  }
  for (auto first = lines.begin(); first != lines.end();) {
    std::string batch = first->text;
    auto last = std::next(first);
    for (; last != lines.end() && batch.size() + last->text.size() < longest_batch; ++last)
      batch += ";" + last->text;
    auto answer = ask(batch, patience);
    if (!answer) {
      out.error = answer.error();
      return out;
    }
    if (!refusal_in(*answer).empty())
      for (; first != last; ++first) {
        auto again = ask(first->text, patience);
        if (!again) {
          out.error = again.error();
          return out;
        }
        if (auto why = refusal_in(*again); !why.empty()) {
          out.refused.push_back(*first);
          if (out.reason.empty())
            out.reason = why;
        }
      }
    first = last;
  }
  return out;
}

} // namespace matriarch::router
