#pragma once

#include <string>
#include <vector>

namespace matriarch::base {

/// The values of `--log-level`, from the most to the least verbose.
[[nodiscard]] const std::vector<std::string>& log_levels();

/// Writes everything logged at `level` (one of log_levels()) or above to stderr, a line each: time
/// in UTC, level, and the text, shortened to some kB. Logging never waits for stderr; lines that
/// stderr does not take are counted, and their number is logged later. Uncaught exceptions are
/// logged too.
void set_up_logging(const std::string& level);

/// Waits a moment until the log is written: call before the process ends, or before writing to
/// stderr by other means.
void flush_log();

/// Tells on stderr why `matriarch <server>` does not run, and returns `code`. Waits for stderr as
/// long as flush_log() does.
[[nodiscard]] int refuse(const char* server, const std::string& why, int code);

} // namespace matriarch::base
