#include "base/times.hpp"

#include <array>

#include <fmt/format.h>

namespace matriarch::base {

namespace {

// In the C locale, which nothing in this program changes, the names of days and months are English.
constexpr const char* date_format = "%a, %d %b %Y %H:%M:%S GMT";

} // namespace

std::string text_of(std::chrono::sys_time<std::chrono::milliseconds> when) {
  const auto day = std::chrono::floor<std::chrono::days>(when);
  const std::chrono::year_month_day date{day};
  const std::chrono::hh_mm_ss clock{when - day};
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     clock.hours().count(), clock.minutes().count(), clock.seconds().count(),
                     clock.subseconds().count());
}

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

} // namespace matriarch::base
