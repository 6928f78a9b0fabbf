#include "http/base64.hpp"

#include <openssl/evp.h>

#include <algorithm>

namespace matriarch::http {

namespace {

bool is_digit_of_base64(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+'
         || c == '/';
}

} // namespace

std::optional<std::string> from_base64(std::string_view text) {
  auto end = std::min(text.find('='), text.size());
  auto digits = text.substr(0, end);
  auto padding = text.substr(end);
  auto missing = (4 - digits.size() % 4) % 4;
  // OpenSSL skips white space and reads `-` as an end: neither is Base64.
  if (!std::ranges::all_of(digits, is_digit_of_base64) || missing == 3
      || (!padding.empty() && padding != std::string_view{"==="}.substr(0, missing)))
    return std::nullopt;
  auto whole = std::string{digits} + std::string(missing, '=');
  std::string decoded(whole.size() / 4 * 3, '\0');
  if (EVP_DecodeBlock(reinterpret_cast<unsigned char*>(decoded.data()),
                      reinterpret_cast<const unsigned char*>(whole.data()),
                      static_cast<int>(whole.size()))
      < 0)
    return std::nullopt;
  decoded.resize(decoded.size() - missing);
  return decoded;
}

} // namespace matriarch::http
