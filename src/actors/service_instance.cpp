#include "actors/service_instance.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>

#include "actors/adoption.hpp"
#include "actors/alarm.hpp"
#include "actors/instance_acceptance.hpp"
#include "actors/instance_bindings.hpp"
#include "actors/instance_clusters.hpp"
#include "actors/instance_demotions.hpp"
#include "actors/instance_ports.hpp"
#include "actors/last_words.hpp"
#include "actors/record_keeper.hpp"
#include "base/json.hpp"
#include "base/times.hpp"
#include "base/utf8.hpp"
#include "model/acceptance.hpp"
#include "model/addresses.hpp"
#include "model/bootstrap.hpp"
#include "model/event.hpp"
#include "model/fitness.hpp"
#include "model/names.hpp"
#include "model/plan.hpp"
#include "model/rebuild_request.hpp"
#include "model/replica_health.hpp"
#include "model/words.hpp"
#include "store/etcd_access.hpp"
#include "store/grave_json.hpp"
#include "store/keys.hpp"
#include "store/port_json.hpp"
#include "store/tombstone_json.hpp"
#include "store/unknown_members.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;
namespace keys = store::keys;

// How often an operation under way is checked when nothing happens: its deadlines are minutes.
constexpr caf::timespan working_pause = 1s;
// How often a cluster checks whether it may adopt late parameters.
constexpr caf::timespan adoption_pause = 5s;
// etcd takes 128 operations in a transaction; the record is one of them.
constexpr std::size_t most_operations = 100;
// How long a cell that failed to start a node for a repair is avoided.
constexpr caf::timespan avoidance = 60s;

class service_instance final : private instance_host {
public:
  service_instance(service_instance_actor::pointer self, instance_setup_ptr setup,
                   instance_start start, activity now)
      : self_(self), alarm_(self), setup_(std::move(setup)),
        keeper_(*this, self, *setup_, std::move(start.name), std::move(now)),
        adoption_(setup_->out->status.adopting), acceptance_(keeper_, *this),
        bindings_(keeper_, *this, std::move(start.bindings)),
        clusters_(keeper_, *this, observations_), demotions_(keeper_, observations_),
        ports_(keeper_, *this, observations_) {
    observations_.routed_as = name();
    if (start.known)
      keeper_.adopt(std::move(*start.known), start.at);
    for (auto* part : clusters_.parts())
      part->steps.outlast_admissions();
  }

  service_instance_actor::behavior_type behavior() {
    go_on();
    return {
        [this](model::request& what) -> caf::result<model::verdict> {
          auto owed = self_->make_response_promise<model::verdict>();
          std::visit([&](auto& asked) { take(std::move(asked), owed); }, what);
          return owed;
        },
        [this](const model::demote_request& what) { return demotions_.demote(what); },
        [this](const model::forget_request& what) { return forget_cell(what.cell); },
        [this](const key_changes& changed) {
          for (const auto& c : changed.changes)
            learn(c.entry, c.what == store::change::kind::erase);
          seen_changed();
        },
        [this](const key_listing& all) { relearn(all); },
        [this](const activity& now) {
          keeper_.note(now);
          for (auto* part : clusters_.parts()) {
            part->steps.outlast_admissions();
            part->steps.forget_confirmations();
            if (!now.active)
              clusters_.forget_turn(*part); // turns end with the activity
          }
          go_on();
        },
        [this](const cell_news& now) {
          if (now.watching != news_.watching)
            for (auto* part : clusters_.parts())
              part->watch.forget_unwell_times();
          news_ = now;
          observations_.lost_cells = now.lost;
          observations_.repair_halted = now.halted;
          go_on();
        },
        [this](const registered_addresses& said) {
          for (const auto& [node_id, at] : said.nodes)
            for (auto* part : clusters_.parts())
              if (part->watch.cluster() && part->watch.cluster()->find_node(node_id) != nullptr)
                part->watch.learn_address(node_id, at);
          go_on();
        },
        [this](const turn_given& turn) {
          clusters_.give_turn(turn.scope);
          go_on();
        },
        [this](routed_atom) {
          awaited_routes_ = {}; // the router directory has dropped the request
          go_on();
        },
        [this](tick_atom) {
          if (alarm_.rings())
            tick();
        },
        [this](again_atom) { keeper_.try_again(); },
    };
  }

private:
  using answer = caf::typed_response_promise<model::verdict>;

