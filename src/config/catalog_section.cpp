#include "config/catalog_section.hpp"

#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <regex>
#include <set>

#include "base/json.hpp"
#include "config/uri.hpp"
#include "model/words.hpp"

namespace matriarch::config {

namespace {

using json_writer = rapidjson::Writer<rapidjson::StringBuffer>;

/// Cloud Controller stops polling after a week, so a longer time has no effect.
constexpr std::int64_t longest_polling_seconds = 7LL * 24 * 60 * 60;

/// OSB 2.17, "Catalog Management": platforms need not accept longer strings.
constexpr std::ptrdiff_t longest_text = 255;

/// A binding that expires sooner could be gone before its application has started.
constexpr std::int64_t shortest_lifetime_seconds = 60;
/// A century: a later time could not be written in OSB's date format.
constexpr std::int64_t longest_lifetime_seconds = 100LL * 365 * 24 * 60 * 60;

/// Converts YAML to JSON: an unquoted true, false, null or JSON number keeps its type, and
/// everything else is a string.
void write_json(const YAML::Node& node, json_writer& writer) {
  switch (node.Type()) {
  case YAML::NodeType::Map:
    writer.StartObject();
    for (const auto& entry : node) {
      writer.Key(entry.first.Scalar().c_str());
      write_json(entry.second, writer);
    }
    writer.EndObject();
    return;
  case YAML::NodeType::Sequence:
    writer.StartArray();
    for (const auto& item : node)
      write_json(item, writer);
    writer.EndArray();
    return;
  case YAML::NodeType::Scalar: {
    static const std::regex number(R"(-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?)");
    const auto& text = node.Scalar();
    // yaml-cpp marks a quoted scalar with the tag "!" and a plain one with "?".
    const auto plain = node.Tag() == "?";
    if (plain && (text == "true" || text == "false"))
      writer.Bool(text == "true");
    else if (plain && std::regex_match(text, number))
      writer.RawValue(text.c_str(), text.size(), rapidjson::kNumberType);
    else
      writer.String(text.c_str(), static_cast<rapidjson::SizeType>(text.size()));
    return;
  }
  default:
    writer.Null();
  }
}

std::string metadata_of(const section& from) {
  if (!from.has("metadata"))
    return {};
  (void)from.child("metadata"); // refuses anything but a mapping
  rapidjson::StringBuffer buffer;
  json_writer writer(buffer);
  write_json(from.node("metadata"), writer);
  std::string text(buffer.GetString(), buffer.GetSize());
  const auto parsed = json::parse(text);
  if (!parsed)
    from.refuse("metadata", "metadata cannot be written as JSON: " + parsed.error());
  return text;
}

/// A text of the catalog, within OSB's length in characters.
std::string short_text(const section& from, std::string_view name) {
  auto text = from.text(name);
  // Every character has exactly one byte that is not a UTF-8 continuation byte.
  const auto characters =
      std::ranges::count_if(text, [](unsigned char c) { return (c & 0b1100'0000) != 0b1000'0000; });
  if (characters > longest_text)
    from.refuse(name, std::string(name) + " has " + std::to_string(characters)
                          + " characters; the Open Service Broker API allows "
                          + std::to_string(longest_text));
  return text;
}

/// A name that `cf create-service` accepts without quoting.
std::string cli_friendly_name(const section& from, std::string_view name) {
  auto text = short_text(from, name);
  if (!consists_of(text, ".-"))
    from.refuse(name, std::string(name)
                          + " must consist of letters, digits, periods and hyphens, found \"" + text
                          + "\"");
  return text;
}

std::vector<std::string> tags_of(const section& from) {
  auto tags = from.texts("tags");
  for (const auto& tag : tags)
    if (tag.size() > static_cast<std::size_t>(longest_text))
      from.refuse("tags", "a tag has " + std::to_string(tag.size())
                              + " bytes; the Open Service Broker API allows "
                              + std::to_string(longest_text));
  return tags;
}

// -- provision ------------------------------------------------------------------------------------

int node_count_of(const section& from, std::size_t cells, int otherwise) {
  const auto most = static_cast<std::int64_t>(cells);
  const auto count = from.number("node_count", 1, most, otherwise);
  if (count > most)
    from.refuse("provision.node_count is missing; its default of " + std::to_string(count)
                + " is more than the number of cells, " + std::to_string(most)
                + ": write node_count, from 1 to " + std::to_string(most));
  return static_cast<int>(count);
}

model::credentials_mode credentials_of(const section& from, model::credentials_mode otherwise) {
  const auto mode = from.text("credentials", model::text_of(otherwise));
  if (auto known = model::credentials_modes.value_of(mode))
    return *known;
  from.refuse("credentials",
              "provision.credentials must be per-binding or shared, found \"" + mode + "\"");
}

model::synchronous_mode synchronous_of(const section& from, int node_count) {
  const auto mode = from.text("synchronous", "false");
  if (mode == "false")
    return model::synchronous_mode::off;
  if (mode == "true")
    return model::synchronous_mode::on;
  if (mode != "strict")
    from.refuse("synchronous",
                "provision.synchronous must be false, true or strict, found \"" + mode + "\"");
  if (node_count < 2)
    from.refuse("synchronous", "provision.synchronous must not be strict with a node_count of 1: "
                               "without a replica every write would be refused");
  return model::synchronous_mode::strict;
}

int connection_limit_of(const section& from, const model::cluster_settings& settings,
                        const model::engine& engine) {
  if (!from.has("connection_limit"))
    return settings.connection_limit;
  const auto limit = from.number("connection_limit", 1, engine.most_connections());
  const auto name = std::string{engine.connections_parameter()};
  const auto connections = settings.parameters.find(name);
  if (connections == settings.parameters.end())
    return static_cast<int>(limit);
  std::int64_t most = 0; // the engine allows only integers
  std::from_chars(connections->second.data(),
                  connections->second.data() + connections->second.size(), most);
  if (limit > most)
    from.refuse("connection_limit",
                "provision.connection_limit must not be greater than the plan's " + name + ", "
                    + connections->second + "; found " + std::to_string(limit));
  return static_cast<int>(limit);
}

std::int64_t size_of(const section& from, std::string_view name, std::int64_t least) {
  if (!from.has(name))
    return 0;
  const auto text = from.text(name);
  const auto bytes = model::bytes_of(text);
  if (!bytes || *bytes < least)
    from.refuse(name, "provision." + std::string(name) + " must be a whole number of MB, GB or TB, "
                          + model::size_in_words(least) + " at least, such as 2GB; found \"" + text
                          + "\"");
  return *bytes;
}

std::int64_t cpu_of(const section& from) {
  if (!from.has("cpu"))
    return 0;
  const auto text = from.text("cpu");
  const auto hundredths = model::hundredths_of(text);
  if (!hundredths || *hundredths < model::least_cpu || *hundredths > model::most_cpu)
    from.refuse("cpu", "provision.cpu must be a number of processors from "
                           + model::cpu_in_words(model::least_cpu) + " to "
                           + model::cpu_in_words(model::most_cpu)
                           + ", with two decimals at most, such as 2 or 0.5; found \"" + text
                           + "\"");
  return *hundredths;
}

model::node_limits limits_of(const section& from) {
  model::node_limits limits;
  limits.memory = size_of(from, "memory", model::least_memory);
  if (from.has("processes"))
    limits.processes = from.number("processes", model::least_processes, model::most_processes);
  limits.cpu = cpu_of(from);
  limits.disk = size_of(from, "disk", model::least_disk);
  return limits;
}

std::int64_t binding_lifetime_of(const section& from) {
  if (!from.has("binding_lifetime"))
    return 0;
  constexpr std::int64_t second = 1'000;
  const auto seconds = from.milliseconds("binding_lifetime") / second;
  if (seconds < shortest_lifetime_seconds || seconds > longest_lifetime_seconds)
    from.refuse("binding_lifetime", "provision.binding_lifetime must be from 1m to 36500d; leave "
                                    "it out for credentials that do not expire");
  return seconds;
}

/// Refuses settings that need a role for each binding.
void refuse_without_roles(const section& from) {
  for (const auto* name : {"connection_limit", "binding_lifetime"})
    if (from.has(name))
      from.refuse(name, std::string("provision.") + name
                            + " needs credentials: per-binding; with shared ones a binding has no "
                              "role that could have it");
}

/// The engines that a plan may name, in words.
std::string names_of(const model::engine_list& engines) {
  std::string names;
  for (const auto* one : engines.all())
    names += (names.empty() ? "" : " or ") + std::string{one->name()};
  return engines.all().size() == 1 ? names + ", the only engine so far" : names;
}

const model::engine& engine_of(const section& from, const model::engine_list& engines) {
  if (!from.has("engine"))
    return engines.usual();
  const auto name = from.text("engine");
  const auto* found = name.empty() ? nullptr : engines.find(name);
  if (found == nullptr)
    from.refuse("engine",
                "provision.engine must be " + names_of(engines) + ", found \"" + name + "\"");
  return *found;
}

/// The engine's own parameters as the plan sets them, completed.
std::map<std::string, std::string> parameters_of(const section& from, const model::engine& engine,
                                                 const model::node_limits& limits) {
  model::given_parameters given;
  for (const auto& name : from.names()) {
    const auto value = from.node(name);
    if (!value.IsScalar())
      from.refuse(name, name + " must be a text or a number: " + std::string{engine.title()}
                            + " has no other values");
    given.emplace_back(name, value.Scalar());
  }
  auto checked = engine.check(given);
  if (checked.fault)
    from.refuse(checked.fault->name, checked.fault->words);
  return engine.completed(engine.within(std::move(checked.parameters), limits));
}

/// Refuses settings that the engine's clusters do not support.
void refuse_impossible(const section& from, const model::engine& engine,
                       const model::provision_settings& asked) {
  const auto can = engine.can();
  const auto of_engine = std::string{engine.title()};
  if (!can.replicas && asked.node_count > 1)
    from.refuse("node_count", "provision.node_count must be 1: " + of_engine
                                  + " has no replicas here, found "
                                  + std::to_string(asked.node_count));
  if (!can.synchronous && asked.settings.synchronous != model::synchronous_mode::off)
    from.refuse("synchronous",
                "provision.synchronous must be false: " + of_engine + " waits for no replica");
  if (!can.users_per_binding && asked.settings.credentials == model::credentials_mode::per_binding)
    from.refuse("credentials", "provision.credentials must be shared: " + of_engine
                                   + " has no users of bindings' own");
}

model::provision_settings provision_of(const section& from, std::size_t cells,
                                       const model::engine_list& engines) {
  from.allow({"engine", "node_count", "credentials", "synchronous", "ttl", "node_type",
              "connection_limit", "binding_lifetime", "superuser_in_bindings", "parameters",
              "memory", "processes", "cpu", "disk"});
  model::provision_settings provision;
  const auto& engine = engine_of(from, engines);
  provision.engine = engine.name();
  const auto can = engine.can();
  provision.node_count = node_count_of(from, cells, can.replicas ? provision.node_count : 1);
  auto& settings = provision.settings;
  settings.credentials =
      credentials_of(from, can.users_per_binding ? model::credentials_mode::per_binding
                                                 : model::credentials_mode::shared);
  if (settings.credentials == model::credentials_mode::shared)
    refuse_without_roles(from);
  settings.synchronous = synchronous_of(from, provision.node_count);
  refuse_impossible(from, engine, provision);
  // Below 5 s there is no room for loop_wait and retry_timeout; above an hour nobody would wait for
  // the failover.
  if (from.has("ttl"))
    settings.ttl = static_cast<int>(from.number("ttl", 5, 3'600));
  if (from.has("node_type"))
    settings.node_type = cli_friendly_name(from, "node_type");
  const auto limits = limits_of(from);
  settings.parameters = parameters_of(from.child_or_empty("parameters"), engine, limits);
  if (auto fault = engine.too_small(limits, settings.parameters))
    from.refuse(fault->name, "provision." + fault->name + " " + fault->words);
  if (limits != model::node_limits{})
    settings.limits = limits;
  settings.connection_limit = connection_limit_of(from, settings, engine);
  provision.binding_lifetime = binding_lifetime_of(from);
  provision.superuser_in_bindings =
      from.flag("superuser_in_bindings", provision.superuser_in_bindings);
  return provision;
}

// -- services and plans ---------------------------------------------------------------------------

model::maintenance_info maintenance_of(const section& from) {
  from.allow({"version", "description"});
  // semver.org, "Semantic Versioning 2.0.0": its own regular expression.
  static const std::regex semantic_version("(0|[1-9][0-9]*)\\.(0|[1-9][0-9]*)\\.(0|[1-9][0-9]*)"
                                           "(-(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
                                           "(\\.(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
                                           "(\\+[0-9a-zA-Z-]+(\\.[0-9a-zA-Z-]+)*)?");
  model::maintenance_info info;
  info.version = short_text(from, "version");
  if (!std::regex_match(info.version, semantic_version))
    from.refuse("version", "maintenance_info.version must be a semantic version such as 1.0.0 or "
                           "2.1.0-rc.1, found \""
                               + info.version + "\"");
  if (from.has("description"))
    info.description = short_text(from, "description");
  return info;
}

model::plan plan_of(const section& from, std::size_t cells, const model::engine_list& engines) {
  from.allow({"id", "name", "description", "free", "bindable", "plan_updateable",
              "binding_rotatable", "maintenance_info", "metadata", "maximum_polling_duration",
              "provision"});
  model::plan plan;
  plan.id = short_text(from, "id");
  plan.name = cli_friendly_name(from, "name");
  plan.description = short_text(from, "description");
  plan.free = from.flag("free", plan.free);
  if (from.has("bindable"))
    plan.bindable = from.flag("bindable");
  if (from.has("plan_updateable"))
    plan.plan_updateable = from.flag("plan_updateable");
  plan.binding_rotatable = from.flag("binding_rotatable", plan.binding_rotatable);
  if (from.has("maintenance_info"))
    plan.maintenance = maintenance_of(from.child("maintenance_info"));
  plan.metadata = metadata_of(from);
  plan.maximum_polling_duration = from.number(
      "maximum_polling_duration", 1, longest_polling_seconds, plan.maximum_polling_duration);
  plan.provision = provision_of(from.child_or_empty("provision"), cells, engines);
  if (plan.binding_rotatable
      && plan.provision.settings.credentials == model::credentials_mode::shared)
    from.warn("binding_rotatable", "plan \"" + plan.name
                                       + "\" has shared credentials: the successor of a binding "
                                         "gets the same password. credentials: per-binding rotates "
                                         "it");
  return plan;
}

/// `ids`: the ids of all earlier services and plans. Platforms identify services and plans by id
/// alone.
model::service service_of(const section& from, std::size_t cells, const model::engine_list& engines,
                          std::set<std::string>& ids) {
  from.allow({"id", "name", "description", "bindable", "plan_updateable", "allow_context_updates",
              "tags", "metadata", "plans"});
  model::service service;
  service.id = short_text(from, "id");
  if (!ids.insert(service.id).second)
    from.refuse("id",
                "another service or plan has the id \"" + service.id + "\"; each needs its own");
  service.name = cli_friendly_name(from, "name");
  service.description = short_text(from, "description");
  service.bindable = from.flag("bindable", service.bindable);
  service.plan_updateable = from.flag("plan_updateable", service.plan_updateable);
  service.allow_context_updates = from.flag("allow_context_updates", service.allow_context_updates);
  service.tags = tags_of(from);
  service.metadata = metadata_of(from);
  std::set<std::string> names;
  for (const auto& entry : from.children("plans")) {
    auto plan = plan_of(entry, cells, engines);
    if (!ids.insert(plan.id).second)
      entry.refuse("id",
                   "another service or plan has the id \"" + plan.id + "\"; each needs its own");
    if (!names.insert(plan.name).second)
      entry.refuse("name", "two plans of service \"" + service.name + "\" have the name \""
                               + plan.name + "\"; each needs its own");
    service.plans.push_back(std::move(plan));
  }
  if (service.plans.empty())
    from.refuse("plans", "service \"" + service.name + "\" must list at least one plan");
  return service;
}

} // namespace

model::catalog read_catalog(const section& from, std::size_t cells,
                            const model::engine_list& engines) {
  from.allow({"services"});
  model::catalog catalog;
  std::set<std::string> ids;
  std::set<std::string> names;
  for (const auto& entry : from.children("services")) {
    auto service = service_of(entry, cells, engines, ids);
    if (!names.insert(service.name).second)
      entry.refuse("name",
                   "two services have the name \"" + service.name + "\"; each needs its own");
    catalog.services.push_back(std::move(service));
  }
  if (catalog.services.empty())
    from.refuse("services", "catalog.services must list at least one service");
  return catalog;
}

} // namespace matriarch::config
