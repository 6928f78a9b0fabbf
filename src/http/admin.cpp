#include "http/admin.hpp"

#include <algorithm>

#include "base/json.hpp"
#include "base/times.hpp"
#include "base/utf8.hpp"
#include "http/osb_answers.hpp"
#include "model/replica_health.hpp"
#include "model/words.hpp"

namespace matriarch::http::admin {

namespace {

/// Only the user's name: an operator's screen must not show a tenant's password.
json::value without_password(const model::credentials& user, json::document& owner) {
  json::value object{rapidjson::kObjectType};
  json::add(object, "username", user.username, owner);
  return object;
}

json::value node_json(const model::node& n, const model::cluster_view& seen,
                      json::document& owner) {
  auto found = seen.members.find(n.node_id);
  json::value object{rapidjson::kObjectType};
  json::add(object, "node_id", n.node_id, owner);
  json::add(object, "backend_id", n.cell, owner);
  json::add(object, "plan_id", n.plan_id.text(), owner);
  json::add(object, "service_id", n.service_id.text(), owner);
  json::add(object, "phase", model::text_of(n.phase), owner);
  if (!n.failing.empty())
    json::add(object, "failing", n.failing, owner);
  json::add(object, "role", seen.leads(n.node_id) ? "leader" : "replica", owner);
  json::add(object, "state", found == seen.members.end() ? "stopped" : found->second.state, owner);
  json::add(object, "health", model::health_in_words(seen, n.node_id), owner);
  if (n.address) {
    json::add(object, "address", *n.address, owner);
    json::add(object, "patroni_address", n.control_address, owner);
  }
  if (found != seen.members.end()) {
    json::add(object, "conn_url", found->second.conn_url, owner);
    if (!found->second.doubt.empty())
      json::add(object, "doubt", found->second.doubt, owner);
  }
  return object;
}

json::value settings_json(const model::cluster_settings& settings, json::document& owner) {
  json::value object{rapidjson::kObjectType};
  json::add(object, "synchronous", model::text_of(settings.synchronous), owner);
  json::add(object, "ttl", settings.ttl, owner);
  json::add(object, "node_type", settings.node_type, owner);
  json::add(object, "credentials", model::text_of(settings.credentials), owner);
  json::add(object, "connection_limit", settings.connection_limit, owner);
  if (settings.limits) {
    json::value limits{rapidjson::kObjectType};
    json::add(limits, "memory", settings.limits->memory, owner);
    json::add(limits, "processes", settings.limits->processes, owner);
    json::add(limits, "cpu", model::cpu_in_words(settings.limits->cpu), owner);
    json::add(limits, "disk", settings.limits->disk, owner);
    json::add(object, "limits", std::move(limits), owner);
  }
  json::value parameters{rapidjson::kObjectType};
  for (const auto& [name, text] : settings.parameters)
    parameters.AddMember(json::string(name, owner), json::string(text, owner),
                         owner.GetAllocator());
  json::add(object, "parameters", std::move(parameters), owner);
  return object;
}

json::value desired_json(const model::desired_state& desired, json::document& owner) {
  json::value object{rapidjson::kObjectType};
  json::add(object, "node_count", desired.node_count, owner);
  json::value cells{rapidjson::kArrayType};
  for (const auto& guid : desired.cells)
    cells.PushBack(json::string(guid, owner), owner.GetAllocator());
  json::add(object, "cells", std::move(cells), owner);
  json::add(object, "settings", settings_json(desired.settings, owner), owner);
  return object;
}

json::value operation_json(const model::instance_snapshot& one, json::document& owner) {
  const auto& op = one.known.current;
  bool in_progress = op.state == model::operation_state::in_progress;
  json::value object{rapidjson::kObjectType};
  json::add(object, "id", op.id, owner);
  json::add(object, "type", model::text_of(op.type), owner);
  json::add(object, "state", model::text_of(op.state), owner);
  json::add(object, "description", in_progress ? one.progress : op.description, owner);
  json::add(object, "requested_by", op.requested_by, owner);
  return object;
}

json::value binding_json(const model::binding& which, json::document& owner) {
  json::value object{rapidjson::kObjectType};
  json::add(object, "binding_id", which.binding_id, owner);
  json::add(object, "phase", model::text_of(which.phase), owner);
  json::add(object, "read_only", which.read_only, owner);
  if (which.expires_at)
    json::add(object, "expires_at", base::text_of(*which.expires_at), owner);
  if (!which.note.empty())
    json::add(object, "description", which.note, owner);
  return object;
}

/// A cluster that is being built, or removed, beside the serving one.
json::value cluster_json(const model::cluster& one, const model::instance_snapshot& of,
                         json::document& owner) {
  auto found = of.seen_beside.find(one.scope);
  const auto seen = found == of.seen_beside.end() ? model::cluster_view{} : found->second;
  json::value object{rapidjson::kObjectType};
  json::add(object, "scope", one.scope, owner);
  json::value nodes{rapidjson::kArrayType};
  for (const auto& n : one.nodes)
    nodes.PushBack(node_json(n, seen, owner), owner.GetAllocator());
  json::add(object, "nodes", std::move(nodes), owner);
  return object;
}

void add_rebuild(json::value& object, const model::instance_snapshot& one, json::document& owner) {
  const auto& known = one.known;
  if (known.incoming)
    json::add(object, "incoming", cluster_json(*known.incoming, one, owner), owner);
  if (known.outgoing)
    json::add(object, "outgoing", cluster_json(*known.outgoing, one, owner), owner);
  if (!known.rebuilt)
    return;
  const auto& task = *known.rebuilt;
  const bool over = task.phase == model::rebuild_phase::ended;
  json::value rebuild{rapidjson::kObjectType};
  json::add(rebuild, "id", task.id, owner);
  json::add(rebuild, "state",
            !over            ? "in progress"
            : task.succeeded ? "succeeded"
                             : "failed",
            owner);
  json::add(rebuild, "phase", model::text_of(task.phase), owner);
  json::add(rebuild, "description", over ? task.outcome : one.rebuilding, owner);
  json::add(rebuild, "started_at", base::text_of(task.started_at), owner);
  json::add(object, "rebuild", std::move(rebuild), owner);
}

json::value instance_json(const model::instance_snapshot& one, json::document& owner) {
  const auto& known = one.known;
  json::value object{rapidjson::kObjectType};
  json::add(object, "instance_id", known.instance_id, owner);
  json::add(object, "service_id", known.service_id, owner);
  json::add(object, "plan_id", known.plan_id, owner);
  json::add(object, "organization_guid", known.organization_guid, owner);
  json::add(object, "space_guid", known.space_guid, owner);
  json::add(object, "admin_credentials",
            without_password(known.living.secret_of(model::secret_name::admin), owner), owner);
  json::add(object, "superuser_credentials",
            without_password(known.living.secret_of(model::secret_name::superuser), owner), owner);
  json::add(object, "app_credentials",
            without_password(known.living.secret_of(model::secret_name::application), owner),
            owner);
  json::add(object, "allocated_port", known.endpoints[model::endpoint::primary], owner);
  json::add(object, "read_only_port", known.endpoints[model::endpoint::read_only], owner);
  json::add(object, "scope", known.living.scope, owner);
  json::add(object, "maintenance_version", known.maintenance_version, owner);
  json::add(object, "desired", desired_json(known.desired, owner), owner);
  json::add(object, "settings", settings_json(known.living.in_force, owner), owner);
  if (known.living.taking_up)
    json::add(object, "taking_up", settings_json(*known.living.taking_up, owner), owner);
  json::add(object, "operation", operation_json(one, owner), owner);
  json::add(object, "repair", one.repair, owner);
  if (!one.route_waits_for.empty())
    json::add(object, "route_waits_for", one.route_waits_for, owner);
  json::value nodes{rapidjson::kArrayType};
  for (const auto& n : known.living.nodes)
    nodes.PushBack(node_json(n, one.seen, owner), owner.GetAllocator());
  json::add(object, "nodes", std::move(nodes), owner);
  add_rebuild(object, one, owner);
  json::value bindings{rapidjson::kArrayType};
  for (const auto& [id, which] : one.bindings)
    bindings.PushBack(binding_json(which, owner), owner.GetAllocator());
  json::add(object, "binding_count", static_cast<int>(one.bindings.size()), owner);
  json::add(object, "bindings", std::move(bindings), owner);
  auto waits_for = one.roles_wait_for;
  for (const auto& [binding_id, why] : one.binding_troubles)
    waits_for += (waits_for.empty() ? "binding " : "; binding ") + matriarch::quoted(binding_id)
                 + ": " + why;
  if (!waits_for.empty())
    json::add(object, "roles_wait_for", waits_for, owner);
  return object;
}

} // namespace

response cells(const std::vector<model::cell_view>& all) {
  json::document body;
  body.SetArray();
  for (const auto& cell : all) {
    json::value object{rapidjson::kObjectType};
    json::add(object, "guid", cell.guid, body);
    json::add(object, "uri", cell.uri, body);
    json::add(object, "az", cell.availability_zone, body);
    json::add(object, "username", cell.username, body);
    json::add(object, "reachable", cell.reachable, body);
    json::add(object, "lost", cell.lost, body);
    json::add(object, "nodes", cell.nodes, body);
    json::add(object, "capacity", cell.capacity, body);
    json::add(object, "fencing", cell.fencing, body);
    json::add(object, "limits", cell.limits, body);
    json::add(object, "memory", cell.memory, body);
    json::add(object, "disk", cell.disk, body);
    json::add(object, "full_nodes", cell.full_nodes, body);
    json::add(object, "tls", cell.tls, body);
    json::add(object, "postgresql", cell.engine_version, body);
    json::value faults{rapidjson::kArrayType};
    for (const auto& one : cell.plan_faults) {
      json::value entry{rapidjson::kObjectType};
      json::add(entry, "plan_id", one.plan_id, body);
      json::value words{rapidjson::kArrayType};
      for (const auto& line : one.words)
        words.PushBack(json::string(line, body), body.GetAllocator());
      json::add(entry, "faults", std::move(words), body);
      faults.PushBack(entry, body.GetAllocator());
    }
    json::add(object, "plan_faults", std::move(faults), body);
    if (!cell.last_error.empty())
      json::add(object, "last_error", cell.last_error, body);
    body.PushBack(object, body.GetAllocator());
  }
  return {200, json::text_of(body), {}};
}

response routers(const model::routers& all) {
  json::document body;
  body.SetArray();
  for (const auto& [id, router] : all.living) {
    const auto& said = router.said;
    json::value object{rapidjson::kObjectType};
    json::add(object, "id", id, body);
    json::add(object, "host", said.host, body);
    json::add(object, "since", base::text_of(router.since), body);
    json::add(object, "serves", std::to_string(said.serves), body);
    json::add(object, "behind", std::max<std::int64_t>(0, all.newest - said.serves), body);
    json::add(object, "awaited", all.awaited, body);
    auto held = all.holding_up.find(id);
    json::add(object, "holds_up", held == all.holding_up.end() ? 0 : held->second, body);
    json::value unbound{rapidjson::kArrayType};
    json::value lost{rapidjson::kArrayType};
    for (int port : said.unbound) {
      unbound.PushBack(port, body.GetAllocator());
      auto found = all.lost_ports.find(port);
      if (found == all.lost_ports.end())
        continue;
      json::value entry{rapidjson::kObjectType};
      json::add(entry, "port", port, body);
      json::add(entry, "instance", found->second, body);
      lost.PushBack(entry, body.GetAllocator());
    }
    json::add(object, "unbound", std::move(unbound), body);
    json::add(object, "lost", std::move(lost), body);
    json::add(object, "silent", said.silent, body);
    json::value unserved{rapidjson::kArrayType};
    for (const auto& one : said.unserved) {
      json::value entry{rapidjson::kObjectType};
      json::add(entry, "instance", one.instance, body);
      json::add(entry, "why", one.why, body);
      unserved.PushBack(entry, body.GetAllocator());
    }
    json::add(object, "unserved", std::move(unserved), body);
    body.PushBack(object, body.GetAllocator());
  }
  return {200, json::text_of(body), {}};
}

response instances(const std::vector<model::snapshot_ptr>& all) {
  auto sorted = all;
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return a->known.instance_id < b->known.instance_id;
  });
  json::document body;
  body.SetArray();
  for (const auto& one : sorted)
    body.PushBack(instance_json(*one, body), body.GetAllocator());
  return {200, json::text_of(body), {}};
}

