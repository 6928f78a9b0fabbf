#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/rare.hpp"
#include "model/settings.hpp"
#include "model/shared_text.hpp"

/// A cluster: nodes of one engine that find each other under one scope. An instance has one
/// cluster, and a second one while it is being rebuilt.
namespace matriarch::model {

/// Wall time, always passed in.
using wall_time = std::chrono::sys_time<std::chrono::milliseconds>;
using duration = std::chrono::milliseconds;

struct credentials {
  std::string username;
  std::string password;
  bool operator==(const credentials&) const = default;
};

/// The database that a new cluster gets; the application user owns it.
inline constexpr const char* application_database = "db";
/// In bytes; the broker's own node ids have 36.
inline constexpr std::size_t longest_node_name = 128;

/// Where a node listens, each as `host:port`; empty: not known.
struct node_addresses {
  std::string database; ///< where clients connect
  std::string control;  ///< where the node's control API listens
  /// Whether both show a certificate of the fleet's authority that names the node.
  bool certified = false;
  bool control_certified = false;
  bool operator==(const node_addresses&) const = default;
};

/// The phase of a node. The broker asks a cell to start a node only after `placed` is in etcd. A
/// node leaves the record only after its removal is certain.
enum class node_phase {
  placed,   ///< recorded; the cell is being asked to start it
  started,  ///< the cell has confirmed the start
  removing, ///< the cell is being asked to remove it
};

struct node {
  std::string node_id;
  std::string cell; ///< the guid of the cell it is on; `backend_id` in the seeds' JSON
  shared_text service_id;
  shared_text plan_id;
  /// `cluster_settings::node_type` at the time when the node was placed.
  shared_text node_type = {};
  node_phase phase = node_phase::placed;
  /// Until when a request to start the node may still reach the cell; not set once the outcome is
  /// known. The node stays in the record until then: a late start would leave a node without a
  /// record.
  std::optional<wall_time> start_may_arrive_until;
  /// Why repair replaces it: its cell is lost, or it stays unhealthy. Empty for all others.
  std::string failing = {};
  /// The cells that were asked for when a repair found none of them free. The node stays where it
  /// is for as long as the same cells are asked for.
  std::vector<std::string> instead_of = {};
  /// An operator has said that the node's cell never comes back: its removal needs no confirmation.
  bool forgotten = false;
  /// The node's removal began before the operation in progress. The operation does not wait for it.
  bool left_over = false;
  /// The node was asked to stop, for a switch to another cluster, and is not known to run again.
  bool halted = false;
  /// A replica that may lack a new or a revoked role: it gets no new connections.
  bool held_back = false;
  /// Where clients connect to the node, `host:port`, as its cell reports. Broker and routers
  /// connect nowhere else. Empty: the cell has not reported yet. Not set: the node was placed
  /// before addresses were kept, and its member key is used until the cell reports.
  std::optional<std::string> address = {};
  std::string control_address = {}; ///< the control API's, as the cell reports
  /// Whether the cell reports certificates for both, see node_addresses. Once true, connections
  /// without a certificate are refused.
  bool certified = false;
  bool control_certified = false;
  /// `cluster_settings::limits` at the time when the node was placed.
  rare_value<node_limits> limits = {};
  /// Whether it is to stop, or to run again after that. It does not matter of a node that is removed.
  [[nodiscard]] bool is_kept_stopped() const { return halted && phase != node_phase::removing; }
  bool operator==(const node&) const = default;
};

/// The names of a cluster's secrets.
namespace secret_name {
inline constexpr std::string_view admin = "admin";
inline constexpr std::string_view superuser = "superuser";
inline constexpr std::string_view application =
    "application"; ///< of the owner of the application database
inline constexpr std::string_view replication = "replication";
inline constexpr std::string_view control = "control"; ///< of the nodes' control API
/// The etcd user that may write the scope's keys; absent if etcd asks for no users.
inline constexpr std::string_view etcd = "etcd";
} // namespace secret_name

/// The login of one of a cluster's users.
struct secret {
  shared_text name;
  shared_text username;
  std::string password;
  /// The next login, while the login is being changed.
  rare_value<credentials> next = {};
  bool operator==(const secret&) const = default;
};

struct cluster {
  /// The engine's name; empty in records from before there were several engines: the first engine.
  shared_text engine;
  /// The name that the nodes share in etcd and among themselves. The scope of an instance's first
  /// cluster is the instance's name, and of each later one `<name>~<n>`: do not use the scope as
  /// the name.
  std::string scope;
  std::vector<node> nodes;
  /// The settings that all nodes have taken up.
  cluster_settings in_force;
  /// The settings that the nodes are taking up; not set if no change is in progress.
  rare_value<cluster_settings> taking_up;
  /// The node that becomes the leader by the switchover in progress; empty if there is none.
  std::string switching_to;
  /// Whether the cluster has ever had a leader: from then on there is data to lose.
  bool had_leader = false;
  /// Where the leader of another cluster listens, `host:port`, that this cluster follows: its own leader
  /// streams from there, and takes no writes. Empty in a cluster that stands for itself.
  std::string follows = {};
  /// The scope of the cluster that follows this one: the leader keeps what that one has not received
  /// yet. Empty if there is none.
  std::string retains_for = {};
  std::vector<secret> secrets; ///< by name; see secret_of() and set_secret()

  /// The present login; without a username if there is no such secret.
  [[nodiscard]] credentials secret_of(std::string_view name) const {
    auto found = std::ranges::lower_bound(secrets, name, {}, name_of_secret);
    if (found == secrets.end() || found->name != name)
      return {};
    return {found->username, found->password};
  }
  void set_secret(std::string_view name, const credentials& now) {
    auto found = std::ranges::lower_bound(secrets, name, {}, name_of_secret);
    if (found == secrets.end() || found->name != name)
      found = secrets.insert(found, secret{std::string{name}, {}, {}});
    found->username = now.username;
    found->password = now.password;
  }

  [[nodiscard]] const node* find_node(const std::string& node_id) const {
    for (const auto& n : nodes)
      if (n.node_id == node_id)
        return &n;
    return nullptr;
  }
  [[nodiscard]] node* find_node(const std::string& node_id) {
    return const_cast<node*>(static_cast<const cluster*>(this)->find_node(node_id));
  }
  bool operator==(const cluster&) const = default;

private:
  static std::string_view name_of_secret(const secret& one) { return one.name.text(); }
};

} // namespace matriarch::model
