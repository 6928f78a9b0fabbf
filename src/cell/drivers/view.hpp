#pragma once

#include <string>
#include <vector>

/// What a node sees of the machine. A database's superuser can read every file that its server
/// can, and run programs: what is no concern of a node is not there for it.
namespace matriarch::cell {

struct machine_view {
  /// Directories that are covered with empty ones. None of them lies in another, or around the node's.
  std::vector<std::string> covered;
  /// One more, in which the node's own directory is shown again.
  std::string around_own;
};

/// Covers all but what programs need: of the root, what is not the system's own; of /etc and /run,
/// which are the system's, all directories that Python, OpenSSL and servers do not read, among them
/// those of `matriarch` itself and of etcd.
///
/// `own`: the cell's data directory, as real_path() has it. `needed`: programs, as absolute paths; the directory of the root
/// that one of them lies in stays.
[[nodiscard]] machine_view view_of_node(const std::string& own,
                                        const std::vector<std::string>& needed);

/// Without symbolic links: what is mounted is mounted there.
[[nodiscard]] std::string real_path(const std::string& path);

} // namespace matriarch::cell