  // -- for this actor's parts ---------------------------------------------------------------------

  [[nodiscard]] const model::instance_observations& observations() const override {
    return observations_;
  }
  void wake(caf::timespan pause) override { alarm_.set(pause); }

  // -- what is known ------------------------------------------------------------------------------

  [[nodiscard]] const std::string& name() const { return keeper_.name(); }
  [[nodiscard]] const model::record* record() const { return keeper_.record(); }

  void record_changed(bool rerouted) override {
    clusters_.arrange();
    if (rerouted)
      note_route(keeper_.at());
    for (auto* part : clusters_.parts())
      part->watch.judge_members();
    clusters_.report_cells();
  }

  void record_gone() override {
    bindings_.forget();
    demotions_.forget();
    clusters_.retire_all();
    observations_ = {};
    observations_.routed_as = name();
    unserved_.reset();
    watch_routes();
    avoid_.clear();
    repair_.clear();
    clusters_.report_cells();
    setup_->out->instances.remove(name());
    ended_ = true;
    answer_waiting();
  }

  void not_accepted() override { ended_ = !record(); }
  void switchover_failed() override { demotions_.answer(); }

  /// Takes over a changed key of this instance or of its scopes.
  void learn(const store::key_value& entry, bool erased) {
    if (entry.key == keeper_.key()) {
      keeper_.learn(entry, erased);
    } else if (entry.key.starts_with(keys::bindings(name()))) {
      bindings_.learn(entry, erased);
    } else {
      for (auto* part : clusters_.parts())
        part->watch.learn(entry, erased);
    }
  }

  /// What routers read of this instance changed at that revision.
  void note_route(store::revision at) override {
    observations_.routed_at = std::max(observations_.routed_at, at);
  }

  /// Takes over all keys as they are in etcd, after a gap in the watch.
  void relearn(const key_listing& all) {
    std::vector<store::key_value> bindings;
    // The record comes first, since it lists the clusters.
    auto record = std::ranges::find(all.found, keeper_.key(), &store::key_value::key);
    const bool recorded = record != all.found.end();
    if (recorded)
      learn(*record, false);
    for (auto* part : clusters_.parts())
      part->watch.begin_anew();
    for (const auto& entry : all.found) {
      if (entry.key == keeper_.key())
        continue;
      if (entry.key.starts_with(keys::bindings(name())))
        bindings.push_back(entry);
      else
        learn(entry, false);
    }
    if (!keeper_.busy())
      bindings_.relearn(bindings, all.at);
    if (!recorded)
      keeper_.learn_absence(all.at);
    seen_changed();
  }

  void seen_changed() {
    clusters_.report_changed_cells();
    go_on();
  }

  void tell(model::happening what) override {
    setup_->tell(
        {setup_->outside.now(), name(), record() ? record()->instance_id : "", std::move(what)});
  }

  // -- publishing ---------------------------------------------------------------------------------

  [[nodiscard]] model::snapshot_ptr snapshot() const override {
    auto newest = std::make_shared<model::instance_snapshot>();
    newest->known = *record();
    newest->seen = observations_.living.seen;
    newest->bindings = bindings_.all();
    newest->unreadable_bindings = bindings_.unreadable();
    newest->roles_wait_for = bindings_.refusal();
    newest->binding_troubles = bindings_.troubles();
    newest->progress = model::describe(*record(), observations_.living.seen, waiting_for_);
    newest->repair = repair_;
    newest->rebuilding = rebuilding_;
    for (const auto* part : clusters_.parts())
      if (part != clusters_.living())
        newest->seen_beside[part->watch.scope()] = part->watch.here().seen;
    newest->route_waits_for = route_details();
    return newest;
  }

  void publish() override {
    if (!record() || record()->phase != model::record_phase::accepted)
      return;
    auto newest = snapshot();
    keeper_.share({newest, &newest->known});
    setup_->out->instances.publish(name(), std::move(newest));
    answer_waiting();
  }

  // -- requests -----------------------------------------------------------------------------------

