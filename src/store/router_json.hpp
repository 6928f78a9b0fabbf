#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "model/router_report.hpp"

/// The value of a router's key in etcd.
namespace matriarch::store {

[[nodiscard]] std::string encode_router_report(const model::router_report& known);
/// Ignores unknown members, so that a newer router can write more. The revision is decimal text,
/// since JSON's numbers are not exact above 2^53. Fails if the text is no object, has no id, or has
/// an invalid revision or port.
[[nodiscard]] result<model::router_report> decode_router_report(std::string_view text);

} // namespace matriarch::store
