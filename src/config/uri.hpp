#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace matriarch::config {

/// `scheme://host:port` without a path; the port may be missing.
inline constexpr std::string_view http_scheme = "http://";
inline constexpr std::string_view https_scheme = "https://";

/// Why `uri` is no address of this scheme, or nothing. The text is the end of a sentence ("must be
/// a URI such as …") and never contains a possible password.
[[nodiscard]] std::optional<std::string> fault_of_uri(const std::string& uri,
                                                      std::string_view scheme);

[[nodiscard]] std::string without_last_slash(std::string uri);

/// Whether all characters are ASCII letters, digits or one of `others`.
[[nodiscard]] bool consists_of(std::string_view text, std::string_view others);

} // namespace matriarch::config
