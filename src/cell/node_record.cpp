#include "cell/node_record.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/json.hpp"
#include "cell/wire_names.hpp"
#include "store/formats.hpp"
#include "store/unknown_members.hpp"

namespace matriarch::cell {

namespace {

constexpr std::size_t longest_password = 1'000;
constexpr std::size_t longest_etcd_user = 256; // a scope and a possible prefix
constexpr std::size_t longest_node_type = 64;  // a label; node ids are no longer either

bool is_name(std::string_view text, std::size_t longest) {
  auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'
           || c == '-' || c == '.' || c == '~';
  };
  return !text.empty() && text.size() <= longest && text.front() != '.'
         && std::all_of(text.begin(), text.end(), plain);
}

/// The optional etcd user.
std::optional<std::string> fill_etcd(const json::value& parameters, node_request& into) {
  constexpr std::string_view username = "ETCD_USERNAME";
  constexpr std::string_view password = "ETCD_PASSWORD";
  if (!json::member(parameters, username) && !json::member(parameters, password))
    return std::nullopt;
  into.etcd.username = json::string_member(parameters, username);
  into.etcd.password = json::string_member(parameters, password);
  if (auto fault = fault_of_login(username, into.etcd.username, longest_etcd_user))
    return fault;
  return fault_of_login(password, into.etcd.password, longest_password);
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

/// The optional limits, each as a text, like all parameters.
std::optional<std::string> fill_limits(const json::value& parameters, node_request& into) {
  struct bound {
    const char* name;
    std::int64_t model::node_limits::*member;
    std::int64_t least;
    std::int64_t most;
  };
  constexpr std::array<bound, 3> bounds{
      {{"NODE_MEMORY", &model::node_limits::memory, model::least_memory, model::most_bytes},
       {"NODE_PROCESSES", &model::node_limits::processes, model::least_processes,
        model::most_processes},
       {"NODE_DISK", &model::node_limits::disk, model::least_disk, model::most_bytes}}};
  for (const auto& one : bounds) {
    if (!json::member(parameters, one.name))
      continue;
    auto text = json::string_member(parameters, one.name);
    auto& number = into.limits.*one.member;
    auto [stopped, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || stopped != text.data() + text.size() || number < one.least
        || number > one.most)
      return fmt::format("parameters.{} must be the text of an integer from {} to {}", one.name,
                         one.least, one.most);
  }
  if (!json::member(parameters, "NODE_CPU"))
    return std::nullopt;
  auto cpu = model::hundredths_of(json::string_member(parameters, "NODE_CPU"));
  if (!cpu || *cpu < model::least_cpu || *cpu > model::most_cpu)
    return fmt::format("parameters.NODE_CPU must be the text of a number of processors from {} to "
                       "{}, with two decimals at most",
                       model::cpu_in_words(model::least_cpu), model::cpu_in_words(model::most_cpu));
  into.limits.cpu = *cpu;
  return std::nullopt;
}

/// The number of that name if there is one and it is an int, else 0.
int number_member(const json::value& object, std::string_view name) {
  auto whole = json::integer_member(object, name);
  return std::in_range<int>(whole) ? static_cast<int>(whole) : 0;
}

/// The members of a node's file that this release knows.
class file_members {
public:
  /// `parameters`: the names of the engine's, which outlive this.
  explicit file_members(const std::vector<std::string>& parameters) {
    parameters_.names.insert(parameters_.names.end(), parameters.begin(), parameters.end());
  }
  file_members(const file_members&) = delete;
  file_members& operator=(const file_members&) = delete;
  [[nodiscard]] const store::known_members& all() const { return file_; }

private:
  store::known_members parameters_{{wire::scope, "NODE_ID", "ETCD_USERNAME", "ETCD_PASSWORD",
                                    "NODE_TYPE", "NODE_MEMORY", "NODE_PROCESSES", "NODE_CPU",
                                    "NODE_DISK"}};
  store::known_members process_{{"pid", "start_time", "boot_id"}};
  store::known_members file_{{"node_id", "service_id", "plan_id", "organization_guid", "space_guid",
                              "parameters", "host", "port", "api_port", "fencing", "isolated",
                              "halted", wire::api_tls, "process", "format", "min_reader"},
                             {{"parameters", &parameters_}, {"process", &process_, "start_time"}}};
};

json::value parameters_of(const node_request& request, json::document& owner) {
  json::value parameters{rapidjson::kObjectType};
  auto put = [&](const std::string& name, const std::string& text) {
    parameters.AddMember(json::string(name, owner), json::string(text, owner),
                         owner.GetAllocator());
  };
  put(wire::scope, request.scope);
  put("NODE_ID", request.node_id);
  for (const auto& [name, text] : request.parameters)
    put(name, text);
  if (!request.etcd.username.empty()) {
    put("ETCD_USERNAME", request.etcd.username);
    put("ETCD_PASSWORD", request.etcd.password);
  }
  if (!request.node_type.empty())
    put("NODE_TYPE", request.node_type);
  for (const auto& [name, text] : model::parameters_of(request.limits))
    put(name, text);
  return parameters;
}

result<node_request> read_request(std::string_view node_id, const json::value& body,
                                  const request_rules& rules) {
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
  request.scope = json::string_member(*parameters, wire::scope);
  if (!is_name(request.scope, longest_scope))
    return failure{
        fmt::format("parameters.{} must be 1 to {} letters, digits, '_', '-', '.' or '~', and not "
                    "start with a dot",
                    wire::scope, longest_scope)};
  if (json::string_member(*parameters, "NODE_ID", node_id) != node_id)
    return failure{"parameters.NODE_ID is not the node that the path names"};
  for (auto* fill : {fill_etcd, fill_node_type, fill_limits})
    if (auto fault = fill(*parameters, request))
      return failure{*std::move(fault)};
  // A value that is no text counts as an empty one.
  for (const auto& name : rules.names())
    if (json::member(*parameters, name) != nullptr)
      request.parameters.emplace(name, json::string_member(*parameters, name));
  if (auto fault = rules.fault_of(request))
    return failure{*std::move(fault)};
  return request;
}

} // namespace

std::optional<std::string> fault_of_login(std::string_view field, std::string_view text,
                                          std::size_t longest) {
  if (text.empty())
    return fmt::format("parameters.{} must be a string that is not empty", field);
  if (text.size() > longest)
    return fmt::format("parameters.{} is longer than {} bytes", field, longest);
  // Nodes write logins to many places, and some of these take only such characters.
  if (!std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; }))
    return fmt::format("parameters.{} has a character that is not printable ASCII", field);
  return std::nullopt;
}

