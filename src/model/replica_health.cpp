#include "model/replica_health.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace matriarch::model {

namespace {

/// A position in the form of an LSN: 0/3000060.
std::string lsn(std::int64_t position) {
  constexpr int half = 32;
  char text[2 * 8 + 2]; // two numbers of up to eight digits, a slash and the final zero
  std::snprintf(text, sizeof text, "%X/%X", static_cast<unsigned>(position >> half),
                static_cast<unsigned>(position));
  return text;
}

class judge {
public:
  judge(const cluster& known, const cluster_view& seen, const health_history& before,
        const health_signs& signs)
      : known_(known), seen_(seen), before_(before), signs_(signs) {
    auto found = seen.members.find(seen.leader);
    if (found != seen.members.end() && found->second.running())
      leader_ = &found->second;
    // A plan's ttl lengthens loop_wait to at most a third of the ttl.
    patience_ = std::max<duration>(longest_standstill, std::chrono::seconds{known.in_force.ttl});
    settled_ = convalescence;
    if (signs.after > duration{0}) {
      patience_ = std::min(patience_, signs.after);
      settled_ = std::min(settled_, signs.after);
    }
  }

  health_verdict run() {
    for (const auto& n : known_.nodes)
      if (n.phase == node_phase::started)
        look_at(n.node_id);
    return std::move(said_);
  }

private:
  void look_at(const std::string& id) {
    auto found = seen_.members.find(id);
    const auto* member = found == seen_.members.end() ? nullptr : &found->second;
    auto earlier = before_.find(id);
    bool first = earlier == before_.end();
    auto& now = said_.history[id];
    if (first)
      now.looked_at = now.well_since = signs_.now;
    else
      now = earlier->second;
    const auto passed = signs_.now - now.looked_at;
    now.looked_at = signs_.now;
    if (!now.well)
      now.unwell_for += passed;
    else if (!now.behind && !now.copies)
      convalesce(now); // the node has been well since the last check
    now.copies = member != nullptr && member->copying();
    if (signs_.meant_to_stop && is_halted(id)) {
      // A node that is meant to be stopped is neither well nor unwell. It has its time anew when it is
      // to run again.
      now.unwell_for = now.stood_for = duration{0};
      now.stands = now.behind = false;
      pause(now);
      return;
    }
    if (now.copies) {
      // A copy of a big database takes long: the node counts as neither well nor unwell, and its
      // position starts anew. Copies that fail again and again are noticed by the time between
      // them.
      now.timeline = now.position = 0;
      now.stood_for = duration{0};
      now.stands = now.behind = false;
      pause(now);
      return;
    }
    bool runs = member != nullptr && member->running();
    if (runs && now.behind)
      now.stood_for += passed;
    bool moved = runs && moves(*member, now);
    // Without a leader no replica is behind, and none can make progress.
    bool led = leader_ != nullptr || seen_.leads(id);
    now.behind = runs && led && is_behind(id, *member);
    bool got_on = runs && (moved || (led && !now.behind) || streams(id, *member));
    if (got_on) {
      now.stood_for = duration{0};
      now.stands = false;
      if (now.behind)
        look_again_in(patience_);
    } else if (runs) {
      judge_standstill(id, *member, now);
    }
    note(id, now, runs && !now.stands, got_on);
  }

  [[nodiscard]] bool is_halted(const std::string& id) const {
    const auto* n = known_.find_node(id);
    return n != nullptr && n->halted;
  }

  /// Leaves the unwell time as it is.
  void pause(node_history& now) const {
    now.well_since = signs_.now;
    now.well = true;
  }

  /// Whether the leader is known to have something that the node lacks.
  [[nodiscard]] bool is_behind(const std::string& id, const member& m) const {
    if (seen_.leads(id) || leader_->position <= 0)
      return false; // the leader does not say where it is
    // A node still on an old timeline can be at a higher position than the leader on the new one.
    bool left_behind = m.timeline > 0 && m.timeline < leader_->timeline;
    return m.position < leader_->position || left_behind;
  }

