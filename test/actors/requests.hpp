#pragma once

#include "model/words.hpp"
#include "simulated_broker.hpp"
#include "store/keys.hpp"

/// Requests of the tests, waits for their results, and what is reported about them.
namespace matriarch::simulation {

inline constexpr model::duration polling = std::chrono::seconds{600};

inline model::provision_request provision(const std::string& id, int nodes = 2) {
  model::provision_request asked;
  asked.instance_id = id;
  asked.service_id = "service";
  asked.plan_id = "plan";
  asked.organization_guid = "org";
  asked.space_guid = "space";
  asked.desired.node_count = nodes;
  asked.longest = polling;
  return asked;
}

inline model::update_request resize(const std::string& id, int nodes) {
  model::update_request asked;
  asked.instance_id = id;
  asked.service_id = "service";
  asked.parameters = "{\"node-count\":" + std::to_string(nodes) + "}";
  asked.node_count = nodes;
  asked.longest = polling;
  return asked;
}

inline model::update_request move(const std::string& id, std::vector<std::string> cells) {
  model::update_request asked;
  asked.instance_id = id;
  asked.service_id = "service";
  asked.parameters = "{\"cells\":[";
  for (const auto& one : cells)
    asked.parameters += (one == cells.front() ? "\"" : ",\"") + one + "\"";
  asked.parameters += "]}";
  asked.cells = std::move(cells);
  asked.longest = polling;
  return asked;
}

inline model::rebuild_request rebuild(const std::string& id) {
  return {id, "an operator"};
}

/// Whether no rebuild is under way and nothing is left of one.
inline bool is_rebuilt(const world& outside, const std::string& name) {
  auto known = outside.record_of(name);
  return known && known->rebuilt && !known->is_being_rebuilt() && !known->incoming
         && !known->outgoing && known->living.retains_for.empty();
}

/// The settings of the plan `large`, which differ from those of the other plans.
inline model::cluster_settings large_settings() {
  model::cluster_settings settings;
  settings.parameters["max_connections"] = "200";
  return settings;
}

/// A change to another plan, of these settings.
inline model::update_request change_plan(const std::string& id, const std::string& plan_id,
                                         model::cluster_settings settings = large_settings()) {
  model::update_request asked;
  asked.instance_id = id;
  asked.service_id = "service";
  asked.plan_id = plan_id;
  asked.longest = polling;
  asked.offers["plan"] = {2, {}, "", true};
  asked.offers[plan_id] = {2, std::move(settings), "", true};
  return asked;
}

inline model::bind_request bind(const std::string& id, const std::string& binding_id) {
  model::bind_request asked;
  asked.instance_id = id;
  asked.wanted.binding_id = binding_id;
  asked.wanted.service_id = "service";
  asked.wanted.plan_id = "plan";
  return asked;
}

inline model::unbind_request unbind(const std::string& id, const std::string& binding_id) {
  return {id, binding_id, "service", "plan", false};
}

inline model::deprovision_request deprovision(const std::string& id) {
  return {id, "service", "plan", "", polling};
}

/// Whether the instance's operation has ended in etcd.
inline bool ended(const world& outside, const std::string& name) {
  auto known = outside.record_of(name);
  return !known || known->current.state != model::operation_state::in_progress;
}

inline bool succeeded(const world& outside, const std::string& name) {
  auto known = outside.record_of(name);
  return known && known->current.state == model::operation_state::succeeded;
}

/// Lets time pass until the operation has ended in etcd.
inline bool finish(stage& here, const std::string& name,
                   model::duration at_most = std::chrono::seconds{900}) {
  return here.pass_until([&] { return ended(here.outside, name); }, at_most);
}

/// Provisions and waits for success.
inline bool make(stage& here, const std::string& name, int nodes = 2) {
  auto said = here.ask(provision(name, nodes));
  return said.is == model::verdict_kind::accepted && finish(here, name)
         && succeeded(here.outside, name);
}

inline std::vector<model::node> recorded_nodes(const world& outside, const std::string& name) {
  auto known = outside.record_of(name);
  return known ? known->living.nodes : std::vector<model::node>{};
}

/// The operations in the events so far, in order: `accepted update`, `end of update`.
inline std::vector<std::string> operations_told(stage& here) {
  std::vector<std::string> story;
  for (const auto& one : here.broker().told()) {
    if (const auto* began = std::get_if<model::operation_accepted>(&one.what))
      story.push_back(std::string{"accepted "} + model::text_of(began->type));
    if (const auto* end = std::get_if<model::operation_ended>(&one.what))
      story.push_back(std::string{"end of "} + model::text_of(end->type));
  }
  return story;
}

/// Whether the cells run exactly the nodes in the record, each on its recorded cell.
inline bool cells_agree(const world& outside, const std::string& name) {
  std::map<std::string, std::string> recorded;
  for (const auto& n : recorded_nodes(outside, name))
    recorded[n.node_id] = n.cell;
  return recorded == outside.nodes_of(name);
}

/// What is left of an instance in etcd, besides its tombstone and its resting port.
inline std::vector<std::string> leftovers(const world& outside, const std::string& name) {
  std::vector<std::string> found;
  for (const auto& entry : outside.etcd.range(store::keys_below("/")))
    if (entry.key.starts_with(store::keys::everything_of(name))
        || entry.key == store::keys::allocation(name)
        || entry.key == store::keys::read_only_allocation(name))
      found.push_back(entry.key);
  return found;
}

} // namespace matriarch::simulation
