#pragma once

#include <optional>

#include "model/observation.hpp"
#include "model/record.hpp"
#include "model/repair.hpp"

/// Detects that no node makes the first data of a new cluster.
///
/// Nodes race for the key `initialize`. The node that creates the key makes the data, and all
/// others wait for a leader. If etcd's answer to that write is lost, or the winner ends before it
/// becomes the leader, the key stays and all nodes wait for ever.
namespace matriarch::model {

/// What is observed of a bootstrap at one moment.
struct bootstrap_signs {
  bool first = false; ///< the cluster is being made: nobody has been promised any of its data yet
  bool initialized = false; ///< the key `initialize` exists
  bool reliable = false;    ///< etcd is reachable, so that a missing key means something
  steady_time now{0};
};

struct bootstrap_verdict {
  std::optional<steady_time> nobody_since; ///< for the next call
  std::optional<steady_time> stuck_since;  ///< likewise
  bool abandoned = false; ///< delete the key `initialize`, so that a node can begin anew
  bool stuck = false;     ///< a node runs but does not become the leader: replace the nodes
  std::optional<steady_time> look_again_at;
};

/// How long no node may be making the data before the key is deleted. A node that has begun says so
/// in its member key within one `loop_wait`, 10 s by default.
constexpr duration bootstrap_patience = std::chrono::seconds{30};

/// How long a node may run without becoming the leader. A node that loses etcd at the wrong moment
/// is started as a replica, and waits for the end of a recovery that never ends.
constexpr duration stuck_patience = std::chrono::seconds{60};

/// Whether the instance's cluster is being made: the first provision is in progress.
[[nodiscard]] bool is_being_made(const record& known);

/// Judges a cluster that is being made. For any other cluster the verdict is empty.
[[nodiscard]] bootstrap_verdict judge_bootstrap(const cluster& known, const cluster_view& seen,
                                                const bootstrap_verdict& before,
                                                const bootstrap_signs& signs);

} // namespace matriarch::model
