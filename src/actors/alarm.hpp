#pragma once

#include <caf/all.hpp>

#include <optional>

#include "actors/messages.hpp"

namespace matriarch::actors {

/// An actor's timer: it waits for at most one tick at a time, the earliest that was requested.
template <class SelfPointer>
class alarm {
public:
  explicit alarm(SelfPointer self) : self_(self) {}

  /// Sends this actor a tick after `pause`, unless an earlier one is due.
  void set(caf::timespan pause) {
    auto at = self_->clock().now() + pause;
    if (due_ && *due_ <= at)
      return;
    due_ = at;
    self_->delayed_send(self_, pause, tick_atom::value);
  }

  /// Whether this tick is the expected one; a tick is stale if an earlier one was requested after
  /// it.
  [[nodiscard]] bool rings() {
    if (!due_ || self_->clock().now() < *due_)
      return false;
    due_.reset();
    return true;
  }

private:
  SelfPointer self_;
  std::optional<caf::actor_clock::time_point> due_;
};

} // namespace matriarch::actors
