#include "actors/gateway.hpp"

#include <map>
#include <mutex>
#include <vector>

#include "actors/last_words.hpp"
#include "actors/reencryption.hpp"
#include "base/result.hpp"
#include "model/under_way.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;

constexpr caf::timespan demotion_patience = 45s;
// A restarted etcd, or another endpoint, usually answers within this time, so that no request need
// be refused.
constexpr caf::timespan moment = 1s;
constexpr caf::timespan forgetting_patience = 45s;
// A removal takes 40 s at most, but may wait behind others.
constexpr caf::timespan removal_patience = 50s;

/// Number of a pending answer.
using ticket = std::uint64_t;

struct question {
  model::request what;
  std::chrono::milliseconds patience;
  ticket owed;
};
struct demote_question {
  model::demote_request what;
  ticket owed;
};
struct forget_question {
  model::forget_request what;
  ticket owed;
};
struct orphan_question {
  model::orphan_removal what;
  ticket owed;
};

/// An outage, given by its number, has lasted longer than a moment.
struct still_away {
  unsigned outage;
};

} // namespace

} // namespace matriarch::actors

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::question)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::demote_question)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::still_away)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::forget_question)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::orphan_question)

namespace matriarch::actors {

/// Pending answers of one kind, for callers on any thread. Each is given once.
template <class Answer>
class open_questions {
public:
  ticket enter(std::function<void(Answer)> answer) {
    std::lock_guard guard{mutex_};
    open_.emplace(++last_, std::move(answer));
    return last_;
  }

  void tell(ticket number, Answer said) {
    std::function<void(Answer)> answer;
    {
      std::lock_guard guard{mutex_};
      auto found = open_.find(number);
      if (found == open_.end())
        return;
      answer = std::move(found->second);
      open_.erase(found);
    }
    answer(std::move(said));
  }

private:
  std::mutex mutex_;
  std::map<ticket, std::function<void(Answer)>> open_;
  ticket last_ = 0;
};

/// Pending answers to requests, each given once. Outlives the gateway, since some answers come
/// later.
struct answers_owed {
  open_questions<model::demote_report> demotions;
  open_questions<model::forget_report> forgettings;
  open_questions<model::verdict> orphan_removals;

  struct entry {
    std::string instance_id;
    std::function<void(model::verdict)> answer;
    /// The caller waits for the end of an accepted operation, also while etcd is away.
    bool for_an_end = false;
    /// Part of a sweep over all instances: a broker that is stopping starts no more of these.
    bool of_a_sweep = false;
  };

  /// The number of the pending answer, or why the request is refused.
  result<ticket> enter(entry one) {
    std::lock_guard guard{mutex_};
    if (stopping_ && (one.for_an_end || one.of_a_sweep))
      return failure{"the broker stops"};
    if (etcd_away_ && !one.for_an_end)
      return failure{"etcd cannot be reached: nothing was changed; try again"};
    if (auto full = under_way_.enter(one.instance_id))
      return failure{*full};
    open_.emplace(++last_, std::move(one));
    return last_;
  }

  /// Answers unless that was done already.
  void tell(ticket number, model::verdict said) {
    std::function<void(model::verdict)> answer;
    {
      std::lock_guard guard{mutex_};
      auto found = open_.find(number);
      if (found == open_.end())
        return;
      answer = std::move(found->second.answer);
      under_way_.leave(found->second.instance_id);
      open_.erase(found);
    }
    answer(std::move(said));
  }

  /// From here on nobody can wait for the end of an operation, and sweeps do not continue.
  void stop() {
    {
      std::lock_guard guard{mutex_};
      stopping_ = true;
    }
    refuse(true, "the broker stops");
  }

  /// While etcd is away, all other requests are refused at once.
  void note_etcd(bool away) {
    {
      std::lock_guard guard{mutex_};
      etcd_away_ = away;
    }
    if (away)
      refuse(false, "etcd cannot be reached, and whether this was done will show when it is back; "
                    "ask again then");
  }

private:
  void refuse(bool those_for_an_end, const std::string& why) {
    std::vector<ticket> numbers;
    {
      std::lock_guard guard{mutex_};
      for (const auto& [number, one] : open_)
        if (one.for_an_end == those_for_an_end)
          numbers.push_back(number);
    }
    for (auto number : numbers)
      tell(number, {model::verdict_kind::unavailable, why});
  }

