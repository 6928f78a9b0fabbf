#pragma once

#include <ctime>
#include <optional>
#include <string>

namespace matriarch::http {

/// `Sat, 31 Jan 2026 23:59:59 GMT` (RFC 9110, section 5.6.7).
[[nodiscard]] std::string http_date(std::time_t when);

/// The time of such a date; nothing if it is in another form.
[[nodiscard]] std::optional<std::time_t> parse_http_date(const std::string& text);

} // namespace matriarch::http
