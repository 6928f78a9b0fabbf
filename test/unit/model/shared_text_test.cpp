#include "model/shared_text.hpp"

#include <doctest/doctest.h>

namespace matriarch::model {

namespace {

TEST_CASE("copies of a text are the same text") {
  const shared_text one{std::string{"6a48a38c-3c3c-4a57-a3ae-2f0b5b62b0f6"}};
  const auto copy = one;
  CHECK(&copy.text() == &one.text());
  CHECK(copy == one);
}

TEST_CASE("texts with the same content are equal") {
  CHECK(shared_text{"plan"} == shared_text{"plan"});
  CHECK_FALSE(shared_text{"plan"} == shared_text{"another"});
  CHECK(shared_text{"plan"} == std::string{"plan"});
  CHECK(shared_text{"plan"} != "another");
  CHECK(shared_text{} == "");
  CHECK(shared_text{""}.empty());
  CHECK_FALSE(shared_text{"plan"} == shared_text{});
}

} // namespace

} // namespace matriarch::model
