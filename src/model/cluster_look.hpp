#pragma once

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include "model/circumstances.hpp"

namespace matriarch::model {

/// How far a replica may be behind and still take over: what is lost at
/// most when a leader dies.
inline constexpr std::int64_t negligible_lag_bytes = 1024 * 1024;

/// A node that fails to start so often with its settings cannot start with them. Once may be an
/// accident: something has killed it.
inline constexpr int hopeless_restarts = 2;

/// What can be said of a cluster's nodes by what is recorded and what is known of them now. It looks
/// at the cluster as it stands whenever it is asked: all three outlive it.
class cluster_look {
public:
  cluster_look(const cluster& known, const cluster_circumstances& here, const surroundings& around)
      : known_(known), here_(here), around_(around) {}

  [[nodiscard]] const cluster& known() const { return known_; }
  [[nodiscard]] const cluster_circumstances& here() const { return here_; }
  [[nodiscard]] const surroundings& around() const { return around_; }

  [[nodiscard]] bool has_member(const node& n) const {
    return here_.seen.members.contains(n.node_id);
  }
  [[nodiscard]] bool lost(const node& n) const { return around_.lost_cells.contains(n.cell); }
  [[nodiscard]] bool leads(const node& n) const { return here_.seen.leads(n.node_id); }
  [[nodiscard]] bool is_synchronous(const node& n) const {
    return here_.seen.synchronous.contains(n.node_id);
  }

  /// A leader that nobody has written down is another cluster's, or a mistake: no reason to give
  /// anything up.
  [[nodiscard]] bool leader_runs() const {
    return here_.seen.running(here_.seen.leader) && known_.find_node(here_.seen.leader) != nullptr;
  }
  [[nodiscard]] bool leader_among(const std::vector<node*>& nodes) const {
    return std::ranges::any_of(nodes, [&](const node* n) { return leads(*n); });
  }
  /// Whether somebody leads, and all of these run.
  [[nodiscard]] bool all_run(const std::vector<node*>& nodes) const {
    return !here_.seen.leader.empty() && std::ranges::all_of(nodes, [&](const node* n) {
      return here_.seen.running(n->node_id);
    });
  }
  [[nodiscard]] bool any_starts(const std::vector<node*>& nodes) const;

  /// As the leader has just said, or the node itself where it tells of it.
  [[nodiscard]] bool streams(const node& n) const;
  [[nodiscard]] bool streams_without_lag(const node& n) const;
  /// Whether it streams for sure, or leads: where a node is given up, or success told, it is not
  /// enough that the others run.
  [[nodiscard]] bool surely_well(const node& n) const;
  /// Those of these that are not surely well, by their ids.
  [[nodiscard]] std::vector<std::string> unsure(const std::vector<node*>& nodes) const;

  /// Those that may lead next.
  [[nodiscard]] std::vector<node*> candidates(const std::vector<node*>& nodes) const;

  /// Whether a node that stays is still copying the leader.
  [[nodiscard]] bool a_copy_is_made() const;

  [[nodiscard]] bool starts_in_vain(const node& n) const;
  /// Whether its database has ended while settings are being taken up, and may start with those
  /// that count now.
  [[nodiscard]] bool starts_anew(const node& n) const;

  /// What is wrong with a node that ought to be well; empty if nothing is.
  [[nodiscard]] std::string trouble_with(const node& n) const;

  /// Whether a node of a cluster that stays may go, if it is to: one that was to go long ago, on a cell
  /// that comes back only now, may hold the last copy. `had_leader` as it is written.
  [[nodiscard]] bool may_be_removed(const node& n, bool had_leader) const;

  /// Nobody asked for this one to go, and it was promoted later than the leader: it may have
  /// acknowledged what the leader never had.
  [[nodiscard]] bool is_ahead(const node& n) const;

private:
  const cluster& known_;
  const cluster_circumstances& here_;
  const surroundings& around_;
};

/// Whether this node may take over from the leader: any that is well, but of a synchronous cluster
/// only a synchronous replica may.
[[nodiscard]] bool may_take_over(const cluster& known, const cluster_view& seen,
                                 const std::string& node_id);

} // namespace matriarch::model
