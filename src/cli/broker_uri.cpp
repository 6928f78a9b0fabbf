#include "cli/broker_uri.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

namespace matriarch::cli {

namespace {

constexpr std::string_view hint = "; write for example "
                                  "export BROKER_URI=http://user:password@localhost:3000";

failure wrong(std::string_view why) {
  return failure{"BROKER_URI " + std::string(why) + std::string(hint)};
}

std::optional<int> hexadecimal(std::string_view two) {
  int value = 0;
  const auto parsed = std::from_chars(two.data(), two.data() + two.size(), value, 16);
  if (two.size() != 2 || parsed.ec != std::errc() || parsed.ptr != two.data() + 2)
    return std::nullopt;
  return value;
}

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    const auto byte = hexadecimal(text.substr(i + 1, 2));
    if (!byte)
      return std::nullopt;
    decoded += static_cast<char>(*byte);
    i += 2;
  }
  return decoded;
}

bool is_port(std::string_view text) {
  int port = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), port);
  return parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() && port >= 1
         && port <= 65535;
}

} // namespace

result<broker_uri> parse_broker_uri(const char* value) {
  if (value == nullptr || *value == '\0')
    return wrong("is not set: it says where the broker is, and who asks");
  std::string_view rest(value);
  const std::string_view scheme = rest.starts_with("https://") ? "https://" : "http://";
  if (!rest.starts_with(scheme))
    return wrong("must start with http:// or https://");
  rest.remove_prefix(scheme.size());
  // A password may contain an @ that was not encoded; a host cannot.
  const auto at = rest.rfind('@');
  const auto colon = rest.find(':');
  if (at == std::string_view::npos || colon == std::string_view::npos || colon > at || colon == 0)
    return wrong("must name the broker's user and password");
  const auto username = percent_decoded(rest.substr(0, colon));
  const auto password = percent_decoded(rest.substr(colon + 1, at - colon - 1));
  if (!username || !password)
    return wrong("has a % that two hexadecimal digits do not follow (a literal % is %25)");
  auto host = rest.substr(at + 1);
  if (host.ends_with('/'))
    host.remove_suffix(1);
  const auto port = host.rfind(':');
  const auto has_port = port != std::string_view::npos && !host.ends_with(']');
  const auto name = host.substr(0, has_port ? port : host.size());
  const auto name_is_good = !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')
           || std::string_view(".-_[]:").find(c) != std::string_view::npos;
  });
  if (!name_is_good)
    return wrong("must end in the broker's host and port");
  if (has_port && !is_port(host.substr(port + 1)))
    return wrong("must have a port from 1 to 65535");
  return broker_uri{std::string(scheme) + std::string(host), *username, *password};
}

} // namespace matriarch::cli
