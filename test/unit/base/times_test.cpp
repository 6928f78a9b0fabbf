#include "base/times.hpp"

#include <doctest/doctest.h>

#include <chrono>

using namespace matriarch::base;
using namespace std::chrono_literals;
using time_in_ms = std::chrono::sys_time<std::chrono::milliseconds>;

TEST_CASE("times are written as the specification has them") {
  CHECK(text_of(time_in_ms{1'700'000'000s + 7ms}) == "2023-11-14T22:13:20.007Z");
  CHECK(text_of(time_in_ms{}) == "1970-01-01T00:00:00.000Z");
}

TEST_CASE("an HTTP date is written and read in one form only") {
  CHECK(http_date(1'700'000'000) == "Tue, 14 Nov 2023 22:13:20 GMT");
  CHECK(parse_http_date("Tue, 14 Nov 2023 22:13:20 GMT") == 1'700'000'000);
  for (const char* text : {"", "yesterday", "Tue, 14 Nov 2023 22:13:20 GMT;",
                           "2023-11-14T22:13:20Z", "Tue, 14 Nov 2023 22:13:20"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_http_date(text));
  }
}
