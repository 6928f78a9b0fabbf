#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/event_loop.hpp"
#include "base/json.hpp"
#include "base/result.hpp"
#include "cell/fence.hpp"
#include "model/observation.hpp"
#include "model/record.hpp"
#include "routers.hpp"
#include "store/etcd.hpp"
#include "store/keyring.hpp"

/// The world outside a broker as plain data in virtual time: etcd, the cells, and Patroni on the
/// nodes. It outlives all brokers, so that a test can end a broker at any moment and start another
/// on what is left.
namespace matriarch::simulation {

using model::duration;
using model::wall_time;

// -- etcd ----------------------------------------------------------------------------------------

/// What happens to a transaction on its way to etcd and back.
enum class fault {
  none,
  lost_answer,  ///< done, but the answer is `unknown`
  lost_request, ///< not done, and the answer is `unknown`
  late,         ///< the answer is `unknown`; done some time after it
  not_done,     ///< etcd refuses it with an error
  slow_answer,  ///< done at once; the answer is right but comes late
};

/// etcd's keys, revisions, transactions and leases.
class simulated_etcd {
public:
  store::commit_result commit(const store::transaction& what);
  [[nodiscard]] std::vector<store::key_value> range(const store::key_range& keys) const;
  [[nodiscard]] std::vector<store::key_value> answer_to(const store::read& asked) const;
  [[nodiscard]] std::optional<std::string> value(const std::string& key) const;
  [[nodiscard]] bool contains(const std::string& key) const { return value(key).has_value(); }
  [[nodiscard]] store::revision at() const { return at_; }

  /// A write by another client than the broker.
  void put(const std::string& key, const std::string& value);
  void erase(const std::string& key);

  store::lease_id grant(wall_time until);
  bool renew(store::lease_id lease, wall_time until);
  void revoke(store::lease_id lease);
  void end_leases(wall_time now);
  /// When the next lease ends; the end of time if there is none.
  [[nodiscard]] wall_time next_end() const;

  /// All changes so far, in order.
  [[nodiscard]] const std::vector<store::change>& history() const { return history_; }

private:
  [[nodiscard]] bool holds(const store::compare& condition) const;
  [[nodiscard]] bool has_leases_of(const std::vector<store::operation>& branch) const;
  [[nodiscard]] static bool has_duplicates(const std::vector<store::operation>& branch);
  void put_now(const store::put& what);
  void erase_now(const store::key_range& keys);

