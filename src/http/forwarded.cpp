#include "http/forwarded.hpp"

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

namespace matriarch::http {

namespace {

// A request passes a handful of proxies; the limit of the head alone would allow thousands of
// entries.
constexpr std::size_t most_hops = 32;

/// `10.0.0.1`, `10.0.0.1:80`, `2001:db8::1` or `[2001:db8::1]:80`.
std::optional<model::ip_address> address_in(std::string_view hop) {
  constexpr std::string_view blank = " \t";
  hop.remove_prefix(std::min(hop.find_first_not_of(blank), hop.size()));
  hop = hop.substr(0, hop.find_last_not_of(blank) + 1);
  if (hop.starts_with('['))
    return model::ip_address::parse(hop.substr(1, std::max<std::size_t>(hop.find(']'), 1) - 1));
  if (auto whole = model::ip_address::parse(hop))
    return whole;
  return model::ip_address::parse(hop.substr(0, hop.rfind(':')));
}

/// All entries, from the last one on.
std::vector<std::string_view> hops_of(const request& got) {
  std::vector<std::string_view> hops;
  for (auto header = got.headers.rbegin(); header != got.headers.rend(); ++header) {
    if (header->first != "x-forwarded-for")
      continue;
    std::string_view rest = header->second;
    while (hops.size() < most_hops) {
      auto comma = rest.rfind(',');
      hops.push_back(comma == std::string_view::npos ? rest : rest.substr(comma + 1));
      if (comma == std::string_view::npos)
        break;
      rest = rest.substr(0, comma);
    }
  }
  return hops;
}

} // namespace

std::string forwarded_client(const request& got, const proxy_trust& is_trusted) {
  auto sender = address_in(got.remote);
  std::string client;
  for (auto hop : hops_of(got)) {
    if (!sender || !is_trusted(*sender))
      break;
    sender = address_in(hop);
    if (!sender)
      return {}; // a trusted proxy wrote something that is no address
    client = sender->text();
  }
  return client;
}

} // namespace matriarch::http
