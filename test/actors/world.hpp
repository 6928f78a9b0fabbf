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
/// nodes. It outlives every broker, so that a test can end one at any moment and start another on
/// what is left.
namespace matriarch::simulation {

using model::duration;
using model::wall_time;

// -- etcd ----------------------------------------------------------------------------------------

/// What becomes of a transaction on its way to etcd and back.
enum class fault {
  none,
  lost_answer,  ///< done, but the answer is `unknown`
  lost_request, ///< not done, and the answer is `unknown`
  late,         ///< the answer is `unknown`; done a while after it
  not_done,     ///< etcd refuses it with an error
  slow_answer,  ///< done at once; the answer is true, and old when it comes
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

  /// What others than the broker write.
  void put(const std::string& key, const std::string& value);
  void erase(const std::string& key);

  store::lease_id grant(wall_time until);
  bool renew(store::lease_id lease, wall_time until);
  void revoke(store::lease_id lease);
  void end_leases(wall_time now);
  /// When the next of the leases ends; the end of time if there is none.
  [[nodiscard]] wall_time next_end() const;

  /// Every change there was, in order.
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

/// How a cell treats what is sent to it.
enum class manner {
  well,
  away,    ///< refuses the connection
  hanging, ///< takes the connection and never answers; does nothing
  mute,    ///< does what it is told and never answers
  failing, ///< answers 500 to orders, doing nothing
  lying,   ///< the same, but the nodes that it says it did not start run
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

/// The positions in the WAL at which a leader begins, and by which it goes on.
inline constexpr std::int64_t wal_step = 1024 * 1024;

// -- PostgreSQL ----------------------------------------------------------------------------------

/// The roles of a cluster's bindings, which all its nodes share.
struct roles {
  bool owner_logs_in = true;
  std::map<std::string, std::string> password_of; ///< by user name
  std::set<std::string> refused = {};             ///< of these, who cannot log in any more
  std::set<std::string> readers = {};             ///< in an order: which of them only read
  /// In an order: if set, the only ones that may be dropped.
  std::optional<std::set<std::string>> revoked = {};
  std::set<std::string> later = {}; ///< in an order: who is to be left as it is
};

/// The statements of a broker that has seen which roles there are. They may arrive late.
struct role_changes {
  bool owner_logs_in = true;
  std::set<std::string> refused;
  std::map<std::string, std::string> created; ///< with their passwords
  std::map<std::string, std::string> altered;
  std::set<std::string> readers = {}; ///< of those created
};

struct roles_made {
  int replayed = 0;
  std::set<std::string> caught_up; ///< the nodes that have the change
  std::set<std::string> leaving;   ///< roles that are to be dropped
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
  /// Keys that were made and wait for their certificate or their node, and what has come for them.
  std::map<std::string, std::pair<std::string, std::string>> pending = {};
  std::map<std::string, cell_node> nodes = {};
  matriarch::cell::fence fence = {};
};

/// An order that reached a cell.
struct order {
  std::string verb;
  std::string cell;
  std::string node_id;
  wall_time at;
  int status = 0; ///< of the answer
};

// -- everything ----------------------------------------------------------------------------------

class world {
public:
  /// Cells `c1`, `c2`, … each in a zone of its own.
  explicit world(int cells = 3);
  world(const world&) = delete;
  world& operator=(const world&) = delete;

  // -- time

  [[nodiscard]] wall_time now() const { return now_; }
  /// Lets time pass here; the brokers' clocks are moved by simulated_broker.
  void pass(duration how_long);
  /// When something happens next by itself; the end of time if nothing does.
  [[nodiscard]] wall_time next() const;
  void after(duration pause, std::function<void()> what);

  // -- as the mock actors use it

  void commit(const store::transaction& what, std::function<void(store::commit_result)> reply);
  store::range_result range(const store::key_range& keys);
  store::lease_result grant_lease(std::chrono::seconds ttl);
  store::lease_result keep_lease(store::lease_id lease);
  store::lease_result revoke_lease(store::lease_id lease);
  void send(const base::outgoing& what, std::function<void(base::outcome)> reply);
  /// Does what libcurl does for a request to a cell by TLS, which goes on as one without; or else the
  /// outcome.
  [[nodiscard]] std::optional<base::outcome> shake_hands(base::outgoing& what) const;
  /// Whether this is an order to a cell.
  [[nodiscard]] bool is_order(const base::outgoing& what) const;
  /// Write first, act second: checked when an order is sent.
  void expect_recorded(const base::outgoing& what);
  /// What has to be done to make the roles of the cluster whose leader is at that address what they
  /// shall be; the failure says why that cannot be said now.
  [[nodiscard]] result<role_changes> compare_roles(const std::string& conn_url,
                                                   const roles& wanted) const;
  /// Does it, in one transaction; the number of replicas that replay.
  result<roles_made> change_roles(const std::string& conn_url, const role_changes& what);
  /// Drops roles, of which those that `lingering` holds up stay: they are given.
  result<std::set<std::string>> drop_roles(const std::string& conn_url,
                                           const std::set<std::string>& names);
  /// Compares the rights of the applications of that cluster: whether all was looked at.
  result<bool> keep_rights(const std::string& conn_url, bool readers);
  /// The digest of the settings that the node at that address has read.
  [[nodiscard]] result<std::string> settings_at(const std::string& conn_url) const;
  /// An address as the key of the member says it whose node is at this one.
  [[nodiscard]] std::string as_its_member_says(const std::string& url) const;
  /// Somebody connects to that address of a node: it has to be one that a cell gave.
  void note_connection(const std::string& url);
  void admit_user(const std::string& username, const std::string& password);
  void dismiss_user(const std::string& username);
  /// The lag of each replica that streams, by node id, as the leader at that address tells; a
  /// failure if there is no leader. `standing`: of those too that run and do not.
  [[nodiscard]] result<std::map<std::string, std::int64_t>> lag_at(const std::string& conn_url,
                                                                   bool standing = false) const;

