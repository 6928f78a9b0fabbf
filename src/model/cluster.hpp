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

/// A cluster: nodes of one engine that share a scope, under which they find each other. An instance is
/// made of one; while it is rebuilt there is another one beside it.
namespace matriarch::model {

/// Wall time, always passed in.
using wall_time = std::chrono::sys_time<std::chrono::milliseconds>;
using duration = std::chrono::milliseconds;

struct credentials {
  std::string username;
  std::string password;
  bool operator==(const credentials&) const = default;
};

/// The database of a new cluster, which its application user owns.
inline constexpr const char* application_database = "db";
/// In bytes; ours have 36.
inline constexpr std::size_t longest_node_name = 128;

/// Where a node listens, each `host:port`; empty: not known.
struct node_addresses {
  std::string database; ///< where clients connect
  std::string control;  ///< where it is asked and told
  /// Whether both show a certificate of the fleet's authority that names the node.
  bool certified = false;
  bool control_certified = false;
  bool operator==(const node_addresses&) const = default;
};

/// Where a node stands in its life. The cell hears of a node only after `placed` is in etcd, and a
/// node leaves the record only after its removal is certain.
enum class node_phase {
  placed,   ///< written down; the cell is being asked to start it
  started,  ///< the cell has confirmed it
  removing, ///< the cell is being asked to remove it
};

struct node {
  std::string node_id;
  std::string cell; ///< the guid of the cell it is on; `backend_id` in the seeds' JSON
  shared_text service_id;
  shared_text plan_id;
  /// `cluster_settings::node_type` when it was placed.
  shared_text node_type = {};
  node_phase phase = node_phase::placed;
  /// Until when a request to start it may still reach the cell; not set once its outcome is known.
  /// A node is not forgotten before: a late start would run on unrecorded.
  std::optional<wall_time> start_may_arrive_until;
  /// Why repair replaces it: its cell is lost, or it stays unhealthy. Empty for all others.
  std::string failing = {};
  /// The cells it should be on, if a repair found none of them free. It stays where it is for as
  /// long as these are the cells that are asked for.
  std::vector<std::string> instead_of = {};
  /// An operator has said that its cell never comes back: its removal needs no confirmation.
  bool forgotten = false;
  /// Its removal began before the operation in progress, which does not wait for it.
  bool left_over = false;
  /// It has been asked to stop, for a switch to another cluster, and is not known to run again.
  bool halted = false;
  /// It is a replica that may not know yet who was revoked: it gets no new connections.
  bool held_back = false;
  /// Where its cell says that clients connect, `host:port`: broker and routers connect nowhere
  /// else. Empty: the cell has not said it yet. Not set: placed before that was kept, and followed
  /// wherever its member key leads until the cell has said it.
  std::optional<std::string> address = {};
  std::string control_address = {}; ///< where it is asked and told
  /// What its cell has said of both: see node_addresses. From then on neither is connected to without.
  bool certified = false;
  bool control_certified = false;
  /// `cluster_settings::limits` when it was placed.
  rare_value<node_limits> limits = {};
  bool operator==(const node&) const = default;
};

/// The names of a cluster's secrets.
namespace secret_name {
inline constexpr std::string_view admin = "admin";
inline constexpr std::string_view superuser = "superuser";
inline constexpr std::string_view application =
    "application"; ///< who owns the application database
inline constexpr std::string_view replication = "replication";
inline constexpr std::string_view control = "control"; ///< of whoever tells nodes what to do
/// The user of etcd that may write the scope's keys; there is none where etcd asks for no users.
inline constexpr std::string_view etcd = "etcd";
} // namespace secret_name

/// What one of a cluster's users logs in with.
struct secret {
  shared_text name;
  shared_text username;
  std::string password;
  /// What it is to log in with next, while that is being changed.
  rare_value<credentials> next = {};
  bool operator==(const secret&) const = default;
};

struct cluster {
  /// What kind of database it is; empty: the one that there was before this was written down.
  shared_text engine;
  /// What its nodes call themselves together, in etcd and towards each other. The first one of an
  /// instance is its name, each later one `<name>~<n>`: nothing may take it for the name.
  std::string scope;
  std::vector<node> nodes;
  /// The settings that all nodes are known to have taken up.
  cluster_settings in_force;
  /// The settings that they are taking up; not set while nothing is changing.
  rare_value<cluster_settings> taking_up;
  /// The node that shall lead, while a switchover is under way.
  std::string switching_to;
  /// True once a leader has run: from then on there is data to lose.
  bool had_leader = false;
  /// Where the leader of another cluster listens, `host:port`, that this cluster follows: its own leader
  /// streams from there, and takes no writes. Empty in a cluster that stands for itself.
  std::string follows = {};
  /// The scope of the cluster that follows this one: the leader keeps what that one has not received
  /// yet. Empty if there is none.
  std::string retains_for = {};
  std::vector<secret> secrets; ///< by name; see secret_of() and set_secret()

  /// What to log in with now; without a username if there is no such secret.
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
