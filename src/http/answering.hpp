#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>

#include "http/audit.hpp"
#include "http/front_desk.hpp"
#include "http/server.hpp"

/// What the routes of all kinds have in common.
namespace matriarch::http {

/// Whether the path's segments are these; `*` stands for any that is not empty.
[[nodiscard]] bool matches(const request& got, std::initializer_list<std::string_view> pattern);

/// 404 for a path that the API does not have.
[[nodiscard]] response nothing_here();
/// Answers 405; `allowed` is the methods that the path takes, as the Allow header lists them.
void refuse_method(reply& to, const std::string& allowed);

/// Answers with `read` of the instance: from its snapshot, or after etcd was asked whether it
/// exists. `after_removal` answers for one that did; 404 if it is not set.
void answer_from(front_desk& desk, const std::string& instance_id, reply to,
                 std::function<response(const model::instance_snapshot&)> read,
                 std::function<response(const model::verdict&)> after_removal = {});

} // namespace matriarch::http
