#include "cell/drivers/process_driver.hpp"

#include <signal.h>
#include <sys/utsname.h>

#include <fstream>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/processes.hpp"
#include "cell/drivers/view.hpp"

namespace matriarch::cell {

namespace {

/// When the kernel must kill a process of a node for lack of memory, the node's first process and
/// its server come last; the server's children have the usual score.
constexpr std::string_view last_to_be_ended = "-900";

/// Its keeper's threads, and what that runs beside its server, are counted with it.
constexpr std::int64_t keepers_own = 32;

std::string kernel_release() {
  struct utsname names {};
  return ::uname(&names) == 0 ? names.release : "";
}

void protect(pid_t pid) {
  // Only root may do this.
  std::ofstream{fmt::format("/proc/{}/oom_score_adj", pid)} << last_to_be_ended;
}

} // namespace

process_driver::process_driver(system_user user, fencing how, std::string data_dir,
                               std::optional<cgroup_tree> groups)
    : user_(std::move(user)), how_(how), counts_by_itself_(counts_by_itself(how, kernel_release())),
      data_dir_(std::move(data_dir)), groups_(std::move(groups)) {}

driver_capabilities process_driver::can() const {
  auto groups = groups_ ? groups_->can() : cgroup_tree::limited{};
  driver_capabilities all{how_, how_ == fencing::none ? "none" : "mount-namespace"};
  // How many processes there are the kernel counts by user and user namespace, and all nodes are one
  // user's; no limit of a process keeps others from a processor.
  all.limits = {groups.memory ? "cgroup" : "rlimit",
                groups.processes    ? "cgroup"
                : counts_by_itself_ ? "rlimit"
                                    : "none",
                groups.cpu ? "cgroup" : "none", "measured"};
  return all;
}

bool process_driver::has_group(const node_place& which) const {
  const auto& limits = which.limits;
  return groups_ && (limits.memory > 0 || limits.processes > 0 || limits.cpu > 0);
}

node_walls process_driver::walls_of(const node_place& which) const {
  node_walls walls;
  if (has_group(which))
    walls.joined_by = groups_->joined_by(which.node_id);
  // Half of the limit, with a control group too: a process that asks for too much gets an error and
  // goes on, while the group would kill a process, and the server would restart.
  walls.process_memory = which.limits.memory / 2;
  if (which.limits.processes > 0 && counts_by_itself_ && !(groups_ && groups_->can().processes))
    walls.process_count = which.limits.processes + keepers_own;
  return walls;
}

launch process_driver::launch_of(const program& what) const {
  launch made;
  made.arguments = what.arguments;
  made.environment = what.environment;
  made.directory = what.directory;
  made.log = what.log;
  made.user = user_;
  made.how = how_;
  if (what.own.empty())
    return made;
  auto view = view_of_node(real_path(data_dir_), what.needed);
  made.hidden = std::move(view.around_own);
  made.covered = std::move(view.covered);
  made.shown = real_path(what.own);
  return made;
}

void process_driver::start(const node_place& which, const program& what,
                           const record_function& record,
                           std::function<void(result<node_run>)> then) {
  node_run run{std::nullopt, how_, how_ != fencing::none};
  auto grouped = has_group(which);
  if (grouped)
    if (auto error = groups_->make(which.node_id, which.limits))
      return then(failure{*error});
  auto launched = launch_of(what);
  launched.shared_memory = which.limits.memory;
  auto started = start_process(launched, [&](const base::process_identity& identity) {
    run.process = identity;
    if (grouped)
      if (auto error = groups_->add_keeper(which.node_id, identity.pid)) {
        spdlog::error("node {}: {}", which.node_id, *error);
        return false;
      }
    if (which.limits.memory > 0)
      protect(identity.pid);
    return record(run);
  });
  then(started ? result<node_run>{run} : result<node_run>{failure{started.error()}});
}

void process_driver::adopt(const node_place& which, std::function<void(node_life)> then) {
  then({which.run.process && base::is_alive(*which.run.process)});
}

void process_driver::alive(const node_place& which, std::function<void(node_life)> then) {
  const auto& process = which.run.process;
  if (process && base::is_alive(*process))
    return then({true});
  then({false, process ? reap(*process) : std::nullopt});
}

void process_driver::signal(const node_place& which, int number) {
  if (which.run.process)
    base::signal_process(*which.run.process, number);
}

void process_driver::stop(const node_place& which) {
  signal(which, SIGTERM);
}

void process_driver::kill(const node_place& which) {
  signal(which, SIGKILL);
}

void process_driver::reload(const node_place& which) {
  signal(which, SIGHUP);
}

/// In a namespace nothing outlives the first process for longer than a moment.
void process_driver::destroy(const node_place& which, std::function<void(std::size_t left)> then) {
  std::size_t left = 0;
  if (which.run.process && which.run.kept_by == fencing::none)
    left = kill_all_below(which.directory, user_.uid);
  // Its limits may have been removed from the plan while its group still exists.
  if (left == 0 && groups_)
    left = groups_->remove(which.node_id);
  then(left);
}

std::vector<pid_t> process_driver::processes_of(const node_place& which) const {
  if (!which.run.process)
    return {};
  return which.run.kept_by == fencing::none ? processes_below(which.directory, user_.uid)
                                            : processes_beside(*which.run.process);
}

result<base::process_identity> process_driver::run(const program& what) {
  return start_process(launch_of(what), [](const base::process_identity&) { return true; });
}

std::optional<std::string> process_driver::end_of(const base::process_identity& process) {
  if (base::is_alive(process))
    return std::nullopt;
  return reap(process).value_or("it ended");
}

} // namespace matriarch::cell