response instance(const model::instance_snapshot& one) {
  json::document body;
  body.SetObject();
  auto object = instance_json(one, body);
  return {200, json::text_of(object), {}};
}

response rebuilding(const model::verdict& accepted) {
  return {202, json::object_text({{"rebuild", accepted.operation_id}}), {}};
}

response demoted(const std::string& cell, const model::demote_report& report) {
  if (!report.known)
    return osb::error(404,
                      "there is no cell " + matriarch::quoted(cell) + "; see GET /admin/cells");
  json::document body;
  body.SetObject();
  json::value moved{rapidjson::kArrayType};
  json::value failed{rapidjson::kArrayType};
  for (const auto& entry : report.entries) {
    json::value object{rapidjson::kObjectType};
    json::add(object, "instance_id", entry.instance_id, body);
    json::add(object, "from", entry.from, body);
    if (entry.why.empty())
      json::add(object, "to", entry.to, body);
    else
      json::add(object, "description", entry.why, body);
    (entry.why.empty() ? moved : failed).PushBack(object, body.GetAllocator());
  }
  bool complete = failed.Empty();
  json::add(body, "cell", cell, body);
  json::add(body, "demoted", std::move(moved), body);
  json::add(body, "failed", std::move(failed), body);
  if (!complete)
    json::add(body, "description", "some leaders are still on this cell; try again", body);
  return {complete ? 200 : 500, json::text_of(body), {}};
}

