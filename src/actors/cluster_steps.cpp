#include "actors/cluster_steps.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "base/utf8.hpp"
#include "model/switch_plan.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;

using model::step_kind;

constexpr caf::timespan placement_patience = 30s;
// Above the time that an order may wait behind others at its agent and then take.
constexpr caf::timespan cell_patience = 120s;
constexpr caf::timespan database_patience = 10s;
constexpr caf::timespan settings_patience = 25s; // for two questions, one after the other
// A user, a role and its grants are a dozen requests, each within the etcd client's time-out.
constexpr caf::timespan user_patience = 30s;
// etcd gives up a request after 5 s and two election time-outs, 7 s by default.
constexpr caf::timespan longest_in_etcd = 8s;
// Above what an engine allows for an order, including a switchover or restart of a busy node.
constexpr caf::timespan order_patience = 120s;
// The lag is asked on a timer, only while something waits for a replica. Four short connections a
// second for some seconds cost a leader nothing. If a replica does not replicate at all, the lag is
// asked less often.
constexpr caf::timespan lag_pause = 250ms;
constexpr caf::timespan longest_lag_pause = 2s;
constexpr int most_same_answers = 20; // 5 s; a replica that starts streams within two
// Clients cannot write while the last positions are asked for.
constexpr caf::timespan position_pause = 50ms;
constexpr caf::timespan longest_position_pause =
    1s; // one that stands still is asked for less often
// Above the 60 s that an engine allows itself.
constexpr caf::timespan flush_patience = 75s;
// An order that a cluster has taken up and that is due again, by what its members' keys say.
constexpr caf::timespan repeated_order_pause = 10s;
// A leader that takes long to write down what it holds is not asked for it all the time.
constexpr caf::timespan slow_flush_pause = 30s;
constexpr caf::timespan write_retry_pause = 500ms;
constexpr caf::timespan removal_retry_pause = 2s;
constexpr caf::timespan switchover_retry_pause = 2s;
// How often nodes are asked for their settings; nodes look for changes every few seconds.
constexpr caf::timespan settings_pause = 500ms;
// A node also restarts an ended database by itself, and is busy with that in the meantime.
constexpr caf::timespan restart_retry_pause = 3s;
// Pause before a restart is tried again that failed with the previous settings, too: no change is
// visible that could make it succeed.
constexpr caf::timespan pause_between_in_vain = 30s;
// Nodes look for changes about every ten seconds and apply them at once.
constexpr caf::timespan longest_settings = 30s;

} // namespace

void cluster_steps::perform(const model::cluster_step& what) {
  std::visit([this](const auto& one) { perform_one(one); }, what);
}

bool cluster_steps::is_awaited() const {
  return keeper_.record()->current.state == model::operation_state::in_progress;
}

void cluster_steps::forget_failures() {
  here_->failed_starts.clear();
  here_->failed_removals.clear();
  here_->shortage.reset();
  here_->failed_switchover.clear();
  here_->failed_restarts.clear();
}

void cluster_steps::look_again() {
  if (!steps_.under_way({step_kind::add_nodes}))
    here_->shortage.reset();
  if (!is_put_off({step_kind::failover_from}))
    here_->failed_switchover.clear();
}

void cluster_steps::forget_node(const std::string& node_id) {
  here_->confirmed_removed.erase(node_id);
  here_->confirmed_started.erase(node_id);
  here_->failed_starts.erase(node_id);
  here_->unanswered_starts.erase(node_id);
  here_->failed_removals.erase(node_id);
  here_->registered.erase(node_id);
  here_->lag.erase(node_id);
  here_->settings.erase(node_id);
  here_->halted.erase(node_id);
  here_->failed_halts.erase(node_id);
  here_->resumed.erase(node_id);
  here_->replayed.erase(node_id);
}

void cluster_steps::forget_confirmations() {
  here_->halted.clear();
  here_->failed_halts.clear();
  here_->resumed.clear();
  here_->replayed.clear();
  here_->follows.reset();
  here_->retains_for.reset();
  here_->flushed.reset();
}

void cluster_steps::forget_old_halts() {
  auto is_over = [this](const auto& one) {
    const auto* n = cluster() == nullptr ? nullptr : cluster()->find_node(one);
    return n == nullptr || !n->halted;
  };
  auto is_over_of = [&](const auto& one) { return is_over(one.first); };
  erase_if(here_->halted, is_over_of);
  erase_if(here_->failed_halts, is_over_of);
  erase_if(here_->resumed, is_over);
}

