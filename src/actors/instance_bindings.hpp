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

/// The bindings of one instance, as part of its actor. Their records in etcd are the desired state
/// of the database's users.
///
/// A bind writes the binding as `creating`, an unbind as `removing`. tend() compares the roles that
/// the leader should have with those that it was last given, and orders the database actor to make
/// up any difference, also after a change of leader or timeline and at each start. Roles to be
/// removed cannot log in from then on. A second order removes them, which takes as long as their
/// tenant's transactions hold it up; other orders go on beside it. Results are written: the binding
/// becomes `ready` or is deleted, and waiting requests are answered. A binding becomes `ready` only
/// when every router serves the port that its client connects to.
///
/// A replica that has not replayed a revocation still lets the revoked user in. Such a replica is
/// recorded as held back, so that routers give it no new connections until it has caught up.
class instance_bindings {
public:
  using answer = caf::typed_response_promise<model::verdict>;

  /// Keeper and host must outlive this object.
  instance_bindings(record_keeper& keeper, instance_host& host,
                    std::map<std::string, model::binding> known)
      : keeper_(keeper), host_(host), bindings_(std::move(known)), rights_(keeper, host) {}
  instance_bindings(const instance_bindings&) = delete;
  instance_bindings& operator=(const instance_bindings&) = delete;

  [[nodiscard]] const model::shared_map<std::string, model::binding>& all() const {
    return bindings_;
  }
  /// Why the last order or comparison of rights failed, or what new bindings wait for although
  /// their roles are up to date; empty if neither is the case.
  [[nodiscard]] const std::string& refusal() const {
    return !refusal_.empty()            ? refusal_
           : !rights_.trouble().empty() ? rights_.trouble()
                                        : unserved_words_;
  }
  /// The routes that new bindings wait for although their roles are up to date.
  [[nodiscard]] std::vector<model::route> unserved() const;
  /// By binding id, why its role could not be made or is not removed yet.
  [[nodiscard]] std::map<std::string, std::string> troubles() const;
  /// The names of the keys that hold unreadable bindings.
  [[nodiscard]] std::set<std::string> unreadable() const;

  // -- from etcd ----------------------------------------------------------------------------------

  /// Takes over a change of one binding's key; ignores echoes of this actor's own writes.
  void learn(const store::key_value& entry, bool erased);
  /// All bindings' keys as of a revision.
  void relearn(const std::vector<store::key_value>& found, store::revision at);
  void forget();

  // -- requests -----------------------------------------------------------------------------------

  void bind(const model::bind_request& asked, answer owed);
  void unbind(const model::unbind_request& asked, answer owed);
  /// All bindings as they are to be written for re-encryption.
  [[nodiscard]] std::vector<store::operation> rewritten() const;
  /// Whether a member that a later release wrote into a binding is sealed with an earlier key.
  [[nodiscard]] bool has_old_seals() const;
  /// Notes the revision at which the bindings were written.
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
  /// The roles that the leader was last given, or is being given.
  struct state_of_roles {
    std::string term; ///< the leader and its timeline
    bool owner_logs_in = false;
    model::rare_set<std::string> sharing; ///< the creations of bindings that log in as the owner
    std::vector<wanted_role> wanted;
    bool some_unknown = false;
    std::vector<std::string> revoked;
    model::rare_set<std::string> later; ///< roles that are made once their rights are there
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
  [[nodiscard]] const model::record& record() const { return *keeper_.record(); }
  [[nodiscard]] const model::cluster_view& seen() const { return host_.observations().living.seen; }
  [[nodiscard]] std::string key_of(const std::string& binding_id) const;
  [[nodiscard]] etcd_write write_of(const model::binding& next) const;
  [[nodiscard]] store::operation put_of(const model::binding& one) const;
  [[nodiscard]] model::verdict success(model::verdict_kind is, const std::string& binding_id) const;
  [[nodiscard]] std::string term() const;
  /// Whether the leader and timeline are still the same.
  [[nodiscard]] bool leads(const std::string& by) const;
  [[nodiscard]] std::set<std::string> sharing() const;
  [[nodiscard]] std::optional<state_of_roles> wanted_state() const;
  [[nodiscard]] std::map<std::string, std::string> running_replicas() const;
  void tend_roles();
  void tend_removal();
  void have_refused_by_cells();
  /// Has cells end the roles' sessions at nodes that the broker cannot log in to.
  void end_sessions(const std::set<std::string>& nodes, const std::set<std::string>& roles) const;
  [[nodiscard]] std::set<std::string> to_be_refused() const;
  [[nodiscard]] std::set<std::string> that_let_in(const std::set<std::string>& roles) const;
  void hurry();
  void ask(state_of_roles wanted);
  void ask_for_removal(const std::string& role);
  void note_answer(const role_answer& said);
  /// Whether this new binding's client would be let in at its port; otherwise notes what is waited
  /// for.
  [[nodiscard]] bool is_served(const model::binding& fresh);
  /// The route of a binding's client.
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
  /// Writes what has become final. Whether there was anything to write.
  bool settle();
  /// What settle() wrote, by binding id.
  struct settlement {
    std::map<std::string, std::string> made; ///< with their notes
    std::vector<std::string> reached;        ///< created earlier, and now on all replicas
    std::vector<std::string> ended;
  };
  void settled(const settlement& what);
  [[nodiscard]] bool note_may_be_over() const;
  [[nodiscard]] std::string note_on_replicas() const;
  [[nodiscard]] bool is_late(const std::string& binding_id) const;
  [[nodiscard]] std::string what_is_awaited(const std::string& binding_id) const;
  /// What a user should know about a binding that is being made.
  [[nodiscard]] std::string note_on(const model::binding& one) const;

