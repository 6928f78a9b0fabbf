#include "actors/leadership.hpp"

#include <spdlog/spdlog.h>

#include <optional>

#include "actors/alarm.hpp"
#include "actors/last_words.hpp"
#include "store/formats.hpp"
#include "store/keys.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;
namespace keys = store::keys;

// A dead broker's successor waits at most this long. With a shorter lease, a busy etcd could end
// it.
constexpr std::chrono::seconds lease_ttl = 10s;
// Three tries to renew before the lease can end.
constexpr caf::timespan renewal_pause = 3s;
// After this time without a renewal, etcd may have ended the lease: this broker stops acting
// although it may still hold the key.
constexpr caf::timespan trust_in_lease = 8s;
constexpr caf::timespan retry_pause = 500ms;
// etcd's own time-outs are shorter: an answer always comes.
constexpr caf::timespan patience = 10s;

class leadership {
public:
  leadership(leadership_actor::pointer self, leadership_setup setup)
      : self_(self), alarm_(self), setup_(std::move(setup)),
        own_value_(store::encode_active(setup_.self)) {}

  leadership_actor::behavior_type behavior() {
    alarm_.set(0s);
    return {
        [this](const key_changes& changed) {
          for (const auto& c : changed.changes)
            if (c.entry.key == keys::active)
              look_at(c.entry);
        },
        [this](tick_atom) {
          if (alarm_.rings())
            tick();
        },
        [this](stop_atom) { return stop(); },
    };
  }

private:
  /// Takes over a change of the key: the key may be free now, or lost. Changes before this broker
  /// took the key are ignored. Changes during the taking count: the answer "taken" may be older
  /// than the change.
  void look_at(const store::key_value& entry) {
    if (entry.value == own_value_ || entry.mod_revision <= taken_at_)
      return;
    lost_ = true;
    become(false, keys::active + " was changed by another client");
    alarm_.set(0s);
  }

  void tick() {
    if (busy_ || stopping_)
      return;
    if (active_ && now() - renewed_at_ > trust_in_lease)
      become(false, "the lease on " + keys::active + " could not be renewed in time");
    busy_ = true;
    if (lease_ == 0)
      look_at_format();
    else
      renew();
  }

  [[nodiscard]] caf::actor_clock::time_point now() { return self_->clock().now(); }

  void done(caf::timespan pause) {
    busy_ = false;
    alarm_.set(pause);
  }

  void request_lease() {
    asked_at_ = now();
    self_->request(setup_.store, patience, grant_lease{lease_ttl})
        .then(
            [this](const store::lease_result& got) {
              if (got.is != store::lease_result::state::held)
                return done(retry_pause);
              lease_ = got.id;
              note_renewal();
              take();
            },
            [this](const caf::error&) { done(retry_pause); });
  }

  void note_renewal() {
    renewed_at_ = asked_at_;
    if (setup_.out != nullptr)
      setup_.out->status.acts_until = renewed_at_ + trust_in_lease;
  }

  void renew() {
    asked_at_ = now();
    self_->request(setup_.store, patience, keep_lease{lease_})
        .then(
            [this](const store::lease_result& got) {
              switch (got.is) {
              case store::lease_result::state::held:
                if (active_)
                  return look_whose();
                note_renewal();
                return look_at_format();
              case store::lease_result::state::gone:
                lease_ = 0;
                become(false, "the lease on " + keys::active + " has ended");
                return done(0s);
              case store::lease_result::state::unreachable:
                return done(retry_pause);
              }
            },
            [this](const caf::error&) { done(retry_pause); });
  }

  /// Checks that the key still is as this broker wrote it; only then the lease counts as renewed. A
  /// lease can live on although another client has replaced the key. The watch reports that, but
  /// its changes can be late, and after a gap they are missing.
  void look_whose() {
    self_->request(setup_.store, patience, store::key_range{keys::active, ""})
        .then(
            [this](const store::range_result& came) {
              if (!came.ok)
                return done(retry_pause);
              if (came.found.empty() || came.found.front().value != own_value_
                  || came.found.front().mod_revision != taken_at_)
                become(false, keys::active + " was found changed by another client");
              if (!active_)
                return done(0s);
              note_renewal();
              done(renewal_pause);
            },
            [this](const caf::error&) { done(retry_pause); });
  }

