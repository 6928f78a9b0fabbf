#include "simulated_broker.hpp"

#include <caf/all.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "actors/authority_keeper.hpp"
#include "actors/cell_directory.hpp"
#include "actors/gateway.hpp"
#include "actors/instance_directory.hpp"
#include "actors/leadership.hpp"
#include "actors/pending_answers.hpp"
#include "actors/port_registry.hpp"
#include "actors/router_directory.hpp"
#include "engines/postgresql/actors/cluster_front.hpp"
#include "engines/postgresql/actors/session.hpp"
#include "engines/postgresql/model/decisions.hpp"
#include "store/active_json.hpp"
#include "store/keys.hpp"

namespace matriarch::simulation {

/// The world's answer to a mock's question.
template <class Answer>
struct came {
  std::uint64_t ticket;
  Answer answer;
};

} // namespace matriarch::simulation

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::simulation::came<matriarch::base::outcome>)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::simulation::came<matriarch::store::commit_result>)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::simulation::came<matriarch::store::lease_result>)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::simulation::came<matriarch::actors::user_answer>)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::simulation::came<matriarch::actors::role_answer>)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::simulation::came<matriarch::actors::role_removal_answer>)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::simulation::came<matriarch::actors::rights_answer>)

namespace matriarch::simulation {

namespace {

using namespace std::chrono_literals;
namespace keys = store::keys;

// Above every answer's own time-out.
constexpr std::chrono::milliseconds patience = 60s;
// The smallest step of time; events within it happen together.
constexpr model::duration step = 1ms;

/// State that the mocks share. They hold it weakly, since the world's answers may come after the
/// broker's end.
struct epoch {
  world* outside = nullptr;
  std::shared_ptr<wire> line;
  std::map<std::string, caf::actor_addr> writer_of; ///< actor that wrote a key last
};

using http_mock = actors::http_actor::extend<caf::reacts_to<came<base::outcome>>>;
using store_mock = actors::store_actor::extend<caf::reacts_to<came<store::commit_result>>,
                                               caf::reacts_to<came<store::lease_result>>,
                                               caf::reacts_to<came<actors::user_answer>>>;
using database_mock =
    engines::postgresql::sql_actor::extend<caf::reacts_to<came<actors::role_answer>>,
                                           caf::reacts_to<came<actors::role_removal_answer>>,
                                           caf::reacts_to<came<actors::rights_answer>>>;

struct http_state {
  actors::pending_answers<base::outcome> owed;
};
struct store_state {
  actors::pending_answers<store::commit_result> commits;
  actors::pending_answers<store::lease_result> leases;
  actors::pending_answers<actors::user_answer> users;
};
struct database_state {
  actors::pending_answers<actors::role_answer> owed;
  actors::pending_answers<actors::role_removal_answer> removals;
  actors::pending_answers<actors::rights_answer> rights;
};

/// A promise, and a function with which the world can keep it at any time.
template <class Answer, class Self>
std::pair<caf::typed_response_promise<Answer>, std::function<void(Answer)>>
promise(Self self, actors::pending_answers<Answer>& owed, const std::shared_ptr<epoch>& here) {
  auto promised = self->template make_response_promise<Answer>();
  auto ticket = owed.add(promised);
  return {promised, [to = caf::actor_cast<caf::weak_actor_ptr>(self->address()), ticket,
                     still = std::weak_ptr<epoch>{here}](Answer answer) {
            if (still.expired())
              return;
            if (auto alive = caf::actor_cast<caf::strong_actor_ptr>(to))
              caf::anon_send(caf::actor_cast<caf::actor>(alive),
                             came<Answer>{ticket, std::move(answer)});
          }};
}

/// Answers after that time, or as soon as `hurry` is set.
void keep_later(world& outside, duration left, const std::shared_ptr<std::atomic<bool>>& hurry,
                const std::function<void()>& answer) {
  static constexpr duration look_again{10};
  if (left <= duration{0} || (hurry && hurry->load()))
    return answer();
  outside.after(look_again, [&outside, left, hurry, answer] {
    keep_later(outside, left - look_again, hurry, answer);
  });
}

http_mock::behavior_type behave_as_http(http_mock::stateful_pointer<http_state> self,
                                        const std::weak_ptr<epoch>& still) {
  return {
      [=](const base::outgoing& what) -> caf::result<base::outcome> {
        auto here = still.lock();
        auto [promised, keep] = promise(self, self->state.owed, here);
        if (here)
          here->line->send(what, keep);
        return promised;
      },
      [=](came<base::outcome>& one) { self->state.owed.keep(one.ticket, std::move(one.answer)); },
  };
}

store_mock::behavior_type behave_as_store(store_mock::stateful_pointer<store_state> self,
                                          const std::weak_ptr<epoch>& still) {
  return {
      [=](const store::transaction& what) -> caf::result<store::commit_result> {
        auto here = still.lock();
        auto [promised, keep] = promise(self, self->state.commits, here);
        if (here) {
          for (const auto& one : what.then)
            if (const auto* put = std::get_if<store::put>(&one))
              here->writer_of[put->key] = caf::actor_cast<caf::actor_addr>(self->current_sender());
          here->line->commit(what, keep);
        }
        return promised;
      },
      [=](const store::key_range& range) -> store::range_result {
        auto here = still.lock();
        return here ? here->outside->range(range) : store::range_result{};
      },
      [=](const actors::grant_lease& what) -> caf::result<store::lease_result> {
        auto here = still.lock();
        auto [promised, keep] = promise(self, self->state.leases, here);
        if (here)
          here->line->grant_lease(what.ttl, keep);
        return promised;
      },
      [=](const actors::keep_lease& what) -> caf::result<store::lease_result> {
        auto here = still.lock();
        auto [promised, keep] = promise(self, self->state.leases, here);
        if (here)
          here->line->keep_lease(what.lease, keep);
        return promised;
      },
      [=](const actors::revoke_lease& what) -> caf::result<store::lease_result> {
        auto here = still.lock();
        auto [promised, keep] = promise(self, self->state.leases, here);
        if (here)
          here->line->revoke_lease(what.lease, keep);
        return promised;
      },
      [=](const actors::admit_user& what) -> caf::result<actors::user_answer> {
        auto here = still.lock();
        auto [promised, keep] = promise(self, self->state.users, here);
        if (here)
          here->line->admit_user(what.who.username, what.who.password, [keep = keep](bool ok) {
            keep({ok, ok ? "" : "timed out"});
          });
        return promised;
      },
      [=](const actors::dismiss_user& what) -> caf::result<actors::user_answer> {
        auto here = still.lock();
        auto [promised, keep] = promise(self, self->state.users, here);
        if (here)
          here->line->dismiss_user(what.username, [keep = keep](bool ok) {
            keep({ok, ok ? "" : "timed out"});
          });
        return promised;
      },
      [=](came<store::commit_result>& one) {
        self->state.commits.keep(one.ticket, std::move(one.answer));
      },
      [=](came<store::lease_result>& one) {
        self->state.leases.keep(one.ticket, std::move(one.answer));
      },
      [=](came<actors::user_answer>& one) {
        self->state.users.keep(one.ticket, std::move(one.answer));
      },
  };
}

database_mock::behavior_type
behave_as_database(database_mock::stateful_pointer<database_state> self,
                   const std::weak_ptr<epoch>& still) {
  return {
      [=](const actors::flush_order&) {
        return actors::flush_answer{true, 1};
      },
      [=](const actors::lag_question& asked) -> actors::lag_answer {
        auto here = still.lock();
        if (!here)
          return {};
        auto behind = here->line->lag_at(asked.conn_url);
        return behind.ok() ? actors::lag_answer{true, *behind, ""}
                           : actors::lag_answer{false, {}, behind.error()};
      },
      [=](const actors::role_order& order) -> caf::result<actors::role_answer> {
        auto here = still.lock();
        if (here)
          ++here->outside->role_orders;
        auto [promised, keep] = promise(self, self->state.owed, here);
        roles wanted{order.owner_logs_in, {}};
        for (const auto& one : order.wanted) {
          wanted.password_of[one.who.username] = one.who.password;
          if (one.read_only)
            wanted.readers.insert(one.who.username);
        }
        wanted.later = order.later;
        if (order.some_unknown)
          wanted.revoked.emplace(order.revoked.begin(), order.revoked.end());
        std::map<std::string, std::string> unmade;
        if (here && !here->outside->unmade.empty())
          for (const auto& one : order.wanted)
            if (one.fresh)
              unmade[one.who.username] = here->outside->unmade;
        if (here && !here->outside->unmade.empty() && order.owner_is_fresh)
          unmade[order.owner.username] = here->outside->unmade;
        if (here)
          here->line->set_roles(
              order.conn_url, std::move(wanted),
              [keep = keep, unmade, late = here && here->outside->only_late, still,
               hurry = order.hurry](const result<roles_made>& made) {
                if (!made.ok()) {
                  actors::role_answer refused{false, made.error()};
                  refused.kept_out = engines::postgresql::lacks_locks(made.error());
                  return keep(std::move(refused));
                }
                actors::role_answer said{true, "", made->replayed, made->replayed};
                for (const auto& name : made->leaving)
                  said.leaving[name];
                said.unmade = unmade;
                if (late)
                  for (const auto& [name, why] : unmade)
                    said.late.insert(name);
                said.caught_up = made->caught_up;
                auto world = still.lock();
                if (world)
                  keep_later(*world->outside, world->outside->orders_last, hurry,
                             [keep, said = std::move(said)] { keep(said); });
              });
        return promised;
      },
      [=](const actors::role_removal& order) -> caf::result<actors::role_removal_answer> {
        auto here = still.lock();
        auto [promised, keep] = promise(self, self->state.removals, here);
        if (here)
          here->line->drop_roles(order.conn_url, {order.name},
                                 [keep = keep, still, others = order.others](
                                     const result<std::set<std::string>>& left) {
                                   auto world = still.lock();
                                   if (!world)
                                     return;
                                   auto& outside = *world->outside;
                                   if (!left.ok()) {
                                     actors::role_removal_answer refused{false, left.error()};
                                     refused.kept_out =
                                         engines::postgresql::lacks_locks(left.error());
                                     return keep(std::move(refused));
                                   }
                                   actors::role_removal_answer said{left->empty()};
                                   if (!said.gone) {
                                     said.why = outside.lingering;
                                     for (const auto& name : others)
                                       said.others[name] = outside.lingering;
                                   }
                                   keep_later(outside, outside.removals_last, {},
                                              [keep, said = std::move(said)] { keep(said); });
                                 });
        return promised;
      },
      [=](const actors::rights_order& order) -> caf::result<actors::rights_answer> {
        auto here = still.lock();
        auto [promised, keep] = promise(self, self->state.rights, here);
        if (here)
          here->line->keep_rights(
              order.conn_url, order.readers,
              [keep = keep, skipped = here->outside->being_changed](const result<bool>& all) {
                keep(all.ok() ? actors::rights_answer{true, "", *all, skipped}
                              : actors::rights_answer{false, all.error()});
              });
        return promised;
      },
      [=](const engines::postgresql::sql_settings_question& asked)
          -> engines::postgresql::sql_settings {
        auto here = still.lock();
        auto digest = here ? here->outside->settings_at(asked.conn_url)
                           : result<std::string>{failure{"no world"}};
        return digest.ok() ? engines::postgresql::sql_settings{true, *digest, ""}
                           : engines::postgresql::sql_settings{false, "", digest.error()};
      },
      [=](came<actors::rights_answer>& one) {
        self->state.rights.keep(one.ticket, std::move(one.answer));
      },
      [=](came<actors::role_answer>& one) {
        self->state.owed.keep(one.ticket, std::move(one.answer));
      },
      [=](came<actors::role_removal_answer>& one) {
        self->state.removals.keep(one.ticket, std::move(one.answer));
      },
  };
}

struct actor_config : caf::actor_system_config {
  actor_config() { set("scheduler.policy", caf::atom("testing")); }
};

} // namespace

struct simulated_broker::actors {
  actors(world& with, const broker_settings& how)
      : outside(with), seed(how.seed), chance(how.seed),
        line(std::make_shared<wire>(with, how.latency, how.planted)),
        here(std::make_shared<epoch>(epoch{&with, line, {}})),
        scheduler(dynamic_cast<caf::scheduler::test_coordinator&>(system.scheduler())),
        who{with.new_id(), how.address, "host", how.machine} {
    // Off by default, since thousands of brokers would log the same; set TEST_LOG to read one
    // test's log.
    bool aloud = std::getenv("TEST_LOG") != nullptr;
    spdlog::set_level(aloud ? spdlog::level::debug : spdlog::level::off);
    system.await_actors_before_shutdown(false);
    matriarch::actors::environment chance_and_time;
    chance_and_time.now = [&with] { return with.now(); };
    chance_and_time.new_id = [&with] { return with.new_id(); };
    chance_and_time.new_password = [&with] { return "secret-" + with.new_id(); };
    std::weak_ptr<epoch> still = here;
    http = system.spawn(behave_as_http, still);
    store = system.spawn(behave_as_store, still);
    database = system.spawn(behave_as_database, still);
    engine = matriarch::engines::postgresql::spawn_cluster_front(
        system, database, {http, &out.status, chance_and_time});
    ports = matriarch::actors::spawn_port_registry(system, how.ports, chance_and_time, out);
    routers = matriarch::actors::spawn_router_directory(
        system, {chance_and_time, how.wait_for_routers && how.planted != bug::unconfirmed, &out});
    std::vector<matriarch::actors::cell_settings> settings;
    for (auto& one : with.cells()) {
      one.by_tls = how.cells_by_tls;
      auto place = one.uri.substr(one.uri.find("://"));
      settings.push_back({one.guid, one.availability_zone,
                          (how.cells_by_tls ? "https" : "http") + place, "admin", "secret"});
    }
    if (!how.public_host.empty())
      authority = matriarch::actors::spawn_authority_keeper(
          system,
          {store, chance_and_time, store::encode_active(who), how.keys, &out, how.operators});
    cells = matriarch::actors::spawn_cell_directory(
        system,
        {settings, http, store, chance_and_time, store::encode_active(who), how.repair, &out,
         how.public_host, authority,
         std::make_shared<const matriarch::actors::judged_plans>(matriarch::actors::judged_plans{
             &matriarch::engines::postgresql::decisions(), how.plans})});
    matriarch::actors::instance_setup setup{
        store,
        std::vector<matriarch::actors::engine_in_use>{
            {&matriarch::engines::postgresql::decisions(), engine, how.parameters}},
        ports,
        cells,
        routers,
        chance_and_time,
        &out,
        store::encode_active(who)};
    setup.etcd_users = how.etcd_users;
    setup.keys = how.keys;
    setup.tell = [this](const model::event& one) { told.push_back(one); };
    directory = matriarch::actors::spawn_instance_directory(system, setup);
    gateway = std::make_unique<matriarch::actors::gateway>(system, directory, cells, out);
    leadership =
        matriarch::actors::spawn_leadership(system, {store, directory, who, with.new_id(), &out});
    list();
  }

