#include <doctest/doctest.h>

#include <algorithm>

#include "actors/service_groups.hpp"
#include "store/keys.hpp"
#include "store/record_json.hpp"

using namespace matriarch;
using namespace matriarch::actors;

namespace {

const store::keyring no_keys;

store::key_value entry(const std::string& key, const std::string& value = "x") {
  return {key, value, 1, 2, 0};
}

store::key_value record_of(const std::string& name, const std::string& scope) {
  model::record one;
  one.instance_id = name;
  one.living.scope = scope;
  return entry(store::keys::record(name), store::encode_record(one, no_keys));
}

/// Collects what is given, as "name: key key", in order.
struct sorter {
  std::vector<std::string> given = {};
  service_groups groups{
      no_keys, [this](const instance_start& start, const std::vector<store::key_value>& own) {
        std::string line = start.name + ":";
        for (const auto& one : own)
          line += " " + one.key;
        given.push_back(line);
      }};
};

const std::vector<store::key_value> everything = {entry("/service/a/bindings/b"),
                                                  entry("/service/a/leader"),
                                                  record_of("a", "a"),
                                                  entry("/service/b/leader"),
                                                  entry("/service/c~2/leader"),
                                                  record_of("c", "c~2"),
                                                  entry("/service/c/bindings/b"),
                                                  record_of("d", "elsewhere"),
                                                  entry("/service/e/state", "{"),
                                                  record_of("f", "z"),
                                                  entry("/service/z/leader"),
                                                  entry("/service/z/members/n")};

const std::vector<std::string> expected = {
    "a: /service/a/bindings/b /service/a/leader /service/a/state",
    "c: /service/c/state /service/c/bindings/b /service/c~2/leader",
    "f: /service/f/state /service/z/leader /service/z/members/n", "d: /service/d/state"};

} // namespace

TEST_CASE("keys are put together by instance, wherever a page ends") {
  for (std::size_t size = 1; size <= everything.size(); ++size) {
    CAPTURE(size);
    sorter one;
    for (std::size_t at = 0; at < everything.size(); at += size)
      one.groups.add({everything.begin() + static_cast<std::ptrdiff_t>(at),
                      everything.begin()
                          + static_cast<std::ptrdiff_t>(std::min(at + size, everything.size()))});
    one.groups.end();
    CHECK(one.given == expected);
    CHECK(one.groups.names() == std::set<std::string>{"a", "c", "d", "f"});
  }
}

TEST_CASE("an instance is given as soon as the keys of the next one come") {
  sorter one;
  one.groups.add({everything.begin(), everything.begin() + 3});
  CHECK(one.given.empty());
  one.groups.add({everything[3]});
  CHECK(one.given.size() == 1);
}