// -- nodes ----------------------------------------------------------------------------------------

void cluster_steps::perform_one(const model::add_nodes& step) {
  if (here_->shortage || !steps_.begin({step_kind::add_nodes}))
    return;
  auto decided_at = keeper_.at();
  self()
      ->request(setup().cells, placement_patience, placement_order{name(), step.where})
      .then(
          [this, decided_at, count = step.where.count](const model::placement& chosen) {
            steps_.end({step_kind::add_nodes});
            if (keeper_.busy() || !cluster() || keeper_.at() != decided_at)
              return host_.go_on();
            if (static_cast<int>(chosen.cells.size()) < count) {
              here_->shortage = chosen;
              return host_.go_on();
            }
            std::vector<std::string> ids;
            for (std::size_t i = 0; i < chosen.cells.size(); ++i)
              ids.push_back(setup().outside.new_id());
            model::decision next;
            next.write = model::with_new_nodes(*keeper_.record(), cluster()->scope, ids,
                                               chosen.cells, setup().outside.now());
            not_sent_.insert(ids.begin(), ids.end());
            host_.write_decision(std::move(next));
          },
          [this](const caf::error&) {
            steps_.end({step_kind::add_nodes});
            host_.go_on();
          });
}

start_order cluster_steps::start_of(const model::node& which) const {
  return {which.cell,
          which.node_id,
          cluster()->scope,
          *keeper_.record(),
          keeper_.at(),
          keeper_.heard().fleet,
          runs().decisions->start(*cluster(), keeper_.record()->desired.settings, which.node_id)};
}

void cluster_steps::perform_one(const model::start_node& step) {
  const auto* n = cluster()->find_node(step.node_id);
  if (!cluster()->secret_of(model::secret_name::etcd).username.empty() && !admitted_)
    return admit_to_etcd();
  if (!steps_.begin({step_kind::start_node, step.node_id}))
    return;
  // Otherwise an earlier start, perhaps of another broker, may still arrive.
  bool only_start = not_sent_.erase(step.node_id) != 0;
  auto order = start_of(*n);
  auto done = [this, id = n->node_id, cell = n->cell, only_start](const cell_answer& said) {
    steps_.end({step_kind::start_node, id});
    switch (said.is) {
    case cell_answer::kind::done:
      here_->confirmed_started.insert(id);
      if (!said.at.database.empty())
        here_->registered[id] = said.at;
      break;
    case cell_answer::kind::unsent:
    case cell_answer::kind::refused:
    case cell_answer::kind::unknown:
      spdlog::warn("instance {}: cell {} did not start node {}: {}", name(), cell, id,
                   said.for_the_log());
      here_->failed_starts[id] = said.why;
      if (only_start && said.is != cell_answer::kind::unknown)
        here_->confirmed_removed.insert(id);
      else
        here_->unanswered_starts.insert(id);
      if (cluster() && !is_awaited())
        host_.avoid_cell(cell, said.why);
      break;
    }
    host_.go_on();
  };
  self()
      ->request(setup().cells, cell_patience, std::move(order))
      .then([done](const cell_answer& said) { done(said); },
            [done](const caf::error&) {
              done({cell_answer::kind::unknown, "no answer in time"});
            });
}

/// How much longer a start of the node may arrive at its cell; nothing if none can.
std::optional<caf::timespan> cluster_steps::may_still_start(const std::string& node_id) const {
  const auto* n = cluster() ? cluster()->find_node(node_id) : nullptr;
  auto now = setup().outside.now();
  if (n == nullptr || !n->start_may_arrive_until || now > *n->start_may_arrive_until)
    return std::nullopt;
  return *n->start_may_arrive_until - now + 1ms;
}