  /// Requests that change something wait for the end of the write under way, so that each sees its
  /// result.
  template <class Request>
  void take(Request asked, answer owed) {
    keeper_.in_turn([this, asked = std::move(asked), owed]() mutable { judge(asked, owed); });
    if (!record())
      go_on(); // lets the actor end if the request was refused
  }

  /// On a passive broker, refuses changes: its copy of the record may be old.
  template <class Request>
  void judge(Request& asked, answer owed) {
    constexpr bool only_reads =
        std::is_same_v<Request,
                       model::lookup_request> || std::is_same_v<Request, model::await_request>;
    if (only_reads || !record() || keeper_.may_act(owed))
      serve(asked, owed);
    // The actor was started for this request, which made no record.
    ended_ = ended_ || (!record() && !keeper_.busy());
  }

  static void refuse(answer& owed, model::verdict_kind is, std::string why) {
    owed.deliver(model::verdict{is, std::move(why)});
  }

  bool must_exist(const std::string& instance_id, answer& owed) {
    if (!record())
      refuse(owed, model::verdict_kind::not_found,
             "there is no service instance " + matriarch::quoted(instance_id));
    return record() != nullptr;
  }

  void serve(model::lookup_request& asked, answer owed) {
    if (must_exist(asked.instance_id, owed))
      owed.deliver(model::verdict{model::verdict_kind::done, "", record()->current.id, snapshot()});
  }

  void serve(model::await_request& asked, answer owed) {
    awaited_.push_back({asked.operation_id, owed});
    answer_waiting();
  }

  void serve(model::provision_request& asked, answer owed) {
    if (record() && record()->phase == model::record_phase::accepting) {
      // A record that another broker left in phase accepting: the active broker removes it, so no
      // promise is made.
      refuse(owed, model::verdict_kind::unavailable,
             "an earlier provision of this id is being taken back; try again in a few seconds");
    } else if (record()) {
      auto said = model::judge_provision(asked, *record());
      said.instance = snapshot();
      owed.deliver(std::move(said));
    } else if (keeper_.may_act(owed)) {
      auto cells = setup_->out->status.cells.load();
      auto unfit = model::why_unfit_for_new(asked.plan_id, asked.desired.settings,
                                            asked.desired.cells, *cells);
      if (!unfit.empty())
        return refuse(owed, model::verdict_kind::refused, std::move(unfit));
      ended_ = false;
      acceptance_.accept(std::move(asked), owed);
    }
  }

  void serve(model::update_request& asked, answer owed) {
    if (!must_exist(asked.instance_id, owed))
      return;
    auto said =
        model::judge_update(asked, *record(), setup_->outside.new_id(), setup_->outside.now(),
                            model::unwell_nodes(*record(), observations_.living.seen) == 0);
    auto unfit = said.write ? why_unfit(*said.write, asked.cells.has_value()) : std::string{};
    if (!unfit.empty() && said.write->desired.settings == record()->desired.settings)
      return refuse(owed, model::verdict_kind::refused, std::move(unfit));
    if (!unfit.empty())
      said.write = model::failed_at_once(*record(), *said.write, std::move(unfit));
    rule(std::move(said), owed);
  }

  /// Why nodes could not become what an update wants. The present plan is not checked, even if a
  /// cell's engine has another version by now.
  [[nodiscard]] std::string why_unfit(const model::record& next, bool names_cells) const {
    bool other_settings = next.desired.settings != record()->desired.settings;
    if (!other_settings && !names_cells)
      return {};
    std::vector<std::string> used;
    if (other_settings)
      for (const auto& n : record()->living.nodes)
        if (n.phase != model::node_phase::removing)
          used.push_back(n.cell);
    return model::why_unfit_for_change(next.plan_id, next.desired.settings, next.desired.cells,
                                       used, *setup_->out->status.cells.load());
  }

  void serve(model::deprovision_request& asked, answer owed) {
    if (!record())
      refuse(owed, model::verdict_kind::gone,
             "there is no service instance " + matriarch::quoted(asked.instance_id));
    else
      rule(model::judge_deprovision(asked, *record(), setup_->outside.new_id(),
                                    setup_->outside.now()),
           owed);
  }

