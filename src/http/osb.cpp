#include "http/osb.hpp"

#include <algorithm>
#include <set>

#include "http/percent_encoding.hpp"
#include "model/json.hpp"

namespace matriarch::http::osb {

namespace {

// How long a platform shall wait between two polls: steps take about a second each.
constexpr const char* poll_again_seconds = "2";
// etcd and the broker's lease both come back within about this time after an outage.
constexpr const char* try_again_seconds = "5";
// The database that a new cluster's application user owns; `matriarch cell` makes it.
constexpr const char* database_name = "db";

/// Reads a request's body field by field and keeps the first thing that is wrong.
class body_reader {
public:
  body_reader(const request& got, bool strict) {
    const auto* type = got.header("content-type");
    if (strict && type != nullptr && !type->starts_with("application/json")) {
      refuse("the Content-Type is \"" + *type + "\"; send application/json");
      return;
    }
    auto parsed = json::parse(got.body);
    if (!parsed.ok())
      refuse("the body is not valid JSON: " + parsed.error());
    else if (!parsed->IsObject())
      refuse("the body has to be a JSON object");
    else
      body_ = std::move(*parsed);
  }

  /// A string; empty if it is missing and need not be there.
  std::string text(const char* name, bool required) {
    const auto* found = member(name);
    if (found == nullptr || found->IsNull()) {
      if (required)
        refuse(std::string{name} + " is missing; it has to be a non-empty string");
      return {};
    }
    if (!found->IsString()) {
      refuse(std::string{name} + " has to be a string");
      return {};
    }
    if (required && found->GetStringLength() == 0)
      refuse(std::string{name} + " must not be empty");
    return {found->GetString(), found->GetStringLength()};
  }

  /// An object, or nullptr if it is missing.
  const json::value* object(const char* name) {
    const auto* found = member(name);
    if (found == nullptr || found->IsNull())
      return nullptr;
    if (!found->IsObject()) {
      refuse(std::string{name} + " has to be an object");
      return nullptr;
    }
    return found;
  }

  bool flag(const char* name) {
    const auto* found = member(name);
    return found != nullptr && found->IsBool() && found->GetBool();
  }

  void refuse(const std::string& why) {
    if (!wrong_)
      wrong_ = error(400, why);
  }
  [[nodiscard]] const std::optional<response>& wrong() const { return wrong_; }

private:
  const json::value* member(const char* name) {
    return body_.IsObject() ? json::member(body_, name) : nullptr;
  }

