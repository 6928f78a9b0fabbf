#include "cell/drivers/cgroups.hpp"

#include <doctest/doctest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "../temporary_directory.hpp"
#include "cell/drivers/process_driver.hpp"

using namespace matriarch;
using namespace matriarch::cell;
namespace fs = std::filesystem;

namespace {

std::string content(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream{path}.rdbuf();
  return text.str();
}

void put(const std::string& path, const std::string& text) {
  fs::create_directories(fs::path{path}.parent_path());
  std::ofstream{path} << text;
}

system_user this_user() {
  return {"me", ::geteuid(), ::getegid(), {}};
}

/// A directory with the files that the kernel would provide.
struct stand_in {
  stand_in() {
    for (const std::string file : {"memory.max", "memory.oom.group", "memory.swap.max", "pids.max",
                                   "cpu.max", "cgroup.procs"})
      put(group() + "/limited/" + file, "");
    put(group() + "/keeper/cgroup.procs", "");
    put(group() + "/cgroup.procs", "");
    put(group() + "/cgroup.controllers", "cpu memory pids\n");
    put(group() + "/cgroup.subtree_control", "");
  }
  [[nodiscard]] std::string group() const { return directory.path() + "/node_n1"; }
  [[nodiscard]] std::string limit(const std::string& file) const {
    return content(group() + "/limited/" + file);
  }

  test::temporary_directory directory;
};

} // namespace

TEST_CASE("this machine's cgroups are found among its mounts") {
  const std::string hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n"
                             "cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n"
                             "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
  auto found = place_of_cgroups(hybrid, "8:pids:/a\n0::/system.slice/cell.service\n");
  REQUIRE(found.ok());
  CHECK(found->mounted_at == "/sys/fs/cgroup/unified");
  CHECK(found->own == "/system.slice/cell.service");
  CHECK(place_of_cgroups("proc /proc proc rw 0 0\n", "0::/\n").error()
        == "no control groups of version 2 are mounted");
  for (const std::string own : {"", "8:pids:/a\n", "0::/../outside\n"})
    CHECK(place_of_cgroups(hybrid, own).error()
          == "this program's own control group cannot be seen from here");
}

TEST_CASE("a node's limits are written for the kernel, which ends one process and not all") {
  stand_in kernel;
  cgroup_tree tree{kernel.directory.path(), {true, true, true}, this_user()};
  CHECK_FALSE(tree.make("n1", {512LL << 20, 300, 150, 0}));
  CHECK(kernel.limit("memory.max") == "536870912");
  CHECK(kernel.limit("memory.swap.max") == "0");
  CHECK(kernel.limit("memory.oom.group") == "0");
  CHECK(kernel.limit("pids.max") == "300");
  CHECK(kernel.limit("cpu.max") == "150000 100000");
  CHECK(content(kernel.group() + "/cgroup.subtree_control").find("+cpu") != std::string::npos);
}

TEST_CASE("unlimited resources and missing controllers are left alone") {
  stand_in kernel;
  cgroup_tree tree{kernel.directory.path(), {true, false, true}, this_user()};
  CHECK_FALSE(tree.make("n1", {0, 300, 0, 0}));
  CHECK(kernel.limit("memory.max") == "max");
  CHECK(kernel.limit("memory.swap.max").empty());
  CHECK(kernel.limit("pids.max").empty());
  CHECK(kernel.limit("cpu.max") == "max 100000");
}

TEST_CASE("a limit that cannot be set is an error") {
  stand_in kernel;
  fs::remove(kernel.group() + "/limited/memory.max");
  cgroup_tree tree{kernel.directory.path(), {true, true, true}, this_user()};
  auto failed = tree.make("n1", {512LL << 20, 0, 0, 0});
  REQUIRE(failed);
  CHECK(failed->find("memory.max") != std::string::npos);
}

TEST_CASE("Patroni has its own group, and its children move to the limited one") {
  stand_in kernel;
  cgroup_tree tree{kernel.directory.path(), {true, true, true}, this_user()};
  REQUIRE_FALSE(tree.make("n1", {512LL << 20, 0, 0, 0}));
  CHECK_FALSE(tree.add_keeper("n1", 4711));
  CHECK(content(kernel.group() + "/keeper/cgroup.procs") == "4711");
  CHECK(tree.joined_by("n1") == kernel.group() + "/limited/cgroup.procs");
  CHECK(tree.add_keeper("n2", 4711)); // a node without groups
}

TEST_CASE("the kernel's count of out-of-memory kills is read") {
  stand_in kernel;
  cgroup_tree tree{kernel.directory.path(), {true, true, true}, this_user()};
  CHECK(tree.memory_kills("n1") == 0);
  put(kernel.group() + "/limited/memory.events", "low 0\nhigh 0\nmax 9\noom 3\noom_kill 2\n");
  CHECK(tree.memory_kills("n1") == 2);
}

TEST_CASE("a node's groups are removed once they are empty") {
  test::temporary_directory directory;
  for (const auto* group : {"/node_n1/keeper", "/node_n1/limited"})
    fs::create_directories(directory.path() + group);
  cgroup_tree tree{directory.path(), {true, true, true}, this_user()};
  CHECK(tree.has("n1"));
  CHECK(tree.remove("n1") == 0);
  CHECK_FALSE(tree.has("n1"));
  CHECK(tree.remove("n1") == 0);
  INFO("a group that cannot be removed yet is not gone");
  stand_in kernel; // its files stay, like those of a group with a process that is still ending
  cgroup_tree busy{kernel.directory.path(), {true, true, true}, this_user()};
  CHECK(busy.remove("n1") == 1);
}

TEST_CASE("a driver tells how it enforces each limit") {
  stand_in kernel;
  node_place limited{"n1", "/d/n1", {}, {512LL << 20, 0, 0, 0}};
  node_place free{"n2", "/d/n2", {}, {}};
  process_driver with{this_user(), fencing::none, "/d",
                      cgroup_tree{kernel.directory.path(), {true, false, true}, this_user()}};
  CHECK(with.can().limits.memory == "cgroup");
  CHECK(with.can().limits.processes == "none");
  CHECK(with.can().limits.cpu == "cgroup");
  CHECK(with.walls_of(limited).joined_by == kernel.group() + "/limited/cgroup.procs");
  CHECK(with.walls_of(limited).process_memory == 256LL << 20);
  CHECK(with.walls_of(free).joined_by.empty());
  CHECK(with.walls_of(free).process_memory == 0);
  process_driver without{this_user(), fencing::none, "/d"};
  CHECK(without.can().limits.memory == "rlimit");
  CHECK(without.can().limits.cpu == "none");
  CHECK(without.walls_of(limited).joined_by.empty());
  CHECK(without.can().limits.processes == "none");
  CHECK(without.walls_of(limited).process_memory == 256LL << 20);
  node_place few{"n3", "/d/n3", {}, {0, 300, 0, 0}};
  CHECK(without.walls_of(few).process_count == 0);
  INFO("a user's processes are counted in its namespace, its keeper's among them");
  process_driver apart{this_user(), fencing::user_namespace, "/d"};
  auto counts = apart.can().limits.processes == "rlimit"; // of this kernel
  CHECK(apart.walls_of(few).process_count == (counts ? 332 : 0));
  CHECK(apart.walls_of(limited).process_count == 0);
  process_driver both{this_user(), fencing::user_namespace, "/d",
                      cgroup_tree{kernel.directory.path(), {true, true, true}, this_user()}};
  CHECK(both.can().limits.processes == "cgroup");
  CHECK(both.walls_of(few).process_count == 0);
}
