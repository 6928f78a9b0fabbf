#include "router/data_dir.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>
#include <string>

#include "../temporary_directory.hpp"
#include "base/directory_lock.hpp"

using namespace matriarch::router;
using namespace std::chrono_literals;
using matriarch::test::temporary_directory;

TEST_CASE("a router makes its directory, and a second router needs another one") {
  temporary_directory here;
  auto data_dir = here.path() + "/router/data";
  auto first = hold_data_dir(data_dir, 0ms);
  REQUIRE(first.ok());
  CHECK(std::filesystem::is_directory(data_dir));
  auto second = hold_data_dir(data_dir, 0ms);
  REQUIRE_FALSE(second.ok());
  CHECK(second.error()
        == "another router works on the same data_dir, and each needs one of its own: it holds "
               + data_dir + "/lock");
}

TEST_CASE("a directory that cannot be made is named") {
  temporary_directory here;
  auto data_dir = here.file("taken", "") + "/data";
  auto none = hold_data_dir(data_dir, 0ms);
  REQUIRE_FALSE(none.ok());
  CHECK(none.error().starts_with(data_dir + " cannot be made: "));
}

TEST_CASE("half-written files of an earlier release are removed once the directory is locked") {
  temporary_directory here;
  here.file("broker.pem", "key");
  auto draft = here.file("broker.pem.draft", "key");
  {
    auto another = matriarch::base::directory_lock::take(here.path(), "a test has it", 0ms);
    REQUIRE(another.ok());
    CHECK_FALSE(hold_data_dir(here.path(), 0ms).ok());
    CHECK(std::filesystem::exists(draft));
  }
  auto lock = hold_data_dir(here.path(), 0ms);
  REQUIRE(lock.ok());
  CHECK_FALSE(std::filesystem::exists(draft));
  CHECK(std::filesystem::exists(here.path() + "/broker.pem"));
}
