#pragma once

#include <string>
#include <vector>

namespace matriarch::base {

/// The values of `--log-level`, from the most to the least talkative.
[[nodiscard]] const std::vector<std::string>& log_levels();

/// Sends everything logged at `level` (one of log_levels()) or above to stderr, a line each: the
/// time in UTC, the level, the text, some kB of it at most. Nobody who logs waits for stderr; lines
/// that it does not take are counted, and said later. What ends the process by an exception is logged
/// too.
void set_up_logging(const std::string& level);

/// Gives what was logged a moment to be written: before the process ends, or says something on
/// stderr by other means.
void flush_log();

/// Says on stderr why `matriarch <server>` does not serve, and gives that exit code back. It waits for
/// stderr no longer than flush_log() does.
[[nodiscard]] int refuse(const char* server, const std::string& why, int code);

} // namespace matriarch::base
