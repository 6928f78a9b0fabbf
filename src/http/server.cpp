#include "http/server.hpp"

#include <fmt/format.h>
#include <linux/filter.h>
#include <netdb.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <exception>
#include <limits>
#include <thread>

#include "http/workers.hpp"

namespace matriarch::http {

namespace {

/// Connections whose handshake has begun when accepting stops are established after this time at
/// most, on the networks of brokers and proxies.
constexpr std::chrono::milliseconds handshake_time{10};
/// The kernel's queue of connections that are not accepted yet; capped by net.core.somaxconn.
constexpr int backlog = 1024;

/// Drops all new connection attempts; handshakes that have begun still finish. A client that gets
/// no answer tries again after a second, and finds the port closed or the next server there. Just
/// closing the socket would reset the clients that come during the closing: they count as
/// connected, and cannot know whether their request was read.
void let_nobody_in(int listener) {
  constexpr std::uint32_t flags_at = 13; // in the TCP header
  constexpr std::uint32_t syn = 0x02, ack = 0x10;
  constexpr std::uint32_t dropped = 0, kept = std::numeric_limits<std::uint32_t>::max();
  std::array<sock_filter, 5> rules{{
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, flags_at),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, syn | ack),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, syn, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, dropped),
      BPF_STMT(BPF_RET | BPF_K, kept),
  }};
  sock_fprog filter{static_cast<unsigned short>(rules.size()), rules.data()};
  // If the kernel does not support this, some clients get a reset and have to retry.
  if (::setsockopt(listener, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) == 0)
    std::this_thread::sleep_for(handshake_time);
}

/// Each connection takes a descriptor, and the usual soft limit of 1,024 is meant for programs that
/// use select(). Returns the limit; none if there is no limit.
std::optional<std::size_t> raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
    return std::nullopt;
  return limit.rlim_cur;
}

} // namespace

struct server::implementation {
  server_options options;
  service parts;
  int listener = -1;
  std::uint16_t port = 0;
  std::optional<workers> threads = {};
  bool stopped = false;

  [[nodiscard]] std::optional<std::string> bind();
};

/// SO_REUSEADDR, so that a restart need not wait for old connections to expire, but never
/// SO_REUSEPORT: a bound port proves that no other broker serves on it.
std::optional<std::string> server::implementation::bind() {
  auto where = options.bind_host.find(':') == std::string::npos
                   ? fmt::format("{}:{}", options.bind_host, options.port)
                   : fmt::format("[{}]:{}", options.bind_host, options.port);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (int error = ::getaddrinfo(options.bind_host.c_str(), std::to_string(options.port).c_str(),
                                &hints, &found);
      error != 0)
    return fmt::format("cannot listen on {}: {}", where, ::gai_strerror(error));
  std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses{found, ::freeaddrinfo};

  int error = 0;
  for (auto* a = addresses.get(); a != nullptr; a = a->ai_next) {
    int fd = ::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    if (fd < 0) {
      error = errno;
      continue;
    }
    int one = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    sockaddr_storage bound{};
    socklen_t length = sizeof bound;
    if (::bind(fd, a->ai_addr, a->ai_addrlen) != 0 || ::listen(fd, backlog) != 0
        || ::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &length) != 0) {
      error = errno;
      ::close(fd);
      continue;
    }
    listener = fd;
    port = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(bound).sin6_port
                                             : reinterpret_cast<sockaddr_in&>(bound).sin_port);
    return std::nullopt;
  }
  return fmt::format("cannot listen on {}: {}", where, std::strerror(error));
}

server::server(server_options options, handler serve)
    : server(std::move(options), service{{}, std::move(serve)}) {}

server::server(server_options options, service both)
    : self_(new implementation{std::move(options), std::move(both)}) {}

server::~server() {
  stop();
}

std::optional<std::string> server::start() {
  auto& self = *self_;
  if (self.threads)
    return "this server was started before";
  if (auto descriptors = raise_descriptor_limit())
    self.options.max_connections = std::min(self.options.max_connections, *descriptors / 2);
  if (auto error = self.bind())
    return error;
  try {
    self.threads.emplace(self.options, self.parts, self.listener);
  } catch (const std::exception& e) {
    ::close(self.listener);
    return fmt::format("cannot serve HTTP: {}", e.what());
  }
  return std::nullopt;
}

void server::stop() {
  if (!self_->threads || std::exchange(self_->stopped, true))
    return;
  let_nobody_in(self_->listener);
  self_->threads->stop();
}

std::uint16_t server::port() const {
  return self_->port;
}

server_load server::load() const {
  if (self_->threads)
    return self_->threads->load();
  return {0, self_->options.max_connections, 0, 0, 0};
}

} // namespace matriarch::http
