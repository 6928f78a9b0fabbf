#pragma once

#include <caf/all.hpp>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/event_loop.hpp"
#include "model/observation.hpp"
#include "model/orphans.hpp"
#include "model/placement.hpp"
#include "model/plan.hpp"
#include "model/ports.hpp"
#include "model/repair.hpp"
#include "model/requests.hpp"
#include "model/routes.hpp"
#include "store/etcd.hpp"

/// What the actors say to each other: values, and what only one of them holds at a time.
namespace matriarch::actors {

// -- etcd -----------------------------------------------------------------------------------------

struct grant_lease {
  std::chrono::seconds ttl;
};
struct keep_lease {
  store::lease_id lease;
};
struct revoke_lease {
  store::lease_id lease;
};

/// Everything there is in etcd as of a revision: at the start and whenever the watch had to begin
/// anew. What may be much comes in parts.
struct key_listing {
  std::vector<store::key_value> found;
  store::revision at = 0;
  bool first = true; ///< a listing that was not ended before begins anew
  bool last = true;
};
/// Changes in etcd's order.
struct key_changes {
  std::vector<store::change> changes;
};
/// Whether the watch is connected.
struct etcd_reachable {
  bool reachable;
  std::string why;
};

// -- leadership -----------------------------------------------------------------------------------

/// Whether this broker may cause effects, and the id of the fleet it works for.
struct activity {
  bool active = false;
  std::string fleet;
  /// The key was this broker's at that revision, where its last term began: what etcd said of the
  /// key at an earlier one is over.
  store::revision since = 0;
};

// -- cells ----------------------------------------------------------------------------------------

/// Start a node. It is written down already.
struct start_order {
  std::string cell;
  std::string node_id;
  std::string scope; ///< of the cluster of the record that the node is of
  model::record instance;
  store::revision at = 0; ///< of the record; the cell refuses an older one than it has seen
  std::string fleet;
  model::start_parameters parameters = {}; ///< what the node is started with
};
/// Remove a node. It is written down as `removing`.
struct removal_order {
  std::string cell;
  std::string node_id;
  std::string scope; ///< likewise
  model::record instance;
  store::revision at = 0;
  std::string fleet;
};
/// Stop a node, and keep it stopped until it is started again. It is written down as halted.
struct halt_order {
  std::string cell;
  std::string node_id;
  std::string scope;
  store::revision at = 0; ///< of the record: a start that is newer undoes it
  std::string fleet;
};
/// Refuse these users at a node that may not know them revoked yet, and tell what is open of them
/// to end: a session can hold what keeps everybody else out. Nobody waits for it, and sessions that come later
/// are ended for some seconds only; whoever sent it sees when it gets in, and asks again until then.
struct sessions_order {
  std::string cell;
  std::string node_id;
  std::string scope;
  std::string fleet;
  std::set<std::string> roles; ///< whose login is refused for ever
};
/// Remove a node that has no record; no revision goes with it, for there is none.
struct orphan_order {
  std::string cell;
  model::listed_node node;
  std::string fleet;
};
/// Sign another certificate for a node.
struct renewal_order {
  std::string node_id;
  std::string scope;
  std::string fleet;
};
struct cell_answer {
  enum class kind {
    done,    ///< confirmed
    refused, ///< the cell said no; nothing was done
    unsent,  ///< the cell certainly never saw the order
    unknown, ///< no answer, or one that leaves it open
  };
  kind is = kind::unknown;
  std::string why = {};    ///< in words that a tenant may read
  std::string detail = {}; ///< for the log, if it says more: where the cell listens, for example
  model::node_addresses at = {}; ///< of a node that was started, as far as the cell says it
  model::data_at_stop data = {}; ///< of a node that was stopped
  [[nodiscard]] const std::string& for_the_log() const { return detail.empty() ? why : detail; }
};
/// How a cell is, as its agent last saw it.
struct cell_health {
  std::string guid;
  bool reachable = false;
  int capacity = 0;
  std::string fencing;
  std::string why;                 ///< why it is not reachable
  bool control_tls = false;        ///< its agent can have nodes be asked by TLS
  bool halts = false;              ///< its agent can stop a node and say how far its data is
  std::string engine_version = {}; ///< as the cell has said it last
  std::vector<model::plan_fault> plan_faults = {};
  std::string limits = {}; ///< how it enforces plans' limits, in words
  std::int64_t memory = 0; ///< bytes that its machine has; 0 where it does not say
  std::int64_t disk = 0;
  int full_nodes = 0; ///< whose disks are so full that they only read
};
/// How far the way to a cell can be trusted, for the operator.
struct cell_trust {
  std::string guid;
  std::string words;
  bool lacks_certificate = false; ///< so that nothing can be sent there
  bool operator==(const cell_trust&) const = default;
};
/// All nodes of a cell, as it has just listed them.
struct cell_listing {
  std::string guid;
  std::vector<model::listed_node> nodes;
  /// What a node shows to clients.
  struct shown {
    std::string node_id;
    std::string scope;
    std::string host; ///< its own address
    std::string certificate;
    bool control_tls = false; ///< it has been told to show it where it is asked, too
  };
  std::vector<shown> certificates =
      {}; ///< of those nodes whose certificates are the fleet's affair
};
/// The same, compared with what is recorded.
struct cell_comparison {
  std::string cell;
  std::set<std::string> listed; ///< node ids
  std::vector<model::listed_node> without_record;
};
/// Where a cell says that an instance's nodes on it are, by node id.
struct registered_addresses {
  std::map<std::string, model::node_addresses> nodes;
};
/// Where an instance's nodes are: its share of the cells' load, and what speaks for the cells.
struct cells_in_use {
  struct place {
    std::string node_id;
    std::string cell;
    bool member = false;      ///< its member key is in etcd
    model::node_addresses at; ///< as recorded
    bool operator==(const place&) const = default;
  };
  using places = std::vector<place>;
  std::string name;
  std::shared_ptr<const places> nodes; ///< kept once by who tells and who hears it
};
/// Who has a node on a cell.
struct users_wanted {
  std::string cell;
};
/// The names of the instances that have, or are about to.
struct cell_users {
  std::set<std::string> names;
  std::size_t heard_of = 0; ///< of how many instances it is known where they are
};
/// Which cells are lost, for the instances on them.
struct cell_news {
  /// Whether anything can be said of that now: this broker acts, and etcd answers.
  bool watching = false;
  std::set<std::string> lost = {};
  std::string halted = {}; ///< why nothing is to be repaired, if so
  model::duration after{}; ///< how long a node may be unwell before it is replaced
  bool operator==(const cell_news&) const = default;
};
/// The cluster of that scope has something to repair, and waits for its turn. The answer is a turn_given.
struct turn_wanted {
  std::string scope;
  bool leader_lost = false; ///< it had to fail over: its turn comes before others'
};
/// It has nothing to repair any more, or cannot at present.
struct turn_over {
  std::string scope;
};
/// It is that cluster's turn, until it says that it is over.
struct turn_given {
  std::string scope;
};
/// Choose cells for new nodes of an instance, and reserve them until the instance reports its
/// nodes.
struct placement_order {
  std::string name;
  model::placement_request where;
};

// -- ports ----------------------------------------------------------------------------------------

/// Reserve a port for an instance.
struct port_order {
  std::string name;
};
/// The reserved port, 0 if there is none, in which case `why` says so.
struct port_offer {
  int port = 0;
  store::revision at = 0; ///< of its key, 0 if there is none: to be compared when the port is taken
  int next = 0;           ///< the new value of `/routing/nextport`
  std::string why;
};
/// The reservation is not needed any more: the port was taken in etcd, or will not be.
struct port_settled {
  std::string name;
  bool taken = false;
};

// -- routers --------------------------------------------------------------------------------------

/// An instance waits until its routes are served. It replaces what the same one has said before;
/// without routes it waits no more. The answer is a routed_atom, once, when all of them are served
/// or a router cannot open one of their ports.
struct routes_wanted {
  std::string name;
  std::vector<model::route> routes = {};
  /// Of the table that was looked at: later changes are worth an answer.
  std::uint64_t seen = 0;
  bool operator==(const routes_wanted&) const = default;
};

// -- etcd's users ---------------------------------------------------------------------------------

/// Let this user, made if it is not there, write a scope's own keys and no others.
struct admit_user {
  std::string scope;
  model::credentials who;
};
/// Delete the user; one that is not there counts as deleted.
struct dismiss_user {
  std::string username;
};
struct user_answer {
  bool ok = false;
  std::string why = {};
};

// -- instances ------------------------------------------------------------------------------------

/// What a new actor of an instance begins with.
struct instance_start {
  std::string name;
  std::optional<model::record> known;
  store::revision at = 0;
  std::map<std::string, model::binding> bindings;
};

// -- messages that an actor sends itself ----------------------------------------------------------

using tick_atom = caf::atom_constant<caf::atom("tick")>;
using again_atom = caf::atom_constant<caf::atom("again")>;
using look_atom = caf::atom_constant<caf::atom("look")>;
using routed_atom = caf::atom_constant<caf::atom("routed")>;
using stop_atom = caf::atom_constant<caf::atom("stop")>;

} // namespace matriarch::actors

