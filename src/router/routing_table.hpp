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

/// One instance's public ports and the members one of which leads.
struct route {
  std::string instance; ///< the name of the instance in keys
  std::string scope;
  std::uint16_t port = 0;
  std::vector<routed_member> members; ///< at least one, sorted by name
  std::uint16_t read_only_port = 0;   ///< leads to the replicas; 0 if there is none
  const engine_check* engine = nullptr;
  /// What each member takes for certain, also while that is changed.
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

/// What one instance comes to: its route, and what of it cannot be served.
struct served_instance {
  std::optional<route> served;
  std::vector<left_out> unserved;
  /// Its record must not be read: these ports lead where they did, whatever it says.
  std::vector<std::uint16_t> stay;
  bool operator==(const served_instance&) const = default;
};

/// Everything that shall be served, and what cannot be, both sorted by instance.
struct routes {
  std::vector<route> served;
  std::vector<left_out> unserved;
  bool operator==(const routes&) const = default;
};

/// The leader of a scope is another one than before. `before` is empty if none was known.
struct leader_change {
  std::string scope;
  std::string before;
  std::string now;
  bool operator==(const leader_change&) const = default;
};

/// Which instance is reached at which port, from the keys in etcd.
///
/// An instance is served if it has an allocation, an accepted record that says it is to exist, and at least
/// one member. A member is a node of the record, and where the record says: its own key, which whoever has the
/// node can write, is not followed. One whose key has vanished stays for as long as the record
/// lists its node: leases end while databases run on (after a freeze of etcd all of them at once), and
/// the check decides anyway. A record that a later release has written for later readers alone may mean
/// anything: its instance's ports stay as they were last.
class routing_table {
public:
  explicit routing_table(const engine_checks& engines) : engines_(&engines) {}

  /// A key was written or erased. True if what is served may have changed.
  bool put(std::string_view key, std::string_view value);
  bool erase(std::string_view key);

  /// All keys, one after the other, between a beginning and an end: those that were known and are not
  /// among them are erased at the end, which is true if what is served may have changed. A beginning
  /// without an end before it begins anew.
  void begin_listing();
  void list(const std::string& key, std::string_view value);
  bool end_listing();

  /// Keys of members that a record lists, and that were not kept when they came, for until then no
  /// record did and their scope has more such members than are kept. They have to be read again.
  [[nodiscard]] const std::set<std::string>& unread() const { return unread_; }
  /// What one of these has in etcd, or nothing. It says nothing if the key was written or erased
  /// meanwhile. True if what is served may have changed.
  bool put_read(const std::string& key, std::optional<std::string_view> value);

  /// The instances of which the route, or what is left out, has changed since the last call. A key
  /// that changes costs what its instance costs, and those that want the same ports.
  [[nodiscard]] std::set<std::string> take_changes();

  /// What an instance comes to, as of the last call of take_changes() or current().
  [[nodiscard]] const served_instance& of(const std::string& instance) const;
  /// The same of all those that come to anything.
  [[nodiscard]] const std::map<std::string, served_instance>& instances() const {
    return instances_;
  }
  /// And as two lists, of what is current.
  [[nodiscard]] routes current();

  /// The instances whose records have that scope.
  [[nodiscard]] const std::set<std::string>& instances_of(const std::string& scope) const;

  /// The changes of leaders since the last call. A leader's key that vanishes is no change: only
  /// another leader is.
  [[nodiscard]] std::vector<leader_change> take_leader_changes();

  /// Whether anything has been put or erased since the last call of which people shall hear soon
  /// that it is served: what the broker waits for.
  [[nodiscard]] bool take_news() { return std::exchange(news_, false); }

  /// The certificates of the fleet's authority as etcd tells them; empty if it never did. A key that
  /// vanishes changes nothing: what was checked once is checked from then on.
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
    std::optional<routed_member> member; ///< nothing if it cannot be read
    bool has_key = true;
    std::string state; ///< its own word, such as running
    bool operator==(const announced_member&) const = default;
  };
  struct cluster {
    std::map<std::string, announced_member> members;
    std::string leader;
    std::optional<int> max_connections; ///< of its configuration in etcd, if there is any
  };

  using allocations = std::map<std::string, std::string, std::less<>>; ///< ports by instance

  bool put_member(const std::string& scope, const std::string& name, std::string_view value);
  bool note_router(const std::string& key, std::string_view value);
  [[nodiscard]] bool is_listed(const std::string& scope, const std::string& node) const;
  [[nodiscard]] bool is_known(const std::string& scope, const std::string& node) const;
  /// Forgets of the members that no record lists those without a key, and those that are too many;
  /// and a scope that no record has any more, with its leader, once it has no members.
  void forget(const std::string& scope);
  /// Notes which members have to be read again that this record lists.
  void note_unread(const routed_record& known);
  /// The instance's record has another scope than before, or is gone.
  void leave_scope(const std::string& scope, const std::string& instance);
  bool put_record(const std::string& instance, routed_record now);
  void touch(const std::string& instance) { touched_.insert(instance); }
  void touch_scope(const std::string& scope);

  /// What an instance would be served as if it had the ports that it wants.
  struct candidate {
    std::optional<route> wanted; ///< its ports are 0; without members if it only has a node nowhere
    std::string unplaced;        ///< such a node, if there is one
  };
  [[nodiscard]] candidate candidate_of(const std::string& instance) const;
  [[nodiscard]] served_instance judged(const std::string& instance, candidate from) const;
  /// Brings up to date what comes of the keys that have changed.
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
  // What comes of all that.
  std::map<std::string, served_instance> instances_;
  port_claims claims_;
  std::set<std::string> touched_; ///< instances of which that is not up to date
  std::set<std::string> changed_; ///< and those of which it has changed since it was taken
  // Of the listing that is under way.
  std::set<std::string> listed_;    ///< keys
  bool changed_by_listing_ = false; ///< since the last end of one
  std::vector<leader_change> leader_changes_;
  std::map<std::string, std::int64_t, std::less<>> routers_; ///< by key, up to where they serve
  std::string authority_;
  bool news_ = false;
};

} // namespace matriarch::router
