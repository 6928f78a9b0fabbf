#pragma once

#include <string>
#include <string_view>

#include "http/server.hpp"

namespace matriarch::http {

/// An answer as it goes over the wire. `without_body` is for the answer to HEAD. Headers that the
/// server sets itself, and headers with a line break in their value, are left out.
[[nodiscard]] std::string text_of(const response& answer, bool without_body, bool keep_alive);

/// The answer to a request that cannot be served: JSON with a sentence for its sender.
[[nodiscard]] response error_answer(int status, std::string_view description);

/// The same with status 503 and a Retry-After.
[[nodiscard]] response unavailable_answer(std::string_view description);

} // namespace matriarch::http
