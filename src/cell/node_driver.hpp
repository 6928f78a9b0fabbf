#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/processes.hpp"
#include "base/result.hpp"
#include "cell/fencing.hpp"
#include "cell/system_user.hpp"
#include "model/node_limits.hpp"

namespace matriarch::cell {

struct cell_config;

/// A program as an engine wants it to be run: a node's first one, or one that only answers a question.
struct program {
  std::vector<std::string> arguments;   ///< the program first, as an absolute path
  std::vector<std::string> environment; ///< all of it, `NAME=value`
  std::string directory;                ///< its working directory
  std::string log;                      ///< the program's output is appended to it
  /// The only directory of the cell that it sees, where isolation is possible. Empty: it sees what
  /// its user may see.
  std::string own = {};
  /// Files and directories that have to stay visible besides the system's.
  std::vector<std::string> needed = {};
};

/// What a driver needs to find a node's latest start again: kept in the node's record.
struct node_run {
  std::optional<base::process_identity> process;
  fencing kept_by = fencing::none;
  bool isolated = false; ///< it sees no other node's files
};

/// A node's place, by which a driver knows it.
struct node_place {
  std::string node_id;
  std::string directory;
  node_run run;
  model::node_limits limits = {};
};

/// What a node's programs do themselves to stay within its limits.
struct node_walls {
  /// The file to which the children of the node's first process write 0; empty: there is no group
  /// to join.
  std::string joined_by = {};
  /// The most private memory of one process, in bytes; 0: unlimited.
  std::int64_t process_memory = 0;
  /// How many processes and threads its user may have where it runs; 0: any number.
  std::int64_t process_count = 0;
};

/// By what a limit is enforced, in a word: `cgroup`, `rlimit` (of the memory, each process by itself),
/// `measured` or `none`.
struct enforced_limits {
  std::string_view memory = "none";
  std::string_view processes = "none";
  std::string_view cpu = "none";
  std::string_view disk = "none";
};

/// Whether a node's first process runs, and if not, how it ended, where that is known.
struct node_life {
  bool alive = false;
  std::optional<std::string> how = std::nullopt;
};

/// What a driver can do for nodes on this machine, as reported by /healthz.
struct driver_capabilities {
  fencing how = fencing::none;
  /// `mount-namespace`, `none`, …: what keeps a node from seeing the others' files.
  std::string_view isolation;
  enforced_limits limits = {};
};

/// How a cell runs nodes. A driver keeps no state: nodes are found by their records, so that an
/// agent can end and another can carry on. All members are called on the event loop's thread.
/// `then` is called once, on that thread, at once or later.
class node_driver {
public:
  virtual ~node_driver() = default;

  [[nodiscard]] virtual driver_capabilities can() const = 0;
  /// The user that nodes run as, and that owns their files.
  [[nodiscard]] virtual const system_user& user() const = 0;

  /// What a node's programs need to know of its limits; asked before their files are written.
  [[nodiscard]] virtual node_walls walls_of(const node_place& which) const = 0;

  using record_function = std::function<bool(const node_run&)>;
  /// Starts a node. `record` is called before anything runs, to store the run. If `record` fails,
  /// or this program ends before, nothing is started.
  virtual void start(const node_place& which, const program& what, const record_function& record,
                     std::function<void(result<node_run>)> then) = 0;
  /// Looks for what an earlier agent started, and takes it over if it is still there.
  virtual void adopt(const node_place& which, std::function<void(node_life)> then) = 0;
  virtual void alive(const node_place& which, std::function<void(node_life)> then) = 0;
  /// Asks it to end cleanly; may be called again.
  virtual void stop(const node_place& which) = 0;
  virtual void kill(const node_place& which) = 0;
  /// Has it read its configuration again.
  virtual void reload(const node_place& which) = 0;
  /// Removes what is left of a run whose first process is gone. `then` gets how many processes
  /// there were: callers ask again until there are none.
  virtual void destroy(const node_place& which, std::function<void(std::size_t left)> then) = 0;
  /// All its processes, by their pids on this machine.
  [[nodiscard]] virtual std::vector<pid_t> processes_of(const node_place& which) const = 0;

  /// Runs a program that is no node, in the way nodes are run. The run is not recorded: it changes
  /// nothing, and a later agent need not know it.
  [[nodiscard]] virtual result<base::process_identity> run(const program& what) = 0;
  /// Collects its exit status: in words, if it has ended.
  [[nodiscard]] virtual std::optional<std::string>
  end_of(const base::process_identity& process) = 0;
};

/// A driver as the wiring registers it.
class driver_kind {
public:
  driver_kind() = default;
  virtual ~driver_kind() = default;
  driver_kind(const driver_kind&) = delete;
  driver_kind& operator=(const driver_kind&) = delete;

  /// Makes one that runs the nodes of this configuration as that user, with what it needs of this
  /// machine; says in the log what cannot be had here.
  [[nodiscard]] virtual std::unique_ptr<node_driver> make(const cell_config& config,
                                                          const system_user& user) const = 0;
  /// One that only runs programs that answer questions. Nothing of this machine is changed.
  [[nodiscard]] virtual std::unique_ptr<node_driver>
  make_for_questions(const cell_config& config, const system_user& user) const = 0;
};

} // namespace matriarch::cell
