#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>

#include "http/audit.hpp"
#include "http/front_desk.hpp"
#include "http/server.hpp"

/// Functions shared by all kinds of routes.
namespace matriarch::http {

/// Whether the path has these segments; `*` stands for any segment that is not empty.
[[nodiscard]] bool matches(const request& got, std::initializer_list<std::string_view> pattern);

/// 404 for a path that is not in the API.
[[nodiscard]] response nothing_here();
/// Answers 405; `allowed` is the methods that the path takes, as the Allow header lists them.
void refuse_method(reply& to, const std::string& allowed);

/// Answers with `read` of the instance: from its snapshot, or after asking etcd whether the
/// instance exists. `after_removal` answers for a removed instance; 404 if it is not set.
void answer_from(front_desk& desk, const std::string& instance_id, reply to,
                 std::function<response(const model::instance_snapshot&)> read,
                 std::function<response(const model::verdict&)> after_removal = {});

} // namespace matriarch::http