  std::map<std::string, store::key_value> keys_;
  std::map<store::lease_id, wall_time> leases_;
  std::vector<store::change> history_;
  store::revision at_ = 1;
  store::lease_id last_lease_ = 0;
};

// -- cells ---------------------------------------------------------------------------------------

/// How a cell handles requests.
enum class manner {
  well,
  away,    ///< refuses the connection
  hanging, ///< accepts the connection, never answers and does nothing
  mute,    ///< does what it is told but never answers
  failing, ///< answers 500 to orders, doing nothing
  lying,   ///< like failing, but nodes that it says it did not start do run
  full,    ///< answers 422 to new nodes
};

struct cell_node {
  std::string scope;
  std::string plan_id;
  std::string digest = {};        ///< of the settings that its PostgreSQL has read
  bool pending_restart = false;   ///< some of them wait for a restart
  std::string identity = {};      ///< of the cluster whose data it has; none before there is any
  std::string certificate = {};   ///< what it shows; none if it never got one
  bool halted = false;            ///< it was stopped, and stays so until it is started
  bool stopped_as_leader = false; ///< of one that was stopped
  std::int64_t rows = 0;          ///< how many of a client's rows it has: see world::keep_writing()
};

/// A leader's first position in the WAL, and the length of one write.
inline constexpr std::int64_t wal_step = 1024 * 1024;

// -- PostgreSQL ----------------------------------------------------------------------------------

/// The roles of a cluster's bindings, shared by all its nodes.
struct roles {
  bool owner_logs_in = true;
  std::map<std::string, std::string> password_of; ///< by user name
  std::set<std::string> refused = {};             ///< those that cannot log in any more
  std::set<std::string> readers = {};             ///< in an order: those that only read
  /// In an order, if set: the only ones that may be dropped.
  std::optional<std::set<std::string>> revoked = {};
  std::set<std::string> later = {}; ///< in an order: those to be left unchanged
};

/// The statements of a broker that has read the present roles. They may arrive late.
struct role_changes {
  bool owner_logs_in = true;
  std::set<std::string> refused;
  std::map<std::string, std::string> created; ///< by name, with their passwords
  std::map<std::string, std::string> altered;
  std::set<std::string> readers = {}; ///< those of `created` that only read
};

struct roles_made {
  int replayed = 0;
  std::set<std::string> caught_up; ///< nodes that have the change
  std::set<std::string> leaving;   ///< roles to be dropped
};

struct cell {
  std::string guid;
  std::string availability_zone;
  std::string uri;
  int capacity = 100;
  std::int64_t memory = 0;       ///< bytes, as its health says it; 0: it does not say
  int full_nodes = 0;            ///< the same
  manner orders = manner::well;  ///< of PUT and DELETE
  manner health = manner::well;  ///< of GET /healthz
  duration transit{0};           ///< an order reaches the cell so long after it was sent
  bool halts = true;             ///< it can stop nodes, and keep them
  bool foreign = false;          ///< of another make: it digs no graves, and lists nothing
  bool silent_of_places = false; ///< says where nodes are in its list only, as earlier cells do
  bool by_tls = false;           ///< is reached by TLS, and shows what etcd has for its key
  std::string key = {};          ///< for TLS; none before it has announced itself
  /// What it says of its PostgreSQL; none: as earlier cells, it does not know the question.
  std::string version = {};
  std::map<std::string, std::string> plan_faults = {}; ///< by plan id
  /// Keys that wait for their certificate or their node: node id to key and certificate.
  std::map<std::string, std::pair<std::string, std::string>> pending = {};
  std::map<std::string, cell_node> nodes = {};
  matriarch::cell::fence fence = {};
};

/// An order that has reached a cell.
struct order {
  std::string verb;
  std::string cell;
  std::string node_id;
  wall_time at;
  int status = 0; ///< status code of the answer
};

// -- everything ----------------------------------------------------------------------------------

class world {
public:
  /// Cells `c1`, `c2`, … each in its own zone.
  explicit world(int cells = 3);
  world(const world&) = delete;
  world& operator=(const world&) = delete;

  // -- time

  [[nodiscard]] wall_time now() const { return now_; }
  /// Lets time pass here; simulated_broker moves the brokers' clocks.
  void pass(duration how_long);
  /// When the next event happens; the end of time if there is none.
  [[nodiscard]] wall_time next() const;
  void after(duration pause, std::function<void()> what);

  // -- as the mock actors use it

  void commit(const store::transaction& what, std::function<void(store::commit_result)> reply);
  store::range_result range(const store::key_range& keys);
  store::lease_result grant_lease(std::chrono::seconds ttl);
  store::lease_result keep_lease(store::lease_id lease);
  store::lease_result revoke_lease(store::lease_id lease);
  void send(const base::outgoing& what, std::function<void(base::outcome)> reply);
  /// Does libcurl's TLS checks for a request to a cell: changes the request to a plain one, or
  /// returns the failure.
  [[nodiscard]] std::optional<base::outcome> shake_hands(base::outgoing& what) const;
  /// Whether this is an order to a cell.
  [[nodiscard]] bool is_order(const base::outgoing& what) const;
  /// Checks that an order was recorded before it was sent.
  void expect_recorded(const base::outgoing& what);
  /// The changes that the roles need in the cluster whose leader has that address; the failure says
  /// why they cannot be found now.
  [[nodiscard]] result<role_changes> compare_roles(const std::string& conn_url,
                                                   const roles& wanted) const;
  /// Makes the changes in one transaction.
  result<roles_made> change_roles(const std::string& conn_url, const role_changes& what);
  /// Drops roles. Returns those that `lingering` keeps.
  result<std::set<std::string>> drop_roles(const std::string& conn_url,
                                           const std::set<std::string>& names);
  /// Compares the rights of that cluster's applications. Returns whether everything was compared.
  result<bool> keep_rights(const std::string& conn_url, bool readers);
  /// Digest of the settings that the node at that address has read.
  [[nodiscard]] result<std::string> settings_at(const std::string& conn_url) const;
  /// The node's address as its member key gives it.
  [[nodiscard]] std::string as_its_member_says(const std::string& url) const;
  /// Checks a connection to a node: its address must come from a cell.
  void note_connection(const std::string& url);
  void admit_user(const std::string& username, const std::string& password);
  void dismiss_user(const std::string& username);
  /// The lag of each streaming replica, by node id, as the leader at that address reports it; a
  /// failure if there is no leader. `standing`: includes replicas that run without replicating.
  [[nodiscard]] result<std::map<std::string, std::int64_t>> lag_at(const std::string& conn_url,
                                                                   bool standing = false) const;

