#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>

#include "base/descriptor.hpp"
#include "base/result.hpp"

namespace matriarch::base {

/// Locks a directory for as long as this object exists, so that no two programs use it: by a lock
/// on its file `lock`, which the kernel releases however a program ends.
class directory_lock {
public:
  /// Waits up to `patience` for a predecessor that is just ending. `held` tells in words who else
  /// holds the lock, and comes before the file's name in the failure.
  static result<directory_lock> take(const std::string& directory, std::string_view held,
                                     std::chrono::milliseconds patience);
  /// Whether another program holds the lock, as far as this user can see.
  [[nodiscard]] static bool is_taken(const std::string& directory);

private:
  explicit directory_lock(descriptor file) : file_(std::move(file)) {}
  descriptor file_;
};

} // namespace matriarch::base