  ~actors() {
    here.reset();
    if (!line->is_cut())
      line->cut(way::undone);
    gateway.reset();
    auto end = caf::exit_reason::user_shutdown;
    caf::anon_send_exit(leadership, end);
    caf::anon_send_exit(directory, end);
    caf::anon_send_exit(cells, end);
    if (authority)
      caf::anon_send_exit(authority, end);
    caf::anon_send_exit(routers, end);
    caf::anon_send_exit(ports, end);
    caf::anon_send_exit(engine, end);
    caf::anon_send_exit(database, end);
    caf::anon_send_exit(http, end);
    caf::anon_send_exit(store, end);
    while (scheduler.try_run_once()) {
    }
  }

  /// Sends a listing like the etcd watcher.
  void list() {
    auto everything = outside.etcd.range({keys::first, keys::last});
    matriarch::actors::key_listing routing{{}, outside.etcd.at()};
    matriarch::actors::key_listing announced{{}, outside.etcd.at()};
    matriarch::actors::key_listing own{{}, outside.etcd.at()};
    matriarch::actors::key_listing routed{{}, outside.etcd.at()};
    for (const auto& entry : everything) {
      if (entry.key.starts_with(keys::routing) || entry.key.starts_with(keys::routers))
        routed.found.push_back(entry);
      if (entry.key.starts_with(keys::routing))
        routing.found.push_back(entry);
      else if (entry.key.starts_with(keys::cells))
        announced.found.push_back(entry);
      else if (entry.key.starts_with(keys::own))
        own.found.push_back(entry);
    }
    if (authority)
      caf::anon_send(authority, std::move(own));
    caf::anon_send(ports, std::move(routing));
    caf::anon_send(cells, std::move(announced));
    caf::anon_send(routers, std::move(routed));
    caf::anon_send(directory,
                   matriarch::actors::key_listing{std::move(everything), outside.etcd.at()});
    caf::anon_send(directory, matriarch::actors::etcd_reachable{true, ""});
    watched = outside.etcd.history().size();
  }

