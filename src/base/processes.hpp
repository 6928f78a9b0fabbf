#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

/// Information about this machine's processes from /proc, which works also for processes that are
/// not this program's children.
namespace matriarch::base {

/// Identifies a process, also if another process gets the same number later.
struct process_identity {
  int pid = 0;
  std::uint64_t start_time = 0; ///< clock ticks since the boot
  std::string boot_id;
  bool operator==(const process_identity&) const = default;
};

/// Changes with each boot of the machine; empty if it cannot be read.
[[nodiscard]] std::string boot_id();

/// The start time of the process that has this number now; nothing if there is none. A zombie
/// counts.
[[nodiscard]] std::optional<std::uint64_t> start_time_of(pid_t pid);

/// The same for a running process; nothing for a zombie.
[[nodiscard]] std::optional<std::uint64_t> running_since(pid_t pid);

/// Whether exactly this process still runs. A zombie does not run.
[[nodiscard]] bool is_alive(const process_identity& process);

/// Sends a signal, if exactly this process still runs.
void signal_process(const process_identity& process, int number);

/// The numbers of all visible processes.
[[nodiscard]] std::vector<pid_t> all_processes();

/// The command line of a process; empty if there is no such process, or it may not be read.
[[nodiscard]] std::vector<std::string> arguments_of(pid_t pid);

/// The title of a process: the beginning of its first argument, which the process can change.
[[nodiscard]] std::string title_of(pid_t pid);

/// Whether a process handles that signal; if it does not, the signal may end it.
[[nodiscard]] bool handles_signal(pid_t pid, int number);

/// Identifies a process's PID namespace while the namespace exists.
[[nodiscard]] std::optional<std::pair<dev_t, ino_t>> pid_namespace_of(pid_t pid);

} // namespace matriarch::base
