#include "model/bootstrap.hpp"

#include <algorithm>

namespace matriarch::model {

namespace {

/// Its Patroni waits: it has no data, and makes none.
bool waits(const member& one) {
  return one.state == "stopped" || one.state == "initdb failed";
}

/// A node without a member's key makes nothing: its Patroni has ended, or has not begun.
bool everybody_waits(const record& known, const cluster_view& seen) {
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

bootstrap_verdict judge_bootstrap(const record& known, const cluster_view& seen,
                                  std::optional<steady_time> nobody_since,
                                  const bootstrap_signs& signs) {
  bool first = known.current.type == operation_type::provision
               && known.current.state == operation_state::in_progress && known.desired.exists
               && known.phase == record_phase::accepted;
  if (!first || !signs.reliable || !signs.initialized || !seen.leader.empty()
      || !everybody_waits(known, seen))
    return {};
  auto since = nobody_since.value_or(signs.now);
  if (signs.now - since >= bootstrap_patience)
    return {{}, true, {}};
  return {since, false, since + bootstrap_patience};
}

} // namespace matriarch::model
