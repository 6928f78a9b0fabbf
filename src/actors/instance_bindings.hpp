#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "actors/environment.hpp"
#include "actors/instance_host.hpp"
#include "actors/interfaces.hpp"
#include "actors/record_keeper.hpp"
#include "actors/rights_keeper.hpp"

namespace matriarch::actors {

/// The bindings of one instance, as part of its actor: their records in etcd are the desired state
/// of the database's users.
///
/// A bind writes the binding as `creating`, an unbind as `removing`. tend() compares what the roles
/// shall be with what the leader was last made to have, and asks the database actor to make them so
/// after any difference (also after a change of leader or timeline, and at each start). Roles that
/// are to go cannot log in from then on; a second order removes them, which may take as long as
/// their tenant holds it up, beside those that make others. Whatever is done is written: `ready`, or
/// the binding is deleted; and whoever waits is answered. A binding is `ready` only when every router
/// serves what its client connects to.
///
/// A replica that does not have a revocation yet lets the revoked in. It is written down as held
/// back, so that the routers give it no new connections, until it has.
class instance_bindings {
public:
  using answer = caf::typed_response_promise<model::verdict>;

  /// Keeper and host outlive this.
  instance_bindings(record_keeper& keeper, instance_host& host,
                    std::map<std::string, model::binding> known)
      : keeper_(keeper), host_(host), known_(std::move(known)), rights_(keeper, host) {}
  instance_bindings(const instance_bindings&) = delete;
  instance_bindings& operator=(const instance_bindings&) = delete;

  [[nodiscard]] const model::shared_map<std::string, model::binding>& all() const { return known_; }
  /// Why nothing could be made when that was last tried, rights included, or what new bindings wait
  /// for although their roles are as they shall be; empty if neither is so.
  [[nodiscard]] const std::string& refusal() const {
    return !refusal_.empty()            ? refusal_
           : !rights_.trouble().empty() ? rights_.trouble()
                                        : unserved_words_;
  }
  /// What new bindings wait for although their roles are as they shall be.
  [[nodiscard]] std::vector<model::route> unserved() const;
  /// By binding id, why its role could not be made, or is not gone yet.
  [[nodiscard]] std::map<std::string, std::string> troubles() const;
  /// The names of the keys that hold bindings nobody can read.
  [[nodiscard]] std::set<std::string> unreadable() const;

  // -- from etcd ----------------------------------------------------------------------------------

  /// One binding's key has changed; an echo of what this actor wrote is passed over.
  void learn(const store::key_value& entry, bool erased);
  /// All bindings' keys as of a revision.
  void relearn(const std::vector<store::key_value>& found, store::revision at);
  void forget();

  // -- requests -----------------------------------------------------------------------------------

  void bind(const model::bind_request& asked, answer owed);
  void unbind(const model::unbind_request& asked, answer owed);
  /// All bindings as they are to be written when they are encrypted anew.
  [[nodiscard]] std::vector<store::operation> rewritten() const;
  /// Whether something that a later release wrote into one is sealed with an earlier key.
  [[nodiscard]] bool has_old_seals() const;
  /// They were written at that revision.
  void wrote(store::revision at) { at_ = at; }

  // -- the loop -----------------------------------------------------------------------------------

  /// Called whenever something may have changed and no change of keys is under way.
  /// `takes_writes`: whether the cluster that serves may be written to. One that still follows another has
  /// its roles from there.
  void tend(bool takes_writes = true);
  /// Whether somebody waits for a role.
  [[nodiscard]] bool pending() const;

private:
  struct waiter {
    std::string binding_id;
    answer owed;
    bool removal = false;
    bool may_poll = false;
    caf::actor_clock::time_point since;
  };
  /// What the leader's roles were last made to be, or are being made.
  struct state_of_roles {
    std::string term; ///< which leader, of which timeline
    bool owner_logs_in = false;
    model::rare_set<std::string> sharing; ///< the makings of bindings that log in as the owner
    std::vector<wanted_role> wanted;
    bool some_unknown = false;
    std::vector<std::string> revoked;
    model::rare_set<std::string> later; ///< once its rights are there
    bool operator==(const state_of_roles&) const = default;
  };

