#include <doctest/doctest.h>

#include "cell/restart_pause.hpp"

namespace matriarch::cell {

using namespace std::chrono_literals;

TEST_CASE("a node that keeps ending waits twice as long each time, up to a bound") {
  restart_pause pause;
  CHECK(pause.next(0ms) == 500ms);
  CHECK(pause.next(0ms) == 1000ms);
  CHECK(pause.next(29s) == 2000ms);
  for (int i = 0; i < 10; ++i)
    (void)pause.next(0ms);
  CHECK(pause.next(0ms) == 60s);
}

TEST_CASE("a node that lived for long is started again soon") {
  restart_pause pause;
  for (int i = 0; i < 5; ++i)
    (void)pause.next(0ms);
  CHECK(pause.next(30s) == 500ms);
  CHECK(pause.next(0ms) == 1000ms);
}

} // namespace matriarch::cell
