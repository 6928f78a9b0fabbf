#include "actors/instance_directory.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>
#include <set>

#include "actors/alarm.hpp"
#include "actors/last_words.hpp"
#include "actors/service_groups.hpp"
#include "base/utf8.hpp"
#include "model/names.hpp"
#include "store/etcd_access.hpp"
#include "store/keys.hpp"
#include "store/record_json.hpp"
#include "store/tombstone_json.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;
namespace keys = store::keys;

constexpr caf::timespan store_patience = 10s;
constexpr caf::timespan retry_pause = 500ms;
// A demotion is one switchover for each leader on the cell, all at the same time.
constexpr caf::timespan demotion_patience = 40s;

// A write or two for each instance; they wait for their turn like requests.
constexpr caf::timespan forgetting_patience = 30s;

std::string id_of(const model::request& what) {
  return std::visit([](const auto& asked) { return asked.instance_id; }, what);
}

/// Combines the reports of all instances on a cell.
struct demotion {
  model::demote_report all{true, {}};
  std::size_t open = 0;
  caf::typed_response_promise<model::demote_report> owed;

  void add(const model::demote_report& one) {
    all.entries.insert(all.entries.end(), one.entries.begin(), one.entries.end());
    if (--open == 0)
      owed.deliver(std::move(all));
  }
};

class instance_directory {
public:
  instance_directory(instance_directory_actor::pointer self, instance_setup setup)
      : self_(self), setup_(std::make_shared<const instance_setup>(std::move(setup))),
        alarm_(self) {}

  instance_directory_actor::behavior_type behavior() {
    self_->set_down_handler([this](const caf::down_msg& down) { ended(down); });
    self_->set_exit_handler([this](const caf::exit_msg& told) {
      for (const auto& [name, instance] : instances_)
        self_->send_exit(instance, told.reason);
      self_->quit(told.reason);
    });
    return {
        [this](model::request& what) { return route(std::move(what)); },
        [this](const model::demote_request& what) { return demote(what); },
        [this](const model::forget_request& what) { return forget(what); },
        [this](const key_listing& all) { load(all); },
        [this](const key_changes& changed) { pass_on(changed); },
        [this](const etcd_reachable& now) {
          if (now.reachable)
            spdlog::info("etcd answers");
          else
            spdlog::warn("etcd cannot be reached and is tried again: {}", now.why);
          setup_->out->status.etcd_reachable = now.reachable;
          self_->send(setup_->cells, now);
        },
        [this](const activity& now) {
          activity_ = now;
          setup_->out->status.active = now.active;
          self_->send(setup_->cells, activity_); // sent before an instance asks for its turn
          for (const auto& [name, instance] : instances_)
            self_->send(instance, activity_);
        },
        [this](tick_atom) {
          if (!alarm_.rings())
            return;
          for (const auto& name : std::exchange(to_revive_, {}))
            revive(name);
        },
    };
  }

private:
  using answer = caf::typed_response_promise<model::verdict>;

  // -- actors -------------------------------------------------------------------------------------

  service_instance_actor spawn(instance_start start) {
    auto name = start.name;
    // A scope usually names its instance, so that a large fleet need not keep a map of scopes.
    if (start.known)
      for (const auto* cluster : std::as_const(*start.known).clusters())
        if (model::name_of_scope(cluster->scope) != name) {
          name_of_scope_[cluster->scope] = name;
          scopes_of_[name].insert(cluster->scope);
        }
    auto instance = spawn_service_instance(self_->system(), setup_, std::move(start), activity_);
    self_->monitor(instance);
    auto known = instances_.insert_or_assign(name, instance).first;
    name_of_actor_[instance.address()] = &known->first;
    return instance;
  }

  void ended(const caf::down_msg& down) {
    auto found = name_of_actor_.find(down.source);
    if (found == name_of_actor_.end())
      return;
    const auto name = *found->second;
    name_of_actor_.erase(found);
    instances_.erase(name);
    if (auto scopes = scopes_of_.extract(name))
      for (const auto& scope : scopes.mapped())
        if (auto there = name_of_scope_.find(scope);
            there != name_of_scope_.end() && there->second == name)
          name_of_scope_.erase(there);
    // An instance's actor ends normally only when its instance has been removed.
    if (!down.reason || down.reason == caf::exit_reason::normal)
      return;
    spdlog::error("the actor of instance {} ended ({}) and is started anew", name,
                  self_->system().render(down.reason));
    setup_->out->instances.remove(name);
    // Not at once: the cause may also end the next actor.
    to_revive_.insert(name);
    alarm_.set(retry_pause);
  }

