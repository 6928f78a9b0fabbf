#pragma once

#include <string>
#include <vector>

/// What a node sees of the machine. A database's superuser can read every file that the server can,
/// and run programs, so a node sees only what it needs.
namespace matriarch::cell {

struct machine_view {
  /// Directories that are covered with empty ones. None of them lies inside another, or contains
  /// the node's own.
  std::vector<std::string> covered;
  /// One more such directory, in which the node's own directory is visible.
  std::string around_own;
};

/// Covers everything except what programs need. Below the root: all directories that do not belong
/// to the system. In /etc and /run: all directories that Python, OpenSSL and servers do not read,
/// including those of `matriarch` itself and of etcd.
///
/// `own`: the cell's data directory, as real_path() returns it. `needed`: programs, as absolute
/// paths; the top-level directory that contains one stays visible.
[[nodiscard]] machine_view view_of_node(const std::string& own,
                                        const std::vector<std::string>& needed);

/// The path without symbolic links: mounts need the real directory.
[[nodiscard]] std::string real_path(const std::string& path);

} // namespace matriarch::cell