  /// Writes the ruling's record, if any, and answers.
  void rule(model::ruling said, answer owed) {
    if (!said.write) {
      said.answer.instance = snapshot();
      owed.deliver(std::move(said.answer));
      return;
    }
    if (!keeper_.may_act(owed))
      return;
    keeper_.write(std::move(*said.write), {}, {},
                  [this, owed, told = std::move(said.answer),
                   before = record()->current.id](const write_result& came) mutable {
                    if (!came.done())
                      return refuse(owed, model::verdict_kind::unavailable, came.why);
                    clusters_.living()->steps.forget_failures();
                    accepted_at_ = keeper_.at();
                    clusters_.living()->watch.forget_lag(); // decisions need the lag as of now
                    if (record()->current.id != before)
                      tell_begun();
                    publish();
                    told.instance = snapshot();
                    owed.deliver(std::move(told));
                  });
  }

  /// Reports the beginning of an operation, which may have ended in the same write.
  void tell_begun() {
    tell(model::operation_accepted{record()->current.type, record()->current.id});
    if (record()->current.state != model::operation_state::in_progress)
      tell_end();
  }

  void tell_end() {
    tell(model::end_of(*record(), record()->current.state == model::operation_state::succeeded,
                       setup_->outside.now()));
  }

  void serve(model::bind_request& asked, answer owed) {
    if (!must_exist(asked.instance_id, owed))
      return;
    observations_.routing = setup_->out->status.routers.load();
    bindings_.bind(asked, owed);
  }

  void serve(model::unbind_request& asked, answer owed) {
    if (record())
      bindings_.unbind(asked, owed);
    else
      refuse(owed, model::verdict_kind::gone,
             "there is no service instance " + matriarch::quoted(asked.instance_id));
  }

  void serve(model::rebuild_request& asked, answer owed) {
    if (!must_exist(asked.instance_id, owed))
      return;
    model::new_rebuild_values values{setup_->outside.new_id(),
                                     std::move(asked.requested_by),
                                     scopes_passed_over_,
                                     {},
                                     setup_->outside.now()};
    const auto scope = model::next_scope(*record(), scopes_passed_over_);
    // These are no part of the data: the new nodes have their own.
    values.secrets[model::secret_name::control] = {
        record()->living.secret_of(model::secret_name::control).username,
        setup_->outside.new_password()};
    if (setup_->etcd_users)
      values.secrets[model::secret_name::etcd] = {"scope-" + scope, setup_->outside.new_password()};
    look_which_cells_halt(true);
    auto said = model::judge_rebuild(*record(), observations_, std::move(values));
    if (!said.write) {
      said.answer.instance = snapshot();
      owed.deliver(std::move(said.answer));
      return;
    }
    if (!keeper_.may_act(owed))
      return;
    // Erases what nodes of an earlier cluster of this scope may have written.
    std::vector<store::operation> erased;
    for (auto& range : store::written_by_nodes(scope))
      erased.push_back(store::erase{std::move(range)});
    keeper_.write(
        std::move(*said.write), {store::absent(keys::leader(scope))}, std::move(erased),
        [this, owed, scope, told = std::move(said.answer)](const write_result& came) mutable {
          if (!came.done()) {
            // A node that nobody knows of may lead there: the next wish takes another scope.
            ++scopes_passed_over_;
            return refuse(owed, model::verdict_kind::unavailable,
                          came.why + " (the scope of the new cluster was to be " + scope
                              + "; the next one will be another)");
          }
          tell(model::rebuild_begun{record()->rebuilt->id, scope});
          publish();
          told.instance = snapshot();
          owed.deliver(std::move(told));
        });
  }

  /// Of the cells of the cluster that serves. `all_that_answer`: also one that has not told what it can,
  /// which may be a passing fault of it.
  void look_which_cells_halt(bool all_that_answer) {
    observations_.able_to_halt.clear();
    observations_.unable_to_halt.clear();
    auto cells = setup_->out->status.cells.load();
    for (const auto& n : record()->living.nodes) {
      const auto* view = model::find_cell(*cells, n.cell);
      if (view == nullptr)
        continue;
      if (view->halts)
        observations_.able_to_halt.insert(n.cell);
      else if (view->reachable && (view->told || all_that_answer))
        observations_.unable_to_halt[n.cell] =
            view->fencing == "unknown" ? "is of another make, and cannot say that it has stopped"
                                       : "is of a release that cannot stop it and keep it";
    }
  }

