#include <doctest/doctest.h>

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <sstream>
#include <thread>

#include "../temporary_directory.hpp"
#include "base/files.hpp"
#include "cell/drivers/process.hpp"

namespace matriarch::cell {

using test::temporary_directory;

namespace {

/// Looks again and again until something holds; false if it does not within half a minute.
template <class Condition>
bool becomes(Condition condition) {
  auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{30};
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline)
      return false;
    std::this_thread::sleep_for(std::chrono::milliseconds{5});
  }
  return true;
}

bool has_ended(const base::process_identity& process) {
  if (base::is_alive(process))
    return false;
  (void)reap(process);
  return true;
}

system_user some_user() {
  if (geteuid() != 0)
    return *find_user("");
  return {"nobody", 65534, 65534, {65534}};
}

launch shell(const temporary_directory& directory, const std::string& script, fencing how) {
  ::chmod(directory.path().c_str(), 0777);
  launch what;
  what.arguments = {"/bin/sh", "-c", script};
  what.environment = {"PATH=/usr/bin:/bin"};
  what.directory = directory.path();
  what.log = directory.path() + "/log";
  what.user = some_user();
  what.how = how;
  return what;
}

bool recorded(const base::process_identity&) {
  return true;
}

std::string log_of(const temporary_directory& directory) {
  auto read = base::read_file(directory.path() + "/log");
  return read.ok() && *read ? **read : "";
}

} // namespace

TEST_CASE("a node's processes are counted by themselves in a user namespace of a newer kernel") {
  CHECK(counts_by_itself(fencing::user_namespace, "5.14.0-1-amd64"));
  CHECK(counts_by_itself(fencing::user_namespace, "6.1.0"));
  CHECK_FALSE(counts_by_itself(fencing::user_namespace, "5.10.0-28-amd64"));
  CHECK_FALSE(counts_by_itself(fencing::user_namespace, "4.19"));
  CHECK_FALSE(counts_by_itself(fencing::user_namespace, ""));
  CHECK_FALSE(counts_by_itself(fencing::pid_namespace, "6.1.0"));
  CHECK_FALSE(counts_by_itself(fencing::none, "6.1.0"));
}

TEST_CASE("a started program runs as its user, in its directory, and writes to its log") {
  temporary_directory directory;
  auto started = start_process(shell(directory, "id -u; pwd; env", strongest_fencing()), recorded);
  REQUIRE_MESSAGE(started.ok(), (started.ok() ? "" : started.error()));
  REQUIRE(becomes([&] { return has_ended(*started); }));
  CHECK(log_of(directory).starts_with(std::to_string(some_user().uid) + "\n" + directory.path()
                                      + "\nP"));
}

TEST_CASE("a process is distinguished from a later one with the same number") {
  temporary_directory directory;
  auto started = start_process(shell(directory, "exec sleep 60", fencing::none), recorded);
  REQUIRE(started.ok());
  CHECK(base::is_alive(*started));
  auto later = *started;
  ++later.start_time;
  CHECK_FALSE(base::is_alive(later));
  base::signal_process(later, SIGKILL);
  auto before_boot = *started;
  before_boot.boot_id = "another";
  CHECK_FALSE(base::is_alive(before_boot));
  CHECK(base::is_alive(*started));
  base::signal_process(*started, SIGKILL);
  CHECK(becomes([&] { return !base::is_alive(*started); }));
  CHECK(reap(*started) == "killed by signal 9");
}

TEST_CASE("a program does not start if it cannot be recorded") {
  temporary_directory directory;
  auto started = start_process(shell(directory, "echo started", fencing::none),
                               [](const base::process_identity&) { return false; });
  CHECK_FALSE(started.ok());
  CHECK(log_of(directory).empty());
}

TEST_CASE("the end of a namespace's first process ends all of its processes") {
  auto how = strongest_fencing();
  if (how == fencing::none)
    return; // this machine allows no namespaces; the cell says so in /healthz
  temporary_directory directory;
  // The inner process leaves its session, as PostgreSQL does. $! is its number in the namespace.
  auto started = start_process(
      shell(directory, "setsid sh -c 'echo here; exec sleep 60' & wait", how), recorded);
  REQUIRE(started.ok());
  REQUIRE(becomes([&] { return log_of(directory) == "here\n"; }));
  base::signal_process(*started, SIGKILL);
  REQUIRE(becomes([&] { return has_ended(*started); }));
  CHECK(kill_all_below(directory.path(), some_user().uid) == 0);
}

