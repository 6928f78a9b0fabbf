#include "router/port_claims.hpp"

#include <doctest/doctest.h>

using namespace matriarch::router;

TEST_CASE("the first name gets a wanted port, and first ports go before second ones") {
  port_claims claims;
  std::set<std::string> concerned;
  claims.make({true, "a"}, 30'000, concerned);
  claims.make({false, "c"}, 30'000, concerned);
  claims.make({false, "b"}, 30'000, concerned);
  CHECK(claims.holds(30'000, {false, "b"}));
  CHECK_FALSE(claims.holds(30'000, {false, "c"}));
  CHECK_FALSE(claims.holds(30'000, {true, "a"}));
  CHECK_FALSE(claims.holds(30'001, {false, "b"}));
  CHECK(claims.holder(30'000) == "b");
  CHECK(claims.holds_its_own({false, "b"}));
  CHECK_FALSE(claims.holds_its_own({false, "c"}));
  CHECK_FALSE(claims.holds_its_own({false, "d"}));
}

TEST_CASE("a moved claim affects those that want the port that it leaves, and the one that it "
          "gets") {
  port_claims claims;
  std::set<std::string> concerned;
  claims.make({false, "a"}, 30'000, concerned);
  claims.make({false, "b"}, 30'001, concerned);
  CHECK(concerned.empty());
  claims.make({false, "c"}, 30'000, concerned);
  CHECK(concerned == std::set<std::string>{"a"});
  concerned.clear();
  claims.make({false, "c"}, 30'000, concerned);
  CHECK(concerned.empty());
  claims.make({false, "c"}, 30'001, concerned);
  CHECK(concerned == std::set<std::string>{"a", "b"});
  claims.make({false, "b"}, 0, concerned);
  CHECK(claims.holds(30'001, {false, "c"}));
}
