#pragma once

#include <string>

#include "actors/interfaces.hpp"
#include "model/event.hpp"
#include "model/instance_observations.hpp"
#include "model/observation.hpp"
#include "model/plan.hpp"
#include "model/record.hpp"
#include "store/etcd.hpp"

namespace matriarch::actors {

/// An instance's actor as its parts see it: what they need from it, and what they report to it.
class instance_host {
public:
  /// The record has changed. `rerouted`: a part of it that routers read has changed, too.
  virtual void record_changed(bool rerouted) = 0;
  /// The record has been removed.
  virtual void record_gone() = 0;
  /// A new instance was not accepted, and its request is answered.
  virtual void not_accepted() = 0;

  /// What is known besides the record; the routers as of the last look.
  [[nodiscard]] virtual const model::instance_observations& observations() const = 0;
  [[nodiscard]] virtual model::snapshot_ptr snapshot() const = 0;
  virtual void publish() = 0;
  /// Replaces a public port that no client has been told.
  virtual void change_port(model::endpoint which) = 0;
  virtual void tell(model::happening what) = 0;

  /// What routers read of this instance changed at that revision.
  virtual void note_route(store::revision at) = 0;
  virtual void write_decision(model::decision next) = 0;
  /// The cell failed to start a node for a repair: other cells are preferred for a while.
  virtual void avoid_cell(const std::string& cell, const std::string& why) = 0;
  virtual void switchover_failed() = 0;

  /// Has the actor decide what comes next, now or after a pause.
  virtual void go_on() = 0;
  virtual void wake(caf::timespan pause) = 0;

protected:
  ~instance_host() = default;
};

} // namespace matriarch::actors
