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

/// How actors see an engine: what an instance's actor can ask of a running cluster.
namespace matriarch::actors {

/// Ask a leader how far each replica is behind.
struct lag_question {
  std::string instance;
  std::string conn_url; ///< the leader's member::login_url
  model::credentials superuser;
};
struct lag_answer {
  bool ok = false;
  std::map<std::string, std::int64_t> lag; ///< of replicas that stream: bytes behind, by node id
  std::string why;
};

/// A role as it should be. Its password itself need not reach the database.
struct wanted_role {
  model::credentials who;
  bool read_only = false;
  int connection_limit = -1;
  std::optional<model::wall_time> valid_until = {};
  /// Whether the binding is still being made. It counts as made once a login with the role has
  /// worked.
  bool fresh = false;
  /// Compares the roles only; `fresh` does not change a role.
  bool operator==(const wanted_role& other) const {
    return who == other.who && read_only == other.read_only
           && connection_limit == other.connection_limit && valid_until == other.valid_until;
  }
};
/// Open sessions that one order leaves to the next: a login takes longer than the statements after
/// it. Each engine has its own type.
struct open_sessions {
  open_sessions() = default;
  virtual ~open_sessions() = default;
  open_sessions(const open_sessions&) = delete;
  open_sessions& operator=(const open_sessions&) = delete;
};

/// Make the roles of an instance's bindings what they should be: refuse logins of roles that are no
/// longer wanted, create and alter the others, and wait until the replicas have replayed the
/// changes. Idempotent. Takes a few seconds at most, whatever the roles' sessions do.
struct role_order {
  std::string instance; ///< at most one order of an instance is under way
  std::string conn_url; ///< the leader's member::login_url
  model::credentials superuser;
  /// The role that owns everything that applications create: the instance's application user.
  model::credentials owner;
  /// Whether applications log in as the owner itself (bindings with shared credentials).
  bool owner_logs_in = false;
  bool owner_is_fresh = false; ///< a binding that logs in as the owner is still being made
  std::vector<wanted_role> wanted = {};
  /// Whether some bindings cannot be read. Then only roles in `revoked` are removed.
  bool some_unknown = false;
  std::vector<std::string> revoked = {};
  /// Roles that are made later. If an earlier order has made them already, they stay as they are.
  std::set<std::string> later = {};
  /// Running replicas where a removal will log in, too; this order begins that login. `login_url`
  /// by node id.
  std::map<std::string, std::string> replicas = {};
  /// The sender sets it when the next order cannot wait. This order then ends with what it has
  /// done.
  std::shared_ptr<std::atomic<bool>> hurry = {};
};
struct role_answer {
  bool ok = false;
  std::string why = {};
  int replicas = 0; ///< that stream from the leader
  int replayed = 0; ///< of these, how many have the change
  /// The roles to be removed (for the owner: whose sessions are to end), for a role_removal to
  /// follow. With a reason where even the login could not be refused.
  std::map<std::string, std::string> leaving = {};
  /// The wanted roles, or the owner if it was checked, that could not be made, and why.
  std::map<std::string, std::string> unmade = {};
  /// Those of `unmade` that may only need more time.
  std::set<std::string> late = {};
  /// The replicas that have the change, by the names under which they stream.
  std::set<std::string> caught_up = {};
  /// A replica lacks a revocation. The order ended early, with nothing else tried, so that the
  /// sender knows at once.
  bool cut_short = false;
  bool kept_out = false; ///< the leader refused the session, or did not let it finish
  /// If roles are leaving: sessions for the removal that follows.
  std::shared_ptr<open_sessions> at_hand = {};
};
/// Remove a role whose login is refused already: end its sessions everywhere, hand its objects over
/// to the owner, drop it. For the owner only the sessions end. What is not done within some seconds
/// is left to the next such order.
struct role_removal {
  std::string instance; ///< at most one removal of a role is under way
  std::string conn_url;
  model::credentials superuser;
  model::credentials owner;
  std::string name;
  /// The running replicas: `login_url` by node id.
  std::map<std::string, std::string> replicas = {};
  /// Other roles of the instance that are to be removed. If this role's sessions stay, theirs are
  /// looked at, too.
  std::set<std::string> others = {};
  /// Time since the first order for this role: logins that had begun by then may still succeed.
  std::chrono::milliseconds asked_for{0};
  /// Open sessions of the previous order; may be empty.
  std::shared_ptr<open_sessions> at_hand = {};
};
struct role_removal_answer {
  bool gone = false;
  std::string why = {};                           ///< set if it is not gone
  std::map<std::string, std::string> others = {}; ///< what keeps those of role_removal::others
  bool kept_out = false;                          ///< as above
  /// The replicas that refused the session, by node id.
  std::set<std::string> replicas_kept_out = {};
};

/// Set what an instance's applications may do beyond their roles.
struct rights_order {
  std::string instance;
  std::string conn_url; ///< the leader's member::login_url
  model::credentials superuser;
  std::string owner;    ///< the instance's application user
  bool readers = false; ///< whether there are read-only bindings
};
struct rights_answer {
  bool ok = false;
  std::string why = {};
  /// Whether everything was compared; if not, the next order continues.
  bool complete = false;
  /// Objects that an application is changing; they wait for a later order.
  std::vector<std::string> skipped = {};
};

/// How to reach a node's API.
struct node_contact {
  std::string instance;
  std::string node_id;
  std::string url; ///< member::api_url
  /// For TLS: whether the node must show a certificate of the fleet that names the node. Otherwise
  /// the system's authorities are trusted.
  bool by_fleet = false;
  model::credentials login; ///< model::secret_name::control
};

/// Ask a node which settings it has applied.
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
  bool pending_restart = false; ///< some settings wait for a restart of the node
};

