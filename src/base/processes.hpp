#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

/// What /proc says of this machine's processes: there is no other way to tell those that are not this
/// program's children.
namespace matriarch::base {

/// A process that is told from a later one with the same number.
struct process_identity {
  int pid = 0;
  std::uint64_t start_time = 0; ///< clock ticks since the boot
  std::string boot_id;
  bool operator==(const process_identity&) const = default;
};

/// Changes with each boot of the machine; empty if it cannot be read.
[[nodiscard]] std::string boot_id();

/// The start of the process that has this number now; nothing if there is none. A zombie is still there.
[[nodiscard]] std::optional<std::uint64_t> start_time_of(pid_t pid);

/// The same of one that runs: not of a zombie.
[[nodiscard]] std::optional<std::uint64_t> running_since(pid_t pid);

/// Whether exactly this process still runs. A zombie does not.
[[nodiscard]] bool is_alive(const process_identity& process);

/// Sends a signal, if exactly this process still runs.
void signal_process(const process_identity& process, int number);

/// The numbers of all processes, as far as they can be seen.
[[nodiscard]] std::vector<pid_t> all_processes();

/// What a process was started with; empty if there is none, or it may not be read.
[[nodiscard]] std::vector<std::string> arguments_of(pid_t pid);

/// What a process calls itself: the beginning of its first argument, which it can change.
[[nodiscard]] std::string title_of(pid_t pid);

/// Whether a process has set a handler for that signal, which would end it before.
[[nodiscard]] bool handles_signal(pid_t pid, int number);

/// What tells a process's PID namespace from others while it lives.
[[nodiscard]] std::optional<std::pair<dev_t, ino_t>> pid_namespace_of(pid_t pid);

} // namespace matriarch::base
