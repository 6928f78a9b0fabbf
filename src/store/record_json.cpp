#include "store/record_json.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

#include "base/enum_words.hpp"
#include "base/json.hpp"
#include "base/utf8.hpp"
#include "model/words.hpp"
#include "store/formats.hpp"
#include "store/unknown_members.hpp"

namespace matriarch::store {

namespace {

using model::wall_time;

// -- known members --------------------------------------------------------------------------------

const known_members credentials_members{{"username", "password"}};
const known_members limits_members{{"memory", "processes", "cpu", "disk"}};
const known_members settings_members{
    {"parameters", "synchronous", "ttl", "node_type", "credentials", "connection_limit", "limits"},
    {{"limits", &limits_members}}};
const known_members desired_members{{"exists", "node_count", "cells", "settings"},
                                    {{"settings", &settings_members}}};
const known_members operation_members{
    {"id", "type", "state", "description", "started_at", "deadline", "failing_because",
     "desired_before", "plan_id_before", "maintenance_version_before", "parameters_before",
     "requested", "requested_by", "failed_cells", "switched_over"},
    {{"desired_before", &desired_members}}};
const known_members node_members{{"node_id", "backend_id", "plan_id", "service_id", "node_type",
                                  "phase", "start_may_arrive_until", "failing", "instead_of",
                                  "forgotten", "left_over", "halted", "held_back", "address",
                                  "patroni_address", "certified", "patroni_certified", "limits"},
                                 {{"limits", &limits_members}}};
const known_members secret_members{
    {"current", "next"}, {{"current", &credentials_members}, {"next", &credentials_members}}};
const known_members cluster_members{
    {"engine", "scope", "nodes", "in_force", "taking_up", "switching_to", "had_leader", "follows",
     "retains_for", "secrets"},
    {{"in_force", &settings_members}, {"taking_up", &settings_members}},
    {{"nodes", "node_id", &node_members}},
    {{"secrets", &secret_members}}};
const known_members rebuild_members{{"id", "phase", "requested_by", "started_at", "deadline",
                                     "halt_until", "leader", "history", "failed_cells", "succeeded",
                                     "outcome"}};
const known_members ended_members{{"at", "operation_id"}};
const known_members record_members{{"instance_id",
                                    "service_id",
                                    "plan_id",
                                    "organization_guid",
                                    "space_guid",
                                    "parameters",
                                    "admin_credentials",
                                    "superuser_credentials",
                                    "app_credentials",
                                    "replication_credentials",
                                    "patroni_credentials",
                                    "etcd_credentials",
                                    "allocated_port",
                                    "read_only_port",
                                    "maintenance_version",
                                    "context",
                                    "scope",
                                    "phase",
                                    "desired",
                                    "in_force",
                                    "taking_up",
                                    "operation",
                                    "nodes",
                                    "switching_to",
                                    "had_leader",
                                    "follows",
                                    "retains_for",
                                    "last_scope",
                                    "incoming",
                                    "outgoing",
                                    "rebuild",
                                    "ended_bindings",
                                    "write_id",
                                    "format",
                                    "min_reader"},
                                   {{"admin_credentials", &credentials_members},
                                    {"superuser_credentials", &credentials_members},
                                    {"app_credentials", &credentials_members},
                                    {"replication_credentials", &credentials_members},
                                    {"patroni_credentials", &credentials_members},
                                    {"etcd_credentials", &credentials_members},
                                    {"desired", &desired_members},
                                    {"in_force", &settings_members},
                                    {"taking_up", &settings_members},
                                    {"operation", &operation_members, "id"},
                                    {"incoming", &cluster_members, "scope"},
                                    {"outgoing", &cluster_members, "scope"},
                                    {"rebuild", &rebuild_members, "id"}},
                                   {{"nodes", "node_id", &node_members}},
                                   {{"ended_bindings", &ended_members, "at"}}};
const known_members binding_members{{"binding_id", "service_id", "plan_id", "app_guid",
                                     "parameters", "predecessor", "read_only", "role", "phase",
                                     "operation_id", "polled", "created_at", "asked_at",
                                     "expires_at", "renew_before", "note", "format", "min_reader"},
                                    {{"role", &credentials_members}}};

const known_members tombstone_members{
    {"instance_id", "operation_id", "removed_at", "ended_bindings", "format", "min_reader"},
    {},
    {},
    {{"ended_bindings", &ended_members, "at"}}};
const known_members grave_members{{"scope", "buried_at", "format", "min_reader"}};
const known_members port_members{{"instance", "resting_since", "format", "min_reader"}};

/// The secrets of the cluster that serves, by their members in the record.
constexpr std::array secrets_of_the_living{
    std::pair{"admin_credentials", model::secret_name::admin},
    std::pair{"superuser_credentials", model::secret_name::superuser},
    std::pair{"app_credentials", model::secret_name::application},
    std::pair{"replication_credentials", model::secret_name::replication},
    std::pair{"patroni_credentials", model::secret_name::control},
    std::pair{"etcd_credentials", model::secret_name::etcd},
};

/// The place that a password is sealed for.
std::string place_of(const std::string& owner, const char* field) {
  return owner + "/" + field;
}

/// The owner of a binding's role, for place_of().
std::string owner_of_role(std::string_view name, const std::string& binding_id) {
  return std::string{name} + "/bindings/" + binding_id;
}

/// In milliseconds since 1970. Platforms get times in ISO 8601, which has four digits for the year;
/// much later times would overflow the calendar's numbers.
constexpr std::int64_t year_10000 = 253'402'300'800'000;

/// Reads a JSON object and keeps the first error.
class reader {
public:
  explicit reader(const json::value& object) : object_(object) {
    if (!object.IsObject())
      refuse("not an object");
  }

