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

/// Observes one cluster of an instance, as part of the instance's actor: the cluster's keys in
/// etcd, as far as they are trustworthy, and which of its nodes are healthy. The results go into
/// the cluster's observations.
class cluster_watch {
public:
  /// Watches the cluster of that scope in the keeper's record. The references must outlive this
  /// object.
  cluster_watch(const record_keeper& keeper, instance_host& host, std::string scope,
                model::cluster_observations& here)
      : keeper_(keeper), host_(host), scope_(std::move(scope)), here_(&here) {}
  cluster_watch(const cluster_watch&) = delete;
  cluster_watch& operator=(const cluster_watch&) = delete;

  [[nodiscard]] const std::string& scope() const { return scope_; }
  /// The cluster as last written or read; nullptr while no record names it.
  [[nodiscard]] const model::cluster* cluster() const {
    return keeper_.record() == nullptr ? nullptr : keeper_.record()->cluster_of(scope_);
  }
  [[nodiscard]] const model::cluster_observations& here() const { return *here_; }
  /// Moves the results to another place.
  void move_to(model::cluster_observations& there) { here_ = &there; }

  // -- keys in etcd -------------------------------------------------------------------------------

  /// Takes over a changed key of the cluster's scope; ignores other keys.
  void learn(const store::key_value& entry, bool erased);
  /// Forgets all keys. The caller is about to pass their present values, after a gap in the watch.
  void begin_anew();
  /// Judges all members again after a change of the records or cells by which they are judged.
  void judge_members();
  /// Takes over a node's addresses as reported by its cell.
  void learn_address(const std::string& node_id, const model::node_addresses& at) {
    here_->registered[node_id] = at;
  }
  void forget_node(const std::string& node_id);
  /// What its key says is over: it counts again once the node has written it anew.
  void forget_member(const std::string& node_id);

  // -- health ---------------------------------------------------------------------------------------

  /// Finds the nodes that have been unhealthy for too long.
  void look_at_health(const cell_news& news);
  /// Restarts the count of unhealthy times, since the cells' watch has begun or ended.
  void forget_unwell_times();
  /// Whether the cluster failed over because its leader was lost: such a repair comes before
  /// others. The previous leader was lost if it led until it became unhealthy; after a switchover
  /// it is an ordinary replica.
  [[nodiscard]] bool leader_was_lost() const;

  // -- what the leader reported ---------------------------------------------------------------------

  /// Takes over the replicas' lag. A replica that streams is running, even if its member key does
  /// not say so yet.
  void learn_lag(const std::map<std::string, std::int64_t>& lag);
  void forget_lag();

  // -- the first leader -----------------------------------------------------------------------------

  /// Whether a node is making the cluster's first data. `first`: the cluster is being created, and
  /// no tenant has been promised any data in it yet.
  [[nodiscard]] model::bootstrap_verdict judge_bootstrap(bool first);
  /// Revision of the key `initialize`; 0 if there is no such key.
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
  void note_state(const std::string& node_id, const model::member& now);
  void judge_member(const std::string& node_id, model::member now);
  void forget_what_the_leader_said();

  [[nodiscard]] const instance_setup& setup() const { return keeper_.setup(); }
  /// The engine of the cluster.
  [[nodiscard]] const model::engine& runs() const {
    const auto* one = cluster();
    return *setup().engines.of(one == nullptr ? "" : one->engine.text()).decisions;
  }
  [[nodiscard]] caf::actor_clock::time_point time_now() const {
    return keeper_.self()->clock().now();
  }

  const record_keeper& keeper_;
  instance_host& host_;
  std::string scope_;
  model::cluster_observations* here_;
  /// A member's own statement where it differs from `here_->seen`, the trusted one.
  struct word {
    std::unique_ptr<model::member> otherwise; ///< the member's key, if it differs
    std::string last_address;                 ///< the last addresses, while the member has no key
    std::string doubt;                        ///< the doubt that was last logged
  };
  model::rare_map<std::string, word> said_; ///< by node id
  store::revision initialized_at_ = 0;      ///< revision of the key `initialize`
  model::bootstrap_verdict bootstrap_;
  struct {
    std::string node_id;
    caf::actor_clock::time_point until;
  } led_before_; ///< the previous leader
  model::health_history health_;
  caf::actor_clock::time_point lag_heard_at_;
};

} // namespace matriarch::actors
