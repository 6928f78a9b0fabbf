#include "model/ports.hpp"

#include <doctest/doctest.h>

using namespace matriarch::model;
using namespace std::chrono_literals;

namespace {

const wall_time now{1'000'000s};
const port_range range{100, 103, 60s};

port_use held() {
  return {"someone", std::nullopt, 1};
}
port_use resting_for(duration since) {
  return {"someone", now - since, 1};
}

} // namespace

TEST_CASE("the first port from the starting point is chosen") {
  CHECK(choose_port(range, {}, 100, now) == 100);
  CHECK(choose_port(range, {}, 102, now) == 102);
}

TEST_CASE("a held port is passed over") {
  CHECK(choose_port(range, {{100, held()}, {101, held()}}, 100, now) == 102);
}

TEST_CASE("a resting port is passed over until its rest is over") {
  CHECK(choose_port(range, {{100, resting_for(59'999ms)}}, 100, now) == 101);
  CHECK(choose_port(range, {{100, resting_for(60s)}}, 100, now) == 100);
}

TEST_CASE("the search goes round to the beginning of the range") {
  CHECK(choose_port(range, {{103, held()}}, 103, now) == 100);
  CHECK(choose_port(range, {{102, held()}, {103, held()}, {100, held()}}, 102, now) == 101);
}

TEST_CASE("a starting point outside the range is brought into it") {
  CHECK(choose_port(range, {}, 5, now) == 100);
  CHECK(choose_port(range, {}, 999, now) == 103);
}

TEST_CASE("there is no port when all are held or rest") {
  CHECK(choose_port(range, {{100, held()}, {101, held()}, {102, resting_for(1s)}, {103, held()}},
                    101, now)
        == std::nullopt);
}

TEST_CASE("if no port is free, the one that has rested longest is taken, after its least rest") {
  const port_range long_rest{100, 103, 168h};
  std::map<int, port_use> known{{100, held()},
                                {101, resting_for(20min)},
                                {102, resting_for(90min)},
                                {103, resting_for(1min)}};
  CHECK(choose_port(long_rest, known, 100, now) == 102);
  CHECK(choose_port(long_rest, known, 100, now, {102}) == 101);
  CHECK(choose_port(long_rest, known, 100, now, {101, 102}) == std::nullopt);
  known[103] = resting_for(10min);
  CHECK(choose_port(long_rest, known, 100, now, {101, 102}) == 103);
  known.erase(101);
  CHECK(choose_port(long_rest, known, 100, now) == 101);
}

TEST_CASE("a range of one port has that port") {
  port_range one{100, 100, 60s};
  CHECK(choose_port(one, {}, 100, now) == 100);
  CHECK(choose_port(one, {{100, held()}}, 100, now) == std::nullopt);
}
