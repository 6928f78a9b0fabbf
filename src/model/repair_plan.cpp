#include "model/repair_plan.hpp"

#include <algorithm>

namespace matriarch::model {

namespace {

/// Why a repair would risk data now; empty if it would not.
std::string repair_risk(const cluster_look& look) {
  const auto& leader = look.here().seen.leader;
  if (!look.fleet().repair_halted.empty())
    return look.fleet().repair_halted;
  if (leader.empty())
    return "no member leads, so it is unknown which copy is good; waiting for a leader";
  if (look.known().find_node(leader) == nullptr)
    return "the leader, " + leader + ", is not in this instance's record; see matriarch orphans";
  if (!look.leader_runs())
    return "the leader, " + leader + ", does not run yet";
  return {};
}

/// Unmarks nodes that are well again. Adds nodes that should be marked to `broken`. Returns whether
/// any node is still marked.
bool sort_out(std::vector<node>& nodes, const cluster_look& look, bool spare,
              std::vector<node*>& broken) {
  bool marked = false;
  for (auto& n : nodes) {
    if (n.phase == node_phase::removing)
      continue;
    auto trouble = look.trouble_with(n);
    // Unmark the node if it recovered before its replacement was made, or if it leads now. Unmark
    // also a running synchronous replica: the leader waits for its confirmation, and no other
    // replica becomes synchronous as long as it runs.
    bool vouches = look.here().seen.running(n.node_id) && look.is_synchronous(n);
    if (!n.failing.empty() && trouble.empty() && (!spare || vouches || look.leads(n)))
      n.failing.clear();
    if (!n.failing.empty())
      marked = true;
    else if (!trouble.empty())
      broken.push_back(&n);
  }
  return marked;
}

/// Why a failing node in phase `removing` is not removed yet; empty if it is being removed.
std::string why_it_stays(const cluster_look& look, const node& n, bool had_leader) {
  if (look.lost(n))
    return " when the cell is back";
  if (look.may_be_removed(n, had_leader))
    return "";
  if (look.is_synchronous(n))
    return ", but not while it is the synchronous replica";
  if (look.is_ahead(n))
    return ", but not while the leader is on an older timeline than it";
  return ", but not while no other member leads and runs";
}

std::string words_for(const cluster_look& look, const node& n, const cluster_goal& goal,
                      bool had_leader) {
  const auto place = n.node_id + " on cell " + n.cell;
  if (n.phase == node_phase::removing && !n.failing.empty())
    return "node " + n.node_id + " is removed from cell " + n.cell
           + why_it_stays(look, n, had_leader);
  if (!n.failing.empty())
    return "replacing node " + place + ": " + n.failing;
  if (auto trouble = look.trouble_with(n); !trouble.empty())
    return "node " + place + " has to be replaced: " + trouble;
  if (!n.instead_of.empty() && n.instead_of == goal.wanted.cells)
    return "node " + n.node_id + " is on cell " + n.cell
           + ", because none of the cells asked for was free";
  return {};
}

} // namespace

repair_marks mark_repairs(const cluster_look& look, const cluster_goal& goal) {
  const auto& here = look.here();
  repair_marks marks{look.known().nodes};
  auto present = std::ranges::count_if(
      marks.nodes, [](const node& n) { return n.phase != node_phase::removing; });
  const auto wanted = static_cast<std::ptrdiff_t>(goal.wanted.node_count);
  std::vector<node*> broken;
  bool marked = sort_out(marks.nodes, look, present > wanted, broken);
  if (!marked && broken.empty())
    return marks;
  // An update would wait for broken nodes, so it replaces them, as it does marked ones. A provision
  // handles failing nodes itself.
  bool updating = goal.who == waiting::for_change;
  if (goal.awaited() && (broken.empty() || !updating)) {
    if (!broken.empty())
      marks.why_not = "waits for the end of the operation in progress";
    return marks;
  }
  marks.why_not = repair_risk(look);
  marks.goes_on = updating;
  if (!marks.why_not.empty())
    return marks;
  // While no cell can take a node, other instances may have the repair turn.
  marks.wants_turn = !here.shortage;
  if (!here.repair_turn) {
    marks.why_not = here.shortage ? "no cell can take a node: " + here.shortage->shortage
                                  : "other instances are repaired first";
    return marks;
  }
  // A node that runs may stream unnoticed. The leader knows: ask it before replacing a node.
  bool stands =
      std::ranges::any_of(broken, [&](const node* n) { return here.seen.running(n->node_id); });
  if (stands && !here.lag_told) {
    marks.ask_leader = true;
    marks.why_not = "asking the leader which replicas stream";
    return marks;
  }
  for (auto* n : broken) {
    n->failing = look.trouble_with(*n);
    // There is a node too many: this node was itself a replacement, and is replaced again.
    if (present > wanted && !look.is_synchronous(*n)) {
      n->phase = node_phase::removing;
      --present;
    }
  }
  marks.goes_on = true;
  return marks;
}

repair_words describe_repairs(const cluster_look& look, const cluster_goal& goal,
                              const repair_marks& marks, bool had_leader,
                              const std::string& waiting_for) {
  repair_words said;
  if (!goal.wanted.exists)
    return said;
  const auto& nodes = look.known().nodes;
  said.wants_turn =
      marks.wants_turn && std::ranges::any_of(nodes, [&](const node& n) {
        return n.phase != node_phase::removing && !(n.failing + look.trouble_with(n)).empty();
      });
  for (const auto& n : nodes)
    if (auto words = words_for(look, n, goal, had_leader); !words.empty())
      said.text += (said.text.empty() ? "" : "; ") + words;
  if (said.text.empty())
    return said;
  if (!marks.why_not.empty())
    said.text += "; not now: " + marks.why_not;
  else if (said.wants_turn && !waiting_for.empty())
    said.text += "; " + waiting_for;
  return said;
}

} // namespace matriarch::model
