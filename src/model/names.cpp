#include "model/names.hpp"

#include <openssl/sha.h>

#include <algorithm>
#include <array>

namespace matriarch::model {

namespace {

constexpr std::size_t longest_plain_name =
    64;                                 // limit near those of database identifiers and HAProxy
constexpr std::size_t digits_kept = 40; // 160 bits: no two ids of one fleet will share a name

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'
         || c == '-' || c == '.';
}

} // namespace

std::string name_of(std::string_view id) {
  bool plain = !id.empty() && id.size() <= longest_plain_name && id.front() != '.'
               && id.back() != '.' && std::all_of(id.begin(), id.end(), is_plain);
  if (plain)
    return std::string{id};
  return "~" + start_of_sha256(id, digits_kept);
}

std::string scope_of(const std::string& name, int n) {
  return n <= 1 ? name : name + "~" + std::to_string(n);
}

std::string name_of_scope(std::string_view scope) {
  auto mark = scope.rfind('~');
  // A hashed name begins with `~` and contains no other `~`.
  if (mark == std::string_view::npos || mark == 0)
    return std::string{scope};
  auto number = scope.substr(mark + 1);
  bool is_number = !number.empty() && std::ranges::all_of(number, [](char c) {
    return c >= '0' && c <= '9';
  });
  return std::string{is_number ? scope.substr(0, mark) : scope};
}

std::string start_of_sha256(std::string_view text, std::size_t digits) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  constexpr std::string_view hexadecimal = "0123456789abcdef";
  std::string start;
  for (auto byte : digest) {
    start += hexadecimal[byte >> 4];
    start += hexadecimal[byte & 0x0f];
  }
  return start.substr(0, digits);
}

} // namespace matriarch::model
