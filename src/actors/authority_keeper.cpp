#include "actors/authority_keeper.hpp"

#include <algorithm>
#include <optional>

#include <spdlog/spdlog.h>

#include "actors/alarm.hpp"
#include "actors/last_words.hpp"
#include "base/times.hpp"
#include "store/authority_json.hpp"
#include "store/keys.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;
namespace keys = store::keys;

// Above the etcd client's own time-out, so that the client always answers first.
constexpr caf::timespan store_patience = 10s;
constexpr caf::timespan retry_pause = 500ms;
// The time of a successor does not matter to the minute. A broker that runs for years must make it,
// so the keeper looks regularly.
constexpr caf::timespan look_pause = 1h;
// How long the previous signers stay trusted. Nodes get new certificates within seconds; nodes on a
// cell that is away get theirs when it is back.
constexpr model::duration retirement = 1h;

class authority_keeper {
public:
  authority_keeper(authority_keeper_actor::pointer self, authority_setup setup)
      : self_(self), alarm_(self), setup_(std::move(setup)) {
    if (is_operators())
      publish(setup_.operators);
  }

  authority_keeper_actor::behavior_type behavior() {
    return {
        [this](const key_listing& all) {
          for (const auto& entry : all.found)
            if (entry.key == keys::authority)
              take(entry);
        },
        [this](const key_changes& changed) {
          for (const auto& c : changed.changes)
            if (c.entry.key == keys::authority && c.what == store::change::kind::put)
              take(c.entry);
        },
        [this](const activity& now) {
          active_ = now.active;
          told_.reset(); // Another broker may have published other authorities in between.
          ++term_;
          setup_.out->status.authority_told_at = 0;
          look();
        },
        [this](tick_atom) {
          if (alarm_.rings())
            look();
        },
    };
  }

private:
  [[nodiscard]] bool is_operators() const { return !setup_.operators.all.empty(); }

  /// Takes over what etcd holds. An entry older than the known one is ignored.
  void take(const store::key_value& entry) {
    if (is_operators() || entry.mod_revision <= at_)
      return;
    at_ = entry.mod_revision;
    auto read = store::decode_authorities(entry.value, *setup_.keys);
    readable_ = read.ok();
    if (!readable_)
      return spdlog::error("{} cannot be read and is left alone; no certificate is signed: {}",
                           keys::authority, read.error());
    sealed_as_now_ = read->sealed_as_now;
    publish(std::move(read->known));
  }

  void publish(tls::authorities now_are) {
    known_ = std::move(now_are);
    known_.retiring = retiring_;
    setup_.trust(known_.trusted(setup_.outside.now()));
    setup_.out->status.authority.store(std::make_shared<const tls::authorities>(known_));
  }

  /// Reads the key's current value first: making a second authority would be a disaster.
  void look() {
    if (!active_ || busy_)
      return;
    busy_ = true;
    if (is_operators())
      return tell_routers();
    self_->request(setup_.store, store_patience, store::key_range{keys::authority, ""})
        .then(
            [this](const store::range_result& came) {
              if (!came.ok)
                return done(retry_pause);
              if (came.found.empty()) {
                at_ = 0;
                readable_ = true;
                known_ = {};
              } else {
                take(came.found.front());
              }
              decide();
            },
            [this](const caf::error&) { done(retry_pause); });
  }

  void done(caf::timespan pause) {
    busy_ = false;
    alarm_.set(pause);
  }

  void decide() {
    if (!readable_)
      return done(look_pause);
    auto next = tls::next_of(known_, setup_.outside.now());
    if (!next) {
      spdlog::error("the fleet's authority cannot be made: {}", next.error());
      return done(look_pause);
    }
    if (!*next && sealed_as_now_)
      return tell_routers();
    write(*next ? **std::move(next) : known_);
  }