  std::string text(const char* name) {
    const auto* found = json::member(object_, name);
    if (found == nullptr || !found->IsString())
      refuse(std::string{name} + " is missing or no string");
    return json::string_member(object_, name);
  }
  std::int64_t integer(const char* name) {
    const auto* found = json::member(object_, name);
    if (found == nullptr || !found->IsInt64())
      refuse(std::string{name} + " is missing or no whole number");
    return json::integer_member(object_, name);
  }
  /// Refuses a number that does not fit: cut off, 4,294,967,296 nodes would become 0.
  int number(const char* name) {
    auto whole = integer(name);
    if (std::in_range<int>(whole))
      return static_cast<int>(whole);
    refuse(std::string{name} + " is too large or too small");
    return 0;
  }
  wall_time time(const char* name) {
    auto since_1970 = integer(name);
    if (since_1970 >= 0 && since_1970 < year_10000)
      return wall_time{model::duration{since_1970}};
    refuse(std::string{name} + " is no time, milliseconds since 1970");
    return {};
  }
  std::optional<wall_time> time_if_any(const char* name) {
    if (json::member(object_, name) == nullptr)
      return std::nullopt;
    return time(name);
  }
  bool flag(const char* name, bool otherwise) {
    const auto* found = json::member(object_, name);
    if (found == nullptr)
      return otherwise;
    if (!found->IsBool())
      refuse(std::string{name} + " is neither true nor false");
    return found->IsTrue();
  }
  /// `owner`: the owner of the credentials, the first part of their place.
  model::credentials credentials(const char* name, const std::string& owner, const keyring& keys) {
    const auto* found = json::member(object_, name);
    if (found == nullptr)
      return {};
    model::credentials who{json::string_member(*found, "username"), {}};
    auto password = keys.open(json::string_member(*found, "password"), place_of(owner, name));
    if (password)
      who.password = *std::move(password);
    else
      refuse(std::string{name} + ": " + password.error());
    if (who.username.empty() && !who.password.empty())
      refuse(std::string{name} + " has a password and no username");
    return who;
  }
  template <class Enum, std::size_t Count>
  Enum word(const char* name, const base::enum_words<Enum, Count>& known) {
    auto given = text(name);
    if (auto value = known.value_of(given))
      return *value;
    refuse(std::string{name} + " has the unknown value " + matriarch::quoted(given));
    return known.all.front().first;
  }
  void refuse(const std::string& why) {
    if (why_.empty())
      why_ = why;
  }
  [[nodiscard]] const std::string& why() const { return why_; }

private:
  const json::value& object_;
  std::string why_;
};

std::int64_t milliseconds(wall_time t) {
  return t.time_since_epoch().count();
}

json::value encode_credentials(const model::credentials& c, const std::string& place,
                               const keyring& keys, json::document& owner) {
  json::value pair{rapidjson::kObjectType};
  json::add(pair, "username", c.username, owner);
  json::add(pair, "password", keys.seal(c.password, place), owner);
  return pair;
}

/// An object under construction.
struct writer {
  json::document owner;
  writer() { owner.SetObject(); }
  template <class T>
  void add(const char* name, const T& what) {
    json::add(owner, name, what, owner);
  }
  void add_credentials(const char* name, const model::credentials& c, const std::string& of,
                       const keyring& keys) {
    json::add(owner, name, encode_credentials(c, place_of(of, name), keys, owner), owner);
  }
  /// `min_reader`: what a reader has to know of it.
  std::string text(int min_reader = own_min_reader) {
    add_format(owner, min_reader);
    return json::text_of(owner);
  }
};

/// An object whose members are texts.
json::value encode_texts(const std::map<std::string, std::string>& texts, json::document& owner) {
  json::value object{rapidjson::kObjectType};
  for (const auto& [name, text] : texts)
    object.AddMember(json::string(name, owner), json::string(text, owner), owner.GetAllocator());
  return object;
}

std::map<std::string, std::string> decode_texts(const json::value& object, const char* name) {
  std::map<std::string, std::string> texts;
  if (const auto* found = json::member(object, name); found != nullptr && found->IsObject())
    for (const auto& m : found->GetObject())
      if (m.value.IsString())
        texts.emplace(std::string{m.name.GetString(), m.name.GetStringLength()},
                      std::string{m.value.GetString(), m.value.GetStringLength()});
  return texts;
}

/// Shares equal texts: there are few plans, and nearly all instances of a fleet have the values of
/// one of them. Recently read values are kept.
model::shared_text shared(const std::string& read) {
  constexpr std::size_t most = 64;
  thread_local std::vector<model::shared_text> lately;
  if (read.empty())
    return {};
  auto same = std::ranges::find(lately, std::string_view{read}, &model::shared_text::text);
  if (same != lately.end())
    return *same;
  if (lately.size() == most)
    lately.erase(lately.begin());
  return lately.emplace_back(read);
}

model::shared_map<std::string, std::string> shared(std::map<std::string, std::string> read) {
  constexpr std::size_t most = 16;
  thread_local std::vector<model::shared_map<std::string, std::string>> lately;
  auto same = std::ranges::find_if(lately, [&](const auto& one) { return one.entries() == read; });
  if (same != lately.end())
    return *same;
  if (lately.size() == most)
    lately.erase(lately.begin());
  return lately.emplace_back(std::move(read));
}

void add_ended(writer& out, const std::map<std::string, model::ended_binding>& bindings) {
  json::value all{rapidjson::kObjectType};
  for (const auto& [binding_id, ended] : bindings) {
    json::value one{rapidjson::kObjectType};
    json::add(one, "at", milliseconds(ended.at), out.owner);
    if (!ended.operation_id.empty())
      json::add(one, "operation_id", ended.operation_id, out.owner);
    all.AddMember(json::string(binding_id, out.owner), one, out.owner.GetAllocator());
  }
  json::add(out.owner, "ended_bindings", std::move(all), out.owner);
}

std::map<std::string, model::ended_binding> read_ended(const json::value& object) {
  std::map<std::string, model::ended_binding> ended;
  const auto* all = json::member(object, "ended_bindings");
  if (all == nullptr || !all->IsObject())
    return ended;
  for (const auto& m : all->GetObject()) {
    // Earlier releases wrote only the time.
    const auto* at = m.value.IsObject() ? json::member(m.value, "at") : &m.value;
    if (at == nullptr || !at->IsInt64() || at->GetInt64() < 0 || at->GetInt64() >= year_10000)
      continue;
    ended[{m.name.GetString(), m.name.GetStringLength()}] = {
        wall_time{model::duration{at->GetInt64()}},
        m.value.IsObject() ? json::string_member(m.value, "operation_id") : std::string{}};
  }
  return ended;
}

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

json::value encode_list(const std::vector<std::string>& texts, json::document& owner) {
  json::value list{rapidjson::kArrayType};
  for (const auto& text : texts)
    list.PushBack(json::string(text, owner), owner.GetAllocator());
  return list;
}

std::vector<std::string> decode_list(const json::value& object, const char* name) {
  std::vector<std::string> texts;
  if (const auto* list = json::member(object, name); list != nullptr && list->IsArray())
    for (const auto& text : list->GetArray())
      if (text.IsString())
        texts.emplace_back(text.GetString(), text.GetStringLength());
  return texts;
}

json::value encode_desired(const model::desired_state& desired, json::document& owner) {
  json::value object{rapidjson::kObjectType};
  json::add(object, "exists", desired.exists, owner);
  json::add(object, "node_count", desired.node_count, owner);
  json::add(object, "cells", encode_list(desired.cells, owner), owner);
  json::add(object, "settings", encode_settings(desired.settings, owner), owner);
  return object;
}

model::desired_state decode_desired(const json::value& object, std::string& why) {
  reader in{object};
  model::desired_state desired;
  if (const auto* exists = json::member(object, "exists"); exists != nullptr && exists->IsBool())
    desired.exists = exists->GetBool();
  // A missing count is an error: a count of 0 would remove all nodes.
  desired.node_count = in.number("node_count");
  desired.cells = decode_list(object, "cells");
  if (const auto* settings = json::member(object, "settings")) {
    std::string wrong;
    desired.settings = decode_settings(*settings, wrong);
    if (!wrong.empty())
      in.refuse("settings: " + wrong);
  } else {
    // From before there were settings: all applications used the instance's one user.
    desired.settings.credentials = model::credentials_mode::shared;
  }
  why = in.why();
  return desired;
}

json::value encode_operation(const model::operation& op, json::document& owner) {
  json::value object{rapidjson::kObjectType};
  json::add(object, "id", op.id, owner);
  json::add(object, "type", model::text_of(op.type), owner);
  json::add(object, "state", model::text_of(op.state), owner);
  json::add(object, "description", op.description, owner);
  json::add(object, "started_at", milliseconds(op.started_at), owner);
  json::add(object, "deadline", milliseconds(op.deadline), owner);
  json::add(object, "failing_because", op.failing_because, owner);
  if (op.desired_before)
    json::add(object, "desired_before", encode_desired(*op.desired_before, owner), owner);
  json::add(object, "plan_id_before", op.plan_id_before, owner);
  json::add(object, "maintenance_version_before", op.maintenance_version_before, owner);
  json::add(object, "parameters_before", op.parameters_before, owner);
  json::add(object, "requested", op.requested, owner);
  json::add(object, "requested_by", op.requested_by, owner);
  json::add(object, "failed_cells", encode_texts(op.failed_cells, owner), owner);
  json::add(object, "switched_over", op.switched_over, owner);
  return object;
}

model::operation decode_operation(const json::value& object, std::string& why) {
  reader in{object};
  model::operation op;
  op.id = in.text("id");
  op.type = in.word("type", model::operation_types);
  op.state = in.word("state", model::operation_states);
  op.description = json::string_member(object, "description");
  op.started_at = in.time("started_at");
  op.deadline = in.time("deadline");
  op.failing_because = json::string_member(object, "failing_because");
  if (const auto* before = json::member(object, "desired_before")) {
    std::string wrong;
    op.desired_before = decode_desired(*before, wrong);
    if (!wrong.empty())
      in.refuse("desired_before: " + wrong);
  }
  op.plan_id_before = json::string_member(object, "plan_id_before");
  op.maintenance_version_before = json::string_member(object, "maintenance_version_before");
  op.parameters_before = json::string_member(object, "parameters_before");
  op.requested = json::string_member(object, "requested");
  op.requested_by = json::string_member(object, "requested_by");
  op.failed_cells = decode_texts(object, "failed_cells");
  op.switched_over = in.flag("switched_over", false);
  why = in.why();
  return op;
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
    json::add(object, "start_may_arrive_until", milliseconds(*n.start_may_arrive_until), owner);
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

// -- clusters beside the one that serves ------------------------------------------------------------

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
  json::add(object, "secrets", encode_secrets(one, instance_id, keys, owner), owner);
  return object;
}

/// Nothing if the record has no such cluster.
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
    decode_secrets(one, in, *object, instance_id, keys);
  }
  if (!in.why().empty())
    of_record.refuse(std::string{name} + ": " + in.why());
  return one;
}

