#include "model/rebuild_request.hpp"

#include <algorithm>
#include <utility>

#include "model/names.hpp"
#include "model/switch_plan.hpp"

namespace matriarch::model {

namespace {

/// Why no new cluster can be made beside this one now; done if there is no reason.
verdict why_not(const record& known, const instance_observations& observations) {
  const auto& living = known.living;
  const auto& seen = observations.living.seen;
  if (!known.desired.exists)
    return {verdict_kind::refused, "this instance is being removed"};
  if (known.current.type == operation_type::provision
      && known.current.state == operation_state::failed)
    return {verdict_kind::refused, "provisioning of this instance failed, so that there is nothing "
                                   "to build anew; remove it and create it again"};
  if (known.current.state == operation_state::in_progress)
    return {verdict_kind::busy,
            "another operation of this instance is still in progress; try again "
            "after it"};
  if (known.incoming || known.outgoing)
    return {verdict_kind::busy,
            "nodes of an earlier cluster of this instance are still being removed; "
            "matriarch service-status shows them"};
  if (!observations.living.runs->can().follows)
    return {verdict_kind::refused, "a cluster of " + std::string{observations.living.runs->title()}
                                       + " cannot follow another one"};
  if (living.taking_up || !same_configuration(living.in_force, known.desired.settings))
    return {verdict_kind::busy, "its nodes are taking up other settings; try again after that"};
  if (!seen.running(seen.leader) || living.find_node(seen.leader) == nullptr)
    return {verdict_kind::refused,
            "no node of this instance leads, so that there is nothing to copy"};
  if (std::ranges::any_of(living.nodes, &node::is_kept_stopped))
    return {verdict_kind::busy, "a node that was stopped does not run again yet"};
  if (place_of_leader(living, seen).empty())
    return {verdict_kind::refused, "the cell of " + seen.leader + " does not say where it listens"};
  for (const auto& n : living.nodes)
    if (auto cell = observations.unable_to_halt.find(n.cell);
        cell != observations.unable_to_halt.end())
      return {verdict_kind::refused, "cell " + n.cell + " of node " + n.node_id + " " + cell->second
                                         + "; move the instance to other cells first"};
  return {verdict_kind::done};
}

} // namespace

ruling judge_rebuild(const record& known, const instance_observations& observations,
                     new_rebuild_values values) {
  if (known.desired.exists && known.is_being_rebuilt())
    return {{verdict_kind::accepted, "", known.rebuilt->id}};
  if (auto said = why_not(known, observations); said.is != verdict_kind::done)
    return {std::move(said)};
  auto next = known;
  next.last_scope = known.last_scope + 1 + values.scopes_passed_over;
  cluster fresh;
  fresh.engine = known.living.engine;
  fresh.scope = next_scope(known, values.scopes_passed_over);
  fresh.in_force = known.desired.settings;
  fresh.follows = place_of_leader(known.living, observations.living.seen);
  next.living.retains_for = fresh.scope;
  // A copy has its source's users.
  fresh.secrets = known.living.secrets;
  for (const auto& [name, login] : values.secrets)
    fresh.set_secret(name, login);
  next.incoming = std::move(fresh);
  rebuild task;
  task.id = std::move(values.id);
  task.requested_by = std::move(values.requested_by);
  task.started_at = values.now;
  task.deadline = values.now + longest_copy;
  auto id = task.id;
  next.rebuilt = std::move(task);
  return {{verdict_kind::accepted, "", std::move(id)}, std::move(next)};
}

std::string next_scope(const record& known, int passed_over) {
  return scope_of(name_of(known.instance_id), known.last_scope + 1 + passed_over);
}

std::string being_rebuilt() {
  return "this instance is being built anew by its operator; try again after that";
}

} // namespace matriarch::model
