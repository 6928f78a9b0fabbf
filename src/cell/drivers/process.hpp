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

/// Starting, finding and ending the processes of nodes. Nothing here outlives a call: nodes are
/// told by what is written down of them, so that an agent can end and another can go on.
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
  std::string log; ///< gets what the program prints, appended
  system_user user;
  fencing how = fencing::none;
  /// With a namespace: the program finds nothing below the directory `hidden` but `shown`, which
  /// lies below it. Both empty: it sees what all see.
  std::string hidden = {};
  std::string shown = {};
  /// Further directories in which it finds nothing; none of them around `shown`.
  std::vector<std::string> covered = {};
  /// With a namespace: bytes of memory that it shares by files; 0: half of the machine's, which is the
  /// kernel's own bound.
  std::int64_t shared_memory = 0;
};

/// Starts a program as the first process of a namespace of its own, or as a plain process. In a
/// namespace it has file systems, shared memory and processes of its own: it finds no other node's. It
/// belongs to a session of its own and outlives this program. `record` is called before the program
/// runs: it writes the identity down, and if it cannot, or if this program ends before, nothing is
/// started.
[[nodiscard]] result<base::process_identity>
start_process(const launch& what, const std::function<bool(const base::process_identity&)>& record);

/// Takes note of the end of a process, if it was a child of this program. In words, if it was.
[[nodiscard]] std::optional<std::string> reap(const base::process_identity& process);

/// The processes that are in one PID namespace with `first`, by their numbers here; none if that is this
/// program's own.
[[nodiscard]] std::vector<pid_t> processes_beside(const base::process_identity& first);

/// The processes of a user, this one apart, whose working directory is that directory or below it.
[[nodiscard]] std::vector<pid_t> processes_below(const std::string& directory, uid_t uid);

/// Kills every process of a user whose working directory is below a directory, and returns how many
/// there were. For what no fencing holds together: nodes' programs never leave it.
[[nodiscard]] std::size_t kill_all_below(const std::string& directory, uid_t uid);

} // namespace matriarch::cell
