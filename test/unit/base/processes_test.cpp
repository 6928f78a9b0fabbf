#include "base/processes.hpp"

#include <doctest/doctest.h>

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

using namespace matriarch::base;

namespace {

/// A child that waits until it is killed; the destructor removes it completely.
class child {
public:
  explicit child(const char* name = "waits") {
    // A child starts with its parent's name.
    char own_name[16] = {};
    ::prctl(PR_GET_NAME, own_name);
    ::prctl(PR_SET_NAME, name);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (;;)
        ::pause();
    }
    ::prctl(PR_SET_NAME, own_name);
  }
  ~child() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  child(const child&) = delete;
  child& operator=(const child&) = delete;
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] process_identity identity() const {
    return {pid_, start_time_of(pid_).value_or(0), boot_id()};
  }
  /// Kills the child but leaves the zombie.
  void kill() const {
    ::kill(pid_, SIGKILL);
    siginfo_t ended{};
    ::waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOWAIT);
  }

private:
  pid_t pid_ = 0;
};

/// A number without a process: that of a process that has just ended.
pid_t number_of_nobody() {
  auto pid = ::fork();
  if (pid == 0)
    ::_exit(0);
  ::waitpid(pid, nullptr, 0);
  return pid;
}

} // namespace

TEST_CASE("a process is distinguished from one with the same number later or before the boot") {
  child it;
  CHECK(is_alive(it.identity()));
  auto later = it.identity();
  ++later.start_time;
  CHECK_FALSE(is_alive(later));
  signal_process(later, SIGKILL);
  auto before_boot = it.identity();
  before_boot.boot_id = "another";
  CHECK_FALSE(is_alive(before_boot));
  signal_process(before_boot, SIGKILL);
  CHECK(is_alive(it.identity()));
  CHECK_FALSE(is_alive({}));
}

TEST_CASE("a zombie has a start time but does not run") {
  child it;
  auto identity = it.identity();
  CHECK(running_since(it.pid()) == identity.start_time);
  it.kill();
  CHECK_FALSE(is_alive(identity));
  CHECK_FALSE(running_since(it.pid()));
  CHECK(start_time_of(it.pid()) == identity.start_time);
}

TEST_CASE("a process's name may contain the characters that separate its status") {
  child plain;
  child odd{") Z 1 (x) S 2"};
  CHECK(running_since(odd.pid()));
  CHECK(start_time_of(odd.pid()) >= start_time_of(plain.pid()));
}

TEST_CASE("nothing is known of a missing process") {
  auto nobody = number_of_nobody();
  CHECK_FALSE(start_time_of(nobody));
  CHECK_FALSE(running_since(nobody));
  CHECK(arguments_of(nobody).empty());
  CHECK(title_of(nobody).empty());
  CHECK_FALSE(handles_signal(nobody, SIGHUP));
  CHECK_FALSE(pid_namespace_of(nobody));
}

TEST_CASE("all processes are listed, with their arguments and titles") {
  auto all = all_processes();
  CHECK(std::ranges::find(all, ::getpid()) != all.end());
  child it;
  all = all_processes();
  CHECK(std::ranges::find(all, it.pid()) != all.end());
  // A forked child has its parent's arguments.
  auto arguments = arguments_of(it.pid());
  REQUIRE_FALSE(arguments.empty());
  CHECK(arguments == arguments_of(::getpid()));
  CHECK(title_of(it.pid()) == arguments[0].substr(0, 512));
}

TEST_CASE("whether a process handles a signal is seen") {
  CHECK_FALSE(handles_signal(::getpid(), SIGWINCH));
  struct sigaction ours {};
  ours.sa_handler = [](int) {};
  struct sigaction before {};
  ::sigaction(SIGWINCH, &ours, &before);
  CHECK(handles_signal(::getpid(), SIGWINCH));
  CHECK_FALSE(handles_signal(::getpid(), SIGTTOU));
  ::sigaction(SIGWINCH, &before, nullptr);
}

TEST_CASE("a child is in its parent's namespace") {
  child it;
  CHECK(pid_namespace_of(it.pid()));
  CHECK(pid_namespace_of(it.pid()) == pid_namespace_of(::getpid()));
}

TEST_CASE("the boot has an id of one line") {
  CHECK_FALSE(boot_id().empty());
  CHECK(boot_id().find('\n') == std::string::npos);
  CHECK(boot_id() == boot_id());
}
