#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"

/// Base64 as of RFC 4648, section 4. No failure quotes the text: it may be a secret.
namespace matriarch::base {

[[nodiscard]] std::string to_base64(std::string_view bytes);

/// What a text of base64 has at its end.
enum class padding {
  required,
  optional, ///< HTTP clients leave it out, or not
};

/// The bytes of a text. What else stands in it, be it white space, is a failure.
[[nodiscard]] result<std::string> from_base64(std::string_view text,
                                              padding at_end = padding::required);

/// The same of a text that is exactly what to_base64() gives: base64 has bits to spare at its end, and
/// what is sealed or signed must not be altered even there.
[[nodiscard]] result<std::string> from_canonical_base64(std::string_view text);

} // namespace matriarch::base
