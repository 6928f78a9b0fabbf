#include "cell/drivers/process_driver.hpp"

#include <signal.h>

#include <utility>

#include "base/processes.hpp"
#include "cell/drivers/view.hpp"

namespace matriarch::cell {

process_driver::process_driver(system_user user, fencing how, std::string data_dir)
    : user_(std::move(user)), how_(how), data_dir_(std::move(data_dir)) {}

driver_capabilities process_driver::can() const {
  return {how_, how_ == fencing::none ? "none" : "mount-namespace"};
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

void process_driver::start(const node_place& /*which*/, const program& what,
                           const record_function& record,
                           std::function<void(result<node_run>)> then) {
  node_run run{std::nullopt, how_, how_ != fencing::none};
  auto started = start_process(launch_of(what), [&](const base::process_identity& identity) {
    run.process = identity;
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

/// In a namespace nothing outlives the first process.
void process_driver::destroy(const node_place& which, std::function<void(std::size_t left)> then) {
  if (!which.run.process || which.run.kept_by != fencing::none)
    return then(0);
  then(kill_all_below(which.directory, user_.uid));
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
