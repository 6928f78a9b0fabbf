#include "config/uri.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>

namespace matriarch::config {

namespace {

constexpr std::int64_t most_a_port_can_be = 65535;

bool is_letter_or_digit(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

} // namespace

bool consists_of(std::string_view text, std::string_view others) {
  return std::ranges::all_of(text, [&](char c) {
    return is_letter_or_digit(c) || others.find(c) != std::string_view::npos;
  });
}

std::optional<std::string> fault_of_uri(const std::string& uri, std::string_view scheme) {
  const auto wanted = "must be a URI such as " + std::string(scheme) + "10.0.0.1:8901";
  // The message does not repeat the URI: the part before the @ may be a password.
  if (uri.find('@') != std::string::npos)
    return "must not contain a user or a password";
  if (!uri.starts_with(scheme))
    return wanted + ", found \"" + uri + "\"";
  const auto authority = std::string_view(uri).substr(scheme.size());
  const auto bracket = authority.starts_with('[') ? authority.find(']') : 0;
  const auto colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  const auto host = authority.substr(0, colon);
  const auto host_is_good =
      host.starts_with('[') ? host.ends_with(']') && host.size() > 2 && consists_of(host, "[]:.%")
                            : !host.empty() && consists_of(host, ".-_");
  if (!host_is_good)
    return wanted + ", found \"" + uri + "\"";
  if (colon == std::string_view::npos)
    return std::nullopt;
  const auto port = authority.substr(colon + 1);
  std::int64_t number = 0;
  const auto parsed = std::from_chars(port.data(), port.data() + port.size(), number);
  if (parsed.ec != std::errc() || parsed.ptr != port.data() + port.size() || number < 1
      || number > most_a_port_can_be)
    return "must have a port from 1 to 65535 after its host, found \"" + uri + "\"";
  return std::nullopt;
}

std::string without_last_slash(std::string uri) {
  if (uri.ends_with('/'))
    uri.pop_back();
  return uri;
}

} // namespace matriarch::config