  record_keeper& keeper_;
  instance_host& host_;
  model::shared_map<std::string, model::binding> bindings_;
  rights_keeper rights_;
  /// Keys with unreadable values. Their content is not known, so no role is removed for lack of a
  /// binding.
  model::rare_set<std::string> unreadable_;
  store::revision at_ = 0; ///< revision of this actor's last write to a binding
  std::vector<waiter> waiting_;
  model::rare_value<state_of_roles> confirmed_;
  int replicas_ = 0; ///< replicas that streamed at the last order's end
  int replayed_ = 0; ///< of these, those that had the change
  model::rare_map<std::string, std::string> unmade_; ///< roles that were not made, and why
  model::rare_set<std::string> late_;      ///< of these, those that may only need more time
  model::rare_set<std::string> caught_up_; ///< nodes whose replicas had the change
  bool cut_short_ = false;                 ///< the order did revocations only
  std::size_t replicas_asked_ = 0;         ///< replicas that ran when the order was sent
  bool asking_ = false;
  std::shared_ptr<std::atomic<bool>> hurry_;     ///< of the order under way
  model::rare_set<std::string> refused_in_it_;   ///< roles that the order under way refuses
  model::rare_map<bool, model::route> unserved_; ///< by whether the route is the read-only one
  std::string unserved_words_;
  std::string refusal_; ///< the last failure; logged and published once
  caf::actor_clock::time_point answered_at_;
  patience patience_;
  /// Open sessions of the order that has just ended, for the removal that follows.
  std::shared_ptr<open_sessions> at_hand_;
  /// Roles to be removed from the leader, and why they are not removed yet.
  model::rare_map<std::string, std::string> leaving_;
  model::rare_set<std::string> removing_; ///< of these, those whose removal is under way
  struct next_try {
    std::optional<caf::actor_clock::time_point> first; ///< time of the first removal order
    caf::actor_clock::time_point at;
    caf::timespan pause{0}; ///< before `at`
  };
  model::rare_map<std::string, next_try> remove_again_; ///< roles whose removal takes longer
  model::rare_set<std::string> refused_;                ///< roles that a leader's database refuses
  std::string refused_by_;                              ///< that leader and its timeline
  /// What cells are asked to refuse until the database does.
  struct refusals {
    model::rare_map<std::string, caf::actor_clock::time_point>
        since;                             ///< since when each role is to be refused
    caf::actor_clock::time_point asked_at; ///< time of the last request, which was for:
    model::rare_set<std::string> nodes;
    model::rare_set<std::string> roles;
  };
  refusals by_cells_;
};

} // namespace matriarch::actors
