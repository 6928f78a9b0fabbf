#include "model/shared_map.hpp"

#include <doctest/doctest.h>

#include <string>
#include <utility>

namespace matriarch::model {

namespace {

using names = shared_map<std::string, std::string>;

TEST_CASE("a copy has the same entries in the same place until one of them changes") {
  names original{{"a", "one"}, {"b", "two"}};
  const auto copy = original;
  CHECK(&copy.at("a") == &std::as_const(original).at("a"));
  original["a"] = "three";
  CHECK(copy.at("a") == "one");
  CHECK(std::as_const(original).at("a") == "three");
}

TEST_CASE("a change of a copy leaves the original as it was") {
  const names original{{"a", "one"}};
  auto copy = original;
  SUBCASE("by a new entry") {
    copy["b"] = "two";
  }
  SUBCASE("by an end") {
    copy.erase("a");
  }
  SUBCASE("by an entry that changes") {
    copy.at("a") = "two";
  }
  SUBCASE("of all") {
    copy.clear();
  }
  CHECK_FALSE(copy == original);
  CHECK(original == names{{"a", "one"}});
}

TEST_CASE("a copy of a copy is as safe as the first, also when it was moved") {
  names original{{"a", "one"}};
  auto first = original;
  auto second = std::move(first);
  const auto third = second;
  second["a"] = "two";
  CHECK(third.at("a") == "one");
  original["a"] = "three";
  CHECK(std::as_const(second).at("a") == "two");
}

TEST_CASE("an entry that is no longer shared is changed in place") {
  names only{{"a", "one"}};
  only["a"] = "two";
  const auto* before = &std::as_const(only).at("a");
  only["b"] = "three";
  CHECK(before == &std::as_const(only).at("a"));
}

TEST_CASE("an empty map takes no memory and works like any map") {
  const names nothing;
  CHECK(nothing.empty());
  CHECK(nothing.begin() == nothing.end());
  CHECK(nothing.find("a") == nothing.end());
  CHECK(nothing == names{});
  const std::map<std::string, std::string>& as_map = nothing;
  CHECK(as_map.empty());
}

} // namespace

} // namespace matriarch::model
