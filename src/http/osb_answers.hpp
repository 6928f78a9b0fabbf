#pragma once

#include <string>
#include <string_view>

#include "base/json.hpp"
#include "http/server.hpp"
#include "model/observation.hpp"
#include "model/requests.hpp"

/// The Open Service Broker API's answers about instances, and its error answers.
namespace matriarch::http::osb {

/// `{"error"?, "description"}` with a status.
[[nodiscard]] response error(int status, const std::string& description,
                             const std::string& code = {});
/// 422 to a client that would have to poll for the result but has not said that it can.
[[nodiscard]] response async_required();

/// The answer for every verdict except success: 400, 404, 409, 410, 422 or 503.
[[nodiscard]] response refusal(const model::verdict& said);
/// 202 with the operation.
[[nodiscard]] response accepted(const std::string& operation_id);

[[nodiscard]] response last_operation(const model::instance_snapshot& known);
/// last_operation after a removal whose operation was `operation_id`, if anybody was told of one. A
/// poll that names that operation gets success, for some clients take 410 for an error; other polls
/// get `status`.
[[nodiscard]] response end_of_removal(const std::string& operation_id, const request& poll,
                                      int status, const std::string& what);
[[nodiscard]] response instance(const model::instance_snapshot& known);

[[nodiscard]] response answer(int status, const json::document& body);
/// The JSON object in a text, as a part of an answer; an empty object if the text holds none.
[[nodiscard]] json::value object_in(const std::string& text, json::document& owner);
/// The body of a last_operation; without a description if that is empty.
[[nodiscard]] std::string state_text(std::string_view state, std::string_view description);
/// A last_operation with which the platform goes on polling.
[[nodiscard]] response in_progress(std::string_view description);

} // namespace matriarch::http::osb
