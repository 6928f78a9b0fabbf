#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "actors/instance_host.hpp"
#include "actors/record_writer.hpp"

namespace matriarch::actors {

/// An instance's record, its revision, and all changes of the instance's keys, in one place for all
/// parts of the instance's actor. One change is under way at a time; requests that could lead to
/// another change wait.
class record_keeper {
public:
  using after_commit = record_writer::after;
  using answer = caf::typed_response_promise<model::verdict>;

  /// Pause after a failed change: gives etcd, or another writer, a moment.
  static constexpr caf::timespan retry_pause = std::chrono::milliseconds{500};

  /// Keeps the record of the instance of that name. Host and setup must outlive this object.
  record_keeper(instance_host& host, service_instance_actor::pointer self,
                const instance_setup& setup, std::string name, activity now)
      : host_(host), self_(self), setup_(setup), name_(std::move(name)),
        writer_(self, setup, name_), activity_(std::move(now)) {}
  record_keeper(const record_keeper&) = delete;
  record_keeper& operator=(const record_keeper&) = delete;

  // -- what is known ------------------------------------------------------------------------------

  [[nodiscard]] service_instance_actor::pointer self() const { return self_; }
  [[nodiscard]] const instance_setup& setup() const { return setup_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  /// The record as last written or read; nullptr before and after the instance's life. Code that
  /// continues after an answer must look again: the instance may be gone by then, and this actor
  /// may serve the next instance of the same id.
  [[nodiscard]] const model::record* record() const { return record_.get(); }
  /// The engine of the instance's cluster.
  [[nodiscard]] const engine_in_use& engine() const;
  /// Revision of the record's key; 0 if there is no record.
  [[nodiscard]] store::revision at() const { return at_; }
  [[nodiscard]] std::string key() const;

  /// Takes over the record as it is in etcd.
  void adopt(model::record known, store::revision at);
  /// The record has been removed.
  void forget();
  /// Uses another copy of the same record, so that a large fleet has one copy per record.
  void share(std::shared_ptr<const model::record> same) { record_ = std::move(same); }

  /// Takes over a change of the record's key. Ignores echoes of this actor's own writes, whose
  /// revisions it knows. A newer revision is another broker's write or was made by hand; while a
  /// change is under way, its compares find that out.
  void learn(const store::key_value& entry, bool erased);
  /// etcd had no record at that revision.
  void learn_absence(store::revision at);

  // -- who may change it --------------------------------------------------------------------------

  void note(activity now) { activity_ = std::move(now); }
  /// The last report on whether this broker is active.
  [[nodiscard]] const activity& heard() const { return activity_; }
  /// Whether this broker may act now. A process that was stopped for a while may have lost its
  /// lease without knowing, so the time is checked, too.
  [[nodiscard]] bool acts() const;
  /// Whether this broker may change anything; if not, `owed` gets the answer.
  [[nodiscard]] bool may_act(answer& owed) const;

  // -- changes ------------------------------------------------------------------------------------

  /// Whether a change is under way or in preparation.
  [[nodiscard]] bool busy() const { return busy_; }
  /// Holds other changes back while this one waits for something that it needs.
  void hold(bool held) { busy_ = held; }
  /// Whether a change has failed so recently that the next try should wait.
  [[nodiscard]] bool rests() const;

  /// Writes the record, with other keys, on condition that the record has not changed.
  void write(model::record next, std::vector<store::compare> compares,
             std::vector<store::operation> operations, after_commit then);
  /// Changes keys other than the record, or erases the record.
  void commit(etcd_write what, after_commit then);
  /// Repeats the pending transaction, at an again_atom.
  void try_again() { writer_.try_again(); }

  // -- requests that wait for a change ------------------------------------------------------------

  /// Serves a request as soon as no change is under way, so that it sees the results of the earlier
  /// ones.
  void in_turn(std::function<void()> serve);
  /// Serves waiting requests until one of them begins a change. Returns whether none has.
  bool serve_waiting();

private:
  struct waiting_request {
    caf::actor_clock::time_point too_late;
    unsigned outage; ///< number of the last outage when the request came
    std::function<void()> serve;
  };

  void learn_refusal(const write_result& came);

  instance_host& host_;
  service_instance_actor::pointer self_;
  const instance_setup& setup_;
  std::string name_;
  record_writer writer_;
  activity activity_;
  /// Shared with the published snapshot if it is the same.
  std::shared_ptr<const model::record> record_;
  store::revision at_ = 0;
  bool busy_ = false;
  std::list<waiting_request> waiting_; ///< (an empty std::deque takes 600 bytes)
  caf::actor_clock::time_point again_at_;
};

} // namespace matriarch::actors
