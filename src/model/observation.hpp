#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "model/record.hpp"
#include "model/shared_map.hpp"

namespace matriarch::model {

/// A node as it describes itself under its scope's `members/`.
struct member {
  std::string state;         ///< running, starting, stopped, creating replica, …
  std::string api_url;       ///< where it is asked and told; empty: nobody may connect there
  std::string conn_url;      ///< where clients connect; the same
  std::int64_t timeline = 0; ///< it grows with each promotion
  /// How far it is in what is written, in bytes: what a leader has written, what a replica has received or
  /// replayed. 0 where it does not say.
  std::int64_t position = 0;
  bool streaming = false; ///< it says that it receives what its leader writes at once
  /// What its key says of its addresses that is not so, for an operator; empty if it says none.
  std::string doubt = {};
  /// How the broker logs in there: `conn_url` with what libpq has to check of the server. Empty where
  /// `conn_url` is.
  std::string login_url = {};
  /// It leads a cluster that follows another one: it takes no writes.
  bool leads_standbys = false;
  /// It leads a cluster that stands for itself, and takes writes.
  bool takes_writes = false;
  [[nodiscard]] bool running() const { return state == "running"; }
  [[nodiscard]] bool starting() const { return state == "starting"; }
  [[nodiscard]] bool copying() const { return state == "creating replica"; }
  /// Its database does not run, though it can be asked: it crashed, or it did not start.
  [[nodiscard]] bool ended() const {
    return state == "start failed" || state == "crashed" || state.starts_with("restart failed");
  }
  bool operator==(const member&) const = default;
};

/// What is seen of a cluster from outside, as opposed to what is recorded of it.
struct cluster_view {
  shared_map<std::string, member> members; ///< by node id
  std::string leader;                      ///< the node id in the scope's `leader` key, or empty
  /// The node ids in the scope's `sync` key: only these may take over from a synchronous leader.
  rare_set<std::string> synchronous;
  /// What judge_health() found: nodes that run and do not replicate, with what there is to say to
  /// an operator. They are not well, and count nowhere.
  rare_map<std::string, std::string> standing = {};
  bool operator==(const cluster_view&) const = default;

  [[nodiscard]] bool running(const std::string& node_id) const {
    auto found = members.find(node_id);
    return found != members.end() && found->second.running();
  }
  /// Whether it runs and, if it is a replica, replicates: judge_health() has the rule.
  [[nodiscard]] bool well(const std::string& node_id) const {
    return running(node_id) && !standing.contains(node_id);
  }
  [[nodiscard]] bool leads(const std::string& node_id) const {
    return !leader.empty() && leader == node_id;
  }
};

/// A plan's settings with which a cell's nodes do not start, as the cell says.
struct plan_fault {
  std::string plan_id;
  std::string settings;           ///< their digest: an instance may have others by this plan's name
  std::vector<std::string> words; ///< which parameter, what was wrong, what is allowed
  bool operator==(const plan_fault&) const = default;
};

/// A cell as the broker sees it.
struct cell_view {
  std::string guid;
  std::string availability_zone;
  std::string uri;
  std::string username;
  bool reachable = false;
  bool lost = false; ///< its nodes are being replaced
  int nodes = 0;     ///< recorded on it, reservations included
  int capacity = 0;  ///< 0 where the cell does not say
  std::string fencing = "unknown";
  bool control_tls = false; ///< its agent can have nodes be asked by TLS
  bool halts = false;       ///< its agent can stop a node and say how far its data is
  std::string last_error;
  std::string tls = "unknown";     ///< how far the way to it can be trusted, in words
  bool lacks_certificate = false;  ///< so that nothing can be sent there yet
  std::string engine_version = {}; ///< empty if the cell does not say
  std::vector<plan_fault> plan_faults = {};
  /// What it can enforce of a plan's limits, and how, in words; empty if the cell does not say.
  std::string limits = {};
  std::int64_t memory = 0; ///< bytes of its machine; 0 where the cell does not say
  std::int64_t disk = 0;   ///< bytes of what its nodes' data is on
  int full_nodes = 0;      ///< whose disks are so full that their databases only read
  bool operator==(const cell_view&) const = default;

  /// What keeps its nodes from starting with settings of that digest, or nullptr.
  [[nodiscard]] const plan_fault* fault_of(const std::string& settings) const {
    for (const auto& one : plan_faults)
      if (one.settings == settings)
        return &one;
    return nullptr;
  }
};

/// Why a node of these limits has no room on a cell, however few others are there: the end of a sentence
/// that begins with the cell. Empty if it has, or if the cell does not say what it has.
[[nodiscard]] std::string why_too_small(const node_limits& limits, const cell_view& cell);

/// All cells at one moment, by their guids, never changed once published.
using cell_table = std::shared_ptr<const std::vector<cell_view>>;

/// The cell of that guid; nullptr if there is none.
[[nodiscard]] inline const cell_view* find_cell(const std::vector<cell_view>& by_guid,
                                                const std::string& guid) {
  auto found = std::ranges::lower_bound(by_guid, guid, {}, &cell_view::guid);
  return found != by_guid.end() && found->guid == guid ? &*found : nullptr;
}

/// What an instance's actor publishes at each change; every read of the API is answered from it.
struct instance_snapshot {
  record known;
  cluster_view seen;
  shared_map<std::string, binding> bindings; ///< by binding id
  /// Bindings that are in etcd and cannot be read, by the names of their keys.
  rare_set<std::string> unreadable_bindings = {};
  /// Why no roles could be made as they shall be, as last heard; empty if they could.
  std::string roles_wait_for = {};
  /// By binding id, what keeps one binding from being made, or from being gone.
  rare_map<std::string, std::string> binding_troubles = {};
  /// last_operation's description while the operation is in progress.
  std::string progress;
  /// What is being repaired, or why it is not; for the operator. Empty if nothing has to be.
  std::string repair;
  /// What a rebuild waits for; for the operator. Empty if none is under way.
  std::string rebuilding = {};
  /// What is seen of clusters beside the one that serves, by their scopes.
  rare_map<std::string, cluster_view> seen_beside = {};
  /// Which routers do not serve it yet although something waits for that; for the operator.
  std::string route_waits_for = {};
};

using snapshot_ptr = std::shared_ptr<const instance_snapshot>;

} // namespace matriarch::model
