#include "store/record_json.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/json.hpp"
#include "model/words.hpp"
#include "store/cluster_json.hpp"
#include "store/ended_json.hpp"
#include "store/formats.hpp"
#include "store/shared_values.hpp"
#include "store/stored_object.hpp"
#include "store/unknown_members.hpp"

namespace matriarch::store {

namespace {

const known_members desired_members{{"exists", "node_count", "cells", "settings"},
                                    {{"settings", &settings_members}}};
const known_members operation_members{
    {"id", "type", "state", "description", "started_at", "deadline", "failing_because",
     "desired_before", "plan_id_before", "maintenance_version_before", "parameters_before",
     "requested", "requested_by", "failed_cells", "switched_over"},
    {{"desired_before", &desired_members}}};
const known_members rebuild_members{{"id", "phase", "requested_by", "started_at", "deadline",
                                     "halt_until", "leader", "history", "keep_until",
                                     "failed_cells", "succeeded", "outcome"}};
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

/// The secrets of the cluster that serves, by their members in the record.
constexpr std::array secrets_of_the_living{
    std::pair{"admin_credentials", model::secret_name::admin},
    std::pair{"superuser_credentials", model::secret_name::superuser},
    std::pair{"app_credentials", model::secret_name::application},
    std::pair{"replication_credentials", model::secret_name::replication},
    std::pair{"patroni_credentials", model::secret_name::control},
    std::pair{"etcd_credentials", model::secret_name::etcd},
};

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
  json::add(object, "started_at", milliseconds_of(op.started_at), owner);
  json::add(object, "deadline", milliseconds_of(op.deadline), owner);
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

json::value encode_rebuild(const model::rebuild& one, json::document& owner) {
  json::value object{rapidjson::kObjectType};
  json::add(object, "id", one.id, owner);
  json::add(object, "phase", model::text_of(one.phase), owner);
  json::add(object, "requested_by", one.requested_by, owner);
  json::add(object, "started_at", milliseconds_of(one.started_at), owner);
  json::add(object, "deadline", milliseconds_of(one.deadline), owner);
  if (one.halt_until)
    json::add(object, "halt_until", milliseconds_of(*one.halt_until), owner);
  json::add(object, "leader", one.leader, owner);
  json::add(object, "history", one.history, owner);
  if (one.keep_until)
    json::add(object, "keep_until", milliseconds_of(*one.keep_until), owner);
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
  one.keep_until = in.time_if_any("keep_until");
  one.failed_cells = decode_texts(object, "failed_cells");
  one.succeeded = in.flag("succeeded", false);
  one.outcome = json::string_member(object, "outcome");
  why = in.why();
  return one;
}

/// Whether a reader has to know of clusters beside the one that serves, and of nodes that are halted.
bool needs_rebuilding(const model::record& known) {
  return known.is_being_rebuilt() || known.incoming || known.outgoing
         || std::ranges::any_of(known.living.nodes, &model::node::is_kept_stopped);
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

} // namespace matriarch::store
