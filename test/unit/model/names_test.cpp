#include "model/names.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using matriarch::model::name_of;
using matriarch::model::name_of_scope;
using matriarch::model::scope_of;

namespace {

/// Whether a name is `~` and 40 hexadecimal digits.
bool hashed(const std::string& name) {
  return name.size() == 41 && name[0] == '~'
         && name.find_first_not_of("0123456789abcdef", 1) == std::string::npos;
}

} // namespace

TEST_CASE("a plain id is its own name") {
  for (const std::string id : {"a", "7f000001-AbC", "snake_case", "1.2.3", "-", "_x", "a..b"})
    CHECK(name_of(id) == id);
}

TEST_CASE("64 characters are plain, 65 are not") {
  std::string id(64, 'x');
  CHECK(name_of(id) == id);
  CHECK(hashed(name_of(id + "x")));
}

TEST_CASE("an id that is unsafe in a path, a key or a configuration line becomes a digest") {
  for (const std::string id :
       {"", ".", "..", ".hidden", "ends.", "a/b", "../../etc/passwd", "a b", "a\nb", "~", "a%2Fb",
        "a:b", "ümlaut", "日本", "a\"b", "a#b", "$(x)"}) {
    CAPTURE(id);
    CHECK(hashed(name_of(id)));
  }
  CHECK(hashed(name_of(std::string_view{"a\0b", 3})));
}

TEST_CASE("the digest covers the whole id, so that different ids have different names") {
  CHECK(name_of("") == "~e3b0c44298fc1c149afbf4c8996fb92427ae41e4");
  CHECK(name_of("a/b") == name_of("a/b"));
  CHECK(name_of("a/b") != name_of("a/c"));
  CHECK(name_of(std::string(70, 'x')) != name_of(std::string(71, 'x')));
}

TEST_CASE("a digest cannot be claimed as a plain id") {
  auto name = name_of("a/b");
  CHECK(name_of(name) != name);
}

TEST_CASE("an instance's first scope is its name, and later ones are no instance's name") {
  CHECK(scope_of(name_of("db"), 1) == "db");
  CHECK(scope_of(name_of("db"), 2) == "db~2");
  CHECK(name_of(scope_of("db", 2)) != scope_of("db", 2));
  auto hashed_name = name_of("a/b");
  CHECK(scope_of(hashed_name, 12) == hashed_name + "~12");
  CHECK(name_of(scope_of(hashed_name, 12)) != scope_of(hashed_name, 12));
}

TEST_CASE("the instance's name is found from its scope") {
  for (const std::string id : {"db", "a/b", "x.1", ""})
    for (int n : {1, 2, 17}) {
      CAPTURE(id);
      CAPTURE(n);
      CHECK(name_of_scope(scope_of(name_of(id), n)) == name_of(id));
    }
  CHECK(name_of_scope("of~another~make") == "of~another~make");
  CHECK(name_of_scope("~1234567890123456789012345678901234567890")
        == "~1234567890123456789012345678901234567890");
  CHECK(name_of_scope("db~") == "db~");
}
