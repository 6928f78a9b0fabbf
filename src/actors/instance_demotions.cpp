#include "actors/instance_demotions.hpp"

#include <utility>

#include "model/cluster_look.hpp"

namespace matriarch::actors {

model::route instance_demotions::new_leader() const {
  return {observations_.routed_at, 0, false, name()};
}

caf::result<model::demote_report> instance_demotions::demote(const model::demote_request& what) {
  const auto* leader =
      record() ? record()->living.find_node(observations_.living.seen.leader) : nullptr;
  if (leader == nullptr || leader->cell != what.cell)
    return model::demote_report{true, {}};
  auto report = [&](const std::string& why) {
    return model::demote_report{true, {{record()->instance_id, leader->node_id, "", why}}};
  };
  if (keeper_.busy() || !keeper_.acts() || !record()->living.switching_to.empty())
    return report("it is being changed at this moment; try again");
  if (record()->is_being_rebuilt() && record()->rebuilt->phase != model::rebuild_phase::copying)
    return report("it is being switched to a new cluster at this moment; try again");
  const model::node* candidate = nullptr;
  for (const auto& n : record()->living.nodes)
    if (n.phase == model::node_phase::started && n.cell != what.cell
        && model::may_take_over(record()->living, observations_.living.seen, n.node_id))
      candidate = &n;
  if (candidate == nullptr)
    return report("no replica is well on another cell");
  auto owed = keeper_.self()->make_response_promise<model::demote_report>();
  observations_.living.failed_switchover.clear();
  auto next = *record();
  next.living.switching_to = candidate->node_id;
  keeper_.write(std::move(next), {}, {},
                [this, owed, from = leader->node_id](const write_result& came) mutable {
                  if (came.done())
                    demotions_.push_back({from, owed});
                  else
                    owed.deliver(model::demote_report{true, {{name(), from, "", came.why}}});
                });
  return owed;
}

void instance_demotions::answer() {
  std::erase_if(demotions_, [this](demotion& one) {
    const auto& leader = observations_.living.seen.leader;
    bool moved = !leader.empty() && leader != one.from;
    if (moved
        && (!observations_.routing
            || !model::waits_for(*observations_.routing, new_leader()).over()))
      return false;
    if (!moved && observations_.living.failed_switchover.empty())
      return false;
    one.owed.deliver(
        model::demote_report{true,
                             {{record() ? record()->instance_id : name(), one.from,
                               moved ? leader : "", observations_.living.failed_switchover}}});
    return true;
  });
}

void instance_demotions::forget() {
  for (auto& one : std::exchange(demotions_, {}))
    one.owed.deliver(model::demote_report{
        true, {{name(), one.from, "", "the instance is removed, and its nodes with it"}}});
}

} // namespace matriarch::actors