/// Creates the cluster's etcd user, which must exist before the first node starts.
void cluster_steps::admit_to_etcd() {
  if (!steps_.begin({step_kind::etcd_user}))
    return;
  auto done = [this](const user_answer& said) {
    steps_.end({step_kind::etcd_user});
    admitted_ = said.ok;
    if (said.ok)
      return host_.go_on();
    dismiss_after_ = time_now() + longest_in_etcd;
    spdlog::warn("instance {}: its user of etcd is not made yet: {}", name(), said.why);
    host_.wake(write_retry_pause);
  };
  self()
      ->request(setup().store, user_patience,
                admit_user{cluster()->scope, cluster()->secret_of(model::secret_name::etcd)})
      .then([done](const user_answer& said) { done(said); },
            [done](const caf::error&) {
              done({false, "etcd did not answer in time"});
            });
}

void cluster_steps::perform_one(const model::remove_node& step) {
  const auto* n = cluster()->find_node(step.node_id);
  // A start that is still under way must end first; otherwise it could follow the removal.
  const model::step_key removal{step_kind::remove_node, step.node_id};
  if (steps_.under_way({step_kind::start_node, step.node_id}) || steps_.under_way(removal))
    return;
  if (!may_begin(removal))
    return host_.wake(removal_retry_pause);
  // No start was sent, so none can arrive late.
  if (not_sent_.erase(step.node_id) != 0)
    here_->failed_starts[step.node_id] = "superseded before it was started";
  removal_order order{n->cell,           n->node_id,   cluster()->scope,
                      *keeper_.record(), keeper_.at(), keeper_.heard().fleet};
  auto done = [this, id = n->node_id, cell = n->cell](const cell_answer& said) {
    steps_.end({step_kind::remove_node, id});
    if (said.is == cell_answer::kind::done) {
      here_->failed_removals.erase(id);
      // A cell that does not remember removed nodes may still obey a late start, so it is asked
      // again after that could have arrived.
      if (auto left = may_still_start(id)) {
        put_off({step_kind::remove_node, id}, *left);
        host_.wake(*left);
        return;
      }
      here_->confirmed_removed.insert(id);
      host_.go_on();
      return;
    }
    if (here_->failed_removals[id] != said.why)
      spdlog::warn("instance {}: cell {} has not removed node {} and is asked again: {}", name(),
                   cell, id, said.for_the_log());
    here_->failed_removals[id] = said.why;
    host_.publish();
    put_off({step_kind::remove_node, id}, removal_retry_pause);
    host_.wake(removal_retry_pause);
  };
  self()
      ->request(setup().cells, cell_patience, std::move(order))
      .then([done](const cell_answer& said) { done(said); },
            [done](const caf::error&) {
              done({cell_answer::kind::unknown, "no answer in time"});
            });
}

// -- stopping and resuming nodes ------------------------------------------------------------------

void cluster_steps::ask_cell_again(const model::step_key& step, const std::string& cell,
                                   const cell_answer& said) {
  spdlog::warn("instance {}: cell {} has not {} node {}, and is asked again: {}", name(), cell,
               step.kind == step_kind::halt_node ? "stopped" : "started", step.node_id,
               said.for_the_log());
  put_off(step, removal_retry_pause);
  host_.wake(removal_retry_pause);
}

void cluster_steps::perform_one(const model::halt_node& step) {
  const auto* n = cluster()->find_node(step.node_id);
  const model::step_key halt{step_kind::halt_node, step.node_id};
  // One after the other: the cell follows the newer revision, this actor the last answer.
  if (steps_.under_way({step_kind::resume_node, step.node_id}) || !may_begin(halt))
    return host_.wake(write_retry_pause);
  here_->resumed.erase(step.node_id);
  auto done = [this, halt, cell = n->cell](const cell_answer& said) {
    steps_.end(halt);
    if (said.is != cell_answer::kind::done) {
      here_->failed_halts[halt.node_id] = said.why;
      return ask_cell_again(halt, cell, said);
    }
    here_->failed_halts.erase(halt.node_id);
    here_->halted[halt.node_id] = said.data;
    host_.go_on();
  };
  self()
      ->request(
          setup().cells, cell_patience,
          halt_order{n->cell, n->node_id, cluster()->scope, keeper_.at(), keeper_.heard().fleet})
      .then([done](const cell_answer& said) { done(said); },
            [done](const caf::error&) {
              done({cell_answer::kind::unknown, "no answer in time"});
            });
}

