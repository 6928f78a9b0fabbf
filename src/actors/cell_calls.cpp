#include "actors/cell_calls.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/percent_encoding.hpp"
#include "base/utf8.hpp"
#include "model/addresses.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;

// A cell starts a node at once and removes it within 30 s, which includes a clean shutdown.
constexpr std::chrono::milliseconds start_time = model::start_timeout;
constexpr std::chrono::milliseconds removal_time = 40s;
// A clean stop is as long as a checkpoint. A longer one goes on at the cell, and the broker asks
// again: clients are waiting, and an answer may have been lost.
constexpr std::chrono::milliseconds halt_time = 20s;
constexpr std::int64_t most_full_nodes = 10'000; // as many as a cell takes
constexpr std::size_t longest_quote = 300;

bool is_set(const json::value& object, std::string_view name) {
  const auto* flag = json::member(object, name);
  return flag != nullptr && flag->IsBool() && flag->GetBool();
}

/// How a cell enforces which limits, such as `cgroup: memory, cpu; none: disk`. The input is not
/// trusted.
std::string enforced_in_words(const json::value& limits) {
  constexpr std::size_t longest_word = 32;
  std::vector<std::pair<std::string, std::string>> by;
  for (const auto* name : {"memory", "processes", "cpu", "disk"}) {
    auto word = one_line(json::string_member(limits, name), longest_word);
    if (word.empty())
      continue;
    auto known = std::ranges::find(by, word, &std::pair<std::string, std::string>::first);
    if (known == by.end())
      by.emplace_back(word, name);
    else
      known->second += std::string{", "} + name;
  }
  std::string words;
  for (const auto& [word, names] : by)
    words += (words.empty() ? "" : "; ") + word + ": " + names;
  return words;
}

/// The node's addresses according to the cell, and whether the node has certificates for them.
model::node_addresses addresses_in(const json::value& said) {
  auto host = json::string_member(said, "host");
  return {model::place_of(host, json::integer_member(said, "port")),
          model::place_of(host, json::integer_member(said, "api_port")), is_set(said, "certified"),
          is_set(said, "api_certified")};
}

/// The plan that the order's node was placed with; the instance's plan may have changed since.
template <class Order>
const std::string& plan_of(const Order& order) {
  const auto* cluster = order.instance.cluster_of(order.scope);
  const auto* node = cluster == nullptr ? nullptr : cluster->find_node(order.node_id);
  return node == nullptr ? order.instance.plan_id : node->plan_id.text();
}

std::string start_body(const start_order& order) {
  const auto& instance = order.instance;
  json::document body;
  body.SetObject();
  json::add(body, "service_id", instance.service_id, body);
  json::add(body, "plan_id", plan_of(order), body);
  json::add(body, "organization_guid", instance.organization_guid, body);
  json::add(body, "space_guid", instance.space_guid, body);
  json::value parameters{rapidjson::kObjectType};
  auto add = [&](const char* name, const std::string& text) {
    json::add(parameters, name, text, body);
  };
  for (const auto& [name, text] : order.parameters)
    add(name.c_str(), text);
  json::add(body, "parameters", std::move(parameters), body);
  return json::text_of(body);
}

base::outgoing removal_of(const cell_settings& cell, const model::listed_node& node,
                          const std::string& fleet) {
  // Plan and service ids come from the catalog, whose ids may hold any character.
  auto query = "?service_id=" + base::percent_encoded(node.service_id)
               + "&plan_id=" + base::percent_encoded(node.plan_id);
  auto what = node_request(cell, "DELETE", node.node_id, query, node.scope, fleet);
  what.timeout = removal_time;
  json::document body;
  body.SetObject();
  json::add(body, "service_id", node.service_id, body);
  json::add(body, "plan_id", node.plan_id, body);
  what.body = json::text_of(body);
  return what;
}

} // namespace

base::outgoing node_request(const cell_settings& cell, std::string verb, const std::string& node_id,
                            const std::string& rest, const std::string& scope,
                            const std::string& fleet) {
  base::outgoing what;
  what.verb = std::move(verb);
  // The broker makes node ids itself, of characters that need no escaping.
  what.url = "/v2/service_instances/" + node_id + rest;
  what.username = cell.username;
  what.password = cell.password;
  what.headers = {{"Content-Type", "application/json"},
                  {"X-Broker-API-Version", "2.17"},
                  {"X-Matriarch-Scope", scope},
                  {"X-Matriarch-Fleet", fleet}};
  return what;
}

base::outgoing start_request(const cell_settings& cell, const start_order& order) {
  auto what = node_request(cell, "PUT", order.node_id, "", order.scope, order.fleet);
  what.headers.emplace_back("X-Matriarch-Revision", std::to_string(order.at));
  what.timeout = start_time;
  what.body = start_body(order);
  return what;
}

base::outgoing removal_request(const cell_settings& cell, const removal_order& order) {
  auto what = removal_of(
      cell, {order.node_id, order.scope, order.instance.service_id, plan_of(order)}, order.fleet);
  what.headers.emplace_back("X-Matriarch-Revision", std::to_string(order.at));
  return what;
}