  void learn_one(const store::key_value& entry);
  void write_new(model::binding fresh, answer owed);
  void write_with_port(model::binding fresh, answer owed);
  void leave_port();
  void take_port(model::binding fresh, const port_offer& offer, answer owed);
  void erase_now(const std::string& binding_id, answer owed);
  void wait(const std::string& binding_id, const answer& owed, bool removal, bool may_poll);
  void tell_ready(const std::string& binding_id);
  void tell_removed(const std::string& binding_id);
  void tell_pollers();
  void refuse_binds(const std::string& binding_id);
  [[nodiscard]] const model::record& record() const { return *keeper_.known(); }
  [[nodiscard]] const model::cluster_view& seen() const { return host_.around().living.seen; }
  [[nodiscard]] std::string key_of(const std::string& binding_id) const;
  [[nodiscard]] change change_to(const model::binding& next) const;
  [[nodiscard]] store::operation put_of(const model::binding& one) const;
  [[nodiscard]] model::verdict success(model::verdict_kind is, const std::string& binding_id) const;
  [[nodiscard]] std::string term() const;
  /// Whether that is so still.
  [[nodiscard]] bool leads(const std::string& by) const;
  [[nodiscard]] std::set<std::string> sharing() const;
  [[nodiscard]] std::optional<state_of_roles> wanted_state() const;
  [[nodiscard]] std::map<std::string, std::string> running_replicas() const;
  void tend_roles();
  void tend_removal();
  void have_refused_by_cells();
  /// Has the cells of nodes end what is open there of roles, where nobody gets in to do it.
  void end_sessions(const std::set<std::string>& nodes, const std::set<std::string>& roles) const;
  [[nodiscard]] std::set<std::string> to_be_refused() const;
  [[nodiscard]] std::set<std::string> that_let_in(const std::set<std::string>& roles) const;
  void hurry();
  void ask(state_of_roles wanted);
  void ask_for_removal(const std::string& role);
  void note_answer(const role_answer& said);
  /// Whether a client of this new binding would be let in at its port; notes what is waited for.
  [[nodiscard]] bool is_served(const model::binding& fresh);
  /// What the client of a binding connects to.
  [[nodiscard]] model::route route(bool read_only) const;
  /// Whether a client may know that port.
  [[nodiscard]] bool is_told_of(bool read_only) const;
  void note_unserved();
  void note_removal(const std::string& role, const role_removal_answer& said);
  void log_troubles(const std::map<std::string, std::string>& before) const;
  [[nodiscard]] std::string role_of(const model::binding& one) const;
  [[nodiscard]] bool hold_back(model::record& next, bool asked) const;
  bool hold_back_at_once();
  [[nodiscard]] bool may_be_let_go() const;
  /// Whether there is something to write, which is under way then.
  bool settle();
  /// What settle() wrote, by binding id.
  struct settlement {
    std::map<std::string, std::string> made; ///< each with its note
    std::vector<std::string> reached;        ///< by all replicas, since they were made
    std::vector<std::string> ended;
  };
  void settled(const settlement& what);
  [[nodiscard]] bool note_may_be_over() const;
  [[nodiscard]] std::string note_on_replicas() const;
  [[nodiscard]] bool is_late(const std::string& binding_id) const;
  [[nodiscard]] std::string what_is_awaited(const std::string& binding_id) const;
  /// What a user should know of a binding that is made now.
  [[nodiscard]] std::string note_on(const model::binding& one) const;

  record_keeper& keeper_;
  instance_host& host_;
  model::shared_map<std::string, model::binding> known_;
  rights_keeper rights_;
  /// Keys whose values cannot be read. What they say is not known, so no role is taken away for the
  /// want of a binding.
  model::rare_set<std::string> unreadable_;
  store::revision at_ = 0; ///< of this actor's last write to one
  std::vector<waiter> waiting_;
  model::rare_value<state_of_roles> confirmed_;
  int replicas_ = 0;                                 ///< that streamed when that was confirmed
  int replayed_ = 0;                                 ///< of these, how many had it
  model::rare_map<std::string, std::string> unmade_; ///< roles not made then, and why
  model::rare_set<std::string> late_;      ///< of these, those that may just need more time
  model::rare_set<std::string> caught_up_; ///< nodes whose replicas had it
  bool cut_short_ = false;                 ///< only revocations were done then
  std::size_t replicas_asked_ = 0;         ///< that ran when that was asked for
  bool asking_ = false;
  std::shared_ptr<std::atomic<bool>> hurry_;     ///< of the order that is under way, if one is
  model::rare_set<std::string> refused_in_it_;   ///< the roles that it refuses
  model::rare_map<bool, model::route> unserved_; ///< by whether it is the read-only one
  std::string unserved_words_;
  std::string refusal_; ///< what was last said instead; logged and published once
  caf::actor_clock::time_point answered_at_;
  patience patience_;
  /// Of the order that has just ended, for the removal that it leads to.
  std::shared_ptr<open_sessions> at_hand_;
  /// Roles that are to be removed from the leader, and why they are not gone yet.
  model::rare_map<std::string, std::string> leaving_;
  model::rare_set<std::string> removing_; ///< of these, those that are asked for
  struct next_try {
    std::optional<caf::actor_clock::time_point> first; ///< when it was asked for first
    caf::actor_clock::time_point at;
    caf::timespan pause{0}; ///< before it
  };
  model::rare_map<std::string, next_try> remove_again_; ///< what lingers
  model::rare_set<std::string> refused_; ///< by the database itself, as a leader has said
  std::string refused_by_;               ///< which leader, of which timeline
  /// What cells are asked to refuse, while the database does not.
  struct refusals {
    model::rare_map<std::string, caf::actor_clock::time_point>
        since;                             ///< each role has been to be refused
    caf::actor_clock::time_point asked_at; ///< last, and for what:
    model::rare_set<std::string> nodes;
    model::rare_set<std::string> roles;
  };
  refusals by_cells_;
};

} // namespace matriarch::actors