void cluster_steps::perform_one(const model::resume_node& step) {
  const auto* n = cluster()->find_node(step.node_id);
  const model::step_key resume{step_kind::resume_node, step.node_id};
  if (steps_.under_way({step_kind::halt_node, step.node_id}) || !may_begin(resume))
    return host_.wake(write_retry_pause);
  auto done = [this, resume, cell = n->cell](const cell_answer& said) {
    steps_.end(resume);
    // 409: the cell leaves a node alone that it does not understand.
    if (said.is != cell_answer::kind::done || said.existed)
      return ask_cell_again(resume, cell, said);
    // What its key says is from before its stop.
    if (here_->halted.contains(resume.node_id))
      watch_.forget_member(resume.node_id);
    here_->halted.erase(resume.node_id);
    here_->resumed.insert(resume.node_id);
    host_.go_on();
  };
  self()
      ->request(setup().cells, cell_patience, start_of(*n))
      .then([done](const cell_answer& said) { done(said); },
            [done](const caf::error&) {
              done({cell_answer::kind::unknown, "no answer in time"});
            });
}

// -- following another cluster --------------------------------------------------------------------

void cluster_steps::perform_one(const model::ask_position& step) {
  const model::step_key asked{step_kind::ask_position, step.node_id};
  auto found = here_->seen.members.find(step.node_id);
  if (found == here_->seen.members.end() || !may_begin(asked))
    return host_.wake(position_pause);
  auto done = [this, asked](const position_answer& said) {
    steps_.end(asked);
    const bool the_same = !said.ok || said.position == here_->replayed[asked.node_id].position;
    same_positions_ = the_same ? same_positions_ + 1 : 0;
    const auto pause = std::min(longest_position_pause, position_pause * (1 + same_positions_));
    put_off(asked, pause);
    host_.wake(pause);
    if (!said.ok)
      return spdlog::warn("instance {}: node {}: {}", name(), asked.node_id, said.why);
    auto& at = here_->replayed[asked.node_id];
    const auto now = setup().outside.now();
    if (!the_same || now > at.heard + model::replay_validity)
      at.since = now;
    at.position = said.position;
    at.heard = now;
    host_.go_on();
  };
  self()
      ->request(runs().actor, database_patience,
                position_question{contact_of(step.node_id, found->second)})
      .then([done](const position_answer& said) { done(said); },
            [done](const caf::error&) {
              done({false, 0, "the node did not answer in time"});
            });
}

void cluster_steps::perform_one(const model::follow& step) {
  tell_cluster({step_kind::follow, step.leader}, runs().decisions->following(step.leader),
               [this, leader = step.leader] { here_->follows = leader; });
}

void cluster_steps::perform_one(const model::retain& step) {
  tell_cluster({step_kind::retain, step.for_scope},
               runs().decisions->retaining(!step.for_scope.empty()),
               [this, scope = step.for_scope] { here_->retains_for = scope; });
}

void cluster_steps::tell_cluster(const model::step_key& step, std::string change,
                                 std::function<void()> confirmed) {
  const auto* member = member_to_configure();
  // One order of a kind at a time, so that they arrive in their order.
  if (member == nullptr || is_put_off(step) || !steps_.begin({step.kind}))
    return host_.wake(settings_pause);
  auto done = [this, step, confirmed = std::move(confirmed)](const order_answer& said) {
    steps_.end({step.kind});
    if (said.done()) {
      failed_configurations_ = 0;
      put_off(step, repeated_order_pause); // its members' keys change some seconds later
      confirmed();
      return host_.go_on();
    }
    ++failed_configurations_;
    put_off(step, settings_pause);
    spdlog::warn("instance {}: cluster {} has not taken up what it was told: {}", name(),
                 watch_.scope(), said.why);
    host_.wake(settings_pause);
  };
  order(configuration_order{contact_of(member->first, member->second), std::move(change)}, done);
}

