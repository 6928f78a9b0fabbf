#include "actors/cluster_watch.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>
#include <utility>

#include "store/keys.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;

namespace keys = store::keys;

// How long the leader's answer about the lag may be used. The answer was true when it was given,
// and the decision that needs it follows at once.
constexpr caf::timespan lag_validity = 1s;
// After a member's death its keys, the leader's key and its member key, end within this time.
constexpr caf::timespan longest_failover = 60s;

std::string address_of(const model::member& one) {
  return one.conn_url + ' ' + one.api_url;
}

} // namespace

// -- keys in etcd ---------------------------------------------------------------------------------

void cluster_watch::learn(const store::key_value& entry, bool erased) {
  if (cluster() == nullptr)
    return;
  if (entry.key.starts_with(keys::members(scope_))) {
    learn_member(entry.key.substr(keys::members(scope_).size()), entry, erased);
  } else if (entry.key == keys::leader(scope_)) {
    learn_leader(entry, erased);
  } else if (entry.key == keys::sync(scope_)) {
    here_->seen.synchronous = erased ? std::set<std::string>{} : runs().standbys_in(entry.value);
  } else if (entry.key == keys::initialize(scope_)) {
    initialized_at_ = erased ? 0 : entry.mod_revision;
    bootstrap_ = {};
  }
}

void cluster_watch::learn_member(const std::string& node_id, const store::key_value& entry,
                                 bool erased) {
  auto seen = erased ? result<model::member>{failure{""}} : runs().member_in(entry.value);
  if (seen.ok() && is_kept(node_id)) {
    note_address(node_id, *seen, entry);
    judge_member(node_id, *seen);
    note_state(node_id, *seen);
  } else {
    forget_member(node_id);
    here_->copied_leader.erase(node_id);
  }
}

void cluster_watch::learn_leader(const store::key_value& entry, bool erased) {
  // The value should be a member's name, but a tenant with the database's superuser may write
  // anything.
  bool is_name = !erased && entry.value.size() <= model::longest_node_name;
  auto before = std::exchange(here_->seen.leader, is_name ? entry.value : "");
  if (before == here_->seen.leader)
    return;
  if (!erased)
    host_.note_route(entry.mod_revision);
  if (!before.empty())
    led_before_ = {before, time_now()};
  forget_what_the_leader_said();
}

void cluster_watch::begin_anew() {
  const auto before = here_->seen.members;
  for (const auto& [node_id, member] : before)
    forget_member(node_id);
  auto standing = std::move(here_->seen.standing);
  here_->seen = {};
  here_->seen.standing = std::move(standing);
  initialized_at_ = 0;
  forget_what_the_leader_said();
}

/// What a node's member key says; nullptr if there is no such key.
const model::member* cluster_watch::announced(const std::string& node_id) const {
  if (auto said = said_.find(node_id); said != said_.end() && said->second.otherwise)
    return &*said->second.otherwise;
  auto believed = here_->seen.members.find(node_id);
  return believed == here_->seen.members.end() ? nullptr : &believed->second;
}

/// Finds the etcd revision that brought a member's addresses, the only part of a member key that
/// routers read; the key itself is written every few seconds. For a key seen for the first time
/// this is the revision of its creation, since a node keeps its addresses.
void cluster_watch::note_address(const std::string& node_id, const model::member& now,
                                 const store::key_value& entry) {
  const auto* before = announced(node_id);
  auto missed = said_.find(node_id);
  std::string last = before != nullptr       ? address_of(*before)
                     : missed != said_.end() ? missed->second.last_address
                                             : "";
  if (last.empty())
    host_.note_route(entry.create_revision);
  else if (last != address_of(now))
    host_.note_route(entry.mod_revision);
}

/// A tenant with the database's superuser may write member keys of any name. A limited number of
/// members without a record is kept, since their record may be on its way.
bool cluster_watch::is_kept(const std::string& node_id) const {
  constexpr std::size_t most_unlisted = 100;
  const auto& members = here_->seen.members;
  return cluster()->find_node(node_id) != nullptr
         || (node_id.size() <= model::longest_node_name
             && (members.contains(node_id)
                 || members.size() < cluster()->nodes.size() + most_unlisted));
}

/// Handles the end of a member's key.
void cluster_watch::forget_member(const std::string& node_id) {
  const auto* before = announced(node_id);
  if (!cluster() || cluster()->find_node(node_id) == nullptr) {
    said_.erase(node_id);
  } else if (before != nullptr) {
    auto last = address_of(*before);
    auto& said = said_[node_id];
    said.last_address = std::move(last);
    said.otherwise.reset();
  }
  here_->seen.members.erase(node_id);
}

/// What is remembered of a node ends with the state that it was about.
void cluster_watch::note_state(const std::string& node_id, const model::member& now) {
  if (now.running())
    here_->failed_restarts.erase(node_id);
  if (!now.copying())
    here_->copied_leader.erase(node_id);
  else if (!here_->seen.leader.empty())
    here_->copied_leader.try_emplace(node_id, here_->seen.leader);
}

