#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace matriarch::http {

/// What `text` says in Base64 (RFC 4648, section 4), with or without the padding at its end;
/// nothing if it is something else.
[[nodiscard]] std::optional<std::string> from_base64(std::string_view text);

} // namespace matriarch::http