  json::document body_;
  std::optional<response> wrong_;
};

/// The parameters of a provision or an update.
struct cluster_parameters {
  std::string text = "{}";
  std::optional<int> node_count;
  std::optional<std::vector<std::string>> cells;
};

std::string guids_of(const std::vector<model::cell_view>& cells) {
  std::string all;
  for (const auto& cell : cells)
    all += (all.empty() ? "" : ", ") + cell.guid;
  return all;
}

void read_node_count(const json::value& given, body_reader& body, const rules& by,
                     cluster_parameters& into) {
  auto most = static_cast<std::int64_t>(by.cells.size());
  if (!given.IsInt64() || given.GetInt64() < 1 || given.GetInt64() > most)
    body.refuse("parameters.node-count is " + json::text_of(given)
                + "; it has to be a whole number from 1 to " + std::to_string(most)
                + ", the number of cells");
  else
    into.node_count = static_cast<int>(given.GetInt64());
}

void read_cells(const json::value& given, body_reader& body, const rules& by,
                cluster_parameters& into) {
  if (!given.IsArray() || given.Empty())
    return body.refuse(
        "parameters.cells has to be a list of one cell's guid or more; the cells are "
        + guids_of(by.cells));
  std::vector<std::string> cells;
  for (const auto& one : given.GetArray()) {
    if (!one.IsString())
      return body.refuse("parameters.cells has to hold strings only, but holds "
                         + json::text_of(one));
    std::string guid{one.GetString(), one.GetStringLength()};
    bool known = std::any_of(by.cells.begin(), by.cells.end(),
                             [&](const auto& cell) { return cell.guid == guid; });
    if (!known)
      return body.refuse("parameters.cells names \"" + guid + "\", which is no cell; the cells are "
                         + guids_of(by.cells));
    if (std::find(cells.begin(), cells.end(), guid) != cells.end())
      return body.refuse("parameters.cells names \"" + guid + "\" twice");
    cells.push_back(std::move(guid));
  }
  into.cells = std::move(cells);
}

cluster_parameters read_parameters(body_reader& body, const rules& by) {
  cluster_parameters read;
  const auto* given = body.object("parameters");
  if (given == nullptr)
    return read;
  read.text = json::canonical_text_of(*given);
  for (const auto& m : given->GetObject()) {
    std::string_view name{m.name.GetString(), m.name.GetStringLength()};
    if (name == "node-count")
      read_node_count(m.value, body, by, read);
    else if (name == "cells")
      read_cells(m.value, body, by, read);
    else
      body.refuse("parameters." + std::string{name}
                  + " is not known; the parameters are node-count and cells");
  }
  return read;
}

/// Refuses a count of nodes that does not fit on the named cells.
void compare_counts(body_reader& body, int nodes, const std::vector<std::string>& cells) {
  if (!cells.empty() && static_cast<int>(cells.size()) < nodes)
    body.refuse("parameters.cells names " + std::to_string(cells.size())
                + " cells, but the cluster is to have " + std::to_string(nodes)
                + " nodes; name at least as many cells as nodes, or give a lower node-count");
}

/// The plan of these ids; refuses what is not in the catalog.
const model::plan* find_plan(body_reader& body, const rules& by, const std::string& service_id,
                             const std::string& plan_id) {
  if (body.wrong())
    return nullptr;
  const auto* service = by.catalog.find_service(service_id);
  if (service == nullptr) {
    body.refuse("service_id \"" + service_id + "\" is not in the catalog; see GET /v2/catalog");
    return nullptr;
  }
  const auto* plan = service->find_plan(plan_id);
  if (plan == nullptr)
    body.refuse("plan_id \"" + plan_id + "\" is no plan of service " + service->name
                + "; see GET /v2/catalog");
  return plan;
}

bool accepts_incomplete(const request& got, bool in_body, bool strict) {
  const auto* said = got.query_value("accepts_incomplete");
  return (said != nullptr && *said == "true") || (in_body && !strict);
}

response async_required() {
  return error(422,
               "this service plan requires client support for asynchronous service operations: "
               "send accepts_incomplete=true",
               "AsyncRequired");
}

model::duration longest(const model::plan& plan) {
  return std::chrono::seconds{plan.maximum_polling_duration};
}

/// The ids of a DELETE, which has them in its query.
struct query_ids {
  std::string service_id;
  std::string plan_id;
  std::optional<response> wrong;
  /// The plan, if one was given.
  const model::plan* plan = nullptr;
};

query_ids read_query_ids(const request& got, const rules& by) {
  query_ids ids;
  auto read = [&](const char* name) {
    const auto* given = got.query_value(name);
    if ((given == nullptr || given->empty()) && by.strict && !ids.wrong)
      ids.wrong = error(400, std::string{name} + " is missing in the query");
    return given == nullptr ? std::string{} : *given;
  };
  ids.service_id = read("service_id");
  ids.plan_id = read("plan_id");
  if (ids.wrong || ids.service_id.empty())
    return ids;
  const auto* service = by.catalog.find_service(ids.service_id);
  if (service == nullptr)
    ids.wrong = error(400, "service_id \"" + ids.service_id + "\" is not in the catalog");
  else if (ids.plan = service->find_plan(ids.plan_id); ids.plan == nullptr && !ids.plan_id.empty())
    ids.wrong =
        error(400, "plan_id \"" + ids.plan_id + "\" is no plan of service " + service->name);
  return ids;
}

/// The longest that any plan of the catalog may be polled, for a request that names none.
model::duration longest_of_all(const model::catalog& offered) {
  std::int64_t seconds = 0;
  for (const auto& service : offered.services)
    for (const auto& plan : service.plans)
      seconds = std::max(seconds, plan.maximum_polling_duration);
  return std::chrono::seconds{seconds};
}

json::value parse_into(const std::string& text, json::document& owner) {
  auto parsed = json::parse(text);
  return parsed.ok() ? json::value{*parsed, owner.GetAllocator()}
                     : json::value{rapidjson::kObjectType};
}

/// The JSON schema of the parameters node-count and cells.
json::value parameter_schema(std::size_t cell_count, json::document& owner) {
  return parse_into(R"({"$schema":"http://json-schema.org/draft-04/schema#","type":"object",)"
                    R"("additionalProperties":false,"properties":{)"
                    R"("node-count":{"type":"integer","minimum":1,"maximum":)"
                        + std::to_string(cell_count)
                        + R"(,"description":"How many PostgreSQL nodes the cluster has."},)"
                          R"("cells":{"type":"array","minItems":1,"uniqueItems":true,)"
                          R"("items":{"type":"string"},"description":)"
                          R"("The guids of the cells that the nodes shall be on."}}})",
                    owner);
}

json::value in_schema(json::value parameters, json::document& owner) {
  json::value holder{rapidjson::kObjectType};
  json::add(holder, "parameters", std::move(parameters), owner);
  return holder;
}

json::value plan_json(const model::plan& plan, std::size_t cell_count, json::document& owner) {
  json::value object{rapidjson::kObjectType};
  json::add(object, "id", plan.id, owner);
  json::add(object, "name", plan.name, owner);
  json::add(object, "description", plan.description, owner);
  json::add(object, "free", plan.free, owner);
  if (plan.bindable)
    json::add(object, "bindable", *plan.bindable, owner);
  if (!plan.metadata.empty())
    json::add(object, "metadata", parse_into(plan.metadata, owner), owner);
  json::add(object, "maximum_polling_duration", plan.maximum_polling_duration, owner);
  json::value instance{rapidjson::kObjectType};
  json::add(instance, "create", in_schema(parameter_schema(cell_count, owner), owner), owner);
  json::add(instance, "update", in_schema(parameter_schema(cell_count, owner), owner), owner);
  json::value schemas{rapidjson::kObjectType};
  json::add(schemas, "service_instance", std::move(instance), owner);
  json::add(object, "schemas", std::move(schemas), owner);
  return object;
}

json::value service_json(const model::service& service, std::size_t cell_count,
                         json::document& owner) {
  json::value object{rapidjson::kObjectType};
  json::add(object, "id", service.id, owner);
  json::add(object, "name", service.name, owner);
  json::add(object, "description", service.description, owner);
  json::add(object, "bindable", service.bindable, owner);
  json::add(object, "instances_retrievable", true, owner);
  json::add(object, "bindings_retrievable", true, owner);
  json::add(object, "plan_updateable", service.plan_updateable, owner);
  if (!service.tags.empty()) {
    json::value tags{rapidjson::kArrayType};
    for (const auto& tag : service.tags)
      tags.PushBack(json::string(tag, owner), owner.GetAllocator());
    json::add(object, "tags", std::move(tags), owner);
  }
  if (!service.metadata.empty())
    json::add(object, "metadata", parse_into(service.metadata, owner), owner);
  json::value plans{rapidjson::kArrayType};
  for (const auto& plan : service.plans)
    plans.PushBack(plan_json(plan, cell_count, owner), owner.GetAllocator());
  json::add(object, "plans", std::move(plans), owner);
  return object;
}

json::value credentials_json(const model::record& known, const std::string& host,
                             json::document& owner) {
  const auto& user = known.application;
  auto port = std::to_string(known.allocated_port);
  auto place = host + ":" + port + "/" + database_name;
  auto name = percent_encoded(user.username);
  auto password = percent_encoded(user.password);
  json::value object{rapidjson::kObjectType};
  json::add(object, "uri", "postgres://" + name + ":" + password + "@" + place, owner);
  json::add(object, "jdbcUrl",
            "jdbc:postgresql://" + place + "?user=" + name + "&password=" + password, owner);
  json::add(object, "host", host, owner);
  json::add(object, "port", known.allocated_port, owner);
  json::add(object, "name", database_name, owner);
  json::add(object, "username", user.username, owner);
  json::add(object, "password", user.password, owner);
  return object;
}

response answer(int status, const json::document& body) {
  return {status, json::text_of(body), {}};
}

json::document object() {
  json::document body;
  body.SetObject();
  return body;
}

} // namespace

response error(int status, const std::string& description, const std::string& code) {
  auto body = object();
  if (!code.empty())
    json::add(body, "error", code, body);
  json::add(body, "description", description, body);
  return answer(status, body);
}

checked<model::provision_request> provision(const request& got, const std::string& id,
                                            const rules& by) {
  body_reader body{got, by.strict};
  parsed<model::provision_request> read;
  auto& asked = read.asked;
  asked.instance_id = id;
  asked.service_id = body.text("service_id", true);
  asked.plan_id = body.text("plan_id", true);
  asked.organization_guid = body.text("organization_guid", by.strict);
  asked.space_guid = body.text("space_guid", by.strict);
  (void)body.object("context");
  const auto* plan = find_plan(body, by, asked.service_id, asked.plan_id);
  auto parameters = read_parameters(body, by);
  if (body.wrong())
    return *body.wrong();
  asked.parameters = parameters.text;
  asked.longest = longest(*plan);
  asked.desired.node_count = parameters.node_count.value_or(plan->provision.node_count);
  asked.desired.cells = parameters.cells.value_or(std::vector<std::string>{});
  compare_counts(body, asked.desired.node_count, asked.desired.cells);
  if (body.wrong())
    return *body.wrong();
  read.accepts_incomplete = accepts_incomplete(got, body.flag("accepts_incomplete"), by.strict);
  if (by.strict && !read.accepts_incomplete)
    return async_required();
  return read;
}

checked<model::update_request> update(const request& got, const std::string& id, const rules& by) {
  body_reader body{got, by.strict};
  parsed<model::update_request> read;
  auto& asked = read.asked;
  asked.instance_id = id;
  asked.service_id = body.text("service_id", true);
  asked.plan_id = body.text("plan_id", false);
  (void)body.object("context");
  (void)body.object("previous_values");
  const auto* service = by.catalog.find_service(asked.service_id);
  if (!body.wrong() && service == nullptr)
    body.refuse("service_id \"" + asked.service_id
                + "\" is not in the catalog; see GET /v2/catalog");
  const model::plan* plan = nullptr;
  if (!asked.plan_id.empty())
    plan = find_plan(body, by, asked.service_id, asked.plan_id);
  auto parameters = read_parameters(body, by);
  if (body.wrong())
    return *body.wrong();
  asked.parameters = parameters.text;
  asked.node_count = parameters.node_count;
  asked.cells = parameters.cells;
  asked.longest = plan != nullptr ? longest(*plan) : longest_of_all(by.catalog);
  read.accepts_incomplete = accepts_incomplete(got, body.flag("accepts_incomplete"), by.strict);
  if (by.strict && !read.accepts_incomplete)
    return async_required();
  return read;
}

checked<model::deprovision_request> deprovision(const request& got, const std::string& id,
                                                const rules& by) {
  auto ids = read_query_ids(got, by);
  if (ids.wrong)
    return *ids.wrong;
  parsed<model::deprovision_request> read;
  read.asked = {id, ids.service_id, ids.plan_id,
                ids.plan != nullptr ? longest(*ids.plan) : longest_of_all(by.catalog)};
  read.accepts_incomplete = accepts_incomplete(got, false, by.strict);
  if (by.strict && !read.accepts_incomplete)
    return async_required();
  return read;
}

checked<model::bind_request> bind(const request& got, const std::string& id,
                                  const std::string& binding_id, const rules& by) {
  body_reader body{got, by.strict};
  parsed<model::bind_request> read;
  auto& wanted = read.asked.wanted;
  read.asked.instance_id = id;
  wanted.binding_id = binding_id;
  wanted.service_id = body.text("service_id", true);
  wanted.plan_id = body.text("plan_id", true);
  wanted.app_guid = body.text("app_guid", false);
  if (const auto* resource = body.object("bind_resource"); resource != nullptr)
    wanted.app_guid = json::string_member(*resource, "app_guid", wanted.app_guid);
  (void)body.object("context");
  const auto* plan = find_plan(body, by, wanted.service_id, wanted.plan_id);
  if (const auto* parameters = body.object("parameters"); parameters != nullptr) {
    wanted.parameters = json::canonical_text_of(*parameters);
    for (const auto& m : parameters->GetObject())
      body.refuse("parameters." + std::string{m.name.GetString(), m.name.GetStringLength()}
                  + " is not known; a binding has no parameters");
  }
  if (body.wrong())
    return *body.wrong();
  const auto* service = by.catalog.find_service(wanted.service_id);
  if (!plan->bindable.value_or(service->bindable))
    return error(400, "plan " + plan->name + " is not bindable");
  return read;
}

checked<model::unbind_request> unbind(const request& got, const std::string& id,
                                      const std::string& binding_id, const rules& by) {
  auto ids = read_query_ids(got, by);
  if (ids.wrong)
    return *ids.wrong;
  parsed<model::unbind_request> read;
  read.asked = {id, binding_id, ids.service_id, ids.plan_id};
  return read;
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

response catalog(const model::catalog& offered, std::size_t cell_count) {
  auto body = object();
  json::value services{rapidjson::kArrayType};
  for (const auto& service : offered.services)
    services.PushBack(service_json(service, cell_count, body), body.GetAllocator());
  json::add(body, "services", std::move(services), body);
  return answer(200, body);
}

response last_operation(const model::instance_snapshot& known) {
  const auto& op = known.known.current;
  bool in_progress = op.state == model::operation_state::in_progress;
  const char* state = in_progress                                     ? "in progress"
                      : op.state == model::operation_state::succeeded ? "succeeded"
                                                                      : "failed";
  // Platforms poll this for each of their instances: it is written directly, without a document.
  const auto& description = in_progress ? known.progress : op.description;
  response said{200, json::object_text({{"state", state}, {"description", description}}), {}};
  if (in_progress)
    said.headers.emplace_back("Retry-After", poll_again_seconds);
  return said;
}

response instance(const model::instance_snapshot& known) {
  const auto& op = known.known.current;
  if (op.type == model::operation_type::provision && op.state != model::operation_state::succeeded)
    return error(404, op.state == model::operation_state::failed
                          ? "provisioning of this instance failed"
                          : "this instance is still being provisioned");
  if (!known.known.had_leader)
    return error(404, "this instance was never provisioned completely");
  auto body = object();
  json::add(body, "service_id", known.known.service_id, body);
  json::add(body, "plan_id", known.known.plan_id, body);
  json::add(body, "parameters", parse_into(known.known.parameters, body), body);
  return answer(200, body);
}

response binding(int status, const model::instance_snapshot& known, const model::binding& which,
                 const std::string& host) {
  auto body = object();
  json::add(body, "credentials", credentials_json(known.known, host, body), body);
  json::value endpoint{rapidjson::kObjectType};
  json::add(endpoint, "host", host, body);
  json::value ports{rapidjson::kArrayType};
  ports.PushBack(json::string(std::to_string(known.known.allocated_port), body),
                 body.GetAllocator());
  json::add(endpoint, "ports", std::move(ports), body);
  json::add(endpoint, "protocol", "tcp", body);
  json::value endpoints{rapidjson::kArrayType};
  endpoints.PushBack(endpoint, body.GetAllocator());
  json::add(body, "endpoints", std::move(endpoints), body);
  if (status == 200)
    json::add(body, "parameters", parse_into(which.parameters, body), body);
  return answer(status, body);
}

} // namespace matriarch::http::osb
