#include "base/base64.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace matriarch::base {

namespace {

constexpr std::string_view alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<std::int8_t, 256> digits = [] {
  std::array<std::int8_t, 256> all{};
  all.fill(-1);
  for (std::size_t i = 0; i < alphabet.size(); ++i)
    all[static_cast<unsigned char>(alphabet[i])] = static_cast<std::int8_t>(i);
  return all;
}();

result<std::string> from_padded(std::string_view text) {
  if (text.size() % 4 != 0)
    return failure{"not base64: its length is not a multiple of four"};
  std::size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=')
    ++padding;
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  for (std::size_t i = 0; i < text.size(); i += 4) {
    std::uint32_t three = 0;
    for (std::size_t j = i; j < i + 4; ++j) {
      auto digit = j >= text.size() - padding ? 0 : digits[static_cast<unsigned char>(text[j])];
      if (digit < 0)
        return failure{"not base64: unexpected byte at " + std::to_string(j)};
      three = three << 6 | static_cast<std::uint32_t>(digit);
    }
    bytes += static_cast<char>(three >> 16 & 255);
    bytes += static_cast<char>(three >> 8 & 255);
    bytes += static_cast<char>(three & 255);
  }
  bytes.resize(bytes.size() - padding);
  return bytes;
}

} // namespace

std::string to_base64(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  auto byte = [&](std::size_t i) -> std::uint32_t {
    return i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0;
  };
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::uint32_t three = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    text += alphabet[three >> 18 & 63];
    text += alphabet[three >> 12 & 63];
    text += i + 1 < bytes.size() ? alphabet[three >> 6 & 63] : '=';
    text += i + 2 < bytes.size() ? alphabet[three & 63] : '=';
  }
  return text;
}

result<std::string> from_base64(std::string_view text, padding at_end) {
  auto missing = (4 - text.size() % 4) % 4;
  if (at_end == padding::required || missing == 0 || missing == 3 || text.ends_with('='))
    return from_padded(text);
  return from_padded(std::string{text} + std::string(missing, '='));
}

result<std::string> from_canonical_base64(std::string_view text) {
  auto bytes = from_padded(text);
  if (bytes && to_base64(*bytes) != text)
    return failure{"not base64: its last bits are not zero"};
  return bytes;
}

} // namespace matriarch::base