base::outgoing halt_request(const cell_settings& cell, const halt_order& order) {
  auto what = node_request(cell, "PUT", order.node_id, "/halted", order.scope, order.fleet);
  what.headers.emplace_back("X-Matriarch-Revision", std::to_string(order.at));
  what.timeout = halt_time;
  what.body = "{}";
  return what;
}

base::outgoing orphan_request(const cell_settings& cell, const orphan_order& order) {
  return removal_of(cell, order.node, order.fleet);
}

std::string description_in(const base::outcome& came) {
  auto parsed = json::parse(came.body);
  auto text = parsed.ok() ? json::string_member(*parsed, "description") : std::string{};
  return "answered " + std::to_string(came.status)
         + (text.empty() ? "" : ": " + one_line(text, longest_quote));
}

cell_answer no_answer(const base::outcome& came) {
  if (came.never_sent)
    return {cell_answer::kind::unsent, "it cannot be reached", came.error};
  return {cell_answer::kind::unknown, "it does not answer", came.error};
}

cell_answer judge_start(const base::outcome& came) {
  using kind = cell_answer::kind;
  if (came.status == 0)
    return no_answer(came);
  // 409: a foreign cell has this node already. The node's member key will show it.
  if (came.status == 200 || came.status == 201 || came.status == 202 || came.status == 409) {
    cell_answer started{kind::done};
    started.existed = came.status == 409;
    if (auto body = json::parse(came.body); body.ok() && body->IsObject())
      started.at = addresses_in(*body);
    return started;
  }
  if (came.status >= 400 && came.status < 500)
    return {kind::refused, description_in(came)};
  return {kind::unknown, description_in(came)};
}

cell_answer judge_halt(const base::outcome& came) {
  using kind = cell_answer::kind;
  if (came.status == 0)
    return no_answer(came);
  auto body = json::parse(came.body);
  if (came.status != 200 || !body.ok() || !body->IsObject())
    return {kind::refused, description_in(came)};
  cell_answer halted{kind::done};
  halted.data = {json::integer_member(*body, "position"), json::integer_member(*body, "history"),
                 is_set(*body, "led")};
  if (!is_set(*body, "halted"))
    return {kind::refused, "it does not say how far the node was"};
  return halted;
}

cell_answer judge_removal(const base::outcome& came) {
  using kind = cell_answer::kind;
  if (came.status == 0)
    return no_answer(came);
  if (came.status == 200 || came.status == 410)
    return {kind::done};
  return {kind::refused, description_in(came)};
}

cell_health health_in(const std::string& guid, const base::outcome& came, std::string_view engine) {
  cell_health seen;
  seen.guid = guid;
  seen.reachable = came.status > 0 && came.status < 500;
  if (!seen.reachable) {
    seen.why = came.status == 0 ? came.error : description_in(came);
  } else if (auto parsed = json::parse(came.body); came.status == 200 && parsed.ok()) {
    seen.told = parsed->IsObject();
    seen.capacity = static_cast<int>(json::integer_member(*parsed, "capacity"));
    seen.fencing = json::string_member(*parsed, "fencing");
    seen.control_tls = is_set(*parsed, "patroni_tls");
    seen.halts = is_set(*parsed, "halts");
    if (const auto* limits = json::member(*parsed, "limits"))
      seen.limits = enforced_in_words(*limits);
    seen.memory = std::max<std::int64_t>(0, json::integer_member(*parsed, "memory"));
    seen.disk = std::max<std::int64_t>(0, json::integer_member(*parsed, "disk"));
    seen.full_nodes = static_cast<int>(
        std::clamp<std::int64_t>(json::integer_member(*parsed, "full"), 0, most_full_nodes));
    if (!engine.empty())
      seen.engine_version = json::string_member(*parsed, engine);
  }
  return seen;
}

std::optional<cell_listing> listing_in(const std::string& guid, const base::outcome& came) {
  auto parsed = json::parse(came.body);
  const auto* nodes = came.status == 200 && parsed.ok() ? json::member(*parsed, "nodes") : nullptr;
  if (nodes == nullptr || !nodes->IsArray())
    return std::nullopt;
  cell_listing seen{guid, {}};
  for (const auto& entry : nodes->GetArray()) {
    model::listed_node node{
        json::string_member(entry, "node_id"), json::string_member(entry, "scope"),
        json::string_member(entry, "service_id"), json::string_member(entry, "plan_id")};
    if (node.node_id.empty() || node.scope.empty())
      return std::nullopt;
    if (auto certificate = json::string_member(entry, "certificate"); !certificate.empty())
      seen.certificates.push_back({node.node_id, node.scope, json::string_member(entry, "host"),
                                   std::move(certificate), is_set(entry, "patroni_tls")});
    node.at = addresses_in(entry);
    seen.nodes.push_back(std::move(node));
  }
  return seen;
}

} // namespace matriarch::actors
