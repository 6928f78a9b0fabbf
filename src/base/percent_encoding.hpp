#pragma once

#include <string>
#include <string_view>

namespace matriarch::base {

/// `text` as one path segment or one query value of a URL: everything but letters, digits, `-`,
/// `.`, `_` and `~` is percent-encoded (RFC 3986, section 2.3).
[[nodiscard]] std::string percent_encoded(std::string_view text);

} // namespace matriarch::base
