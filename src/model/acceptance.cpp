#include "model/acceptance.hpp"

#include "model/json.hpp"
#include "model/names.hpp"

namespace matriarch::model {

namespace {

wall_time deadline_for(wall_time now, duration longest) {
  return now + std::chrono::duration_cast<duration>(longest * share_of_polling);
}

const char* name_of_type(operation_type type) {
  switch (type) {
  case operation_type::provision:
    return "provisioning";
  case operation_type::update:
    return "an update";
  case operation_type::deprovision:
    return "its removal";
  }
  return "an operation";
}

bool in_progress(const record& known) {
  return known.current.state == operation_state::in_progress;
}

verdict busy(const record& known) {
  return {
      verdict_kind::busy,
      std::string{name_of_type(known.current.type)}
          + " of this instance is still in progress; poll last_operation and try again after it"};
}

/// The parameters of an instance after an update: those of the update replace those of one name.
std::string merged(const std::string& old_parameters, const std::string& update) {
  auto base = json::parse(old_parameters);
  auto change = json::parse(update);
  if (!base || !change)
    return old_parameters;
  auto& into = *base;
  for (const auto& m : change->GetObject()) {
    json::value key{m.name, into.GetAllocator()};
    json::value content{m.value, into.GetAllocator()};
    if (into.HasMember(key))
      into.RemoveMember(key);
    into.AddMember(key, content, into.GetAllocator());
  }
  return json::canonical_text_of(into);
}

std::string mismatch(const std::string& field, const std::string& given, const std::string& has) {
  return field + " is \"" + given + "\", but this instance's is \"" + has + "\"";
}

} // namespace

record new_record(const provision_request& asked, new_instance_values values) {
  record fresh;
  fresh.instance_id = asked.instance_id;
  fresh.service_id = asked.service_id;
  fresh.plan_id = asked.plan_id;
  fresh.organization_guid = asked.organization_guid;
  fresh.space_guid = asked.space_guid;
  fresh.parameters = asked.parameters;
  fresh.admin = std::move(values.admin);
  fresh.superuser = std::move(values.superuser);
  fresh.application = std::move(values.application);
  fresh.replication = std::move(values.replication);
  fresh.patroni = std::move(values.patroni);
  fresh.scope = name_of(asked.instance_id);
  fresh.phase = record_phase::accepting;
  fresh.desired = asked.desired;
  fresh.current.id = std::move(values.operation_id);
  fresh.current.type = operation_type::provision;
  fresh.current.started_at = values.now;
  fresh.current.deadline = deadline_for(values.now, asked.longest);
  return fresh;
}

verdict judge_provision(const provision_request& asked, const record& known) {
  std::string differs;
  auto compare = [&](const char* field, const std::string& given, const std::string& has) {
    if (given != has && differs.empty())
      differs = mismatch(field, given, has);
  };
  compare("instance_id", asked.instance_id, known.instance_id);
  compare("service_id", asked.service_id, known.service_id);
  compare("plan_id", asked.plan_id, known.plan_id);
  compare("organization_guid", asked.organization_guid, known.organization_guid);
  compare("space_guid", asked.space_guid, known.space_guid);
  if (asked.parameters != known.parameters && differs.empty())
    differs =
        "the parameters are " + asked.parameters + ", but this instance's are " + known.parameters;
  if (!differs.empty())
    return {verdict_kind::conflict, "an instance of this id exists with other attributes: "
                                        + differs + "; use another id, or update the instance"};
  if (!known.desired.exists)
    return {verdict_kind::conflict,
            "the instance of this id is being removed; wait for its end or use another id"};
  if (known.current.type == operation_type::provision) {
    if (in_progress(known))
      return {verdict_kind::accepted, "", known.current.id};
    if (known.current.state == operation_state::failed)
      return {verdict_kind::conflict,
              "provisioning of this instance failed: " + known.current.description
                  + "; remove it before it is created again"};
  }
  return {verdict_kind::done, "", known.current.id};
}

ruling judge_update(const update_request& asked, const record& known,
                    const std::string& operation_id, wall_time now) {
  if (asked.service_id != known.service_id)
    return {
        {verdict_kind::bad_request, mismatch("service_id", asked.service_id, known.service_id)}};
  if (!asked.plan_id.empty() && asked.plan_id != known.plan_id)
    return {{verdict_kind::refused,
             "this service's plans cannot be changed after creation (plan_updateable is false): "
                 + mismatch("plan_id", asked.plan_id, known.plan_id)}};
  if (in_progress(known)) {
    bool same =
        known.current.type == operation_type::update && known.current.requested == asked.parameters;
    return {same ? verdict{verdict_kind::accepted, "", known.current.id} : busy(known)};
  }
  if (known.current.type == operation_type::provision
      && known.current.state == operation_state::failed)
    return {{verdict_kind::refused,
             "provisioning of this instance failed, so that there is nothing to update; remove it "
             "and create it again"}};
  if (!known.desired.exists)
    return {{verdict_kind::refused, "this instance is being removed"}};

  record next = known;
  next.parameters = merged(known.parameters, asked.parameters);
  if (asked.node_count)
    next.desired.node_count = *asked.node_count;
  if (asked.cells)
    next.desired.cells = *asked.cells;
  const auto& cells = next.desired.cells;
  if (!cells.empty() && static_cast<int>(cells.size()) < next.desired.node_count)
    return {{verdict_kind::bad_request,
             "parameters.cells names " + std::to_string(cells.size())
                 + " cells, but the cluster has " + std::to_string(next.desired.node_count)
                 + " nodes; name at least as many cells as nodes, or give a lower node-count"}};
  // A failed update has already gone back, or goes on by itself: the same request is a new attempt.
  if (next.desired == known.desired && known.current.state == operation_state::succeeded) {
    if (next.parameters == known.parameters)
      return {{verdict_kind::done, "", known.current.id}};
    return {{verdict_kind::done, "", known.current.id}, std::move(next)};
  }
  next.current = operation{};
  next.current.id = operation_id;
  next.current.type = operation_type::update;
  next.current.started_at = now;
  next.current.deadline = deadline_for(now, asked.longest);
  next.current.desired_before = known.desired;
  next.current.parameters_before = known.parameters;
  next.current.requested = asked.parameters;
  return {{verdict_kind::accepted, "", operation_id}, std::move(next)};
}

ruling judge_deprovision(const deprovision_request& asked, const record& known,
                         const std::string& operation_id, wall_time now) {
  if (!asked.service_id.empty() && asked.service_id != known.service_id)
    return {
        {verdict_kind::bad_request, mismatch("service_id", asked.service_id, known.service_id)}};
  if (!asked.plan_id.empty() && asked.plan_id != known.plan_id)
    return {{verdict_kind::bad_request, mismatch("plan_id", asked.plan_id, known.plan_id)}};
  if (!known.desired.exists && in_progress(known))
    return {{verdict_kind::accepted, "", known.current.id}};
  record next = known;
  next.desired.exists = false;
  next.switching_to.clear();
  next.current = operation{};
  next.current.id = operation_id;
  next.current.type = operation_type::deprovision;
  next.current.started_at = now;
  next.current.deadline = deadline_for(now, asked.longest);
  return {{verdict_kind::accepted, "", operation_id}, std::move(next)};
}

verdict judge_bind(const bind_request& asked, const record& known,
                   const std::map<std::string, binding>& existing) {
  if (asked.wanted.service_id != known.service_id)
    return {verdict_kind::bad_request,
            mismatch("service_id", asked.wanted.service_id, known.service_id)};
  if (asked.wanted.plan_id != known.plan_id)
    return {verdict_kind::bad_request, mismatch("plan_id", asked.wanted.plan_id, known.plan_id)};
  if (auto found = existing.find(asked.wanted.binding_id); found != existing.end()) {
    if (found->second == asked.wanted)
      return {verdict_kind::done};
    return {verdict_kind::conflict,
            "a binding of this id exists with other attributes; use another id"};
  }
  if (!known.desired.exists)
    return {verdict_kind::busy, "this instance is being removed"};
  if (known.current.type == operation_type::provision) {
    if (in_progress(known))
      return busy(known);
    if (known.current.state == operation_state::failed)
      return {verdict_kind::refused,
              "provisioning of this instance failed: " + known.current.description};
  }
  return {verdict_kind::created};
}

verdict judge_unbind(const unbind_request& asked, const record& known,
                     const std::map<std::string, binding>& existing) {
  auto found = existing.find(asked.binding_id);
  if (found == existing.end())
    return {verdict_kind::gone, "there is no binding " + quoted(asked.binding_id)};
  if (!asked.service_id.empty() && asked.service_id != known.service_id)
    return {verdict_kind::bad_request, mismatch("service_id", asked.service_id, known.service_id)};
  if (!asked.plan_id.empty() && asked.plan_id != found->second.plan_id)
    return {verdict_kind::bad_request, mismatch("plan_id", asked.plan_id, found->second.plan_id)};
  return {verdict_kind::done};
}

} // namespace matriarch::model
