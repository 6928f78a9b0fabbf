#include "http/osb_requests.hpp"

#include <algorithm>

#include "base/utf8.hpp"
#include "http/body_reader.hpp"
#include "http/osb_answers.hpp"
#include "model/acceptance.hpp"

namespace matriarch::http::osb {

namespace {

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

/// A hint that the schema cannot give.
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
      return body.refuse("parameters.cells names " + matriarch::quoted(guid)
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

/// The version in maintenance_info; the rest does not matter here.
std::optional<std::string> read_maintenance_version(body_reader& body) {
  const auto* given = body.object("maintenance_info");
  if (given == nullptr)
    return std::nullopt;
  const auto* version = json::member(*given, "version");
  // For a plan without maintenance_info some platforms send an empty object.
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

/// Refuses a node count greater than the number of named cells.
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
    body.refuse("service_id " + matriarch::quoted(service_id)
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
    body.refuse("plan_id " + matriarch::quoted(plan_id) + " is no plan of service " + service->name
                + "; see GET /v2/catalog");
  return plan;
}

bool accepts_incomplete(const request& got, bool in_body, bool strict) {
  const auto* said = got.query_value("accepts_incomplete");
  return (said != nullptr && *said == "true") || (in_body && !strict);
}

response maintenance_conflict(const std::string& named, const std::string& offered) {
  return error(422,
               "maintenance_info.version is " + matriarch::quoted(named) + ", but "
                   + (offered.empty() ? "this plan has none"
                                      : "the catalog's is " + matriarch::quoted(offered))
                   + "; fetch the catalog again",
               "MaintenanceInfoConflict");
}

/// The service's plans, as an update needs to know them.
std::map<std::string, model::plan_offer> offers_of(const model::service& service) {
  std::map<std::string, model::plan_offer> offers;
  for (const auto& plan : service.plans)
    offers[plan.id] = {plan.provision.node_count, plan.provision.settings, version_of(plan),
                       plan.plan_updateable.value_or(service.plan_updateable)};
  return offers;
}

/// The application that a binding is for, from bind_resource; older platforms have it beside that.
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

/// The ids of a DELETE, from its query.
struct query_ids {
  std::string service_id;
  std::string plan_id;
  std::optional<response> wrong;
  const model::plan* plan = nullptr; ///< null if something is wrong
};

/// A removal must name what it removes, even if the broker is not strict: all of the original
/// broker's examples have ids, and a request sent by mistake must not destroy a database.
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
    ids.wrong = error(400, "service_id " + matriarch::quoted(ids.service_id)
                               + " is not in the catalog; see GET /v2/catalog");
  else if (ids.plan = service->find_plan(ids.plan_id); ids.plan == nullptr)
    ids.wrong = error(400, "plan_id " + matriarch::quoted(ids.plan_id) + " is no plan of service "
                               + service->name + "; see GET /v2/catalog");
  return ids;
}

/// The longest polling duration of all plans in the catalog, for a request that names no plan.
model::duration longest_of_all(const model::catalog& offered) {
  std::int64_t seconds = 0;
  for (const auto& service : offered.services)
    for (const auto& plan : service.plans)
      seconds = std::max(seconds, plan.maximum_polling_duration);
  return std::chrono::seconds{seconds};
}

} // namespace

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
  // A change of the context is done at once. Whether the plan changes, or whether the instance has
  // the plan's settings already, is for the instance to decide.
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

} // namespace matriarch::http::osb
