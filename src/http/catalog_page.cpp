#include "http/catalog_page.hpp"

#include <algorithm>

#include "base/json.hpp"
#include "base/times.hpp"
#include "model/names.hpp"

namespace matriarch::http {

namespace {

json::value object() {
  return json::value{rapidjson::kObjectType};
}

/// `metadata`, which the configuration has checked to be a JSON object.
json::value parsed(const std::string& text, json::document& owner) {
  auto read = json::parse(text);
  return read.ok() ? json::value{*read, owner.GetAllocator()} : object();
}

/// `{"parameters": <schema>}`.
json::value published(const parameter_schema& schema, json::document& owner) {
  auto holder = object();
  json::add(holder, "parameters", json::value{schema.published(), owner.GetAllocator()}, owner);
  return holder;
}

json::value schemas_json(const model::plan& plan, const parameter_schemas& schemas, bool bindable,
                         json::document& owner) {
  auto instance = object();
  json::add(instance, "create", published(schemas.of_cluster, owner), owner);
  json::add(instance, "update", published(schemas.of_cluster, owner), owner);
  auto all = object();
  json::add(all, "service_instance", std::move(instance), owner);
  if (bindable) {
    auto binding = object();
    json::add(binding, "create", published(schemas.of_binding(plan), owner), owner);
    json::add(all, "service_binding", std::move(binding), owner);
  }
  return all;
}

json::value plan_json(const model::service& service, const model::plan& plan,
                      const parameter_schemas& schemas, json::document& owner) {
  auto shown = object();
  bool bindable = plan.bindable.value_or(service.bindable);
  json::add(shown, "id", plan.id, owner);
  json::add(shown, "name", plan.name, owner);
  json::add(shown, "description", plan.description, owner);
  json::add(shown, "free", plan.free, owner);
  // The service's setting applies to a plan without its own, but not every client looks there.
  json::add(shown, "bindable", bindable, owner);
  json::add(shown, "binding_rotatable", plan.binding_rotatable, owner);
  json::add(shown, "plan_updateable", plan.plan_updateable.value_or(service.plan_updateable),
            owner);
  if (plan.maintenance) {
    auto maintenance = object();
    json::add(maintenance, "version", plan.maintenance->version, owner);
    if (!plan.maintenance->description.empty())
      json::add(maintenance, "description", plan.maintenance->description, owner);
    json::add(shown, "maintenance_info", std::move(maintenance), owner);
  }
  if (!plan.metadata.empty())
    json::add(shown, "metadata", parsed(plan.metadata, owner), owner);
  json::add(shown, "maximum_polling_duration", plan.maximum_polling_duration, owner);
  json::add(shown, "schemas", schemas_json(plan, schemas, bindable, owner), owner);
  return shown;
}

json::value service_json(const model::service& service, const parameter_schemas& schemas,
                         json::document& owner) {
  auto shown = object();
  json::add(shown, "id", service.id, owner);
  json::add(shown, "name", service.name, owner);
  json::add(shown, "description", service.description, owner);
  json::add(shown, "bindable", service.bindable, owner);
  json::add(shown, "instances_retrievable", true, owner);
  json::add(shown, "bindings_retrievable", true, owner);
  json::add(shown, "plan_updateable", service.plan_updateable, owner);
  json::add(shown, "allow_context_updates", service.allow_context_updates, owner);
  if (!service.tags.empty()) {
    json::value tags{rapidjson::kArrayType};
    for (const auto& tag : service.tags)
      tags.PushBack(json::string(tag, owner), owner.GetAllocator());
    json::add(shown, "tags", std::move(tags), owner);
  }
  if (!service.metadata.empty())
    json::add(shown, "metadata", parsed(service.metadata, owner), owner);
  json::value plans{rapidjson::kArrayType};
  for (const auto& plan : service.plans)
    plans.PushBack(plan_json(service, plan, schemas, owner), owner.GetAllocator());
  json::add(shown, "plans", std::move(plans), owner);
  return shown;
}

std::string body_of(const model::catalog& offered, const parameter_schemas& schemas) {
  json::document body;
  body.SetObject();
  json::value services{rapidjson::kArrayType};
  for (const auto& service : offered.services)
    services.PushBack(service_json(service, schemas, body), body.GetAllocator());
  json::add(body, "services", std::move(services), body);
  return json::text_of(body);
}

/// Whether If-None-Match names the tag. Weak and strong tags compare alike (RFC 9110, 13.1.2).
bool names(std::string_view list, std::string_view tag) {
  while (!list.empty()) {
    auto comma = std::min(list.find(','), list.size());
    auto one = list.substr(0, comma);
    list.remove_prefix(std::min(comma + 1, list.size()));
    one.remove_prefix(std::min(one.find_first_not_of(" \t"), one.size()));
    one = one.substr(0, one.find_last_not_of(" \t") + 1);
    if (one.starts_with("W/"))
      one.remove_prefix(2);
    if (one == tag || one == "*")
      return true;
  }
  return false;
}

} // namespace

catalog_page::catalog_page(const model::catalog& offered, std::size_t cell_count,
                           std::time_t modified)
    : cell_count_(cell_count), modified_(modified), schemas_(cell_count),
      body_(body_of(offered, schemas_)), tag_("\"" + model::start_of_sha256(body_, 64) + "\"") {}

bool catalog_page::is_known_to_sender(const request& got) const {
  // RFC 9110, section 13.1.3: If-Modified-Since counts only without If-None-Match.
  if (const auto* tags = got.header("if-none-match"))
    return names(*tags, tag_);
  const auto* since = got.header("if-modified-since");
  auto then = since == nullptr ? std::nullopt : base::parse_http_date(*since);
  return then && modified_ <= *then;
}

response catalog_page::answer(const request& got) const {
  response said{200, body_, {{"ETag", tag_}, {"Last-Modified", base::http_date(modified_)}}};
  if (is_known_to_sender(got)) {
    said.status = 304;
    said.body.clear();
  }
  return said;
}

std::shared_ptr<const catalog_page> catalog_pages::page(std::size_t cell_count) {
  std::lock_guard guard{mutex_};
  if (!newest_ || newest_->cell_count() != cell_count) {
    auto now = std::time(nullptr);
    // HTTP's dates have whole seconds: two pages of the same second would look equal.
    auto modified = newest_ ? std::max(now, newest_->modified() + 1) : now;
    newest_ = std::make_shared<const catalog_page>(offered_, cell_count, modified);
  }
  return newest_;
}

} // namespace matriarch::http
