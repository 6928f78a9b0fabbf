#include "base/ending.hpp"

#include <doctest/doctest.h>

#include <thread>

#include <unistd.h>

using namespace matriarch::base;

TEST_CASE("a server ends by a signal or by its first failure") {
  ending by_signal{SIGTERM, SIGUSR1};
  ::kill(::getpid(), SIGUSR1);
  auto cause = by_signal.wait();
  CHECK(cause.signal == SIGUSR1);
  CHECK(cause.why.empty());
  ending by_failure;
  std::thread{[&] {
    by_failure.fail("the first");
    by_failure.fail("the second");
  }}.join();
  CHECK(by_failure.wait().why == "the first");
}

TEST_CASE("an end can be awaited for some time, and is still returned by wait()") {
  ending ended{SIGTERM, SIGUSR1};
  CHECK_FALSE(ended.comes_within(std::chrono::milliseconds{1}));
  ::kill(::getpid(), SIGUSR1);
  CHECK(ended.comes_within(std::chrono::minutes{1}));
  CHECK(ended.wait().signal == SIGUSR1);
}
