#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace matriarch {

/// Whether the bytes are UTF-8 throughout. What is not cannot be written into JSON.
[[nodiscard]] bool is_utf8(std::string_view text);

/// `text` as it may stand in JSON: bytes that are no UTF-8 become `?`, and what exceeds `most`
/// bytes is cut and ends in `…`.
[[nodiscard]] std::string legible(std::string_view text, std::size_t most);

/// The same on one line, as it may stand in a message: control characters become `?` too.
[[nodiscard]] std::string one_line(std::string_view text, std::size_t most);

/// A text of anybody's as it stands in a sentence: in quotes, on one line, and shortened where it is
/// very long.
[[nodiscard]] std::string quoted(std::string_view text);

} // namespace matriarch
