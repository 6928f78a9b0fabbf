#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "actors/instance_host.hpp"
#include "actors/record_writer.hpp"

namespace matriarch::actors {

/// An instance's record, its revision, and whatever changes its keys: once, for all parts of the
/// instance's actor. One change is under way at a time; requests that could lead to another one wait
/// for its end.
class record_keeper {
public:
  using after_commit = record_writer::after;
  using answer = caf::typed_response_promise<model::verdict>;

  /// After a change that failed: etcd, or whoever was faster, gets a moment.
  static constexpr caf::timespan retry_pause = std::chrono::milliseconds{500};

  /// Of the instance of that name. Host and setup outlive this.
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
  /// As last written or read; nullptr before and after the instance's life. Whoever hears an answer
  /// looks again: the instance may be gone by then, and this actor make the next one of its id.
  [[nodiscard]] const model::record* known() const { return known_.get(); }
  /// What its cluster runs.
  [[nodiscard]] const engine_in_use& engine() const;
  /// Of the record's key; 0 while there is none.
  [[nodiscard]] store::revision at() const { return at_; }
  [[nodiscard]] std::string key() const;

  /// Takes up the record as it is in etcd.
  void adopt(model::record known, store::revision at);
  /// It is gone.
  void forget();
  /// The same record, in memory that is held anyway: of a large fleet one copy is kept.
  void share(std::shared_ptr<const model::record> same) { known_ = std::move(same); }

  /// Its key has changed in etcd. What this actor wrote itself comes back with a revision that it
  /// knows. Anything newer is another broker's, or somebody's by hand; while a change is under way,
  /// its compares find that out.
  void learn(const store::key_value& entry, bool erased);
  /// There was no such key at that revision.
  void learn_absence(store::revision at);

  // -- who may change it --------------------------------------------------------------------------

  void note(activity now) { activity_ = std::move(now); }
  /// What was last heard of whether this broker acts.
  [[nodiscard]] const activity& heard() const { return activity_; }
  /// A process that was stopped and goes on may have lost its lease long before it hears of it: the
  /// time tells.
  [[nodiscard]] bool acts() const;
  /// Whether this broker may change anything; answers if it may not.
  [[nodiscard]] bool may_act(answer& owed) const;

  // -- changes ------------------------------------------------------------------------------------

  /// Whether one is under way, or is prepared.
  [[nodiscard]] bool busy() const { return busy_; }
  /// Holds other changes back while something is asked for that this one needs, and no longer.
  void hold(bool held) { busy_ = held; }
  /// Whether one has failed so lately that no other is worth trying.
  [[nodiscard]] bool rests() const;

  /// Writes the record, and with it other keys, if it still is as this actor knows it.
  void write(model::record next, std::vector<store::compare> compares,
             std::vector<store::operation> operations, after_commit then);
  /// Changes keys other than the record, or erases it.
  void commit(change what, after_commit then);
  /// An again_atom has come.
  void try_again() { writer_.try_again(); }

  // -- whoever waits for the end of a change ------------------------------------------------------

  /// Serves a request as soon as no change is under way, at once if none is: it sees what came of
  /// those before it.
  void in_turn(std::function<void()> serve);
  /// Serves those that wait until one of them has begun a change. Whether none has.
  bool serve_waiting();

private:
  struct waiting_request {
    caf::actor_clock::time_point too_late;
    unsigned outage; ///< the last one when it came
    std::function<void()> serve;
  };

  void learn_refusal(const fate& came);

  instance_host& host_;
  service_instance_actor::pointer self_;
  const instance_setup& setup_;
  std::string name_;
  record_writer writer_;
  activity activity_;
  /// That of the published snapshot, if it is the same.
  std::shared_ptr<const model::record> known_;
  store::revision at_ = 0;
  bool busy_ = false;
  std::list<waiting_request> waiting_; ///< (an empty std::deque takes 600 bytes)
  caf::actor_clock::time_point again_at_;
};

} // namespace matriarch::actors
