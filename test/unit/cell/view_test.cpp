#include "cell/drivers/view.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>

#include "../temporary_directory.hpp"

using namespace matriarch;
using namespace matriarch::cell;

namespace {

bool covers(const machine_view& view, const std::string& path) {
  return std::ranges::find(view.covered, path) != view.covered.end();
}

const std::vector<std::string> programs{"/usr/bin/patroni", "/usr/lib/postgresql/15/bin"};

} // namespace

TEST_CASE("a node's view has only what the system needs") {
  auto view = view_of_node("/var/lib/matriarch", programs);
  CHECK(view.around_own == "/var");
  for (const auto* hidden : {"/root", "/home", "/tmp", "/srv", "/opt", "/mnt", "/etc/cron.d"})
    if (std::filesystem::is_directory(hidden))
      CHECK_MESSAGE(covers(view, hidden), hidden);
  for (const auto* shown : {"/", "/usr", "/lib", "/bin", "/etc", "/dev", "/proc", "/sys", "/run",
                            "/etc/ssl", "/etc/ssl/certs", "/etc/alternatives", "/var"})
    CHECK_MESSAGE(!covers(view, shown), shown);
}

TEST_CASE("a node does not see the machine's private keys, although Debian's postgres user may") {
  if (std::filesystem::is_directory("/etc/ssl/private"))
    CHECK(covers(view_of_node("/var/lib/matriarch", programs), "/etc/ssl/private"));
}

TEST_CASE("a node sees Patroni and PostgreSQL, but no other node's directory") {
  auto view = view_of_node("/home/matriarch", {"/home/patroni/bin/patroni", programs[1]});
  CHECK_FALSE(covers(view, "/home"));
  CHECK(view.around_own == "/home/matriarch");
}

TEST_CASE("a directory behind a link is shown under its real path") {
  test::temporary_directory here;
  std::filesystem::create_directories(here.path() + "/real/data");
  std::filesystem::create_directory_symlink(here.path() + "/real", here.path() + "/link");
  CHECK(real_path(here.path() + "/link/data") == here.path() + "/real/data");
  CHECK(real_path(here.path() + "/link/none") == here.path() + "/real/none");
}
