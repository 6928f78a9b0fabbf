#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/event_loop.hpp"
#include "base/files.hpp"
#include "cell/node_driver.hpp"
#include "engines/postgresql/cell/settings_check.hpp"
#include "store/lifetime.hpp"

namespace matriarch::engines::postgresql {

/// Finds out which PostgreSQL is installed and whether it would start with a plan's settings:
/// PostgreSQL itself reads them, as the nodes' user, and exits before it opens anything. What an
/// extension checks when it is loaded, and whether there is enough memory, shows only when a node
/// starts.
///
/// Runs one program at a time, each for some seconds at most, without blocking. Results are
/// remembered until PostgreSQL's program changes. Everything happens on the event loop's thread.
class settings_judge {
public:
  /// How PostgreSQL's programs are started.
  struct fleet_observations {
    std::string bin_dir;
    std::string directory; ///< the judge's own; made if missing
    cell::node_driver* driver;
    std::vector<std::string> environment;
    bool hides = true;   ///< of the cell's files the program sees only that directory
    bool silent = false; ///< logs nothing
    std::vector<std::string> needed =
        {}; ///< paths that the program can see nevertheless, as a node does
  };
  struct judgement {
    installed_postgresql has;
    plans_faults faults;
    plans_unjudged unjudged = {}; ///< PostgreSQL's messages about none of a plan's parameters
  };
  using answer_function = std::function<void(const result<judgement>&)>;

  settings_judge(fleet_observations with, base::event_loop& loop);

  /// Calls `then` with the result or the failure, after this call returns and within half a minute.
  /// If a check takes longer, it continues and is done by the next question.
  void ask(plans_parameters plans, answer_function then);

  /// Checks whether PostgreSQL's program was replaced.
  void look();

  /// PostgreSQL's version as last seen; empty before that.
  [[nodiscard]] const std::string& version() const { return has_.version; }

private:
  using clock = std::chrono::steady_clock;
  /// How a program ended.
  struct end {
    std::string how;
    std::string printed;
    [[nodiscard]] bool well() const { return how == "exit code 0"; }
  };
  struct running_program {
    base::process_identity process;
    clock::time_point until;
    std::function<void(const end&)> then;
  };
  /// The result for one plan's settings.
  struct verdict {
    std::vector<settings_fault> faults = {};
    std::string unjudged = {}; ///< why some settings could not be judged; empty if all were
    [[nodiscard]] bool good() const { return faults.empty() && unjudged.empty(); }
  };
  struct question {
    plans_parameters plans;
    answer_function then;
    clock::time_point until;
  };

  void go_on();
  void learn(const std::string& fingerprint);
  void learn_libraries(const std::string& library_dir, const std::string& fingerprint);
  void try_settings(const cell::engine_parameters& parameters, verdict so_far,
                    const std::string& asked_as);
  void answer_first();
  void fail_first(const std::string& why);
  void fail_all(const std::string& why);
  void run(std::vector<std::string> arguments, std::function<void(const end&)> then);
  void watch();
  [[nodiscard]] std::string path_of(const char* name) const;

  fleet_observations with_;
  base::event_loop& loop_;
  std::string fingerprint_; ///< of the program that the following members describe
  installed_postgresql has_;
  /// Results by the text of the postgresql.conf.
  std::map<std::string, verdict> judged_;
  std::deque<question> questions_;
  std::optional<running_program> running_;
  store::lifetime life_;
};

} // namespace matriarch::engines::postgresql
