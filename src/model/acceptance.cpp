#include "model/acceptance.hpp"

#include <algorithm>

#include "base/json.hpp"
#include "base/utf8.hpp"
#include "model/names.hpp"
#include "model/rebuild_request.hpp"

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

/// Merges an update's parameters into the instance's: a parameter of the same name is replaced.
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

bool names_node_count(const std::string& parameters) {
  auto read = json::parse(parameters);
  return read.ok() && json::member(*read, "node-count") != nullptr;
}

const plan_offer* offer_of(const update_request& asked, const std::string& plan_id) {
  auto found = asked.offers.find(plan_id);
  return found == asked.offers.end() ? nullptr : &found->second;
}

/// OSB 2.17, "Maintenance Info Object": a version that differs from the catalog's is a conflict.
std::optional<verdict> judge_maintenance(const update_request& asked, const plan_offer* offer) {
  if (!asked.maintenance_version)
    return std::nullopt;
  auto offered = offer == nullptr ? std::string{} : offer->maintenance_version;
  if (*asked.maintenance_version == offered)
    return std::nullopt;
  return verdict{
      verdict_kind::outdated,
      "maintenance_info.version is \"" + *asked.maintenance_version + "\", but "
          + (offered.empty() ? "this plan has none" : "the catalog's is \"" + offered + "\"")
          + "; fetch the catalog again"};
}

bool may_change_plan(const update_request& asked, const record& known) {
  const auto* now = offer_of(asked, known.plan_id);
  return now != nullptr && now->updateable;
}

/// Whether an update changes the cluster, and not only its context.
bool asks_for_work(const update_request& asked, const record& known) {
  return (!asked.plan_id.empty() && asked.plan_id != known.plan_id) || asked.maintenance_version
         || asked.parameters != "{}";
}