json::value encode_rebuild(const model::rebuild& one, json::document& owner) {
  json::value object{rapidjson::kObjectType};
  json::add(object, "id", one.id, owner);
  json::add(object, "phase", model::text_of(one.phase), owner);
  json::add(object, "requested_by", one.requested_by, owner);
  json::add(object, "started_at", milliseconds(one.started_at), owner);
  json::add(object, "deadline", milliseconds(one.deadline), owner);
  if (one.halt_until)
    json::add(object, "halt_until", milliseconds(*one.halt_until), owner);
  json::add(object, "leader", one.leader, owner);
  json::add(object, "history", one.history, owner);
  json::add(object, "failed_cells", encode_texts(one.failed_cells, owner), owner);
  json::add(object, "succeeded", one.succeeded, owner);
  json::add(object, "outcome", one.outcome, owner);
  return object;
}

model::rebuild decode_rebuild(const json::value& object, std::string& why) {
  reader in{object};
  model::rebuild one;
  one.id = in.text("id");
  one.phase = in.word("phase", model::rebuild_phases);
  one.requested_by = json::string_member(object, "requested_by");
  one.started_at = in.time("started_at");
  one.deadline = in.time("deadline");
  one.halt_until = in.time_if_any("halt_until");
  one.leader = json::string_member(object, "leader");
  one.history = json::integer_member(object, "history");
  one.failed_cells = decode_texts(object, "failed_cells");
  one.succeeded = in.flag("succeeded", false);
  one.outcome = json::string_member(object, "outcome");
  why = in.why();
  return one;
}

