#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "model/router_report.hpp"

/// The value of a router's key in etcd.
namespace matriarch::store {

[[nodiscard]] std::string encode_router_report(const model::router_report& known);
/// Members that are not known are ignored, so that a newer router can say more. The revision is
/// decimal text, for JSON's numbers are not exact above 2^53. Refused is a text that is no object,
/// has no id, or whose revision or ports are none.
[[nodiscard]] result<model::router_report> decode_router_report(std::string_view text);

} // namespace matriarch::store