  // -- what a test may look at

  [[nodiscard]] cell& at(const std::string& guid);
  [[nodiscard]] std::vector<cell>& cells() { return cells_; }
  [[nodiscard]] const std::vector<cell>& cells() const { return cells_; }
  /// All nodes of a scope in cells: node id to cell.
  [[nodiscard]] std::map<std::string, std::string> nodes_of(const std::string& scope) const;
  /// Number of nodes in all cells.
  [[nodiscard]] std::size_t node_count() const;
  [[nodiscard]] int running_nodes(const std::string& scope) const;
  /// The host in forged member keys.
  static constexpr const char* stranger = "evil";
  /// Forges the addresses in all member keys of the scope.
  void lie(const std::string& scope);
  /// Whether the node runs and, as a replica, replicates.
  [[nodiscard]] bool is_well(const std::string& scope, const std::string& node) const;
  [[nodiscard]] int well_nodes(const std::string& scope) const;
  [[nodiscard]] std::string leader_of(const std::string& scope) const;
  [[nodiscard]] std::optional<model::record> record_of(const std::string& name) const;
  [[nodiscard]] std::string member_state(const std::string& scope, const std::string& node) const;
  [[nodiscard]] std::vector<order> orders(const std::string& verb) const;
  [[nodiscard]] roles roles_of(const std::string& scope) const;
  /// etcd's users for scopes: name to password.
  [[nodiscard]] const std::map<std::string, std::string>& etcd_users() const { return etcd_users_; }
  /// The nodes that Patroni has restarted, in order, and whether each led.
  struct restart {
    std::string node_id;
    bool led = false;
  };
  [[nodiscard]] const std::vector<restart>& restarts() const { return restarts_; }
  [[nodiscard]] int switchovers() const { return switchovers_; }
  /// How often brokers have read a range of keys.
  int ranges_read = 0;
  /// Broken rules, in words; checked at each order.
  std::vector<std::string> violations;

  // -- knobs

