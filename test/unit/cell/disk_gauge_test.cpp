#include "cell/disk_gauge.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "../temporary_directory.hpp"
#include "model/node_limits.hpp"

using namespace matriarch;
using namespace matriarch::cell;
using model::megabyte;

namespace {

constexpr std::int64_t plenty = 100'000 * megabyte;
constexpr std::int64_t limit = 1024 * megabyte; // its margin is 64 MB, the smallest

disk_state judged(std::int64_t used, disk_state before = disk_state::roomy) {
  return judge_disk({used * megabyte, plenty, 2 * plenty}, {limit, 256 * megabyte}, before);
}

} // namespace

TEST_CASE("a node stops writing before its disk is full, and its sessions end when it is") {
  CHECK(judged(0) == disk_state::roomy);
  CHECK(judged(959) == disk_state::roomy);
  CHECK(judged(960) == disk_state::nearly_full);
  CHECK(judged(1023) == disk_state::nearly_full);
  CHECK(judged(1024) == disk_state::full);
  CHECK(judged(5000) == disk_state::full);
}

TEST_CASE("a node writes again once a quarter more than its margin is free") {
  for (auto before : {disk_state::nearly_full, disk_state::full}) {
    CHECK(judged(944, before) == disk_state::nearly_full);
    CHECK(judged(943, before) == disk_state::roomy);
    CHECK(judged(1000, before) == disk_state::nearly_full);
  }
}

TEST_CASE("a large disk has a larger margin") {
  constexpr auto large = 100 * limit;
  CHECK(judge_disk({large - large / 20 - 1, plenty, plenty}, {large}, disk_state::roomy)
        == disk_state::roomy);
  CHECK(judge_disk({large - large / 20, plenty, plenty}, {large}, disk_state::roomy)
        == disk_state::nearly_full);
}

TEST_CASE("if the whole file system is nearly full, all of its nodes stop writing") {
  for (auto limited : {std::int64_t{0}, limit}) {
    auto with = [&](std::int64_t free, disk_state before) {
      return judge_disk({0, free * megabyte, plenty}, {limited, 256 * megabyte}, before);
    };
    CHECK(with(257, disk_state::roomy) == disk_state::roomy);
    CHECK(with(256, disk_state::roomy) == disk_state::nearly_full);
    CHECK(with(128, disk_state::roomy) == disk_state::full);
    CHECK(with(300, disk_state::full) == disk_state::nearly_full);
    CHECK(with(321, disk_state::full) == disk_state::roomy);
  }
}

TEST_CASE("of a small file system no more than a twentieth has to stay free, but 64 MB") {
  auto with = [](std::int64_t free, std::int64_t size) {
    return judge_disk({0, free * megabyte, size * megabyte}, {0, 256 * megabyte},
                      disk_state::roomy);
  };
  CHECK(with(101, 2000) == disk_state::roomy);
  CHECK(with(100, 2000) == disk_state::nearly_full);
  CHECK(with(50, 2000) == disk_state::full);
  CHECK(with(65, 400) == disk_state::roomy);
  CHECK(with(64, 400) == disk_state::nearly_full);
  CHECK(with(32, 400) == disk_state::full);
}

TEST_CASE(
    "how full the file system is stops nobody where nothing has to stay free, or it is not known") {
  CHECK(judge_disk({0, 0, plenty}, {limit, 0}, disk_state::roomy) == disk_state::roomy);
  CHECK(judge_disk({0, 0, 0}, {limit, 256 * megabyte}, disk_state::roomy) == disk_state::roomy);
  CHECK(judge_disk({limit, 0, plenty}, {limit, 0}, disk_state::roomy) == disk_state::full);
}

TEST_CASE("what is measured is what files take, however deep, and links are not followed") {
  test::temporary_directory directory;
  auto empty = measure_disk(directory.path());
  CHECK(empty.size > 0);
  CHECK(empty.free <= empty.size);
  namespace fs = std::filesystem;
  fs::create_directories(directory.path() + "/a/b");
  std::ofstream{directory.path() + "/a/b/file"} << std::string(3 * megabyte, 'x') << std::flush;
  test::temporary_directory elsewhere;
  std::ofstream{elsewhere.path() + "/large"} << std::string(8 * megabyte, 'x') << std::flush;
  fs::create_symlink(elsewhere.path(), directory.path() + "/a/link");
  auto now = measure_disk(directory.path());
  CHECK(now.used - empty.used >= 3 * megabyte);
  CHECK(now.used - empty.used < 5 * megabyte);
  // A hole in a file takes no blocks.
  fs::resize_file(directory.path() + "/a/b/file", 1024 * megabyte);
  CHECK(measure_disk(directory.path()).used - empty.used < 5 * megabyte);
  CHECK(measure_disk(directory.path() + "/none").used == 0);
}
