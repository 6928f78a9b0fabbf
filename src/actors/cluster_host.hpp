#pragma once

#include <string>

#include "actors/interfaces.hpp"
#include "model/event.hpp"
#include "model/plan.hpp"
#include "store/etcd.hpp"

namespace matriarch::actors {

/// What the parts of an instance's actor that look after one of its clusters need of it, besides the
/// record.
class cluster_host {
public:
  /// What routers read of this instance was changed at that revision.
  virtual void note_route(store::revision at) = 0;
  /// Has the actor look what comes next, now or after that time.
  virtual void go_on() = 0;
  virtual void wake(caf::timespan pause) = 0;
  virtual void publish() = 0;
  virtual void tell(model::happening what) = 0;
  virtual void write_decision(model::decision next) = 0;
  /// The cell has failed to start a node for a repair: for a while others are tried before it.
  virtual void avoid_cell(const std::string& cell, const std::string& why) = 0;
  virtual void switchover_failed() = 0;

protected:
  ~cluster_host() = default;
};

} // namespace matriarch::actors
