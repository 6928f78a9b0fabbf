#pragma once

#include <string>
#include <string_view>

#include "base/json.hpp"
#include "http/server.hpp"
#include "model/observation.hpp"
#include "model/requests.hpp"

/// The Open Service Broker API's answers about instances, and those to whatever cannot be done.
namespace matriarch::http::osb {

/// `{"error"?, "description"}` with a status.
[[nodiscard]] response error(int status, const std::string& description,
                             const std::string& code = {});
/// 422 to a client that has to poll for the outcome and has not said that it can.
[[nodiscard]] response async_required();

/// The answer to everything but success: 400, 404, 409, 410, 422 or 503.
[[nodiscard]] response refusal(const model::verdict& said);
/// 202 with the operation.
[[nodiscard]] response accepted(const std::string& operation_id);

[[nodiscard]] response last_operation(const model::instance_snapshot& known);
/// last_operation of something that is gone, whose removal was `operation_id` if anybody was told:
/// that it succeeded to a poll that names it, for there are clients that take 410 for an error, and
/// else `status`.
[[nodiscard]] response end_of_removal(const std::string& operation_id, const request& poll,
                                      int status, const std::string& what);
[[nodiscard]] response instance(const model::instance_snapshot& known);

// What these and the answers about bindings are made with.

[[nodiscard]] response answer(int status, const json::document& body);
/// A text that holds an object, as a part of an answer; an empty object if it holds none.
[[nodiscard]] json::value object_in(const std::string& text, json::document& owner);
/// The body of a last_operation; without a description if that is empty.
[[nodiscard]] std::string state_text(std::string_view state, std::string_view description);
/// A last_operation that asks for another poll.
[[nodiscard]] response in_progress(std::string_view description);

} // namespace matriarch::http::osb
