#include "base/enum_words.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace matriarch::base;

namespace {

enum class colour { red, green, blue };

constexpr enum_words<colour, 2> colours{{{{colour::red, "red"}, {colour::green, "green"}}}};

} // namespace

TEST_CASE("a value has its word, and a word its value") {
  CHECK(colours.word_for(colour::green) == std::string{"green"});
  CHECK(colours.value_of("red") == colour::red);
  static_assert(colours.value_of("green") == colour::green);
}

TEST_CASE("an unknown value has an empty word, and an unknown word has no value") {
  CHECK(colours.word_for(colour::blue) == std::string{});
  for (const char* word : {"", "blue", "Red", "re", "redd"}) {
    CAPTURE(word);
    CHECK_FALSE(colours.value_of(word));
  }
}
