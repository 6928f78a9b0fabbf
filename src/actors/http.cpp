#include "actors/http.hpp"

#include "actors/last_words.hpp"
#include "actors/pending_answers.hpp"

namespace matriarch::actors {

namespace {

using worker = http_actor::extend<caf::reacts_to<std::uint64_t, base::outcome>>;

struct http_state {
  pending_answers<base::outcome> requests;
};

worker::behavior_type behave_as_http(worker::stateful_pointer<http_state> self,
                                     base::event_loop* loop) {
  keep_last_words(self);
  auto weak = caf::actor_cast<caf::actor_addr>(self);
  return {
      [=](base::outgoing& what) -> caf::result<base::outcome> {
        auto owed = self->make_response_promise<base::outcome>();
        auto ticket = self->state.requests.add(owed);
        loop->send(std::move(what), [weak, ticket](base::outcome answer) {
          if (auto strong = caf::actor_cast<caf::actor>(weak))
            caf::anon_send(strong, ticket, std::move(answer));
        });
        return owed;
      },
      [=](std::uint64_t ticket, base::outcome& answer) {
        self->state.requests.keep(ticket, std::move(answer));
      },
  };
}

} // namespace

http_actor spawn_http(caf::actor_system& system, base::event_loop& loop) {
  return system.spawn(behave_as_http, &loop);
}

} // namespace matriarch::actors
