#pragma once

#include <functional>
#include <string>
#include <variant>

#include "model/record.hpp"

/// What happened to a service instance: made once, where it is decided, and read by many.
namespace matriarch::model {

/// A request was accepted, and what it asked for is in progress from now on.
struct operation_accepted {
  operation_type type = operation_type::provision;
  std::string operation_id;
  int port = 0; ///< the public one that a new instance got
};
struct operation_ended {
  operation_type type = operation_type::provision;
  std::string operation_id;
  std::string requested_by; ///< the originating identity, or empty
  bool succeeded = false;
  std::string description; ///< what its platform is told
  duration took{};
};
/// A provision that a broker had begun and not answered for is taken back.
struct provision_undone {};
/// Of a new cluster that does not get its first leader.
struct bootstrap_repeated {
  bool with_other_nodes = false; ///< its first node ran and did not come to lead
};
/// It gets parameters that clusters made by now have from the start.
struct parameters_adopted {};
struct repair_changed {
  std::string
      words; ///< what is being repaired, or why it is not; empty: nothing has to be any more
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
  std::string node_id; ///< takes up its new settings
};
struct copy_repeated {
  std::string node_id; ///< copied a leader that leads no more
};
struct port_exchanged {
  int before = 0; ///< that a router cannot open
  int now = 0;
};

using happening = std::variant<operation_accepted, operation_ended, provision_undone,
                               bootstrap_repeated, parameters_adopted, repair_changed,
                               switchover_begun, switchover_failed, restart_begun, copy_repeated,
                               port_exchanged, rebuild_begun, cluster_exchanged, rebuild_ended>;

struct event {
  wall_time at;
  std::string name;        ///< the instance's, in keys
  std::string instance_id; ///< empty once the record is gone
  happening what;
};

/// Hears of every event, on any thread, several at a time; it never waits for anything.
using event_sink = std::function<void(const event&)>;

/// That the operation of this record has ended, or ends with the record itself.
[[nodiscard]] operation_ended end_of(const record& known, bool succeeded, wall_time now);

/// For people, in one line.
[[nodiscard]] std::string words_of(const event& one);
/// Whether an operator should look at it.
[[nodiscard]] bool is_warning(const event& one);

/// `provision`, `update`, `deprovision`.

} // namespace matriarch::model
