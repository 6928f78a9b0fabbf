#include "actors/guarded.hpp"

#include <doctest/doctest.h>

#include <stdexcept>

#include "actors/engine.hpp"

using namespace matriarch::actors;

TEST_CASE("what a job throws is an answer that says so") {
  auto said = guarded<role_answer>([]() -> role_answer { throw std::length_error{"too long"}; });
  CHECK_FALSE(said.ok);
  CHECK(said.why.find("too long") != std::string::npos);
  CHECK_FALSE(guarded<lag_answer>([]() -> lag_answer { throw 42; }).ok);
}