  [[nodiscard]] bool streams(const std::string& id, const member& m) const {
    return m.streaming || (signs_.streaming != nullptr && signs_.streaming->contains(id));
  }

  /// Notes the position; true if it is further than ever. A node that recovers again and again
  /// passes the same positions each time, which is no progress.
  static bool moves(const member& m, node_history& now) {
    auto timeline = m.timeline > 0 ? m.timeline : now.timeline;
    if (m.position <= 0 || std::pair{timeline, m.position} <= std::pair{now.timeline, now.position})
      return false;
    now.timeline = timeline;
    now.position = m.position;
    return true;
  }

  void judge_standstill(const std::string& id, const member& m, node_history& now) {
    if (!now.stands && leader_ != nullptr && now.stood_for >= patience_) {
      said_.ask_leader = true;
      // The leader answered without naming this node, or did not answer in time.
      now.stands =
          signs_.streaming != nullptr || now.stood_for >= patience_ + longest_wait_for_word;
      if (now.stands)
        now.unwell_for += now.stood_for;
      else
        look_again_in(patience_ + longest_wait_for_word - now.stood_for);
    } else if (!now.stands && leader_ != nullptr) {
      look_again_in(patience_ - now.stood_for);
    }
    if (now.stands)
      said_.standing[id] = words_for(m);
  }

  [[nodiscard]] std::string words_for(const member& m) const {
    std::string text = "it runs but does not replicate";
    if (leader_ == nullptr)
      return text;
    bool elsewhere = m.timeline > 0 && m.timeline < leader_->timeline;
    auto place = [&](const member& of) {
      return lsn(of.position) + (elsewhere ? " of timeline " + std::to_string(of.timeline) : "");
    };
    text += m.position > 0 ? ": it stays at " + place(m) : ": it does not say how far it is";
    return text + ", and the leader is at " + place(*leader_);
  }

  void convalesce(node_history& now) const {
    if (signs_.now - now.well_since >= settled_)
      now.unwell_for = duration{0};
  }

  void note(const std::string& id, node_history& now, bool well, bool got_on) {
    if (well && !now.well)
      now.well_since = signs_.now;
    now.well = well;
    if (got_on)
      convalesce(now);
    if (well || signs_.after <= duration{0})
      return;
    if (now.unwell_for >= signs_.after)
      said_.unhealthy.insert(id);
    else
      look_again_in(signs_.after - now.unwell_for);
  }

  void look_again_in(duration left) {
    auto then = signs_.now + left;
    if (!said_.look_again_at || then < *said_.look_again_at)
      said_.look_again_at = then;
  }

  const cluster& known_;
  const cluster_view& seen_;
  const health_history& before_;
  const health_signs& signs_;
  const member* leader_ = nullptr; ///< nullptr if the leader does not run
  duration patience_{0};
  duration settled_{0};
  health_verdict said_;
};

} // namespace

health_verdict judge_health(const cluster& known, const cluster_view& seen,
                            const health_history& before, const health_signs& signs) {
  return judge{known, seen, before, signs}.run();
}

std::string health_in_words(const cluster_view& seen, const std::string& node_id) {
  if (auto found = seen.standing.find(node_id); found != seen.standing.end())
    return found->second;
  auto found = seen.members.find(node_id);
  if (found == seen.members.end())
    return "it does not run";
  if (found->second.copying())
    return "it copies the leader's data";
  return found->second.running() ? "well" : "it does not run: it says " + found->second.state;
}

int unwell_nodes(const record& known, const cluster_view& seen) {
  if (!known.desired.exists)
    return 0;
  bool busy = known.current.state == operation_state::in_progress;
  return static_cast<int>(std::ranges::count_if(known.living.nodes, [&](const node& n) {
    return n.phase == node_phase::started && !seen.well(n.node_id)
           && (!busy || seen.standing.contains(n.node_id));
  }));
}

} // namespace matriarch::model
