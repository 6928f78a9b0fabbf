#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/observation.hpp"
#include "model/orphans.hpp"
#include "model/ports.hpp"
#include "model/replica_health.hpp"
#include "model/routes.hpp"
#include "tls/authorities.hpp"

namespace matriarch::actors {

/// Time and randomness, passed in so that tests can control them.
struct environment {
  /// Does not jump when the system's clock is set: deadlines depend on it.
  std::function<model::wall_time()> now;
  /// A new node, operation or write id, unique for ever.
  std::function<std::string()> new_id;
  /// A new password.
  std::function<std::string()> new_password;
};

/// The system's clock, smoothed, and OpenSSL's random source.
[[nodiscard]] environment real_environment();

/// The newest snapshot of each instance. Instances' actors write it; HTTP threads read it without
/// asking an actor. Sharded, so that a reader rarely waits for a writer.
class snapshot_map {
public:
  [[nodiscard]] model::snapshot_ptr find(const std::string& name) const {
    const auto& shard = shards_[index_of(name)];
    std::shared_lock lock{shard.guard};
    auto found = shard.entries.find(name);
    return found == shard.entries.end() ? nullptr : found->second;
  }

  void publish(const std::string& name, model::snapshot_ptr newest) {
    auto& shard = shards_[index_of(name)];
    bool well = model::unwell_nodes(newest->known, newest->seen) == 0;
    std::unique_lock lock{shard.guard};
    if (well)
      shard.unwell.erase(name);
    else
      shard.unwell.insert(name);
    shard.unreadable.erase(name);
    shard.entries[name] = std::move(newest);
  }

  void remove(const std::string& name) {
    auto& shard = shards_[index_of(name)];
    std::unique_lock lock{shard.guard};
    shard.entries.erase(name);
    shard.unwell.erase(name);
    shard.unreadable.erase(name);
  }

  /// Notes that there is a record of that name which this broker cannot read.
  void note_unreadable(const std::string& name) {
    auto& shard = shards_[index_of(name)];
    std::unique_lock lock{shard.guard};
    shard.unreadable.insert(name);
  }

  /// The names whose records cannot be read.
  [[nodiscard]] std::vector<std::string> unreadable() const {
    std::vector<std::string> names;
    for (const auto& shard : shards_) {
      std::shared_lock lock{shard.guard};
      names.insert(names.end(), shard.unreadable.begin(), shard.unreadable.end());
    }
    return names;
  }

  /// Instances with nodes that are not healthy.
  struct unwell_instances {
    std::size_t count = 0;
    std::vector<std::string> some; ///< the ids of up to `most` of them
  };
  [[nodiscard]] unwell_instances unwell(std::size_t most) const {
    unwell_instances found;
    for (const auto& shard : shards_) {
      std::shared_lock lock{shard.guard};
      found.count += shard.unwell.size();
      for (const auto& name : shard.unwell)
        if (found.some.size() < most)
          found.some.push_back(shard.entries.at(name)->known.instance_id);
    }
    return found;
  }

  [[nodiscard]] std::vector<model::snapshot_ptr> all() const {
    std::vector<model::snapshot_ptr> everything;
    for (const auto& shard : shards_) {
      std::shared_lock lock{shard.guard};
      for (const auto& entry : shard.entries)
        everything.push_back(entry.second);
    }
    return everything;
  }

private:
  struct part {
    mutable std::shared_mutex guard;
    std::unordered_map<std::string, model::snapshot_ptr> entries;
    std::set<std::string> unwell; ///< names of `entries` with nodes that are not healthy
    std::set<std::string> unreadable;
  };
  static constexpr std::size_t shard_count = 64; // well above any number of HTTP threads
  static std::size_t index_of(const std::string& name) {
    return std::hash<std::string>{}(name) % shard_count;
  }

  std::array<part, shard_count> shards_;
};

/// What the broker publishes besides the instances.
struct status_board {
  using steady_time = std::chrono::steady_clock::time_point;

  std::atomic<bool> loaded{false};         ///< all instances have been read from etcd
  std::atomic<bool> etcd_reachable{false}; ///< the watch is connected
  std::atomic<bool> active{false};         ///< this broker is the active one
  /// How often etcd has been out of reach for more than a moment.
  std::atomic<unsigned> outages{0};
  /// Number of clusters that are adopting late parameters.
  std::atomic<int> adopting{0};
  /// etcd answers, but refuses this broker's writes.
  std::atomic<bool> etcd_refuses_writes{false};
  /// When etcd last answered; the clock's beginning if it never has.
  std::atomic<steady_time> etcd_heard{steady_time{}};
  /// Until then the lease on the right to act cannot have ended, whatever else is reported.
  std::atomic<steady_time> acts_until{steady_time::max()};
  std::atomic<model::cell_table> cells{std::make_shared<const std::vector<model::cell_view>>()};
  /// What the routers serve. Only instances that wait for a route get a message when it changes.
  std::atomic<model::router_table> routers{std::make_shared<const model::routers>()};
  /// Nodes on cells that have no record; known only while this broker is active.
  std::atomic<std::shared_ptr<const std::vector<model::orphan>>> orphans{
      std::make_shared<const std::vector<model::orphan>>()};
  /// The authorities that sign the fleet's certificates; nullptr until known.
  std::atomic<tls::authorities_ptr> authority{nullptr};
  /// etcd's revision at which routers were told the authorities, by this broker or a previous one;
  /// 0 while not known.
  std::atomic<std::int64_t> authority_told_at{0};
  /// Whether nodes' APIs are asked by TLS: not while some cell has an agent of an earlier release,
  /// whose nodes do not support it.
  std::atomic<bool> control_tls{true};
  /// Port uses with members that this release does not know, by key. A write of such a key must
  /// keep them. Nearly always empty.
  std::atomic<std::shared_ptr<const std::map<std::string, model::port_use>>> later_ports{
      std::make_shared<const std::map<std::string, model::port_use>>()};
  /// Why this broker must never become active; empty if it may.
  std::atomic<std::shared_ptr<const std::string>> must_not_act{
      std::make_shared<const std::string>()};
  /// Why repairs are halted although cells seem lost; empty if they are not.
  std::atomic<std::shared_ptr<const std::string>> repair_halted{
      std::make_shared<const std::string>()};
};

/// What every actor may read or publish to. Outlives the actors.
struct published {
  snapshot_map instances;
  status_board status;
};

} // namespace matriarch::actors
