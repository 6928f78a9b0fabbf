#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace matriarch::base {

/// The owner of a file or a directory.
struct owner {
  uid_t uid = 0;
  gid_t gid = 0;
};

/// Replaces a file so that after a crash it has either the old or the new text, complete: writes a
/// new file beside it, forces it to the disk and renames it. The mode is 0600. The failure names
/// the file and the reason.
[[nodiscard]] std::optional<std::string> write_durably(const std::string& path,
                                                       std::string_view text, owner whose);

/// Replaces a file without forcing it to the disk: for content that can be written again.
[[nodiscard]] std::optional<std::string> replace_file(const std::string& path,
                                                      std::string_view text, owner whose);

/// The greatest size of a file that a program keeps for itself, in bytes: far more than any has.
constexpr std::size_t longest_own_file = 64 * 1024 * 1024;

/// A whole file; nothing if it does not exist. Whoever can write to the directory chooses the file:
/// so a link, a pipe or another special file, or more than `most` bytes, is a failure.
[[nodiscard]] result<std::optional<std::string>> read_file(const std::string& path,
                                                           std::size_t most = longest_own_file);

/// Makes a directory, unless it exists, and gives it this owner and mode.
[[nodiscard]] std::optional<std::string> make_directory(const std::string& path, mode_t mode,
                                                        owner whose);

/// Moves a directory and forces both parent directories to the disk.
[[nodiscard]] std::optional<std::string> move_durably(const std::string& from,
                                                      const std::string& to);

/// The names in a directory, sorted; none if it cannot be read.
[[nodiscard]] std::vector<std::string> names_in(const std::string& directory);

/// The first directory on the way to `path`, or `path` itself, that a user cannot enter.
[[nodiscard]] std::optional<std::string> first_closed(const std::string& path, uid_t uid,
                                                      const std::vector<gid_t>& groups);

/// Limits a file that others append to: above `most` bytes, its last `most` move to `<path>.1` and
/// the file is emptied. Writers that have opened the file for appending go on undisturbed. Special
/// files are left alone.
void bound_log(const std::string& path, std::size_t most);

} // namespace matriarch::base