  /// Writes the same values again, sealed with the newest key.
  void serve(model::reencrypt_request& asked, answer owed) {
    if (!must_exist(asked.instance_id, owed) || !keeper_.may_act(owed))
      return;
    rewrite(bindings_.rewritten(), owed);
  }

  /// Writes the record with a batch of bindings, until all bindings are written.
  void rewrite(std::vector<store::operation> left, answer owed) {
    auto batch = std::min(left.size(), most_operations);
    std::vector<store::operation> now(std::make_move_iterator(left.end() - batch),
                                      std::make_move_iterator(left.end()));
    left.resize(left.size() - batch);
    keeper_.write(
        *record(), {}, std::move(now),
        [this, left = std::move(left), owed](const write_result& came) mutable {
          if (!came.done())
            return refuse(owed, model::verdict_kind::unavailable, came.why);
          bindings_.wrote(came.at);
          if (!left.empty())
            return rewrite(std::move(left), owed);
          if (store::has_old_seals(record()->unknown, *setup_->keys) || bindings_.has_old_seals())
            return refuse(owed, model::verdict_kind::unavailable,
                          "a later release has sealed something here with an earlier key, which "
                          "only that release can seal anew: keep that key until it has");
          if (auto lost = bindings_.unreadable(); !lost.empty())
            return refuse(owed, model::verdict_kind::unavailable, model::unreadable(*lost.begin()));
          owed.deliver(model::verdict{model::verdict_kind::done});
        });
  }

  /// Answers requests that wait for an operation, if it has ended.
  void answer_waiting() {
    std::erase_if(awaited_, [this](auto& one) {
      bool ended = !record() || record()->current.id != one.operation_id
                   || record()->current.state != model::operation_state::in_progress;
      if (ended)
        one.owed.deliver(
            record() ? model::verdict{model::verdict_kind::done, "", one.operation_id, snapshot()}
                     : model::verdict{model::verdict_kind::gone});
      return ended;
    });
  }

  // -- the loop: decide, write, act ---------------------------------------------------------------

  void tick() {
    // No answer to a retired part is on its way at this point.
    clusters_.let_retired_go();
    for (auto* part : clusters_.parts())
      part->steps.look_again();
    go_on();
  }

  /// Called after every event that may change what comes next.
  void go_on() override {
    const auto now = self_->clock().now();
    ports_.let_go(now);
    for (auto* part : clusters_.parts())
      part->steps.let_go(now);
    if (!keeper_.serve_waiting())
      return;
    if (!record()) {
      if (ended_)
        self_->quit();
      return;
    }
    observations_.routing = setup_->out->status.routers.load();
    demotions_.answer();
    for (auto* part : clusters_.parts()) {
      part->watch.judge_members(); // by what is known of the cells by now
      part->steps.forget_old_halts();
    }
    look_around();
    if (!keeper_.acts()) {
      repair_.clear();
      publish();
      // The renewal of the lease is late, but may still succeed.
      if (keeper_.heard().active && pending())
        alarm_.set(working_pause);
      return;
    }
    if (keeper_.rests())
      return alarm_.set(record_keeper::retry_pause);
    if (record()->phase == model::record_phase::accepting) {
      acceptance_.undo();
      return;
    }
    if (adopt_parameters() || begin_bootstrap_anew())
      return;
    for (auto* part : clusters_.parts())
      clusters_.observations_of(*part).runs = keeper_.engine().decisions;
    observations_.now = setup_->outside.now();
    observations_.reroutes = observations_.routed_at >= accepted_at_;
    auto next = model::decide(*record(), observations_);
    waiting_for_ = next.waiting_for;
    if (next.repair != repair_)
      tell(model::repair_changed{next.repair});
    repair_ = next.repair;
    rebuilding_ = next.rebuilding;
    unserved_ = next.unserved;
    publish();
    for (auto* part : clusters_.parts())
      clusters_.ask_for_turn(*part, std::ranges::find(next.wants_turn, part->watch.scope())
                                        != next.wants_turn.end());
    if (next.write) {
      write_decision(std::move(next));
    } else {
      for (const auto& step : next.steps)
        std::visit([this](const auto& one) { perform(one); }, step);
      // All instances look after their roles at a broker's start: reading the others comes first.
      // A cluster that follows another one takes no roles yet: those are there with the data.
      if (!keeper_.busy() && setup_->out->status.loaded)
        bindings_.tend(record()->living.follows.empty());
    }
    watch_routes();
    if (pending())
      alarm_.set(working_pause);
  }

