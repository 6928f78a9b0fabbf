#pragma once

#include "actors/messages.hpp"

/// The map of the house: every actor and every message it takes. Those of the engines are in engine.hpp.
namespace matriarch::actors {

// -- the outside world, so that a test can stand in for it ----------------------------------------

/// etcd's transactions, reads and leases. Answers always, at the latest after its own time-out.
using store_actor = caf::typed_actor<
    /// Does a transaction.
    caf::replies_to<store::transaction>::with<store::commit_result>,
    /// Reads a range, linearizably.
    caf::replies_to<store::key_range>::with<store::range_result>,
    /// The three things one can do with a lease.
    caf::replies_to<grant_lease>::with<store::lease_result>,
    caf::replies_to<keep_lease>::with<store::lease_result>,
    caf::replies_to<revoke_lease>::with<store::lease_result>,
    /// Lets a scope's own user of etcd write that scope's keys, or deletes it.
    caf::replies_to<admit_user>::with<user_answer>,
    caf::replies_to<dismiss_user>::with<user_answer>>;

/// Outgoing HTTP: the cells' API and that of nodes.
using http_actor = caf::typed_actor<
    /// Makes one request; answers always, at the latest after the request's own time-out.
    caf::replies_to<base::outgoing>::with<base::outcome>>;

// -- the broker -----------------------------------------------------------------------------------

/// The conversation with one cell.
using cell_agent_actor = caf::typed_actor<
    /// Starts a node; done twice is done once.
    caf::replies_to<start_order>::with<cell_answer>,
    /// Removes a node; done twice is done once.
    caf::replies_to<removal_order>::with<cell_answer>,
    caf::replies_to<halt_order>::with<cell_answer>,
    /// Removes a node that has no record.
    caf::replies_to<orphan_order>::with<cell_answer>,
    /// Gives a node another certificate.
    caf::reacts_to<renewal_order>,
    /// Ends sessions at a node.
    caf::reacts_to<sessions_order>,
    /// The cell may answer from now on, if it has not so far.
    caf::reacts_to<look_atom>,
    /// Time to ask the cell how it is.
    caf::reacts_to<tick_atom>>;

/// All cells: their load, their health, which take a new node, and which are lost.
using cell_directory_actor = caf::typed_actor<
    /// Passed on to the cell's agent.
    caf::replies_to<start_order>::with<cell_answer>,
    caf::replies_to<removal_order>::with<cell_answer>,
    caf::replies_to<halt_order>::with<cell_answer>,
    caf::replies_to<orphan_order>::with<cell_answer>, caf::reacts_to<sessions_order>,
    /// Chooses cells, once every cell has been asked how it is, and reserves them.
    caf::replies_to<placement_order>::with<model::placement>,
    /// From an instance's actor, whenever its nodes have changed.
    caf::reacts_to<cells_in_use>,
    /// By what the instances have said last.
    caf::replies_to<users_wanted>::with<cell_users>,
    /// From a cell's agent, whenever it has asked.
    caf::reacts_to<cell_health>,
    /// From an instance's actor that has to be repaired: asks for a turn, and gives it back.
    caf::reacts_to<turn_wanted>, caf::reacts_to<turn_over>,
    /// From the etcd watcher, of `/cells/`.
    caf::reacts_to<key_listing>, caf::reacts_to<key_changes>,
    /// From the instance directory: whether there is anything to go by.
    caf::reacts_to<activity>, caf::reacts_to<etcd_reachable>,
    /// From the certifier, whenever that has changed.
    caf::reacts_to<cell_trust>,
    /// From a cell's agent: what runs there.
    caf::reacts_to<cell_listing>,
    /// Whether a cell may be forgotten; it counts as lost from then on.
    caf::replies_to<model::forget_request>::with<model::forget_report>,
    /// Passed on to the orphan watch.
    caf::replies_to<model::orphan_removal>::with<model::verdict>,
    /// Time to see whether a cell is lost.
    caf::reacts_to<tick_atom>>;

/// Which cells have certificates, and who gets another one.
using cell_certifier_actor = caf::typed_actor<
    /// From the cell directory, of `/cells/`.
    caf::reacts_to<key_listing>, caf::reacts_to<key_changes>,
    /// Whether this broker acts.
    caf::reacts_to<activity>,
    /// Time to look whether a certificate has to be renewed.
    caf::reacts_to<tick_atom>>;

/// Who signs the fleet's certificates.
using authority_keeper_actor = caf::typed_actor<
    /// From the etcd watcher, of `/matriarch/`.
    caf::reacts_to<key_listing>, caf::reacts_to<key_changes>,
    /// Whether this broker acts.
    caf::reacts_to<activity>,
    /// Time to look whether a successor has to be made.
    caf::reacts_to<tick_atom>>;

/// What cells run without a record, and what is kept of removed things.
using orphan_watch_actor = caf::typed_actor<
    /// From the cell directory, for each list of a cell.
    caf::reacts_to<cell_comparison>,
    /// An operator decides that an orphan goes.
    caf::replies_to<model::orphan_removal>::with<model::verdict>,
    /// Whether this broker acts.
    caf::reacts_to<activity>,
    /// Time to clear what has served.
    caf::reacts_to<tick_atom>>;

/// Which port belongs to which instance.
using port_registry_actor = caf::typed_actor<
    /// Offers a port that no other instance holds, rests with or has been offered.
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

/// One service instance: its record, its plan, its operation and its bindings.
using service_instance_actor = caf::typed_actor<
    /// What the platform asks of this instance.
    caf::replies_to<model::request>::with<model::verdict>,
    /// Switches over if the leader is on that cell; an empty report if it is not.
    caf::replies_to<model::demote_request>::with<model::demote_report>,
    /// Its nodes on that cell need no confirmation any more, and are replaced.
    caf::replies_to<model::forget_request>::with<model::forget_report>,
    /// This instance's keys and those of its scope have changed, or all of them as they are.
    caf::reacts_to<key_changes>, caf::reacts_to<key_listing>,
    /// Whether this broker acts.
    caf::reacts_to<activity>,
    /// From the cell directory: which cells are lost, and that it is this instance's turn.
    caf::reacts_to<cell_news>, caf::reacts_to<turn_given>,
    /// From the router directory: what it waits for may have come.
    caf::reacts_to<routed_atom>,
    /// From the cell directory: where nodes are, if the record has it otherwise.
    caf::reacts_to<registered_addresses>,
    /// Time has passed.
    caf::reacts_to<tick_atom>,
    /// Time to try a transaction again that was not answered.
    caf::reacts_to<again_atom>>;

/// The map from an instance's id to its actor.
using instance_directory_actor = caf::typed_actor<
    /// Passed on to the instance's actor; of an instance that is not known here, etcd is asked
    /// first.
    caf::replies_to<model::request>::with<model::verdict>,
    /// Moves every leader off a cell.
    caf::replies_to<model::demote_request>::with<model::demote_report>,
    /// Has every instance forget its nodes on a cell, if the cell directory allows it.
    caf::replies_to<model::forget_request>::with<model::forget_report>,
    /// From the etcd watcher.
    caf::reacts_to<key_listing>, caf::reacts_to<key_changes>, caf::reacts_to<etcd_reachable>,
    /// From leadership.
    caf::reacts_to<activity>,
    /// Time to ask etcd again after an instance whose actor has to be started anew.
    caf::reacts_to<tick_atom>>;

/// Whether etcd answers, and takes what is written.
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
