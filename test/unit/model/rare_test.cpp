#include "model/rare.hpp"

#include <doctest/doctest.h>

#include <string>
#include <utility>

namespace matriarch::model {

namespace {

using names = rare_map<std::string, std::string>;
using numbers = rare_set<int>;

TEST_CASE("an empty container takes the size of a pointer") {
  CHECK(sizeof(names) == sizeof(void*));
  CHECK(sizeof(numbers) == sizeof(void*));
  CHECK(sizeof(rare_value<std::string>) == sizeof(void*));
}

TEST_CASE("an empty map can be searched like any other") {
  names none;
  CHECK(none.empty());
  CHECK(none.size() == 0);
  CHECK(none.find("a") == none.end());
  CHECK_FALSE(none.contains("a"));
  CHECK(none.erase("a") == 0);
  for (const auto& one : none)
    FAIL(one.first);
  erase_if(none, [](const auto&) { return true; });
  CHECK(none == names{});
}

TEST_CASE("entries of one map are in no other") {
  names one;
  names other;
  one["a"] = "first";
  CHECK(other.empty());
  CHECK(one.at("a") == "first");
  auto copy = one;
  copy["a"] = "second";
  CHECK(one.at("a") == "first");
  one = copy;
  CHECK(one == copy);
  auto moved = std::move(copy);
  CHECK(moved == one);
}

TEST_CASE("a map that was emptied equals one that never had an entry") {
  names some{{"a", "first"}, {"b", "second"}};
  SUBCASE("one by one") {
    CHECK(some.erase("a") == 1);
    CHECK_FALSE(some.empty());
    CHECK(some.erase("b") == 1);
  }
  SUBCASE("by what they are") {
    erase_if(some, [](const auto& one) { return one.first == "a"; });
    CHECK(some.size() == 1);
    erase_if(some, [](const auto& one) { return one.first == "b"; });
  }
  SUBCASE("all") {
    some.clear();
  }
  CHECK(some.empty());
  CHECK(some.begin() == some.end());
  CHECK(some == names{});
  some["c"] = "third";
  CHECK(some == names{{"c", "third"}});
}

TEST_CASE("an insertion says whether the entry is new") {
  numbers some;
  CHECK(some.insert(1).second);
  CHECK_FALSE(some.insert(1).second);
  const std::set<int> more{2, 3};
  some.insert(more.begin(), more.end());
  CHECK(some == numbers{1, 2, 3});
  names texts;
  CHECK(texts.try_emplace("a", "first").second);
  CHECK(texts.try_emplace("a", "second").first->second == "first");
}

TEST_CASE("rare values with the same content are equal") {
  rare_value<std::string> none;
  CHECK_FALSE(none.has_value());
  rare_value<std::string> one{std::string{"text"}};
  auto copy = one;
  CHECK(copy == one);
  *copy += "s";
  CHECK(*one == "text");
  CHECK_FALSE(copy == one);
  CHECK_FALSE(none == one);
  one.reset();
  CHECK(none == one);
  copy = std::nullopt;
  CHECK(none == copy);
}

} // namespace

} // namespace matriarch::model