response forgotten(const std::string& cell, const model::forget_report& report) {
  if (!report.known)
    return osb::error(404,
                      "there is no cell " + matriarch::quoted(cell) + "; see GET /admin/cells");
  if (!report.refused.empty())
    return osb::error(409, "cell " + cell + " is not forgotten: " + report.refused);
  json::document body;
  body.SetObject();
  json::value buried{rapidjson::kArrayType};
  json::value replaced{rapidjson::kArrayType};
  json::value failed{rapidjson::kArrayType};
  for (const auto& entry : report.entries) {
    json::value object{rapidjson::kObjectType};
    json::add(object, "instance_id", entry.instance_id, body);
    json::add(object, "node_id", entry.node_id, body);
    if (!entry.why.empty())
      json::add(object, "description", entry.why, body);
    auto& list = !entry.why.empty() ? failed : entry.buried ? buried : replaced;
    list.PushBack(object, body.GetAllocator());
  }
  bool complete = failed.Empty();
  json::add(body, "cell", cell, body);
  json::add(body, "buried", std::move(buried), body);
  json::add(body, "replaced", std::move(replaced), body);
  json::add(body, "failed", std::move(failed), body);
  if (!complete)
    json::add(body, "description", "not all nodes on this cell could be forgotten; try again",
              body);
  return {complete ? 200 : 500, json::text_of(body), {}};
}

