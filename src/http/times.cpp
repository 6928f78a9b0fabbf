#include "http/times.hpp"

#include <array>

namespace matriarch::http {

namespace {

// In the C locale, which nothing in this program changes, the names of days and months are English.
constexpr const char* date_format = "%a, %d %b %Y %H:%M:%S GMT";

} // namespace

std::string http_date(std::time_t when) {
  std::tm parts{};
  ::gmtime_r(&when, &parts);
  std::array<char, 64> text{};
  return {text.data(), std::strftime(text.data(), text.size(), date_format, &parts)};
}

std::optional<std::time_t> parse_http_date(const std::string& text) {
  std::tm parts{};
  const char* end = ::strptime(text.c_str(), date_format, &parts);
  if (end == nullptr || *end != '\0')
    return std::nullopt;
  return ::timegm(&parts);
}

} // namespace matriarch::http
