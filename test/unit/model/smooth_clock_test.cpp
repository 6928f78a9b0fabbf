#include "model/smooth_clock.hpp"

#include <doctest/doctest.h>

using namespace matriarch::model;
using namespace std::chrono_literals;

namespace {

/// A system's two clocks, and the smooth one that reads them.
struct clocks {
  std::chrono::steady_clock::time_point steady{1'000s};
  std::chrono::system_clock::time_point system{1'700'000'000s};
  smooth_clock smooth;

  void pass(std::chrono::milliseconds time) {
    steady += time;
    system += time;
  }
  [[nodiscard]] std::chrono::milliseconds off() {
    return std::chrono::duration_cast<std::chrono::milliseconds>(smooth.read(steady, system)
                                                                 - system);
  }
};

} // namespace

TEST_CASE("without a correction the smooth clock shows the system's time") {
  clocks c;
  CHECK(c.off() == 0ms);
  for (int i = 0; i < 1'000; ++i) {
    c.pass(7ms);
    REQUIRE(c.off() == 0ms);
  }
}

TEST_CASE("a clock that is set by an hour is followed slowly") {
  for (auto step : {std::chrono::milliseconds{1h}, -std::chrono::milliseconds{1h}}) {
    clocks c;
    auto before = c.smooth.read(c.steady, c.system);
    c.system += step;
    CHECK(c.smooth.read(c.steady, c.system) == before);
    c.pass(10min);
    CHECK(c.smooth.read(c.steady, c.system) == before + 10min + (step > 0s ? 1min : -1min));
    // The result does not depend on how often the clock is read.
    for (int i = 0; i < 600; ++i) {
      c.pass(1s);
      static_cast<void>(c.smooth.read(c.steady, c.system));
    }
    CHECK(c.off() == -step + (step > 0s ? 2min : -2min));
    c.pass(10h);
    CHECK(c.off() == 0ms);
  }
}

TEST_CASE("time never goes backwards") {
  clocks c;
  auto last = c.smooth.read(c.steady, c.system);
  for (int i = 0; i < 200; ++i) {
    c.system += (i % 3 - 1) * 40min;
    c.pass(50ms);
    auto now = c.smooth.read(c.steady, c.system);
    REQUIRE(now >= last);
    last = now;
  }
}
