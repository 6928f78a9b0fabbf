#include "actors/gateway.hpp"

#include <map>
#include <mutex>

#include "model/result.hpp"
#include "model/under_way.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;

constexpr caf::timespan demotion_patience = 45s;

struct question {
  model::request what;
  std::chrono::milliseconds patience;
  std::function<void(model::verdict)> answer;
};
struct demote_question {
  model::demote_request what;
  std::function<void(model::demote_report)> answer;
};

} // namespace

} // namespace matriarch::actors

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::question)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(matriarch::actors::demote_question)

namespace matriarch::actors {

namespace {

caf::behavior behave(caf::event_based_actor* self, const instance_directory_actor& directory) {
  return {
      [=](question& asked) {
        self->request(directory, asked.patience, std::move(asked.what))
            .then([answer = asked.answer](model::verdict& said) { answer(std::move(said)); },
                  [answer = asked.answer](const caf::error&) {
                    answer({model::verdict_kind::unavailable,
                            "the request could not be finished in time; ask again for its state"});
                  });
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

/// The answers that are owed. It outlives the gateway, for some come later.
struct gateway::desk {
  using teller = std::function<void(model::verdict)>;
  struct owed {
    std::string instance_id;
    teller answer;
    bool waits_for_end = false;
  };

  std::mutex mutex;
  model::requests_under_way under_way;
  std::map<std::uint64_t, owed> open;
  std::uint64_t last = 0;
  bool stopping = false;

  /// The number under which an answer is owed, or why it is not.
  result<std::uint64_t> enter(owed one) {
    std::lock_guard guard{mutex};
    if (stopping && one.waits_for_end)
      return failure{"the broker stops"};
    if (auto full = under_way.enter(one.instance_id))
      return failure{*full};
    open.emplace(++last, std::move(one));
    return last;
  }

  /// Answers, if that was not done before.
  void tell(std::uint64_t number, model::verdict said) {
    teller answer;
    {
      std::lock_guard guard{mutex};
      auto found = open.find(number);
      if (found == open.end())
        return;
      answer = std::move(found->second.answer);
      under_way.leave(found->second.instance_id);
      open.erase(found);
    }
    answer(std::move(said));
  }
};

gateway::gateway(caf::actor_system& system, instance_directory_actor directory, published& out)
    : worker_(system.spawn(behave, std::move(directory))), out_(out),
      desk_(std::make_shared<desk>()) {}

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
  auto id = std::visit([](const auto& asked) { return asked.instance_id; }, what);
  bool waits_for_end = std::holds_alternative<model::await_request>(what);
  auto entered = desk_->enter({std::move(id), answer, waits_for_end});
  if (!entered.ok()) {
    answer({model::verdict_kind::unavailable, entered.error()});
    return;
  }
  auto told = [desk = desk_, number = *entered](model::verdict said) {
    desk->tell(number, std::move(said));
  };
  caf::anon_send(worker_, question{std::move(what), patience, std::move(told)});
}

void gateway::stop_waiting() {
  std::vector<std::uint64_t> numbers;
  {
    std::lock_guard guard{desk_->mutex};
    desk_->stopping = true;
    for (const auto& [number, one] : desk_->open)
      if (one.waits_for_end)
        numbers.push_back(number);
  }
  for (auto number : numbers)
    desk_->tell(number, {model::verdict_kind::unavailable, "the broker stops"});
}

void gateway::ask(model::demote_request what, std::function<void(model::demote_report)> answer) {
  caf::anon_send(worker_, demote_question{std::move(what), std::move(answer)});
}

} // namespace matriarch::actors