/// Parses an object's text and passes it to `read`, which notes what is wrong.
template <class T, class Read>
result<T> decode(std::string_view text, const char* what, Read read) {
  auto parsed = json::parse(text);
  if (!parsed)
    return failure{std::string{what} + ": " + parsed.error()};
  reader in{*parsed};
  T value = in.why().empty() ? read(in, *parsed) : T{};
  if (!in.why().empty())
    return failure{std::string{what} + ": " + in.why()};
  return value;
}

/// Like decode(), for a value of this program, after a check of its `min_reader`.
template <class T, class Read>
result<T> decode_own(std::string_view text, const char* what, Read read) {
  return decode<T>(text, what, [&](reader& in, const json::value& object) {
    auto why_not = why_not_to_read(object);
    if (!why_not)
      return read(in, object);
    in.refuse(*why_not);
    return T{};
  });
}

} // namespace

namespace {

/// Whether a reader has to know of clusters beside the one that serves, and of nodes that are halted.
bool needs_rebuilding(const model::record& known) {
  return known.is_being_rebuilt() || known.incoming || known.outgoing
         || std::ranges::any_of(known.living.nodes, &model::node::halted);
}

} // namespace

std::string encode_record(const model::record& known, const keyring& keys) {
  writer out;
  out.add("instance_id", known.instance_id);
  out.add("service_id", known.service_id);
  out.add("plan_id", known.plan_id);
  out.add("organization_guid", known.organization_guid);
  out.add("space_guid", known.space_guid);
  out.add("parameters", known.parameters);
  for (const auto& [field, name] : secrets_of_the_living)
    if (auto login = known.living.secret_of(name);
        name != model::secret_name::etcd || !login.username.empty())
      out.add_credentials(field, login, known.instance_id, keys);
  out.add("allocated_port", known.endpoints[model::endpoint::primary]);
  out.add("read_only_port", known.endpoints[model::endpoint::read_only]);
  out.add("maintenance_version", known.maintenance_version);
  out.add("context", known.context);
  out.add("scope", known.living.scope);
  out.add("phase", model::text_of(known.phase));
  json::add(out.owner, "desired", encode_desired(known.desired, out.owner), out.owner);
  json::add(out.owner, "in_force", encode_settings(known.living.in_force, out.owner), out.owner);
  if (known.living.taking_up)
    json::add(out.owner, "taking_up", encode_settings(*known.living.taking_up, out.owner),
              out.owner);
  json::add(out.owner, "operation", encode_operation(known.current, out.owner), out.owner);
  json::add(out.owner, "nodes", encode_nodes(known.living.nodes, out.owner), out.owner);
  out.add("switching_to", known.living.switching_to);
  out.add("had_leader", known.living.had_leader);
  if (!known.living.follows.empty())
    out.add("follows", known.living.follows);
  if (!known.living.retains_for.empty())
    out.add("retains_for", known.living.retains_for);
  if (known.last_scope > 1)
    out.add("last_scope", known.last_scope);
  for (auto [name, one] : {std::pair{"incoming", &known.incoming}, {"outgoing", &known.outgoing}})
    if (*one)
      json::add(out.owner, name, encode_cluster(**one, known.instance_id, keys, out.owner),
                out.owner);
  if (known.rebuilt)
    json::add(out.owner, "rebuild", encode_rebuild(*known.rebuilt, out.owner), out.owner);
  add_ended(out, known.ended_bindings);
  out.add("write_id", known.write_id);
  add_unknown(out.owner, known.unknown, record_members, out.owner);
  return out.text(needs_rebuilding(known) ? rebuilding_format : own_min_reader);
}

