#pragma once

#include <functional>
#include <string>
#include <variant>

#include "model/record.hpp"

/// What happened to a service instance. An event is made once, where the decision is made, and goes
/// to several sinks.
namespace matriarch::model {

/// A request was accepted; its operation is in progress from now on.
struct operation_accepted {
  operation_type type = operation_type::provision;
  std::string operation_id;
  int port = 0; ///< the public port of a new instance
};
struct operation_ended {
  operation_type type = operation_type::provision;
  std::string operation_id;
  std::string requested_by; ///< the originating identity, or empty
  bool succeeded = false;
  std::string description; ///< the description that the platform gets
  duration took{};
};
/// A provision that a broker began and never answered is taken back.
struct provision_undone {};
/// A new cluster gets no first leader, and its bootstrap begins again.
struct bootstrap_repeated {
  bool with_other_nodes = false; ///< its first node ran but did not become the leader
};
/// An older cluster gets parameters that new clusters have from the start.
struct parameters_adopted {};
struct repair_changed {
  std::string words; ///< what is being repaired, or why it is not; empty: the repair is over
};
struct switchover_begun {
  std::string from;
  std::string to;
};
struct switchover_failed {
  std::string why;
};
/// A new cluster is made beside the one that serves.
struct rebuild_begun {
  std::string id;
  std::string scope; ///< the new one's
};
/// The new cluster serves from now on.
struct cluster_exchanged {
  std::string from;
  std::string to;
};
struct rebuild_ended {
  std::string id;
  bool succeeded = false;
  std::string why; ///< if it did not succeed
};
struct restart_begun {
  std::string node_id; ///< the node that restarts with its new settings
};
struct copy_repeated {
  /// The node whose copy begins again, since the leader that it copied leads no more.
  std::string node_id;
};
struct port_exchanged {
  int before = 0; ///< a router cannot open this port
  int now = 0;
};

using happening = std::variant<operation_accepted, operation_ended, provision_undone,
                               bootstrap_repeated, parameters_adopted, repair_changed,
                               switchover_begun, switchover_failed, restart_begun, copy_repeated,
                               port_exchanged, rebuild_begun, cluster_exchanged, rebuild_ended>;

struct event {
  wall_time at;
  std::string name;        ///< the instance's name in keys
  std::string instance_id; ///< empty once the record is gone
  happening what;
};

/// Called with every event, from any thread, also concurrently; must not block.
using event_sink = std::function<void(const event&)>;

/// The event of this record's operation ending, also if the record is removed by it.
[[nodiscard]] operation_ended end_of(const record& known, bool succeeded, wall_time now);

/// The event in one line, for people.
[[nodiscard]] std::string words_of(const event& one);
/// Whether the event needs an operator's attention.
[[nodiscard]] bool is_warning(const event& one);


} // namespace matriarch::model