  std::mutex mutex_;
  model::requests_under_way under_way_;
  std::map<ticket, entry> open_;
  ticket last_ = 0;
  bool stopping_ = false;
  bool etcd_away_ = false;
};

namespace {

struct edge_state {
  bool etcd_reachable = true;
  unsigned outage = 0;
};

/// Passes a question on. `tell` gets the answer, or `late` after `patience`.
template <class Actor, class Message, class Answer, class Tell>
void pass_on(caf::stateful_actor<edge_state>* self, const Actor& to, caf::timespan patience,
             Message what, Answer late, Tell tell) {
  self->request(to, patience, std::move(what))
      .then([tell](Answer& said) { tell(std::move(said)); },
            [tell, late = std::move(late)](const caf::error&) { tell(late); });
}

caf::behavior behave(caf::stateful_actor<edge_state>* self,
                     const instance_directory_actor& directory, const cell_directory_actor& cells,
                     status_board* status, const std::shared_ptr<answers_owed>& owed) {
  keep_last_words(self);
  return {
      [=](question& asked) {
        pass_on(
            self, directory, asked.patience, std::move(asked.what),
            model::verdict{model::verdict_kind::unavailable,
                           "the request could not be finished in time; ask again for its state"},
            [=, to = asked.owed](model::verdict said) { owed->tell(to, std::move(said)); });
      },
      [=](const etcd_reachable& now) {
        if (now.reachable) {
          owed->note_etcd(false);
        } else if (self->state.etcd_reachable) {
          self->delayed_send(self, moment, still_away{++self->state.outage});
        }
        self->state.etcd_reachable = now.reachable;
      },
      [=](const still_away& then) {
        if (self->state.etcd_reachable || then.outage != self->state.outage)
          return;
        // The outage is counted first: requests queued until now belong to it and are dropped with
        // it.
        ++status->outages;
        owed->note_etcd(true);
      },
      [=](demote_question& asked) {
        pass_on(self, directory, demotion_patience, std::move(asked.what),
                model::demote_report{true, {{"", "", "", "the switchovers did not end in time"}}},
                [=, to = asked.owed](model::demote_report said) {
                  owed->demotions.tell(to, std::move(said));
                });
      },
      [=](forget_question& asked) {
        pass_on(self, directory, forgetting_patience, std::move(asked.what),
                model::forget_report{true, "it could not be finished in time; try again", {}},
                [=, to = asked.owed](model::forget_report said) {
                  owed->forgettings.tell(to, std::move(said));
                });
      },
      [=](orphan_question& asked) {
        pass_on(self, cells, removal_patience, std::move(asked.what),
                model::verdict{model::verdict_kind::unavailable,
                               "the cell has not removed it in time; see matriarch orphans"},
                [=, to = asked.owed](model::verdict said) {
                  owed->orphan_removals.tell(to, std::move(said));
                });
      },
  };
}

void ask_one(answers_owed& owed, const caf::actor& worker, const published& out,
             model::request what, std::chrono::milliseconds patience,
             std::function<void(model::verdict)> answer) {
  // The state of one instance can always be looked up in etcd.
  if (!out.status.loaded && !std::holds_alternative<model::lookup_request>(what)) {
    answer({model::verdict_kind::unavailable,
            "the broker has not read its instances from etcd yet; try again"});
    return;
  }
  auto id = std::visit([](const auto& asked) { return asked.instance_id; }, what);
  auto entered =
      owed.enter({std::move(id), answer, std::holds_alternative<model::await_request>(what),
                  std::holds_alternative<model::reencrypt_request>(what)});
  if (!entered.ok()) {
    answer({model::verdict_kind::unavailable, entered.error()});
    return;
  }
  caf::anon_send(worker, question{std::move(what), patience, *entered});
}

} // namespace

gateway::gateway(caf::actor_system& system, instance_directory_actor directory,
                 cell_directory_actor cells, published& out)
    : owed_(std::make_shared<answers_owed>()),
      worker_(system.spawn(behave, std::move(directory), std::move(cells), &out.status, owed_)),
      out_(out) {}

gateway::~gateway() {
  caf::anon_send_exit(worker_, caf::exit_reason::user_shutdown);
}

void gateway::ask(model::request what, std::chrono::milliseconds patience,
                  std::function<void(model::verdict)> answer) {
  ask_one(*owed_, worker_, out_, std::move(what), patience, std::move(answer));
}

void gateway::stop_waiting() {
  owed_->stop();
}

void gateway::note_etcd(bool reachable) {
  caf::anon_send(worker_, etcd_reachable{reachable, ""});
}

void gateway::ask(model::demote_request what, std::function<void(model::demote_report)> answer) {
  caf::anon_send(worker_,
                 demote_question{std::move(what), owed_->demotions.enter(std::move(answer))});
}

void gateway::ask(model::forget_request what, std::function<void(model::forget_report)> answer) {
  caf::anon_send(worker_,
                 forget_question{std::move(what), owed_->forgettings.enter(std::move(answer))});
}

void gateway::ask(model::orphan_removal what, std::function<void(model::verdict)> answer) {
  caf::anon_send(worker_,
                 orphan_question{std::move(what), owed_->orphan_removals.enter(std::move(answer))});
}

void gateway::reencrypt_all(std::function<void(model::reencryption_report)> answer) {
  std::vector<std::string> ids;
  for (const auto& one : out_.instances.all())
    ids.push_back(one->known.instance_id);
  // A sweep may outlive the gateway, because pending answers hold it. It therefore keeps only weak
  // references to the answers and the actor.
  actors::reencrypt_all(
      std::move(ids), out_.instances.unreadable(),
      [owed = std::weak_ptr{owed_}, worker = caf::actor_cast<caf::weak_actor_ptr>(worker_),
       &out = out_](model::request what, std::chrono::milliseconds patience, auto answered) {
        auto still_owed = owed.lock();
        auto still_there = caf::actor_cast<caf::strong_actor_ptr>(worker);
        if (still_owed && still_there)
          ask_one(*still_owed, caf::actor_cast<caf::actor>(still_there), out, std::move(what),
                  patience, std::move(answered));
        else
          answered({model::verdict_kind::unavailable, "the broker stops"});
      },
      std::move(answer));
}

} // namespace matriarch::actors
