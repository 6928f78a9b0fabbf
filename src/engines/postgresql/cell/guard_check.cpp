#include "engines/postgresql/cell/guard_check.hpp"

#include <signal.h>
#include <unistd.h>

#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/files.hpp"
#include "engines/postgresql/cell/lock_guard.hpp"
#include "engines/postgresql/cell/rest_limits.hpp"
#include "engines/postgresql/cell/settings.hpp"

namespace matriarch::engines::postgresql {

namespace {

using std::chrono::seconds;

// Python loads Patroni's modules in a third of a second; a machine that is booting takes longer.
constexpr seconds longest_guard_check{60};
// The right Patroni may have been installed since.
constexpr seconds guard_check_pause{60};

} // namespace

/// The directory belongs to the agent and is readable for the node, whose Python lists it.
std::optional<std::string> write_guard(const std::string& directory,
                                       const cell::system_user& user) {
  if (auto error = base::make_directory(directory, 0750, {geteuid(), user.gid}))
    return error;
  base::owner nodes_own{user.uid, user.gid};
  if (auto error = base::replace_file(directory + "/" + rest_limits_module + ".py",
                                      rest_limits_text(), nodes_own))
    return error;
  return base::replace_file(directory + "/sitecustomize.py",
                            lock_guard_text() + "\n\nimport " + rest_limits_module + "\n",
                            nodes_own);
}

std::vector<std::string> environment_of(const std::string& home, const std::string& python) {
  return {"PATH=/usr/bin:/bin", "LANG=C.UTF-8", "HOME=" + home, "PYTHONPATH=" + python};
}

guard_check::guard_check(const cell::cell_config& config, cell::node_driver& driver)
    : config_(config), driver_(driver) {}

void guard_check::begin() {
  look_at_ = clock::now() + longest_guard_check;
  auto directory = config_.data_dir + "/guard";
  auto python = directory + "/python";
  base::owner own{geteuid(), getegid()};
  auto failed = base::make_directory(directory, 0711, own);
  if (!failed)
    failed = write_guard(python, driver_.user());
  if (!failed)
    failed = base::replace_file(directory + "/log", "", own);
  if (failed)
    return settle(*failed);
  cell::program what;
  what.arguments = {settings_of(config_).patroni.executable, "--version"};
  what.environment = environment_of("/", python);
  what.environment.push_back(fmt::format("{}=1", lock_guard_check));
  what.directory = std::string{"/"};
  what.log = directory + "/log";
  what.own = directory;
  what.needed = {settings_of(config_).patroni.executable, settings_of(config_).bin_dir};
  auto started = driver_.run(what);
  if (!started)
    return settle(started.error());
  running_ = *started;
}

void guard_check::go_on() {
  auto now = clock::now();
  if (!running_) {
    if (is_ == cell::readiness::refused && now >= look_at_)
      begin();
    return;
  }
  auto how = driver_.end_of(*running_);
  if (!how) {
    if (now >= look_at_)
      base::signal_process(*running_, SIGKILL);
    return;
  }
  running_.reset();
  if (how == fmt::format("exit code {}", lock_guard_holds))
    return settle(std::nullopt);
  auto said = base::read_file(config_.data_dir + "/guard/log");
  auto words = said && *said ? **said : std::string{};
  words = words.substr(0, words.find('\n'));
  if (how != fmt::format("exit code {}", lock_guard_refused))
    words = fmt::format("{} does not load the guard of the leader's key ({}{}{})",
                        settings_of(config_).patroni.executable, *how, words.empty() ? "" : ": ",
                        words);
  settle(words);
}

void guard_check::node_ended(const std::optional<std::string>& how) {
  if (how == fmt::format("exit code {}", lock_guard_refused) && !running_)
    begin();
}

void guard_check::when_known(std::function<void()> then) {
  if (is_ != cell::readiness::unknown)
    return then();
  waiting_.push_back(std::move(then));
}

void guard_check::settle(std::optional<std::string> refusal) {
  auto before = is_;
  is_ = refusal ? cell::readiness::refused : cell::readiness::ready;
  refusal_ = std::move(refusal).value_or("");
  look_at_ = clock::now() + guard_check_pause;
  if (is_ == cell::readiness::refused && before != is_)
    spdlog::error("no nodes are started: {}", refusal_);
  else if (is_ == cell::readiness::ready && before == cell::readiness::refused)
    spdlog::info("nodes are started again: this Patroni can be guarded");
  for (const auto& go_on : std::exchange(waiting_, {}))
    go_on();
}

} // namespace matriarch::engines::postgresql
