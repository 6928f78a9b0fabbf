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

/// Carries out `arguments` (without the program's name) and returns the exit code. Results go to
/// `out`, errors go to `err`. Servers return when they are told to end.
[[nodiscard]] int run(const std::vector<std::string>& arguments, std::ostream& out,
                      std::ostream& err);

} // namespace matriarch::cli
