#include "model/cluster_look.hpp"

namespace matriarch::model {

bool cluster_look::any_starts(const std::vector<node*>& nodes) const {
  return std::ranges::any_of(nodes, [&](const node* n) {
    auto found = here_.seen.members.find(n->node_id);
    return found != here_.seen.members.end() && found->second.starting();
  });
}

bool cluster_look::streams(const node& n) const {
  auto found = here_.seen.members.find(n.node_id);
  return here_.lag.contains(n.node_id)
         || (found != here_.seen.members.end() && found->second.running()
             && found->second.streaming);
}

bool cluster_look::streams_without_lag(const node& n) const {
  auto lag = here_.lag.find(n.node_id);
  return lag != here_.lag.end() && lag->second <= negligible_lag_bytes;
}

bool cluster_look::surely_well(const node& n) const {
  return leads(n) ? here_.seen.running(n.node_id) : streams(n);
}

std::vector<std::string> cluster_look::unsure(const std::vector<node*>& nodes) const {
  std::vector<std::string> others;
  for (const auto* n : nodes)
    if (!surely_well(*n))
      others.push_back(n->node_id);
  return others;
}

std::vector<node*> cluster_look::candidates(const std::vector<node*>& nodes) const {
  std::vector<node*> able;
  std::ranges::copy_if(nodes, std::back_inserter(able), [&](const node* n) {
    return may_take_over(cluster_, here_.seen, n->node_id);
  });
  return able;
}

bool cluster_look::a_copy_is_made() const {
  return std::ranges::any_of(cluster_.nodes, [&](const node& n) {
    auto found = here_.seen.members.find(n.node_id);
    return n.phase != node_phase::removing && n.failing.empty() && found != here_.seen.members.end()
           && found->second.copying();
  });
}

bool cluster_look::starts_in_vain(const node& n) const {
  auto failed = here_.failed_restarts.find(n.node_id);
  return failed != here_.failed_restarts.end() && failed->second >= hopeless_restarts
         && !here_.seen.running(n.node_id);
}

bool cluster_look::starts_anew(const node& n) const {
  auto found = here_.seen.members.find(n.node_id);
  return cluster_.taking_up && n.phase == node_phase::started && found != here_.seen.members.end()
         && found->second.ended() && !starts_in_vain(n);
}

std::string cluster_look::trouble_with(const node& n) const {
  if (n.phase != node_phase::started || leads(n))
    return {};
  if (starts_anew(n))
    return {};
  if (n.forgotten && !has_member(n))
    return "cell " + n.cell + " was forgotten";
  if (lost(n) && !has_member(n))
    return "cell " + n.cell + " is lost";
  if (here_.unhealthy.contains(n.node_id) && !here_.seen.well(n.node_id) && !streams(n))
    return here_.seen.running(n.node_id) ? "it runs but does not replicate" : "it does not run";
  return {};
}

bool cluster_look::may_be_removed(const node& n, bool had_leader) const {
  // A node leads although its cell reported a failed start: there is data now.
  if (!had_leader)
    return !leads(n);
  // A synchronous replica that repair replaces stays: the leader's last commits may depend on its
  // copy.
  bool vouches = !n.failing.empty() && is_synchronous(n);
  return leader_runs() && !leads(n) && !vouches && !is_ahead(n);
}

bool cluster_look::is_ahead(const node& n) const {
  auto leader = here_.seen.members.find(here_.seen.leader);
  auto found = here_.seen.members.find(n.node_id);
  return !n.failing.empty() && leader != here_.seen.members.end()
         && found != here_.seen.members.end() && leader->second.timeline > 0
         && found->second.timeline > leader->second.timeline;
}

bool may_take_over(const cluster& known, const cluster_view& seen, const std::string& node_id) {
  if (!seen.well(node_id) || seen.leads(node_id))
    return false;
  // The cluster follows the last settings it was told, even before all nodes have taken them up.
  const auto& told = known.taking_up ? *known.taking_up : known.in_force;
  bool synchronous = told.synchronous != synchronous_mode::off;
  return !synchronous || seen.synchronous.contains(node_id);
}

} // namespace matriarch::model
