#pragma once

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include "model/instance_observations.hpp"

namespace matriarch::model {

/// The greatest lag at which a replica may take over: the most that is lost when a leader dies.
inline constexpr std::int64_t negligible_lag_bytes = 1024 * 1024;

/// A node that fails to start this often with its settings cannot start with them. A single failure
/// may be an accident, such as a killed process.
inline constexpr int hopeless_restarts = 2;

/// Answers questions about a cluster's nodes from the record and the observations. All three
/// arguments must outlive this object; it reads them anew for each question.
class cluster_look {
public:
  cluster_look(const cluster& known, const cluster_observations& here,
               const fleet_observations& fleet)
      : cluster_(known), here_(here), fleet_(fleet) {}

  [[nodiscard]] const cluster& known() const { return cluster_; }
  [[nodiscard]] const cluster_observations& here() const { return here_; }
  [[nodiscard]] const fleet_observations& fleet() const { return fleet_; }

  [[nodiscard]] bool has_member(const node& n) const {
    return here_.seen.members.contains(n.node_id);
  }
  [[nodiscard]] bool lost(const node& n) const { return fleet_.lost_cells.contains(n.cell); }
  [[nodiscard]] bool leads(const node& n) const { return here_.seen.leads(n.node_id); }
  [[nodiscard]] bool is_synchronous(const node& n) const {
    return here_.seen.synchronous.contains(n.node_id);
  }

  /// Whether the leader runs and is in the record. A leader without a record belongs to another
  /// cluster, or is a mistake: remove nothing because of such a leader.
  [[nodiscard]] bool leader_runs() const {
    return here_.seen.running(here_.seen.leader)
           && cluster_.find_node(here_.seen.leader) != nullptr;
  }
  [[nodiscard]] bool leader_among(const std::vector<node*>& nodes) const {
    return std::ranges::any_of(nodes, [&](const node* n) { return leads(*n); });
  }
  /// Whether there is a leader and all of these nodes run.
  [[nodiscard]] bool all_run(const std::vector<node*>& nodes) const {
    return !here_.seen.leader.empty() && std::ranges::all_of(nodes, [&](const node* n) {
      return here_.seen.running(n->node_id);
    });
  }
  [[nodiscard]] bool any_starts(const std::vector<node*>& nodes) const;

  /// Whether the leader, or the node itself, reports that the node streams.
  [[nodiscard]] bool streams(const node& n) const;
  [[nodiscard]] bool streams_without_lag(const node& n) const;
  /// Whether the node leads or certainly streams. That its database runs is not enough to remove
  /// another node or to report success.
  [[nodiscard]] bool surely_well(const node& n) const;
  /// The ids of those nodes that are not surely well.
  [[nodiscard]] std::vector<std::string> unsure(const std::vector<node*>& nodes) const;

  /// The nodes that may become the leader.
  [[nodiscard]] std::vector<node*> candidates(const std::vector<node*>& nodes) const;

  /// Whether a node that stays is still copying the leader.
  [[nodiscard]] bool a_copy_is_made() const;

  [[nodiscard]] bool starts_in_vain(const node& n) const;
  /// Whether the node's database has ended while settings are being taken up, and may start with
  /// the present ones.
  [[nodiscard]] bool starts_anew(const node& n) const;

  /// Why a started node has to be replaced; empty if it need not be.
  [[nodiscard]] std::string trouble_with(const node& n) const;

  /// Whether a node in phase `removing` may be removed now, in a cluster that stays. A node whose
  /// removal began long ago, on a cell that is back only now, may hold the last copy. `had_leader`
  /// is the record's.
  [[nodiscard]] bool may_be_removed(const node& n, bool had_leader) const;

  /// Whether a failing node has a later timeline than the leader: the node may have acknowledged
  /// writes that the leader does not have.
  [[nodiscard]] bool is_ahead(const node& n) const;

private:
  const cluster& cluster_;
  const cluster_observations& here_;
  const fleet_observations& fleet_;
};

/// Whether this node may take over from the leader: any replica that is well; in a synchronous
/// cluster only a synchronous replica.
[[nodiscard]] bool may_take_over(const cluster& known, const cluster_view& seen,
                                 const std::string& node_id);

} // namespace matriarch::model
