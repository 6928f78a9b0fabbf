#include "store/record_json.hpp"

#include <array>
#include <utility>

#include "model/json.hpp"

namespace matriarch::store {

namespace {

using model::wall_time;

// -- enumerations as the words that are stored ----------------------------------------------------

template <class Enum, std::size_t Count>
using words = std::array<std::pair<Enum, const char*>, Count>;

constexpr words<model::node_phase, 3> node_phases{{{model::node_phase::placed, "placed"},
                                                   {model::node_phase::started, "started"},
                                                   {model::node_phase::removing, "removing"}}};
constexpr words<model::operation_type, 3> operation_types{
    {{model::operation_type::provision, "provision"},
     {model::operation_type::update, "update"},
     {model::operation_type::deprovision, "deprovision"}}};
constexpr words<model::operation_state, 3> operation_states{
    {{model::operation_state::in_progress, "in progress"},
     {model::operation_state::succeeded, "succeeded"},
     {model::operation_state::failed, "failed"}}};
constexpr words<model::record_phase, 2> record_phases{
    {{model::record_phase::accepting, "accepting"}, {model::record_phase::accepted, "accepted"}}};

template <class Enum, std::size_t Count>
const char* word_for(const words<Enum, Count>& known, Enum wanted) {
  for (const auto& [value, word] : known)
    if (value == wanted)
      return word;
  return "";
}

/// Reads a JSON object; the first thing that is wrong is kept.
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
  wall_time time(const char* name) { return wall_time{model::duration{integer(name)}}; }
  model::credentials credentials(const char* name) {
    const auto* found = json::member(object_, name);
    if (found == nullptr)
      return {};
    return {json::string_member(*found, "username"), json::string_member(*found, "password")};
  }
  template <class Enum, std::size_t Count>
  Enum word(const char* name, const words<Enum, Count>& known) {
    auto given = text(name);
    for (const auto& [value, word] : known)
      if (given == word)
        return value;
    refuse(std::string{name} + " has the unknown value \"" + given + "\"");
    return known.front().first;
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

/// An object under construction.
struct writer {
  json::document owner;
  writer() { owner.SetObject(); }
  template <class T>
  void add(const char* name, const T& what) {
    json::add(owner, name, what, owner);
  }
  void add_credentials(const char* name, const model::credentials& c) {
    json::value pair{rapidjson::kObjectType};
    json::add(pair, "username", c.username, owner);
    json::add(pair, "password", c.password, owner);
    json::add(owner, name, std::move(pair), owner);
  }
};

json::value encode_desired(const model::desired_state& desired, json::document& owner) {
  json::value object{rapidjson::kObjectType};
  json::add(object, "exists", desired.exists, owner);
  json::add(object, "node_count", desired.node_count, owner);
  json::value cells{rapidjson::kArrayType};
  for (const auto& guid : desired.cells)
    cells.PushBack(json::string(guid, owner), owner.GetAllocator());
  json::add(object, "cells", std::move(cells), owner);
  return object;
}

model::desired_state decode_desired(const json::value& object, std::string& why) {
  reader in{object};
  model::desired_state desired;
  if (const auto* exists = json::member(object, "exists"); exists != nullptr && exists->IsBool())
    desired.exists = exists->GetBool();
  // Nothing may stand in for it: a count of 0 would take the nodes away.
  desired.node_count = static_cast<int>(in.integer("node_count"));
  if (const auto* cells = json::member(object, "cells"); cells != nullptr && cells->IsArray())
    for (const auto& guid : cells->GetArray())
      if (guid.IsString())
        desired.cells.emplace_back(guid.GetString(), guid.GetStringLength());
  why = in.why();
  return desired;
}

json::value encode_operation(const model::operation& op, json::document& owner) {
  json::value object{rapidjson::kObjectType};
  json::add(object, "id", op.id, owner);
  json::add(object, "type", word_for(operation_types, op.type), owner);
  json::add(object, "state", word_for(operation_states, op.state), owner);
  json::add(object, "description", op.description, owner);
  json::add(object, "started_at", milliseconds(op.started_at), owner);
  json::add(object, "deadline", milliseconds(op.deadline), owner);
  json::add(object, "failing_because", op.failing_because, owner);
  if (op.desired_before)
    json::add(object, "desired_before", encode_desired(*op.desired_before, owner), owner);
  json::add(object, "parameters_before", op.parameters_before, owner);
  json::add(object, "requested", op.requested, owner);
  json::value failed{rapidjson::kObjectType};
  for (const auto& [guid, why] : op.failed_cells)
    failed.AddMember(json::string(guid, owner), json::string(why, owner), owner.GetAllocator());
  json::add(object, "failed_cells", std::move(failed), owner);
  json::add(object, "switched_over", op.switched_over, owner);
  return object;
}

model::operation decode_operation(const json::value& object, std::string& why) {
  reader in{object};
  model::operation op;
  op.id = in.text("id");
  op.type = in.word("type", operation_types);
  op.state = in.word("state", operation_states);
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
  op.parameters_before = json::string_member(object, "parameters_before");
  op.requested = json::string_member(object, "requested");
  if (const auto* failed = json::member(object, "failed_cells"); failed && failed->IsObject())
    for (const auto& m : failed->GetObject())
      if (m.value.IsString())
        op.failed_cells[m.name.GetString()] = m.value.GetString();
  if (const auto* moved = json::member(object, "switched_over"); moved && moved->IsBool())
    op.switched_over = moved->GetBool();
  why = in.why();
  return op;
}

json::value encode_node(const model::node& n, json::document& owner) {
  json::value object{rapidjson::kObjectType};
  json::add(object, "node_id", n.node_id, owner);
  json::add(object, "backend_id", n.cell, owner);
  json::add(object, "plan_id", n.plan_id, owner);
  json::add(object, "service_id", n.service_id, owner);
  json::add(object, "phase", word_for(node_phases, n.phase), owner);
  if (n.start_may_arrive_until)
    json::add(object, "start_may_arrive_until", milliseconds(*n.start_may_arrive_until), owner);
  return object;
}

model::node decode_node(const json::value& object, std::string& why) {
  reader in{object};
  model::node n;
  n.node_id = in.text("node_id");
  n.cell = in.text("backend_id");
  n.plan_id = in.text("plan_id");
  n.service_id = in.text("service_id");
  n.phase = in.word("phase", node_phases);
  if (json::member(object, "start_may_arrive_until") != nullptr)
    n.start_may_arrive_until = in.time("start_may_arrive_until");
  why = in.why();
  return n;
}

/// Parses an object's text and hands it to `read`, which says what is wrong.
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

} // namespace

const char* text_of(model::node_phase phase) {
  return word_for(node_phases, phase);
}
const char* text_of(model::operation_type type) {
  return word_for(operation_types, type);
}
const char* text_of(model::operation_state state) {
  return word_for(operation_states, state);
}

std::string encode_record(const model::record& known) {
  writer out;
  out.add("instance_id", known.instance_id);
  out.add("service_id", known.service_id);
  out.add("plan_id", known.plan_id);
  out.add("organization_guid", known.organization_guid);
  out.add("space_guid", known.space_guid);
  out.add("parameters", known.parameters);
  out.add_credentials("admin_credentials", known.admin);
  out.add_credentials("superuser_credentials", known.superuser);
  out.add_credentials("app_credentials", known.application);
  out.add_credentials("replication_credentials", known.replication);
  out.add_credentials("patroni_credentials", known.patroni);
  out.add("allocated_port", known.allocated_port);
  out.add("scope", known.scope);
  out.add("phase", word_for(record_phases, known.phase));
  json::add(out.owner, "desired", encode_desired(known.desired, out.owner), out.owner);
  json::add(out.owner, "operation", encode_operation(known.current, out.owner), out.owner);
  json::value nodes{rapidjson::kArrayType};
  for (const auto& n : known.nodes)
    nodes.PushBack(encode_node(n, out.owner), out.owner.GetAllocator());
  json::add(out.owner, "nodes", std::move(nodes), out.owner);
  out.add("switching_to", known.switching_to);
  out.add("had_leader", known.had_leader);
  out.add("write_id", known.write_id);
  return json::text_of(out.owner);
}

result<model::record> decode_record(std::string_view text) {
  return decode<model::record>(text, "record", [](reader& in, const json::value& object) {
    model::record known;
    known.instance_id = in.text("instance_id");
    known.service_id = in.text("service_id");
    known.plan_id = in.text("plan_id");
    known.organization_guid = json::string_member(object, "organization_guid");
    known.space_guid = json::string_member(object, "space_guid");
    known.parameters = json::string_member(object, "parameters", "{}");
    known.admin = in.credentials("admin_credentials");
    known.superuser = in.credentials("superuser_credentials");
    known.application = in.credentials("app_credentials");
    known.replication = in.credentials("replication_credentials");
    known.patroni = in.credentials("patroni_credentials");
    known.allocated_port = static_cast<int>(in.integer("allocated_port"));
    known.scope = in.text("scope");
    known.phase = in.word("phase", record_phases);
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
    why.clear();
    if (const auto* op = json::member(object, "operation"))
      known.current = decode_operation(*op, why);
    else
      in.refuse("operation is missing");
    note("operation", why);
    const auto* nodes = json::member(object, "nodes");
    if (nodes == nullptr || !nodes->IsArray()) {
      in.refuse("nodes is missing or no list");
    } else {
      for (const auto& n : nodes->GetArray()) {
        std::string wrong;
        known.nodes.push_back(decode_node(n, wrong));
        note("nodes", wrong);
      }
    }
    known.switching_to = json::string_member(object, "switching_to");
    if (const auto* led = json::member(object, "had_leader"); led != nullptr && led->IsBool())
      known.had_leader = led->GetBool();
    known.write_id = json::string_member(object, "write_id");
    return known;
  });
}

std::string encode_binding(const model::binding& known) {
  writer out;
  out.add("binding_id", known.binding_id);
  out.add("service_id", known.service_id);
  out.add("plan_id", known.plan_id);
  out.add("app_guid", known.app_guid);
  out.add("parameters", known.parameters);
  return json::text_of(out.owner);
}

result<model::binding> decode_binding(std::string_view text) {
  return decode<model::binding>(text, "binding", [](reader& in, const json::value& object) {
    model::binding known;
    known.binding_id = in.text("binding_id");
    known.service_id = in.text("service_id");
    known.plan_id = in.text("plan_id");
    known.app_guid = json::string_member(object, "app_guid");
    known.parameters = json::string_member(object, "parameters", "{}");
    return known;
  });
}

std::string encode_tombstone(const model::tombstone& known) {
  writer out;
  out.add("instance_id", known.instance_id);
  out.add("operation_id", known.operation_id);
  out.add("removed_at", milliseconds(known.removed_at));
  return json::text_of(out.owner);
}

result<model::tombstone> decode_tombstone(std::string_view text) {
  return decode<model::tombstone>(text, "tombstone", [](reader& in, const json::value&) {
    return model::tombstone{in.text("instance_id"), in.text("operation_id"), in.time("removed_at")};
  });
}

std::string encode_port_use(const model::port_use& use) {
  writer out;
  out.add("instance", use.name);
  if (use.resting_since)
    out.add("resting_since", milliseconds(*use.resting_since));
  return json::text_of(out.owner);
}

result<model::port_use> decode_port_use(std::string_view text, std::int64_t revision) {
  return decode<model::port_use>(text, "port", [&](reader& in, const json::value& object) {
    model::port_use use;
    use.name = in.text("instance");
    if (json::member(object, "resting_since") != nullptr)
      use.resting_since = in.time("resting_since");
    use.revision = revision;
    return use;
  });
}

result<model::member> decode_member(std::string_view text) {
  return decode<model::member>(text, "member", [](reader&, const json::value& object) {
    return model::member{json::string_member(object, "state"),
                         json::string_member(object, "api_url"),
                         json::string_member(object, "conn_url")};
  });
}

std::string encode_active(const active_broker& who) {
  writer out;
  out.add("broker_id", who.broker_id);
  out.add("address", who.address);
  return json::text_of(out.owner);
}

result<active_broker> decode_active(std::string_view text) {
  return decode<active_broker>(text, "active broker", [](reader& in, const json::value&) {
    return active_broker{in.text("broker_id"), in.text("address")};
  });
}

} // namespace matriarch::store
