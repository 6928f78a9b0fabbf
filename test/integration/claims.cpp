#include "claims.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>

namespace matriarch::test {

namespace {

constexpr int first_port = 10'000;
constexpr int last_port = 29'999;
// FIRST_OCTET and LAST_OCTET of test/platform/local_platform.py, which begins at the other end.
constexpr int first_octet = 100;
constexpr int last_octet = 249;

/// Holds that name until this process ends; -1 if another process has it, else a socket that holds
/// it.
int claim(const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size()); // a leading zero: abstract
  auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  int holder = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (::bind(holder, reinterpret_cast<sockaddr*>(&address), length) == 0)
    return holder;
  ::close(holder);
  return -1;
}

bool is_free(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int on = 1;
  ::setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  bool free = ::bind(probe, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  ::close(probe);
  return free;
}

} // namespace

int free_ports(int count) {
  // Processes begin at different places, so that few meet.
  static int next = first_port + static_cast<int>(::getpid()) * 61 % (last_port - first_port);
  std::vector<int> held;
  for (int tried = 0; tried <= 2 * (last_port - first_port); ++tried, ++next) {
    if (next > last_port) {
      next = first_port;
      for (int one : held)
        ::close(one);
      held.clear();
    }
    int holder = claim("matriarch-port-" + std::to_string(next));
    if (holder < 0 || !is_free(next)) {
      if (holder >= 0)
        ::close(holder);
      for (int one : held)
        ::close(one);
      held.clear();
      continue;
    }
    held.push_back(holder);
    if (static_cast<int>(held.size()) == count)
      return ++next - count;
  }
  throw std::runtime_error{"no free loopback ports"};
}

int free_octet() {
  static const int octet = [] {
    for (int one = last_octet; one >= first_octet; --one)
      if (claim("matriarch-platform-127." + std::to_string(one)) >= 0)
        return one;
    throw std::runtime_error{"no free 127.x.0.0/16 left"};
  }();
  return octet;
}

} // namespace matriarch::test