TEST_CASE("in a namespace a program finds its own part of a hidden directory, and no more") {
  auto how = strongest_fencing();
  if (how == fencing::none)
    return; // no namespaces here; /healthz says so
  temporary_directory directory;
  auto upper = directory.path() + "/d";
  for (const auto& name : {upper, upper + "/n", upper + "/n/mine", upper + "/n/others"})
    REQUIRE(::mkdir(name.c_str(), 0777) == 0);
  for (const auto* name : {"/d/secret", "/d/n/mine/own", "/d/n/others/secret"})
    REQUIRE_FALSE(base::replace_file(directory.path() + name, "text\n", {some_user().uid, 0}));
  auto what = shell(directory,
                    "cat " + upper + "/n/mine/own; echo new > " + upper + "/n/mine/new; cat "
                        + upper + "/secret " + upper + "/n/others/secret || ls /dev/shm",
                    how);
  ::chmod((upper + "/n/mine").c_str(), 0777);
  what.hidden = upper;
  what.shown = upper + "/n/mine";
  what.directory = what.shown;
  auto started = start_process(what, recorded);
  REQUIRE(started.ok());
  REQUIRE(becomes([&] { return has_ended(*started); }));
  auto said = log_of(directory);
  CAPTURE(said);
  CHECK(said.starts_with("text\n"));
  CHECK(said.find("text", 1) == std::string::npos);
  // Its writes are visible outside, and hidden files still exist.
  CHECK(base::read_file(upper + "/n/mine/new")->has_value());
  CHECK(base::names_in(upper) == std::vector<std::string>{"n", "secret"});
  CHECK(base::names_in(upper + "/n") == std::vector<std::string>{"mine", "others"});
}

TEST_CASE("in a namespace shared memory has the node's limit") {
  auto how = strongest_fencing();
  if (how == fencing::none)
    return; // without a namespace shared memory is the machine's
  temporary_directory directory;
  auto what = shell(directory, "stat -f -c '%b %S' /dev/shm", how);
  what.shared_memory = 8 * 1024 * 1024;
  auto started = start_process(what, recorded);
  REQUIRE(started.ok());
  REQUIRE(becomes([&] { return has_ended(*started); }));
  std::istringstream said{log_of(directory)};
  long blocks = 0, size = 0;
  said >> blocks >> size;
  CHECK(blocks * size == what.shared_memory);
}

TEST_CASE("without a namespace remaining processes are found by their working directory") {
  temporary_directory directory;
  auto started = start_process(
      shell(directory, "setsid sh -c 'echo here; exec sleep 60' & wait", fencing::none), recorded);
  REQUIRE(started.ok());
  REQUIRE(becomes([&] { return log_of(directory) == "here\n"; }));
  base::signal_process(*started, SIGKILL);
  REQUIRE(becomes([&] { return has_ended(*started); }));
  CHECK(kill_all_below(directory.path() + "x", some_user().uid) == 0);
  CHECK(kill_all_below(directory.path(), some_user().uid + 1) == 0);
  CHECK(kill_all_below(directory.path(), some_user().uid) == 1);
  CHECK(becomes([&] { return kill_all_below(directory.path(), some_user().uid) == 0; }));
}

TEST_CASE("a program that cannot be run says so") {
  temporary_directory directory;
  auto what = shell(directory, "", fencing::none);
  what.arguments = {"/nonexistent"};
  auto started = start_process(what, recorded);
  REQUIRE(started.ok());
  REQUIRE(becomes([&] { return !base::is_alive(*started); }));
  CHECK(reap(*started) == "its program could not be run");
}

TEST_CASE("an unknown user and root are refused") {
  CHECK_FALSE(find_user("no-such-user-here").ok());
  CHECK_FALSE(find_user("root").ok());
}

} // namespace matriarch::cell
