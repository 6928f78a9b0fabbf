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
  std::string api_url;       ///< the control API's URL; empty: do not connect
  std::string conn_url;      ///< the URL for clients; empty: do not connect
  std::int64_t timeline = 0; ///< grows with each promotion
  /// The position in the write-ahead log, in bytes: what a leader has written, what a replica has
  /// received or replayed. 0 if the node does not report it.
  std::int64_t position = 0;
  bool streaming = false; ///< the node reports that it streams from its leader
  /// Which addresses in the member key are wrong, for an operator; empty if none are.
  std::string doubt = {};
  /// `conn_url` with what libpq has to check of the server, for the broker's logins. Empty if
  /// `conn_url` is.
  std::string login_url = {};
  /// The node leads a cluster that follows another one, and takes no writes.
  bool leads_standbys = false;
  /// It leads a cluster that stands for itself, and takes writes.
  bool takes_writes = false;
  [[nodiscard]] bool running() const { return state == "running"; }
  [[nodiscard]] bool starting() const { return state == "starting"; }
  [[nodiscard]] bool copying() const { return state == "creating replica"; }
  /// The database crashed or did not start, but the node's control API may still answer.
  [[nodiscard]] bool ended() const {
    return state == "start failed" || state == "crashed" || state.starts_with("restart failed");
  }
  bool operator==(const member&) const = default;
};

/// What is observed of a cluster, as opposed to its record.
struct cluster_view {
  shared_map<std::string, member> members; ///< by node id
  std::string leader;                      ///< the node id in the scope's `leader` key, or empty
  /// The node ids in the scope's `sync` key: only these may take over from a synchronous leader.
  rare_set<std::string> synchronous;
  /// Replicas that run but do not replicate, as judge_health() found, with the text for an
  /// operator. These count as unwell.
  rare_map<std::string, std::string> standing = {};
  bool operator==(const cluster_view&) const = default;

  [[nodiscard]] bool running(const std::string& node_id) const {
    auto found = members.find(node_id);
    return found != members.end() && found->second.running();
  }
  /// Whether the node runs and, if it is a replica, replicates; see judge_health().
  [[nodiscard]] bool well(const std::string& node_id) const {
    return running(node_id) && !standing.contains(node_id);
  }
  [[nodiscard]] bool leads(const std::string& node_id) const {
    return !leader.empty() && leader == node_id;
  }
};

/// A plan's settings with which a cell's nodes do not start, as the cell reports.
struct plan_fault {
  std::string plan_id;
  /// Their digest: an instance may have other settings under this plan's name.
  std::string settings;
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
  int nodes = 0;     ///< recorded on the cell, reservations included
  int capacity = 0;  ///< 0 if the cell does not report it
  std::string fencing = "unknown";
  bool control_tls = false; ///< its agent can have nodes be asked by TLS
  bool told = false;        ///< it has told what it can, capacity and fencing among it
  bool halts = false;       ///< its agent can stop a node and say how far its data is
  std::string last_error;
  std::string tls = "unknown"; ///< how far the connection can be trusted, in words
  /// The cell has no certificate yet, so that nothing can be sent to it.
  bool lacks_certificate = false;
  std::string engine_version = {}; ///< empty if the cell does not report it
  std::vector<plan_fault> plan_faults = {};
  /// Which of a plan's limits the cell can enforce, and how; empty if the cell does not report it.
  std::string limits = {};
  std::int64_t memory = 0; ///< bytes of the cell's machine; 0 if the cell does not report it
  std::int64_t disk = 0;   ///< bytes of the file system with the nodes' data; likewise
  int full_nodes = 0;      ///< nodes that are read-only because their disk is nearly full
  bool operator==(const cell_view&) const = default;

  /// The fault that keeps nodes from starting with settings of that digest, or nullptr.
  [[nodiscard]] const plan_fault* fault_of(const std::string& settings) const {
    for (const auto& one : plan_faults)
      if (one.settings == settings)
        return &one;
    return nullptr;
  }
};

/// Why a node of these limits does not fit on a cell even if the cell were empty, as the end of a
/// sentence that begins with the cell. Empty if the node fits, or the cell does not report its
/// size.
[[nodiscard]] std::string why_too_small(const node_limits& limits, const cell_view& cell);

/// All cells at one moment, sorted by guid; never changed once published.
using cell_table = std::shared_ptr<const std::vector<cell_view>>;

/// The cell of that guid; nullptr if there is none.
[[nodiscard]] inline const cell_view* find_cell(const std::vector<cell_view>& by_guid,
                                                const std::string& guid) {
  auto found = std::ranges::lower_bound(by_guid, guid, {}, &cell_view::guid);
  return found != by_guid.end() && found->guid == guid ? &*found : nullptr;
}

/// Published by an instance's actor at each change. Every read of the API is answered from this.
struct instance_snapshot {
  record known;
  cluster_view seen;
  shared_map<std::string, binding> bindings; ///< by binding id
  /// Bindings whose records in etcd cannot be read, by the names of their keys.
  rare_set<std::string> unreadable_bindings = {};
  /// Why the instance's roles could not be made; empty if they could.
  std::string roles_wait_for = {};
  /// By binding id: why a binding cannot be made or removed yet.
  rare_map<std::string, std::string> binding_troubles = {};
  /// last_operation's description while the operation is in progress.
  std::string progress;
  /// For the operator: what is being repaired, or why it is not. Empty if nothing needs repair.
  std::string repair;
  /// For the operator: what a rebuild waits for. Empty if none is in progress.
  std::string rebuilding = {};
  /// What is observed of the clusters beside the one that serves, by scope.
  rare_map<std::string, cluster_view> seen_beside = {};
  /// For the operator: which routers do not serve this instance yet, while an operation waits for
  /// them.
  std::string route_waits_for = {};
};

using snapshot_ptr = std::shared_ptr<const instance_snapshot>;

} // namespace matriarch::model