  /// Checks the fleet's format: a broker that would misread what a later release has written never
  /// becomes active. Checked before there is a lease, and again before the key is taken.
  void look_at_format() {
    self_->request(setup_.store, patience, store::key_range{keys::format, ""})
        .then(
            [this](const store::range_result& came) {
              if (!came.ok || stopping_)
                return done(retry_pause);
              format_at_ = came.found.empty() ? 0 : came.found.front().mod_revision;
              auto why_not =
                  store::why_not_to_act(came.found.empty() ? "" : came.found.front().value);
              if (why_not)
                return give_up(*why_not);
              say_whether_to_act("");
              if (lease_ == 0)
                request_lease();
              else
                take();
            },
            [this](const caf::error&) { done(retry_pause); });
  }

  /// `why_not`: empty if this broker may act.
  void say_whether_to_act(const std::string& why_not) {
    if (why_not == why_not_said_)
      return;
    why_not_said_ = why_not;
    auto words = why_not.empty() ? "" : keys::format + ": " + why_not;
    if (!words.empty())
      spdlog::error("this broker serves reads and does not become the active one: {}", words);
    if (setup_.out != nullptr)
      setup_.out->status.must_not_act = std::make_shared<const std::string>(std::move(words));
  }

  /// Revokes the lease, and with it the key if this broker has just taken it while the format was
  /// changed.
  void give_up(const std::string& why) {
    say_whether_to_act(why);
    if (lease_ == 0)
      return done(renewal_pause);
    self_->request(setup_.store, patience, revoke_lease{std::exchange(lease_, 0)})
        .then([this](const store::lease_result&) { done(renewal_pause); },
              [this](const caf::error&) { done(renewal_pause); });
  }

  /// Writes the key under the lease if the key is free or an earlier run of this broker wrote it.
  void take() {
    if (stopping_)
      return done(retry_pause);
    store::transaction what;
    what.compares = {predecessor_at_ == 0 ? store::absent(keys::active)
                                          : store::unchanged_since(keys::active, predecessor_at_),
                     format_at_ == 0 ? store::absent(keys::format)
                                     : store::unchanged_since(keys::format, format_at_)};
    what.then = {store::put{keys::active, own_value_, lease_}};
    what.otherwise = {store::read{{keys::active, ""}}};
    predecessor_at_ = 0;
    self_->request(setup_.store, patience, std::move(what))
        .then(
            [this](const store::commit_result& came) {
              bool taken = came.state == store::commit_state::committed;
              if (!taken && came.state != store::commit_state::refused)
                return done(retry_pause);
              if (began_at_ == 0)
                began_at_ = came.at;
              if (taken) {
                taken_at_ = came.at;
                return settle_fleet();
              }
              if (came.reads.empty() || came.reads.front().empty())
                return done(0s);
              const auto& holder = came.reads.front().front();
              if (holder.value == own_value_ && holder.lease == lease_) {
                taken_at_ = holder.mod_revision;
                return settle_fleet();
              }
              auto who = store::decode_active(holder.value);
              if (holder.value == own_value_
                  || (who.ok() && is_predecessor(*who, holder.mod_revision))) {
                predecessor_at_ = holder.mod_revision;
                return done(0s);
              }
              if (!waiting_said_)
                spdlog::info("another broker is active ({}); this one waits and serves reads",
                             who.ok() ? name_of(*who) : "unknown");
              waiting_said_ = true;
              done(renewal_pause);
            },
            [this](const caf::error&) { done(retry_pause); });
  }

  /// Whether an earlier run of this broker wrote the key. That run is certainly over, since this
  /// broker holds its socket. A later value of the key comes from a living broker, even if it looks
  /// the same: otherwise two indistinguishable brokers would take the key from each other for ever.
  [[nodiscard]] bool is_predecessor(const store::active_broker& who, store::revision at) const {
    return !who.machine.empty() && who.machine == setup_.self.machine
           && who.address == setup_.self.address && at <= began_at_;
  }

  [[nodiscard]] static std::string name_of(const store::active_broker& who) {
    return who.host.empty() ? who.address : who.host + ", " + who.address;
  }