/// Ask a node of a cluster that follows another one how far it has replayed.
struct position_question {
  node_contact node;
};
struct position_answer {
  bool ok = false;
  std::int64_t position = 0; ///< in the same form as cells report it for a stopped node
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
  std::int64_t history = 0; ///< the one that the leader writes: see model::data_at_stop
  std::string why = {};
};

/// Have another node lead. It is answered when that is done.
struct switch_over_order {
  node_contact leader;
  std::string to;
};
/// Change a cluster's settings, through one of its nodes.
struct configuration_order {
  node_contact by;
  std::string change; ///< model::engine::settings_change()
};
/// Restart a node's database, or start it if it has ended.
struct restart_order {
  node_contact node;
  bool only_if_waiting = false; ///< only while settings wait for a restart
  bool only_as_replica = false; ///< only while the node does not lead
};
/// Have a node read its settings again.
struct reload_order {
  node_contact node;
};
/// Have a node abandon the copy that it is making and copy the present leader.
struct copy_order {
  node_contact node;
};
struct order_answer {
  enum class outcome {
    done,
    refused,      ///< or the result is not known; see `why`
    not_started,  ///< the database did not start
    starts_alone, ///< the node is starting the database again by itself
  };
  outcome is = outcome::refused;
  std::string why = {};
  [[nodiscard]] bool done() const { return is == outcome::done; }
};

/// Talks to a running cluster's nodes in the engine's own protocol. Always answers.
using engine_actor = caf::typed_actor<
    /// How far the replicas are behind their leader.
    caf::replies_to<lag_question>::with<lag_answer>,
    /// Sets the roles of an instance's bindings.
    caf::replies_to<role_order>::with<role_answer>,
    /// Removes roles whose login is refused already.
    caf::replies_to<role_removal>::with<role_removal_answer>,
    /// Sets what applications may do beyond their roles.
    caf::replies_to<rights_order>::with<rights_answer>,
    /// Asks a node which settings it has applied.
    caf::replies_to<settings_question>::with<settings_answer>,
    /// Asks a node how far it has replayed.
    caf::replies_to<position_question>::with<position_answer>,
    /// Has a leader write down what it holds in memory only.
    caf::replies_to<flush_order>::with<flush_answer>,
    /// Have other nodes lead, or do something by themselves.
    caf::replies_to<switch_over_order>::with<order_answer>,
    caf::replies_to<configuration_order>::with<order_answer>,
    caf::replies_to<restart_order>::with<order_answer>,
    caf::replies_to<reload_order>::with<order_answer>,
    caf::replies_to<copy_order>::with<order_answer>>;

/// What an engine's actor works with. The board must outlive the actor.
struct engine_surroundings {
  http_actor http;
  const status_board* board = nullptr; ///< holds the signing authorities
  environment outside;
};

/// An engine, as the broker's wiring registers it.
class engine {
public:
  engine() = default;
  virtual ~engine() = default;
  engine(const engine&) = delete;
  engine& operator=(const engine&) = delete;

  /// The engine's decisions.
  [[nodiscard]] virtual const model::engine& decisions() const = 0;
  [[nodiscard]] virtual engine_actor spawn(caf::actor_system& system,
                                           const engine_surroundings& with) const = 0;
  /// Sets the authorities (PEM) that may have signed nodes' certificates, for all later
  /// connections. May be called from any thread.
  virtual void trust(const std::string& authorities) const = 0;
};

/// An engine as instances' actors use it.
struct engine_in_use {
  const model::engine* decisions = nullptr;
  engine_actor actor;
  /// Parameters that are added to clusters made without them: model::engine::defaults().
  std::map<std::string, std::string> late_parameters = {};
};

/// All engines, at least one. Clusters that name no engine use the first.
class engines_in_use {
public:
  engines_in_use(std::vector<engine_in_use> all) : all_(std::move(all)) {} // NOLINT
  /// The engine of that name, or the first engine if there is none of that name; records with an
  /// unknown engine are refused where they are read.
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