  /// Reports an event once etcd has accepted the write that causes it.
  [[nodiscard]] record_keeper::after_commit telling(model::happening what) {
    return [this, what = std::move(what)](const write_result& came) {
      if (came.done())
        tell(what);
      else
        spdlog::warn("instance {}: not written: {}", name(), came.why);
    };
  }

  /// True if a write has begun that adds late parameters.
  bool adopt_parameters() {
    adoption_.end_if_over(*record(), keeper_.engine().late_parameters);
    if (record()->is_being_rebuilt())
      return false;
    if (!adoption_.is_due(*record(), keeper_.engine().late_parameters)
        || !observations_.living.seen.running(observations_.living.seen.leader))
      return false;
    auto next = adoption_.begin(*record(), keeper_.engine().late_parameters);
    if (!next) {
      alarm_.set(adoption_pause);
      return false;
    }
    keeper_.write(std::move(*next), {}, {}, telling(model::parameters_adopted{}));
    return true;
  }

  /// Replaces the nodes of a new cluster that never had a leader and so has no tenant's data.
  bool replace_all_nodes(const std::string& scope) {
    auto next = *record();
    for (auto& n : next.cluster_of(scope)->nodes)
      n.phase = model::node_phase::removing;
    keeper_.write(std::move(next), {store::absent(keys::leader(scope))}, {},
                  telling(model::bootstrap_repeated{true}));
    return true;
  }

  /// True if a write has begun that removes the key `initialize`: all nodes of a new cluster wait
  /// for a node that does not make the data.
  bool begin_bootstrap_anew() {
    return begin_bootstrap_anew(*clusters_.living(), model::is_being_made(*record()))
           || (clusters_.incoming() != nullptr
               && begin_bootstrap_anew(*clusters_.incoming(),
                                       record()->is_being_rebuilt()
                                           && !record()->incoming->had_leader));
  }

  bool begin_bootstrap_anew(cluster_part& part, bool first) {
    const auto& scope = part.watch.scope();
    auto said = part.watch.judge_bootstrap(first);
    if (said.stuck)
      return replace_all_nodes(scope);
    if (!said.abandoned)
      return false;
    auto key = keys::initialize(scope);
    keeper_.write(*record(),
                  {store::absent(keys::leader(scope)),
                   store::unchanged_since(key, part.watch.initialized_at())},
                  {store::erase{{key, ""}}}, telling(model::bootstrap_repeated{}));
    return true;
  }

  [[nodiscard]] bool pending() const {
    if (!record())
      return false;
    if (record()->current.state == model::operation_state::in_progress || !record()->desired.exists
        || !record()->living.switching_to.empty() || record()->living.taking_up.has_value()
        || bindings_.pending() || observations_.living.repair_turn || observations_.living.shortage
        || record()->is_being_rebuilt() || record()->incoming || record()->outgoing
        || std::ranges::any_of(record()->living.nodes, &model::node::is_kept_stopped))
      return true;
    int present = 0;
    for (const auto& n : record()->living.nodes) {
      bool removing = n.phase == model::node_phase::removing;
      present += removing ? 0 : 1;
      // Nodes on a lost cell do not count: the cell's return is reported.
      if (n.phase != model::node_phase::started
          && !(removing && observations_.lost_cells.contains(n.cell)))
        return true;
    }
    return present != record()->desired.node_count;
  }

  // -- routers ------------------------------------------------------------------------------------

  [[nodiscard]] std::vector<model::route> unserved_routes() const {
    auto all = bindings_.unserved();
    if (unserved_ && std::ranges::find(all, *unserved_) == all.end())
      all.push_back(*unserved_);
    if (demotions_.pending())
      all.push_back(demotions_.new_leader());
    return all;
  }

