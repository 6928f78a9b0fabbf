#include "model/ip_range.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace matriarch::model {

namespace {

constexpr std::array<std::uint8_t, 12> v4_prefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr int v4_bits = 96;
constexpr std::size_t longest_address = INET6_ADDRSTRLEN;

} // namespace

std::optional<ip_address> ip_address::parse(std::string_view text) {
  if (text.empty() || text.size() > longest_address)
    return std::nullopt;
  const std::string whole{text};
  if (whole.find('\0') != std::string::npos)
    return std::nullopt;
  ip_address read;
  if (::inet_pton(AF_INET6, whole.c_str(), read.bytes_.data()) == 1)
    return read;
  std::copy(v4_prefix.begin(), v4_prefix.end(), read.bytes_.begin());
  if (::inet_pton(AF_INET, whole.c_str(), read.bytes_.data() + v4_prefix.size()) == 1)
    return read;
  return std::nullopt;
}

bool ip_address::is_v4() const {
  return std::equal(v4_prefix.begin(), v4_prefix.end(), bytes_.begin());
}

std::string ip_address::text() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const auto* from = bytes_.data();
  const char* made = is_v4()
                         ? ::inet_ntop(AF_INET, from + v4_prefix.size(), text.data(), text.size())
                         : ::inet_ntop(AF_INET6, from, text.data(), text.size());
  return made == nullptr ? "" : made;
}

bool ip_address::is_loopback() const {
  constexpr std::uint8_t v4_loopback = 127;
  return is_v4() ? bytes_[v4_prefix.size()] == v4_loopback : *this == *parse("::1");
}

std::optional<ip_range> ip_range::parse(std::string_view text) {
  auto slash = text.find('/');
  auto first = ip_address::parse(text.substr(0, slash));
  if (!first)
    return std::nullopt;
  ip_range read;
  read.first_ = *first;
  if (slash == std::string_view::npos)
    return read;
  auto digits = text.substr(slash + 1);
  int prefix = -1;
  auto [end, wrong] = std::from_chars(digits.data(), digits.data() + digits.size(), prefix);
  bool v4 = text.substr(0, slash).find(':') == std::string_view::npos;
  if (wrong != std::errc{} || end != digits.data() + digits.size() || prefix < 0
      || prefix > (v4 ? 32 : 128))
    return std::nullopt;
  read.bits_ = v4 ? v4_bits + prefix : prefix;
  return read;
}

bool ip_range::contains(const ip_address& one) const {
  constexpr int byte = 8;
  int whole = bits_ / byte;
  int rest = bits_ % byte;
  if (!std::equal(first_.bytes_.begin(), first_.bytes_.begin() + whole, one.bytes_.begin()))
    return false;
  if (rest == 0)
    return true;
  auto mask = static_cast<std::uint8_t>(0xff << (byte - rest));
  return (first_.bytes_[whole] & mask) == (one.bytes_[whole] & mask);
}

} // namespace matriarch::model
