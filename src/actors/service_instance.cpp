#include "actors/service_instance.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>

#include "actors/adoption.hpp"
#include "actors/alarm.hpp"
#include "actors/instance_bindings.hpp"
#include "actors/last_words.hpp"
#include "actors/record_keeper.hpp"
#include "base/json.hpp"
#include "base/times.hpp"
#include "base/utf8.hpp"
#include "model/accept_stages.hpp"
#include "model/acceptance.hpp"
#include "model/addresses.hpp"
#include "model/bootstrap.hpp"
#include "model/event.hpp"
#include "model/fitness.hpp"
#include "model/names.hpp"
#include "model/plan.hpp"
#include "model/replica_health.hpp"
#include "model/step_table.hpp"
#include "model/words.hpp"
#include "store/keys.hpp"
#include "store/record_json.hpp"
#include "store/unknown_members.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;
namespace keys = store::keys;

constexpr caf::timespan port_patience = 10s; // the registry answers from memory
constexpr caf::timespan placement_patience = 30s;
// Above the time that an order may wait behind others at its agent, and then take.
constexpr caf::timespan cell_patience = 120s;
constexpr caf::timespan database_patience = 10s;
// A user, a role and its grants are a dozen requests, each within the etcd client's own time-out.
constexpr caf::timespan user_patience = 30s;
// etcd gives up on a request after 5 s and two election time-outs, 7 s by default.
constexpr caf::timespan longest_in_etcd = 8s;
// Patroni answers a switchover when it is done, 2 s on an idle machine.
constexpr std::chrono::milliseconds switchover_time = 15s;
// How often an operation under way is looked at when nothing happens: deadlines are minutes.
constexpr caf::timespan working_pause = 1s;
// The lag is asked on a timer, and only while something waits for a replica: four short connections
// a second for some seconds cost a leader nothing. What takes longer, because one does not replicate
// at all, is asked for less often.
constexpr caf::timespan lag_pause = 250ms;
constexpr caf::timespan longest_lag_pause = 2s;
constexpr int most_same_answers = 20; // 5 s; a replica that starts streams within two
// How long the leader's answer is good for a decision: it was true when it was given, and the
// decision comes with it.
constexpr caf::timespan lag_validity = 1s;
constexpr caf::timespan write_retry_pause = 500ms;
// How often a cluster looks whether it may take up parameters that it was made without.
constexpr caf::timespan adoption_pause = 5s;
constexpr caf::timespan removal_retry_pause = 2s;
constexpr caf::timespan switchover_retry_pause = 2s;
// Patroni restarts PostgreSQL in place: a clean stop with its last checkpoint, and the start.
constexpr std::chrono::milliseconds restart_time = 60s;
constexpr std::chrono::milliseconds configure_time = 10s;
// How often nodes are asked which settings they have: they look for them every loop_wait seconds.
constexpr caf::timespan settings_pause = 500ms;
// Patroni starts what has ended by itself as well, and is busy with that meanwhile.
constexpr caf::timespan restart_retry_pause = 3s;
// Nothing but what nobody sees can have changed until it is tried again.
constexpr caf::timespan pause_between_in_vain = 30s;
// Patroni looks for changes every loop_wait seconds, 10 by default, and tells PostgreSQL at once.
constexpr caf::timespan longest_settings = 30s;
// etcd takes 128 in a transaction; the record is one of them.
constexpr std::size_t most_operations = 100;
constexpr std::size_t longest_quote = 300;
// Its answers have some kilobytes; who answers may be a tenant.
constexpr std::size_t longest_of_patroni = 256 * 1024;
// Patroni's keys of a dead member end within its ttl, the leader's and the member's own one.
constexpr caf::timespan longest_failover = 60s;
// Where no port can be had for a while, none is asked for more often than this.
constexpr caf::timespan port_retry_pause = 2s;
// A cell that failed to start a node for a repair is left in peace for so long.
constexpr caf::timespan avoidance = 60s;

using model::step_kind;

class service_instance final : private record_keeper::owner, private binding_host {
public:
  service_instance(service_instance_actor::pointer self, instance_setup_ptr setup,
                   instance_start start, activity now)
      : self_(self), alarm_(self), setup_(std::move(setup)),
        keeper_(*this, self, *setup_, std::move(start.name), std::move(now)),
        adoption_(setup_->out->status.adopting),
        bindings_(keeper_, *this, std::move(start.bindings)) {
    around_.routed_as = name();
    if (start.known)
      keeper_.adopt(std::move(*start.known), start.at);
    outlast_admissions();
  }

