#pragma once

#include <functional>

#include "actors/environment.hpp"
#include "actors/interfaces.hpp"

namespace matriarch::actors {

/// The edge between the HTTP threads and the actors. A request goes in as plain values; its answer
/// comes to a function, on one of the actors' threads.
class gateway {
public:
  gateway(caf::actor_system& system, instance_directory_actor directory, published& out);
  ~gateway();

  /// Exactly one answer comes, at the latest after `patience`, `unavailable` then.
  void ask(model::request what, std::chrono::milliseconds patience,
           std::function<void(model::verdict)> answer);
  void ask(model::demote_request what, std::function<void(model::demote_report)> answer);

  /// Whether etcd can be reached. Once it has been out of reach for a moment, what needs it is
  /// answered `unavailable` at once, and so is everything that waits for it already.
  void note_etcd(bool reachable);

private:
  caf::actor worker_;
  published& out_;
  std::shared_ptr<std::atomic<int>> under_way_;
};

} // namespace matriarch::actors
