#include "cell/node_record.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/json.hpp"
#include "cell/wire_names.hpp"
#include "store/formats.hpp"
#include "store/unknown_members.hpp"

namespace matriarch::cell {

namespace {

constexpr std::size_t longest_role_name = 63;   // PostgreSQL cuts longer identifiers
constexpr std::size_t longest_password = 1'000; // libpq's limit for a password in a file is near
constexpr std::size_t longest_etcd_user = 256;  // a scope, with what may be put before it
constexpr std::size_t longest_node_type = 64;   // a label; node ids are no longer either

/// The parameters that carry a role, with the member they fill.
struct role_field {
  std::string_view prefix;
  role node_request::*member;
};
constexpr std::array<role_field, 5> role_fields = {{
    {"ADMIN", &node_request::admin},
    {"SUPERUSER", &node_request::superuser},
    {"APPUSER", &node_request::app_user},
    {"REPLICATION", &node_request::replication},
    {"PATRONI", &node_request::patroni},
}};

bool is_name(std::string_view text, std::size_t longest) {
  auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'
           || c == '-' || c == '.' || c == '~';
  };
  return !text.empty() && text.size() <= longest && text.front() != '.'
         && std::all_of(text.begin(), text.end(), plain);
}

bool is_printable_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

/// Why a user name or a password cannot be used, if it cannot.
std::optional<std::string> fault_of(std::string_view field, std::string_view text,
                                    std::size_t longest) {
  if (text.empty())
    return fmt::format("parameters.{} must be a string that is not empty", field);
  if (text.size() > longest)
    return fmt::format("parameters.{} is longer than {} bytes", field, longest);
  // Patroni 3.0.2 encodes them as Latin-1 for HTTP and for SQL, and dies of what that does not
  // have.
  if (!is_printable_ascii(text))
    return fmt::format("parameters.{} has a character that is not printable ASCII", field);
  // Patroni puts them into a DO block that these two characters would end.
  if (text.find("$$") != std::string_view::npos)
    return fmt::format("parameters.{} contains \"$$\", which Patroni cannot handle", field);
  return std::nullopt;
}

std::optional<std::string> fill_roles(const json::value& parameters, node_request& into) {
  for (const auto& field : role_fields) {
    auto& filled = into.*field.member;
    auto username = fmt::format("{}_USERNAME", field.prefix);
    auto password = fmt::format("{}_PASSWORD", field.prefix);
    filled.username = json::string_member(parameters, username);
    filled.password = json::string_member(parameters, password);
    if (auto fault = fault_of(username, filled.username, longest_role_name))
      return fault;
    if (auto fault = fault_of(password, filled.password, longest_password))
      return fault;
    if (filled.username.starts_with("pg_") && field.member != &node_request::patroni)
      return fmt::format("parameters.{} starts with \"pg_\", which PostgreSQL keeps for itself",
                         username);
    if (filled.username.find(':') != std::string::npos && field.member == &node_request::patroni)
      return fmt::format("parameters.{} contains a colon, which ends a user name in basic "
                         "authentication",
                         username);
  }
  const std::array<const role*, 4> in_database = {&into.admin, &into.superuser, &into.app_user,
                                                  &into.replication};
  for (std::size_t i = 0; i < in_database.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      if (in_database[i]->username == in_database[j]->username)
        return "the administrator, the superuser, the application user and the replication user "
               "must "
               "have different names";
  return std::nullopt;
}

/// The optional user of etcd.
std::optional<std::string> fill_etcd(const json::value& parameters, node_request& into) {
  constexpr std::string_view username = "ETCD_USERNAME";
  constexpr std::string_view password = "ETCD_PASSWORD";
  if (!json::member(parameters, username) && !json::member(parameters, password))
    return std::nullopt;
  into.etcd.username = json::string_member(parameters, username);
  into.etcd.password = json::string_member(parameters, password);
  if (auto fault = fault_of(username, into.etcd.username, longest_etcd_user))
    return fault;
  return fault_of(password, into.etcd.password, longest_password);
}

/// Whether all keys in it are as short as any setting's name, PostgreSQL's 63 bytes and a prefix.
/// YAML takes no key of more than 1,024 on a line, and Patroni reads YAML.
bool has_short_keys(const json::value& what) {
  constexpr std::size_t longest_key = 128;
  if (what.IsObject())
    return std::ranges::all_of(what.GetObject(), [](const auto& one) {
      return one.name.GetStringLength() <= longest_key && has_short_keys(one.value);
    });
  return !what.IsArray() || std::ranges::all_of(what.GetArray(), [](const auto& one) {
    return has_short_keys(one);
  });
}

/// The optional dynamic configuration. What it says is Patroni's to judge; here it only has to be
/// something that can be merged.
std::optional<std::string> fill_dynamic_configuration(const json::value& parameters,
                                                      node_request& into) {
  const auto* given = json::member(parameters, "PATRONI_DYNAMIC_CONFIG");
  if (!given)
    return std::nullopt;
  constexpr const char* wanted = "parameters.PATRONI_DYNAMIC_CONFIG must be the text of a JSON "
                                 "object, with objects as postgresql and postgresql.parameters";
  if (!given->IsString())
    return wanted;
  into.dynamic_configuration = {given->GetString(), given->GetStringLength()};
  if (into.dynamic_configuration.size() > longest_dynamic_configuration)
    return fmt::format("parameters.PATRONI_DYNAMIC_CONFIG is longer than {} bytes",
                       longest_dynamic_configuration);
  auto parsed = json::parse(into.dynamic_configuration);
  if (!parsed || !parsed->IsObject())
    return wanted;
  if (!has_short_keys(*parsed))
    return "parameters.PATRONI_DYNAMIC_CONFIG has a key that is no setting's name: it is longer "
           "than 128 bytes";
  const auto* postgresql = json::member(*parsed, "postgresql");
  if (!postgresql)
    return std::nullopt;
  if (!postgresql->IsObject())
    return wanted;
  const auto* settings = json::member(*postgresql, "parameters");
  if (!settings)
    return std::nullopt;
  if (!settings->IsObject())
    return wanted;
  for (const auto& setting : settings->GetObject())
    if (setting.value.IsObject() || setting.value.IsArray())
      return fmt::format("parameters.PATRONI_DYNAMIC_CONFIG: PostgreSQL's parameter {} must be a "
                         "text, a number, a flag or null",
                         setting.name.GetString());
  return std::nullopt;
}

std::optional<std::string> fill_node_type(const json::value& parameters, node_request& into) {
  const auto* given = json::member(parameters, "NODE_TYPE");
  if (!given)
    return std::nullopt;
  into.node_type = json::string_member(parameters, "NODE_TYPE");
  if (!is_name(into.node_type, longest_node_type))
    return fmt::format("parameters.NODE_TYPE must be 1 to {} letters, digits, '_', '-', '.' or "
                       "'~', and not start with a dot",
                       longest_node_type);
  return std::nullopt;
}

/// The number of that name if there is one and it is an int, else 0.
int number_member(const json::value& object, std::string_view name) {
  auto whole = json::integer_member(object, name);
  return std::in_range<int>(whole) ? static_cast<int>(whole) : 0;
}

/// What of a node's file this release knows.
const store::known_members& file_members() {
  static const std::vector<std::string> of_roles = [] {
    std::vector<std::string> names;
    for (const auto& field : role_fields)
      for (const char* what : {"USERNAME", "PASSWORD"})
        names.push_back(fmt::format("{}_{}", field.prefix, what));
    return names;
  }();
  static const store::known_members parameters = [] {
    store::known_members all{{"PATRONI_SCOPE", "NODE_ID", "ETCD_USERNAME", "ETCD_PASSWORD",
                              "PATRONI_DYNAMIC_CONFIG", "NODE_TYPE"}};
    all.names.insert(all.names.end(), of_roles.begin(), of_roles.end());
    return all;
  }();
  static const store::known_members process{{"pid", "start_time", "boot_id"}};
  static const store::known_members file{
      {"node_id", "service_id", "plan_id", "organization_guid", "space_guid", "parameters", "host",
       "port", "api_port", "fencing", "isolated", wire::api_tls, "process", "format", "min_reader"},
      {{"parameters", &parameters}, {"process", &process, "start_time"}}};
  return file;
}

json::value parameters_of(const node_request& request, json::document& owner) {
  json::value parameters{rapidjson::kObjectType};
  auto put = [&](const std::string& name, const std::string& text) {
    parameters.AddMember(json::string(name, owner), json::string(text, owner),
                         owner.GetAllocator());
  };
  put("PATRONI_SCOPE", request.scope);
  put("NODE_ID", request.node_id);
  for (const auto& field : role_fields) {
    put(fmt::format("{}_USERNAME", field.prefix), (request.*field.member).username);
    put(fmt::format("{}_PASSWORD", field.prefix), (request.*field.member).password);
  }
  if (!request.etcd.username.empty()) {
    put("ETCD_USERNAME", request.etcd.username);
    put("ETCD_PASSWORD", request.etcd.password);
  }
  if (!request.dynamic_configuration.empty())
    put("PATRONI_DYNAMIC_CONFIG", request.dynamic_configuration);
  if (!request.node_type.empty())
    put("NODE_TYPE", request.node_type);
  return parameters;
}

result<node_request> read_request(std::string_view node_id, const json::value& body) {
  const auto* parameters = json::member(body, "parameters");
  if (!parameters || !parameters->IsObject())
    return failure{"the body needs parameters, an object"};
  node_request request;
  request.node_id = node_id;
  for (auto [field, into] :
       {std::pair{"service_id", &request.service_id}, std::pair{"plan_id", &request.plan_id}}) {
    *into = json::string_member(body, field);
    if (into->empty())
      return failure{fmt::format("the body needs {}, a string that is not empty", field)};
  }
  request.organization_guid = json::string_member(body, "organization_guid");
  request.space_guid = json::string_member(body, "space_guid");
  request.scope = json::string_member(*parameters, "PATRONI_SCOPE");
  if (!is_name(request.scope, longest_scope))
    return failure{
        fmt::format("parameters.PATRONI_SCOPE must be 1 to {} letters, digits, '_', '-', "
                    "'.' or '~', and not start with a dot",
                    longest_scope)};
  if (json::string_member(*parameters, "NODE_ID", node_id) != node_id)
    return failure{"parameters.NODE_ID is not the node that the path names"};
  for (auto* fill : {fill_roles, fill_etcd, fill_dynamic_configuration, fill_node_type})
    if (auto fault = fill(*parameters, request))
      return failure{*std::move(fault)};
  return request;
}

} // namespace

bool is_node_id(std::string_view text) {
  return is_name(text, longest_node_id);
}

result<node_request> parse_node_request(std::string_view node_id, std::string_view body) {
  auto parsed = json::parse(body);
  if (!parsed)
    return failure{fmt::format("the body is no JSON: {}", parsed.error())};
  if (!parsed->IsObject())
    return failure{"the body must be a JSON object"};
  return read_request(node_id, *parsed);
}

std::string text_of(const node_record& node) {
  json::document all;
  all.SetObject();
  const auto& request = node.request;
  json::add(all, "node_id", request.node_id, all);
  json::add(all, "service_id", request.service_id, all);
  json::add(all, "plan_id", request.plan_id, all);
  json::add(all, "organization_guid", request.organization_guid, all);
  json::add(all, "space_guid", request.space_guid, all);
  json::add(all, "parameters", parameters_of(request, all), all);
  json::add(all, "host", node.where.host, all);
  json::add(all, "port", node.where.port, all);
  json::add(all, "api_port", node.where.api_port, all);
  json::add(all, "fencing", name_of(node.kept_by), all);
  json::add(all, "isolated", node.isolated, all);
  json::add(all, wire::api_tls, node.api_tls, all);
  if (node.process) {
    json::value process{rapidjson::kObjectType};
    json::add(process, "pid", node.process->pid, all);
    json::add(process, "start_time", static_cast<std::int64_t>(node.process->start_time), all);
    json::add(process, "boot_id", node.process->boot_id, all);
    json::add(all, "process", std::move(process), all);
  }
  store::add_unknown(all, node.unknown, file_members(), all);
  store::add_format(all);
  return json::text_of(all);
}

result<node_record> parse_node_record(std::string_view text) {
  auto parsed = json::parse(text);
  if (!parsed)
    return failure{parsed.error()};
  if (auto why_not = store::why_not_to_read(*parsed))
    return failure{*why_not};
  auto node_id = json::string_member(*parsed, "node_id");
  if (!is_node_id(node_id))
    return failure{"node_id is missing or no node's id"};
  auto request = read_request(node_id, *parsed);
  if (!request)
    return failure{request.error()};
  node_record node;
  node.request = *std::move(request);
  node.where.host = json::string_member(*parsed, "host");
  node.where.port = number_member(*parsed, "port");
  node.where.api_port = number_member(*parsed, "api_port");
  if (node.where.host.empty() || node.where.port == 0 || node.where.api_port == 0)
    return failure{"host, port or api_port is missing"};
  auto kind = fencing_named(json::string_member(*parsed, "fencing"));
  if (!kind)
    return failure{"fencing is missing or unknown"};
  node.kept_by = *kind;
  auto is_set = [&](std::string_view name) {
    const auto* flag = json::member(*parsed, name);
    return flag && flag->IsBool() && flag->GetBool();
  };
  node.isolated = is_set("isolated");
  node.api_tls = is_set(wire::api_tls);
  if (const auto* process = json::member(*parsed, "process"); process && process->IsObject())
    node.process = base::process_identity{
        number_member(*process, "pid"),
        static_cast<std::uint64_t>(json::integer_member(*process, "start_time")),
        json::string_member(*process, "boot_id")};
  node.unknown = store::unknown_in(*parsed, file_members());
  return node;
}

} // namespace matriarch::cell