result<model::record> decode_record(std::string_view text, const keyring& keys) {
  return decode_own<model::record>(text, "record", [&](reader& in, const json::value& object) {
    model::record known;
    known.instance_id = in.text("instance_id");
    known.service_id = in.text("service_id");
    known.plan_id = in.text("plan_id");
    known.organization_guid = json::string_member(object, "organization_guid");
    known.space_guid = json::string_member(object, "space_guid");
    known.parameters = json::string_member(object, "parameters", "{}");
    for (const auto& [field, name] : secrets_of_the_living)
      if (auto login = in.credentials(field, known.instance_id, keys); !login.username.empty())
        known.living.set_secret(name, login);
    known.living.secrets.shrink_to_fit();
    for (auto& one : known.living.secrets) {
      one.name = shared(one.name);
      if (one.name != model::secret_name::etcd) // differs for each cluster
        one.username = shared(one.username);
    }
    known.endpoints[model::endpoint::primary] = in.number("allocated_port");
    if (json::member(object, "read_only_port") != nullptr)
      known.endpoints[model::endpoint::read_only] = in.number("read_only_port");
    known.maintenance_version = json::string_member(object, "maintenance_version");
    known.context = json::string_member(object, "context", "{}");
    known.living.scope = in.text("scope");
    known.phase = in.word("phase", model::record_phases);
    auto note = [&](const char* part, const std::string& why) {
      if (!why.empty())
        in.refuse(std::string{part} + ": " + why);
    };
    std::string why;
    if (const auto* desired = json::member(object, "desired"))
      known.desired = decode_desired(*desired, why);
    else
      in.refuse("desired is missing");
    note("desired", why);
    auto settings = [&](const char* name) -> std::optional<model::cluster_settings> {
      const auto* found = json::member(object, name);
      if (found == nullptr)
        return std::nullopt;
      std::string wrong;
      auto read = decode_settings(*found, wrong);
      note(name, wrong);
      return read;
    };
    known.living.in_force = settings("in_force").value_or(known.desired.settings);
    known.living.taking_up = settings("taking_up");
    why.clear();
    if (const auto* op = json::member(object, "operation"))
      known.current = decode_operation(*op, why);
    else
      in.refuse("operation is missing");
    note("operation", why);
    known.living.nodes = decode_nodes(in, object);
    known.living.switching_to = json::string_member(object, "switching_to");
    known.living.had_leader = in.flag("had_leader", false);
    known.living.follows = json::string_member(object, "follows");
    known.living.retains_for = json::string_member(object, "retains_for");
    if (json::member(object, "last_scope") != nullptr)
      known.last_scope = in.number("last_scope");
    known.incoming = decode_cluster(in, object, "incoming", known.instance_id, keys);
    known.outgoing = decode_cluster(in, object, "outgoing", known.instance_id, keys);
    why.clear();
    if (const auto* one = json::member(object, "rebuild"))
      known.rebuilt = decode_rebuild(*one, why);
    note("rebuild", why);
    known.ended_bindings = read_ended(object);
    known.write_id = json::string_member(object, "write_id");
    known.unknown = unknown_in(object, record_members);
    // An ended binding whose time cannot be read is dropped, and its unknown members with it.
    if (const auto* ended = json::member(object, "ended_bindings");
        ended != nullptr && ended->IsObject()
        && ended->MemberCount() != known.ended_bindings.size())
      forget_what_is_gone(known, encode_record(known, keyring{}));
    return known;
  });
}