void cluster_steps::perform_one(const model::flush& step) {
  auto leader = here_->seen.members.find(step.node_id);
  if (leader == here_->seen.members.end() || !may_begin({step_kind::flush, step.node_id}))
    return host_.wake(lag_pause);
  auto begun = self()->clock().now();
  auto done = [this, id = step.node_id, begun](const flush_answer& said) {
    const model::step_key flushed{step_kind::flush, id};
    steps_.end(flushed);
    if (said.ok) {
      auto took = std::chrono::duration_cast<model::duration>(self()->clock().now() - begun);
      // One after the other takes less and less, if the leader writes faster than it is written to.
      const auto& last = here_->flushed;
      if (took > model::quick_flush && last && last->leader == id && took >= last->took)
        put_off(flushed, slow_flush_pause);
      here_->flushed =
          model::cluster_observations::flush{id, said.history, setup().outside.now(), took};
      return host_.go_on();
    }
    put_off(flushed, slow_flush_pause);
    spdlog::warn("instance {}: node {} has not written down what it holds in memory only: {}",
                 name(), id, said.why);
    host_.wake(slow_flush_pause);
  };
  self()
      ->request(runs().actor, flush_patience,
                flush_order{name(), leader->second.login_url,
                            cluster()->secret_of(model::secret_name::superuser)})
      .then([done](const flush_answer& said) { done(said); },
            [done](const caf::error&) {
              done({false, 0, "it did not say so in time"});
            });
}

/// Sets the pause before the next question; a longer one if nothing has changed for a while.
void cluster_steps::rest_before_asking(const lag_answer& said) {
  std::map<std::string, bool> streaming;
  for (const auto& [node_id, lag] : said.lag)
    streaming[node_id] = lag <= model::negligible_lag_bytes;
  bool same = said.ok && streaming == last_streaming_;
  same_answers_ = same ? same_answers_ + 1 : 0;
  auto pause = same_answers_ < most_same_answers ? lag_pause : longest_lag_pause;
  last_streaming_ = std::move(streaming);
  put_off({step_kind::ask_lag}, pause);
  host_.wake(pause);
}

void cluster_steps::perform_one(const model::ask_lag&) {
  auto leader = here_->seen.members.find(here_->seen.leader);
  auto now = time_now();
  auto not_before = steps_.put_off_until({step_kind::ask_lag});
  if (leader == here_->seen.members.end() || now < not_before
      || !steps_.begin({step_kind::ask_lag}))
    return host_.wake(std::max<caf::timespan>(not_before - now, lag_pause));
  auto asked_of = here_->seen.leader;
  auto done = [this, asked_of](const lag_answer& said) {
    steps_.end({step_kind::ask_lag});
    rest_before_asking(said);
    if (said.ok && asked_of == here_->seen.leader)
      watch_.learn_lag(said.lag);
    else if (!said.ok && said.why != lag_refusal_)
      spdlog::warn("instance {}: {}", name(), said.why);
    lag_refusal_ = said.why;
    host_.go_on();
  };
  self()
      ->request(runs().actor, database_patience,
                lag_question{name(), leader->second.login_url,
                             cluster()->secret_of(model::secret_name::superuser)})
      .then([done](const lag_answer& said) { done(said); },
            [done](const caf::error&) {
              done({false, {}, "the leader did not answer in time"});
            });
}

void cluster_steps::perform_one(const model::failover_from& step) {
  auto leader = here_->seen.members.find(step.from);
  if (leader == here_->seen.members.end() || steps_.under_way({step_kind::failover_from}))
    return;
  if (!may_begin({step_kind::failover_from}))
    return host_.wake(switchover_retry_pause);
  host_.tell(model::switchover_begun{step.from, step.to});
  auto done = [this, to = step.to](const order_answer& said) {
    steps_.end({step_kind::failover_from});
    // After a switchover the leader key may arrive a moment later, so the next try waits.
    put_off({step_kind::failover_from}, switchover_retry_pause);
    if (!said.done() && !here_->seen.leads(to)) {
      here_->failed_switchover = said.why;
      host_.tell(model::switchover_failed{here_->failed_switchover});
      host_.wake(switchover_retry_pause);
      host_.switchover_failed();
    }
    host_.go_on();
  };
  order(switch_over_order{contact_of(step.from, leader->second), step.to}, done);
}

// -- settings -----------------------------------------------------------------------------------

node_contact cluster_steps::contact_of(const std::string& node_id, const model::member& of) const {
  const auto* listed = cluster()->find_node(node_id);
  return {name(), node_id, of.api_url, listed != nullptr && !watch_.origin_of(listed->cell).foreign,
          cluster()->secret_of(model::secret_name::control)};
}

template <class Order, class Then>
void cluster_steps::order(Order what, Then then) {
  self()
      ->request(runs().actor, order_patience, std::move(what))
      .then([then](const order_answer& said) { then(said); },
            [then](const caf::error&) {
              then(order_answer{order_answer::outcome::refused, "the node did not answer in time"});
            });
}