  /// Sends changes like the etcd watcher.
  bool pump() {
    auto left = outside.etcd.history().size() - watched;
    if (held || !outside.etcd_reachable || left == 0)
      return false;
    tell(seed == 0 ? left : 1 + chance() % left);
    return true;
  }

  void tell(std::size_t count) {
    const auto& history = outside.etcd.history();
    matriarch::actors::key_changes services;
    matriarch::actors::key_changes routing;
    matriarch::actors::key_changes announced;
    matriarch::actors::key_changes own;
    matriarch::actors::key_changes routed;
    for (; count > 0 && watched < history.size(); --count, ++watched) {
      const auto& one = history[watched];
      if (one.entry.key.starts_with(keys::routing) || one.entry.key.starts_with(keys::routers))
        routed.changes.push_back(one);
      if (one.entry.key.starts_with(keys::services))
        services.changes.push_back(one);
      else if (one.entry.key.starts_with(keys::routing))
        routing.changes.push_back(one);
      else if (one.entry.key.starts_with(keys::cells))
        announced.changes.push_back(one);
      else if (one.entry.key.starts_with(keys::own))
        own.changes.push_back(one);
    }
    if (!services.changes.empty())
      caf::anon_send(directory, std::move(services));
    if (!routing.changes.empty())
      caf::anon_send(ports, std::move(routing));
    if (!announced.changes.empty())
      caf::anon_send(cells, std::move(announced));
    if (!own.changes.empty() && authority)
      caf::anon_send(authority, own);
    if (!routed.changes.empty())
      caf::anon_send(routers, std::move(routed));
    if (!own.changes.empty())
      caf::anon_send(leadership, std::move(own));
  }