  // -- what a test may look at

  [[nodiscard]] cell& at(const std::string& guid);
  [[nodiscard]] std::vector<cell>& cells() { return cells_; }
  [[nodiscard]] const std::vector<cell>& cells() const { return cells_; }
  /// All nodes of a scope that are in cells: node id to cell.
  [[nodiscard]] std::map<std::string, std::string> nodes_of(const std::string& scope) const;
  /// All nodes in cells, of whatever scope.
  [[nodiscard]] std::size_t node_count() const;
  [[nodiscard]] int running_nodes(const std::string& scope) const;
  /// Where the keys of members lead that somebody has written who may not.
  static constexpr const char* stranger = "evil";
  /// Every member of the scope says that its node is there.
  void lie(const std::string& scope);
  /// Whether it runs and, if it is a replica, replicates.
  [[nodiscard]] bool is_well(const std::string& scope, const std::string& node) const;
  [[nodiscard]] int well_nodes(const std::string& scope) const;
  [[nodiscard]] std::string leader_of(const std::string& scope) const;
  [[nodiscard]] std::optional<model::record> record_of(const std::string& name) const;
  [[nodiscard]] std::string member_state(const std::string& scope, const std::string& node) const;
  [[nodiscard]] std::vector<order> orders(const std::string& verb) const;
  [[nodiscard]] roles roles_of(const std::string& scope) const;
  /// The users that etcd has for scopes: name to password.
  [[nodiscard]] const std::map<std::string, std::string>& etcd_users() const { return etcd_users_; }
  /// The nodes that were restarted by Patroni, in their order, each with whether it led.
  struct restart {
    std::string node_id;
    bool led = false;
  };
  [[nodiscard]] const std::vector<restart>& restarts() const { return restarts_; }
  [[nodiscard]] int switchovers() const { return switchovers_; }
  /// How often a broker has read a range of keys.
  int ranges_read = 0;
  /// Rules of the house that were broken, in words; checked at each order.
  std::vector<std::string> violations;

  // -- knobs

  simulated_etcd etcd;
  /// One, `r1`, unless a test adds others.
  simulation::routers routers;
  /// Nothing that clients connect to may be called done before the routers serve it.
  bool success_is_served = true;
  /// What a test reads sealed records with.
  std::shared_ptr<const store::keyring> keys_to_read = std::make_shared<const store::keyring>();
  bool etcd_reachable = true;
  /// Says what becomes of each transaction that writes.
  std::function<fault(const store::transaction&)> fate_of;
  duration member_delay{500};   ///< from a node's start to its member key
  duration running_delay{2000}; ///< from its member key to `running`
  duration failover_delay{1000};
  duration switchover_delay{1500};
  std::string switchover_failure; ///< Patroni's words, if it refuses
  duration settings_delay{
      1000}; ///< from a change of Patroni's configuration to each node's reading
  duration restart_delay{800};
  bool settings_need_restart = true;
  std::set<std::string> unstartable;   ///< digests of settings by which PostgreSQL does not start
  std::set<std::string> starts_by_any; ///< nodes whose PostgreSQL does so all the same
  bool copies_hang = false; ///< whoever copies the leader never ends, unless Patroni is told to
  std::set<std::string> missed_settings; ///< nodes that hear of no change before they are restarted
  std::string database_failure;          ///< why no roles can be made, if so
  mutable int times_asked_for_roles = 0;
  std::map<std::string, std::set<std::string>> refused_by_cells; ///< which roles ever were, by node
  std::string lingering;   ///< why roles cannot be dropped, if so
  duration orders_last{0}; ///< an order for roles waits so long for replicas, unless it is hurried
  duration removals_last{0};              ///< likewise a removal for sessions
  int role_orders = 0;                    ///< how many have come
  std::string unmade;                     ///< why new roles do not work, if so
  bool only_late = false;                 ///< in that case: for the want of time
  std::set<std::string> stands_still;     ///< nodes that do not replay
  std::string rights_failure;             ///< why rights cannot be compared, if so
  int rights_left = 0;                    ///< comparisons that end before all is looked at
  std::vector<std::string> being_changed; ///< objects that a comparison passes over
  int comparisons_of_readers = 0;         ///< that were complete
  int replicas_that_replay = 1;
  std::int64_t lag = 0; ///< of each replica, in bytes
  bool cells_are_fenced = true;
  /// So many of the next nodes that create `initialize` never hear that they have.
  int bootstraps_lost = 0;
  /// So many of those who make a cluster's first data run and never come to lead.
  int firsts_never_lead = 0;
  int next_nodes_stand = 0; ///< so many of the next that get data replicate nothing
  /// Called after each step of time and each order.
  std::function<void()> watch_over;

