#include "cell/drivers/process_driver.hpp"

#include <doctest/doctest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "../temporary_directory.hpp"
#include "base/files.hpp"

using namespace matriarch;
using namespace matriarch::cell;

namespace {

/// A driver with one node, which is a shell script.
struct driven {
  explicit driven(fencing how)
      : driver(geteuid() == 0 ? system_user{"nobody", 65534, 65534, {65534}} : *find_user(""), how,
               directory.path()) {
    ::chmod(directory.path().c_str(), 0777);
    node.node_id = "n1";
    node.directory = directory.path();
  }

  result<node_run> start(const std::string& script, bool recorded = true) {
    program what;
    what.arguments = {"/bin/sh", "-c", script};
    what.environment = {"PATH=/usr/bin:/bin"};
    what.directory = directory.path();
    what.log = directory.path() + "/log";
    std::optional<result<node_run>> came;
    driver.start(
        node, what,
        [&](const node_run& run) {
          node.run = run;
          return recorded;
        },
        [&](result<node_run> run) { came = std::move(run); });
    return *came;
  }

  node_life life() {
    std::optional<node_life> came;
    driver.alive(node, [&](node_life now) { came = now; });
    return *came;
  }

  std::size_t left() {
    std::optional<std::size_t> came;
    driver.destroy(node, [&](std::size_t now) { came = now; });
    return *came;
  }

  std::string said() {
    auto read = base::read_file(directory.path() + "/log");
    return read.ok() && *read ? **read : "";
  }

  test::temporary_directory directory;
  process_driver driver;
  node_place node;
};

/// Looks again and again until something holds; false if it does not within half a minute.
bool comes_true(const std::function<bool()>& condition) {
  auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{30};
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline)
      return false;
    std::this_thread::sleep_for(std::chrono::milliseconds{5});
  }
  return true;
}

/// Prints a line once it handles the signal.
const std::string patient = "trap 'exit 7' TERM; echo here; while :; do sleep 0.05; done";

} // namespace

TEST_CASE("the next driver adopts a node, stops it and reports its end") {
  driven one{strongest_fencing()};
  REQUIRE(one.start(patient).ok());
  REQUIRE(comes_true([&] { return one.said() == "here\n"; }));
  process_driver next{one.driver.user(), one.driver.can().how, one.directory.path()};
  std::optional<node_life> adopted;
  next.adopt(one.node, [&](node_life life) { adopted = life; });
  REQUIRE(adopted);
  CHECK(adopted->alive);
  CHECK_FALSE(next.processes_of(one.node).empty());
  next.stop(one.node);
  node_life life{true};
  REQUIRE(comes_true([&] {
    life = one.life();
    return !life.alive;
  }));
  CHECK(life.how == "exit code 7");
  CHECK(one.left() == 0);
}

TEST_CASE("killing a node leaves no process behind") {
  for (auto how : {strongest_fencing(), fencing::none}) {
    driven one{how};
    REQUIRE(one.start("trap '' TERM; setsid sh -c 'echo here; exec sleep 60' & wait").ok());
    REQUIRE(comes_true([&] { return one.said() == "here\n"; }));
    one.driver.kill(one.node);
    REQUIRE(comes_true([&] { return !one.life().alive; }));
    CHECK(comes_true([&] { return one.left() == 0; }));
    CHECK(comes_true([&] { return one.driver.processes_of(one.node).empty(); }));
  }
}

TEST_CASE("a driver starts no node that cannot be recorded") {
  driven one{fencing::none};
  CHECK_FALSE(one.start("echo started", false).ok());
  CHECK(one.said().empty());
}

TEST_CASE("the end of a program that is no node is reported") {
  driven one{fencing::none};
  program what;
  what.arguments = {"/bin/sh", "-c", "exit 3"};
  what.directory = "/";
  what.log = one.directory.path() + "/log";
  auto running = one.driver.run(what);
  REQUIRE(running.ok());
  std::optional<std::string> how;
  REQUIRE(comes_true([&] {
    how = one.driver.end_of(*running);
    return how.has_value();
  }));
  CHECK(how == "exit code 3");
}
