#include "router/host_addresses.hpp"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <set>
#include <utility>

namespace matriarch::router {

namespace {

using clock = std::chrono::steady_clock;

/// The age at which a name's address is looked up again, if it is still asked for: a host's address
/// changes seldom.
constexpr std::chrono::seconds look_again{30};

std::optional<std::string> address_of(const std::string& host) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0)
    return std::nullopt;
  std::array<char, NI_MAXHOST> text{};
  auto wrong = ::getnameinfo(found->ai_addr, found->ai_addrlen, text.data(), text.size(), nullptr,
                             0, NI_NUMERICHOST);
  ::freeaddrinfo(found);
  return wrong == 0 ? std::optional{std::string{text.data()}} : std::nullopt;
}

} // namespace

std::vector<std::string> addresses_of_machine() {
  // More than any machine has; the addresses are written with each report.
  constexpr std::size_t most = 64;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0)
    return {};
  std::set<std::string> found;
  for (const auto* one = all; one != nullptr && found.size() < most; one = one->ifa_next) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    const auto* at = one->ifa_addr;
    if (at != nullptr && at->sa_family == AF_INET
        && ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(at)->sin_addr, text.data(),
                       text.size()))
      found.insert(text.data());
    if (at != nullptr && at->sa_family == AF_INET6
        && ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(at)->sin6_addr, text.data(),
                       text.size()))
      found.insert(text.data());
  }
  ::freeifaddrs(all);
  return {found.begin(), found.end()};
}

bool is_name(const std::string& host) {
  in6_addr room{};
  return ::inet_pton(AF_INET, host.c_str(), &room) != 1
         && ::inet_pton(AF_INET6, host.c_str(), &room) != 1;
}

std::optional<std::string> host_addresses::of(const std::string& host) {
  if (!is_name(host))
    return host;
  auto& known = known_[host];
  if (!known.is_being_looked_up && clock::now() - known.looked_up > look_again)
    look_up(host, known);
  return known.address;
}

void host_addresses::look_up(const std::string& host, entry& known) {
  known.is_being_looked_up = true;
  looker_->submit([this, host] {
    auto found = address_of(host);
    loop_.post([this, host, found] {
      auto& known = known_[host];
      known.is_being_looked_up = false;
      known.looked_up = clock::now();
      // A name that is not found just now keeps its last address.
      if (found && std::exchange(known.address, found) != found)
        changed_(host);
    });
  });
}

} // namespace matriarch::router