/// Takes over a member key. An address that only the member itself reports is not used for
/// connections.
void cluster_watch::judge_member(const std::string& node_id, model::member now) {
  const auto* listed = cluster() ? cluster()->find_node(node_id) : nullptr;
  auto judged = model::judge_addresses(
      now, listed, listed != nullptr ? origin_of(listed->cell) : model::cell_origin{}, runs());
  auto said = said_.find(node_id);
  if (!judged.doubt.empty() && (said == said_.end() || said->second.doubt != judged.doubt))
    spdlog::warn("instance {}: {}", keeper_.name(), judged.doubt);
  bool is_believed = judged.conn_url == now.conn_url && judged.api_url == now.api_url;
  if (is_believed && judged.doubt.empty())
    said_.erase(node_id);
  else
    said_[node_id] = {is_believed ? nullptr : std::make_unique<model::member>(now), "",
                      judged.doubt};
  now.conn_url = std::move(judged.conn_url);
  now.api_url = std::move(judged.api_url);
  now.login_url = std::move(judged.login_url);
  now.doubt = std::move(judged.doubt);
  if (judged.learnt)
    here_->registered[node_id] = std::move(*judged.learnt);
  auto before = here_->seen.members.find(node_id);
  if (before == here_->seen.members.end() || before->second != now)
    here_->seen.members[node_id] = std::move(now);
}

/// Judges all members again after a change of the records or cells by which they are judged.
void cluster_watch::judge_members() {
  const auto all = here_->seen.members;
  for (const auto& [node_id, believed] : all) {
    auto now = believed;
    const auto* said = announced(node_id);
    now.conn_url = said->conn_url;
    now.api_url = said->api_url;
    judge_member(node_id, std::move(now));
  }
}

// -- where nodes are ------------------------------------------------------------------------------

model::cell_origin cluster_watch::origin_of(const std::string& guid) const {
  auto cells = setup().out->status.cells.load();
  const auto* found = model::find_cell(*cells, guid);
  if (found == nullptr)
    return {};
  // Only Matriarch's own cells say how they fence.
  auto place = model::place_in(found->uri);
  bool has_port = place.find(':', place.rfind(']') == std::string_view::npos ? 0 : place.rfind(']'))
                  != std::string_view::npos;
  return {std::string{has_port || place.starts_with('[') ? model::host_of(place) : place},
          found->reachable && found->fencing == "unknown", found->fencing != "unknown"};
}

/// Drops the leader's answers: positions are relative to the leader that was asked, and a demoted
/// leader has restarted.
void cluster_watch::forget_what_the_leader_said() {
  forget_lag();
  here_->settings.clear();
  here_->restarted.clear();
}

void cluster_watch::forget_lag() {
  here_->lag.clear();
  here_->lag_told = false;
}

// -- health ---------------------------------------------------------------------------------------

void cluster_watch::look_at_health(const cell_news& news) {
  if (cluster() == nullptr)
    return;
  auto now = time_now();
  if (now >= lag_heard_at_ + lag_validity)
    forget_lag();
  here_->unhealthy.clear();
  here_->ask_leader = false;
  // The nodes of a cluster that follows another one wait for its data, for hours if there is much of it.
  if (!cluster()->follows.empty() && !cluster()->had_leader)
    return health_.clear();
  // While etcd is out of reach nothing is heard of anybody's getting on.
  if (!setup().out->status.etcd_reachable)
    return health_.clear();
  model::health_signs signs;
  signs.now = std::chrono::floor<model::steady_time>(now.time_since_epoch());
  // A broker that is not active does not ask leaders, and waits for as long as positions may take.
  if (keeper_.heard().active)
    signs.after = news.after;
  const auto& record = *keeper_.record();
  signs.meant_to_stop =
      scope_ != record.living.scope
      || (record.is_being_rebuilt() && record.rebuilt->phase == model::rebuild_phase::halting);
  signs.streaming = here_->lag_told ? &here_->lag.entries() : nullptr;
  auto said = model::judge_health(*cluster(), here_->seen, health_, signs);
  health_ = std::move(said.history);
  here_->seen.standing = std::move(said.standing);
  here_->ask_leader = said.ask_leader;
  if (news.watching)
    here_->unhealthy = std::move(said.unhealthy);
  if (said.look_again_at)
    host_.wake(*said.look_again_at - signs.now);
}

void cluster_watch::forget_unwell_times() {
  for (auto& [node_id, one] : health_)
    one.unwell_for = model::duration{0};
}

bool cluster_watch::leader_was_lost() const {
  auto unwell = health_.find(led_before_.node_id);
  return unwell != health_.end() && !unwell->second.well
         && unwell->second.unwell_for >= time_now() - led_before_.until - longest_failover;
}

// -- what the leader reported ---------------------------------------------------------------------

/// A replica that streams is running, even if its member key does not say so yet.
void cluster_watch::learn_lag(const std::map<std::string, std::int64_t>& lag) {
  here_->lag = lag;
  here_->lag_told = true;
  lag_heard_at_ = time_now();
  for (const auto& [node_id, behind] : lag)
    if (auto found = here_->seen.members.find(node_id);
        found != here_->seen.members.end() && found->second.starting())
      here_->seen.members[node_id].state = "running";
}

// -- the first leader -----------------------------------------------------------------------------

model::bootstrap_verdict cluster_watch::judge_bootstrap(bool first) {
  auto now = std::chrono::floor<model::steady_time>(time_now().time_since_epoch());
  bootstrap_ = model::judge_bootstrap(
      *cluster(), here_->seen, bootstrap_,
      {first, initialized_at_ != 0, setup().out->status.etcd_reachable.load(), now});
  if (bootstrap_.look_again_at)
    host_.wake(*bootstrap_.look_again_at - now);
  return bootstrap_;
}

// -- nodes that are gone --------------------------------------------------------------------------

void cluster_watch::forget_node(const std::string& node_id) {
  here_->seen.members.erase(node_id);
  said_.erase(node_id);
}

} // namespace matriarch::actors
