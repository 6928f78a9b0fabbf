#pragma once

#include <string>

#include "model/plan.hpp"

/// How a new cluster takes the place of the one that serves: what comes next, on top of what each of the
/// two needs for itself.
///
/// The new one is made beside the other and follows it. Once it has all, and both are well, the nodes of
/// the one that serves stop, and their cells confirm it. When the new one has replayed their last
/// position, one transaction makes it the one that serves, and turns the endpoints; then it is told to
/// take writes. What is not confirmed in time is taken back: the nodes that were stopped run again.
namespace matriarch::model {

/// Clients wait while the nodes stop: no longer than this. A clean stop is a checkpoint's end.
inline constexpr duration longest_halt = std::chrono::seconds{60};
/// A leader is stopped only if it has just written down all that it holds in memory only, and that took no
/// longer: its stop takes about as long.
inline constexpr duration quick_flush = std::chrono::seconds{15};
inline constexpr duration flush_validity = std::chrono::seconds{10};

/// What the cluster that serves shall become, as far as a rebuild asks for something.
void add_rebuild(cluster_goal& living, const record& known);

/// Adds what comes next for the clusters beside the one that serves to `next` and `result`. `living` is
/// what was decided for that one.
void plan_rebuild(const record& known, const circumstances& around, const cluster_decision& living,
                  record& next, decision& result);

/// Where the leader of a cluster listens, `host:port`; empty if nobody leads, or its cell does not say it.
[[nodiscard]] std::string place_of_leader(const cluster& one, const cluster_view& seen);

} // namespace matriarch::model
