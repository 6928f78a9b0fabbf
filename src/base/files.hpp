#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace matriarch::base {

/// Whom a file or a directory belongs to.
struct owner {
  uid_t uid = 0;
  gid_t gid = 0;
};

/// Replaces a file so that after a crash there is the old text or the new one, whole: written
/// beside it, forced to the disk, renamed. The mode is 0600. The failure names the file and the
/// reason.
[[nodiscard]] std::optional<std::string> write_durably(const std::string& path,
                                                       std::string_view text, owner whose);

/// The same without forcing: for what can be written again.
[[nodiscard]] std::optional<std::string> replace_file(const std::string& path,
                                                      std::string_view text, owner whose);

/// What a file that a program keeps for itself may have, in bytes: far more than any of them has.
constexpr std::size_t longest_own_file = 64 * 1024 * 1024;

/// A whole file; nothing if it does not exist. Whoever can write to its directory decides what is
/// there: what is no plain file, such as a link or a pipe, or has more than `most` bytes, is a failure.
[[nodiscard]] result<std::optional<std::string>> read_file(const std::string& path,
                                                           std::size_t most = longest_own_file);

/// Makes a directory, or takes one that is there, and gives it this owner and mode.
[[nodiscard]] std::optional<std::string> make_directory(const std::string& path, mode_t mode,
                                                        owner whose);

/// Moves a directory, and forces both directories' new content to the disk.
[[nodiscard]] std::optional<std::string> move_durably(const std::string& from,
                                                      const std::string& to);

/// The names in a directory, sorted; none if it cannot be read.
[[nodiscard]] std::vector<std::string> names_in(const std::string& directory);

/// The first directory on the way to `path`, itself included, that a user cannot pass through.
[[nodiscard]] std::optional<std::string> first_closed(const std::string& path, uid_t uid,
                                                      const std::vector<gid_t>& groups);

/// Keeps a file that others append to from growing without end: above `most` bytes its last `most`
/// move to `<path>.1` and it is emptied. The writers have it open for appending and go on
/// undisturbed. What is no plain file is left alone.
void bound_log(const std::string& path, std::size_t most);

} // namespace matriarch::base