  /// Starts the actor of an instance that has none, if etcd says that there is such an instance.
  void revive(const std::string& name) {
    if (!reviving_.insert(name).second)
      return;
    auto failed = [this, name] {
      reviving_.erase(name);
      to_revive_.insert(name);
      alarm_.set(retry_pause);
    };
    store::transaction asked;
    asked.then = {store::read{store::keys_below(keys::everything_of(name))},
                  store::read{store::keys_of_later_scopes(name)}};
    self_->request(setup_->store, store_patience, std::move(asked))
        .then(
            [this, name, failed](const store::commit_result& came) {
              if (came.state != store::commit_state::committed || came.reads.size() != 2)
                return failed();
              reviving_.erase(name);
              if (!instances_.contains(name)) // a request may have started it in between
                load_one(came.reads[0], came.reads[1], came.at);
            },
            [failed](const caf::error&) { failed(); });
  }

  // -- from etcd ----------------------------------------------------------------------------------

  service_groups groups(store::revision at) {
    return {*setup_->keys, [this, at](instance_start start, std::vector<store::key_value> own) {
              auto found = instances_.find(start.name);
              auto instance = found != instances_.end() ? found->second : spawn(std::move(start));
              self_->send(instance, key_listing{std::move(own), at});
            }};
  }

  /// All keys as of a revision, in several parts. An instance that is in none of them does not
  /// exist.
  void load(const key_listing& part) {
    if (part.first)
      listing_.emplace(groups(part.at));
    listing_->add(part.found);
    if (!part.last)
      return;
    listing_->end();
    for (const auto& name : setup_->out->instances.unreadable())
      if (!listing_->unreadable().contains(name))
        setup_->out->instances.remove(name);
    for (const auto& name : listing_->unreadable())
      setup_->out->instances.note_unreadable(name);
    for (const auto& [name, instance] : instances_)
      if (!listing_->names().contains(name))
        self_->send(instance, key_listing{{}, part.at});
    if (!setup_->out->status.loaded.exchange(true)) {
      spdlog::info("{} service instances found in etcd", listing_->names().size());
      for (const auto& [name, instance] : instances_)
        self_->send(instance, activity_); // what they have put off until now
    }
    listing_.reset();
  }

  /// The keys of one instance.
  void load_one(const std::vector<store::key_value>& found,
                const std::vector<store::key_value>& of_later_scopes, store::revision at) {
    auto one = groups(at);
    one.add(found);
    one.add(of_later_scopes);
    one.end();
    for (const auto& name : one.unreadable())
      setup_->out->instances.note_unreadable(name);
  }

  void pass_on(const key_changes& changed) {
    std::map<std::string, key_changes> by_name;
    for (const auto& c : changed.changes) {
      service_key key{c.entry.key};
      auto scope = name_of_scope_.find(key.first);
      // The record and the bindings are below the instance's name, all keys of its nodes below the
      // scope.
      bool own = key.rest == "state" || key.rest.starts_with("bindings/");
      const auto name = own                             ? key.first
                        : scope == name_of_scope_.end() ? model::name_of_scope(key.first)
                                                        : scope->second;
      if (!instances_.contains(name) && key.rest == "state") {
        if (c.what == store::change::kind::put)
          heard_of(name, c.entry);
        else
          setup_->out->instances.remove(name);
      }
      by_name[name].changes.push_back(c);
    }
    for (auto& [name, changes] : by_name)
      if (auto found = instances_.find(name); found != instances_.end())
        self_->send(found->second, std::move(changes));
  }

  /// Handles a record without an actor. On the active broker the change may be an echo of its own
  /// write, for an instance that has been removed since, so etcd is asked whether the record is
  /// still there.
  void heard_of(const std::string& name, const store::key_value& entry) {
    if (activity_.active)
      revive(name);
    else
      spawn_from(name, entry);
  }

