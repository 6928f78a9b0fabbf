#include "actors/gateway.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;

// Above this many at once an actor's bookkeeping of open requests itself gets slow.
constexpr int most_under_way = 2'000;
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

gateway::gateway(caf::actor_system& system, instance_directory_actor directory, published& out)
    : worker_(system.spawn(behave, std::move(directory))), out_(out),
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

} // namespace matriarch::actors
