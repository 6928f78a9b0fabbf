#pragma once

#include <caf/all.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "actors/environment.hpp"
#include "actors/interfaces.hpp"
#include "model/engine.hpp"
#include "model/observation.hpp"
#include "model/record.hpp"

/// The actor face of an engine: what instances' actors ask of a running cluster.
namespace matriarch::actors {

/// Ask a leader how far each replica is behind.
struct lag_question {
  std::string instance;
  std::string conn_url; ///< the leader's member::login_url
  model::credentials superuser;
};
struct lag_answer {
  bool ok = false;
  std::map<std::string, std::int64_t> lag; ///< bytes, by node id, of replicas that stream
  std::string why;
};

/// A role as it shall be. Its password need not reach the database itself.
struct wanted_role {
  model::credentials who;
  bool read_only = false;
  int connection_limit = -1;
  std::optional<model::wall_time> valid_until = {};
  /// Whether its binding is still being made: it counts as made once a login with it has worked.
  bool fresh = false;
  /// Whether the role is the same; that its binding has been made since changes nothing of it.
  bool operator==(const wanted_role& other) const {
    return who == other.who && read_only == other.read_only
           && connection_limit == other.connection_limit && valid_until == other.valid_until;
  }
};
/// Sessions of an order that the next one goes on in: a login takes longer than what is said in it.
/// Each engine has its own.
struct open_sessions {
  open_sessions() = default;
  virtual ~open_sessions() = default;
  open_sessions(const open_sessions&) = delete;
  open_sessions& operator=(const open_sessions&) = delete;
};

/// Make the roles of an instance's bindings what they shall be: refuse the login of those that are
/// not wanted any more, create and alter the others, and wait until the replicas have replayed it.
/// Done twice is done once. It takes some seconds at most, whatever the roles' sessions do.
struct role_order {
  std::string instance; ///< of the orders of one instance only one is under way
  std::string conn_url; ///< the leader's member::login_url
  model::credentials superuser;
  /// The role that owns whatever applications make: the instance's application user.
  model::credentials owner;
  /// Whether applications log in as the owner itself (bindings with shared credentials).
  bool owner_logs_in = false;
  bool owner_is_fresh = false; ///< one of these is still being made, as wanted_role::fresh
  std::vector<wanted_role> wanted = {};
  /// Whether there are bindings that nobody can read: no role is taken away then but those named.
  bool some_unknown = false;
  std::vector<std::string> revoked = {};
  /// Roles that come later: where an earlier order has made them, they are left as they are.
  std::set<std::string> later = {};
  /// Where a removal will have to log in as well, which is begun meanwhile: by node id, the
  /// `login_url`.
  std::map<std::string, std::string> replicas = {};
  /// Set by whoever sent it when the next order cannot wait: this one ends then with what it has.
  std::shared_ptr<std::atomic<bool>> hurry = {};
};
struct role_answer {
  bool ok = false;
  std::string why = {};
  int replicas = 0; ///< that stream from the leader
  int replayed = 0; ///< of these, how many have the change
  /// The roles that are to be removed, or the owner, whose sessions are to end; for a
  /// role_removal. With a reason where not even their login could be refused.
  std::map<std::string, std::string> leaving = {};
  /// The wanted roles that could not be made, the owner if it was to be looked at, and why.
  std::map<std::string, std::string> unmade = {};
  /// Of these, those for which nothing is known to be missing but time.
  std::set<std::string> late = {};
  /// The replicas, by the names under which they stream, that have the change.
  std::set<std::string> caught_up = {};
  /// A replica lacks a revocation, and whoever ordered it has to know at once: nothing else was tried.
  bool cut_short = false;
  bool kept_out = false; ///< the leader let nobody in to do it, or too little be done
  /// If somebody is leaving: for the removal that follows.
  std::shared_ptr<open_sessions> at_hand = {};
};
/// Remove a role whose login is refused already: end its sessions everywhere, hand over what it
/// owns, drop it. Of the owner only the sessions end. What is not done within some seconds is left
/// for the next such order.
struct role_removal {
  std::string instance; ///< of the removals of one role only one is under way
  std::string conn_url;
  model::credentials superuser;
  model::credentials owner;
  std::string name;
  /// The running replicas: by node id, their `login_url`.
  std::map<std::string, std::string> replicas = {};
  /// Other roles of the instance that are to go: if this one's sessions stay, theirs are looked at.
  std::set<std::string> others = {};
  /// How long ago the first order for this role was sent: logins that had begun by then may still come.
  std::chrono::milliseconds asked_for{0};
  /// Of the order before it; nothing if there is none.
  std::shared_ptr<open_sessions> at_hand = {};
};
struct role_removal_answer {
  bool gone = false;
  std::string why = {};                           ///< if it is not
  std::map<std::string, std::string> others = {}; ///< of these, what keeps them
  bool kept_out = false;                          ///< as above
  /// The replicas that let nobody in to do it, by node id.
  std::set<std::string> replicas_kept_out = {};
};

/// Make what the applications of an instance may do, beyond their roles, what it shall be.
struct rights_order {
  std::string instance;
  std::string conn_url; ///< the leader's member::login_url
  model::credentials superuser;
  std::string owner;    ///< the instance's application user
  bool readers = false; ///< whether there are bindings that only read
};
struct rights_answer {
  bool ok = false;
  std::string why = {};
  /// Whether everything has been looked at; if not, the next order goes on.
  bool complete = false;
  /// Objects that somebody is changing, and which therefore wait for a later order.
  std::vector<std::string> skipped = {};
};

/// A node as it is asked and told.
struct node_contact {
  std::string instance;
  std::string node_id;
  std::string url; ///< member::api_url
  /// Where that is by TLS: whether a certificate of the fleet's has to name the node. Otherwise the
  /// system's authorities vouch.
  bool by_fleet = false;
  model::credentials login; ///< model::secret_name::control
};

/// Ask a node which settings it has taken up.
struct settings_question {
  std::string instance;
  std::string conn_url; ///< the node's member::login_url
  model::credentials superuser;
  node_contact node = {};
};
struct settings_answer {
  bool ok = false;
  std::string digest = {}; ///< the value of model::settings_mark, or empty
  std::string why = {};
  bool pending_restart = false; ///< some of its settings wait for its restart
};

/// Ask a node of a cluster that follows another one how far it has replayed.
struct position_question {
  node_contact node;
};
struct position_answer {
  bool ok = false;
  std::int64_t position = 0; ///< as cells say it of a node that has stopped
  std::string why = {};
};

/// Have a leader write down all that it holds in memory only. It is answered when that is done.
struct flush_order {
  std::string instance;
  std::string conn_url; ///< the leader's member::login_url
  model::credentials superuser;
};
struct flush_answer {
  bool ok = false;
  std::string why = {};
};

/// Have another node lead. It is answered when that is done.
struct switch_over_order {
  node_contact leader;
  std::string to;
};
/// Tell a cluster, by one of its nodes, to have other settings.
struct configuration_order {
  node_contact by;
  std::string change; ///< model::engine::change()
};
/// Have a node's database restarted, or started if it has ended.
struct restart_order {
  node_contact node;
  bool only_if_waiting = false; ///< only while settings wait for that
  bool only_as_replica = false; ///< only while it does not lead
};
/// Have a node look at its settings once more.
struct reload_order {
  node_contact node;
};
/// Have a node give up the copy that it is making, and copy the present leader.
struct copy_order {
  node_contact node;
};
struct order_answer {
  enum class outcome {
    done,
    refused,      ///< or nobody knows; `why` says more
    not_started,  ///< the database did not start
    starts_alone, ///< the node is starting it again by itself, as it did before
  };
  outcome is = outcome::refused;
  std::string why = {};
  [[nodiscard]] bool done() const { return is == outcome::done; }
};

/// A running cluster's nodes, in the engine's own protocol. Answers always.
using engine_actor = caf::typed_actor<
    /// How far the replicas are behind their leader.
    caf::replies_to<lag_question>::with<lag_answer>,
    /// Makes the roles of an instance's bindings what they shall be.
    caf::replies_to<role_order>::with<role_answer>,
    /// Removes roles whose login is refused already.
    caf::replies_to<role_removal>::with<role_removal_answer>,
    /// Makes what applications may do, beyond their roles, what it shall be.
    caf::replies_to<rights_order>::with<rights_answer>,
    /// Asks a node which settings it has taken up.
    caf::replies_to<settings_question>::with<settings_answer>,
    /// Asks a node how far it is.
    caf::replies_to<position_question>::with<position_answer>,
    /// Has a leader write down what it holds in memory only.
    caf::replies_to<flush_order>::with<flush_answer>,
    /// Have other nodes lead, or do something by themselves.
    caf::replies_to<switch_over_order>::with<order_answer>,
    caf::replies_to<configuration_order>::with<order_answer>,
    caf::replies_to<restart_order>::with<order_answer>,
    caf::replies_to<reload_order>::with<order_answer>,
    caf::replies_to<copy_order>::with<order_answer>>;

/// What an engine's actor works with. The board lives longer than it.
struct engine_surroundings {
  http_actor http;
  const status_board* board = nullptr; ///< tells who signs the nodes' certificates
  environment outside;
};

/// An engine, as the wiring registers it.
class engine {
public:
  engine() = default;
  virtual ~engine() = default;
  engine(const engine&) = delete;
  engine& operator=(const engine&) = delete;

