#pragma once

#include <string>
#include <vector>

namespace matriarch::cli {

/// The values of `--log-level`, from the most to the least talkative.
[[nodiscard]] const std::vector<std::string>& log_levels();

/// Sends everything logged at `level` (one of log_levels()) or above to stderr, a line each: the
/// time in UTC, the level, the text.
void set_up_logging(const std::string& level);

} // namespace matriarch::cli
