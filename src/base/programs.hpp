#pragma once

#include <optional>
#include <string>

namespace matriarch::base {

/// Why that file cannot be run, as the rest of a sentence that begins with its path; nothing if it can
/// be.
[[nodiscard]] std::optional<std::string> why_not_runnable(const std::string& path);

/// The first line of what the program says when it is asked with that word for its version; nothing if
/// it does not end it within some seconds. Blocks.
[[nodiscard]] std::optional<std::string> version_of(const std::string& path,
                                                    const std::string& word);

} // namespace matriarch::base