  /// Reads the fleet's id, or writes a new one, if the key still is as this broker wrote it. Then
  /// this broker becomes active.
  void settle_fleet() {
    store::transaction what;
    what.compares = {store::unchanged_since(keys::active, taken_at_), store::absent(keys::fleet)};
    what.then = {
        store::put{keys::fleet, setup_.new_fleet}, store::put{keys::shown_fleet, setup_.new_fleet},
        store::read{{keys::active, ""}},           store::read{{keys::fleet, ""}},
        store::read{{keys::shown_fleet, ""}},      store::read{{keys::format, ""}}};
    what.otherwise = {store::read{{keys::active, ""}}, store::read{{keys::fleet, ""}},
                      store::read{{keys::shown_fleet, ""}}, store::read{{keys::format, ""}}};
    lost_ = false; // the answer will be newer than all changes so far
    self_->request(setup_.store, patience, std::move(what))
        .then(
            [this](const store::commit_result& came) {
              if (came.reads.size() != 4)
                return done(retry_pause);
              const auto& holder = came.reads[0];
              const auto& fleet = came.reads[1];
              const auto& shown = came.reads[2];
              if (lost_ || holder.empty() || holder.front().mod_revision != taken_at_)
                return done(0s);
              if (fleet.empty() || stopping_)
                return done(retry_pause);
              fleet_ = fleet.front().value;
              if (shown.empty() || shown.front().value != fleet_)
                return write_as_active({keys::shown_fleet, fleet_}, {});
              const auto format = came.reads[3].empty() ? "" : came.reads[3].front().value;
              if (auto why_not = store::why_not_to_act(format))
                return give_up(*why_not);
              if (auto now = store::fleet_format_after(format))
                return write_as_active({keys::format, *now},
                                       came.reads[3].empty()
                                           ? store::absent(keys::format)
                                           : store::has_value(keys::format, format));
              settled_at_ = came.at;
              become(true, "");
              done(renewal_pause);
            },
            [this](const caf::error&) { done(retry_pause); });
  }

  /// Writes a key that earlier releases did not write. The next read shows whether that worked.
  void write_as_active(store::put one, std::optional<store::compare> if_still) {
    store::transaction what;
    what.compares = {store::unchanged_since(keys::active, taken_at_)};
    if (if_still)
      what.compares.push_back(std::move(*if_still));
    what.then = {std::move(one)};
    self_->request(setup_.store, patience, std::move(what))
        .then(
            [this](const store::commit_result& came) {
              done(came.state == store::commit_state::committed ? 0s : retry_pause);
            },
            [this](const caf::error&) { done(retry_pause); });
  }

  void become(bool active, const std::string& why) {
    if (active == active_)
      return;
    active_ = active;
    if (active)
      spdlog::info("this broker is active");
    else
      spdlog::warn("this broker is not active any more: {}", why);
    waiting_said_ = false;
    self_->send(setup_.directory, activity{active_, fleet_, settled_at_});
  }

  caf::result<bool> stop() {
    stopping_ = true;
    become(false, "it stops");
    auto owed = self_->make_response_promise<bool>();
    if (lease_ == 0) {
      owed.deliver(true);
      return owed;
    }
    self_->request(setup_.store, patience, revoke_lease{lease_})
        .then([owed](const store::lease_result&) mutable { owed.deliver(true); },
              [owed](const caf::error&) mutable { owed.deliver(false); });
    return owed;
  }

  leadership_actor::pointer self_;
  alarm<leadership_actor::pointer> alarm_;
  leadership_setup setup_;
  std::string own_value_;
  std::string fleet_;
  store::lease_id lease_ = 0;
  /// etcd's revision when it first answered this broker about the key.
  store::revision began_at_ = 0;
  store::revision predecessor_at_ = 0; ///< the key's, if it is to be taken over; else 0
  store::revision format_at_ =
      0; ///< that of the fleet's format when checked; 0 if there is no format
  store::revision taken_at_ = 0; ///< the key's, as this broker last wrote it
  store::revision settled_at_ =
      0;              ///< etcd's, when it last confirmed the key before this broker became active
  bool lost_ = false; ///< the watch has shown another value of the key since etcd was last asked
  caf::actor_clock::time_point asked_at_;
  caf::actor_clock::time_point renewed_at_;
  bool active_ = false;
  bool busy_ = false;
  bool stopping_ = false;
  bool waiting_said_ = false;
  std::string why_not_said_; ///< why this broker must not act, as last logged; empty if it may
};

struct state {
  std::unique_ptr<leadership> self;
};

} // namespace

leadership_actor spawn_leadership(caf::actor_system& system, leadership_setup setup) {
  auto behave = [](leadership_actor::stateful_pointer<state> self,
                   leadership_setup how) -> leadership_actor::behavior_type {
    keep_last_words(self);
    self->state.self = std::make_unique<leadership>(self, std::move(how));
    return self->state.self->behavior();
  };
  return setup.own_thread ? system.spawn<caf::detached>(behave, std::move(setup))
                          : system.spawn(behave, std::move(setup));
}

} // namespace matriarch::actors
