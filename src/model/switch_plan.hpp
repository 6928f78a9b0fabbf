#pragma once

#include <string>

#include "model/plan.hpp"

/// Decides how a new cluster replaces the one that serves, beyond what each of the two clusters
/// needs by itself.
///
/// The new cluster is made beside the old one and follows it. Once the new cluster has all data and
/// both are well, the old cluster's nodes stop and their cells confirm it. When the new cluster has
/// replayed their last position, one transaction makes it the cluster that serves and moves the
/// endpoints. Then the new cluster is told to take writes. If the stop is not confirmed in time,
/// the switch is taken back: the stopped nodes run again.
namespace matriarch::model {

/// Clients wait while the nodes stop, but not longer than this. A clean stop ends with a
/// checkpoint.
inline constexpr duration longest_halt = std::chrono::seconds{60};
/// A leader is stopped only if it has just written down all that it holds in memory only, and that took no
/// longer: its stop takes about as long.
inline constexpr duration quick_flush = std::chrono::seconds{15};
inline constexpr duration flush_validity = std::chrono::seconds{10};
/// A follower that gets nothing from its leader may still replay what it copied: one that replays nothing
/// either for so long never will.
inline constexpr duration longest_idle_copy = std::chrono::minutes{5};
/// What a follower has said counts for so long.
inline constexpr duration replay_validity = std::chrono::seconds{10};
/// The nodes that served are kept for so long at most after the switch; less if the new ones lack room.
inline constexpr duration longest_fallback = std::chrono::hours{1};
inline constexpr duration longest_fallback_in_shortage = std::chrono::minutes{5};

/// Adds to the goal of the cluster that serves what a rebuild needs.
void add_rebuild(cluster_goal& living, const record& known);

/// Adds to `next` and `result` what comes next for the clusters beside the one that serves.
/// `living`: the decision for the cluster that serves.
void plan_rebuild(const record& known, const instance_observations& observations,
                  const cluster_decision& living, record& next, decision& result);

/// Where the leader of a cluster listens, `host:port`; empty if nobody leads, or its cell does not say it.
[[nodiscard]] std::string place_of_leader(const cluster& one, const cluster_view& seen);

} // namespace matriarch::model
