#include <doctest/doctest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>

#include "cell/drivers/cgroups.hpp"
#include "cell/drivers/process_driver.hpp"

namespace matriarch::cell {

namespace fs = std::filesystem;

namespace {

std::string text_of_file(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream{path}.rdbuf();
  return text.str();
}

bool soon(const std::function<bool()>& condition) {
  auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{60};
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline)
      return false;
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
  }
  return true;
}

struct folder {
  folder() {
    REQUIRE(::mkdtemp(path.data()) != nullptr);
    ::chmod(path.c_str(), 0777);
  }
  ~folder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  std::string path = "/tmp/matriarch-groups-XXXXXX";
};

} // namespace

TEST_CASE("the kernel kills the process that takes too much memory, and its keeper lives on") {
  system_user user =
      ::geteuid() == 0 ? system_user{"nobody", 65534, 65534, {65534}} : *find_user("");
  auto where =
      place_of_cgroups(text_of_file("/proc/self/mounts"), text_of_file("/proc/self/cgroup"));
  auto tree = where ? cgroup_tree::open(*where, "a test of " + std::to_string(::getpid()), user)
                    : result<cgroup_tree>{failure{where.error()}};
  if (!tree || !tree->can().memory) {
    MESSAGE("skipped: ", tree ? "memory is not limited by groups here" : tree.error());
    return;
  }
  folder home;
  process_driver driver{user, strongest_fencing(), home.path, *tree};
  node_place node{"n1", home.path, {}, {64LL << 20, 64, 0, 0}};
  program what;
  // tail keeps a line until its end, and this line has no end.
  what.arguments = {"/bin/sh", "-c",
                    "( echo 0 > " + driver.walls_of(node).joined_by
                        + " || exit; cat /proc/self/cgroup; head -c 300000000 /dev/zero | tail > "
                          "/dev/null ); echo; echo it lives; sleep 60"};
  what.environment = {"PATH=/usr/bin:/bin"};
  what.directory = home.path;
  what.log = home.path + "/log";
  std::optional<bool> started;
  driver.start(
      node, what,
      [&](const node_run& run) {
        node.run = run;
        return true;
      },
      [&](const result<node_run>& run) { started = run.ok(); });
  REQUIRE(started == true);
  CHECK(soon([&] { return text_of_file(what.log).find("it lives") != std::string::npos; }));
  auto said = text_of_file(what.log);
  CAPTURE(said);
  CHECK(said.find("/limited\n") != std::string::npos);
  CHECK(tree->memory_kills("n1") > 0);
  driver.kill(node);
  CHECK(soon([&] {
    std::optional<node_life> life;
    driver.alive(node, [&](node_life now) { life = now; });
    return !life->alive;
  }));
  INFO("nothing is left of its groups");
  CHECK(soon([&] {
    std::optional<std::size_t> left;
    driver.destroy(node, [&](std::size_t now) { left = now; });
    return left == 0u;
  }));
  CHECK_FALSE(tree->has("n1"));
}

} // namespace matriarch::cell
