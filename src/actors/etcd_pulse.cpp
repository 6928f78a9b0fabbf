#include "actors/etcd_pulse.hpp"

#include <spdlog/spdlog.h>

#include "actors/last_words.hpp"
#include "base/times.hpp"
#include "store/keys.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;
namespace keys = store::keys;

// A thirtieth of the writes of ten clusters' nodes, and soon enough for an operator who watches.
constexpr caf::timespan pause = 3s;
// etcd's own time-outs are shorter, so an answer always comes.
constexpr caf::timespan patience = 10s;

struct pulse {
  pulse_setup setup;

  void ask(etcd_pulse_actor::pointer self) {
    auto later = [self] { self->delayed_send(self, pause, tick_atom::value); };
    self->request(setup.store, patience, store::key_range{keys::active, ""})
        .then(
            [this, self, later](const store::range_result& came) {
              if (!came.ok)
                return later();
              setup.status->etcd_heard = self->clock().now();
              if (!came.found.empty() && came.found.front().value == setup.active_value)
                return write(self, later);
              setup.status->etcd_refuses_writes = false; // only the active broker can tell
              later();
            },
            [later](const caf::error&) { later(); });
  }

  template <class Later>
  void write(etcd_pulse_actor::pointer self, Later later) {
    store::transaction what;
    what.compares = {store::has_value(keys::active, setup.active_value)};
    what.then = {store::put{keys::heartbeat, base::text_of(setup.outside.now())}};
    self->request(setup.store, patience, std::move(what))
        .then(
            [this, later](const store::commit_result& came) {
              note(came);
              later();
            },
            [later](const caf::error&) { later(); });
  }

  void note(const store::commit_result& came) {
    bool taken =
        came.state == store::commit_state::committed || came.state == store::commit_state::refused;
    if (taken != setup.status->etcd_refuses_writes.exchange(!taken))
      return;
    if (taken)
      spdlog::info("etcd accepts writes again");
    else
      spdlog::warn("etcd answers, but refuses writes: {}", came.error);
  }
};

} // namespace

etcd_pulse_actor spawn_etcd_pulse(caf::actor_system& system, pulse_setup setup) {
  return system.spawn(
      [](etcd_pulse_actor::stateful_pointer<pulse> self,
         pulse_setup with) -> etcd_pulse_actor::behavior_type {
        keep_last_words(self);
        self->state.setup = std::move(with);
        self->state.ask(self);
        return {[self](tick_atom) { self->state.ask(self); }};
      },
      std::move(setup));
}

} // namespace matriarch::actors