  [[nodiscard]] bool stopped() const { return frozen || line->is_cut(); }

  void run() {
    while (!stopped()) {
      if (seed != 0 && scheduler.jobs.size() > 1)
        std::swap(scheduler.jobs.front(), scheduler.jobs[chance() % scheduler.jobs.size()]);
      if (scheduler.try_run_once()) {
        ++messages;
        if (after_message)
          after_message();
      } else if (!pump()) {
        return;
      }
    }
  }

  void pass(model::duration how_long) {
    owed_time += how_long;
    if (stopped())
      return;
    scheduler.advance_time(std::exchange(owed_time, 0ms));
    run();
  }

  /// Time until the actors' next timer.
  [[nodiscard]] model::duration next() {
    const auto& timers = scheduler.clock().schedule();
    if (!stopped() && scheduler.has_job())
      return 0ms;
    if (stopped() || timers.empty())
      return model::duration::max();
    auto left = timers.begin()->first - scheduler.clock().now();
    return std::chrono::ceil<model::duration>(left);
  }

  world& outside;
  unsigned seed;
  std::minstd_rand chance;
  matriarch::actors::published out;
  std::vector<model::event> told;
  std::shared_ptr<wire> line;
  std::shared_ptr<epoch> here;
  std::size_t watched = 0;
  bool held = false;
  bool frozen = false;
  model::duration owed_time{0}; ///< time that passed while the broker was frozen
  int messages = 0;
  std::function<void()> after_message;

