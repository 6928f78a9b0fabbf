#pragma once

#include <functional>

#include "actors/environment.hpp"
#include "actors/interfaces.hpp"

namespace matriarch::actors {

struct answers_owed;

/// The edge between the HTTP threads and the actors. A request goes in as plain values; its answer
/// comes to a function, on one of the actors' threads.
class gateway {
public:
  gateway(caf::actor_system& system, instance_directory_actor directory, cell_directory_actor cells,
          published& out);
  ~gateway();

  /// Exactly one answer comes, at the latest after `patience`, `unavailable` then; at once where too
  /// many wait already.
  void ask(model::request what, std::chrono::milliseconds patience,
           std::function<void(model::verdict)> answer);
  void ask(model::demote_request what, std::function<void(model::demote_report)> answer);
  void ask(model::forget_request what, std::function<void(model::forget_report)> answer);
  void ask(model::orphan_removal what, std::function<void(model::verdict)> answer);
  /// Has the secrets of all instances written anew, with the newest key.
  void reencrypt_all(std::function<void(model::reencryption_report)> answer);

  /// Nobody waits for the end of an operation any more: those who did, and who would, are answered
  /// `unavailable`. No other instance has its secrets written anew. For a broker that stops, whose
  /// operations go on after its next start.
  void stop_waiting();

  /// Whether etcd can be reached. Once it has been out of reach for a moment, what needs it is
  /// answered `unavailable` at once, and so is everything that waits for it already.
  void note_etcd(bool reachable);

  /// The actor behind it, for who watches over it.
  [[nodiscard]] const caf::actor& worker() const { return worker_; }

private:
  std::shared_ptr<answers_owed> owed_;
  caf::actor worker_;
  published& out_;
};

} // namespace matriarch::actors