  service_instance_actor::behavior_type behavior() {
    go_on();
    return {
        [this](model::request& what) -> caf::result<model::verdict> {
          auto owed = self_->make_response_promise<model::verdict>();
          std::visit([&](auto& asked) { take(std::move(asked), owed); }, what);
          return owed;
        },
        [this](const model::demote_request& what) { return demote(what); },
        [this](const model::forget_request& what) { return forget_cell(what.cell); },
        [this](const key_changes& changed) {
          for (const auto& c : changed.changes)
            learn(c.entry, c.what == store::change::kind::erase);
          seen_changed();
        },
        [this](const key_listing& all) { relearn(all); },
        [this](const activity& now) {
          keeper_.note(now);
          outlast_admissions();
          if (!now.active)
            turn_asked_ = around_.living.repair_turn = false; // all turns end with the activity
          go_on();
        },
        [this](const cell_news& now) {
          if (now.watching != news_.watching)
            for (auto& [node_id, one] : health_)
              one.unwell_for = model::duration{0};
          news_ = now;
          around_.lost_cells = now.lost;
          around_.repair_halted = now.halted;
          go_on();
        },
        [this](const registered_addresses& said) {
          for (const auto& [node_id, at] : said.nodes)
            around_.living.registered[node_id] = at;
          go_on();
        },
        [this](const turn_given& turn) {
          if (known() && turn.scope == known()->living.scope)
            around_.living.repair_turn = turn_asked_;
          go_on();
        },
        [this](routed_atom) {
          awaited_routes_ = {}; // whoever told it keeps nothing of this any more
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

  // -- what its parts use of this actor -----------------------------------------------------------

  [[nodiscard]] const model::circumstances& around() const override { return around_; }
  void wake(caf::timespan pause) override { alarm_.set(pause); }

  // -- what is known ------------------------------------------------------------------------------

  [[nodiscard]] const std::string& name() const { return keeper_.name(); }
  [[nodiscard]] const model::record* known() const { return keeper_.known(); }

  void record_changed(bool rerouted) override {
    if (rerouted)
      note_route(keeper_.at());
    judge_members();
    report_cells();
  }

  void record_gone() override {
    bindings_.forget();
    around_ = {};
    initialized_at_ = 0;
    said_.clear();
    unserved_.reset();
    watch_routes();
    admitted_ = dismissed_ = false;
    health_.clear();
    avoid_.clear();
    repair_.clear();
    ask_for_turn(false);
    report_cells();
    setup_->out->instances.remove(name());
    ended_ = true;
    answer_waiting();
  }

  [[nodiscard]] cells_in_use::places places() const {
    cells_in_use::places all;
    if (known())
      for (const auto& n : known()->living.nodes)
        all.push_back(
            {n.node_id,
             n.cell,
             around_.living.seen.members.contains(n.node_id),
             {n.address.value_or(""), n.control_address, n.certified, n.control_certified}});
    return all;
  }

  /// After each write too: it ends what was reserved for it.
  void report_cells() {
    reported_ = std::make_shared<const cells_in_use::places>(places());
    self_->send(setup_->cells, cells_in_use{name(), reported_});
  }

  /// A key of this instance or of its scope has changed in etcd.
  void learn(const store::key_value& entry, bool erased) {
    if (entry.key == keeper_.key()) {
      keeper_.learn(entry, erased);
    } else if (entry.key.starts_with(keys::bindings(name()))) {
      bindings_.learn(entry, erased);
    } else if (known() && entry.key.starts_with(keys::members(known()->living.scope))) {
      auto node_id = entry.key.substr(keys::members(known()->living.scope).size());
      auto seen = erased ? result<model::member>{failure{""}}
                         : keeper_.engine().decisions->member_in(entry.value);
      if (seen.ok() && is_kept(node_id)) {
        note_address(node_id, *seen, entry);
        judge_member(node_id, *seen);
        note_state(node_id, *seen);
      } else {
        miss_member(node_id);
        around_.living.copied_leader.erase(node_id);
      }
    } else if (known() && entry.key == keys::leader(known()->living.scope)) {
      // It is a member's name; whoever has the database's superuser may write anything.
      bool is_name = !erased && entry.value.size() <= model::longest_node_name;
      auto before = std::exchange(around_.living.seen.leader, is_name ? entry.value : "");
      if (before != around_.living.seen.leader) {
        if (!erased)
          note_route(entry.mod_revision);
        if (!before.empty())
          led_before_ = {before, self_->clock().now()};
        forget_what_the_leader_said();
      }
    } else if (known() && entry.key == keys::sync(known()->living.scope)) {
      around_.living.seen.synchronous =
          erased ? std::set<std::string>{} : keeper_.engine().decisions->standbys_in(entry.value);
    } else if (known() && entry.key == keys::initialize(known()->living.scope)) {
      initialized_at_ = erased ? 0 : entry.mod_revision;
      bootstrap_ = {};
    }
  }

  /// What routers read of this instance was changed at that revision.
  void note_route(store::revision at) { around_.routed_at = std::max(around_.routed_at, at); }

  static std::string address_of(const model::member& one) {
    return one.conn_url + ' ' + one.api_url;
  }

  /// What a member's key says of it; nullptr if there is none.
  [[nodiscard]] const model::member* announced(const std::string& node_id) const {
    if (auto said = said_.find(node_id); said != said_.end() && said->second.otherwise)
      return &*said->second.otherwise;
    auto believed = around_.living.seen.members.find(node_id);
    return believed == around_.living.seen.members.end() ? nullptr : &believed->second;
  }

  /// A member's key is written every few seconds, and routers care for its addresses alone. Which
  /// write brought them is not known of a key that is met for the first time: its first one did, for
  /// a node keeps its addresses.
  void note_address(const std::string& node_id, const model::member& now,
                    const store::key_value& entry) {
    const auto* before = announced(node_id);
    auto missed = said_.find(node_id);
    std::string last = before != nullptr       ? address_of(*before)
                       : missed != said_.end() ? missed->second.last_address
                                               : "";
    if (last.empty())
      note_route(entry.create_revision);
    else if (last != address_of(now))
      note_route(entry.mod_revision);
  }

  /// Whoever has the database's superuser may write members of any name. Of those that no record
  /// lists some are kept, since the record that does may be on its way.
  [[nodiscard]] bool is_kept(const std::string& node_id) const {
    constexpr std::size_t most_unlisted = 100;
    const auto& members = around_.living.seen.members;
    return known()->living.find_node(node_id) != nullptr
           || (node_id.size() <= model::longest_node_name
               && (members.contains(node_id)
                   || members.size() < known()->living.nodes.size() + most_unlisted));
  }

  /// The member's key is gone.
  void miss_member(const std::string& node_id) {
    const auto* before = announced(node_id);
    if (!known() || known()->living.find_node(node_id) == nullptr) {
      said_.erase(node_id);
    } else if (before != nullptr) {
      auto last = address_of(*before);
      auto& said = said_[node_id];
      said.last_address = std::move(last);
      said.otherwise.reset();
    }
    around_.living.seen.members.erase(node_id);
  }

  /// What is remembered of a node ends with the state that it was about.
  void note_state(const std::string& node_id, const model::member& now) {
    if (now.running())
      around_.living.failed_restarts.erase(node_id);
    if (!now.copying())
      around_.living.copied_leader.erase(node_id);
    else if (!around_.living.seen.leader.empty())
      around_.living.copied_leader.try_emplace(node_id, around_.living.seen.leader);
  }

  /// Lets nobody be connected to at an address that is only a member's word.
  void judge_member(const std::string& node_id, model::member now) {
    const auto* listed = known() ? known()->living.find_node(node_id) : nullptr;
    auto judged = model::judge_addresses(
        now, listed, listed != nullptr ? origin_of(listed->cell) : model::cell_origin{},
        *keeper_.engine().decisions);
    auto said = said_.find(node_id);
    if (!judged.doubt.empty() && (said == said_.end() || said->second.doubt != judged.doubt))
      spdlog::warn("instance {}: {}", name(), judged.doubt);
    bool is_believed = judged.conn_url == now.conn_url && judged.api_url == now.api_url;
    if (is_believed && judged.doubt.empty())
      said_.erase(node_id);
    else
      said_[node_id] = {is_believed ? nullptr : std::make_unique<model::member>(now), "",
                        judged.doubt};
    now.conn_url = std::move(judged.conn_url);
    now.api_url = std::move(judged.api_url);
    now.login_url = std::move(judged.login_url);
    now.doubt = std::move(judged.doubt);
    if (judged.learnt)
      around_.living.registered[node_id] = std::move(*judged.learnt);
    auto before = around_.living.seen.members.find(node_id);
    if (before == around_.living.seen.members.end() || before->second != now)
      around_.living.seen.members[node_id] = std::move(now);
  }

  /// After a change of what they are judged by.
  void judge_members() {
    const auto all = around_.living.seen.members;
    for (const auto& [node_id, believed] : all) {
      auto now = believed;
      const auto* said = announced(node_id);
      now.conn_url = said->conn_url;
      now.api_url = said->api_url;
      judge_member(node_id, std::move(now));
    }
  }

  [[nodiscard]] model::cell_origin origin_of(const std::string& guid) const {
    auto cells = setup_->out->status.cells.load();
    const auto* found = model::find_cell(*cells, guid);
    if (found == nullptr)
      return {};
    // Cells of ours say how they fence.
    auto place = model::place_in(found->uri);
    bool has_port =
        place.find(':', place.rfind(']') == std::string_view::npos ? 0 : place.rfind(']'))
        != std::string_view::npos;
    return {std::string{has_port || place.starts_with('[') ? model::host_of(place) : place},
            found->reachable && found->fencing == "unknown", found->fencing != "unknown"};
  }

  /// Positions are relative to the leader that was asked, and who was demoted has restarted.
  void forget_what_the_leader_said() {
    forget_lag();
    around_.living.settings.clear();
    around_.living.restarted.clear();
  }

  void forget_lag() {
    around_.living.lag.clear();
    around_.living.lag_told = false;
  }

  /// Everything as it is in etcd, after a gap in the watch.
  void relearn(const key_listing& all) {
    const auto before = around_.living.seen.members;
    for (const auto& [node_id, member] : before)
      miss_member(node_id);
    auto standing = std::move(around_.living.seen.standing);
    around_.living.seen = {};
    around_.living.seen.standing = std::move(standing);
    initialized_at_ = 0;
    forget_what_the_leader_said();
    std::vector<store::key_value> bindings;
    bool recorded = false;
    for (const auto& entry : all.found) {
      recorded = recorded || entry.key == keeper_.key();
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
    if (!reported_ || places() != *reported_)
      report_cells();
    go_on();
  }

  void tell(model::happening what) {
    setup_->tell(
        {setup_->outside.now(), name(), known() ? known()->instance_id : "", std::move(what)});
  }

  // -- publishing ---------------------------------------------------------------------------------

  [[nodiscard]] model::snapshot_ptr snapshot() const override {
    auto newest = std::make_shared<model::instance_snapshot>();
    newest->known = *known();
    newest->seen = around_.living.seen;
    newest->bindings = bindings_.all();
    newest->unreadable_bindings = bindings_.unreadable();
    newest->roles_wait_for = bindings_.refusal();
    newest->binding_troubles = bindings_.troubles();
    newest->progress = model::describe(*known(), around_.living.seen, waiting_for_);
    newest->repair = repair_;
    newest->route_waits_for = route_details();
    return newest;
  }

  void publish() override {
    if (!known() || known()->phase != model::record_phase::accepted)
      return;
    auto newest = snapshot();
    keeper_.share({newest, &newest->known});
    setup_->out->instances.publish(name(), std::move(newest));
    answer_waiting();
  }

  // -- requests -----------------------------------------------------------------------------------

  /// Requests that change something wait until the write under way has ended: each sees its
  /// outcome.
  template <class Request>
  void take(Request asked, answer owed) {
    keeper_.in_turn([this, asked = std::move(asked), owed]() mutable { judge(asked, owed); });
    if (!known())
      go_on(); // what was refused leaves no actor behind
  }

  /// What another broker is changing is not for this one's copy to rule on: it may be old.
  template <class Request>
  void judge(Request& asked, answer owed) {
    constexpr bool only_reads =
        std::is_same_v<Request,
                       model::lookup_request> || std::is_same_v<Request, model::await_request>;
    if (only_reads || !known() || keeper_.may_act(owed))
      serve(asked, owed);
    // It was started for this request, and nothing has come of that.
    ended_ = ended_ || (!known() && !keeper_.busy());
  }

  static void refuse(answer& owed, model::verdict_kind is, std::string why) {
    owed.deliver(model::verdict{is, std::move(why)});
  }

  bool must_exist(const std::string& instance_id, answer& owed) {
    if (!known())
      refuse(owed, model::verdict_kind::not_found,
             "there is no service instance " + model::quoted(instance_id));
    return known() != nullptr;
  }

  void serve(model::lookup_request& asked, answer owed) {
    if (must_exist(asked.instance_id, owed))
      owed.deliver(model::verdict{model::verdict_kind::done, "", known()->current.id, snapshot()});
  }

  void serve(model::await_request& asked, answer owed) {
    awaited_.push_back({asked.operation_id, owed});
    answer_waiting();
  }

  void serve(model::provision_request& asked, answer owed) {
    if (known() && known()->phase == model::record_phase::accepting) {
      // What a broker that ended has begun: whoever acts takes it back, so it promises nothing.
      refuse(owed, model::verdict_kind::unavailable,
             "an earlier provision of this id is being taken back; try again in a few seconds");
    } else if (known()) {
      auto said = model::judge_provision(asked, *known());
      said.instance = snapshot();
      owed.deliver(std::move(said));
    } else if (keeper_.may_act(owed)) {
      auto cells = setup_->out->status.cells.load();
      auto unfit = model::why_unfit_for_new(asked.plan_id, asked.desired.settings,
                                            asked.desired.cells, *cells);
      if (!unfit.empty())
        return refuse(owed, model::verdict_kind::refused, std::move(unfit));
      accept(std::move(asked), owed);
    }
  }

  void serve(model::update_request& asked, answer owed) {
    if (!must_exist(asked.instance_id, owed))
      return;
    auto said =
        model::judge_update(asked, *known(), setup_->outside.new_id(), setup_->outside.now(),
                            model::unwell_nodes(*known(), around_.living.seen) == 0);
    auto unfit = said.write ? why_unfit(*said.write, asked.cells.has_value()) : std::string{};
    if (!unfit.empty() && said.write->desired.settings == known()->desired.settings)
      return refuse(owed, model::verdict_kind::refused, std::move(unfit));
    if (!unfit.empty())
      said.write = model::failed_at_once(*known(), *said.write, std::move(unfit));
    rule(std::move(said), owed);
  }

  /// Why nodes cannot be what an update makes of them. What the instance has already it keeps, also
  /// where a cell's PostgreSQL is another one by now.
  [[nodiscard]] std::string why_unfit(const model::record& next, bool names_cells) const {
    bool other_settings = next.desired.settings != known()->desired.settings;
    if (!other_settings && !names_cells)
      return {};
    std::vector<std::string> used;
    if (other_settings)
      for (const auto& n : known()->living.nodes)
        if (n.phase != model::node_phase::removing)
          used.push_back(n.cell);
    return model::why_unfit_for_change(next.plan_id, next.desired.settings, next.desired.cells,
                                       used, *setup_->out->status.cells.load());
  }

  void serve(model::deprovision_request& asked, answer owed) {
    if (!known())
      refuse(owed, model::verdict_kind::gone,
             "there is no service instance " + model::quoted(asked.instance_id));
    else
      rule(model::judge_deprovision(asked, *known(), setup_->outside.new_id(),
                                    setup_->outside.now()),
           owed);
  }

  /// Writes what the ruling demands and answers with it.
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
                   before = known()->current.id](const fate& came) mutable {
                    if (!came.done())
                      return refuse(owed, model::verdict_kind::unavailable, came.why);
                    around_.living.failed_starts.clear();
                    around_.living.failed_removals.clear();
                    around_.living.shortage.reset();
                    around_.living.failed_switchover.clear();
                    around_.living.failed_restarts.clear();
                    accepted_at_ = keeper_.at();
                    forget_lag(); // what comes goes by what the leader says from now on
                    if (known()->current.id != before)
                      tell_begun();
                    publish();
                    told.instance = snapshot();
                    owed.deliver(std::move(told));
                  });
  }

  /// An operation has begun, and may have ended in the same write.
  void tell_begun() {
    tell(model::operation_accepted{known()->current.type, known()->current.id});
    if (known()->current.state != model::operation_state::in_progress)
      tell_end();
  }

  void tell_end() {
    tell(model::end_of(*known(), known()->current.state == model::operation_state::succeeded,
                       setup_->outside.now()));
  }

  void serve(model::bind_request& asked, answer owed) {
    if (!must_exist(asked.instance_id, owed))
      return;
    around_.routing = setup_->out->status.routers.load();
    bindings_.bind(asked, owed);
  }

  void serve(model::unbind_request& asked, answer owed) {
    if (known())
      bindings_.unbind(asked, owed);
    else
      refuse(owed, model::verdict_kind::gone,
             "there is no service instance " + model::quoted(asked.instance_id));
  }

  /// The same values, sealed anew.
  void serve(model::reencrypt_request& asked, answer owed) {
    if (!must_exist(asked.instance_id, owed) || !keeper_.may_act(owed))
      return;
    rewrite(bindings_.rewritten(), owed);
  }

  /// The record once more, and with it some of its bindings, until none is left.
  void rewrite(std::vector<store::operation> left, answer owed) {
    auto batch = std::min(left.size(), most_operations);
    std::vector<store::operation> now(std::make_move_iterator(left.end() - batch),
                                      std::make_move_iterator(left.end()));
    left.resize(left.size() - batch);
    keeper_.write(
        *known(), {}, std::move(now),
        [this, left = std::move(left), owed](const fate& came) mutable {
          if (!came.done())
            return refuse(owed, model::verdict_kind::unavailable, came.why);
          bindings_.wrote(came.at);
          if (!left.empty())
            return rewrite(std::move(left), owed);
          if (store::has_old_seals(known()->unknown, *setup_->keys) || bindings_.has_old_seals())
            return refuse(owed, model::verdict_kind::unavailable,
                          "a later release has sealed something here with an earlier key, which "
                          "only that release can seal anew: keep that key until it has");
          if (auto lost = bindings_.unreadable(); !lost.empty())
            return refuse(owed, model::verdict_kind::unavailable, model::unreadable(*lost.begin()));
          owed.deliver(model::verdict{model::verdict_kind::done});
        });
  }

  /// Tells those who wait for the end of an operation, if it has come.
  void answer_waiting() {
    std::erase_if(awaited_, [this](auto& one) {
      bool ended = !known() || known()->current.id != one.operation_id
                   || known()->current.state != model::operation_state::in_progress;
      if (ended)
        one.owed.deliver(
            known() ? model::verdict{model::verdict_kind::done, "", one.operation_id, snapshot()}
                    : model::verdict{model::verdict_kind::gone});
      return ended;
    });
  }

  // -- accepting a new instance -------------------------------------------------------------------

  /// Whoever is being accepted.
  struct newcomer {
    model::provision_request asked;
    answer owed;
    port_offer offer = {};
  };
  using newcomer_ptr = std::shared_ptr<newcomer>;

  void accept(model::provision_request asked, answer owed) {
    ended_ = false;
    begin(model::accept_stages.front(),
          std::make_shared<newcomer>(newcomer{std::move(asked), owed}));
  }

  void begin(model::accept_stage stage, const newcomer_ptr& who) {
    switch (stage) {
    case model::accept_stage::offer_port:
      return reserve_port(who);
    case model::accept_stage::create_record:
      return create(who);
    case model::accept_stage::take_port:
      return take_port(who);
    case model::accept_stage::confirm:
      return confirm(who);
    }
  }

  void go_on_accepting(model::accept_stage stage, model::stage_end how, const std::string& why,
                       const newcomer_ptr& who) {
    auto next = model::after(stage, how, known() != nullptr, why);
    if (next.stage)
      return begin(*next.stage, who);
    if (next.refusal) {
      who->owed.deliver(std::move(*next.refusal));
      self_->send(setup_->ports, port_settled{name(), false}); // late, it may be offered yet
      ended_ = !known();
      return;
    }
    tell(model::operation_accepted{known()->current.type, known()->current.id,
                                   known()->endpoints[model::endpoint::primary]});
    publish();
    who->owed.deliver(
        model::verdict{model::verdict_kind::accepted, "", known()->current.id, snapshot()});
  }

  void reserve_port(const newcomer_ptr& who) {
    keeper_.hold(true);
    auto done = [this, who](const port_offer& offer, model::stage_end without) {
      keeper_.hold(false);
      who->offer = offer;
      go_on_accepting(model::accept_stage::offer_port,
                      offer.port != 0 ? model::stage_end::done : without, offer.why, who);
      go_on();
    };
    self_->request(setup_->ports, port_patience, port_order{name()})
        .then([done](const port_offer& offer) { done(offer, model::stage_end::none_free); },
              [done](const caf::error&) {
                done({0, 0, 0, "no port could be reserved in time"}, model::stage_end::failed);
              });
  }

  void create(const newcomer_ptr& who) {
    model::new_instance_values values{setup_->outside.new_id(), {}, setup_->outside.now()};
    auto add = [&](std::string_view which, const std::string& username) {
      values.secrets[which] = {username, setup_->outside.new_password()};
    };
    for (const auto& one : keeper_.engine().decisions->secrets())
      add(one.name, std::string{one.username});
    // etcd's users are named like the scopes that they may write.
    if (setup_->etcd_users)
      add(model::secret_name::etcd, "scope-" + model::scope_of(name(), 1));
    auto fresh = model::new_record(who->asked, std::move(values));
    const auto scope = fresh.living.scope;
    keeper_.write(std::move(fresh), {store::absent(keys::leader(scope))},
                  erasures_of_another_life(), [this, who](const fate& came) {
                    bool led = came.is == fate::kind::refused && came.active && came.record.empty();
                    go_on_accepting(model::accept_stage::create_record,
                                    came.done() ? model::stage_end::done
                                    : led       ? model::stage_end::led
                                                : model::stage_end::failed,
                                    came.why, who);
                  });
  }

  /// A node that was buried unseen writes Patroni's keys once more when its cell is back. With
  /// `initialize` of another life no node of this one would ever bootstrap. etcd takes no put of a
  /// key that its transaction erases: all but the record's goes.
  [[nodiscard]] std::vector<store::operation> erasures_of_another_life() const {
    auto all = store::keys_below(keys::everything_of(name()));
    auto after_record = keeper_.key() + '\0';
    return {store::erase{{all.first, keeper_.key()}}, store::erase{{after_record, all.last}}};
  }

  void take_port(const newcomer_ptr& who) {
    const auto& offer = who->offer;
    auto port_key = keys::port(offer.port);
    keeper_.write(
        model::written_by(model::accept_stage::take_port, *known(), offer.port),
        {offer.at == 0 ? store::absent(port_key) : store::unchanged_since(port_key, offer.at)},
        {store::put{port_key, store::encode_port_use({name(), std::nullopt, 0})},
         store::put{keys::allocation(name()), std::to_string(offer.port)},
         store::put{keys::next_port, std::to_string(offer.next)},
         store::erase{{keys::tombstone(name()), ""}}},
        [this, who](const fate& came) {
          bool taken = came.is == fate::kind::refused && keeper_.heard().active && known();
          if (came.done() || taken)
            self_->send(setup_->ports, port_settled{name(), true});
          go_on_accepting(model::accept_stage::take_port,
                          came.done() ? model::stage_end::done
                          : taken     ? model::stage_end::taken
                                      : model::stage_end::failed,
                          came.why, who);
        });
  }

  void confirm(const newcomer_ptr& who) {
    keeper_.write(model::written_by(model::accept_stage::confirm, *known(), who->offer.port), {},
                  {}, [this, who](const fate& came) {
                    go_on_accepting(model::accept_stage::confirm,
                                    came.done() ? model::stage_end::done : model::stage_end::failed,
                                    came.why, who);
                  });
  }

  /// Takes back a record that nobody was promised: after a crash, or when etcd failed in between.
  void undo_accepting() {
    change what;
    what.compares = {store::unchanged_since(keeper_.key(), keeper_.at())};
    what.operations = {store::erase{{keeper_.key(), ""}},
                       store::erase{{keys::allocation(name()), ""}}};
    if (known()->endpoints[model::endpoint::primary] != 0)
      what.operations.push_back(
          store::erase{{keys::port(known()->endpoints[model::endpoint::primary]), ""}});
    what.witness = {keeper_.key(), ""};
    what.made = [](const auto& found) { return found.empty(); };
    keeper_.commit(std::move(what), [this](const fate& came) {
      if (came.done()) {
        tell(model::provision_undone{});
        keeper_.forget();
      }
    });
  }

  // -- the loop: decide, write, act ---------------------------------------------------------------

  void tick() {
    if (!steps_.under_way({step_kind::add_nodes}))
      around_.living.shortage.reset();
    if (!is_put_off({step_kind::failover_from}))
      around_.living.failed_switchover.clear();
    go_on();
  }

  /// Called after anything that may have changed what comes next.
  void go_on() override {
    steps_.let_go(self_->clock().now());
    if (!keeper_.serve_waiting())
      return;
    if (!known()) {
      if (ended_)
        self_->quit();
      return;
    }
    around_.routing = setup_->out->status.routers.load();
    answer_demotions();
    judge_members(); // by what is known of the cells by now
    look_at_health();
    if (!keeper_.acts()) {
      repair_.clear();
      publish();
      // The renewal of the lease is late, perhaps not too late.
      if (keeper_.heard().active && pending())
        alarm_.set(working_pause);
      return;
    }
    if (keeper_.rests())
      return alarm_.set(record_keeper::retry_pause);
    if (known()->phase == model::record_phase::accepting) {
      undo_accepting();
      return;
    }
    if (adopt_parameters() || begin_bootstrap_anew())
      return;
    around_.living.runs = keeper_.engine().decisions;
    around_.now = setup_->outside.now();
    around_.reroutes = around_.routed_at >= accepted_at_;
    auto next = model::decide(*known(), around_);
    waiting_for_ = next.waiting_for;
    if (next.repair != repair_)
      tell(model::repair_changed{next.repair});
    repair_ = next.repair;
    unserved_ = next.unserved;
    publish();
    ask_for_turn(!next.wants_turn.empty());
    if (next.write) {
      write_decision(std::move(next));
    } else {
      for (const auto& step : next.steps)
        std::visit([this](const auto& one) { perform(one); }, step);
      // All instances look after their roles at a broker's start: reading the others comes first.
      if (!keeper_.busy() && setup_->out->status.loaded)
        bindings_.tend();
    }
    watch_routes();
    if (pending())
      alarm_.set(working_pause);
  }

  /// Tells of what a write makes happen once etcd has taken it.
  [[nodiscard]] record_keeper::after_commit telling(model::happening what) {
    return [this, what = std::move(what)](const fate& came) {
      if (came.done())
        tell(what);
      else
        spdlog::warn("instance {}: not written: {}", name(), came.why);
    };
  }

  /// True if what the cluster was made without is being written down as desired.
  bool adopt_parameters() {
    adoption_.end_if_over(*known(), keeper_.engine().late_parameters);
    if (!adoption_.is_due(*known(), keeper_.engine().late_parameters)
        || !around_.living.seen.running(around_.living.seen.leader))
      return false;
    auto next = adoption_.begin(*known(), keeper_.engine().late_parameters);
    if (!next) {
      alarm_.set(adoption_pause);
      return false;
    }
    keeper_.write(std::move(*next), {}, {}, telling(model::parameters_adopted{}));
    return true;
  }

  /// Of a new cluster that never had a leader: nothing of it is anybody's.
  bool replace_all_nodes() {
    auto next = *known();
    for (auto& n : next.living.nodes)
      n.phase = model::node_phase::removing;
    keeper_.write(std::move(next), {store::absent(keys::leader(known()->living.scope))}, {},
                  telling(model::bootstrap_repeated{true}));
    return true;
  }

  /// True if the key `initialize` is being taken away, by which every node of a new cluster waits for
  /// one that does not make its data.
  bool begin_bootstrap_anew() {
    auto now = std::chrono::floor<model::steady_time>(self_->clock().now().time_since_epoch());
    auto said = model::judge_bootstrap(
        *known(), around_.living.seen, bootstrap_,
        {initialized_at_ != 0, setup_->out->status.etcd_reachable.load(), now});
    bootstrap_ = said;
    if (said.look_again_at)
      alarm_.set(*said.look_again_at - now);
    if (said.stuck)
      return replace_all_nodes();
    if (!said.abandoned)
      return false;
    auto key = keys::initialize(known()->living.scope);
    keeper_.write(*known(),
                  {store::absent(keys::leader(known()->living.scope)),
                   store::unchanged_since(key, initialized_at_)},
                  {store::erase{{key, ""}}}, telling(model::bootstrap_repeated{}));
    return true;
  }

  [[nodiscard]] bool pending() const {
    if (!known())
      return false;
    if (known()->current.state == model::operation_state::in_progress || !known()->desired.exists
        || !known()->living.switching_to.empty() || known()->living.taking_up.has_value()
        || bindings_.pending() || around_.living.repair_turn || around_.living.shortage)
      return true;
    int present = 0;
    for (const auto& n : known()->living.nodes) {
      bool removing = n.phase == model::node_phase::removing;
      present += removing ? 0 : 1;
      // A lost cell is not asked: whoever hears of it again says so.
      if (n.phase != model::node_phase::started
          && !(removing && around_.lost_cells.contains(n.cell)))
        return true;
    }
    return present != known()->desired.node_count;
  }

  // -- routers ------------------------------------------------------------------------------------

  [[nodiscard]] std::vector<model::route> unserved_routes() const {
    auto all = bindings_.unserved();
    if (unserved_ && std::ranges::find(all, *unserved_) == all.end())
      all.push_back(*unserved_);
    if (!demotions_.empty())
      all.push_back(new_leader());
    return all;
  }

  /// Has the router directory tell when what is waited for may have come.
  void watch_routes() {
    routes_wanted now{name(), unserved_routes(),
                      around_.routing ? around_.routing->version : std::uint64_t{0}};
    if (now.routes == awaited_routes_)
      return;
    awaited_routes_ = now.routes;
    self_->send(setup_->routers, std::move(now));
  }

  [[nodiscard]] std::string route_details() const {
    std::string text;
    if (around_.routing)
      for (const auto& one : unserved_routes()) {
        auto more =
            model::details_of(model::waits_for(*around_.routing, one), *around_.routing, one);
        text += (text.empty() || more.empty() ? "" : "; ") + more;
      }
    return text;
  }

  void perform(const model::change_port& step) {
    if (step.from == known()->endpoints[model::endpoint::primary])
      change_port(model::endpoint::primary);
  }

  /// Gives this instance another public port, its first or its second one. Nobody may have been told
  /// of the old one. Which rests: a router may come that has had it.
  void change_port(model::endpoint which) override {
    if (keeper_.busy())
      return;
    if (is_put_off({step_kind::change_port}))
      return alarm_.set(steps_.put_off_until({step_kind::change_port}) - self_->clock().now());
    keeper_.hold(true);
    auto holder = holder_of(which);
    auto done = [this, which, holder](const port_offer& offer) {
      keeper_.hold(false);
      around_.no_other_port = offer.why;
      put_off({step_kind::change_port}, port_retry_pause);
      if (offer.port != 0 && known() && keeper_.acts())
        return exchange_port(which, offer);
      self_->send(setup_->ports, port_settled{holder, false}); // late, it may be offered yet
      go_on();
    };
    self_->request(setup_->ports, port_patience, port_order{holder})
        .then([done](const port_offer& offer) { done(offer); },
              [done](const caf::error&) {
                done({0, 0, 0, "no port could be reserved in time"});
              });
  }

  /// By what name the registry keeps a port of this instance.
  [[nodiscard]] std::string holder_of(model::endpoint which) const {
    return which == model::endpoint::read_only ? keys::read_only_holder(name()) : name();
  }

  void exchange_port(model::endpoint which, const port_offer& offer) {
    auto next = *known();
    auto before = std::exchange(next.endpoints[which], offer.port);
    auto holder = holder_of(which);
    auto port_key = keys::port(offer.port);
    keeper_.write(
        std::move(next),
        {offer.at == 0 ? store::absent(port_key) : store::unchanged_since(port_key, offer.at)},
        {store::put{port_key, store::encode_port_use({name(), std::nullopt, 0})},
         store::put{which == model::endpoint::read_only ? keys::read_only_allocation(name())
                                                        : keys::allocation(name()),
                    std::to_string(offer.port)},
         store::put{keys::next_port, std::to_string(offer.next)},
         store::put{keys::port(before),
                    store::encode_port_use({name(), setup_->outside.now(), 0})}},
        [this, holder, before, port = offer.port](const fate& came) {
          self_->send(setup_->ports, port_settled{holder, came.done()});
          if (came.done())
            tell(model::port_exchanged{before, port});
          else
            spdlog::warn("instance {}: its port is not exchanged yet: {}", name(), came.why);
        });
  }

  // -- repair -------------------------------------------------------------------------------------

  void ask_for_turn(bool wanted) {
    if (wanted == turn_asked_)
      return;
    turn_asked_ = wanted;
    if (wanted) {
      turn_scope_ = known()->living.scope;
      // Whoever led until it was unwell was lost; who handed over before is a replica like others.
      auto unwell = health_.find(led_before_.node_id);
      bool leader_lost = unwell != health_.end() && !unwell->second.well
                         && unwell->second.unwell_for
                                >= self_->clock().now() - led_before_.until - longest_failover;
      self_->send(setup_->cells, turn_wanted{known()->living.scope, leader_lost});
    } else {
      around_.living.repair_turn = false;
      self_->send(setup_->cells, turn_over{turn_scope_});
    }
  }

  /// Which nodes have been unwell for too long, and which cells may be tried again.
  void look_at_health() {
    auto now = self_->clock().now();
    erase_if(avoid_, [&](const auto& one) { return one.second.until <= now; });
    around_.avoid.clear();
    for (const auto& [cell, why] : avoid_)
      around_.avoid[cell] = why.reason;
    if (now >= lag_heard_at_ + lag_validity)
      forget_lag();
    around_.living.unhealthy.clear();
    around_.living.ask_leader = false;
    // While etcd is out of reach nothing is heard of anybody's getting on.
    if (!setup_->out->status.etcd_reachable)
      return health_.clear();
    model::health_signs signs;
    signs.now = std::chrono::floor<model::steady_time>(now.time_since_epoch());
    // Who does not act asks no leader, and has to wait for as long as positions may take.
    if (keeper_.heard().active)
      signs.after = news_.after;
    signs.streaming = around_.living.lag_told ? &around_.living.lag.entries() : nullptr;
    auto said = model::judge_health(*known(), around_.living.seen, health_, signs);
    health_ = std::move(said.history);
    around_.living.seen.standing = std::move(said.standing);
    around_.living.ask_leader = said.ask_leader;
    if (news_.watching)
      around_.living.unhealthy = std::move(said.unhealthy);
    if (said.look_again_at)
      alarm_.set(*said.look_again_at - signs.now);
  }

  void write_decision(model::decision next) {
    std::vector<store::operation> graves;
    for (const auto& [scope, n] : next.buried)
      graves.push_back(store::put{keys::grave(n.cell, n.node_id),
                                  store::encode_grave({scope, setup_->outside.now()})});
    auto before = known()->current.state;
    keeper_.write(std::move(*next.write), {}, std::move(graves),
                  [this, before, buried = next.buried](const fate& came) {
                    if (!came.done()) {
                      spdlog::warn("instance {}: not written: {}", name(), came.why);
                      return;
                    }
                    for (const auto& one : buried)
                      forget_node(one.which.node_id);
                    if (before == model::operation_state::in_progress
                        && known()->current.state != model::operation_state::in_progress)
                      tell_end();
                  });
  }

  void forget_node(const std::string& node_id) {
    around_.living.confirmed_removed.erase(node_id);
    around_.living.confirmed_started.erase(node_id);
    around_.living.failed_starts.erase(node_id);
    around_.living.unanswered_starts.erase(node_id);
    around_.living.failed_removals.erase(node_id);
    around_.living.seen.members.erase(node_id);
    around_.living.registered.erase(node_id);
    said_.erase(node_id);
    around_.living.lag.erase(node_id);
    around_.living.settings.erase(node_id);
  }

  [[nodiscard]] bool is_put_off(const model::step_key& which) const {
    return self_->clock().now() < steps_.put_off_until(which);
  }
  void put_off(const model::step_key& which, caf::timespan pause) {
    steps_.put_off(which, self_->clock().now() + pause);
  }
  /// Whether it is neither under way nor put off; it has begun then.
  [[nodiscard]] bool may_begin(const model::step_key& which) {
    return !is_put_off(which) && steps_.begin(which);
  }

  // -- steps --------------------------------------------------------------------------------------

  void perform(const model::scoped_step& step) {
    std::visit([this](const auto& one) { perform(one); }, step.what);
  }

  void perform(const model::add_nodes& step) {
    if (around_.living.shortage || !steps_.begin({step_kind::add_nodes}))
      return;
    auto decided_at = keeper_.at();
    self_->request(setup_->cells, placement_patience, placement_order{name(), step.where})
        .then(
            [this, decided_at, count = step.where.count](const model::placement& chosen) {
              steps_.end({step_kind::add_nodes});
              if (keeper_.busy() || !known() || keeper_.at() != decided_at)
                return go_on();
              if (static_cast<int>(chosen.cells.size()) < count) {
                around_.living.shortage = chosen;
                return go_on();
              }
              std::vector<std::string> ids;
              for (std::size_t i = 0; i < chosen.cells.size(); ++i)
                ids.push_back(setup_->outside.new_id());
              model::decision next;
              next.write = model::with_new_nodes(*known(), known()->living.scope, ids, chosen.cells,
                                                 setup_->outside.now());
              not_sent_.insert(ids.begin(), ids.end());
              write_decision(std::move(next));
            },
            [this](const caf::error&) {
              steps_.end({step_kind::add_nodes});
              go_on();
            });
  }

  void perform(const model::start_node& step) {
    const auto* n = known()->living.find_node(step.node_id);
    if (!known()->living.secret_of(model::secret_name::etcd).username.empty() && !admitted_)
      return admit_to_etcd();
    if (!steps_.begin({step_kind::start_node, step.node_id}))
      return;
    // Else an earlier one, perhaps of the broker that acted before, may still arrive.
    bool only_start = not_sent_.erase(step.node_id) != 0;
    start_order order{
        n->cell,
        n->node_id,
        known()->living.scope,
        *known(),
        keeper_.at(),
        keeper_.heard().fleet,
        keeper_.engine().decisions->start(known()->living, known()->desired.settings, n->node_id)};
    auto done = [this, id = n->node_id, cell = n->cell, only_start](const cell_answer& said) {
      steps_.end({step_kind::start_node, id});
      switch (said.is) {
      case cell_answer::kind::done:
        around_.living.confirmed_started.insert(id);
        if (!said.at.database.empty())
          around_.living.registered[id] = said.at;
        break;
      case cell_answer::kind::unsent:
      case cell_answer::kind::refused:
      case cell_answer::kind::unknown:
        spdlog::warn("instance {}: cell {} did not start node {}: {}", name(), cell, id,
                     said.for_the_log());
        around_.living.failed_starts[id] = said.why;
        if (only_start && said.is != cell_answer::kind::unknown)
          around_.living.confirmed_removed.insert(id);
        else
          around_.living.unanswered_starts.insert(id);
        if (known() && known()->current.state != model::operation_state::in_progress)
          avoid_[cell] = {self_->clock().now() + avoidance, said.why};
        break;
      }
      go_on();
    };
    self_->request(setup_->cells, cell_patience, std::move(order))
        .then([done](const cell_answer& said) { done(said); },
              [done](const caf::error&) {
                done({cell_answer::kind::unknown, "no answer in time"});
              });
  }

  /// For how long a start of the node may still arrive at its cell, if one may.
  [[nodiscard]] std::optional<caf::timespan> may_still_start(const std::string& node_id) const {
    const auto* n = known() ? known()->living.find_node(node_id) : nullptr;
    auto now = setup_->outside.now();
    if (n == nullptr || !n->start_may_arrive_until || now > *n->start_may_arrive_until)
      return std::nullopt;
    return *n->start_may_arrive_until - now + 1ms;
  }

  /// Before the first node starts, Patroni's user of etcd has to be there.
  void admit_to_etcd() {
    if (!steps_.begin({step_kind::etcd_user}))
      return;
    auto done = [this](const user_answer& said) {
      steps_.end({step_kind::etcd_user});
      admitted_ = said.ok;
      if (said.ok)
        return go_on();
      dismiss_after_ = self_->clock().now() + longest_in_etcd;
      spdlog::warn("instance {}: its user of etcd is not made yet: {}", name(), said.why);
      alarm_.set(write_retry_pause);
    };
    self_
        ->request(
            setup_->store, user_patience,
            admit_user{known()->living.scope, known()->living.secret_of(model::secret_name::etcd)})
        .then([done](const user_answer& said) { done(said); },
              [done](const caf::error&) {
                done({false, "etcd did not answer in time"});
              });
  }

  void perform(const model::remove_node& step) {
    const auto* n = known()->living.find_node(step.node_id);
    // A start that is still under way has to end first, or it could follow the removal.
    const model::step_key removal{step_kind::remove_node, step.node_id};
    if (steps_.under_way({step_kind::start_node, step.node_id}) || steps_.under_way(removal))
      return;
    if (!may_begin(removal))
      return alarm_.set(removal_retry_pause);
    // No start of it can be on its way: there is nothing to outlast.
    if (not_sent_.erase(step.node_id) != 0)
      around_.living.failed_starts[step.node_id] = "superseded before it was started";
    removal_order order{n->cell,  n->node_id,   known()->living.scope,
                        *known(), keeper_.at(), keeper_.heard().fleet};
    auto done = [this, id = n->node_id, cell = n->cell](const cell_answer& said) {
      steps_.end({step_kind::remove_node, id});
      if (said.is == cell_answer::kind::done) {
        around_.living.failed_removals.erase(id);
        // A cell that digs no graves of its own may yet obey a start that is on its way: it is
        // asked once more after that could have come.
        if (auto left = may_still_start(id)) {
          put_off({step_kind::remove_node, id}, *left);
          alarm_.set(*left);
          return;
        }
        around_.living.confirmed_removed.insert(id);
        go_on();
        return;
      }
      if (around_.living.failed_removals[id] != said.why)
        spdlog::warn("instance {}: cell {} has not removed node {} and is asked again: {}", name(),
                     cell, id, said.for_the_log());
      around_.living.failed_removals[id] = said.why;
      publish();
      put_off({step_kind::remove_node, id}, removal_retry_pause);
      alarm_.set(removal_retry_pause);
    };
    self_->request(setup_->cells, cell_patience, std::move(order))
        .then([done](const cell_answer& said) { done(said); },
              [done](const caf::error&) {
                done({cell_answer::kind::unknown, "no answer in time"});
              });
  }

  /// A replica that streams runs, whatever its member key still says.
  void learn_lag(const std::map<std::string, std::int64_t>& lag) {
    around_.living.lag = lag;
    around_.living.lag_told = true;
    lag_heard_at_ = self_->clock().now();
    for (const auto& [node_id, behind] : lag)
      if (auto found = around_.living.seen.members.find(node_id);
          found != around_.living.seen.members.end() && found->second.starting())
        around_.living.seen.members[node_id].state = "running";
  }

  /// Longer, if nothing has changed for a while.
  void rest_before_asking(const lag_answer& said) {
    std::map<std::string, bool> streaming;
    for (const auto& [node_id, lag] : said.lag)
      streaming[node_id] = lag <= model::negligible_lag_bytes;
    bool same = said.ok && streaming == last_streaming_;
    same_answers_ = same ? same_answers_ + 1 : 0;
    auto pause = same_answers_ < most_same_answers ? lag_pause : longest_lag_pause;
    last_streaming_ = std::move(streaming);
    put_off({step_kind::ask_lag}, pause);
    alarm_.set(pause);
  }

  void perform(const model::ask_lag&) {
    auto leader = around_.living.seen.members.find(around_.living.seen.leader);
    auto now = self_->clock().now();
    auto not_before = steps_.put_off_until({step_kind::ask_lag});
    if (leader == around_.living.seen.members.end() || now < not_before
        || !steps_.begin({step_kind::ask_lag}))
      return alarm_.set(std::max<caf::timespan>(not_before - now, lag_pause));
    auto asked_of = around_.living.seen.leader;
    auto done = [this, asked_of](const lag_answer& said) {
      steps_.end({step_kind::ask_lag});
      rest_before_asking(said);
      if (said.ok && asked_of == around_.living.seen.leader)
        learn_lag(said.lag);
      else if (!said.ok && said.why != lag_refusal_)
        spdlog::warn("instance {}: {}", name(), said.why);
      lag_refusal_ = said.why;
      go_on();
    };
    self_
        ->request(keeper_.engine().actor, database_patience,
                  lag_question{name(), leader->second.login_url,
                               known()->living.secret_of(model::secret_name::superuser)})
        .then([done](const lag_answer& said) { done(said); },
              [done](const caf::error&) {
                done({false, {}, "the leader did not answer in time"});
              });
  }

  void perform(const model::failover_from& step) {
    auto leader = around_.living.seen.members.find(step.from);
    if (leader == around_.living.seen.members.end() || steps_.under_way({step_kind::failover_from}))
      return;
    if (!may_begin({step_kind::failover_from}))
      return alarm_.set(switchover_retry_pause);
    auto what = patroni_request(step.from, leader->second, "POST", "/switchover",
                                json::object_text({{"leader", step.from}, {"candidate", step.to}}));
    what.timeout = switchover_time;
    tell(model::switchover_begun{step.from, step.to});
    auto done = [this, to = step.to](const base::outcome& came) {
      steps_.end({step_kind::failover_from});
      // After a 200 the leader key may reach this actor a moment later: no need to ask again yet.
      put_off({step_kind::failover_from}, switchover_retry_pause);
      if (came.status != 200 && !around_.living.seen.leads(to)) {
        around_.living.failed_switchover = refusal_of(came);
        tell(model::switchover_failed{around_.living.failed_switchover});
        alarm_.set(switchover_retry_pause);
        answer_demotions();
      }
      go_on();
    };
    self_->request(setup_->http, switchover_time + 5s, std::move(what))
        .then([done](const base::outcome& came) { done(came); },
              [done](const caf::error&) {
                done({0, "", "Patroni did not answer in time", false});
              });
  }

  // -- settings -----------------------------------------------------------------------------------

  /// A member's own REST API: its `api_url` ends with /patroni. By HTTPS a node has to show for whom
  /// the fleet's authority has certified it; for those of a cell of another make the system's
  /// authorities vouch.
  [[nodiscard]] base::outgoing patroni_request(const std::string& node_id, const model::member& of,
                                               std::string verb, const std::string& path,
                                               std::string body) const {
    base::outgoing what;
    what.verb = std::move(verb);
    what.url = of.api_url.substr(0, of.api_url.rfind("/patroni")) + path;
    const auto* listed = known()->living.find_node(node_id);
    if (of.api_url.starts_with("https:") && listed != nullptr && !origin_of(listed->cell).foreign) {
      what.url = "https://" + node_id + path;
      what.reached_at = model::place_in(of.api_url);
      if (auto by = setup_->out->status.authority.load())
        what.tls.authority_text = by->trusted(setup_->outside.now());
    }
    auto login = known()->living.secret_of(model::secret_name::control);
    what.username = std::move(login.username);
    what.password = std::move(login.password);
    what.max_answer_bytes = longest_of_patroni;
    what.headers = {{"Content-Type", "application/json"}};
    what.body = std::move(body);
    return what;
  }

  /// Why Patroni did not do as it was asked.
  static std::string refusal_of(const base::outcome& came) {
    return came.status == 0 ? came.error
                            : "Patroni answered " + std::to_string(came.status) + ": "
                                  + one_line(came.body, longest_quote);
  }

  /// Any Patroni of the cluster writes what it is told into etcd, whether its PostgreSQL runs or not:
  /// the leader's is asked first, and after a failure another.
  [[nodiscard]] const std::pair<const std::string, model::member>* member_to_configure() const {
    std::vector<const std::pair<const std::string, model::member>*> able;
    for (const auto& one : around_.living.seen.members)
      if (!one.second.api_url.empty() && known()->living.find_node(one.first) != nullptr)
        able.insert(around_.living.seen.leads(one.first) ? able.begin() : able.end(), &one);
    return able.empty() ? nullptr : able[failed_configurations_ % able.size()];
  }

  void perform(const model::configure& step) {
    const auto* member = member_to_configure();
    if (member == nullptr || steps_.under_way({step_kind::configure}))
      return;
    if (!may_begin({step_kind::configure}))
      return alarm_.set(settings_pause);
    auto what = patroni_request(member->first, member->second, "PATCH", "/config", step.patch);
    what.timeout = configure_time;
    auto done = [this, digest = step.digest](const base::outcome& came) {
      steps_.end({step_kind::configure});
      if (came.status == 200) {
        failed_configurations_ = 0;
        around_.living.configured = digest;
        around_.living.restarted.clear();
        around_.living.failed_restarts.clear();
        return go_on();
      }
      ++failed_configurations_;
      put_off({step_kind::configure}, settings_pause);
      spdlog::warn("instance {}: the settings are not set: {}", name(), refusal_of(came));
      alarm_.set(settings_pause);
    };
    self_->request(setup_->http, configure_time + 5s, std::move(what))
        .then([done](const base::outcome& came) { done(came); },
              [done](const caf::error&) {
                done({0, "", "Patroni did not answer in time", false});
              });
  }

  void perform(const model::ask_settings& step) {
    if (is_put_off({step_kind::ask_settings}))
      return alarm_.set(settings_pause);
    remind(step.node_ids);
    for (const auto& id : step.node_ids) {
      auto found = around_.living.seen.members.find(id);
      if (found != around_.living.seen.members.end() && steps_.begin({step_kind::ask_settings, id}))
        ask_settings_of(id, found->second);
    }
    alarm_.set(settings_pause);
  }

  /// Patroni 3.0.2 compares a change with what runs only if it knows that PostgreSQL is up. One that
  /// comes while a copy begins it takes for known, and never writes it down until the next start.
  void remind(const std::vector<std::string>& late) {
    auto now = self_->clock().now();
    erase_if(late_since_,
             [&](const auto& one) { return std::ranges::find(late, one.first) == late.end(); });
    for (const auto& id : late) {
      auto since = late_since_.try_emplace(id, now).first;
      auto found = around_.living.seen.members.find(id);
      if (now - since->second < longest_settings || found == around_.living.seen.members.end())
        continue;
      since->second = now;
      bool leads = around_.living.seen.leads(id);
      spdlog::warn("instance {}: node {} does not take up its settings, and is {}", name(), id,
                   leads ? "told once more" : "restarted");
      auto what =
          leads ? patroni_request(id, found->second, "POST", "/reload", "")
                : patroni_request(id, found->second, "POST", "/restart", R"({"role":"replica"})");
      what.timeout = restart_time;
      self_->request(setup_->http, restart_time + 5s, std::move(what))
          .then([this](const base::outcome&) { alarm_.set(settings_pause); },
                [](const caf::error&) {});
    }
  }

  /// PostgreSQL knows which settings it has read, Patroni whether they need a restart: in this
  /// order, since Patroni notes the restart before it has PostgreSQL read the settings.
  void ask_settings_of(const std::string& id, const model::member& member) {
    auto not_now = [this, id] {
      steps_.end({step_kind::ask_settings, id});
      put_off({step_kind::ask_settings}, settings_pause);
      alarm_.set(settings_pause);
    };
    self_
        ->request(keeper_.engine().actor, database_patience,
                  settings_question{name(), member.login_url,
                                    known()->living.secret_of(model::secret_name::superuser)})
        .then(
            [this, id, member, not_now](const settings_answer& said) {
              if (!said.ok || !known())
                return not_now();
              auto what = patroni_request(id, member, "GET", "/patroni", "");
              self_->request(setup_->http, database_patience, std::move(what))
                  .then(
                      [this, id, said, not_now](const base::outcome& came) {
                        not_now();
                        learn_settings(id, said, came);
                      },
                      [not_now](const caf::error&) { not_now(); });
            },
            [not_now](const caf::error&) { not_now(); });
  }

  void learn_settings(const std::string& id, const settings_answer& said,
                      const base::outcome& patroni) {
    auto parsed = json::parse(patroni.body);
    if (patroni.status == 0 || !parsed.ok() || !parsed->IsObject())
      return;
    const auto* waits = json::member(*parsed, "pending_restart");
    bool marked = waits != nullptr && waits->IsBool() && waits->GetBool();
    around_.living.settings[id] = {said.digest, marked && !said.marked_in_vain};
    go_on();
  }

  /// What a leader takes up by its restart, a replica can take up by one more.
  void note_restart(const std::string& id) {
    if (around_.living.seen.leads(id))
      around_.living.restarted.clear();
    around_.living.restarted.insert(id);
  }

  /// Patroni says that PostgreSQL did not start; anything else may have kept the order from it.
  void note_failed_restart(const std::string& id, const base::outcome& came) {
    spdlog::warn("instance {}: node {} was not restarted: {}", name(), id, refusal_of(came));
    if (!came.body.starts_with("restart failed") && !restarts_by_itself_in_vain(id, came))
      return;
    // Of an update that says so, the settings of before are put back. If they are, and it does not
    // start with them either, something else that Patroni was told may have arrived late.
    bool in_vain = ++around_.living.failed_restarts[id] >= model::hopeless_restarts;
    if (in_vain && known() && known()->current.state != model::operation_state::in_progress) {
      around_.living.configured.clear();
      put_off({step_kind::ask_settings}, pause_between_in_vain);
    }
    if (around_.living.seen.members.contains(id))
      around_.living.seen.members[id].state = "start failed"; // its key says so a round later
  }

  /// Patroni tries again and again by itself, takes no order meanwhile, and its node does not run.
  bool restarts_by_itself_in_vain(const std::string& id, const base::outcome& came) {
    constexpr int often = 5; // some twenty seconds
    auto found = around_.living.seen.members.find(id);
    bool tries = came.body.find("after failure already in progress") != std::string::npos
                 && found != around_.living.seen.members.end() && found->second.ended();
    auto& refusals = refused_restarts_[id];
    refusals = tries ? refusals + 1 : 0;
    if (refusals < often)
      return false;
    refusals = 0;
    return true;
  }

  void perform(const model::copy_again& step) {
    auto found = around_.living.seen.members.find(step.node_id);
    if (found == around_.living.seen.members.end()
        || !steps_.begin({step_kind::copy_again, step.node_id}))
      return;
    auto what =
        patroni_request(step.node_id, found->second, "POST", "/reinitialize", R"({"force":true})");
    what.timeout = configure_time;
    auto done = [this, id = step.node_id,
                 of = around_.living.seen.leader](const base::outcome& came) {
      steps_.end({step_kind::copy_again, id});
      if (came.status == 200) {
        around_.living.copied_leader[id] = of;
        tell(model::copy_repeated{id});
      } else {
        spdlog::warn("instance {}: node {} does not begin again: {}", name(), id, refusal_of(came));
      }
      alarm_.set(switchover_retry_pause);
    };
    self_->request(setup_->http, configure_time + 5s, std::move(what))
        .then([done](const base::outcome& came) { done(came); },
              [done](const caf::error&) {
                done({0, "", "Patroni did not answer in time", false});
              });
  }

  void perform(const model::restart_node& step) {
    auto found = around_.living.seen.members.find(step.node_id);
    if (found == around_.living.seen.members.end() || is_put_off({step_kind::ask_settings})
        || !steps_.begin({step_kind::restart_node, step.node_id}))
      return;
    tell(model::restart_begun{step.node_id});
    const auto* only_if = step.ended ? "{}"
                          : around_.living.seen.leads(step.node_id)
                              ? R"({"restart_pending":true})"
                              : R"({"restart_pending":true,"role":"replica"})";
    auto what = patroni_request(step.node_id, found->second, "POST", "/restart", only_if);
    what.timeout = restart_time;
    auto done = [this, id = step.node_id](const base::outcome& came) {
      steps_.end({step_kind::restart_node, id});
      around_.living.settings.erase(id);
      auto pause = came.status == 200 ? settings_pause : restart_retry_pause;
      put_off({step_kind::ask_settings}, pause);
      if (came.status == 200)
        note_restart(id);
      else
        note_failed_restart(id, came);
      alarm_.set(pause);
      go_on();
    };
    self_->request(setup_->http, restart_time + 5s, std::move(what))
        .then([done](const base::outcome& came) { done(came); },
              [done](const caf::error&) {
                done({0, "", "Patroni did not answer in time", false});
              });
  }

  // -- the end ------------------------------------------------------------------------------------

  /// The end: one transaction, so that no part of the instance outlives the others.
  void perform(const model::release_port&) {
    if (!known()->living.secret_of(model::secret_name::etcd).username.empty() && !dismissed_)
      return dismiss_from_etcd();
    auto now = setup_->outside.now();
    auto value = store::encode_tombstone(model::tombstone_of(*known(), bindings_.all(), now));
    change what;
    what.compares = {store::unchanged_since(keeper_.key(), keeper_.at())};
    what.operations = {store::erase{store::keys_below(keys::everything_of(name()))},
                       store::erase{{keys::allocation(name()), ""}},
                       store::erase{{keys::read_only_allocation(name()), ""}},
                       store::put{keys::tombstone(name()), value}};
    if (known()->living.scope != name()) // the above has erased it already
      what.operations.push_back(
          store::erase{store::keys_below(keys::everything_of(known()->living.scope))});
    for (int port : known()->endpoints.all())
      if (port != 0)
        what.operations.push_back(
            store::put{keys::port(port), store::encode_port_use({name(), now, 0})});
    what.witness = {keys::tombstone(name()), ""};
    what.made = [value](const auto& found) {
      return !found.empty() && found.front().value == value;
    };
    keeper_.commit(std::move(what), [this](const fate& came) {
      if (!came.done()) {
        spdlog::warn("instance {}: not released: {}", name(), came.why);
        return;
      }
      tell(model::end_of(*known(), true, setup_->outside.now()));
      keeper_.forget();
    });
  }

  /// Whoever acted before this actor may have left the making of the user unanswered: it comes
  /// before the first start of a node.
  void outlast_admissions() {
    if (known() && std::ranges::any_of(known()->living.nodes, [](const auto& n) {
          return n.phase == model::node_phase::placed;
        }))
      dismiss_after_ = self_->clock().now() + longest_in_etcd;
  }

  void dismiss_from_etcd() {
    // A user whose making was not answered could still be made after its end.
    if (auto now = self_->clock().now(); now < dismiss_after_)
      return alarm_.set(dismiss_after_ - now);
    if (!steps_.begin({step_kind::etcd_user}))
      return;
    auto done = [this](const user_answer& said) {
      steps_.end({step_kind::etcd_user});
      dismissed_ = said.ok;
      if (said.ok)
        return go_on();
      spdlog::warn("instance {}: its user of etcd is not deleted yet: {}", name(), said.why);
      alarm_.set(write_retry_pause);
    };
    self_
        ->request(setup_->store, user_patience,
                  dismiss_user{known()->living.secret_of(model::secret_name::etcd).username})
        .then([done](const user_answer& said) { done(said); },
              [done](const caf::error&) {
                done({false, "etcd did not answer in time"});
              });
  }

  // -- cells that never come back -----------------------------------------------------------------

  caf::result<model::forget_report> forget_cell(const std::string& cell) {
    auto owed = self_->make_response_promise<model::forget_report>();
    keeper_.in_turn([this, cell, owed] { forget_nodes(cell, owed); });
    go_on();
    return owed;
  }

  /// Marks the nodes on the cell: those that are to go are buried unconfirmed, the others replaced.
  void forget_nodes(const std::string& cell,
                    caf::typed_response_promise<model::forget_report> owed) {
    model::forget_report report{true, "", {}};
    auto next = known() ? *known() : model::record{};
    for (auto& n : next.living.nodes)
      if (n.cell == cell) {
        n.forgotten = true;
        report.entries.push_back(
            {next.instance_id, n.node_id, n.phase == model::node_phase::removing, ""});
      }
    if (!known() || next == *known()) {
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
    keeper_.write(std::move(next), {}, {}, [owed, report, failed](const fate& came) mutable {
      if (came.done())
        owed.deliver(std::move(report));
      else
        failed(came.why);
    });
  }

  // -- demotion -----------------------------------------------------------------------------------

  [[nodiscard]] model::route new_leader() const { return {around_.routed_at, 0, false, name()}; }

  struct demotion {
    std::string from;
    caf::typed_response_promise<model::demote_report> owed;
  };

  caf::result<model::demote_report> demote(const model::demote_request& what) {
    const auto* leader = known() ? known()->living.find_node(around_.living.seen.leader) : nullptr;
    if (leader == nullptr || leader->cell != what.cell)
      return model::demote_report{true, {}};
    auto report = [&](const std::string& why) {
      return model::demote_report{true, {{known()->instance_id, leader->node_id, "", why}}};
    };
    if (keeper_.busy() || !keeper_.acts() || !known()->living.switching_to.empty())
      return report("it is being changed at this moment; try again");
    const model::node* candidate = nullptr;
    for (const auto& n : known()->living.nodes)
      if (n.phase == model::node_phase::started && n.cell != what.cell
          && model::may_take_over(known()->living, around_.living.seen, n.node_id))
        candidate = &n;
    if (candidate == nullptr)
      return report("no replica is well on another cell");
    auto owed = self_->make_response_promise<model::demote_report>();
    around_.living.failed_switchover.clear();
    auto next = *known();
    next.living.switching_to = candidate->node_id;
    keeper_.write(std::move(next), {}, {},
                  [this, owed, from = leader->node_id](const fate& came) mutable {
                    if (came.done())
                      demotions_.push_back({from, owed});
                    else
                      owed.deliver(model::demote_report{true, {{name(), from, "", came.why}}});
                  });
    return owed;
  }

  /// One is over when clients are led to the new leader too: its operator stops the old one's machine
  /// next.
  void answer_demotions() {
    std::erase_if(demotions_, [this](demotion& one) {
      const auto& leader = around_.living.seen.leader;
      bool moved = !leader.empty() && leader != one.from;
      if (moved && !model::waits_for(*around_.routing, new_leader()).over())
        return false;
      if (!moved && around_.living.failed_switchover.empty())
        return false;
      one.owed.deliver(
          model::demote_report{true,
                               {{known() ? known()->instance_id : name(), one.from,
                                 moved ? leader : "", around_.living.failed_switchover}}});
      return true;
    });
  }

  service_instance_actor::pointer self_;
  alarm<service_instance_actor::pointer> alarm_;
  instance_setup_ptr setup_;
  record_keeper keeper_;
  adoption adoption_;
  instance_bindings bindings_;
  model::circumstances around_;
  /// What a member says of itself, where that is not what is believed of it, in `around_.living.seen`.
  struct word {
    std::unique_ptr<model::member> otherwise; ///< its key, where that says something else
    std::string last_address;                 ///< as last told, while it has no key
    std::string doubt;                        ///< as last logged
  };
  model::rare_map<std::string, word> said_; ///< by node id
  std::string waiting_for_;
  /// The revision of the request that is in progress, if this actor has written it.
  store::revision accepted_at_ = 0;
  model::rare_value<model::route> unserved_; ///< what the operation waits for
  std::vector<model::route> awaited_routes_; ///< as the router directory knows
  std::string repair_;                       ///< what is being repaired, in words
  store::revision initialized_at_ = 0;       ///< of the key `initialize`; 0: it is not there
  model::bootstrap_verdict bootstrap_;
  /// How often in a row Patroni had a restart of its own under way, by node id.
  model::rare_map<std::string, int> refused_restarts_;

  cell_news news_;
  bool turn_asked_ = false;
  std::string turn_scope_; ///< of the cluster that it was asked for
  struct {
    std::string node_id;
    caf::actor_clock::time_point until;
  } led_before_; ///< who led before the leader of now
  model::health_history health_;
  struct avoidance_of_a_cell {
    caf::actor_clock::time_point until;
    std::string reason;
  };
  model::rare_map<std::string, avoidance_of_a_cell> avoid_; ///< by the cell's guid
  std::shared_ptr<const cells_in_use::places> reported_;    ///< to whom counts the cells' nodes

  struct awaited {
    std::string operation_id;
    answer owed;
  };
  std::vector<awaited> awaited_;
  std::vector<demotion> demotions_;

  bool ended_ = false;      ///< there is no instance of this id any more, and nobody waits for one
  model::step_table steps_; ///< that are under way, or are to be tried again later
  int same_answers_ = 0;
  model::rare_map<std::string, bool> last_streaming_; ///< who did, and whether without lag
  std::string lag_refusal_; ///< what was last said instead of the lag; logged once
  bool admitted_ = false;
  bool dismissed_ = false;
  caf::actor_clock::time_point dismiss_after_;
  std::size_t failed_configurations_ = 0; ///< since the last that was confirmed
  /// Since when nodes have been asked in vain whether they have the settings.
  model::rare_map<std::string, caf::actor_clock::time_point> late_since_;
  model::rare_set<std::string>
      not_sent_; ///< nodes that this actor placed and has not begun to start
  caf::actor_clock::time_point lag_heard_at_;
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
