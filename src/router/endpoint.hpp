#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace matriarch::router {

/// Where a server listens. An IPv6 address is without its brackets.
struct endpoint {
  std::string host;
  std::uint16_t port = 0;
  auto operator<=>(const endpoint&) const = default;

  /// `host:port` as HAProxy reads it.
  [[nodiscard]] std::string text() const;
};

/// Whether it is an address or a host name, of characters that mean nothing else in HAProxy's file.
[[nodiscard]] bool is_host(std::string_view text);

/// Reads `host:port` or `[address]:port`.
[[nodiscard]] std::optional<endpoint> endpoint_of(std::string_view text);

/// A URL's host and port: `redis://user:secret@10.0.0.1:5432/0` is 10.0.0.1 and 5432.
[[nodiscard]] std::optional<endpoint> endpoint_of_url(std::string_view url);

/// A port, 1 to 65535, in decimal.
[[nodiscard]] std::optional<std::uint16_t> port_of(std::string_view text);

} // namespace matriarch::router
