#include "router/endpoint.hpp"

#include <algorithm>
#include <charconv>

namespace matriarch::router {

namespace {

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

} // namespace

std::string endpoint::text() const {
  // HAProxy takes what follows the last colon as the port, with and without brackets.
  auto shown = host.find(':') == std::string::npos ? host : "[" + host + "]";
  return shown + ":" + std::to_string(port);
}

bool is_host(std::string_view text) {
  if (text.empty() || text.size() > 253 || !(is_letter_or_digit(text.front()) || text[0] == ':'))
    return false;
  auto with_colons = text.find(':') != std::string_view::npos;
  return std::all_of(text.begin(), text.end(), [&](char c) {
    if (with_colons)
      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':'
             || c == '.';
    return is_letter_or_digit(c) || c == '.' || c == '-' || c == '_';
  });
}

std::optional<std::uint16_t> port_of(std::string_view text) {
  int number = 0;
  auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (wrong != std::errc{} || end != text.data() + text.size() || number < 1 || number > 65535)
    return std::nullopt;
  return static_cast<std::uint16_t>(number);
}

std::optional<endpoint> endpoint_of(std::string_view text) {
  auto colon = text.rfind(':');
  if (colon == std::string_view::npos)
    return std::nullopt;
  auto port = port_of(text.substr(colon + 1));
  auto host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  else if (host.find(':') != std::string_view::npos)
    return std::nullopt;
  if (!port || !is_host(host))
    return std::nullopt;
  return endpoint{std::string{host}, *port};
}

std::optional<endpoint> endpoint_of_url(std::string_view url) {
  auto scheme = url.find("://");
  if (scheme == std::string_view::npos)
    return std::nullopt;
  auto authority = url.substr(scheme + 3);
  authority = authority.substr(0, authority.find_first_of("/?#"));
  // A password may hold an `@` that nobody encoded; a host cannot.
  if (auto at = authority.rfind('@'); at != std::string_view::npos)
    authority = authority.substr(at + 1);
  return endpoint_of(authority);
}

} // namespace matriarch::router