  actor_config config;
  caf::actor_system system{config};
  caf::scheduler::test_coordinator& scheduler;
  store::active_broker who;
  http_mock http;
  store_mock store;
  database_mock database;
  matriarch::actors::engine_actor engine;
  matriarch::actors::port_registry_actor ports;
  matriarch::actors::authority_keeper_actor authority;
  matriarch::actors::router_directory_actor routers;
  matriarch::actors::cell_directory_actor cells;
  matriarch::actors::instance_directory_actor directory;
  matriarch::actors::leadership_actor leadership;
  std::unique_ptr<matriarch::actors::gateway> gateway;
};

simulated_broker::simulated_broker(world& outside, broker_settings how)
    : self_(std::make_unique<actors>(outside, how)) {}
simulated_broker::~simulated_broker() = default;

void simulated_broker::run() {
  self_->run();
}

void simulated_broker::pass(model::duration how_long) {
  self_->pass(how_long);
}

model::duration simulated_broker::next() const {
  return self_->next();
}

wire& simulated_broker::line() {
  return *self_->line;
}

void simulated_broker::freeze() {
  self_->frozen = true;
}

void simulated_broker::thaw() {
  self_->frozen = false;
}

bool simulated_broker::answers() const {
  return !self_->stopped();
}

int simulated_broker::messages() const {
  return self_->messages;
}

void simulated_broker::after_each_message(std::function<void()> then) {
  self_->after_message = std::move(then);
}

awaited_verdict simulated_broker::ask(model::request what) {
  auto came = std::make_shared<std::optional<model::verdict>>();
  self_->gateway->ask(std::move(what), patience, [came](model::verdict said) { *came = said; });
  return came;
}

std::size_t simulated_broker::actors_alive() const {
  return self_->system.registry().running();
}

awaited_report simulated_broker::demote(const std::string& cell) {
  auto came = std::make_shared<std::optional<model::demote_report>>();
  self_->gateway->ask(model::demote_request{cell},
                      [came](model::demote_report said) { *came = said; });
  return came;
}

std::shared_ptr<std::optional<model::forget_report>>
simulated_broker::forget(const std::string& cell) {
  auto came = std::make_shared<std::optional<model::forget_report>>();
  self_->gateway->ask(model::forget_request{cell},
                      [came](model::forget_report said) { *came = said; });
  return came;
}

awaited_verdict simulated_broker::remove_orphan(const std::string& cell,
                                                const std::string& node_id) {
  auto came = std::make_shared<std::optional<model::verdict>>();
  self_->gateway->ask(model::orphan_removal{cell, node_id},
                      [came](model::verdict said) { *came = said; });
  return came;
}

std::shared_ptr<std::optional<model::reencryption_report>> simulated_broker::reencrypt_all() {
  auto came = std::make_shared<std::optional<model::reencryption_report>>();
  self_->gateway->reencrypt_all([came](model::reencryption_report said) { *came = said; });
  return came;
}

void simulated_broker::stop_waiting() {
  self_->gateway->stop_waiting();
}

void simulated_broker::end_gateway() {
  self_->gateway.reset();
}

std::vector<model::orphan> simulated_broker::orphans() const {
  return *self_->out.status.orphans.load();
}

void simulated_broker::resign() {
  caf::anon_send(self_->leadership, matriarch::actors::stop_atom::value);
  run();
}

void simulated_broker::kill_instance(const std::string& name) {
  auto found = self_->here->writer_of.find(keys::record(name));
  if (found == self_->here->writer_of.end())
    return;
  if (auto alive = caf::actor_cast<caf::strong_actor_ptr>(found->second))
    caf::anon_send_exit(caf::actor_cast<caf::actor>(alive), caf::exit_reason::unhandled_exception);
}

void simulated_broker::hold_watch(bool hold) {
  self_->held = hold;
}

void simulated_broker::hear_one() {
  self_->tell(1);
  run();
}

void simulated_broker::lose_etcd(const std::string& why) {
  caf::anon_send(self_->directory, matriarch::actors::etcd_reachable{false, why});
}

void simulated_broker::list_again() {
  self_->list();
}

bool simulated_broker::active() const {
  return self_->out.status.active;
}

model::snapshot_ptr simulated_broker::find(const std::string& name) const {
  return self_->out.instances.find(name);
}

std::vector<std::string> simulated_broker::unreadable() const {
  return self_->out.instances.unreadable();
}

model::cell_table simulated_broker::cells() const {
  return self_->out.status.cells.load();
}

tls::authorities_ptr simulated_broker::authority() const {
  return self_->out.status.authority.load();
}

const std::vector<model::event>& simulated_broker::told() const {
  return self_->told;
}

model::router_table simulated_broker::routers() const {
  return self_->out.status.routers.load();
}

std::string simulated_broker::must_not_act() const {
  return *self_->out.status.must_not_act.load();
}

std::string simulated_broker::repair_halted() const {
  return *self_->out.status.repair_halted.load();
}

// -- stage ---------------------------------------------------------------------------------------

stage::stage(int cells, broker_settings how) : outside(cells), how_(how) {
  outside.keys_to_read = outside.routers.keys = how.keys;
  outside.success_is_served = how.wait_for_routers;
  brokers.push_back(std::make_unique<simulated_broker>(outside, how_));
  run();
  pass(1s);
}

void stage::run() {
  std::size_t seen = 0;
  do {
    seen = outside.etcd.history().size();
    for (auto& one : brokers)
      one->run();
  } while (seen != outside.etcd.history().size());
}

model::duration stage::until_next(model::duration at_most) const {
  auto left = std::min(at_most, outside.next() - outside.now());
  for (const auto& one : brokers)
    left = std::min(left, one->next());
  return std::max(left, step);
}

void stage::advance(model::duration how_long) {
  outside.pass(how_long);
  for (auto& one : brokers)
    one->pass(how_long);
  run();
}

void stage::pass(model::duration how_long) {
  while (how_long > 0ms) {
    auto now = until_next(how_long);
    how_long -= now;
    advance(now);
  }
}

bool stage::pass_until(const std::function<bool()>& condition, model::duration at_most) {
  run();
  while (!condition()) {
    if (at_most <= 0ms)
      return false;
    auto now = until_next(at_most);
    at_most -= now;
    advance(now);
  }
  return true;
}

model::verdict stage::ask(model::request what) {
  auto came = broker().ask(std::move(what));
  pass_until([&] { return came->has_value(); }, patience + 1s);
  return came->value_or(model::verdict{});
}

void stage::restart() {
  brokers.erase(brokers.begin());
  brokers.insert(brokers.begin(), std::make_unique<simulated_broker>(outside, how_));
  run();
}

} // namespace matriarch::simulation