/// Identifies an update, to recognise the same request when it is sent again.
std::string text_of(const update_request& asked) {
  return asked.parameters + " " + asked.plan_id + " " + asked.maintenance_version.value_or("");
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
  for (const auto& [name, login] : values.secrets)
    fresh.living.set_secret(name, login);
  fresh.maintenance_version = asked.maintenance_version;
  fresh.context = asked.context;
  fresh.living.scope = scope_of(name_of(asked.instance_id), 1);
  fresh.phase = record_phase::accepting;
  fresh.desired = asked.desired;
  fresh.living.in_force = asked.desired.settings; // a new cluster begins with them
  fresh.current.requested_by = asked.requested_by;
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
                    const std::string& operation_id, wall_time now, bool all_well) {
  if (asked.service_id != known.service_id)
    return {
        {verdict_kind::bad_request, mismatch("service_id", asked.service_id, known.service_id)}};
  bool plan_changes = !asked.plan_id.empty() && asked.plan_id != known.plan_id;
  const auto* offer = offer_of(asked, plan_changes ? asked.plan_id : known.plan_id);
  if (auto wrong = judge_maintenance(asked, offer))
    return {std::move(*wrong)};
  auto requested = text_of(asked);
  bool only_context = (asked.context || asked.drops_context) && !asks_for_work(asked, known);
  if (in_progress(known) && !only_context) {
    bool same =
        known.current.type == operation_type::update && known.current.requested == requested;
    if (same && !asked.may_poll)
      return {{verdict_kind::needs_polls}};
    return {same ? verdict{verdict_kind::accepted, "", known.current.id} : busy(known)};
  }
  if (plan_changes && !may_change_plan(asked, known))
    return {{verdict_kind::refused,
             "instances of this plan cannot be changed to another (its plan_updateable is false): "
                 + mismatch("plan_id", asked.plan_id, known.plan_id)
                 + "; create an instance of that plan instead"}};
  if (known.current.type == operation_type::provision
      && known.current.state == operation_state::failed)
    return {{verdict_kind::refused,
             "provisioning of this instance failed, so that there is nothing to update; remove it "
             "and create it again"}};
  if (!known.desired.exists)
    return {{verdict_kind::refused, "this instance is being removed"}};

  if (known.is_being_rebuilt() && !only_context)
    return {{verdict_kind::busy, being_rebuilt()}};

  record next = known;
  next.parameters = merged(known.parameters, asked.parameters);
  if (asked.context)
    next.context = *asked.context;
  if (offer != nullptr && (plan_changes || asked.maintenance_version)) {
    next.desired.settings = offer->settings;
    next.maintenance_version = offer->maintenance_version;
  }
  if (plan_changes) {
    next.plan_id = asked.plan_id;
    // A node count that the user has set stays; a node count from the old plan is replaced.
    if (!names_node_count(next.parameters))
      next.desired.node_count = offer->node_count;
  }
  if (asked.node_count)
    next.desired.node_count = *asked.node_count;
  if (asked.cells) {
    next.desired.cells = *asked.cells;
    // Naming the same cells again moves back nodes that a repair had to place on other cells.
    if (*asked.cells == known.desired.cells)
      for (auto& n : next.living.nodes)
        n.instead_of.clear();
  }
  const auto& cells = next.desired.cells;
  if (!cells.empty() && static_cast<int>(cells.size()) < next.desired.node_count)
    return {{verdict_kind::bad_request,
             "parameters.cells names " + std::to_string(cells.size())
                 + " cells, but the cluster has " + std::to_string(next.desired.node_count)
                 + " nodes; name at least as many cells as nodes, or give a lower node-count"}};
  // After a failed update the same request is a new attempt: the failed one was reverted or goes
  // on.
  bool succeeded = known.current.state == operation_state::succeeded;
  // An update that changes nothing is done only if all nodes are well. Otherwise it waits for them.
  bool nothing_to_do = next.desired == known.desired && next.living.nodes == known.living.nodes
                       && succeeded && (all_well || !asks_for_work(asked, known));
  if (only_context || nothing_to_do) {
    verdict done{verdict_kind::done, "", known.current.id};
    return next == known ? ruling{done} : ruling{done, std::move(next)};
  }
  if (!asked.may_poll)
    return {{verdict_kind::needs_polls}};
  next.current = operation{};
  for (auto& n : next.living.nodes)
    n.left_over = n.phase == node_phase::removing;
  next.current.id = operation_id;
  next.current.type = operation_type::update;
  next.current.started_at = now;
  next.current.deadline = deadline_for(now, asked.longest);
  next.current.desired_before = known.desired;
  next.current.plan_id_before = known.plan_id;
  next.current.maintenance_version_before = known.maintenance_version;
  next.current.parameters_before = known.parameters;
  next.current.requested = std::move(requested);
  next.current.requested_by = asked.requested_by;
  return {{verdict_kind::accepted, "", operation_id}, std::move(next)};
}

namespace {

/// Whether `plan_id` is the instance's plan or the plan before the last change. A platform sends
/// the old plan until it knows that the change succeeded. It sends the old plan for ever if it
/// never learnt that the change was accepted.
bool is_plan_of(const record& known, const std::string& plan_id) {
  return plan_id == known.plan_id
         || (!known.current.plan_id_before.empty() && plan_id == known.current.plan_id_before);
}

} // namespace

record failed_at_once(const record& known, const record& asked, std::string why) {
  auto next = known;
  next.current = asked.current;
  next.current.state = operation_state::failed;
  next.current.description = std::move(why);
  // Later operations do not wait for the clean-up on these cells.
  next.current.failed_cells = known.current.failed_cells;
  return next;
}

ruling judge_deprovision(const deprovision_request& asked, const record& known,
                         const std::string& operation_id, wall_time now) {
  if (asked.service_id != known.service_id)
    return {
        {verdict_kind::bad_request, mismatch("service_id", asked.service_id, known.service_id)}};
  if (!is_plan_of(known, asked.plan_id))
    return {{verdict_kind::bad_request, mismatch("plan_id", asked.plan_id, known.plan_id)}};
  if (!known.desired.exists && in_progress(known))
    return {{verdict_kind::accepted, "", known.current.id}};
  record next = known;
  next.desired.exists = false;
  next.living.switching_to.clear();
  next.current = operation{};
  next.current.id = operation_id;
  next.current.type = operation_type::deprovision;
  next.current.plan_id_before =
      known.current.plan_id_before; // a deprovision may be repeated with the plan of before
  next.current.requested_by = asked.requested_by;
  next.current.started_at = now;
  next.current.deadline = deadline_for(now, asked.longest);
  return {{verdict_kind::accepted, "", operation_id}, std::move(next)};
}

