#pragma once

#include <chrono>
#include <ctime>
#include <optional>
#include <string>

/// Texts of wall times. The caller passes the time in.
namespace matriarch::base {

/// A time as ISO 8601 in UTC, `2026-11-21T07:30:05.250Z`: the form that OSB 2.17 asks for.
[[nodiscard]] std::string text_of(std::chrono::sys_time<std::chrono::milliseconds> when);

/// `Sat, 31 Jan 2026 23:59:59 GMT` (RFC 9110, section 5.6.7).
[[nodiscard]] std::string http_date(std::time_t when);

/// The time of such a date; nothing if the text has another form.
[[nodiscard]] std::optional<std::time_t> parse_http_date(const std::string& text);

} // namespace matriarch::base
