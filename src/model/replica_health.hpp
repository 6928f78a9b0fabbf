#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "model/observation.hpp"
#include "model/record.hpp"
#include "model/repair.hpp"

/// Which nodes are well. The rule: a replica is well if it streams from the leader, or gets further
/// while the leader does, or has all that the leader has. That it runs says nothing: a replica whose
/// leader has thrown away what it would need next runs for ever, and never gets a row again.
namespace matriarch::model {

/// What is remembered of a node from one look to the next.
struct node_history {
  std::int64_t timeline = 0; ///< the furthest that it has been seen at: this timeline,
  std::int64_t position = 0; ///< and this position on it
  /// For how long it has run behind the leader without getting on; what it did not run does not
  /// count.
  duration stood_for{0};
  bool stands = false; ///< it has done so for too long
  bool behind = false; ///< at the last look it ran, and was behind
  bool well = true;    ///< at the last look
  bool copies = false; ///< at the last look it got its data
  steady_time looked_at{0};
  steady_time well_since{0};
  /// For how long it has been unwell, in all, since it last was well for long enough.
  duration unwell_for{0};
};

using health_history = std::map<std::string, node_history>; ///< by node id

/// For how long a replica may stay where it is while the leader goes on. A member writes down
/// where a node is every loop_wait, 10 s by default: three of these.
inline constexpr duration longest_standstill = std::chrono::seconds{30};
/// How long the leader's word is waited for, before the position alone decides.
inline constexpr duration longest_wait_for_word = std::chrono::seconds{15};
/// How long a node has to be well before it is forgotten that it was not: one that starts and ends
/// for ever is well now and then.
inline constexpr duration convalescence = std::chrono::seconds{60};

/// What a look goes by besides the record and the members' keys.
struct health_signs {
  steady_time now{0};
  /// `repair.after`: how long a node may be unwell. 0 if it is not known; then none is unhealthy.
  duration after{0};
  /// Who streams, if the leader has just said so; nullptr otherwise.
  const std::map<std::string, std::int64_t>* streaming = nullptr;
};

struct health_verdict {
  health_history history; ///< for the next look
  /// Running nodes that are not well, each with what there is to say to the operator.
  std::map<std::string, std::string> standing;
  /// Nodes that have been unwell for `after`, and are so now.
  std::set<std::string> unhealthy;
  /// Whether the leader should be asked who streams, since a replica seems to stand.
  bool ask_leader = false;
  /// When something changes by time alone.
  std::optional<steady_time> look_again_at;
};

/// `before` is of the last look; empty when the clock restarts, because this broker began to act or
/// etcd came back. Only nodes that are recorded as started are judged.
[[nodiscard]] health_verdict judge_health(const cluster& known, const cluster_view& seen,
                                          const health_history& before, const health_signs& signs);

/// `well`, or what is the matter with a node, for an operator.
[[nodiscard]] std::string health_in_words(const cluster_view& seen, const std::string& node_id);

/// How many of an instance's started nodes are not well. None while an operation is in progress,
/// which says itself what it waits for, except of those that run and do not replicate.
[[nodiscard]] int unwell_nodes(const record& known, const cluster_view& seen);

} // namespace matriarch::model