namespace {

/// Whether two bind requests are the same. The plan is compared by plan_fits().
bool same_request(const binding& a, const binding& b) {
  return a.service_id == b.service_id && a.app_guid == b.app_guid && a.parameters == b.parameters
         && a.predecessor == b.predecessor;
}

/// Platforms send the instance's present plan; the binding may be older than a change of plan.
bool plan_fits(const std::string& given, const record& known, const binding& there) {
  return is_plan_of(known, given) || given == there.plan_id;
}

/// Why this instance can have no new binding now; nothing if it can.
std::optional<verdict> refuse_binding(const record& known) {
  if (!known.desired.exists)
    return verdict{verdict_kind::busy, "this instance is being removed"};
  if (known.current.type != operation_type::provision)
    return std::nullopt;
  if (in_progress(known))
    return busy(known);
  if (known.current.state == operation_state::failed)
    return verdict{verdict_kind::refused,
                   "provisioning of this instance failed: " + known.current.description};
  return std::nullopt;
}

void take_over(binding& fresh, const binding& before) {
  if (fresh.app_guid.empty())
    fresh.app_guid = before.app_guid;
  if (fresh.parameters == "{}") {
    fresh.parameters = before.parameters;
    fresh.read_only = before.read_only;
  }
}

/// Fills in what a rotation request leaves out. Returns what is wrong with the predecessor, if
/// anything.
std::optional<verdict> follow(binding& fresh, const std::map<std::string, binding>& existing,
                              wall_time now) {
  if (fresh.predecessor.empty())
    return std::nullopt;
  auto found = existing.find(fresh.predecessor);
  if (found == existing.end() || found->second.phase != binding_phase::ready)
    return verdict{verdict_kind::bad_request, "predecessor_binding_id "
                                                  + matriarch::quoted(fresh.predecessor)
                                                  + " is no binding of this instance"};
  const auto& before = found->second;
  if (before.expires_at && *before.expires_at <= now)
    return verdict{verdict_kind::bad_request, "predecessor_binding_id "
                                                  + matriarch::quoted(fresh.predecessor)
                                                  + " has expired; bind without it"};
  take_over(fresh, before);
  return std::nullopt;
}

} // namespace

binding_ruling judge_bind(const bind_request& asked, const record& known,
                          const std::map<std::string, binding>& existing,
                          new_binding_values values) {
  auto fresh = asked.wanted;
  if (fresh.service_id != known.service_id)
    return {
        {verdict_kind::bad_request, mismatch("service_id", fresh.service_id, known.service_id)}};
  auto found = existing.find(fresh.binding_id);
  if (found == existing.end() && !is_plan_of(known, fresh.plan_id))
    return {{verdict_kind::bad_request, mismatch("plan_id", fresh.plan_id, known.plan_id)}};
  if (found != existing.end()) {
    const auto& there = found->second;
    if (!fresh.predecessor.empty() && fresh.predecessor == there.predecessor)
      take_over(fresh, there); // the predecessor may have been removed since
    if (there.phase == binding_phase::removing)
      return {{verdict_kind::busy, "the binding of this id is being removed; try again after it"}};
    if (!known.desired.exists)
      return {{verdict_kind::busy, "this instance is being removed"}};
    if (!same_request(there, fresh) || !plan_fits(fresh.plan_id, known, there))
      return {{verdict_kind::conflict,
               "a binding of this id exists with other attributes; use another id"}};
    return {{there.phase == binding_phase::ready ? verdict_kind::done : verdict_kind::accepted, "",
             there.operation_id}};
  }
  if (auto wrong = follow(fresh, existing, values.now))
    return {std::move(*wrong)};
  if (auto refused = refuse_binding(known))
    return {std::move(*refused)};
  fresh.operation_id = std::move(values.operation_id);
  fresh.polled = asked.may_poll;
  fresh.created_at = fresh.asked_at = values.now;
  if (fresh.read_only && known.living.in_force.credentials == credentials_mode::shared)
    return {{verdict_kind::refused,
             "this instance gives all its bindings one user, which can write; upgrade it to its "
             "plan's newest version, or leave read-only out"}};
  if (known.living.in_force.credentials == credentials_mode::per_binding) {
    fresh.role = std::move(values.role);
    if (asked.lifetime > 0) {
      fresh.expires_at = values.now + std::chrono::seconds{asked.lifetime};
      fresh.renew_before = values.now + std::chrono::seconds{asked.lifetime} * 2 / 3;
    }
  }
  fresh.phase = binding_phase::creating;
  return {{verdict_kind::accepted, "", fresh.operation_id}, std::move(fresh)};
}

