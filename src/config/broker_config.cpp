#include "config/broker_config.hpp"

#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>
#include <regex>
#include <set>

#include "config/yaml_reader.hpp"
#include "model/json.hpp"

namespace matriarch::config {

namespace {

using json_writer = rapidjson::Writer<rapidjson::StringBuffer>;

constexpr std::int64_t greatest_port = 65535;

/// Cloud Controller itself stops polling after a week, so more would promise what nobody waits for.
constexpr std::int64_t longest_polling_seconds = 7LL * 24 * 60 * 60;

bool is_one_of(char c, std::string_view others) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')
         || others.find(c) != std::string_view::npos;
}

bool consists_of(std::string_view text, std::string_view others) {
  return std::ranges::all_of(text, [&](char c) { return is_one_of(c, others); });
}

// -- addresses ------------------------------------------------------------------------------------

/// Why `uri` is no `http://host:port`, or nothing.
std::optional<std::string> fault_of_uri(const std::string& uri) {
  constexpr std::string_view scheme = "http://";
  constexpr std::string_view wanted = "must be a URI such as http://10.0.0.1:8901";
  // Not repeated in the message: what stands before the @ may be a password.
  if (uri.find('@') != std::string::npos)
    return "must not contain a user or a password";
  if (uri.starts_with("https://"))
    return "must start with http://: TLS to cells and etcd is not supported";
  if (!uri.starts_with(scheme))
    return std::string(wanted) + ", found \"" + uri + "\"";
  const auto authority = std::string_view(uri).substr(scheme.size());
  const auto bracket = authority.starts_with('[') ? authority.find(']') : 0;
  const auto colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  const auto host = authority.substr(0, colon);
  const auto host_is_good =
      host.starts_with('[') ? host.ends_with(']') && host.size() > 2 && consists_of(host, "[]:.%")
                            : !host.empty() && consists_of(host, ".-_");
  if (!host_is_good)
    return std::string(wanted) + ", found \"" + uri + "\"";
  if (colon == std::string_view::npos)
    return std::nullopt;
  const auto port = authority.substr(colon + 1);
  std::int64_t number = 0;
  const auto parsed = std::from_chars(port.data(), port.data() + port.size(), number);
  if (parsed.ec != std::errc() || parsed.ptr != port.data() + port.size() || number < 1
      || number > greatest_port)
    return "must have a port from 1 to 65535 after its host, found \"" + uri + "\"";
  return std::nullopt;
}

std::string without_last_slash(std::string uri) {
  if (uri.ends_with('/'))
    uri.pop_back();
  return uri;
}

// -- metadata: YAML to JSON -----------------------------------------------------------------------

/// YAML's own rules, narrowed to what JSON can say: an unquoted true, false, null or JSON number is
/// that, and anything else is a string.
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

// -- the sections ---------------------------------------------------------------------------------

/// Refuses a name that `cf create-service` could not take as it stands.
void check_cli_friendly(const section& from, const std::string& name) {
  if (!consists_of(name, ".-"))
    from.refuse("name", "name must consist of letters, digits, periods and hyphens, found \"" + name
                            + "\"");
}

broker_settings broker_of(const section& from) {
  from.allow({"bind_host", "port", "username", "password", "strict", "advertise_host", "threads"});
  broker_settings broker;
  broker.bind_host = from.text("bind_host", broker.bind_host);
  broker.port = static_cast<std::uint16_t>(from.number("port", 1, greatest_port, broker.port));
  broker.username = from.text("username");
  if (broker.username.find(':') != std::string::npos)
    from.refuse("username", "broker.username must not contain a colon: basic authentication ends "
                            "the user's name there");
  broker.password = from.text("password");
  broker.strict = from.flag("strict", broker.strict);
  broker.advertise_host = from.text("advertise_host", broker.bind_host);
  if (broker.advertise_host == "0.0.0.0" || broker.advertise_host == "::"
      || broker.advertise_host == "[::]")
    from.refuse("advertise_host",
                "broker.advertise_host must be a host that applications can connect to (it is in "
                "their credentials), found \""
                    + broker.advertise_host + "\"");
  // 64 is far beyond the cores that a broker can use: its answers are made by few actors.
  broker.threads = static_cast<int>(from.number("threads", 1, 64, broker.threads));
  return broker;
}

std::vector<cell_settings> cells_of(const section& top) {
  std::vector<cell_settings> cells;
  std::set<std::string> guids;
  std::set<std::string> uris;
  for (const auto& from : top.children("cells")) {
    from.allow({"guid", "availability_zone", "uri", "username", "password"});
    cell_settings cell;
    cell.guid = from.text("guid");
    // It becomes part of etcd's keys, where a slash would start another level.
    if (!consists_of(cell.guid, ".-_:"))
      from.refuse("guid", "a cell's guid must consist of letters, digits and \".-_:\", found \""
                              + cell.guid + "\"");
    if (!guids.insert(cell.guid).second)
      from.refuse("guid", "two cells have the guid \"" + cell.guid + "\"; each needs its own");
    cell.availability_zone = from.text("availability_zone");
    cell.uri = without_last_slash(from.text("uri"));
    if (const auto fault = fault_of_uri(cell.uri))
      from.refuse("uri", "the uri of cell \"" + cell.guid + "\" " + *fault);
    if (!uris.insert(cell.uri).second)
      from.refuse("uri", "two cells have the uri " + cell.uri + "; each needs its own");
    cell.username = from.text("username");
    cell.password = from.text("password");
    cells.push_back(std::move(cell));
  }
  if (cells.empty())
    top.refuse("cells", "cells must list at least one cell: without one there is nowhere to run a "
                        "database");
  return cells;
}

etcd_settings etcd_of(const section& from) {
  from.allow({"machines"});
  etcd_settings etcd;
  for (const auto& listed : from.texts("machines")) {
    const auto machine = without_last_slash(listed);
    if (const auto fault = fault_of_uri(machine))
      from.refuse("machines", "each of etcd.machines " + *fault);
    etcd.machines.push_back(machine);
  }
  if (etcd.machines.empty())
    from.refuse("machines",
                "etcd.machines must list at least one URI such as http://127.0.0.1:2379");
  return etcd;
}

routing_settings routing_of(const section& from) {
  from.allow({"first", "last", "rest"});
  routing_settings routing;
  routing.first = static_cast<std::uint16_t>(from.number("first", 1, greatest_port, routing.first));
  routing.last = static_cast<std::uint16_t>(from.number("last", 1, greatest_port, routing.last));
  if (routing.first > routing.last)
    from.refuse(from.has("last") ? "last" : "first",
                "routing.first must not be greater than routing.last, found "
                    + std::to_string(routing.first) + " and " + std::to_string(routing.last));
  routing.rest_milliseconds = from.milliseconds("rest", routing.rest_milliseconds);
  return routing;
}

model::provision_settings provision_of(const section& from, std::size_t cells) {
  from.allow({"engine", "node_count", "credentials"});
  model::provision_settings provision;
  provision.engine = from.text("engine", provision.engine);
  if (provision.engine != "postgresql")
    from.refuse("engine", "provision.engine must be postgresql, the only engine so far, found \""
                              + provision.engine + "\"");
  const auto most = static_cast<std::int64_t>(cells);
  provision.node_count = static_cast<int>(from.number("node_count", 1, most, provision.node_count));
  if (provision.node_count > most)
    from.refuse("provision.node_count is missing; its default of "
                + std::to_string(provision.node_count) + " is more than the number of cells, "
                + std::to_string(most) + ": write node_count, from 1 to " + std::to_string(most));
  const auto credentials = from.text("credentials", "shared");
  if (credentials != "shared")
    from.refuse("credentials",
                "provision.credentials must be shared, the only mode so far, found \"" + credentials
                    + "\"");
  return provision;
}

model::plan plan_of(const section& from, std::size_t cells) {
  from.allow({"id", "name", "description", "free", "bindable", "metadata",
              "maximum_polling_duration", "provision"});
  model::plan plan;
  plan.id = from.text("id");
  plan.name = from.text("name");
  check_cli_friendly(from, plan.name);
  plan.description = from.text("description");
  plan.free = from.flag("free", plan.free);
  if (from.has("bindable"))
    plan.bindable = from.flag("bindable");
  plan.metadata = metadata_of(from);
  plan.maximum_polling_duration = from.number(
      "maximum_polling_duration", 1, longest_polling_seconds, plan.maximum_polling_duration);
  plan.provision = provision_of(from.child_or_empty("provision"), cells);
  return plan;
}

model::service service_of(const section& from, std::size_t cells, std::set<std::string>& plan_ids) {
  from.allow(
      {"id", "name", "description", "bindable", "plan_updateable", "tags", "metadata", "plans"});
  model::service service;
  service.id = from.text("id");
  service.name = from.text("name");
  check_cli_friendly(from, service.name);
  service.description = from.text("description");
  service.bindable = from.flag("bindable", service.bindable);
  service.plan_updateable = from.flag("plan_updateable", service.plan_updateable);
  service.tags = from.texts("tags");
  service.metadata = metadata_of(from);
  std::set<std::string> names;
  for (const auto& entry : from.children("plans")) {
    auto plan = plan_of(entry, cells);
    if (!plan_ids.insert(plan.id).second)
      entry.refuse("id", "two plans have the id \"" + plan.id + "\"; each needs its own");
    if (!names.insert(plan.name).second)
      entry.refuse("name", "two plans of service \"" + service.name + "\" have the name \""
                               + plan.name + "\"; each needs its own");
    service.plans.push_back(std::move(plan));
  }
  if (service.plans.empty())
    from.refuse("plans", "service \"" + service.name + "\" must list at least one plan");
  return service;
}

model::catalog catalog_of(const section& from, std::size_t cells) {
  from.allow({"services"});
  model::catalog catalog;
  std::set<std::string> ids;
  std::set<std::string> names;
  std::set<std::string> plan_ids;
  for (const auto& entry : from.children("services")) {
    auto service = service_of(entry, cells, plan_ids);
    if (!ids.insert(service.id).second)
      entry.refuse("id", "two services have the id \"" + service.id + "\"; each needs its own");
    if (!names.insert(service.name).second)
      entry.refuse("name",
                   "two services have the name \"" + service.name + "\"; each needs its own");
    catalog.services.push_back(std::move(service));
  }
  if (catalog.services.empty())
    from.refuse("services", "catalog.services must list at least one service");
  return catalog;
}

std::vector<std::string> warnings_of(const std::string& path, const broker_config& config,
                                     std::string_view local_port_range) {
  std::vector<std::string> warnings;
  const auto& routing = config.routing;
  const auto range = std::to_string(routing.first) + " to " + std::to_string(routing.last);
  static const std::regex two_numbers(R"(\s*([0-9]{1,5})\s+([0-9]{1,5})\s*)");
  std::match_results<std::string_view::const_iterator> found;
  if (std::regex_match(local_port_range.begin(), local_port_range.end(), found, two_numbers)) {
    const auto low = std::stol(found[1].str());
    const auto high = std::stol(found[2].str());
    if (routing.first <= high && low <= routing.last)
      warnings.push_back(
          path + ": routing's ports " + range + " meet the kernel's local ports " + found[1].str()
          + " to " + found[2].str()
          + ": an outgoing connection can take an instance's public port. "
            "Choose other ports, or reserve these with sysctl net.ipv4.ip_local_reserved_ports");
  }
  if (config.broker.port >= routing.first && config.broker.port <= routing.last)
    warnings.push_back(path + ": broker.port " + std::to_string(config.broker.port)
                       + " is one of routing's ports " + range
                       + ": an instance could get it as its public port. Choose another port");
  return warnings;
}

broker_config config_of(const std::string& path, const section& top,
                        std::string_view local_port_range) {
  top.allow({"broker", "cells", "etcd", "routing", "catalog"});
  broker_config config;
  config.broker = broker_of(top.child("broker"));
  config.cells = cells_of(top);
  config.etcd = etcd_of(top.child("etcd"));
  config.routing = routing_of(top.child_or_empty("routing"));
  config.catalog = catalog_of(top.child("catalog"), config.cells.size());
  config.warnings = warnings_of(path, config, local_port_range);
  return config;
}

} // namespace

result<broker_config> parse_broker_config(const std::string& path, const std::string& text,
                                          std::string_view local_port_range) {
  try {
    return config_of(path, section::parse_text(path, text), local_port_range);
  } catch (const config_error& error) {
    return failure{error.message};
  }
}

result<broker_config> load_broker_config(const std::string& path) {
  std::ifstream range("/proc/sys/net/ipv4/ip_local_port_range");
  const std::string local_port_range{std::istreambuf_iterator<char>(range), {}};
  try {
    return config_of(path, section::parse_file(path), local_port_range);
  } catch (const config_error& error) {
    return failure{error.message};
  }
}

} // namespace matriarch::config
