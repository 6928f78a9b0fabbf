#pragma once

#include <functional>

#include "actors/environment.hpp"
#include "actors/interfaces.hpp"

namespace matriarch::actors {

struct answers_owed;

/// The link between the HTTP threads and the actors. A request goes in as a plain value; its answer
/// is passed to a function, on one of the actors' threads.
class gateway {
public:
  gateway(caf::actor_system& system, instance_directory_actor directory, cell_directory_actor cells,
          published& out);
  ~gateway();

  /// Gives exactly one answer, `unavailable` at the latest after `patience`, or at once where too
  /// many requests wait already.
  void ask(model::request what, std::chrono::milliseconds patience,
           std::function<void(model::verdict)> answer);
  void ask(model::demote_request what, std::function<void(model::demote_report)> answer);
  void ask(model::forget_request what, std::function<void(model::forget_report)> answer);
  void ask(model::orphan_removal what, std::function<void(model::verdict)> answer);
  /// Re-encrypts the secrets of all instances with the newest key.
  void reencrypt_all(std::function<void(model::reencryption_report)> answer);

  /// For a broker that is stopping: answers `unavailable` to all present and later requests that
  /// wait for the end of an operation, and re-encrypts no further instance. The operations go on
  /// after the broker's next start.
  void stop_waiting();

  /// Reports whether etcd can be reached. Once etcd has been out of reach for a moment, waiting and
  /// new requests that need etcd are answered `unavailable` at once.
  void note_etcd(bool reachable);

  /// The gateway's actor, so that it can be monitored.
  [[nodiscard]] const caf::actor& worker() const { return worker_; }

private:
  std::shared_ptr<answers_owed> owed_;
  caf::actor worker_;
  published& out_;
};

} // namespace matriarch::actors
