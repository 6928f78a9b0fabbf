#include "actors/gateway.hpp"

#include <unordered_map>
#include <utility>

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;

// Above this many at once an actor's bookkeeping of open requests itself gets slow.
constexpr int most_under_way = 2'000;
constexpr caf::timespan demotion_patience = 45s;
// An etcd that restarts, or another endpoint, is there again before anybody has to be refused.
constexpr caf::timespan moment = 1s;

struct question {
  model::request what;
  std::chrono::milliseconds patience;
  std::function<void(model::verdict)> answer;
};
struct demote_question {
  model::demote_request what;
  std::function<void(model::demote_report)> answer;
};
/// An outage, by its number, has lasted for a moment.
struct still_away {
  unsigned outage;
};

} // namespace

} // namespace matriarch::actors

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::question)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::demote_question)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::still_away)

namespace matriarch::actors {

namespace {

struct edge_state {
  /// Of those that wait for etcd: each is answered once.
  std::unordered_map<std::uint64_t, std::function<void(model::verdict)>> open;
  std::uint64_t last_ticket = 0;
  bool etcd_reachable = true;
  unsigned outage = 0;

  void answer(std::uint64_t ticket, model::verdict said) {
    if (auto waiting = open.extract(ticket))
      waiting.mapped()(std::move(said));
  }

  void answer_all(const model::verdict& said) {
    for (auto& [ticket, tell] : std::exchange(open, {}))
      tell(said);
  }
};

/// The end of an operation is waited for also while etcd is away: it was accepted.
bool needs_etcd(const model::request& what) {
  return !std::holds_alternative<model::await_request>(what);
}

caf::behavior behave(caf::stateful_actor<edge_state>* self,
                     const instance_directory_actor& directory, status_board* status) {
  return {
      [=](question& asked) {
        auto answer = std::move(asked.answer);
        if (needs_etcd(asked.what)) {
          auto ticket = ++self->state.last_ticket;
          self->state.open.emplace(ticket, std::move(answer));
          answer = [self, ticket](model::verdict said) {
            self->state.answer(ticket, std::move(said));
          };
        }
        self->request(directory, asked.patience, std::move(asked.what))
            .then([answer](model::verdict& said) { answer(std::move(said)); },
                  [answer](const caf::error&) {
                    answer({model::verdict_kind::unavailable,
                            "the request could not be finished in time; ask again for its state"});
                  });
      },
      [=](const etcd_reachable& now) {
        if (now.reachable)
          status->etcd_away = false;
        else if (self->state.etcd_reachable)
          self->delayed_send(self, moment, still_away{++self->state.outage});
        self->state.etcd_reachable = now.reachable;
      },
      [=](const still_away& then) {
        if (self->state.etcd_reachable || then.outage != self->state.outage)
          return;
        // In this order: what is queued now is counted to this outage, and refused with it.
        ++status->outages;
        status->etcd_away = true;
        self->state.answer_all({model::verdict_kind::unavailable,
                                "etcd cannot be reached, and whether this was done will show when "
                                "it is back; ask again then"});
      },
      [=](demote_question& asked) {
        self->request(directory, demotion_patience, std::move(asked.what))
            .then([answer = asked.answer](model::demote_report& said) { answer(std::move(said)); },
                  [answer = asked.answer](const caf::error&) {
                    answer({true, {{"", "", "", "the switchovers did not end in time"}}});
                  });
      },
  };
}

} // namespace

gateway::gateway(caf::actor_system& system, instance_directory_actor directory, published& out)
    : worker_(system.spawn(behave, std::move(directory), &out.status)), out_(out),
      under_way_(std::make_shared<std::atomic<int>>(0)) {}

gateway::~gateway() {
  caf::anon_send_exit(worker_, caf::exit_reason::user_shutdown);
}

void gateway::ask(model::request what, std::chrono::milliseconds patience,
                  std::function<void(model::verdict)> answer) {
  if (!out_.status.loaded) {
    answer({model::verdict_kind::unavailable,
            "the broker has not read its instances from etcd yet; try again"});
    return;
  }
  if (out_.status.etcd_away && needs_etcd(what)) {
    answer({model::verdict_kind::unavailable,
            "etcd cannot be reached: nothing was changed; try again"});
    return;
  }
  if (++*under_way_ > most_under_way) {
    --*under_way_;
    answer({model::verdict_kind::unavailable, "too many requests are under way; try again"});
    return;
  }
  auto counted = [open = under_way_, answer = std::move(answer)](model::verdict said) {
    --*open;
    answer(std::move(said));
  };
  caf::anon_send(worker_, question{std::move(what), patience, std::move(counted)});
}

void gateway::ask(model::demote_request what, std::function<void(model::demote_report)> answer) {
  caf::anon_send(worker_, demote_question{std::move(what), std::move(answer)});
}

void gateway::note_etcd(bool reachable) {
  caf::anon_send(worker_, etcd_reachable{reachable, ""});
}

} // namespace matriarch::actors
