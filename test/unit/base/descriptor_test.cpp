#include "base/descriptor.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <optional>
#include <utility>

using namespace matriarch::base;

namespace {

bool is_open(int number) {
  return ::fcntl(number, F_GETFD) >= 0;
}

} // namespace

TEST_CASE("a descriptor is closed once, by its last owner") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  descriptor writer{ends[1]};
  std::optional<descriptor> reader{ends[0]};
  {
    descriptor owner{std::move(*reader)};
    CHECK(owner == ends[0]);
    reader.reset();
    CHECK(is_open(ends[0]));
  }
  CHECK_FALSE(is_open(ends[0]));
  CHECK(is_open(ends[1]));
}

TEST_CASE("waiting ends when the descriptor is ready, or at the deadline") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  descriptor reader{ends[0]};
  descriptor writer{ends[1]};
  auto now = std::chrono::steady_clock::now();
  CHECK_FALSE(wait_for(reader, POLLIN, now));
  CHECK(wait_for(writer, POLLOUT, now));
  REQUIRE(::write(writer, "x", 1) == 1);
  CHECK(wait_for(reader, POLLIN, now));
}