void forget_what_is_gone(model::record& written, std::string_view text) {
  if (written.unknown.empty())
    return;
  if (auto parsed = json::parse(text); parsed.ok())
    written.unknown = unknown_in(*parsed, record_members);
}

std::string encode_binding(const model::binding& known, std::string_view name,
                           const keyring& keys) {
  writer out;
  out.add("binding_id", known.binding_id);
  out.add("service_id", known.service_id);
  out.add("plan_id", known.plan_id);
  out.add("app_guid", known.app_guid);
  out.add("parameters", known.parameters);
  out.add("predecessor", known.predecessor);
  out.add("read_only", known.read_only);
  if (!known.role.username.empty())
    out.add_credentials("role", known.role, owner_of_role(name, known.binding_id), keys);
  out.add("phase", model::text_of(known.phase));
  out.add("operation_id", known.operation_id);
  out.add("polled", known.polled);
  out.add("created_at", milliseconds(known.created_at));
  out.add("asked_at", milliseconds(known.asked_at));
  if (known.expires_at)
    out.add("expires_at", milliseconds(*known.expires_at));
  if (known.renew_before)
    out.add("renew_before", milliseconds(*known.renew_before));
  out.add("note", known.note);
  add_unknown(out.owner, known.unknown, binding_members, out.owner);
  return out.text();
}

