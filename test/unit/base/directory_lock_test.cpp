#include "base/directory_lock.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "../temporary_directory.hpp"

using namespace matriarch::base;
using namespace std::chrono_literals;
using matriarch::test::temporary_directory;

TEST_CASE("a directory is held by one program at a time") {
  temporary_directory directory;
  const auto& path = directory.path();
  {
    auto first = directory_lock::take(path, "another has it", 0ms);
    REQUIRE(first.ok());
    auto second = directory_lock::take(path, "another has it", 20ms);
    REQUIRE_FALSE(second.ok());
    CHECK(second.error() == "another has it: it holds " + path + "/lock");
    CHECK(directory_lock::is_taken(path));
  }
  CHECK_FALSE(directory_lock::is_taken(path));
  CHECK_FALSE(directory_lock::is_taken(path + " of nobody"));
  CHECK(directory_lock::take(path, "another has it", 0ms).ok());
}

TEST_CASE("a lock can be moved to another owner") {
  temporary_directory directory;
  auto first = directory_lock::take(directory.path(), "another has it", 0ms);
  REQUIRE(first.ok());
  {
    directory_lock owner{*std::move(first)};
    CHECK(directory_lock::is_taken(directory.path()));
  }
  CHECK_FALSE(directory_lock::is_taken(directory.path()));
}

TEST_CASE("taking a lock waits for a predecessor that is just ending") {
  temporary_directory directory;
  const auto& path = directory.path();
  auto first = directory_lock::take(path, "another has it", 0ms);
  REQUIRE(first.ok());
  const auto over = std::chrono::steady_clock::now() + 100ms;
  CHECK_FALSE(directory_lock::take(path, "another has it", 0ms).ok());
  std::thread ends{[held = *std::move(first), over]() mutable {
    directory_lock last{std::move(held)};
    std::this_thread::sleep_until(over);
  }};
  auto next = directory_lock::take(path, "another has it", 60s);
  const auto taken = std::chrono::steady_clock::now();
  ends.join();
  CHECK(next.ok());
  CHECK(taken >= over);
}

TEST_CASE("a missing directory is an error with its name") {
  temporary_directory directory;
  auto none = directory_lock::take(directory.path() + "/missing", "another has it", 0ms);
  REQUIRE_FALSE(none.ok());
  CHECK(none.error()
        == "cannot open " + directory.path() + "/missing/lock: No such file or directory");
}
