#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "model/observation.hpp"
#include "model/record.hpp"
#include "model/repair.hpp"

/// Decides which nodes are well. A replica is well if it streams from the leader, or makes progress
/// while the leader does, or has all that the leader has. A running database alone proves nothing:
/// a replica whose leader has deleted the log it needs next runs for ever without getting another
/// row.
namespace matriarch::model {

/// What is kept about a node from one check to the next.
struct node_history {
  std::int64_t timeline = 0; ///< the furthest point seen: this timeline,
  std::int64_t position = 0; ///< and this position on it
  /// How long the node has run behind the leader without progress. Time in which it did not run
  /// does not count.
  duration stood_for{0};
  bool stands = false; ///< it has stood still for too long
  bool behind = false; ///< at the last check the node ran and was behind
  bool well = true;    ///< at the last check
  bool copies = false; ///< at the last check the node was copying the leader's data
  steady_time looked_at{0};
  steady_time well_since{0};
  /// For how long in total the node has been unwell since it was last well for `convalescence`.
  duration unwell_for{0};
};

using health_history = std::map<std::string, node_history>; ///< by node id

/// How long a replica may stand still while the leader goes on. A node writes its position once
/// every loop_wait, 10 s by default: three of these.
inline constexpr duration longest_standstill = std::chrono::seconds{30};
/// How long to wait for the leader's answer before the position alone decides.
inline constexpr duration longest_wait_for_word = std::chrono::seconds{15};
/// How long a node has to be well before its unwell time is reset: a node that starts and ends
/// again and again is well for short times.
inline constexpr duration convalescence = std::chrono::seconds{60};

/// The input of a check besides the record and the member keys.
struct health_signs {
  steady_time now{0};
  /// `repair.after`: how long a node may be unwell. 0 if unknown: then no node is unhealthy.
  duration after{0};
  /// The replicas that stream, if the leader has just reported them; nullptr otherwise.
  const std::map<std::string, std::int64_t>* streaming = nullptr;
  /// The cluster's halted nodes are meant to be stopped; otherwise they are meant to run again.
  bool meant_to_stop = false;
};

struct health_verdict {
  health_history history; ///< for the next check
  /// Running nodes that are not well, each with the text for the operator.
  std::map<std::string, std::string> standing;
  /// Nodes that are unwell and have been for `after`.
  std::set<std::string> unhealthy;
  /// Ask the leader which replicas stream, since a replica seems to stand still.
  bool ask_leader = false;
  /// When the verdict can change without a new observation.
  std::optional<steady_time> look_again_at;
};

/// `before`: the last check's history; empty if this broker has just become active or etcd has just
/// come back. Only nodes recorded as started are judged.
[[nodiscard]] health_verdict judge_health(const cluster& known, const cluster_view& seen,
                                          const health_history& before, const health_signs& signs);

/// `well`, or what is wrong with a node, for an operator.
[[nodiscard]] std::string health_in_words(const cluster_view& seen, const std::string& node_id);

/// How many of an instance's started nodes are not well. During an operation, whose description
/// says what is missing, only nodes that run without replicating count.
[[nodiscard]] int unwell_nodes(const record& known, const cluster_view& seen);

} // namespace matriarch::model