result<model::binding> decode_binding(std::string_view text, std::string_view name,
                                      const keyring& keys) {
  return decode_own<model::binding>(text, "binding", [&](reader& in, const json::value& object) {
    model::binding known;
    known.binding_id = in.text("binding_id");
    known.service_id = in.text("service_id");
    known.plan_id = in.text("plan_id");
    known.app_guid = json::string_member(object, "app_guid");
    known.parameters = json::string_member(object, "parameters", "{}");
    known.predecessor = json::string_member(object, "predecessor");
    known.read_only = in.flag("read_only", false);
    known.role = in.credentials("role", owner_of_role(name, known.binding_id), keys);
    // From before bindings had phases: a binding was written when it was ready.
    known.phase = json::member(object, "phase") == nullptr
                      ? model::binding_phase::ready
                      : in.word("phase", model::binding_phases);
    known.operation_id = json::string_member(object, "operation_id");
    known.polled = in.flag("polled", false);
    known.created_at = in.time_if_any("created_at").value_or(wall_time{});
    known.asked_at = in.time_if_any("asked_at").value_or(known.created_at);
    known.expires_at = in.time_if_any("expires_at");
    known.renew_before = in.time_if_any("renew_before");
    known.note = json::string_member(object, "note");
    known.unknown = unknown_in(object, binding_members);
    return known;
  });
}

