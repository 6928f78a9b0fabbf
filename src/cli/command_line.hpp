#pragma once

#include <iosfwd>
#include <string>
#include <vector>

namespace matriarch::cli {

/// Exit codes, the same for every command.
inline constexpr int exit_success = 0;
/// Something could not be done: the broker cannot be reached, or answers an error.
inline constexpr int exit_failure = 1;
/// The command line, the configuration or an environment variable is wrong: trying again is no use.
inline constexpr int exit_usage = 2;

/// Does what `arguments` (without the program's name) say and returns the exit code. What was asked
/// for goes to `out`, complaints go to `err`. Servers return when they were told to end.
[[nodiscard]] int run(const std::vector<std::string>& arguments, std::ostream& out,
                      std::ostream& err);

} // namespace matriarch::cli
