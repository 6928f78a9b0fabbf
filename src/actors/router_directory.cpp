#include "actors/router_directory.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "actors/last_words.hpp"
#include "store/keys.hpp"
#include "store/router_json.hpp"

namespace matriarch::actors {

namespace {

namespace keys = store::keys;

std::optional<int> port_in(std::string_view text) {
  int number = 0;
  auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), number);
  return wrong == std::errc{} && end == text.data() + text.size() ? std::optional{number}
                                                                  : std::nullopt;
}

class router_directory {
public:
  router_directory(router_directory_actor::pointer self, const router_directory_setup& setup)
      : self_(self), outside_(setup.outside), out_(*setup.out) {
    now_.awaited = setup.awaited;
    publish();
  }

  router_directory_actor::behavior_type behavior() {
    return {
        [this](routes_wanted& asked) { wait(std::move(asked)); },
        [this](const key_listing& all) { relearn(all); },
        [this](const key_changes& changed) {
          for (const auto& c : changed.changes)
            learn(c.entry, c.what == store::change::kind::erase);
          changed_table();
        },
    };
  }

private:
  // -- from etcd ----------------------------------------------------------------------------------

  void relearn(const key_listing& all) {
    std::set<std::string> there;
    for (const auto& entry : all.found)
      there.insert(entry.key);
    std::erase_if(now_.living, [&](const auto& one) {
      bool gone = !there.contains(keys::router(one.first));
      if (gone)
        say_gone(one.first);
      return gone;
    });
    port_of_.clear();
    instance_of_.clear();
    for (const auto& entry : all.found)
      learn(entry, false);
    changed_table();
  }

  void learn(const store::key_value& entry, bool erased) {
    if (entry.key.starts_with(keys::routers))
      return learn_router(entry, erased);
    bool second = entry.key.starts_with(keys::read_only_allocations);
    if (!second && !entry.key.starts_with(keys::allocations))
      return;
    now_.newest = std::max(now_.newest, entry.mod_revision);
    if (auto had = port_of_.extract(entry.key))
      instance_of_.erase(had.mapped());
    auto port = erased ? std::nullopt : port_in(entry.value);
    if (!port)
      return;
    const auto& prefix = second ? keys::read_only_allocations : keys::allocations;
    port_of_[entry.key] = *port;
    instance_of_[*port] = entry.key.substr(prefix.size());
  }

  void learn_router(const store::key_value& entry, bool erased) {
    auto id = entry.key.substr(keys::routers.size());
    auto known = now_.living.find(id);
    if (erased) {
      if (known != now_.living.end()) {
        now_.living.erase(known);
        say_gone(id);
      }
      return;
    }
    auto said = store::decode_router_report(entry.value);
    if (!said.ok()) {
      // The router is alive, but its report is unreadable: counts as serving nothing, so
      // instances wait for it.
      spdlog::error("{} cannot be read: {}", entry.key, said.error());
      said = model::router_report{id, "", 0, {}};
    }
    if (known == now_.living.end()) {
      spdlog::info("router {} on {} has registered; it serves revision {}", id, said->host,
                   said->serves);
      known = now_.living.emplace(id, model::router_view{{}, outside_.now()}).first;
    }
    say_troubles(id, known->second.said, *said);
    known->second.said = std::move(*said);
    now_.newest = std::max(now_.newest, known->second.said.serves);
  }

  static void say_troubles(const std::string& id, const model::router_report& before,
                           const model::router_report& now) {
    if (before.silent != now.silent && now.silent.empty())
      spdlog::info("router {} takes connections again", id);
    else if (before.silent != now.silent)
      spdlog::warn("router {} takes no connections: {}", id, now.silent);
    for (const auto& one : now.unserved)
      if (std::ranges::find(before.unserved, one) == before.unserved.end())
        spdlog::warn("router {} does not serve instance {}: {}", id, one.instance, one.why);
  }

  void say_gone(const std::string& id) const {
    spdlog::warn("router {} is gone: its lease has ended; it is not waited for any more", id);
  }

