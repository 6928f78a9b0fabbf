#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>

#include "base/descriptor.hpp"
#include "base/result.hpp"

namespace matriarch::base {

/// Holds a directory as long as it lives, so that no two programs act on it: by a lock on its file
/// `lock`, which the kernel takes back from a program that ends in whatever way.
class directory_lock {
public:
  /// Waits so long for a predecessor that is just ending. `held` says in words who else has it, before
  /// the name of the file.
  static result<directory_lock> take(const std::string& directory, std::string_view held,
                                     std::chrono::milliseconds patience);
  /// Whether somebody holds it, as far as this user may see.
  [[nodiscard]] static bool is_taken(const std::string& directory);

private:
  explicit directory_lock(descriptor file) : file_(std::move(file)) {}
  descriptor file_;
};

} // namespace matriarch::base