  simulated_etcd etcd;
  /// The router `r1`, and those that a test adds.
  simulation::routers routers;
  /// Whether to check that success is reported only after the routers serve it.
  bool success_is_served = true;
  /// The keys with which tests read sealed records.
  std::shared_ptr<const store::keyring> keys_to_read = std::make_shared<const store::keyring>();
  bool etcd_reachable = true;
  /// Decides what happens to each transaction that writes.
  std::function<fault(const store::transaction&)> fate_of;
  duration member_delay{500};   ///< from a node's start to its member key
  duration running_delay{2000}; ///< from its member key to `running`
  duration failover_delay{1000};
  duration switchover_delay{1500};
  std::string switchover_failure; ///< Patroni's reason if it refuses; empty: it does not
  duration settings_delay{
      1000}; ///< from a change of Patroni's configuration to each node's reading
  duration restart_delay{800};
  bool settings_need_restart = true;
  std::set<std::string> unstartable;   ///< digests of settings by which PostgreSQL does not start
  std::set<std::string> starts_by_any; ///< nodes whose PostgreSQL starts nevertheless
  bool copies_hang =
      false; ///< copies of the leader never end, until Patroni is told to begin again
  std::set<std::string>
      missed_settings;          ///< nodes that miss changes of settings until they are restarted
  std::string database_failure; ///< why no roles can be made; empty: they can
  mutable int times_asked_for_roles = 0;
  std::map<std::string, std::set<std::string>>
      refused_by_cells;      ///< roles that were ever refused, by node
  std::string lingering;     ///< why roles cannot be dropped; empty: they can
  duration orders_last{0};   ///< time that an order for roles waits for replicas, unless hurried
  duration removals_last{0}; ///< time that a removal waits for sessions
  int role_orders = 0;       ///< number of orders so far
  std::string unmade;        ///< why new roles do not work; empty: they do
  bool only_late = false;    ///< with `unmade`: only for lack of time
  std::set<std::string> stands_still;     ///< nodes that do not replay
  std::string rights_failure;             ///< why rights cannot be compared; empty: they can
  int rights_left = 0;                    ///< number of comparisons that end early
  std::vector<std::string> being_changed; ///< objects that a comparison passes over
  int comparisons_of_readers = 0;         ///< number of complete comparisons
  int replicas_that_replay = 1;
  std::int64_t lag = 0; ///< of each replica, in bytes
  bool cells_are_fenced = true;
  /// That many of the next nodes that create `initialize` never learn that they have.
  int bootstraps_lost = 0;
  /// That many of the next nodes that make a cluster's first data run but never lead.
  int firsts_never_lead = 0;
  int next_nodes_stand = 0; ///< that many of the next nodes with data do not replicate
  /// Called after each step of time and each order.
  std::function<void()> watch_over;

  [[nodiscard]] std::string new_id();

  // -- machines

