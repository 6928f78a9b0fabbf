#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "router/endpoint.hpp"
#include "router/engine_check.hpp"

namespace matriarch::router {

/// A member of a cluster, as it has announced itself.
struct routed_member {
  std::string name;
  endpoint database; ///< where clients connect
  endpoint control;  ///< where it is asked whether it leads
  bool control_has_tls = false;
  /// The cell has said that it shows a certificate of the fleet's authority for this node.
  bool is_certified = false;
  /// It may not know yet whose login was refused last: no reader is led there.
  bool held_back = false;
  bool operator==(const routed_member&) const = default;
};

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
/// the check decides anyway.
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
  struct record {
    std::string scope;
    bool accepted = false;
    const engine_check* engine = nullptr; ///< always there if it is accepted
    /// Where the record says that a node is; what it does not say is empty. Without a value the
    /// record is from before it said so, and the node is where its member key says.
    struct place {
      std::string database;
      std::string control;
      bool is_certified = false;
      bool operator==(const place&) const = default;
    };
    std::map<std::string, std::optional<place>> nodes;
    std::set<std::string> held_back;    ///< of these
    std::optional<int> max_connections; ///< of the settings in force, if they say
    bool operator==(const record&) const = default;
  };
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

  [[nodiscard]] static int max_connections_of(const record& known, const cluster* of);
  [[nodiscard]] record record_of(std::string_view name, std::string_view text) const;
  static std::optional<routed_member> member_of(std::string_view name, std::string_view text);
  /// The member as it is routed to; nothing if it is not.
  static std::optional<routed_member> vetted(const std::optional<routed_member>& announced,
                                             const std::optional<record::place>& recorded);
  bool put_member(const std::string& scope, const std::string& name, std::string_view value);
  bool note_router(const std::string& key, std::string_view value);
  [[nodiscard]] bool is_listed(const std::string& scope, const std::string& node) const;
  [[nodiscard]] bool is_known(const std::string& scope, const std::string& node) const;
  /// Forgets of the members that no record lists those without a key, and those that are too many;
  /// and a scope that no record has any more, with its leader, once it has no members.
  void forget(const std::string& scope);
  /// Notes which members have to be read again that this record lists.
  void note_unread(const record& known);
  /// The instance's record has another scope than before, or is gone.
  void leave_scope(const std::string& scope, const std::string& instance);
  void touch(const std::string& instance) { touched_.insert(instance); }
  void touch_scope(const std::string& scope);

  /// An instance that wants a port. Of several the first has it: no first port is given up for a
  /// second one.
  struct claim {
    bool is_second = false; ///< it is the read-only port
    std::string instance;
    auto operator<=>(const claim&) const = default;
  };
  /// What an instance would be served as if it had the ports that it wants.
  struct candidate {
    std::optional<route> wanted; ///< its ports are 0; without members if it only has a node nowhere
    std::string unplaced;        ///< such a node, if there is one
  };
  [[nodiscard]] candidate candidate_of(const std::string& instance) const;
  [[nodiscard]] bool holds(std::uint16_t port, const claim& one) const;
  /// Makes `port` what is claimed; 0 is none. `concerned` gets all others who want it, or what was
  /// claimed before.
  void make_claim(const claim& one, std::uint16_t port, std::set<std::string>& concerned);
  [[nodiscard]] served_instance judged(const std::string& instance, candidate from) const;
  /// Brings up to date what comes of the keys that have changed.
  void judge_touched();

  const engine_checks* engines_;
  allocations allocations_;
  allocations read_only_allocations_;
  std::map<std::string, record, std::less<>> records_;        ///< by instance
  std::map<std::string, cluster, std::less<>> clusters_;      ///< by scope
  std::map<std::string, std::set<std::string>> instances_of_; ///< whose record has that scope
  std::set<std::string> crowded_; ///< scopes some of whose members were not kept
  std::set<std::string> unread_;  ///< keys
  // What comes of all that.
  std::map<std::string, served_instance> instances_;
  std::map<std::uint16_t, std::set<claim>> claims_; ///< by port
  std::map<claim, std::uint16_t> claimed_;
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