/// The node through which the cluster is configured; its database need not run. The leader comes
/// first, and after each failure another node.
const std::pair<const std::string, model::member>* cluster_steps::member_to_configure() const {
  std::vector<const std::pair<const std::string, model::member>*> able;
  for (const auto& one : here_->seen.members)
    if (!one.second.api_url.empty() && cluster()->find_node(one.first) != nullptr)
      able.insert(here_->seen.leads(one.first) ? able.begin() : able.end(), &one);
  return able.empty() ? nullptr : able[failed_configurations_ % able.size()];
}

void cluster_steps::perform_one(const model::configure& step) {
  const auto* member = member_to_configure();
  if (member == nullptr || steps_.under_way({step_kind::configure}))
    return;
  if (!may_begin({step_kind::configure}))
    return host_.wake(settings_pause);
  auto done = [this, digest = step.digest](const order_answer& said) {
    steps_.end({step_kind::configure});
    if (said.done()) {
      failed_configurations_ = 0;
      here_->configured = digest;
      here_->restarted.clear();
      here_->failed_restarts.clear();
      return host_.go_on();
    }
    ++failed_configurations_;
    put_off({step_kind::configure}, settings_pause);
    spdlog::warn("instance {}: the settings are not set: {}", name(), said.why);
    host_.wake(settings_pause);
  };
  order(configuration_order{contact_of(member->first, member->second), step.patch}, done);
}

void cluster_steps::perform_one(const model::ask_settings& step) {
  if (is_put_off({step_kind::ask_settings}))
    return host_.wake(settings_pause);
  remind(step.node_ids);
  for (const auto& id : step.node_ids) {
    auto found = here_->seen.members.find(id);
    if (found != here_->seen.members.end() && steps_.begin({step_kind::ask_settings, id}))
      ask_settings_of(id, found->second);
  }
  host_.wake(settings_pause);
}

/// A node may have missed a change of settings while it began to copy its leader. The leader is
/// told to reload, a replica to restart.
void cluster_steps::remind(const std::vector<std::string>& late) {
  auto now = time_now();
  erase_if(late_since_,
           [&](const auto& one) { return std::ranges::find(late, one.first) == late.end(); });
  for (const auto& id : late) {
    auto since = late_since_.try_emplace(id, now).first;
    auto found = here_->seen.members.find(id);
    if (now - since->second < longest_settings || found == here_->seen.members.end())
      continue;
    since->second = now;
    bool leads = here_->seen.leads(id);
    spdlog::warn("instance {}: node {} does not take up its settings, and is {}", name(), id,
                 leads ? "told once more" : "restarted");
    auto wake = [host = &host_](const order_answer&) { host->wake(settings_pause); };
    auto node = contact_of(id, found->second);
    if (leads)
      order(reload_order{std::move(node)}, wake);
    else
      order(restart_order{std::move(node), false, true}, wake);
  }
}

void cluster_steps::ask_settings_of(const std::string& id, const model::member& member) {
  auto not_now = [this, id] {
    steps_.end({step_kind::ask_settings, id});
    put_off({step_kind::ask_settings}, settings_pause);
    host_.wake(settings_pause);
  };
  self()
      ->request(runs().actor, settings_patience,
                settings_question{name(), member.login_url,
                                  cluster()->secret_of(model::secret_name::superuser),
                                  contact_of(id, member)})
      .then(
          [this, id, not_now](const settings_answer& said) {
            not_now();
            if (!said.ok || !cluster())
              return;
            here_->settings[id] = {said.digest, said.pending_restart};
            host_.go_on();
          },
          [not_now](const caf::error&) { not_now(); });
}

/// Settings that a leader applies by its restart, a replica may need one more restart for.
void cluster_steps::note_restart(const std::string& id) {
  if (here_->seen.leads(id))
    here_->restarted.clear();
  here_->restarted.insert(id);
}

