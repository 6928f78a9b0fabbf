#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace matriarch::model {

/// An IP address. An IPv4-mapped IPv6 address (`::ffff:10.0.0.1`) equals its IPv4 address.
class ip_address {
public:
  /// `10.0.0.1` or `2001:db8::1`, without brackets, zone or port.
  [[nodiscard]] static std::optional<ip_address> parse(std::string_view text);
  [[nodiscard]] std::string text() const;
  [[nodiscard]] bool is_loopback() const;
  [[nodiscard]] bool is_v4() const;
  bool operator==(const ip_address&) const = default;

private:
  friend class ip_range;
  std::array<std::uint8_t, 16> bytes_{}; ///< IPv4 in its IPv4-mapped form
};

/// All addresses with a common prefix.
class ip_range {
public:
  /// `10.0.0.0/8`, `2001:db8::/32`, or a single address, which is a range of one.
  [[nodiscard]] static std::optional<ip_range> parse(std::string_view text);
  [[nodiscard]] bool contains(const ip_address& one) const;
  bool operator==(const ip_range&) const = default;

private:
  ip_address first_;
  int bits_ = 128; ///< of the mapped form
};

} // namespace matriarch::model
