#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "router/engine_check.hpp"
#include "router/port_claims.hpp"
#include "router/routing_values.hpp"

namespace matriarch::router {

/// One instance's public ports and its members, one of which leads.
struct route {
  std::string instance; ///< the name of the instance in keys
  std::string scope;
  std::uint16_t port = 0;
  std::vector<routed_member> members; ///< at least one, sorted by name
  std::uint16_t read_only_port = 0;   ///< leads to the replicas; 0 if there is none
  const engine_check* engine = nullptr;
  /// The number of connections that each member certainly takes, even during a change of the
  /// setting.
  int max_connections = 0;
  bool operator==(const route&) const = default;
};

/// An instance that is not served, and why.
struct left_out {
  int port = 0;
  std::string instance;
  std::string reason;
  auto operator<=>(const left_out&) const = default;
};

/// The result for one instance: its route, and what of it cannot be served.
struct served_instance {
  std::optional<route> served;
  std::vector<left_out> unserved;
  /// Ports that keep leading where they did, because this release must not read the instance's
  /// record.
  std::vector<std::uint16_t> stay;
  bool operator==(const served_instance&) const = default;
};

/// Everything that should be served, and what cannot be, both sorted by instance.
struct routes {
  std::vector<route> served;
  std::vector<left_out> unserved;
  bool operator==(const routes&) const = default;
};

/// A scope's leader has changed. `before` is empty if none was known.
struct leader_change {
  std::string scope;
  std::string before;
  std::string now;
  bool operator==(const leader_change&) const = default;
};

/// Which instance is reached at which port, from the keys in etcd.
///
/// An instance is served if it has an allocation, an accepted record that says the instance is to
/// exist, and at least one member. A member is a node of the record, at the address in the record.
/// The member's own key is not followed, for whoever controls the node can write it. A member whose
/// key has vanished stays as long as the record lists its node: leases end while databases run on
/// (after a freeze of etcd all of them at once), and HAProxy's check decides anyway. A record of a
/// later release that this release must not read may mean anything: the ports of its instance stay
/// as they were.
class routing_table {
public:
  explicit routing_table(const engine_checks& engines) : engines_(&engines) {}

  /// A key was written or erased. True if what is served may have changed.
  bool put(std::string_view key, std::string_view value);
  bool erase(std::string_view key);

  /// Feeds all keys, one after the other, between a beginning and an end. The end erases the known
  /// keys that were not listed, and returns true if what is served may have changed. A beginning
  /// without an end before it starts over.
  void begin_listing();
  void list(const std::string& key, std::string_view value);
  bool end_listing();

  /// Keys of members that a record lists but that were dropped when they came, for at that time no
  /// record listed them and their scope had too many such members. They have to be read again.
  [[nodiscard]] const std::set<std::string>& unread() const { return unread_; }
  /// The value of one of these keys in etcd, or nothing. Has no effect if the key was written or
  /// erased since. True if what is served may have changed.
  bool put_read(const std::string& key, std::optional<std::string_view> value);

  /// The instances whose route, or whose reason for being left out, has changed since the last
  /// call. A changed key costs only the work for its instance and for those that want the same
  /// ports.
  [[nodiscard]] std::set<std::string> take_changes();

  /// The result for an instance, as of the last call of take_changes() or current().
  [[nodiscard]] const served_instance& of(const std::string& instance) const;
  /// The results for all instances that have one.
  [[nodiscard]] const std::map<std::string, served_instance>& instances() const {
    return instances_;
  }
  /// The same as two lists, after taking up all changes.
  [[nodiscard]] routes current();

  /// The instances whose records have that scope.
  [[nodiscard]] const std::set<std::string>& instances_of(const std::string& scope) const;

  /// The changes of leaders since the last call. A leader key that vanishes is no change: only
  /// another leader is.
  [[nodiscard]] std::vector<leader_change> take_leader_changes();

  /// Whether anything that the broker waits for has been put or erased since the last call, so that
  /// the router should soon report that it serves it.
  [[nodiscard]] bool take_news() { return std::exchange(news_, false); }

  /// The certificates of the fleet's authority from etcd; empty if etcd never had any. If the key
  /// vanishes nothing changes: a member that was checked once is always checked.
  [[nodiscard]] const std::string& authority() const { return authority_; }

  /// How many routers have a key.
  [[nodiscard]] int routers() const { return static_cast<int>(routers_.size()); }
  /// Whether the router of this id has one.
  [[nodiscard]] bool has_router(std::string_view id) const;
  /// Whether all routers but that one say that they serve what was written up to that revision.
  [[nodiscard]] bool others_serve(std::string_view id, std::int64_t at) const;

  /// The last known leader of a scope; empty if none is known.
  [[nodiscard]] std::string leader(const std::string& scope) const;

private:
  struct announced_member {
    std::optional<routed_member> member; ///< nothing if its key cannot be read
    bool has_key = true;
    std::string state; ///< as the member's key says, such as running
    bool operator==(const announced_member&) const = default;
  };
  struct cluster {
    std::map<std::string, announced_member> members;
    std::string leader;
    std::optional<int> max_connections; ///< from its configuration in etcd, if that has any
  };

  using allocations = std::map<std::string, std::string, std::less<>>; ///< ports by instance

  bool put_member(const std::string& scope, const std::string& name, std::string_view value);
  bool note_router(const std::string& key, std::string_view value);
  [[nodiscard]] bool is_listed(const std::string& scope, const std::string& node) const;
  [[nodiscard]] bool is_known(const std::string& scope, const std::string& node) const;
  /// Forgets the scope's members that no record lists, if they have no key or are too many; and the
  /// scope itself, with its leader, if no record has it and it has no members.
  void forget(const std::string& scope);
  /// Notes which members that this record lists have to be read again.
  void note_unread(const routed_record& known);
  /// The instance's record has another scope than before, or is gone.
  void leave_scope(const std::string& scope, const std::string& instance);
  bool put_record(const std::string& instance, routed_record now);
  void touch(const std::string& instance) { touched_.insert(instance); }
  void touch_scope(const std::string& scope);

  /// What an instance would be served as if it got the ports that it wants.
  struct candidate {
    std::optional<route> wanted; ///< with port 0; no members if its only node has no address
    std::string unplaced;        ///< the node without an address, if there is one
  };
  [[nodiscard]] candidate candidate_of(const std::string& instance) const;
  [[nodiscard]] served_instance judged(const std::string& instance, candidate from) const;
  /// Recomputes the results for the instances whose keys have changed.
  void judge_touched();

  const engine_checks* engines_;
  allocations allocations_;
  allocations read_only_allocations_;
  std::map<std::string, routed_record, std::less<>> records_; ///< by instance
  std::map<std::string, std::string> ahead_; ///< why a record must not be read, by instance
  std::map<std::string, cluster, std::less<>> clusters_;      ///< by scope
  std::map<std::string, std::set<std::string>> instances_of_; ///< whose record has that scope
  std::set<std::string> crowded_; ///< scopes some of whose members were not kept
  std::set<std::string> unread_;  ///< keys
  // The results.
  std::map<std::string, served_instance> instances_;
  port_claims claims_;
  std::set<std::string> touched_; ///< instances whose result is out of date
  std::set<std::string> changed_; ///< instances whose result changed since take_changes()
  // The listing that is under way.
  std::set<std::string> listed_;    ///< keys
  bool changed_by_listing_ = false; ///< since the last end of a listing
  std::vector<leader_change> leader_changes_;
  std::map<std::string, std::int64_t, std::less<>> routers_; ///< by key: served up to here
  std::string authority_;
  bool news_ = false;
};

} // namespace matriarch::router