  void spawn_from(const std::string& name, const store::key_value& entry) {
    auto known = store::decode_record(entry.value, *setup_->keys);
    if (!known.ok()) {
      spdlog::error("{} cannot be read and is left alone: {}", entry.key, known.error());
      setup_->out->instances.note_unreadable(name);
      return;
    }
    instance_start start;
    start.name = name;
    start.known = std::move(*known);
    start.at = entry.mod_revision;
    spawn(std::move(start));
  }

  // -- requests -----------------------------------------------------------------------------------

  caf::result<model::verdict> route(model::request what) {
    auto owed = self_->make_response_promise<model::verdict>();
    auto name = model::name_of(id_of(what));
    if (auto found = instances_.find(name); found != instances_.end())
      owed.delegate(found->second, std::move(what));
    else
      look_up(name, std::move(what), owed);
    return owed;
  }

  /// "Does not exist" is a statement about etcd, so etcd is read within this very request.
  void look_up(const std::string& name, model::request what, answer owed) {
    store::transaction asked;
    asked.then = {store::read{store::keys_below(keys::everything_of(name))},
                  store::read{{keys::tombstone(name), ""}},
                  store::read{store::keys_of_later_scopes(name)}};
    self_->request(setup_->store, store_patience, std::move(asked))
        .then(
            [this, name, what = std::move(what), owed](const store::commit_result& came) mutable {
              if (came.state == store::commit_state::committed && came.reads.size() == 3)
                return looked_up(name, std::move(what), owed, came);
              owed.deliver(model::verdict{model::verdict_kind::unavailable,
                                          "etcd cannot be reached: " + came.error + "; try again"});
            },
            [owed](const caf::error&) mutable {
              owed.deliver(model::verdict{model::verdict_kind::unavailable,
                                          "etcd did not answer; try again"});
            });
  }

  static bool has_record(const std::string& name, const std::vector<store::key_value>& keys_of_it) {
    return std::ranges::any_of(
        keys_of_it, [key = keys::record(name)](const auto& one) { return one.key == key; });
  }

  void looked_up(const std::string& name, model::request what, answer owed,
                 const store::commit_result& came) {
    if (!instances_.contains(name))
      load_one(came.reads[0], came.reads[2], came.at);
    auto found = instances_.find(name);
    if (found == instances_.end() && has_record(name, came.reads[0])) {
      owed.deliver(model::verdict{model::verdict_kind::unavailable,
                                  "service instance " + matriarch::quoted(id_of(what))
                                      + " exists, but this broker cannot read its record; its "
                                        "log says why"});
      return;
    }
    if (found == instances_.end() && std::holds_alternative<model::provision_request>(what)) {
      instance_start start;
      start.name = name;
      spawn(std::move(start));
      found = instances_.find(name);
    }
    if (found != instances_.end()) {
      owed.delegate(found->second, std::move(what));
      return;
    }
    auto id = matriarch::quoted(id_of(what));
    model::verdict said{model::verdict_kind::not_found, "there is no service instance " + id};
    if (!came.reads[1].empty())
      if (auto left = store::decode_tombstone(came.reads[1].front().value);
          left.ok() && left->removed_at + model::tombstone_life > setup_->outside.now()) {
        said = {model::verdict_kind::gone, "the service instance " + id + " has been removed"};
        said.left = std::move(*left);
      }
    owed.deliver(std::move(said));
  }

  caf::result<model::demote_report> demote(const model::demote_request& what) {
    auto cells = setup_->out->status.cells.load();
    bool known = model::find_cell(*cells, what.cell) != nullptr;
    auto owed = self_->make_response_promise<model::demote_report>();
    if (!known) {
      owed.deliver(model::demote_report{});
      return owed;
    }
    self_->request(setup_->cells, store_patience, users_wanted{what.cell})
        .then([this, what, owed](const cell_users& on_it) { demote(what, on_it, owed); },
              [owed](const caf::error&) mutable {
                owed.deliver(model::demote_report{
                    true, {{"", "", "", "the broker is too busy; try again"}}});
              });
    return owed;
  }

