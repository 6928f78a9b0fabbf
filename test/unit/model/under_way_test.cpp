#include "model/under_way.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace matriarch::model;

TEST_CASE("a request is refused while too many wait, and an answered one makes room") {
  requests_under_way open;
  for (int i = 0; i < requests_under_way::most; ++i)
    REQUIRE_FALSE(open.enter(std::to_string(i)).has_value());
  auto why = open.enter("another");
  REQUIRE(why.has_value());
  CHECK(why->find("try again") != std::string::npos);
  CHECK(open.all() == requests_under_way::most);
  open.leave("0");
  CHECK_FALSE(open.enter("another").has_value());
  CHECK(open.enter("one more").has_value());
}

TEST_CASE("the requests of one instance cannot keep those of others waiting") {
  requests_under_way open;
  for (int i = 0; i < requests_under_way::most_of_one; ++i)
    REQUIRE_FALSE(open.enter("busy").has_value());
  auto why = open.enter("busy");
  REQUIRE(why.has_value());
  CHECK(why->find("\"busy\"") != std::string::npos);
  CHECK_FALSE(open.enter("other").has_value());
  open.leave("busy");
  CHECK_FALSE(open.enter("busy").has_value());
  CHECK(open.all() == requests_under_way::most_of_one + 1);
}