// All of them stay within this process: CAF needs no way to serialise them.
#define MATRIARCH_LOCAL_MESSAGE(type) CAF_ALLOW_UNSAFE_MESSAGE_TYPE(type)
MATRIARCH_LOCAL_MESSAGE(matriarch::store::transaction)
MATRIARCH_LOCAL_MESSAGE(matriarch::store::commit_result)
MATRIARCH_LOCAL_MESSAGE(matriarch::store::key_range)
MATRIARCH_LOCAL_MESSAGE(matriarch::store::range_result)
MATRIARCH_LOCAL_MESSAGE(matriarch::store::lease_result)
MATRIARCH_LOCAL_MESSAGE(matriarch::base::outgoing)
MATRIARCH_LOCAL_MESSAGE(matriarch::base::outcome)
MATRIARCH_LOCAL_MESSAGE(matriarch::model::request)
MATRIARCH_LOCAL_MESSAGE(matriarch::model::verdict)
MATRIARCH_LOCAL_MESSAGE(matriarch::model::demote_request)
MATRIARCH_LOCAL_MESSAGE(matriarch::model::demote_report)
MATRIARCH_LOCAL_MESSAGE(matriarch::model::placement)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::grant_lease)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::keep_lease)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::revoke_lease)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::key_listing)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::key_changes)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::etcd_reachable)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::activity)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::start_order)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::removal_order)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::halt_order)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::renewal_order)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::cell_answer)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::cell_health)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::cell_trust)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::cells_in_use)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::users_wanted)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::cell_users)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::orphan_order)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::cell_listing)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::sessions_order)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::registered_addresses)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::cell_comparison)
MATRIARCH_LOCAL_MESSAGE(matriarch::model::orphan_removal)
MATRIARCH_LOCAL_MESSAGE(matriarch::model::forget_request)
MATRIARCH_LOCAL_MESSAGE(matriarch::model::forget_report)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::cell_news)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::turn_wanted)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::turn_over)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::turn_given)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::placement_order)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::port_order)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::port_offer)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::port_settled)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::routes_wanted)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::admit_user)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::dismiss_user)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::user_answer)
MATRIARCH_LOCAL_MESSAGE(matriarch::actors::instance_start)
#undef MATRIARCH_LOCAL_MESSAGE