  [[nodiscard]] std::string new_id();

  // -- machines

  /// Patroni's ttl: for so long the keys of what is dead stay in etcd.
  static constexpr duration ttl{30'000};
  /// The machine dies with all that runs on it, and its disk is kept. What its nodes wrote into etcd
  /// ends so long after it, and others lead.
  void lose(const std::string& guid, duration keys_last = ttl);
  /// It starts again, with what is on its disk.
  void bring_back(const std::string& guid);

  /// The cell makes a key for TLS, and asks for a certificate.
  void announce(const std::string& guid);

  // -- replication

  /// The leader of a scope writes, and whoever replicates has it at once.
  void write_wal(const std::string& scope);
  /// The node runs on, and gets no further than it is.
  void stand_still(const std::string& node_id);
  void go_on_replicating(const std::string& node_id);

  // -- clusters that follow others (world_rebuild.cpp)

  /// A client writes row after row to an instance, wherever routers lead it, from now on. None that was
  /// acknowledged may be lost, and never may two clusters of one instance take writes.
  void keep_writing(const std::string& name);
  [[nodiscard]] std::int64_t rows_acknowledged(const std::string& name) const;
  /// Whether clients of the instance can write.
  [[nodiscard]] bool takes_writes(const std::string& scope) const;
  /// Who follows a cluster is cut off from it when its leader stops, and does not get the last rows.
  bool followers_miss_the_end = false;

private:
  base::outcome halt(cell& where, const std::string& node_id);
  void resume(const std::string& scope, const std::string& node_id);
  /// The scopes that follow that one.
  [[nodiscard]] std::vector<std::string> followers_of(const std::string& scope) const;
  /// The scope that one follows.
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
  /// Checks what is called done just now.
  void expect_served(const store::put& what);
  /// By instance, the bindings that a transaction ends by themselves, as they were before it.
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
  /// `conditions` as Patroni reads them.
  void restart_node(const std::string& node_id, const std::string& scope,
                    const std::string& conditions, const std::function<void(base::outcome)>& reply);
  /// Whether a node's PostgreSQL starts with the settings that Patroni has for it.
  [[nodiscard]] bool starts(const std::string& scope, const std::string& node_id) const;
  void fail_to_start(const std::string& scope, const std::string& node_id);
  [[nodiscard]] cell_node* find_node(const std::string& node_id);
  void choose_synchronous(const std::string& scope);
  void write_member(const std::string& scope, const std::string& node, const std::string& state);
  [[nodiscard]] bool in_a_cell(const std::string& node) const;
  void elect(const std::string& scope);
  /// Patroni on a node without data: it copies the leader's, or makes a cluster if there is none.
  void get_data(const std::string& scope, const std::string& node_id);
  /// PostgreSQL runs on a node with data.
  void run(const std::string& scope, const std::string& node_id);

  wall_time now_{std::chrono::hours{24 * 365 * 50}};
  std::multimap<wall_time, std::function<void()>> later_;
  std::vector<cell> cells_;
  std::vector<order> orders_;
  std::map<std::string, roles> roles_; ///< by scope
  std::set<std::string> readable_;     ///< scopes whose readers' rights have been complete
  std::map<std::string, std::string> configured_; ///< the settings' digest by scope
  std::set<std::string> synchronous_;             ///< scopes in synchronous_mode
  std::map<std::string, std::string> etcd_users_;
  std::map<std::string, std::int64_t> written_;  ///< the leader's position by scope
  std::map<std::string, std::int64_t> stuck_at_; ///< the positions of nodes that stand still
  std::set<std::string> following_;              ///< scopes that follow others
  std::map<std::string, std::int64_t> acknowledged_rows_; ///< by the instance's name
  std::vector<restart> restarts_;
  std::set<std::string> called_done_; ///< operations and bindings
  int switchovers_ = 0;
  int bootstraps_ = 0;
  std::set<std::string> never_lead_; ///< by the node's id
  int last_id_ = 0;
};

} // namespace matriarch::simulation
