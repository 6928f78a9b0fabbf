#pragma once

#include <optional>
#include <string>

namespace matriarch::base {

/// Why the file cannot be run, as the end of a sentence that begins with its path; nothing if it
/// can.
[[nodiscard]] std::optional<std::string> why_not_runnable(const std::string& path);

/// The first line that the program prints when it is run with `word` as its argument; nothing if it
/// prints no line within ten seconds. Blocks.
[[nodiscard]] std::optional<std::string> version_of(const std::string& path,
                                                    const std::string& word);

} // namespace matriarch::base
