#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"

/// Base64 of RFC 4648, section 4. No failure quotes the text, which may be a secret.
namespace matriarch::base {

[[nodiscard]] std::string to_base64(std::string_view bytes);

/// The padding (`=`) at the end of a base64 text.
enum class padding {
  required,
  optional, ///< some HTTP clients leave it out
};

/// The bytes of a base64 text. Any other character, also white space, is a failure.
[[nodiscard]] result<std::string> from_base64(std::string_view text,
                                              padding at_end = padding::required);

/// Accepts only the exact text that to_base64() makes. Base64 has unused bits at its end, and a
/// sealed or signed text must not be altered even there.
[[nodiscard]] result<std::string> from_canonical_base64(std::string_view text);

} // namespace matriarch::base
