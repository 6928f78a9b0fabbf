#include "router/old_sessions.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "router/words.hpp"

namespace matriarch::router {

namespace {

/// Where each server of a worker is, by proxy and name.
std::map<std::pair<std::string, std::string>, endpoint> addresses_in(std::string_view servers) {
  constexpr std::size_t proxy = 1, server = 3, address = 4, host = 17, port = 18;
  std::map<std::pair<std::string, std::string>, endpoint> found;
  for (auto line : lines_of(servers)) {
    auto words = words_of(line);
    if (words.size() > port)
      if (auto number = port_of(words[port]))
        found[{words[proxy], words[server]}] = {
            words[address] == "-" ? words[host] : words[address], *number};
  }
  return found;
}

bool is_used(const port_state& port, const endpoint& where) {
  return std::any_of(port.slots.begin(), port.slots.end(), [&](const server_slot& slot) {
    return slot.holds && slot.holds->database == where && (slot.up || !slot.is_checked)
           && !slot.drained;
  });
}

} // namespace

std::vector<std::string>
sessions_to_end(std::string_view sessions, std::string_view servers, const proxy_state& now,
                const std::function<std::optional<std::uint16_t>(std::string_view)>& port_of) {
  auto addresses = addresses_in(servers);
  // `0x564d557968c0: proto=tcpv4 src=127.0.0.1:47776 fe=a be=a srv=n1 ts=00 …`
  std::vector<std::string> ids;
  for (auto line : lines_of(sessions)) {
    auto colon = line.find(": ");
    if (!line.starts_with("0x") || colon == std::string_view::npos)
      continue;
    std::string proxy;
    std::string server;
    for (const auto& word : words_of(line.substr(colon + 1))) {
      if (word.starts_with("be="))
        proxy = word.substr(3);
      if (word.starts_with("srv="))
        server = word.substr(4);
    }
    auto where = addresses.find({proxy, server});
    auto port = port_of(proxy);
    // A session has no server while it waits for one.
    if (where == addresses.end() || port == 0)
      continue;
    auto known = port ? now.find(*port) : now.end();
    if (known == now.end() || !is_used(known->second, where->second))
      ids.emplace_back(line.substr(0, colon));
  }
  return ids;
}

} // namespace matriarch::router
