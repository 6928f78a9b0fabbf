#include "base/utf8.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace matriarch;

TEST_CASE("invalid UTF-8 is recognised") {
  for (const char* text : {"", "a", "ü", "日本", "😀", "\x7f"}) {
    CAPTURE(text);
    CHECK(is_utf8(text));
  }
  // Cut off, overlong, half a surrogate pair, and beyond the last character.
  for (const char* text :
       {"\xff", "\xc3", "\x80", "\xc0\xaf", "\xe6\x97", "\xed\xa0\x80", "\xf4\x90\x80\x80"}) {
    CAPTURE(text);
    CHECK_FALSE(is_utf8(text));
  }
}

TEST_CASE("a text that is too long is cut between characters, and ends in an ellipsis") {
  CHECK(legible("abc", 3) == "abc");
  CHECK(legible("abcd", 3) == "abc…");
  CHECK(legible("abü", 3) == "ab…");
  CHECK(legible("a\nb\xff", 10) == "a\nb?");
  CHECK(one_line("a\nb\xff", 10) == "a?b?");
}

TEST_CASE("a text is quoted, and shortened beyond 100 bytes") {
  CHECK(quoted("x") == "\"x\"");
  std::string hundred(100, 'y');
  CHECK(quoted(hundred) == "\"" + hundred + "\"");
  CHECK(quoted(hundred + "z") == "\"" + hundred + "…\"");
}

TEST_CASE("any text is quoted on one line") {
  // The hundredth byte is in the middle of a character.
  CHECK(quoted(std::string(99, 'y') + "üz") == "\"" + std::string(99, 'y') + "…\"");
  CHECK(quoted("a\nb\x7f") == "\"a?b?\"");
  CHECK(quoted("\xff") == "\"?\"");
}