  /// Asks the router directory for a message when the awaited routes may be served.
  void watch_routes() {
    routes_wanted now{name(), unserved_routes(),
                      observations_.routing ? observations_.routing->version : std::uint64_t{0}};
    if (now.routes == awaited_routes_)
      return;
    awaited_routes_ = now.routes;
    self_->send(setup_->routers, std::move(now));
  }

  [[nodiscard]] std::string route_details() const {
    std::string text;
    if (observations_.routing)
      for (const auto& one : unserved_routes()) {
        auto more = model::details_of(model::waits_for(*observations_.routing, one),
                                      *observations_.routing, one);
        text += (text.empty() || more.empty() ? "" : "; ") + more;
      }
    return text;
  }

  void perform(const model::change_port& step) {
    if (step.from == record()->endpoints[model::endpoint::primary])
      change_port(model::endpoint::primary);
  }

  void change_port(model::endpoint which) override { ports_.change_port(which); }

  // -- repair -------------------------------------------------------------------------------------

  /// Updates which cells are avoided and which nodes have been unhealthy for too long.
  void look_around() {
    auto now = self_->clock().now();
    erase_if(avoid_, [&](const auto& one) { return one.second.until <= now; });
    observations_.avoid.clear();
    for (const auto& [cell, why] : avoid_)
      observations_.avoid[cell] = why.reason;
    for (auto* part : clusters_.parts())
      part->watch.look_at_health(news_);
    if (record()->is_being_rebuilt())
      look_which_cells_halt(false);
  }

  void avoid_cell(const std::string& cell, const std::string& why) override {
    avoid_[cell] = {self_->clock().now() + avoidance, why};
  }

  void write_decision(model::decision next) override {
    std::vector<store::operation> graves;
    for (const auto& [scope, n] : next.buried)
      graves.push_back(store::put{keys::grave(n.cell, n.node_id),
                                  store::encode_grave({scope, setup_->outside.now()})});
    std::vector<store::compare> compares;
    if (!next.unless_led.empty())
      compares.push_back(store::absent(keys::leader(next.unless_led)));
    auto before = record()->current.state;
    auto served_by = record()->living.scope;
    keeper_.write(std::move(*next.write), std::move(compares), std::move(graves),
                  [this, before, served_by, rebuilding = record()->is_being_rebuilt(),
                   buried = next.buried](const write_result& came) {
                    if (!came.done()) {
                      spdlog::warn("instance {}: not written: {}", name(), came.why);
                      return;
                    }
                    for (const auto& one : buried)
                      forget_node(one);
                    if (record()->living.scope != served_by)
                      tell(model::cluster_exchanged{served_by, record()->living.scope});
                    if (const auto& task = record()->rebuilt;
                        rebuilding && !record()->is_being_rebuilt())
                      tell(model::rebuild_ended{task->id, task->succeeded, task->outcome});
                    if (before == model::operation_state::in_progress
                        && record()->current.state != model::operation_state::in_progress)
                      tell_end();
                  });
  }

  void forget_node(const model::decision::burial& one) {
    if (auto* part = clusters_.part_of(one.scope)) {
      part->watch.forget_node(one.which.node_id);
      part->steps.forget_node(one.which.node_id);
    }
  }

  void perform(const model::scoped_step& step) {
    if (auto* part = clusters_.part_of(step.scope))
      part->steps.perform(step.what);
  }

  void perform(const model::forget_cluster& step) { clusters_.forget(step); }

  // -- the end ------------------------------------------------------------------------------------

