#include "model/bootstrap.hpp"

#include <algorithm>

namespace matriarch::model {

namespace {

/// Whether the node waits for a leader: it has no data and makes none.
bool waits(const member& one) {
  return one.state == "stopped" || one.state == "initdb failed";
}

/// Whether every node with a member key waits, and at least one does. A node without a member key
/// has ended or not begun: it makes no data.
bool everybody_waits(const cluster& known, const cluster_view& seen) {
  bool somebody = false;
  for (const auto& n : known.nodes)
    if (auto found = seen.members.find(n.node_id); found != seen.members.end()) {
      if (!waits(found->second))
        return false;
      somebody = somebody || n.phase == node_phase::started;
    }
  return somebody;
}

} // namespace

bool is_being_made(const record& known) {
  return known.current.type == operation_type::provision
         && known.current.state == operation_state::in_progress && known.desired.exists
         && known.phase == record_phase::accepted;
}

bootstrap_verdict judge_bootstrap(const cluster& known, const cluster_view& seen,
                                  const bootstrap_verdict& before, const bootstrap_signs& signs) {
  if (!signs.first || !signs.reliable || !signs.initialized || !seen.leader.empty())
    return {};
  bootstrap_verdict said;
  auto wait = [&](std::optional<steady_time> since, duration patience, auto& still, bool& over) {
    still = since.value_or(signs.now);
    over = signs.now - *still >= patience;
    if (!over)
      said.look_again_at = *still + patience;
    else
      still.reset();
  };
  bool runs = std::ranges::any_of(known.nodes, [&](const node& n) {
    return n.phase == node_phase::started && seen.running(n.node_id);
  });
  if (everybody_waits(known, seen))
    wait(before.nobody_since, bootstrap_patience, said.nobody_since, said.abandoned);
  else if (runs && !known.had_leader)
    wait(before.stuck_since, stuck_patience, said.stuck_since, said.stuck);
  return said;
}

} // namespace matriarch::model
