#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/background.hpp"

namespace matriarch::base {

/// A thread that removes directories: that can take seconds, and the event loop must not wait.
class remover {
public:
  /// Removes a directory with all its content, then calls `done` on the remover's thread with the
  /// error, if there was one. The destructor lets the removal in progress end and skips the others.
  void remove(std::string directory, std::function<void(std::optional<std::string>)> done);

private:
  background thread_;
};

} // namespace matriarch::base