std::string encode_tombstone(const model::tombstone& known) {
  writer out;
  out.add("instance_id", known.instance_id);
  out.add("operation_id", known.operation_id);
  out.add("removed_at", milliseconds(known.removed_at));
  if (!known.ended_bindings.empty())
    add_ended(out, known.ended_bindings);
  add_unknown(out.owner, known.unknown, tombstone_members, out.owner);
  return out.text();
}

result<model::tombstone> decode_tombstone(std::string_view text) {
  return decode_own<model::tombstone>(text, "tombstone", [](reader& in, const json::value& object) {
    return model::tombstone{in.text("instance_id"), in.text("operation_id"), in.time("removed_at"),
                            read_ended(object), unknown_in(object, tombstone_members)};
  });
}

std::string encode_grave(const model::grave& known) {
  writer out;
  out.add("scope", known.scope);
  if (known.buried_at)
    out.add("buried_at", milliseconds(*known.buried_at));
  add_unknown(out.owner, known.unknown, grave_members, out.owner);
  return out.text();
}

result<model::grave> decode_grave(std::string_view text) {
  if (auto parsed = json::parse(text); parsed.ok()) {
    if (auto why_not = why_not_to_read(*parsed))
      return failure{"grave: " + *why_not};
  } else if (text.starts_with('{')) {
    return failure{"grave: " + parsed.error()}; // no scope begins with a brace
  }
  auto read = decode<model::grave>(text, "grave", [](reader& in, const json::value& object) {
    return model::grave{in.text("scope"), in.time_if_any("buried_at"),
                        unknown_in(object, grave_members)};
  });
  return read.ok() ? read : model::grave{std::string{text}, std::nullopt};
}

std::string encode_over(std::string_view before, model::grave known) {
  if (auto earlier = decode_grave(before); earlier.ok())
    known.unknown = std::move(earlier->unknown);
  return encode_grave(known);
}

std::string encode_port_use(const model::port_use& use) {
  writer out;
  out.add("instance", use.name);
  if (use.resting_since)
    out.add("resting_since", milliseconds(*use.resting_since));
  add_unknown(out.owner, use.unknown, port_members, out.owner);
  return out.text();
}

result<model::port_use> decode_port_use(std::string_view text, std::int64_t revision) {
  return decode_own<model::port_use>(text, "port", [&](reader& in, const json::value& object) {
    model::port_use use;
    use.name = in.text("instance");
    use.resting_since = in.time_if_any("resting_since");
    use.revision = revision;
    use.unknown = unknown_in(object, port_members);
    return use;
  });
}

std::string with_unknown_of(const model::port_use& before, std::string text) {
  auto use = decode_port_use(text, 0);
  if (before.unknown.empty() || !use.ok() || use->name != before.name)
    return text;
  use->unknown = before.unknown;
  return encode_port_use(*use);
}

std::string encode_active(const active_broker& who) {
  writer out;
  out.add("broker_id", who.broker_id);
  out.add("address", who.address);
  out.add("host", who.host);
  out.add("machine", who.machine);
  return out.text();
}

result<active_broker> decode_active(std::string_view text) {
  return decode<active_broker>(text, "active broker", [](reader& in, const json::value& found) {
    // Earlier brokers did not write the last two members.
    return active_broker{in.text("broker_id"), in.text("address"),
                         json::string_member(found, "host"), json::string_member(found, "machine")};
  });
}

} // namespace matriarch::store