  /// Patroni's ttl: the keys of dead members stay in etcd for this long.
  static constexpr duration ttl{30'000};
  /// The machine dies with everything that runs on it; its disk stays. Its nodes' keys in etcd end
  /// after `keys_last`, and other nodes lead.
  void lose(const std::string& guid, duration keys_last = ttl);
  /// The machine starts again with what is on its disk.
  void bring_back(const std::string& guid);

  /// The cell makes a key for TLS and asks for a certificate.
  void announce(const std::string& guid);

  // -- replication

  /// The scope's leader writes, and replicas that replicate have the write at once.
  void write_wal(const std::string& scope);
  /// The node keeps running without replicating.
  void stand_still(const std::string& node_id);
  void go_on_replicating(const std::string& node_id);

  // -- clusters that follow others (world_rebuild.cpp)

  /// A client writes rows to an instance from now on, wherever routers lead it. No acknowledged row
  /// may be lost, and two clusters of one instance must never accept writes.
  void keep_writing(const std::string& name);
  [[nodiscard]] std::int64_t rows_acknowledged(const std::string& name) const;
  /// Whether clients of the instance can write.
  [[nodiscard]] bool takes_writes(const std::string& scope) const;
  /// Whether followers of a cluster miss its last rows when its leader stops.
  bool followers_miss_the_end = false;
  /// Whether the leader of that scope keeps data for a cluster that follows it.
  [[nodiscard]] bool retains(const std::string& scope) const { return retaining_.contains(scope); }

private:
  base::outcome halt(cell& where, const std::string& node_id);
  void expect_to_be_halted(const std::string& scope, const std::string& node_id);
  void resume(const std::string& scope, const std::string& node_id);
  /// The scopes that follow this one.
  [[nodiscard]] std::vector<std::string> followers_of(const std::string& scope) const;
  /// The scope that this one follows.
  [[nodiscard]] std::string followed_by(const std::string& scope) const;
  void stand_for_itself(const std::string& scope);
  void write_row(const std::string& name);
  /// A machine that is lost may take along rows that no other node has: those no rebuild has to keep.
  void excuse_unreplicated_rows(const cell& lost);
  /// Whoever replicates from that scope's leader has so many rows.
  void replicate(const std::string& scope, std::int64_t rows);
  [[nodiscard]] bool runs(const std::string& scope, const std::string& node_id) const;
  /// The record of the instance whose living cluster has that scope.
  [[nodiscard]] std::optional<model::record> record_served_by(const std::string& scope) const;
  store::commit_result commit_now(const store::transaction& what);
  /// Checks a write that reports success.
  void expect_served(const store::put& what);
  /// The bindings, by instance, that a transaction removes without their instance, as they were
  /// before it.
  [[nodiscard]] std::vector<std::pair<std::string, model::binding>>
  ended_bindings(const store::transaction& what) const;
  void expect_revoked(const std::string& name, const model::binding& ended);
  /// The scope whose leader is at that address.
  [[nodiscard]] result<std::string> scope_led_at(const std::string& conn_url) const;
  [[nodiscard]] cell* cell_of(const std::string& url);
  static base::outcome list(const cell& where);
  static base::outcome judge(const cell& where, const std::string& question);
  [[nodiscard]] static std::string place_of(const cell& where, const std::string& node_id);
  [[nodiscard]] bool fences(const cell& where) const { return cells_are_fenced && !where.foreign; }
  base::outcome obey(cell& where, const base::outgoing& what, const std::string& node_id);
  base::outcome certify(cell& where, const base::outgoing& what, const std::string& node_id);
  base::outcome start(cell& where, const base::outgoing& what, const std::string& node_id);
  void remove(cell& where, const std::string& node_id);
  void note_loss(const std::string& scope, const std::string& node_id);
  void note_loss_of_health(const std::string& scope, const std::string& node_id);
  void note_loss_of_old_copy(const std::string& scope, const std::string& node_id);
  [[nodiscard]] std::int64_t written_of(const std::string& scope) const;
  void note_success(const std::set<std::string>& in_progress);
  [[nodiscard]] std::set<std::string> operations_in_progress(const store::transaction& what) const;
  /// Patroni's REST API on a node.
  void answer_as_patroni(const base::outgoing& what, const std::string& node_id,
                         const std::function<void(base::outcome)>& reply);
  void switch_over(const json::value& body, const std::string& scope,
                   const std::function<void(base::outcome)>& reply);
  void configure(const json::value& patch, const std::string& scope);
  /// `conditions`: as in Patroni's API.
  void restart_node(const std::string& node_id, const std::string& scope,
                    const std::string& conditions, const std::function<void(base::outcome)>& reply);
  /// Whether a node's PostgreSQL starts with the settings in Patroni's configuration.
  [[nodiscard]] bool starts(const std::string& scope, const std::string& node_id) const;
  void fail_to_start(const std::string& scope, const std::string& node_id);
  [[nodiscard]] cell_node* find_node(const std::string& node_id);
  void choose_synchronous(const std::string& scope);
  void write_member(const std::string& scope, const std::string& node, const std::string& state);
  [[nodiscard]] bool in_a_cell(const std::string& node) const;
  void elect(const std::string& scope);
  /// Patroni on a node without data: copies the leader, or makes a cluster if there is no leader.
  void get_data(const std::string& scope, const std::string& node_id);
  /// Starts PostgreSQL on a node with data.
  void run(const std::string& scope, const std::string& node_id);

  wall_time now_{std::chrono::hours{24 * 365 * 50}};
  std::multimap<wall_time, std::function<void()>> later_;
  std::vector<cell> cells_;
  std::vector<order> orders_;
  std::map<std::string, roles> roles_; ///< by scope
  std::set<std::string> readable_;     ///< scopes whose readers' rights have been complete
  std::map<std::string, std::string> configured_; ///< digest of the settings, by scope
  std::set<std::string> synchronous_;             ///< scopes in synchronous_mode
  std::map<std::string, std::string> etcd_users_;
  std::map<std::string, std::int64_t> written_;  ///< the leader's position by scope
  std::map<std::string, std::int64_t> stuck_at_; ///< positions of nodes that do not replicate
  std::set<std::string> retaining_; ///< scopes whose leaders keep a slot for another one
  std::set<std::string> following_; ///< scopes that follow others
  std::map<std::string, std::int64_t> acknowledged_rows_; ///< by the instance's name
  std::vector<restart> restarts_;
  std::set<std::string> called_done_; ///< operations and bindings
  int switchovers_ = 0;
  int bootstraps_ = 0;
  std::set<std::string> never_lead_; ///< by node id
  int last_id_ = 0;
};

} // namespace matriarch::simulation
