#include "http/osb_requests.hpp"

#include <algorithm>
#include <cctype>

#include "base/json.hpp"
#include "base/times.hpp"
#include "http/percent_encoding.hpp"
#include "model/acceptance.hpp"
#include "model/names.hpp"
#include "model/plan.hpp"
#include "model/replica_health.hpp"

namespace matriarch::http::osb {

namespace {

// How long a platform shall wait between two polls: steps take about a second each.
constexpr const char* poll_again_seconds = "2";
// etcd and the broker's lease both come back within about this time after an outage.
constexpr const char* try_again_seconds = "5";
// The database that a new cluster's application user owns; `matriarch cell` makes it.
constexpr const char* database_name = "db";
// The record holds what a request says and is written with each change, and etcd takes 1.5 MB at
// once. GUIDs have 36 bytes, a platform's context some 500.
constexpr std::size_t longest_text = 4 * 1024;
constexpr std::size_t longest_object = 64 * 1024;

/// Whether that media type is JSON's, whatever its parameters are.
bool is_json(std::string_view media_type) {
  constexpr std::string_view json = "application/json";
  auto type = media_type.substr(0, media_type.find(';'));
  type = type.substr(0, type.find_last_not_of(" \t") + 1);
  return std::ranges::equal(type, json, {}, [](char c) {
    return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  });
}

/// Reads a request's body field by field and keeps the first thing that is wrong.
class body_reader {
public:
  body_reader(const request& got, bool strict) {
    const auto* type = got.header("content-type");
    if (strict && type != nullptr && !is_json(*type)) {
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

  bool has(const char* name) { return member(name) != nullptr; }

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
    if (found->GetStringLength() > longest_text)
      refuse(std::string{name} + " is longer than " + std::to_string(longest_text) + " bytes");
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

  /// An object's canonical text, if it is there.
  std::optional<std::string> object_text(const char* name) {
    const auto* found = object(name);
    if (found == nullptr)
      return std::nullopt;
    auto text = json::canonical_text_of(*found);
    if (text.size() > longest_object)
      refuse(std::string{name} + " is longer than " + std::to_string(longest_object) + " bytes");
    return text;
  }

  /// Null is as good as nothing.
  [[nodiscard]] bool has(const char* name) const {
    const auto* found = member(name);
    return found != nullptr && !found->IsNull();
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
  [[nodiscard]] const json::value* member(const char* name) const {
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

/// What a schema cannot say of the parameters.
std::string addition_to(const violation& wrong, const rules& by) {
  if (wrong.parameter == "node-count")
    return ", the number of cells";
  return wrong.parameter == "cells" ? "; the cells are " + guids_of(by.cells) : "";
}

/// The parameters, if the schema allows them.
const json::value* checked_parameters(body_reader& body, const parameter_schema& schema,
                                      const rules& by) {
  const auto* given = body.object("parameters");
  if (given == nullptr)
    return nullptr;
  if (auto wrong = schema.check(*given)) {
    body.refuse(wrong->sentence + addition_to(*wrong, by));
    return nullptr;
  }
  return given;
}

void read_cells(const json::value& given, body_reader& body, const rules& by,
                cluster_parameters& into) {
  auto& cells = into.cells.emplace();
  for (const auto& one : given.GetArray()) {
    std::string guid{one.GetString(), one.GetStringLength()};
    if (std::ranges::find(by.cells, guid, &model::cell_view::guid) == by.cells.end())
      return body.refuse("parameters.cells names " + model::quoted(guid)
                         + ", which is no cell; the cells are " + guids_of(by.cells));
    cells.push_back(std::move(guid));
  }
}

cluster_parameters read_parameters(body_reader& body, const rules& by) {
  cluster_parameters read;
  const auto* given = checked_parameters(body, by.schemas.of_cluster, by);
  if (given == nullptr)
    return read;
  read.text = json::canonical_text_of(*given);
  if (const auto* count = json::member(*given, "node-count"))
    read.node_count = count->GetInt();
  if (const auto* cells = json::member(*given, "cells"))
    read_cells(*cells, body, by, read);
  return read;
}

/// The version in maintenance_info, of which the rest does not matter here.
std::optional<std::string> read_maintenance_version(body_reader& body) {
  const auto* given = body.object("maintenance_info");
  if (given == nullptr)
    return std::nullopt;
  const auto* version = json::member(*given, "version");
  // Some platforms send the object without anything in it for a plan that has none.
  if (given->ObjectEmpty() || (version != nullptr && version->IsNull()))
    return std::nullopt;
  if (version == nullptr || !version->IsString()) {
    body.refuse("maintenance_info.version has to be a string: the version that the catalog names");
    return std::nullopt;
  }
  return json::string_member(*given, "version");
}

std::string version_of(const model::plan& plan) {
  return plan.maintenance ? plan.maintenance->version : std::string{};
}

/// Refuses a count of nodes that does not fit on the named cells.
void compare_counts(body_reader& body, int nodes, const std::vector<std::string>& cells) {
  if (!cells.empty() && static_cast<int>(cells.size()) < nodes)
    body.refuse("parameters.cells names " + std::to_string(cells.size())
                + " cells, but the cluster is to have " + std::to_string(nodes)
                + " nodes; name at least as many cells as nodes, or give a lower node-count");
}

/// The service of that id; refuses one that is not in the catalog.
const model::service* find_service(body_reader& body, const rules& by,
                                   const std::string& service_id) {
  if (body.wrong())
    return nullptr;
  const auto* service = by.catalog.find_service(service_id);
  if (service == nullptr)
    body.refuse("service_id " + model::quoted(service_id)
                + " is not in the catalog; see GET /v2/catalog");
  return service;
}

/// The plan of these ids; refuses what is not in the catalog.
const model::plan* find_plan(body_reader& body, const rules& by, const std::string& service_id,
                             const std::string& plan_id) {
  const auto* service = find_service(body, by, service_id);
  if (service == nullptr)
    return nullptr;
  const auto* plan = service->find_plan(plan_id);
  if (plan == nullptr)
    body.refuse("plan_id " + model::quoted(plan_id) + " is no plan of service " + service->name
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

response maintenance_conflict(const std::string& named, const std::string& offered) {
  return error(
      422,
      "maintenance_info.version is " + model::quoted(named) + ", but "
          + (offered.empty() ? "this plan has none" : "the catalog's is " + model::quoted(offered))
          + "; fetch the catalog again",
      "MaintenanceInfoConflict");
}

/// What an update may need to know of the service's plans.
std::map<std::string, model::plan_offer> offers_of(const model::service& service) {
  std::map<std::string, model::plan_offer> offers;
  for (const auto& plan : service.plans)
    offers[plan.id] = {plan.provision.node_count, plan.provision.settings, version_of(plan),
                       plan.plan_updateable.value_or(service.plan_updateable)};
  return offers;
}

/// The application that a binding is for, in bind_resource; older platforms have it beside that.
void read_bind_resource(body_reader& body, std::string& app_guid) {
  const auto* resource = body.object("bind_resource");
  const auto* given = resource == nullptr ? nullptr : json::member(*resource, "app_guid");
  if (given == nullptr || given->IsNull())
    return;
  app_guid = json::string_member(*resource, "app_guid");
  if (!given->IsString())
    body.refuse("bind_resource.app_guid has to be a string");
  else if (app_guid.size() > longest_text)
    body.refuse("bind_resource.app_guid is longer than " + std::to_string(longest_text) + " bytes");
}

void read_predecessor(body_reader& body, const model::plan& plan, std::string& into) {
  if (!body.has("predecessor_binding_id"))
    return;
  into = body.text("predecessor_binding_id", true);
  if (!plan.binding_rotatable)
    body.refuse("plan " + plan.name
                + " has no binding_rotatable: bind without a predecessor_binding_id");
}

model::duration longest(const model::plan& plan) {
  return std::chrono::seconds{plan.maximum_polling_duration};
}

/// The ids of a DELETE, which has them in its query.
struct query_ids {
  std::string service_id;
  std::string plan_id;
  std::optional<response> wrong;
  const model::plan* plan = nullptr; ///< unless something is wrong
};

/// A removal names what it removes, also where the broker is not strict: the examples of the seeds
/// have none without ids, and one that was sent by mistake must not end a database.
query_ids read_query_ids(const request& got, const rules& by) {
  query_ids ids;
  auto read = [&](const char* name) {
    const auto* given = got.query_value(name);
    if ((given == nullptr || given->empty()) && !ids.wrong)
      ids.wrong = error(400, std::string{name} + " is missing in the query");
    return given == nullptr ? std::string{} : *given;
  };
  ids.service_id = read("service_id");
  ids.plan_id = read("plan_id");
  if (ids.wrong)
    return ids;
  const auto* service = by.catalog.find_service(ids.service_id);
  if (service == nullptr)
    ids.wrong = error(400, "service_id " + model::quoted(ids.service_id)
                               + " is not in the catalog; see GET /v2/catalog");
  else if (ids.plan = service->find_plan(ids.plan_id); ids.plan == nullptr)
    ids.wrong = error(400, "plan_id " + model::quoted(ids.plan_id) + " is no plan of service "
                               + service->name + "; see GET /v2/catalog");
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

/// What applications need to reach a database as that user. Every character of a name or a password
/// is safe in the URIs.
json::value credentials_json(const model::credentials& user, const binding_view& shown, int port,
                             json::document& owner) {
  const auto& host = shown.host;
  bool is_ipv6 = host.find(':') != std::string::npos;
  auto place =
      (is_ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port) + "/" + database_name;
  auto name = percent_encoded(user.username);
  auto password = percent_encoded(user.password);
  json::value object{rapidjson::kObjectType};
  // Some drivers' registries know this scheme alone.
  json::add(object, "uri", "postgresql://" + name + ":" + password + "@" + place, owner);
  json::add(object, "jdbcUrl",
            "jdbc:postgresql://" + place + "?user=" + name + "&password=" + password, owner);
  // Libraries that read bindings by themselves look for one or the other of these names.
  for (const auto* name_of_host : {"host", "hostname"})
    json::add(object, name_of_host, host, owner);
  json::add(object, "port", port, owner);
  for (const auto* name_of_database : {"name", "database", "dbname"})
    json::add(object, name_of_database, database_name, owner);
  json::add(object, "username", user.username, owner);
  json::add(object, "password", user.password, owner);
  if (!shown.authority.empty())
    json::add(object, "ca_certificate", shown.authority, owner);
  return object;
}

/// The superuser's part of a binding's credentials.
json::value superuser_json(const binding_view& shown, json::document& owner) {
  const auto& known = shown.known.known;
  auto whole = credentials_json(known.living.secret_of(model::secret_name::superuser), shown,
                                known.endpoints[model::endpoint::primary], owner);
  json::value object{rapidjson::kObjectType};
  for (const auto* name : {"username", "password", "uri"})
    json::add(object, name, std::move(whole[name]), owner);
  return object;
}

json::value endpoints_json(const std::string& host, int port, json::document& owner) {
  json::value ports{rapidjson::kArrayType};
  ports.PushBack(json::string(std::to_string(port), owner), owner.GetAllocator());
  json::value endpoint{rapidjson::kObjectType};
  json::add(endpoint, "host", host, owner);
  json::add(endpoint, "ports", std::move(ports), owner);
  json::add(endpoint, "protocol", "tcp", owner);
  json::value endpoints{rapidjson::kArrayType};
  endpoints.PushBack(endpoint, owner.GetAllocator());
  return endpoints;
}

/// When the credentials end, if they do.
void add_binding_metadata(json::document& body, const model::binding& which) {
  json::value metadata{rapidjson::kObjectType};
  if (which.expires_at)
    json::add(metadata, "expires_at", base::text_of(*which.expires_at), body);
  if (which.renew_before)
    json::add(metadata, "renew_before", base::text_of(*which.renew_before), body);
  if (!metadata.ObjectEmpty())
    json::add(body, "metadata", std::move(metadata), body);
}

json::document binding_json(const binding_view& shown) {
  const auto& known = shown.known.known;
  const auto& which = shown.which;
  const auto user = which.role.username.empty()
                        ? known.living.secret_of(model::secret_name::application)
                        : which.role;
  int port =
      known.endpoints[which.read_only ? model::endpoint::read_only : model::endpoint::primary];
  if (port == 0)
    port = known.endpoints[model::endpoint::primary];
  json::document body;
  body.SetObject();
  auto credentials = credentials_json(user, shown, port, body);
  if (shown.with_superuser)
    json::add(credentials, "superuser", superuser_json(shown, body), body);
  json::add(body, "credentials", std::move(credentials), body);
  json::add(body, "endpoints", endpoints_json(shown.host, port, body), body);
  add_binding_metadata(body, which);
  if (!which.note.empty())
    json::add(body, "description", which.note, body);
  return body;
}

response answer(int status, const json::document& body) {
  return {status, json::text_of(body), {}};
}

json::document object() {
  json::document body;
  body.SetObject();
  return body;
}

json::value parse_into(const std::string& text, json::document& owner) {
  auto parsed = json::parse(text);
  return parsed.ok() ? json::value{*parsed, owner.GetAllocator()}
                     : json::value{rapidjson::kObjectType};
}

/// The body of a last_operation. Platforms poll it for each of their instances: it is written
/// directly, without a document.
std::string state_text(std::string_view state, std::string_view description) {
  return description.empty() ? json::object_text({{"state", state}})
                             : json::object_text({{"state", state}, {"description", description}});
}

response in_progress(std::string_view description) {
  return {200, state_text("in progress", description), {{"Retry-After", poll_again_seconds}}};
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
  asked.context = body.object_text("context").value_or("{}");
  auto version = read_maintenance_version(body);
  const auto* plan = find_plan(body, by, asked.service_id, asked.plan_id);
  auto parameters = read_parameters(body, by);
  if (body.wrong())
    return *body.wrong();
  const auto& settings = plan->provision;
  asked.parameters = parameters.text;
  asked.longest = longest(*plan);
  asked.desired.node_count = parameters.node_count.value_or(settings.node_count);
  asked.desired.cells = parameters.cells.value_or(std::vector<std::string>{});
  asked.desired.settings = settings.settings;
  asked.maintenance_version = version_of(*plan);
  asked.requested_by = by.requested_by;
  compare_counts(body, asked.desired.node_count, asked.desired.cells);
  if (body.wrong())
    return *body.wrong();
  if (version && *version != asked.maintenance_version)
    return maintenance_conflict(*version, asked.maintenance_version);
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
  if (body.has("plan_id") && asked.plan_id.empty())
    body.refuse("plan_id must not be empty; leave it out to keep the plan");
  auto context = body.object_text("context");
  (void)body.object("previous_values");
  asked.maintenance_version = read_maintenance_version(body);
  const auto* service = find_service(body, by, asked.service_id);
  const model::plan* plan = nullptr;
  if (!asked.plan_id.empty())
    plan = find_plan(body, by, asked.service_id, asked.plan_id);
  auto parameters = read_parameters(body, by);
  if (body.wrong())
    return *body.wrong();
  asked.parameters = parameters.text;
  asked.node_count = parameters.node_count;
  asked.cells = parameters.cells;
  asked.offers = offers_of(*service);
  bool context_alone = context && asked.parameters == "{}";
  asked.drops_context = context && !service->allow_context_updates;
  if (!asked.drops_context)
    asked.context = std::move(context);
  asked.requested_by = by.requested_by;
  asked.longest = plan != nullptr ? longest(*plan) : longest_of_all(by.catalog);
  read.accepts_incomplete = accepts_incomplete(got, body.flag("accepts_incomplete"), by.strict);
  asked.may_poll = read.accepts_incomplete || !by.strict;
  // A change of the context is done at once; whether the plan changes, or what of it the instance has
  // already, the instance knows.
  if (!asked.may_poll && !context_alone)
    return async_required();
  return read;
}

checked<model::deprovision_request> deprovision(const request& got, const std::string& id,
                                                const rules& by) {
  auto ids = read_query_ids(got, by);
  if (ids.wrong)
    return *ids.wrong;
  parsed<model::deprovision_request> read;
  read.asked = {id, ids.service_id, ids.plan_id, by.requested_by, longest(*ids.plan)};
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
  read_bind_resource(body, wanted.app_guid);
  (void)body.object("context");
  const auto* plan = find_plan(body, by, wanted.service_id, wanted.plan_id);
  if (body.wrong())
    return *body.wrong();
  const auto* service = by.catalog.find_service(wanted.service_id);
  if (!plan->bindable.value_or(service->bindable))
    return error(400, "plan " + plan->name + " is not bindable");
  read_predecessor(body, *plan, wanted.predecessor);
  if (const auto* given = checked_parameters(body, by.schemas.of_binding(*plan), by)) {
    wanted.parameters = json::canonical_text_of(*given);
    const auto* read_only = json::member(*given, "read-only");
    wanted.read_only = read_only != nullptr && read_only->GetBool();
  }
  if (body.wrong())
    return *body.wrong();
  read.asked.lifetime = plan->provision.binding_lifetime;
  read.accepts_incomplete = accepts_incomplete(got, body.flag("accepts_incomplete"), by.strict);
  read.asked.may_poll = read.accepts_incomplete;
  return read;
}

checked<model::unbind_request> unbind(const request& got, const std::string& id,
                                      const std::string& binding_id, const rules& by) {
  auto ids = read_query_ids(got, by);
  if (ids.wrong)
    return *ids.wrong;
  parsed<model::unbind_request> read;
  read.accepts_incomplete = accepts_incomplete(got, false, by.strict);
  read.asked = {id, binding_id, ids.service_id, ids.plan_id, read.accepts_incomplete};
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
  // What was true when it succeeded need not be so any more: who looks is told of it here.
  bool unwell = !failed && model::unwell_nodes(known.known, known.seen) > 0;
  auto body = state_text(failed ? "failed" : "succeeded",
                         unwell ? model::describe(known.known, known.seen) : op.description);
  // What failed updates and removals leave behind (OSB 2.17, "Polling Last Operation"): an update
  // is taken back or goes on by itself, a removal cannot be.
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
  json::add(body, "parameters", parse_into(record.parameters, body), body);
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

response binding(int status, const binding_view& shown) {
  return answer(status, binding_json(shown));
}

response fetched_binding(const binding_view& shown) {
  if (shown.which.phase != model::binding_phase::ready)
    return error(404,
                 "binding " + model::quoted(shown.which.binding_id)
                     + (shown.which.phase == model::binding_phase::creating ? " is still being made"
                                                                            : " is being removed"));
  auto body = binding_json(shown);
  json::add(body, "parameters", parse_into(shown.which.parameters, body), body);
  return answer(200, body);
}

response end_of_removal(const std::string& operation_id, const request& poll, int status,
                        const std::string& what) {
  const auto* named = poll.query_value("operation");
  if (named != nullptr && !operation_id.empty() && *named == operation_id)
    return {200, state_text("succeeded", what), {}};
  return error(status, what);
}

response binding_last_operation(const model::verdict& gone, const std::string& binding_id,
                                const request& poll) {
  std::string operation_id;
  if (gone.left)
    if (auto ended = gone.left->ended_bindings.find(binding_id);
        ended != gone.left->ended_bindings.end())
      operation_id = ended->second.operation_id;
  return end_of_removal(operation_id, poll, 410, gone.description);
}

response binding_last_operation(const model::instance_snapshot& known,
                                const std::string& binding_id, const request& poll,
                                model::wall_time now) {
  auto found = known.bindings.find(binding_id);
  if (found == known.bindings.end()) {
    auto ended = known.known.ended_bindings.find(binding_id);
    return ended == known.known.ended_bindings.end()
               ? no_binding(known, binding_id)
               : end_of_removal(ended->second.operation_id, poll, 410,
                                "binding " + model::quoted(binding_id) + " has been removed");
  }
  const auto& which = found->second;
  if (which.phase == model::binding_phase::ready)
    return {200, state_text("succeeded", which.note), {}};
  auto trouble = known.binding_troubles.find(binding_id);
  const auto& why =
      trouble == known.binding_troubles.end() ? known.roles_wait_for : trouble->second;
  if (now <= which.asked_at + model::longest_binding_operation)
    return in_progress(why);
  return {200,
          state_text("failed", "not done in time, and still tried: "
                                   + (why.empty() ? "the cluster has no leader" : why)),
          {}};
}

response no_binding(const model::instance_snapshot& known, const std::string& binding_id) {
  if (!known.unreadable_bindings.contains(model::name_of(binding_id)))
    return error(404, "there is no binding " + model::quoted(binding_id));
  return refusal({model::verdict_kind::unavailable, model::unreadable(binding_id)});
}

} // namespace matriarch::http::osb