  /// Ends a listing or a batch of changes.
  void changed_table() {
    note_lost_ports();
    ++now_.version;
    now_.holding_up.clear();
    std::vector<caf::actor_addr> to_tell;
    for (auto at = waiting_.begin(); at != waiting_.end();) {
      if (look(at->second)) {
        to_tell.push_back(at->second.who);
        at = waiting_.erase(at);
      } else {
        count(at->second, 1);
        ++at;
      }
    }
    publish();
    for (const auto& who : to_tell)
      tell(who);
  }

  void note_lost_ports() {
    std::map<int, std::string> lost;
    for (const auto& [id, router] : now_.living)
      for (int port : router.said.unbound)
        if (auto found = instance_of_.find(port); found != instance_of_.end())
          lost.insert(*found);
    for (const auto& [port, instance] : lost)
      if (!now_.lost_ports.contains(port))
        spdlog::warn("port {} of instance {} cannot be opened by a router: something else on its "
                     "machine has it",
                     port, instance);
    now_.lost_ports = std::move(lost);
  }

  void publish() { out_.status.routers.store(std::make_shared<const model::routers>(now_)); }

  // -- waiting instances --------------------------------------------------------------------------

  struct waiter {
    routes_wanted what;
    caf::actor_addr who;
    std::set<std::string> held_up_by = {}; ///< router ids, as of the last look
  };

  void wait(routes_wanted asked) {
    if (auto before = waiting_.extract(asked.name))
      count(before.mapped(), -1);
    waiter fresh{std::move(asked), caf::actor_cast<caf::actor_addr>(self_->current_sender())};
    for (const auto& route : fresh.what.routes)
      now_.newest = std::max(now_.newest, route.changed_at);
    bool over = look(fresh);
    // Changes after the instance's own look would not be reported later, so it is told to look
    // again.
    if (over && fresh.what.seen != now_.version) {
      tell(fresh.who);
    } else if (!fresh.what.routes.empty()) {
      count(fresh, 1);
      waiting_.emplace(fresh.what.name, std::move(fresh));
    }
    publish();
  }

  /// Updates what the waiter waits for. Returns whether it should be told.
  [[nodiscard]] bool look(waiter& one) const {
    one.held_up_by.clear();
    bool over = true;
    bool lost = false;
    for (const auto& route : one.what.routes) {
      auto wait = model::waits_for(now_, route);
      over = over && wait.over();
      lost = lost || !wait.unbound.empty();
      one.held_up_by.insert(wait.behind.begin(), wait.behind.end());
      one.held_up_by.insert(wait.unbound.begin(), wait.unbound.end());
      one.held_up_by.insert(wait.unserved.begin(), wait.unserved.end());
    }
    return over || lost;
  }

  void tell(const caf::actor_addr& who) {
    if (auto alive = caf::actor_cast<caf::strong_actor_ptr>(who))
      self_->send(caf::actor_cast<service_instance_actor>(alive), routed_atom::value);
  }

  void count(const waiter& one, int sign) {
    for (const auto& id : one.held_up_by)
      if ((now_.holding_up[id] += sign) == 0)
        now_.holding_up.erase(id);
  }

  router_directory_actor::pointer self_;
  environment outside_;
  published& out_;
  model::routers now_;
  std::map<std::string, int> port_of_;     ///< by allocation key
  std::map<int, std::string> instance_of_; ///< by port
  std::map<std::string, waiter> waiting_;  ///< by instance name
};

struct directory_state {
  std::unique_ptr<router_directory> self;
};

} // namespace

router_directory_actor spawn_router_directory(caf::actor_system& system,
                                              router_directory_setup setup) {
  return system.spawn(
      [](router_directory_actor::stateful_pointer<directory_state> self,
         const router_directory_setup& with) -> router_directory_actor::behavior_type {
        keep_last_words(self);
        self->state.self = std::make_unique<router_directory>(self, with);
        return self->state.self->behavior();
      },
      std::move(setup));
}

} // namespace matriarch::actors
