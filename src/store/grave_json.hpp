#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "model/orphans.hpp"

/// The values of removed nodes' keys.
namespace matriarch::store {

[[nodiscard]] std::string encode_grave(const model::grave& known);
/// Accepts any text whose `min_reader` is low enough: the earliest graves contain only the scope.
[[nodiscard]] result<model::grave> decode_grave(std::string_view text);

/// The text of a grave that replaces an earlier one of the same node; keeps that one's unknown
/// members.
[[nodiscard]] std::string encode_over(std::string_view before, model::grave known);

} // namespace matriarch::store
