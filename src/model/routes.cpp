#include "model/routes.hpp"

#include <algorithm>

namespace matriarch::model {

namespace {

std::string list_of(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words)
    text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string what_is_served(const route& wanted) {
  return wanted.port == 0 ? "the change" : "port " + std::to_string(wanted.port);
}

bool opens(const router_report& said, int port) {
  return std::ranges::find(said.unbound, port) == said.unbound.end();
}

/// A router's report of an instance that it does not serve; nullptr if it serves the instance.
const unserved_instance* unserved_in(const router_report& said, const std::string& instance) {
  auto found = std::ranges::find(said.unserved, instance, &unserved_instance::instance);
  return instance.empty() || found == said.unserved.end() ? nullptr : &*found;
}

std::string how_many(std::size_t some, const routers& all) {
  return all.living.size() == 1
             ? std::string{"the router"}
             : std::to_string(some) + " of " + std::to_string(all.living.size()) + " routers";
}

void keep_parameters(cluster_settings& settings) {
  auto parameters = std::move(settings.parameters);
  settings = {};
  settings.parameters = std::move(parameters);
}

/// The record without the members that routers do not read.
record as_routed(record known) {
  keep_parameters(known.desired.settings);
  keep_parameters(known.living.in_force);
  known.living.taking_up.reset();
  known.write_id.clear();
  known.ended_bindings.clear();
  known.current = {};
  known.living.switching_to.clear();
  known.living.had_leader = false;
  known.parameters.clear();
  known.context.clear();
  known.organization_guid.clear();
  known.space_guid.clear();
  known.maintenance_version.clear();
  known.plan_id.clear();
  known.incoming.reset();
  known.outgoing.reset();
  known.rebuilt.reset();
  known.last_scope = 1;
  known.living.follows.clear();
  known.desired.node_count = 0;
  known.desired.cells.clear();
  for (auto& n : known.living.nodes) {
    n.phase = node_phase::placed;
    n.start_may_arrive_until.reset();
    n.failing.clear();
    n.instead_of.clear();
    n.forgotten = n.left_over = n.halted = false;
  }
  return known;
}

} // namespace

std::set<int> routers::unusable_ports() const {
  std::set<int> all;
  for (const auto& [id, router] : living)
    all.insert(router.said.unbound.begin(), router.said.unbound.end());
  return all;
}

std::set<std::string> routers::unserved_instances() const {
  std::set<std::string> all;
  for (const auto& [id, router] : living)
    for (const auto& one : router.said.unserved)
      all.insert(one.instance);
  return all;
}

std::ptrdiff_t routers::silent() const {
  return std::ranges::count_if(living,
                               [](const auto& one) { return !one.second.said.silent.empty(); });
}

bool routers::all_well() const {
  return (!awaited || !living.empty()) && lost_ports.empty() && silent() == 0
         && unserved_instances().empty();
}

std::string words_of(const routers& all) {
  if (all.living.empty())
    return all.awaited ? "no router is there; operations wait for one"
                       : "no router is there, and no operation waits for one";
  if (all.silent() > 0)
    return std::to_string(all.silent()) + " of " + std::to_string(all.living.size())
           + " routers take no connections";
  if (!all.holding_up.empty())
    return std::to_string(all.holding_up.size()) + " of " + std::to_string(all.living.size())
           + " routers do not serve yet what operations wait for";
  return all.awaited ? "served" : "not waited for";
}

route_wait waits_for(const routers& all, const route& wanted) {
  route_wait wait;
  if (!all.awaited)
    return wait;
  wait.nobody = wanted.one_at_least && all.living.empty();
  for (const auto& [id, router] : all.living) {
    if (wanted.port != 0 && !opens(router.said, wanted.port))
      wait.unbound.push_back(id);
    if (router.said.serves < wanted.changed_at || !router.said.silent.empty())
      wait.behind.push_back(id);
    else if (unserved_in(router.said, wanted.instance) != nullptr)
      wait.unserved.push_back(id);
  }
  return wait;
}

std::string words_of(const route_wait& wait, const routers& all, const route& wanted) {
  if (wait.nobody)
    return "no router is there that serves " + what_is_served(wanted) + "; waiting for one";
  if (!wait.unbound.empty())
    return "port " + std::to_string(wanted.port)
           + " cannot be opened by a router: something else on its machine has it";
  auto does = [&](const std::vector<std::string>& some) {
    return how_many(some.size(), all) + (some.size() == 1 ? " does" : " do");
  };
  if (!wait.behind.empty())
    return does(wait.behind) + " not serve " + what_is_served(wanted) + " yet";
  if (!wait.unserved.empty())
    return does(wait.unserved) + " not reach all nodes, and " + what_is_served(wanted)
           + " is not served";
  return {};
}

std::string details_of(const route_wait& wait, const routers& all, const route& wanted) {
  if (wait.nobody)
    return words_of(wait, all, wanted);
  std::string text;
  if (!wait.unbound.empty())
    text = "router " + list_of(wait.unbound) + " cannot open port " + std::to_string(wanted.port);
  auto add = [&](const std::string& more) { text += (text.empty() ? "" : "; ") + more; };
  for (const auto& id : wait.behind) {
    const auto& said = all.living.at(id).said;
    if (!said.silent.empty())
      add("router " + id + " takes no connections: " + said.silent);
    else
      add("router " + id + " serves revision " + std::to_string(said.serves) + ", and not "
          + std::to_string(wanted.changed_at) + " yet");
  }
  for (const auto& id : wait.unserved)
    add("router " + id
        + " does not serve it: " + unserved_in(all.living.at(id).said, wanted.instance)->why);
  return text;
}

bool routed_alike(const record& one, const record& other) {
  return as_routed(one) == as_routed(other);
}

} // namespace matriarch::model
