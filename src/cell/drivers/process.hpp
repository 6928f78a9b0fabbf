#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/processes.hpp"
#include "base/result.hpp"
#include "cell/fencing.hpp"
#include "cell/system_user.hpp"

/// Starts, finds and ends the processes of nodes. Nothing here keeps state between calls: nodes are
/// found by their records, so that an agent can end and another can carry on.
namespace matriarch::cell {

/// The strongest way of keeping processes together that works here, found by trying.
[[nodiscard]] fencing strongest_fencing();

/// Whether the kernel of that release counts the processes of nodes that are kept so by themselves, though
/// all are one user's.
[[nodiscard]] bool counts_by_itself(fencing how, const std::string& kernel_release);

struct launch {
  std::vector<std::string> arguments;   ///< the program first, as an absolute path
  std::vector<std::string> environment; ///< all of it, `NAME=value`
  std::string directory;
  std::string log; ///< the program's output is appended to it
  system_user user;
  fencing how = fencing::none;
  /// In a namespace the program sees nothing below the directory `hidden` except `shown`, which
  /// lies below it. Both empty: it sees what all see.
  std::string hidden = {};
  std::string shown = {};
  /// Further directories that are empty for the program; none of them contains `shown`.
  std::vector<std::string> covered = {};
  /// In a namespace: the most memory, in bytes, that its processes may share through files; 0: half
  /// of the machine's, the kernel's default.
  std::int64_t shared_memory = 0;
};

/// Starts a program as the first process of a namespace of its own, or as a plain process. In a
/// namespace it has its own file systems, shared memory and processes, and sees no other node's. It
/// has a session of its own and outlives this program. `record` is called before the program runs,
/// to store the process's identity. If `record` fails, or this program ends before, nothing is
/// started.
[[nodiscard]] result<base::process_identity>
start_process(const launch& what, const std::function<bool(const base::process_identity&)>& record);

/// Collects the exit status of a process that was a child of this program, and returns it in words;
/// nothing if it has not ended or was no child.
[[nodiscard]] std::optional<std::string> reap(const base::process_identity& process);

/// The processes in the PID namespace of `first`, by their pids here; none if that namespace is
/// this program's own.
[[nodiscard]] std::vector<pid_t> processes_beside(const base::process_identity& first);

/// A user's processes, except this one, whose working directory is that directory or below it.
[[nodiscard]] std::vector<pid_t> processes_below(const std::string& directory, uid_t uid);

/// Kills every process of a user whose working directory is below a directory, and returns how many
/// there were. For nodes without namespaces: their programs never leave their directory.
[[nodiscard]] std::size_t kill_all_below(const std::string& directory, uid_t uid);

} // namespace matriarch::cell
