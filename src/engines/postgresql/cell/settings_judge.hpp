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

/// Finds out which PostgreSQL there is and whether it would start with a plan's settings: PostgreSQL
/// itself reads them, as the user that nodes run as, and ends before it opens anything. What an
/// extension decides when it is loaded, and whether there is enough memory, shows at a node's start
/// only.
///
/// One program runs at a time, none of them for longer than seconds, and nobody is waited for. What
/// PostgreSQL has said is remembered until its program is another one. Everything happens on the event
/// loop's thread.
class settings_judge {
public:
  /// How PostgreSQL's programs are started.
  struct surroundings {
    std::string bin_dir;
    std::string directory; ///< of the judge's own; it is made if it is not there
    cell::node_driver* driver;
    std::vector<std::string> environment;
    bool hides = true;   ///< the program sees nothing of the cell's but that directory
    bool silent = false; ///< nothing is logged
    std::vector<std::string> needed = {}; ///< paths that it sees all the same, as a node does
  };
  struct judgement {
    installed_postgresql has;
    plans_faults faults;
    plans_unjudged unjudged =
        {}; ///< what PostgreSQL says that is about none of a plan's parameters
  };
  using answer_function = std::function<void(const result<judgement>&)>;

  settings_judge(surroundings with, base::event_loop& loop);

  /// Answers when all is known, or why it cannot be; not before this returns, and within half a minute. What
  /// takes longer has gone on by the next time it is asked.
  void ask(plans_parameters plans, answer_function then);

  /// Looks whether PostgreSQL's program is another one by now.
  void look();

  /// Of PostgreSQL, as last seen; empty until it is.
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
  /// On one plan's settings.
  struct verdict {
    std::vector<settings_fault> faults = {};
    std::string unjudged = {}; ///< why the rest could not be judged; empty if it was
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

  surroundings with_;
  base::event_loop& loop_;
  std::string fingerprint_; ///< of the program that the following is said of
  installed_postgresql has_;
  /// What is wrong with settings, by the text of their postgresql.conf.
  std::map<std::string, verdict> judged_;
  std::deque<question> questions_;
  std::optional<running_program> running_;
  store::lifetime life_;
};

} // namespace matriarch::engines::postgresql
