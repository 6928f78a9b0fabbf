#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/background.hpp"

namespace matriarch::base {

/// A thread that removes directories, for that can take seconds and an event loop must not wait.
class remover {
public:
  /// Removes a directory with all that is in it, then calls `done` on the remover's thread with what
  /// went wrong, if anything did. A remover that is ended lets the removal under way end, and leaves
  /// those not begun.
  void remove(std::string directory, std::function<void(std::optional<std::string>)> done);

private:
  background thread_;
};

} // namespace matriarch::base
