#include "store/cluster_json.hpp"

#include <algorithm>
#include <utility>

#include "model/words.hpp"
#include "store/shared_values.hpp"

namespace matriarch::store {

namespace {

const known_members limits_members{{"memory", "processes", "cpu", "disk"}};
const known_members secret_members{
    {"current", "next"}, {{"current", &credentials_members}, {"next", &credentials_members}}};

/// Written only if set: brokers of earlier releases do not know limits.
void add_limits(json::value& into, const model::rare_value<model::node_limits>& limits,
                json::document& owner) {
  if (!limits)
    return;
  json::value object{rapidjson::kObjectType};
  json::add(object, "memory", limits->memory, owner);
  json::add(object, "processes", limits->processes, owner);
  json::add(object, "cpu", limits->cpu, owner);
  json::add(object, "disk", limits->disk, owner);
  json::add(into, "limits", std::move(object), owner);
}

model::rare_value<model::node_limits> limits_in(const json::value& object) {
  const auto* found = json::member(object, "limits");
  if (found == nullptr || !found->IsObject())
    return {};
  return model::node_limits{
      json::integer_member(*found, "memory"), json::integer_member(*found, "processes"),
      json::integer_member(*found, "cpu"), json::integer_member(*found, "disk")};
}

json::value encode_node(const model::node& n, json::document& owner) {
  json::value object{rapidjson::kObjectType};
  json::add(object, "node_id", n.node_id, owner);
  json::add(object, "backend_id", n.cell, owner);
  json::add(object, "plan_id", n.plan_id.text(), owner);
  json::add(object, "service_id", n.service_id.text(), owner);
  json::add(object, "node_type", n.node_type.text(), owner);
  json::add(object, "phase", model::text_of(n.phase), owner);
  if (n.start_may_arrive_until)
    json::add(object, "start_may_arrive_until", milliseconds_of(*n.start_may_arrive_until), owner);
  if (!n.failing.empty())
    json::add(object, "failing", n.failing, owner);
  if (!n.instead_of.empty())
    json::add(object, "instead_of", encode_list(n.instead_of, owner), owner);
  if (n.forgotten)
    json::add(object, "forgotten", true, owner);
  if (n.left_over)
    json::add(object, "left_over", true, owner);
  if (n.halted)
    json::add(object, "halted", true, owner);
  if (n.held_back)
    json::add(object, "held_back", true, owner);
  if (n.address) {
    json::add(object, "address", *n.address, owner);
    json::add(object, "patroni_address", n.control_address, owner);
    if (n.certified)
      json::add(object, "certified", true, owner);
    if (n.control_certified)
      json::add(object, "patroni_certified", true, owner);
  }
  add_limits(object, n.limits, owner);
  return object;
}

model::node decode_node(const json::value& object, std::string& why) {
  reader in{object};
  model::node n;
  n.node_id = in.text("node_id");
  n.cell = in.text("backend_id");
  n.plan_id = shared(in.text("plan_id"));
  n.service_id = shared(in.text("service_id"));
  n.node_type = shared(json::string_member(object, "node_type"));
  n.limits = limits_in(object);
  n.phase = in.word("phase", model::node_phases);
  n.start_may_arrive_until = in.time_if_any("start_may_arrive_until");
  n.failing = json::string_member(object, "failing");
  n.instead_of = decode_list(object, "instead_of");
  n.forgotten = in.flag("forgotten", false);
  n.left_over = in.flag("left_over", false);
  n.halted = in.flag("halted", false);
  n.held_back = in.flag("held_back", false);
  if (json::member(object, "address") != nullptr) {
    n.address = json::string_member(object, "address");
    n.control_address = json::string_member(object, "patroni_address");
    n.certified = in.flag("certified", false);
    n.control_certified = in.flag("patroni_certified", false);
  }
  why = in.why();
  return n;
}

/// The owner of a cluster's secret, for place_of().
std::string owner_of_secret(const std::string& instance_id, const std::string& scope,
                            const std::string& name) {
  return instance_id + "/" + scope + "/" + name;
}

json::value encode_secrets(const model::cluster& one, const std::string& instance_id,
                           const keyring& keys, json::document& owner) {
  json::value all{rapidjson::kObjectType};
  for (const auto& secret : one.secrets) {
    auto of = owner_of_secret(instance_id, one.scope, secret.name);
    json::value object{rapidjson::kObjectType};
    json::add(object, "current",
              encode_credentials({secret.username, secret.password}, place_of(of, "current"), keys,
                                 owner),
              owner);
    if (secret.next)
      json::add(object, "next", encode_credentials(*secret.next, place_of(of, "next"), keys, owner),
                owner);
    all.AddMember(json::string(secret.name.text(), owner), object, owner.GetAllocator());
  }
  return all;
}

void decode_secrets(model::cluster& into, reader& in, const json::value& object,
                    const std::string& instance_id, const keyring& keys) {
  const auto* all = json::member(object, "secrets");
  if (all == nullptr || !all->IsObject())
    return in.refuse("secrets is missing or no object");
  for (const auto& m : all->GetObject()) {
    std::string name{m.name.GetString(), m.name.GetStringLength()};
    auto of = owner_of_secret(instance_id, into.scope, name);
    reader one{m.value};
    into.set_secret(name, one.credentials("current", of, keys));
    auto next = one.credentials("next", of, keys);
    if (!next.username.empty())
      std::ranges::find_if(into.secrets, [&](const auto& it) { return it.name == name; })->next =
          std::move(next);
    if (!one.why().empty())
      in.refuse("secrets." + name + ": " + one.why());
  }
}

} // namespace

const known_members settings_members{
    {"parameters", "synchronous", "ttl", "node_type", "credentials", "connection_limit", "limits"},
    {{"limits", &limits_members}}};
const known_members node_members{{"node_id", "backend_id", "plan_id", "service_id", "node_type",
                                  "phase", "start_may_arrive_until", "failing", "instead_of",
                                  "forgotten", "left_over", "halted", "held_back", "address",
                                  "patroni_address", "certified", "patroni_certified", "limits"},
                                 {{"limits", &limits_members}}};
const known_members cluster_members{
    {"engine", "scope", "nodes", "in_force", "taking_up", "switching_to", "had_leader", "follows",
     "retains_for", "secrets"},
    {{"in_force", &settings_members}, {"taking_up", &settings_members}},
    {{"nodes", "node_id", &node_members}},
    {{"secrets", &secret_members}}};

json::value encode_settings(const model::cluster_settings& settings, json::document& owner) {
  json::value object{rapidjson::kObjectType};
  json::add(object, "parameters", encode_texts(settings.parameters, owner), owner);
  json::add(object, "synchronous", model::text_of(settings.synchronous), owner);
  json::add(object, "ttl", settings.ttl, owner);
  json::add(object, "node_type", settings.node_type, owner);
  json::add(object, "credentials", model::text_of(settings.credentials), owner);
  json::add(object, "connection_limit", settings.connection_limit, owner);
  add_limits(object, settings.limits, owner);
  return object;
}

model::cluster_settings decode_settings(const json::value& object, std::string& why) {
  reader in{object};
  model::cluster_settings settings;
  settings.parameters = shared(decode_texts(object, "parameters"));
  settings.synchronous = in.word("synchronous", model::synchronous_modes);
  settings.ttl = in.number("ttl");
  settings.node_type = json::string_member(object, "node_type");
  settings.credentials = in.word("credentials", model::credentials_modes);
  settings.connection_limit = in.number("connection_limit");
  settings.limits = limits_in(object);
  why = in.why();
  return settings;
}

json::value encode_nodes(const std::vector<model::node>& nodes, json::document& owner) {
  json::value all{rapidjson::kArrayType};
  for (const auto& n : nodes)
    all.PushBack(encode_node(n, owner), owner.GetAllocator());
  return all;
}

std::vector<model::node> decode_nodes(reader& in, const json::value& object) {
  std::vector<model::node> nodes;
  const auto* all = json::member(object, "nodes");
  if (all == nullptr || !all->IsArray()) {
    in.refuse("nodes is missing or no list");
    return nodes;
  }
  for (const auto& n : all->GetArray()) {
    std::string wrong;
    nodes.push_back(decode_node(n, wrong));
    if (!wrong.empty())
      in.refuse("nodes: " + wrong);
  }
  return nodes;
}

json::value encode_cluster(const model::cluster& one, const std::string& instance_id,
                           const keyring& keys, json::document& owner) {
  json::value object{rapidjson::kObjectType};
  if (!one.engine.empty())
    json::add(object, "engine", one.engine.text(), owner);
  json::add(object, "scope", one.scope, owner);
  json::add(object, "nodes", encode_nodes(one.nodes, owner), owner);
  json::add(object, "in_force", encode_settings(one.in_force, owner), owner);
  if (one.taking_up)
    json::add(object, "taking_up", encode_settings(*one.taking_up, owner), owner);
  json::add(object, "switching_to", one.switching_to, owner);
  json::add(object, "had_leader", one.had_leader, owner);
  if (!one.follows.empty())
    json::add(object, "follows", one.follows, owner);
  if (!one.retains_for.empty())
    json::add(object, "retains_for", one.retains_for, owner);
  json::add(object, "secrets", encode_secrets(one, instance_id, keys, owner), owner);
  return object;
}

std::optional<model::cluster> decode_cluster(reader& of_record, const json::value& record,
                                             const char* name, const std::string& instance_id,
                                             const keyring& keys) {
  const auto* object = json::member(record, name);
  if (object == nullptr)
    return std::nullopt;
  reader in{*object};
  model::cluster one;
  if (in.why().empty()) {
    one.engine = shared(json::string_member(*object, "engine"));
    one.scope = in.text("scope");
    one.nodes = decode_nodes(in, *object);
    std::string wrong;
    if (const auto* settings = json::member(*object, "in_force"))
      one.in_force = decode_settings(*settings, wrong);
    else
      in.refuse("in_force is missing");
    if (const auto* settings = json::member(*object, "taking_up"); settings && wrong.empty())
      one.taking_up = decode_settings(*settings, wrong);
    if (!wrong.empty())
      in.refuse("settings: " + wrong);
    one.switching_to = json::string_member(*object, "switching_to");
    one.had_leader = in.flag("had_leader", false);
    one.follows = json::string_member(*object, "follows");
    one.retains_for = json::string_member(*object, "retains_for");
    decode_secrets(one, in, *object, instance_id, keys);
  }
  if (!in.why().empty())
    of_record.refuse(std::string{name} + ": " + in.why());
  return one;
}

} // namespace matriarch::store
