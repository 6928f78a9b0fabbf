#include "model/words.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace matriarch::model;

namespace {

/// All words of an enumeration; each must convert back to its value.
template <class Words>
std::string all_of(const Words& words) {
  std::string text;
  for (const auto& [value, word] : words.all) {
    CHECK(words.value_of(word) == value);
    CHECK(text_of(value) == std::string{word});
    text += (text.empty() ? "" : ", ") + std::string{word};
  }
  return text;
}

} // namespace

TEST_CASE("the stored words for enum values do not change") {
  CHECK(all_of(node_phases) == "placed, started, removing");
  CHECK(all_of(operation_types) == "provision, update, deprovision");
  CHECK(all_of(operation_states) == "in progress, succeeded, failed");
  CHECK(all_of(credentials_modes) == "per-binding, shared");
  CHECK(all_of(synchronous_modes) == "off, on, strict");
  CHECK(all_of(binding_phases) == "creating, ready, removing");
  CHECK(all_of(record_phases) == "accepting, accepted");
}