/// Counts a restart as failed only if the database did not start; other failures may have other
/// reasons.
void cluster_steps::note_failed_restart(const std::string& id, const order_answer& said) {
  spdlog::warn("instance {}: node {} was not restarted: {}", name(), id, said.why);
  if (said.is != order_answer::outcome::not_started && !restarts_by_itself_in_vain(id, said))
    return;
  // During an update, the previous settings are restored. Otherwise these are set already; if the
  // node does not start with them either, an earlier change may have arrived late, so they are set
  // again.
  bool in_vain = ++here_->failed_restarts[id] >= model::hopeless_restarts;
  if (in_vain && cluster() && !is_awaited()) {
    here_->configured.clear();
    put_off({step_kind::ask_settings}, pause_between_in_vain);
  }
  if (here_->seen.members.contains(id))
    here_->seen.members[id].state = "start failed"; // its key says so a round later
}

/// Whether the node keeps restarting by itself, refuses orders because of that, and does not run.
bool cluster_steps::restarts_by_itself_in_vain(const std::string& id, const order_answer& said) {
  constexpr int often = 5; // some twenty seconds
  auto found = here_->seen.members.find(id);
  bool tries = said.is == order_answer::outcome::starts_alone && found != here_->seen.members.end()
               && found->second.ended();
  auto& refusals = refused_restarts_[id];
  refusals = tries ? refusals + 1 : 0;
  if (refusals < often)
    return false;
  refusals = 0;
  return true;
}

void cluster_steps::perform_one(const model::copy_again& step) {
  auto found = here_->seen.members.find(step.node_id);
  if (found == here_->seen.members.end() || !steps_.begin({step_kind::copy_again, step.node_id}))
    return;
  auto done = [this, id = step.node_id, of = here_->seen.leader](const order_answer& said) {
    steps_.end({step_kind::copy_again, id});
    if (said.done()) {
      here_->copied_leader[id] = of;
      host_.tell(model::copy_repeated{id});
    } else {
      spdlog::warn("instance {}: node {} does not begin again: {}", name(), id, said.why);
    }
    host_.wake(switchover_retry_pause);
  };
  order(copy_order{contact_of(step.node_id, found->second)}, done);
}

void cluster_steps::perform_one(const model::restart_node& step) {
  auto found = here_->seen.members.find(step.node_id);
  if (found == here_->seen.members.end() || is_put_off({step_kind::ask_settings})
      || !steps_.begin({step_kind::restart_node, step.node_id}))
    return;
  host_.tell(model::restart_begun{step.node_id});
  auto done = [this, id = step.node_id](const order_answer& said) {
    steps_.end({step_kind::restart_node, id});
    here_->settings.erase(id);
    auto pause = said.done() ? settings_pause : restart_retry_pause;
    put_off({step_kind::ask_settings}, pause);
    if (said.done())
      note_restart(id);
    else
      note_failed_restart(id, said);
    host_.wake(pause);
    host_.go_on();
  };
  order(restart_order{contact_of(step.node_id, found->second), !step.ended,
                      !step.ended && !here_->seen.leads(step.node_id)},
        done);
}

// -- the cluster's etcd user ----------------------------------------------------------------------

bool cluster_steps::is_dismissed() {
  if (cluster()->secret_of(model::secret_name::etcd).username.empty() || dismissed_)
    return true;
  dismiss_from_etcd();
  return false;
}

/// An earlier active broker may have left the creation of the user unanswered. The user is created
/// before the first start of a node.
void cluster_steps::outlast_admissions() {
  if (cluster() && std::ranges::any_of(cluster()->nodes, [](const auto& n) {
        return n.phase == model::node_phase::placed;
      }))
    dismiss_after_ = time_now() + longest_in_etcd;
}

void cluster_steps::dismiss_from_etcd() {
  // If the creation was not answered, the user could still be created after its deletion.
  if (auto now = time_now(); now < dismiss_after_)
    return host_.wake(dismiss_after_ - now);
  if (!steps_.begin({step_kind::etcd_user}))
    return;
  auto done = [this](const user_answer& said) {
    steps_.end({step_kind::etcd_user});
    dismissed_ = said.ok;
    if (said.ok)
      return host_.go_on();
    spdlog::warn("instance {}: its user of etcd is not deleted yet: {}", name(), said.why);
    host_.wake(write_retry_pause);
  };
  self()
      ->request(setup().store, user_patience,
                dismiss_user{cluster()->secret_of(model::secret_name::etcd).username})
      .then([done](const user_answer& said) { done(said); },
            [done](const caf::error&) {
              done({false, "etcd did not answer in time"});
            });
}

} // namespace matriarch::actors
