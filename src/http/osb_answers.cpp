#include "http/osb_answers.hpp"

#include "base/json.hpp"
#include "model/plan.hpp"
#include "model/replica_health.hpp"

namespace matriarch::http::osb {

namespace {

// How long a platform should wait between two polls: steps take about a second each.
constexpr const char* poll_again_seconds = "2";
// etcd and the broker's lease both come back within about this time after an outage.
constexpr const char* try_again_seconds = "5";

json::document object() {
  json::document body;
  body.SetObject();
  return body;
}

} // namespace

response answer(int status, const json::document& body) {
  return {status, json::text_of(body), {}};
}

json::value object_in(const std::string& text, json::document& owner) {
  auto parsed = json::parse(text);
  return parsed.ok() ? json::value{*parsed, owner.GetAllocator()}
                     : json::value{rapidjson::kObjectType};
}

// Platforms poll this for each of their instances, so it is written directly, without a document.
std::string state_text(std::string_view state, std::string_view description) {
  return description.empty() ? json::object_text({{"state", state}})
                             : json::object_text({{"state", state}, {"description", description}});
}

response in_progress(std::string_view description) {
  return {200, state_text("in progress", description), {{"Retry-After", poll_again_seconds}}};
}

response error(int status, const std::string& description, const std::string& code) {
  auto body = object();
  if (!code.empty())
    json::add(body, "error", code, body);
  json::add(body, "description", description, body);
  return answer(status, body);
}

response async_required() {
  return error(422,
               "this service plan requires client support for asynchronous service operations: "
               "send accepts_incomplete=true",
               "AsyncRequired");
}

response refusal(const model::verdict& said) {
  switch (said.is) {
  case model::verdict_kind::bad_request:
    return error(400, said.description);
  case model::verdict_kind::not_found:
    return error(404, said.description);
  case model::verdict_kind::conflict:
    return error(409, said.description);
  case model::verdict_kind::gone:
    return error(410, said.description);
  case model::verdict_kind::busy:
    return error(422, said.description, "ConcurrencyError");
  case model::verdict_kind::refused:
    return error(422, said.description);
  case model::verdict_kind::outdated:
    return error(422, said.description, "MaintenanceInfoConflict");
  case model::verdict_kind::needs_polls:
    return async_required();
  case model::verdict_kind::created:
  case model::verdict_kind::done:
  case model::verdict_kind::accepted:
  case model::verdict_kind::unavailable:
    break;
  }
  auto unavailable = error(503, said.description);
  unavailable.headers.emplace_back("Retry-After", try_again_seconds);
  return unavailable;
}

response accepted(const std::string& operation_id) {
  auto body = object();
  json::add(body, "operation", operation_id, body);
  return answer(202, body);
}

response last_operation(const model::instance_snapshot& known) {
  const auto& op = known.known.current;
  if (op.state == model::operation_state::in_progress)
    return in_progress(known.progress);
  bool failed = op.state == model::operation_state::failed;
  // An instance may have become unhealthy since its operation succeeded; the description says so.
  bool unwell = !failed && model::unwell_nodes(known.known, known.seen) > 0;
  auto body = state_text(failed ? "failed" : "succeeded",
                         unwell ? model::describe(known.known, known.seen) : op.description);
  // The state that a failed update or removal leaves (OSB 2.17, "Polling Last Operation"): an
  // update is taken back or continues by itself, a removal cannot be taken back.
  if (failed && op.type == model::operation_type::update)
    body.insert(body.size() - 1, R"(,"instance_usable":true,"update_repeatable":true)");
  if (failed && op.type == model::operation_type::deprovision)
    body.insert(body.size() - 1, R"(,"instance_usable":false)");
  return {200, std::move(body), {}};
}

response instance(const model::instance_snapshot& known) {
  const auto& record = known.known;
  const auto& op = record.current;
  if (op.type == model::operation_type::provision && op.state != model::operation_state::succeeded)
    return error(404, op.state == model::operation_state::failed
                          ? "provisioning of this instance failed"
                          : "this instance is still being provisioned");
  if (!record.living.had_leader)
    return error(404, "this instance was never provisioned completely");
  auto body = object();
  json::add(body, "service_id", record.service_id, body);
  json::add(body, "plan_id", record.plan_id, body);
  json::add(body, "parameters", object_in(record.parameters, body), body);
  if (!record.maintenance_version.empty()) {
    json::value maintenance{rapidjson::kObjectType};
    json::add(maintenance, "version", record.maintenance_version, body);
    json::add(body, "maintenance_info", std::move(maintenance), body);
  }
  json::value attributes{rapidjson::kObjectType};
  json::add(attributes, "node-count", std::to_string(record.desired.node_count), body);
  json::value metadata{rapidjson::kObjectType};
  json::add(metadata, "attributes", std::move(attributes), body);
  json::add(body, "metadata", std::move(metadata), body);
  return answer(200, body);
}

response end_of_removal(const std::string& operation_id, const request& poll, int status,
                        const std::string& what) {
  const auto* named = poll.query_value("operation");
  if (named != nullptr && !operation_id.empty() && *named == operation_id)
    return {200, state_text("succeeded", what), {}};
  return error(status, what);
}

} // namespace matriarch::http::osb
