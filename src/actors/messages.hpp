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

/// The actors' messages: plain values, and objects that one actor hands to another.
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

/// All keys in etcd as of a revision, sent at the start and whenever the watch had to begin again.
/// A large listing comes in parts.
struct key_listing {
  std::vector<store::key_value> found;
  store::revision at = 0;
  bool first = true; ///< begins a new listing; an unfinished one is dropped
  bool last = true;
};
/// Changes, in etcd's order.
struct key_changes {
  std::vector<store::change> changes;
};
/// Whether the watch is connected.
struct etcd_reachable {
  bool reachable;
  std::string why;
};

// -- leadership -----------------------------------------------------------------------------------

/// Whether this broker is the active one, and the id of its fleet.
struct activity {
  bool active = false;
  std::string fleet;
  /// Revision at which the current term began. What etcd said about the key at earlier revisions is
  /// outdated.
  store::revision since = 0;
};

// -- cells ----------------------------------------------------------------------------------------

/// Start a node. The node is in the record already.
struct start_order {
  std::string cell;
  std::string node_id;
  std::string scope; ///< scope of the node's cluster
  model::record instance;
  store::revision at = 0; ///< the record's; the cell refuses an older one than it has seen
  std::string fleet;
  model::start_parameters parameters = {}; ///< what the node is started with
};
/// Remove a node. The record has it as `removing` already.
struct removal_order {
  std::string cell;
  std::string node_id;
  std::string scope; ///< scope of the node's cluster
  model::record instance;
  store::revision at = 0;
  std::string fleet;
};
/// Stop a node, and keep it stopped until it is started again. The record has it as halted already.
struct halt_order {
  std::string cell;
  std::string node_id;
  std::string scope;
  store::revision at = 0; ///< the record's: a newer start undoes the halt
  std::string fleet;
};
/// Refuse these users at a node that may not know of their revocation, and end their sessions
/// there: a session can hold locks that keep everybody else out. There is no answer, and sessions
/// that come later are ended for some seconds only; the sender repeats the order until it can log
/// in itself.
struct sessions_order {
  std::string cell;
  std::string node_id;
  std::string scope;
  std::string fleet;
  std::set<std::string> roles; ///< whose login is refused for ever
};
/// Remove a node that has no record, and therefore no revision.
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
    unsent,  ///< the cell certainly did not get the order
    unknown, ///< no answer, or an unclear one
  };
  kind is = kind::unknown;
  std::string why = {};    ///< in words that a tenant may read
  std::string detail = {}; ///< for the log, if it says more: where the cell listens, for example
  model::node_addresses at = {}; ///< of a node that was started, as far as the cell says it
  bool existed = false;          ///< a cell that says no more has a node of that id already
  model::data_at_stop data = {}; ///< of a node that was stopped
  [[nodiscard]] const std::string& for_the_log() const { return detail.empty() ? why : detail; }
};
/// A cell's health, as its agent last saw it.
struct cell_health {
  std::string guid;
  bool reachable = false;
  int capacity = 0;
  std::string fencing;
  std::string why;                 ///< why it is not reachable
  bool control_tls = false;        ///< its agent can have nodes be asked by TLS
  bool told = false;               ///< it has told what follows, and capacity and fencing
  bool halts = false;              ///< its agent can stop a node and say how far its data is
  std::string engine_version = {}; ///< as the cell has said it last
  std::vector<model::plan_fault> plan_faults = {};
  std::string limits = {}; ///< how it enforces plans' limits, in words
  std::int64_t memory = 0; ///< of the cell's machine, in bytes; 0 if not reported
  std::int64_t disk = 0;
  int full_nodes = 0; ///< nodes whose disks are so full that they only read
};
/// How far the connection to a cell is secured, for the operator.
struct cell_trust {
  std::string guid;
  std::string words;
  bool lacks_certificate = false; ///< nothing can be sent to the cell
  bool operator==(const cell_trust&) const = default;
};
/// All nodes of a cell, from its latest list.
struct cell_listing {
  std::string guid;
  std::vector<model::listed_node> nodes;
  /// The certificate that a node shows.
  struct shown {
    std::string node_id;
    std::string scope;
    std::string host; ///< its own address
    std::string certificate;
    bool control_tls = false; ///< the node was told to show it at its API, too
  };
  std::vector<shown> certificates = {}; ///< of the nodes with certificates of the fleet
};
/// A cell's list, compared with the records.
struct cell_comparison {
  std::string cell;
  std::set<std::string> listed; ///< node ids
  std::vector<model::listed_node> without_record;
};
/// Addresses of an instance's nodes on a cell as the cell reports them, by node id.
struct registered_addresses {
  std::map<std::string, model::node_addresses> nodes;
};
/// Where an instance's nodes are: its share of the cells' load, and the cells' signs of life.
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
  std::shared_ptr<const places> nodes; ///< shared by sender and receiver
};
/// Ask which instances have nodes on a cell.
struct users_wanted {
  std::string cell;
};
/// Names of instances that have nodes there, or soon will.
struct cell_users {
  std::set<std::string> names;
  std::size_t heard_of = 0; ///< number of instances whose cells are known
};
/// Which cells are lost, for the instances on them.
struct cell_news {
  /// Whether this is known at all: this broker is active and etcd answers.
  bool watching = false;
  std::set<std::string> lost = {};
  std::string halted = {}; ///< why repairs are halted; else empty
  model::duration after{}; ///< how long a node may be unwell before it is replaced
  bool operator==(const cell_news&) const = default;
};
/// The cluster of that scope needs a repair and waits for its turn. The answer is a turn_given.
struct turn_wanted {
  std::string scope;
  bool leader_lost = false; ///< the cluster failed over, so its turn comes first
};
/// The cluster needs no repair any more, or cannot be repaired at present.
struct turn_over {
  std::string scope;
};
/// The cluster's turn has come; it lasts until a turn_over.
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
/// The reserved port, or 0 and the reason in `why`.
struct port_offer {
  int port = 0;
  store::revision at = 0; ///< the port key's, compared when the port is taken; 0 if there is no key
  int next = 0;           ///< the new value of `/routing/nextport`
  std::string why;
};
/// The reservation can go: the port was taken in etcd, or will not be.
struct port_settled {
  std::string name;
  bool taken = false;
};

// -- routers --------------------------------------------------------------------------------------

/// An instance waits until its routes are served. Replaces the instance's previous wish; without
/// routes the wait ends. The answer is one routed_atom, when all routes are served or a router
/// cannot open one of the ports.
struct routes_wanted {
  std::string name;
  std::vector<model::route> routes = {};
  /// Version of the table that the sender looked at. Later changes are reported.
  std::uint64_t seen = 0;
  bool operator==(const routes_wanted&) const = default;
};

// -- etcd's users ---------------------------------------------------------------------------------

/// Let this user, created if missing, write the scope's own keys and no others.
struct admit_user {
  std::string scope;
  model::credentials who;
};
/// Delete the user. A missing user counts as deleted.
struct dismiss_user {
  std::string username;
};
struct user_answer {
  bool ok = false;
  std::string why = {};
};

// -- instances ------------------------------------------------------------------------------------

/// What an instance's new actor begins with.
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

// These messages stay within the process, so CAF need not serialise them.
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
