#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "actors/cluster_watch.hpp"
#include "actors/engine.hpp"
#include "actors/instance_host.hpp"
#include "actors/record_keeper.hpp"
#include "model/step_table.hpp"

namespace matriarch::actors {

/// The steps for one cluster of an instance, as part of the instance's actor: those that
/// model::decide_cluster() names. Each is begun once and answered later; the answers go into the
/// cluster's observations.
class cluster_steps {
public:
  /// The references must outlive this object.
  cluster_steps(record_keeper& keeper, instance_host& host, cluster_watch& watch,
                model::cluster_observations& here)
      : keeper_(keeper), host_(host), watch_(watch), here_(&here) {}
  cluster_steps(const cluster_steps&) = delete;
  cluster_steps& operator=(const cluster_steps&) = delete;

  void move_to(model::cluster_observations& there) { here_ = &there; }

  void perform(const model::cluster_step& what);

  /// A new operation begins: failed steps may be tried again.
  void forget_failures();
  /// Time has passed: steps that were not possible may be possible now.
  void look_again();
  /// Whether no step is under way. Only then may this object be destroyed.
  [[nodiscard]] bool idle() const { return steps_.idle(); }
  void let_go(caf::actor_clock::time_point now) { steps_.let_go(now); }
  /// The node's grave is written.
  void forget_node(const std::string& node_id);
  /// Others may have acted: what cells and nodes have confirmed of halts and of following is asked anew.
  void forget_confirmations();
  /// A confirmation counts only while the record says that the node is halted.
  void forget_old_halts();

  // -- the cluster's etcd user --------------------------------------------------------------------

  /// Postpones the deletion of the etcd user: an earlier active broker may have left the creation
  /// of the user unanswered. The user is created before the first start of a node.
  void outlast_admissions();
  /// Whether the cluster has no etcd user (any more); otherwise begins the user's deletion.
  [[nodiscard]] bool is_dismissed();

private:
  void perform_one(const model::add_nodes& step);
  void perform_one(const model::start_node& step);
  void perform_one(const model::remove_node& step);
  void perform_one(const model::ask_lag& step);
  void perform_one(const model::failover_from& step);
  void perform_one(const model::configure& step);
  void perform_one(const model::ask_settings& step);
  void perform_one(const model::copy_again& step);
  void perform_one(const model::restart_node& step);
  void perform_one(const model::halt_node& step);
  void perform_one(const model::resume_node& step);
  void perform_one(const model::ask_position& step);
  void perform_one(const model::follow& step);
  void perform_one(const model::retain& step);
  void perform_one(const model::flush& step);

  /// Tells the cluster a change of its settings that is written down elsewhere, until it has confirmed it.
  void tell_cluster(const model::step_key& step, std::string change,
                    std::function<void()> confirmed);
  /// Of a node of the cluster.
  [[nodiscard]] start_order start_of(const model::node& which) const;
  void ask_cell_again(const model::step_key& step, const std::string& cell,
                      const cell_answer& said);

  [[nodiscard]] std::optional<caf::timespan> may_still_start(const std::string& node_id) const;
  void admit_to_etcd();
  void dismiss_from_etcd();
  void rest_before_asking(const lag_answer& said);
  [[nodiscard]] node_contact contact_of(const std::string& node_id, const model::member& of) const;
  template <class Order, class Then>
  void order(Order what, Then then);
  [[nodiscard]] const std::pair<const std::string, model::member>* member_to_configure() const;
  void remind(const std::vector<std::string>& late);
  void ask_settings_of(const std::string& id, const model::member& member);
  void note_restart(const std::string& id);
  void note_failed_restart(const std::string& id, const order_answer& said);
  [[nodiscard]] bool restarts_by_itself_in_vain(const std::string& id, const order_answer& said);

  [[nodiscard]] const model::cluster* cluster() const { return watch_.cluster(); }
  [[nodiscard]] const engine_in_use& runs() const {
    return setup().engines.of(cluster()->engine.text());
  }
  [[nodiscard]] const std::string& name() const { return keeper_.name(); }
  [[nodiscard]] const instance_setup& setup() const { return keeper_.setup(); }
  [[nodiscard]] service_instance_actor::pointer self() const { return keeper_.self(); }
  [[nodiscard]] caf::actor_clock::time_point time_now() const { return self()->clock().now(); }
  /// Whether an operation is in progress.
  [[nodiscard]] bool is_awaited() const;
  [[nodiscard]] bool is_put_off(const model::step_key& which) const {
    return time_now() < steps_.put_off_until(which);
  }
  void put_off(const model::step_key& which, caf::timespan pause) {
    steps_.put_off(which, time_now() + pause);
  }
  /// Whether the step is neither under way nor put off; begins it then.
  [[nodiscard]] bool may_begin(const model::step_key& which) {
    return !is_put_off(which) && steps_.begin(which);
  }

  record_keeper& keeper_;
  instance_host& host_;
  cluster_watch& watch_;
  model::cluster_observations* here_;
  model::step_table steps_; ///< steps under way, and steps to be tried again later
  int same_answers_ = 0;
  int same_positions_ = 0; ///< in a row, of nodes that follow another cluster
  model::rare_map<std::string, bool> last_streaming_; ///< who did, and whether without lag
  std::string lag_refusal_; ///< what was last said instead of the lag; logged once
  bool admitted_ = false;
  bool dismissed_ = false;
  caf::actor_clock::time_point dismiss_after_;
  std::size_t failed_configurations_ = 0; ///< since the last confirmed configuration
  /// Since when nodes have been asked for their settings in vain.
  model::rare_map<std::string, caf::actor_clock::time_point> late_since_;
  /// Nodes that this actor placed and has not begun to start.
  model::rare_set<std::string> not_sent_;
  /// By node id, how often in a row the node was restarting by itself.
  model::rare_map<std::string, int> refused_restarts_;
};

} // namespace matriarch::actors
