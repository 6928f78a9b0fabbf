#include "actors/patience.hpp"

#include <doctest/doctest.h>

#include <map>

using namespace matriarch;
using namespace std::chrono_literals;

namespace {

caf::timespan pause_after(const std::string& whom, int failures) {
  actors::patience patience;
  for (int n = 0; n < failures; ++n) {
    patience.begin(whom);
    patience.end(false);
  }
  return patience.pause(whom);
}

} // namespace

TEST_CASE("an unreachable leader is asked less and less often") {
  CHECK(pause_after("a/a-0/1", 1) >= 10s);
  CHECK(pause_after("a/a-0/1", 1) <= 15s);
  CHECK(pause_after("a/a-0/1", 2) == 2 * pause_after("a/a-0/1", 1));
  CHECK(pause_after("a/a-0/1", 100) <= 8min);
}

TEST_CASE("leaders that became unreachable together are not asked again at the same moment") {
  std::map<std::int64_t, int> in_each_second;
  for (int n = 0; n < 1'000; ++n)
    ++in_each_second[pause_after("db-" + std::to_string(n) + "/node-0/1", 6) / 1s];
  for (const auto& [second, count] : in_each_second)
    CHECK(count < 50);
}
