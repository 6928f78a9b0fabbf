#include "cell/endpoints.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>

#include <fmt/format.h>

namespace matriarch::cell {

namespace {

std::string address_text(std::uint32_t address) {
  return fmt::format("{}.{}.{}.{}", address >> 24, (address >> 16) & 255, (address >> 8) & 255,
                     address & 255);
}

} // namespace

std::string name_of(const endpoint& where) {
  return fmt::format("{}:{}", where.host, where.port);
}

result<endpoint_pool> endpoint_pool::of_network(std::string_view cidr, node_ports ports) {
  auto wrong = [&] {
    return failure{fmt::format("\"{}\" is no IPv4 network; write for example 127.77.1.0/24, with a "
                               "prefix of 8 to 30",
                               cidr)};
  };
  auto slash = cidr.find('/');
  if (slash == std::string_view::npos)
    return wrong();
  in_addr parsed{};
  if (inet_pton(AF_INET, std::string{cidr.substr(0, slash)}.c_str(), &parsed) != 1)
    return wrong();
  auto digits = cidr.substr(slash + 1);
  int prefix = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), prefix);
  if (error != std::errc{} || end != digits.data() + digits.size() || prefix < 8 || prefix > 30)
    return wrong();
  std::uint32_t hosts = (std::uint32_t{1} << (32 - prefix)) - 1;
  std::uint32_t network = ntohl(parsed.s_addr);
  if ((network & hosts) != 0)
    return failure{fmt::format("\"{}\" is an address inside a network; the network is {}/{}", cidr,
                               address_text(network & ~hosts), prefix)};
  endpoint_pool pool;
  pool.first_address_ = network + 1;
  pool.size_ = hosts - 1;
  pool.ports_ = ports;
  return pool;
}

result<endpoint_pool> endpoint_pool::of_host(std::string host, int first, int last) {
  if (first < 1 || last > 65535 || last <= first)
    return failure{fmt::format("the ports {} to {} have no room for a node: each node needs two, "
                               "between 1 and 65535",
                               first, last)};
  endpoint_pool pool;
  pool.host_ = std::move(host);
  pool.first_port_ = first;
  pool.size_ = static_cast<std::size_t>(last - first + 1) / 2;
  return pool;
}

endpoint endpoint_pool::at(std::size_t index) const {
  if (host_.empty())
    return {address_text(first_address_ + static_cast<std::uint32_t>(index)), ports_.data,
            ports_.api};
  int port = first_port_ + 2 * static_cast<int>(index);
  return {host_, port, port + 1};
}

std::string endpoint_pool::clients() const {
  // On loopback every client appears as 127.0.0.1, whatever address it connects to.
  bool loopback = host_.empty() ? (first_address_ >> 24) == 127 : host_.starts_with("127.");
  return loopback ? "127.0.0.0/8" : "all";
}

std::optional<endpoint> choose_endpoint(const endpoint_pool& pool,
                                        const std::set<std::string>& taken,
                                        const resting_endpoints& resting, std::int64_t now,
                                        const std::function<bool(const endpoint&)>& usable) {
  std::optional<endpoint> longest_at_rest;
  std::int64_t left_at = 0;
  for (std::size_t i = 0; i < pool.size(); ++i) {
    auto candidate = pool.at(i);
    auto name = name_of(candidate);
    if (taken.contains(name))
      continue;
    auto rest = resting.find(name);
    bool rested = rest == resting.end() || now - rest->second >= endpoint_rest.count();
    if (rested && usable(candidate))
      return candidate;
    if (!rested && (!longest_at_rest || rest->second < left_at) && usable(candidate)) {
      longest_at_rest = candidate;
      left_at = rest->second;
    }
  }
  return longest_at_rest;
}

bool can_listen(const std::string& host, int port) {
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_port = htons(static_cast<std::uint16_t>(port));
  if (::inet_pton(AF_INET, host.c_str(), &where.sin_addr) != 1)
    return true; // a name: the node will find out
  int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (probe < 0)
    return true;
  int yes = 1;
  ::setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  bool free = ::bind(probe, reinterpret_cast<sockaddr*>(&where), sizeof where) == 0;
  ::close(probe);
  return free;
}

} // namespace matriarch::cell