  void demote(const model::demote_request& what, const cell_users& on_it,
              caf::typed_response_promise<model::demote_report> owed) {
    const auto concerned = actors_of(on_it);
    if (concerned.empty()) {
      owed.deliver(model::demote_report{true, {}});
      return;
    }
    auto together = std::make_shared<demotion>();
    together->open = concerned.size();
    together->owed = std::move(owed);
    for (const auto& [name, instance] : concerned)
      self_->request(instance, demotion_patience, what)
          .then([together](const model::demote_report& one) { together->add(one); },
                [together, name = name](const caf::error&) {
                  together->add({true, {{name, "", "", "the switchover did not end in time"}}});
                });
  }

  /// The instances with nodes on the cell. If some instances have not reported their cells yet, all
  /// instances are returned.
  [[nodiscard]] std::map<std::string, service_instance_actor>
  actors_of(const cell_users& some) const {
    if (some.heard_of < instances_.size())
      return {instances_.begin(), instances_.end()};
    std::map<std::string, service_instance_actor> found;
    for (const auto& name : some.names)
      if (auto known = instances_.find(name); known != instances_.end())
        found.insert(*known);
    return found;
  }

  caf::result<model::forget_report> forget(const model::forget_request& what) {
    auto owed = self_->make_response_promise<model::forget_report>();
    self_->request(setup_->cells, store_patience, what)
        .then(
            [this, what, owed](model::forget_report& allowed) mutable {
              if (!allowed.known || !allowed.refused.empty()) {
                owed.deliver(std::move(allowed));
                return;
              }
              self_->request(setup_->cells, store_patience, users_wanted{what.cell})
                  .then([this, what, owed](const cell_users& on_it) { forget(what, on_it, owed); },
                        [owed](const caf::error&) mutable { owed.deliver(too_busy_to_forget()); });
            },
            [owed](const caf::error&) mutable { owed.deliver(too_busy_to_forget()); });
    return owed;
  }

  static model::forget_report too_busy_to_forget() {
    return {true, "the broker is too busy; try again", {}};
  }

  void forget(const model::forget_request& what, const cell_users& on_it,
              caf::typed_response_promise<model::forget_report> owed) {
    auto all = std::make_shared<model::forget_report>();
    all->known = true;
    const auto concerned = actors_of(on_it);
    if (concerned.empty()) {
      owed.deliver(*all);
      return;
    }
    auto open = std::make_shared<std::size_t>(concerned.size());
    auto add = [all, open, owed](const model::forget_report& one) mutable {
      all->entries.insert(all->entries.end(), one.entries.begin(), one.entries.end());
      if (--*open == 0)
        owed.deliver(*all);
    };
    for (const auto& [name, instance] : concerned)
      self_->request(instance, forgetting_patience, what)
          .then([add](const model::forget_report& one) mutable { add(one); },
                [add, name = name](const caf::error&) mutable {
                  add({true, "", {{name, "", false, "it did not answer in time; try again"}}});
                });
  }

  instance_directory_actor::pointer self_;
  instance_setup_ptr setup_;
  activity activity_;
  alarm<instance_directory_actor::pointer> alarm_;
  std::set<std::string> reviving_;  ///< names that etcd is being asked about
  std::set<std::string> to_revive_; ///< names to ask about in a moment
  std::unordered_map<std::string, service_instance_actor> instances_;
  /// Refers to names in `instances_`, where an actor stays until it has ended.
  std::map<caf::actor_addr, const std::string*> name_of_actor_;
  std::unordered_map<std::string, std::string>
      name_of_scope_; ///< for scopes that do not name their instance
  std::unordered_map<std::string, std::set<std::string>> scopes_of_; ///< the same by name
  std::optional<service_groups> listing_;                            ///< the listing under way
};

struct state {
  std::unique_ptr<instance_directory> self;
};

} // namespace

instance_directory_actor spawn_instance_directory(caf::actor_system& system, instance_setup setup) {
  return system.spawn(
      [](instance_directory_actor::stateful_pointer<state> self,
         const instance_setup& with) -> instance_directory_actor::behavior_type {
        keep_last_words(self);
        self->state.self = std::make_unique<instance_directory>(self, with);
        return self->state.self->behavior();
      },
      std::move(setup));
}

} // namespace matriarch::actors