bool is_node_id(std::string_view text) {
  return is_name(text, longest_node_id);
}

result<node_request> parse_node_request(std::string_view node_id, std::string_view body,
                                        const request_rules& rules) {
  auto parsed = json::parse(body);
  if (!parsed)
    return failure{fmt::format("the body is no JSON: {}", parsed.error())};
  if (!parsed->IsObject())
    return failure{"the body must be a JSON object"};
  return read_request(node_id, *parsed, rules);
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
  if (node.halted)
    json::add(all, "halted", true, all);
  json::add(all, wire::api_tls, node.api_tls, all);
  if (node.process) {
    json::value process{rapidjson::kObjectType};
    json::add(process, "pid", node.process->pid, all);
    json::add(process, "start_time", static_cast<std::int64_t>(node.process->start_time), all);
    json::add(process, "boot_id", node.process->boot_id, all);
    json::add(all, "process", std::move(process), all);
  }
  store::add_unknown(all, node.unknown, file_members{{}}.all(), all);
  // An agent that does not know of halted nodes would start them.
  store::add_format(all, node.halted ? store::rebuilding_format : store::own_min_reader);
  return json::text_of(all);
}

result<node_record> parse_node_record(std::string_view text, const request_rules& rules) {
  auto parsed = json::parse(text);
  if (!parsed)
    return failure{parsed.error()};
  if (auto why_not = store::why_not_to_read(*parsed))
    return failure{*why_not};
  auto node_id = json::string_member(*parsed, "node_id");
  if (!is_node_id(node_id))
    return failure{"node_id is missing or no node's id"};
  auto request = read_request(node_id, *parsed, rules);
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
  node.halted = is_set("halted");
  node.api_tls = is_set(wire::api_tls);
  if (const auto* process = json::member(*parsed, "process"); process && process->IsObject())
    node.process = base::process_identity{
        number_member(*process, "pid"),
        static_cast<std::uint64_t>(json::integer_member(*process, "start_time")),
        json::string_member(*process, "boot_id")};
  node.unknown = store::unknown_in(*parsed, file_members{rules.names()}.all());
  return node;
}

} // namespace matriarch::cell
