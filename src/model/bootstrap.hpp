#pragma once

#include <optional>

#include "model/observation.hpp"
#include "model/record.hpp"
#include "model/repair.hpp"

/// Whether somebody makes the first data of a new cluster.
///
/// Nodes race for the key `initialize`; who creates it makes the data, and all others wait
/// for a leader. If etcd's answer to that write is lost, or the winner is gone before it has become
/// the leader, the key stays, and everybody waits for ever.
namespace matriarch::model {

/// What is seen of that at one moment.
struct bootstrap_signs {
  bool first = false;       ///< it is being made: nobody has been promised anything of its data yet
  bool initialized = false; ///< the key `initialize` is there
  bool reliable = false;    ///< etcd is heard, so that silence means something
  steady_time now{0};
};

struct bootstrap_verdict {
  std::optional<steady_time> nobody_since; ///< for the next call
  std::optional<steady_time> stuck_since;  ///< likewise
  bool abandoned = false;                  ///< the key has to go, so that a node can begin anew
  bool stuck = false; ///< a node runs and does not come to lead: others have to take its place
  std::optional<steady_time> look_again_at;
};

/// For how long nobody may make the data before the key is taken away. A node says in its member's
/// key that it has begun once every `loop_wait`, 10 s by default.
constexpr duration bootstrap_patience = std::chrono::seconds{30};

/// For how long a node may run while nobody leads. What it has made is started as a replica if it
/// loses etcd at the wrong moment, and then waits for the end of a recovery that has none.
constexpr duration stuck_patience = std::chrono::seconds{60};

/// Whether the cluster of this instance is being made: its first provision is in progress.
[[nodiscard]] bool is_being_made(const record& known);

/// Judges a cluster that is being made. Of any other it says nothing.
[[nodiscard]] bootstrap_verdict judge_bootstrap(const cluster& known, const cluster_view& seen,
                                                const bootstrap_verdict& before,
                                                const bootstrap_signs& signs);

} // namespace matriarch::model
