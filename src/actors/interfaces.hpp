#pragma once

#include "actors/messages.hpp"

/// All actors and the messages that they take. The engines' actors are in engine.hpp.
namespace matriarch::actors {

// -- the outside world; tests replace these actors ------------------------------------------------

/// etcd's transactions, reads and leases. Always answers, at the latest after its own time-out.
using store_actor = caf::typed_actor<
    /// Does a transaction.
    caf::replies_to<store::transaction>::with<store::commit_result>,
    /// Reads a range, linearizably.
    caf::replies_to<store::key_range>::with<store::range_result>,
    /// Grants, keeps and revokes a lease.
    caf::replies_to<grant_lease>::with<store::lease_result>,
    caf::replies_to<keep_lease>::with<store::lease_result>,
    caf::replies_to<revoke_lease>::with<store::lease_result>,
    /// Gives a scope's own etcd user write access to the scope's keys, or deletes the user.
    caf::replies_to<admit_user>::with<user_answer>,
    caf::replies_to<dismiss_user>::with<user_answer>>;

/// Outgoing HTTP: the cells' API and that of nodes.
using http_actor = caf::typed_actor<
    /// Makes one request; always answers, at the latest after the request's own time-out.
    caf::replies_to<base::outgoing>::with<base::outcome>>;

// -- the broker -----------------------------------------------------------------------------------

/// Talks to one cell.
using cell_agent_actor = caf::typed_actor<
    /// Starts a node. Idempotent.
    caf::replies_to<start_order>::with<cell_answer>,
    /// Removes a node. Idempotent.
    caf::replies_to<removal_order>::with<cell_answer>,
    caf::replies_to<halt_order>::with<cell_answer>,
    /// Removes a node that has no record.
    caf::replies_to<orphan_order>::with<cell_answer>,
    /// Gives a node another certificate.
    caf::reacts_to<renewal_order>,
    /// Ends sessions at a node.
    caf::reacts_to<sessions_order>,
    /// The cell may answer from now on, if it has not before.
    caf::reacts_to<look_atom>,
    /// Time to ask for the cell's health.
    caf::reacts_to<tick_atom>>;

/// All cells: their load, their health, which get new nodes, and which are lost.
using cell_directory_actor = caf::typed_actor<
    /// Passed on to the cell's agent.
    caf::replies_to<start_order>::with<cell_answer>,
    caf::replies_to<removal_order>::with<cell_answer>,
    caf::replies_to<halt_order>::with<cell_answer>,
    caf::replies_to<orphan_order>::with<cell_answer>, caf::reacts_to<sessions_order>,
    /// Chooses cells and reserves them, once every cell has been asked for its health.
    caf::replies_to<placement_order>::with<model::placement>,
    /// From an instance's actor, whenever its nodes have changed.
    caf::reacts_to<cells_in_use>,
    /// Who has nodes on a cell, as last reported by the instances.
    caf::replies_to<users_wanted>::with<cell_users>,
    /// From a cell's agent, after each question for its health.
    caf::reacts_to<cell_health>,
    /// From an instance's actor that needs a repair: asks for a turn, or gives it back.
    caf::reacts_to<turn_wanted>, caf::reacts_to<turn_over>,
    /// From the etcd watcher, of `/cells/`.
    caf::reacts_to<key_listing>, caf::reacts_to<key_changes>,
    /// From the instance directory: this broker's activity, and whether etcd can be reached.
    caf::reacts_to<activity>, caf::reacts_to<etcd_reachable>,
    /// From the certifier, at each change.
    caf::reacts_to<cell_trust>,
    /// From a cell's agent: the cell's nodes.
    caf::reacts_to<cell_listing>,
    /// Forgets a cell if that is safe; the cell counts as lost from then on.
    caf::replies_to<model::forget_request>::with<model::forget_report>,
    /// Passed on to the orphan watch.
    caf::replies_to<model::orphan_removal>::with<model::verdict>,
    /// Time to judge which cells are lost.
    caf::reacts_to<tick_atom>>;

/// Which cells have certificates, and which need one.
using cell_certifier_actor = caf::typed_actor<
    /// From the cell directory, of `/cells/`.
    caf::reacts_to<key_listing>, caf::reacts_to<key_changes>,
    /// Whether this broker is active.
    caf::reacts_to<activity>,
    /// Time to look whether a certificate has to be renewed.
    caf::reacts_to<tick_atom>>;

/// The authorities that sign the fleet's certificates.
using authority_keeper_actor = caf::typed_actor<
    /// From the etcd watcher, of `/matriarch/`.
    caf::reacts_to<key_listing>, caf::reacts_to<key_changes>,
    /// Whether this broker is active.
    caf::reacts_to<activity>,
    /// Time to look whether a successor has to be made.
    caf::reacts_to<tick_atom>>;

/// Nodes without a record, and what is kept of removed instances and nodes.
using orphan_watch_actor = caf::typed_actor<
    /// From the cell directory, for each list of a cell.
    caf::reacts_to<cell_comparison>,
    /// An operator decides to remove an orphan.
    caf::replies_to<model::orphan_removal>::with<model::verdict>,
    /// Whether this broker is active.
    caf::reacts_to<activity>,
    /// Time to clear graves and tombstones that are no longer needed.
    caf::reacts_to<tick_atom>>;

/// Which port belongs to which instance.
using port_registry_actor = caf::typed_actor<
    /// Offers a port that no other instance holds, has just left or has been offered.
    caf::replies_to<port_order>::with<port_offer>,
    /// Forgets an offer.
    caf::reacts_to<port_settled>,
    /// From the etcd watcher, of `/routing/`.
    caf::reacts_to<key_listing>, caf::reacts_to<key_changes>>;

/// Which routers there are, and what they serve.
using router_directory_actor = caf::typed_actor<
    /// From an instance's actor that waits for its route.
    caf::reacts_to<routes_wanted>,
    /// From the etcd watcher, of `/routers/` and `/routing/`.
    caf::reacts_to<key_listing>, caf::reacts_to<key_changes>>;

/// One service instance: its record, plan, operation and bindings.
using service_instance_actor = caf::typed_actor<
    /// A platform's request for this instance.
    caf::replies_to<model::request>::with<model::verdict>,
    /// Switches over if the leader is on that cell; an empty report if it is not.
    caf::replies_to<model::demote_request>::with<model::demote_report>,
    /// The instance's nodes on that cell need no confirmation of their removal any more, and are
    /// replaced.
    caf::replies_to<model::forget_request>::with<model::forget_report>,
    /// Keys of this instance and its scopes: changes, or all of them.
    caf::reacts_to<key_changes>, caf::reacts_to<key_listing>,
    /// Whether this broker is active.
    caf::reacts_to<activity>,
    /// From the cell directory: which cells are lost; this instance's turn to repair.
    caf::reacts_to<cell_news>, caf::reacts_to<turn_given>,
    /// From the router directory: a route that the instance waits for may be served.
    caf::reacts_to<routed_atom>,
    /// From the cell directory: addresses of nodes that differ from the record.
    caf::reacts_to<registered_addresses>,
    /// Time has passed.
    caf::reacts_to<tick_atom>,
    /// Time to repeat a transaction that was not answered.
    caf::reacts_to<again_atom>>;

/// The map from an instance's id to its actor.
using instance_directory_actor = caf::typed_actor<
    /// Passed on to the instance's actor. For an unknown instance etcd is asked first.
    caf::replies_to<model::request>::with<model::verdict>,
    /// Moves every leader off a cell.
    caf::replies_to<model::demote_request>::with<model::demote_report>,
    /// Has every instance forget its nodes on a cell, if the cell directory allows it.
    caf::replies_to<model::forget_request>::with<model::forget_report>,
    /// From the etcd watcher.
    caf::reacts_to<key_listing>, caf::reacts_to<key_changes>, caf::reacts_to<etcd_reachable>,
    /// From leadership.
    caf::reacts_to<activity>,
    /// Time to ask etcd about an instance whose actor has to be restarted.
    caf::reacts_to<tick_atom>>;

/// Whether etcd answers and accepts writes.
using etcd_pulse_actor = caf::typed_actor<
    /// Time to ask.
    caf::reacts_to<tick_atom>>;

/// The lease on `/matriarch/active`.
using leadership_actor = caf::typed_actor<
    /// From the etcd watcher, of `/matriarch/active`.
    caf::reacts_to<key_changes>,
    /// Time to take, renew or look at the lease.
    caf::reacts_to<tick_atom>,
    /// Gives the lease up; answers when it is gone or cannot be given up.
    caf::replies_to<stop_atom>::with<bool>>;

} // namespace matriarch::actors