  /// What is decided for it.
  [[nodiscard]] virtual const model::engine& decisions() const = 0;
  [[nodiscard]] virtual engine_actor spawn(caf::actor_system& system,
                                           const engine_surroundings& with) const = 0;
  /// Who has to have signed what nodes show where they are certified, PEM: of all connections that
  /// begin from then on. From any thread.
  virtual void trust(const std::string& authorities) const = 0;
};

/// An engine as instances' actors use it.
struct engine_in_use {
  const model::engine* decisions = nullptr;
  engine_actor actor;
  /// Parameters that clusters get which were made without them: model::engine::defaults().
  std::map<std::string, std::string> late_parameters = {};
};

/// All that there are, at least one. The first is of clusters that name none.
class engines_in_use {
public:
  engines_in_use(std::vector<engine_in_use> all) : all_(std::move(all)) {} // NOLINT
  /// That of a name; the first, too, if there is none: who reads records sees to it that there is.
  [[nodiscard]] const engine_in_use& of(std::string_view name) const {
    for (const auto& one : all_)
      if (one.decisions->name() == name)
        return one;
    return all_.front();
  }

private:
  std::vector<engine_in_use> all_;
};

} // namespace matriarch::actors

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::lag_question)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::lag_answer)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::role_order)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::role_answer)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::role_removal)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::role_removal_answer)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::rights_order)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::rights_answer)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::settings_question)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::settings_answer)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::position_question)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::position_answer)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::flush_order)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::flush_answer)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::switch_over_order)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::configuration_order)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::restart_order)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::reload_order)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::copy_order)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::order_answer)
