// The part of the world that a rebuild needs: stopped nodes, clusters that follow others, and a
// client's rows.
#include <algorithm>

#include "model/names.hpp"
#include "store/keys.hpp"
#include "world.hpp"

namespace matriarch::simulation {

using namespace std::chrono_literals;

namespace keys = store::keys;

namespace {

// Pause between a client's writes, and a row's time to reach a replica.
constexpr duration writing_pause = 500ms;
constexpr duration replication_delay = 30ms;

} // namespace

std::optional<model::record> world::record_served_by(const std::string& scope) const {
  auto known = record_of(model::name_of_scope(scope));
  return known && known->living.scope == scope ? known : std::nullopt;
}

bool world::runs(const std::string& scope, const std::string& node_id) const {
  return std::ranges::any_of(cells_, [&](const cell& one) {
    auto found = one.nodes.find(node_id);
    return found != one.nodes.end() && !found->second.halted && one.health != manner::away
           && member_state(scope, node_id) == "running";
  });
}

bool world::takes_writes(const std::string& scope) const {
  return !following_.contains(scope) && runs(scope, leader_of(scope));
}

// -- stopped --------------------------------------------------------------------------------------

/// A node that no record names any more is about to be removed: nobody misses it.
void world::expect_to_be_halted(const std::string& scope, const std::string& node_id) {
  auto known = record_of(model::name_of_scope(scope));
  const auto* cluster = known ? known->cluster_of(scope) : nullptr;
  const auto* n = cluster != nullptr ? cluster->find_node(node_id) : nullptr;
  if (n != nullptr && !n->halted)
    violations.push_back("node " + node_id + " was stopped before that was recorded");
}

base::outcome world::halt(cell& where, const std::string& node_id) {
  if (where.foreign)
    return {404, "{}", "", false};
  auto found = where.nodes.find(node_id);
  if (found == where.nodes.end())
    return {410, "{}", "", false};
  auto& node = found->second;
  const auto scope = node.scope;
  bool led = leader_of(scope) == node_id;
  if (led && !node.halted && followers_miss_the_end)
    acknowledged_rows_[model::name_of_scope(scope)] = ++node.rows; // on its way to nobody
  else if (led && !node.halted)
    for (const auto& follower : followers_of(scope)) {
      // A clean stop ends when all streaming followers have everything.
      if (auto* leader = find_node(leader_of(follower));
          leader && runs(follower, leader_of(follower)))
        leader->rows = node.rows;
      roles_[follower] = roles_of(scope);
    }
  node.halted = true;
  etcd.erase(keys::member(scope, node_id));
  if (led) {
    etcd.erase(keys::leader(scope));
    after(failover_delay, [this, scope] { elect(scope); });
  }
  if (led)
    node.stopped_as_leader = true;
  return {200,
          "{\"halted\":true,\"history\":1,\"position\":" + std::to_string(wal_step + node.rows)
              + ",\"led\":" + (node.stopped_as_leader ? "true}" : "false}"),
          "", false};
}

void world::resume(const std::string& scope, const std::string& node_id) {
  find_node(node_id)->stopped_as_leader = false;
  write_member(scope, node_id, "starting");
  after(running_delay, [this, scope, node_id] {
    if (in_a_cell(node_id))
      run(scope, node_id);
  });
}

// -- following ------------------------------------------------------------------------------------

std::vector<std::string> world::followers_of(const std::string& scope) const {
  std::vector<std::string> found;
  for (const auto& one : following_)
    if (one != scope && model::name_of_scope(one) == model::name_of_scope(scope))
      found.push_back(one);
  return found;
}

std::string world::followed_by(const std::string& scope) const {
  auto known = record_of(model::name_of_scope(scope));
  return known ? known->living.scope : std::string{};
}

void world::stand_for_itself(const std::string& scope) {
  if (following_.erase(scope) == 0)
    return;
  if (auto leader = leader_of(scope); runs(scope, leader))
    write_member(scope, leader, "running");
}

// -- a client's rows ------------------------------------------------------------------------------

void world::keep_writing(const std::string& name) {
  write_row(name);
  after(writing_pause, [this, name] { keep_writing(name); });
}

std::int64_t world::rows_acknowledged(const std::string& name) const {
  auto found = acknowledged_rows_.find(name);
  return found == acknowledged_rows_.end() ? 0 : found->second;
}

void world::write_row(const std::string& name) {
  auto known = record_of(name);
  if (!known || !known->desired.exists)
    return;
  auto writable = std::ranges::count_if(
      known->clusters(), [this](const model::cluster* one) { return takes_writes(one->scope); });
  if (writable > 1)
    violations.push_back("two clusters of " + name + " take writes");
  const auto scope = known->living.scope;
  if (!takes_writes(scope))
    return;
  auto& leader = *find_node(leader_of(scope));
  auto& acknowledged = acknowledged_rows_[name];
  if (leader.rows < acknowledged)
    violations.push_back(std::to_string(acknowledged - leader.rows) + " acknowledged rows of "
                         + name + " are lost");
  acknowledged = ++leader.rows;
  after(replication_delay, [this, scope, rows = leader.rows] { replicate(scope, rows); });
}

void world::excuse_unreplicated_rows(const cell& lost) {
  for (const auto& [id, node] : lost.nodes) {
    auto name = model::name_of_scope(node.scope);
    if (leader_of(node.scope) != id || !record_served_by(node.scope))
      continue;
    std::int64_t others = 0;
    for (const auto& [other, where] : nodes_of(node.scope))
      if (other != id && runs(node.scope, other))
        others = std::max(others, find_node(other)->rows);
    acknowledged_rows_[name] = std::min(acknowledged_rows_[name], others);
  }
}

void world::replicate(const std::string& scope, std::int64_t rows) {
  for (const auto& [id, where] : nodes_of(scope))
    if (runs(scope, id) && !stuck_at_.contains(id)) {
      auto& node = *find_node(id);
      node.rows = std::max(node.rows, rows);
    }
  for (const auto& follower : followers_of(scope))
    if (runs(follower, leader_of(follower)))
      replicate(follower, rows);
}

} // namespace matriarch::simulation
