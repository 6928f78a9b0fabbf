#pragma once

#include <memory>
#include <optional>
#include <string>

#include "actors/instance_host.hpp"
#include "actors/record_keeper.hpp"
#include "model/addresses.hpp"
#include "model/bootstrap.hpp"
#include "model/replica_health.hpp"

namespace matriarch::actors {

/// What is heard of one cluster of an instance, as part of the instance's actor: its keys in etcd as
/// far as they are believed, and which of its nodes are well. All goes into its circumstances.
class cluster_watch {
public:
  /// Of the cluster of that scope in the keeper's record. All but the scope outlive this.
  cluster_watch(const record_keeper& keeper, instance_host& host, std::string scope,
                model::cluster_circumstances& here)
      : keeper_(keeper), host_(host), scope_(std::move(scope)), here_(&here) {}
  cluster_watch(const cluster_watch&) = delete;
  cluster_watch& operator=(const cluster_watch&) = delete;

  [[nodiscard]] const std::string& scope() const { return scope_; }
  /// As last written or read; nullptr while no record names it.
  [[nodiscard]] const model::cluster* known() const {
    return keeper_.known() == nullptr ? nullptr : keeper_.known()->cluster_of(scope_);
  }
  [[nodiscard]] const model::cluster_circumstances& here() const { return *here_; }
  /// What is known of it is kept elsewhere from now on.
  void move_to(model::cluster_circumstances& there) { here_ = &there; }

  // -- keys in etcd -------------------------------------------------------------------------------

  /// A key of its scope has changed; others are passed over.
  void learn(const store::key_value& entry, bool erased);
  /// All of its keys are about to be learnt as they are, after a gap in the watch.
  void begin_anew();
  /// Judges all members, after a change of what they are judged by.
  void judge_members();
  /// Where its cell says that a node is.
  void learn_address(const std::string& node_id, const model::node_addresses& at) {
    here_->registered[node_id] = at;
  }
  void forget_node(const std::string& node_id);
  /// What its key says is over: it counts again once the node has written it anew.
  void forget_member(const std::string& node_id);

  // -- health ---------------------------------------------------------------------------------------

  /// Looks which nodes have been unwell for too long.
  void look_at_health(const cell_news& news);
  /// Whether its cells are watched has changed: what was counted up to now does not count.
  void forget_unwell_times();
  /// A repair because of a leader that was lost comes before others. Whoever led until it was unwell
  /// was lost; who handed over before is a replica like others.
  [[nodiscard]] bool leader_was_lost() const;

  // -- the leader's word ----------------------------------------------------------------------------

  /// A replica that streams runs, whatever its member key still says.
  void learn_lag(const std::map<std::string, std::int64_t>& lag);
  void forget_lag();

  // -- the first leader -----------------------------------------------------------------------------

  /// Whether somebody makes the first data. `first`: the cluster is being made, and nobody has been
  /// promised anything of it yet.
  [[nodiscard]] model::bootstrap_verdict judge_bootstrap(bool first);
  /// Of the key `initialize`; 0: it is not there.
  [[nodiscard]] store::revision initialized_at() const { return initialized_at_; }

  // -- where nodes are ------------------------------------------------------------------------------

  [[nodiscard]] model::cell_origin origin_of(const std::string& cell) const;

private:
  void learn_member(const std::string& node_id, const store::key_value& entry, bool erased);
  void learn_leader(const store::key_value& entry, bool erased);
  [[nodiscard]] const model::member* announced(const std::string& node_id) const;
  void note_address(const std::string& node_id, const model::member& now,
                    const store::key_value& entry);
  [[nodiscard]] bool is_kept(const std::string& node_id) const;
  void miss_member(const std::string& node_id);
  void note_state(const std::string& node_id, const model::member& now);
  void judge_member(const std::string& node_id, model::member now);
  void forget_what_the_leader_said();

  [[nodiscard]] const instance_setup& setup() const { return keeper_.setup(); }
  /// What its nodes run.
  [[nodiscard]] const model::engine& runs() const {
    const auto* one = known();
    return *setup().engines.of(one == nullptr ? "" : one->engine.text()).decisions;
  }
  [[nodiscard]] caf::actor_clock::time_point time_now() const {
    return keeper_.self()->clock().now();
  }

  const record_keeper& keeper_;
  instance_host& host_;
  std::string scope_;
  model::cluster_circumstances* here_;
  /// What a member says of itself, where that is not what is believed of it, in `here_->seen`.
  struct word {
    std::unique_ptr<model::member> otherwise; ///< its key, where that says something else
    std::string last_address;                 ///< as last told, while it has no key
    std::string doubt;                        ///< as last logged
  };
  model::rare_map<std::string, word> said_; ///< by node id
  store::revision initialized_at_ = 0;      ///< of the key `initialize`
  model::bootstrap_verdict bootstrap_;
  struct {
    std::string node_id;
    caf::actor_clock::time_point until;
  } led_before_; ///< who led before the leader of now
  model::health_history health_;
  caf::actor_clock::time_point lag_heard_at_;
};

} // namespace matriarch::actors
