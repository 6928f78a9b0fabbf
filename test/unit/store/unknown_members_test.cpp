#include "store/unknown_members.hpp"

#include <doctest/doctest.h>

#include <string>

namespace matriarch::store {

namespace {

const known_members leaf{{"x"}};
const known_members middle{{"leaf", "n"}, {{"leaf", &leaf}}};
const known_members entry{{"id", "on"}};
const known_members turn{{"id", "leaf"}, {{"leaf", &leaf}}};
const known_members root{{"name", "middle", "turn", "nodes", "ended"},
                         {{"middle", &middle}, {"turn", &turn, "id"}},
                         {{"nodes", "id", &entry}},
                         {{"ended", &entry}}};

/// The text that a reader writes for `written` after it has read `read`.
std::string again(std::string_view read, std::string_view written) {
  auto before = json::parse(read);
  auto now = json::parse(written);
  REQUIRE(before.ok());
  REQUIRE(now.ok());
  add_unknown(*now, unknown_in(*before, root), root, *now);
  return json::canonical_text_of(*now);
}

std::string canonical(std::string_view text) {
  return json::canonical_text_of(*json::parse(text));
}

} // namespace

TEST_CASE("a value without unknown members keeps nothing") {
  auto all =
      json::parse(R"({"name":"n","middle":{"leaf":{"x":1},"n":2},"nodes":[{"id":"1","on":true}],)"
                  R"("ended":{"b":{"id":"b"}}})");
  CHECK(unknown_in(*all, root).empty());
}

TEST_CASE("unknown members are written back at every depth") {
  CHECK(
      again(
          R"({"name":"n","later":{"any":["thing",1,null]},"middle":{"n":1,"leaf":{"x":1,"y":{"z":2}}},)"
          R"("nodes":[{"id":"1","disk":"5GB"},{"id":"2"}],"ended":{"b":{"id":"b","why":"w"}}})",
          R"({"name":"m","middle":{"n":2,"leaf":{"x":3}},"nodes":[{"id":"2"},{"id":"1","on":true}],)"
          R"("ended":{"b":{"id":"b"}}})")
      == canonical(
          R"({"name":"m","later":{"any":["thing",1,null]},"middle":{"n":2,"leaf":{"x":3,"y":{"z":2}}},)"
          R"("nodes":[{"id":"2"},{"id":"1","on":true,"disk":"5GB"}],"ended":{"b":{"id":"b","why":"w"}}})"));
}

TEST_CASE("unknown members of a removed part are dropped") {
  CHECK(
      again(R"({"middle":{"leaf":{"y":1}},"nodes":[{"id":"1","disk":1}],"ended":{"b":{"why":1}}})",
            R"({"name":"m","nodes":[{"id":"2"}],"ended":{}})")
      == canonical(R"({"name":"m","nodes":[{"id":"2"}],"ended":{}})"));
}

TEST_CASE("unknown members do not pass to another part in the same place") {
  constexpr const char* before = R"({"turn":{"id":"1","why":"w","leaf":{"x":1,"y":2}}})";
  CHECK(again(before, R"({"turn":{"id":"1","leaf":{"x":3}}})")
        == canonical(R"({"turn":{"id":"1","why":"w","leaf":{"x":3,"y":2}}})"));
  CHECK(again(before, R"({"turn":{"id":"2","leaf":{"x":3}}})")
        == canonical(R"({"turn":{"id":"2","leaf":{"x":3}}})"));
}

TEST_CASE("the deepest allowed value is kept completely") {
  const auto deep = [](std::size_t levels) {
    return std::string(levels, '[') + std::string(levels, ']');
  };
  const auto text = R"({"turn":{"id":"1","later":)" + deep(62) + "}}";
  CHECK(again(text, R"({"turn":{"id":"1"}})") == canonical(text));
}

TEST_CASE("a sealed text in an unknown member is found at every depth") {
  auto keys_of = [](char digit) { return *keyring::parse(std::string(64, digit) + "\n"); };
  auto sealed = keys_of('1').seal("secret", "somewhere");
  model::unknown_members text{R"({"":{"later":[{"deep":")" + sealed + R"("}]}})"};
  CHECK(has_old_seals(text, keys_of('2')));
  CHECK(has_old_seals(text, keyring{}));
  CHECK_FALSE(has_old_seals(text, keys_of('1')));
  CHECK_FALSE(has_old_seals(model::unknown_members{R"({"":{"later":"sealed, but not so"}})"},
                            keys_of('2')));
  CHECK_FALSE(has_old_seals({}, keys_of('2')));
}

TEST_CASE("copies of unknown members are equal, and an empty one costs a pointer") {
  model::unknown_members one{R"({"":{"later":1}})"};
  auto copy = one;
  CHECK(copy == one);
  CHECK_FALSE(copy == model::unknown_members{});
  CHECK(model::unknown_members{""}.empty());
  static_assert(sizeof(model::unknown_members) == sizeof(void*));
  copy = {};
  CHECK(copy.empty());
  CHECK(one.text() == R"({"":{"later":1}})");
}

TEST_CASE("unknown members are equal in any order") {
  auto one = json::parse(R"({"b":1,"a":2,"ended":{"y":{"v":1},"x":{"w":2,"v":1}}})");
  auto two = json::parse(R"({"ended":{"x":{"v":1,"w":2},"y":{"v":1}},"a":2,"b":1})");
  CHECK(unknown_in(*one, root) == unknown_in(*two, root));
}

TEST_CASE("the object's own members override unknown ones") {
  CHECK(again(R"({"later":1})", R"({"later":2})") == canonical(R"({"later":2})"));
}

TEST_CASE("members of an unexpected type are ignored") {
  CHECK(again(R"({"middle":[1],"nodes":{"id":"1"},"ended":["b"]})",
              R"({"middle":{"n":1},"nodes":[7,{"id":"1"}],"ended":{"b":3}})")
        == canonical(R"({"middle":{"n":1},"nodes":[7,{"id":"1"}],"ended":{"b":3}})"));
}

} // namespace matriarch::store
