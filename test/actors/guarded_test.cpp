#include "actors/guarded.hpp"

#include <doctest/doctest.h>

#include <stdexcept>

#include "actors/engine.hpp"

using namespace matriarch::actors;

TEST_CASE("a job's exception becomes a failed answer") {
  auto said = guarded<role_answer>([]() -> role_answer { throw std::length_error{"too long"}; });
  CHECK_FALSE(said.ok);
  CHECK(said.why.find("too long") != std::string::npos);
  CHECK_FALSE(guarded<lag_answer>([]() -> lag_answer { throw 42; }).ok);
}