  /// Written before it signs anything, and only by the active broker.
  void write(tls::authorities next) {
    store::transaction what;
    what.compares = {at_ == 0 ? store::absent(keys::authority)
                              : store::unchanged_since(keys::authority, at_),
                     store::has_value(keys::active, setup_.active_value)};
    what.then = {store::put{keys::authority, store::encode_authorities(next, *setup_.keys)}};
    self_->request(setup_.store, store_patience, std::move(what))
        .then(
            [this, next = std::move(next)](const store::commit_result& came) mutable {
              // On any other result the next look reads etcd's current value.
              if (came.state != store::commit_state::committed)
                return done(retry_pause);
              if (next.all.size() > known_.all.size())
                spdlog::info("the fleet has {} authority: it ends on {}",
                             known_.all.empty() ? "an" : "another",
                             base::text_of(next.all.back().until));
              at_ = came.at;
              sealed_as_now_ = true;
              publish(std::move(next));
              tell_routers();
            },
            [this](const caf::error&) { done(retry_pause); });
  }

  /// Publishes the authorities that routers must trust: present and future signers, and past
  /// signers until nodes have had time to get new certificates.
  void tell_routers() {
    if (!told_)
      return ask_what_was_told();
    auto now = setup_.outside.now();
    if (!retiring_.empty() && now >= retired_at_) {
      retiring_.clear();
      publish(known_);
    }
    auto wanted = known_.trusted(now);
    setup_.trust(wanted);
    if (wanted == *told_) {
      setup_.out->status.authority_told_at = told_at_;
      return rest();
    }
    store::transaction what;
    what.compares = {store::has_value(keys::active, setup_.active_value)};
    what.then = {store::put{keys::shown_authority, wanted}};
    self_->request(setup_.store, store_patience, std::move(what))
        .then(
            [this, wanted, term = term_](const store::commit_result& came) {
              if (came.state != store::commit_state::committed || term != term_)
                return done(retry_pause);
              told_ = wanted;
              told_at_ = came.at;
              tell_routers();
            },
            [this](const caf::error&) { done(retry_pause); });
  }

  /// Asks etcd what was last published, by this broker or another one, perhaps with another
  /// configuration. An authority named there that does not sign any more retires.
  void ask_what_was_told() {
    self_->request(setup_.store, store_patience, store::key_range{keys::shown_authority, ""})
        .then(
            [this, term = term_](const store::range_result& came) {
              if (!came.ok || term != term_)
                return done(retry_pause);
              auto now = setup_.outside.now();
              told_.emplace();
              if (!came.found.empty()) {
                told_ = came.found.front().value;
                told_at_ = came.found.front().mod_revision;
              }
              retiring_ = tls::retiring_of(*told_, known_, now);
              retired_at_ = now + retirement;
              if (!retiring_.empty())
                spdlog::info("the previous signers of the fleet's certificates stay trusted for "
                             "another {} min",
                             std::chrono::duration_cast<std::chrono::minutes>(retirement).count());
              publish(known_);
              tell_routers();
            },
            [this](const caf::error&) { done(retry_pause); });
  }

  /// Waits until an authority retires, or until it is time to look for a successor.
  void rest() {
    done(retiring_.empty()
             ? look_pause
             : std::min<caf::timespan>(look_pause, retired_at_ - setup_.outside.now()));
  }

  authority_keeper_actor::pointer self_;
  alarm<authority_keeper_actor::pointer> alarm_;
  authority_setup setup_;
  bool active_ = false;
  unsigned term_ =
      0; ///< grows with each change of `active_`: answers to earlier questions are stale
  bool busy_ = false;
  tls::authorities known_;
  store::revision at_ = 0; ///< the key's, as last read or written; 0 if there is no key
  bool readable_ = true;
  bool sealed_as_now_ = true;       ///< sealed with the newest key
  std::optional<std::string> told_; ///< what routers were told last; none if not known
  store::revision told_at_ = 0;     ///< etcd's revision of `told_`
  std::string retiring_;            ///< PEM of the previous signers
  model::wall_time retired_at_{};   ///< until then the previous signers are trusted
};

struct state {
  std::unique_ptr<authority_keeper> self;
};

} // namespace

authority_keeper_actor spawn_authority_keeper(caf::actor_system& system, authority_setup setup) {
  return system.spawn(
      [](authority_keeper_actor::stateful_pointer<state> self,
         authority_setup with) -> authority_keeper_actor::behavior_type {
        keep_last_words(self);
        self->state.self = std::make_unique<authority_keeper>(self, std::move(with));
        return self->state.self->behavior();
      },
      std::move(setup));
}

} // namespace matriarch::actors