response orphans(const std::vector<model::orphan>& all) {
  json::document body;
  body.SetArray();
  for (const auto& one : all) {
    json::value object{rapidjson::kObjectType};
    json::add(object, "cell", one.cell, body);
    json::add(object, "node_id", one.node.node_id, body);
    json::add(object, "scope", one.node.scope, body);
    json::add(object, "service_id", one.node.service_id, body);
    json::add(object, "plan_id", one.node.plan_id, body);
    body.PushBack(object, body.GetAllocator());
  }
  return {200, json::text_of(body), {}};
}

response reencrypted(const model::reencryption_report& report) {
  json::document body;
  body.SetObject();
  json::add(body, "instances", static_cast<std::int64_t>(report.instances), body);
  json::value failed{rapidjson::kArrayType};
  for (const auto& entry : report.failed) {
    json::value object{rapidjson::kObjectType};
    json::add(object, "instance_id", entry.instance_id, body);
    json::add(object, "description", entry.why, body);
    failed.PushBack(object, body.GetAllocator());
  }
  json::add(body, "failed", std::move(failed), body);
  if (!report.failed.empty())
    json::add(body, "description",
              std::to_string(report.failed.size())
                  + " instances were not rewritten and may need the old key still; try again",
              body);
  return {report.failed.empty() ? 200 : 500, json::text_of(body), {}};
}

} // namespace matriarch::http::admin