  /// Ends the instance in one transaction, so that no part of it outlives the others.
  void perform(const model::release_port&) {
    if (!clusters_.living()->steps.is_dismissed())
      return;
    auto now = setup_->outside.now();
    auto value = store::encode_tombstone(model::tombstone_of(*record(), bindings_.all(), now));
    etcd_write what;
    what.compares = {store::unchanged_since(keeper_.key(), keeper_.at())};
    what.operations = {store::erase{store::keys_below(keys::everything_of(name()))},
                       store::erase{{keys::allocation(name()), ""}},
                       store::erase{{keys::read_only_allocation(name()), ""}},
                       store::put{keys::tombstone(name()), value}};
    // Nodes on cells that were given up may have written again what a scope had before.
    what.operations.push_back(store::erase{store::keys_of_later_scopes(name())});
    for (int port : record()->endpoints.all())
      if (port != 0)
        what.operations.push_back(
            store::put{keys::port(port), store::encode_port_use({name(), now, 0})});
    what.witness = {keys::tombstone(name()), ""};
    what.made = [value](const auto& found) {
      return !found.empty() && found.front().value == value;
    };
    keeper_.commit(std::move(what), [this](const write_result& came) {
      if (!came.done()) {
        spdlog::warn("instance {}: not released: {}", name(), came.why);
        return;
      }
      tell(model::end_of(*record(), true, setup_->outside.now()));
      keeper_.forget();
    });
  }

  // -- forgotten cells ----------------------------------------------------------------------------

  caf::result<model::forget_report> forget_cell(const std::string& cell) {
    auto owed = self_->make_response_promise<model::forget_report>();
    keeper_.in_turn([this, cell, owed] { forget_nodes(cell, owed); });
    go_on();
    return owed;
  }

  /// Marks the nodes on the cell: nodes being removed need no confirmation any more, the others are
  /// replaced.
  void forget_nodes(const std::string& cell,
                    caf::typed_response_promise<model::forget_report> owed) {
    model::forget_report report{true, "", {}};
    auto next = record() ? *record() : model::record{};
    for (auto* cluster : next.clusters())
      for (auto& n : cluster->nodes)
        if (n.cell == cell) {
          n.forgotten = true;
          report.entries.push_back(
              {next.instance_id, n.node_id, n.phase == model::node_phase::removing, ""});
        }
    if (!record() || next == *record()) {
      owed.deliver(std::move(report));
      return;
    }
    auto failed = [owed, report](const std::string& why) mutable {
      for (auto& entry : report.entries)
        entry.why = why;
      owed.deliver(std::move(report));
    };
    if (!keeper_.heard().active)
      return failed("this broker is not the active one");
    keeper_.write(std::move(next), {}, {},
                  [owed, report, failed](const write_result& came) mutable {
                    if (came.done())
                      owed.deliver(std::move(report));
                    else
                      failed(came.why);
                  });
  }

  service_instance_actor::pointer self_;
  alarm<service_instance_actor::pointer> alarm_;
  instance_setup_ptr setup_;
  record_keeper keeper_;
  adoption adoption_;
  instance_acceptance acceptance_;
  instance_bindings bindings_;
  model::instance_observations observations_;
  instance_clusters clusters_;
  instance_demotions demotions_;
  instance_ports ports_;
  std::string waiting_for_;
  /// Revision of the record with the operation in progress, if this actor has written it.
  store::revision accepted_at_ = 0;
  model::rare_value<model::route> unserved_; ///< what the operation waits for
  std::vector<model::route> awaited_routes_; ///< as the router directory knows
  int scopes_passed_over_ = 0;               ///< by rebuilds, since somebody leads there
  std::string rebuilding_;                   ///< what a rebuild waits for, in words
  std::string repair_;                       ///< what is being repaired, in words

  cell_news news_;
  struct avoidance_of_a_cell {
    caf::actor_clock::time_point until;
    std::string reason;
  };
  model::rare_map<std::string, avoidance_of_a_cell> avoid_; ///< by cell guid

  struct awaited {
    std::string operation_id;
    answer owed;
  };
  std::vector<awaited> awaited_;

  bool ended_ = false; ///< the instance is gone, and no request waits
};

struct state {
  std::unique_ptr<service_instance> self;
};

} // namespace

service_instance_actor spawn_service_instance(caf::actor_system& system, instance_setup_ptr setup,
                                              instance_start start, activity now) {
  return system.spawn(
      [](service_instance_actor::stateful_pointer<state> self, instance_setup_ptr with,
         instance_start from, activity as) -> service_instance_actor::behavior_type {
        keep_last_words(self);
        self->state.self = std::make_unique<service_instance>(self, std::move(with),
                                                              std::move(from), std::move(as));
        return self->state.self->behavior();
      },
      std::move(setup), std::move(start), std::move(now));
}

} // namespace matriarch::actors