binding_ruling judge_unbind(const unbind_request& asked, const record& known,
                            const std::map<std::string, binding>& existing,
                            std::string operation_id, wall_time now) {
  auto found = existing.find(asked.binding_id);
  if (found == existing.end())
    return {{verdict_kind::gone, "there is no binding " + matriarch::quoted(asked.binding_id)}};
  const auto& there = found->second;
  if (asked.service_id != known.service_id)
    return {
        {verdict_kind::bad_request, mismatch("service_id", asked.service_id, known.service_id)}};
  if (!plan_fits(asked.plan_id, known, there))
    return {{verdict_kind::bad_request, mismatch("plan_id", asked.plan_id, known.plan_id)}};
  if (there.phase == binding_phase::removing)
    return {{verdict_kind::accepted, "", there.operation_id}};
  // The binding's own role has to be removed first, unless the whole instance goes.
  bool failed = known.current.type == operation_type::provision
                && known.current.state == operation_state::failed;
  if (there.role.username.empty() || !known.desired.exists || failed)
    return {{verdict_kind::done}};
  auto leaving = there;
  leaving.phase = binding_phase::removing;
  leaving.operation_id = std::move(operation_id);
  leaving.polled = asked.may_poll;
  leaving.asked_at = now;
  leaving.note.clear();
  return {{verdict_kind::accepted, "", leaving.operation_id}, std::move(leaving)};
}

std::string unreadable(const std::string& binding_id) {
  return "the record of binding " + matriarch::quoted(binding_id)
         + " cannot be read; the broker's log says why, and an operator has to put it right";
}

tombstone tombstone_of(const record& known, const std::map<std::string, binding>& bindings,
                       wall_time now) {
  auto last = known;
  for (const auto& [id, one] : bindings)
    last.ended_bindings[id] = {now, one.phase == binding_phase::removing ? one.operation_id
                                                                         : std::string{}};
  forget_ended_bindings(last, now);
  return {known.instance_id, known.current.id, now, std::move(last.ended_bindings)};
}

void forget_ended_bindings(record& known, wall_time now) {
  erase_if(known.ended_bindings,
           [&](const auto& one) { return one.second.at + tombstone_life < now; });
  // Limits an application that binds all the time: the record must stay far below etcd's 1.5 MB.
  constexpr std::size_t most_remembered = 1'000;
  while (known.ended_bindings.size() > most_remembered) {
    auto oldest = std::ranges::min_element(known.ended_bindings, {}, [](const auto& one) {
                    return one.second.at;
                  })->first;
    known.ended_bindings.erase(oldest);
  }
}

bool has_own_roles(const record& known, const std::map<std::string, binding>& bindings) {
  return known.living.in_force.credentials == credentials_mode::per_binding
         || std::ranges::any_of(bindings,
                                [](const auto& one) { return !one.second.role.username.empty(); });
}

bool owner_logs_in(const record& known, const std::map<std::string, binding>& bindings) {
  return known.living.in_force.credentials == credentials_mode::shared
         || std::ranges::any_of(bindings,
                                [](const auto& one) { return one.second.role.username.empty(); });
}

} // namespace matriarch::model
