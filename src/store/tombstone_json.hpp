#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "model/record.hpp"

/// The values of removed instances' keys.
namespace matriarch::store {

[[nodiscard]] std::string encode_tombstone(const model::tombstone& known);
[[nodiscard]] result<model::tombstone> decode_tombstone(std::string_view text);

} // namespace matriarch::store
