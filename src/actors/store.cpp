#include "actors/store.hpp"

#include "actors/last_words.hpp"
#include "actors/pending_answers.hpp"
#include "store/etcd_access.hpp"
#include "store/keys.hpp"

namespace matriarch::actors {

namespace {

/// The public interface, and the answers as they come from etcd's thread.
using worker = store_actor::extend<caf::reacts_to<std::uint64_t, store::commit_result>,
                                   caf::reacts_to<std::uint64_t, store::range_result>,
                                   caf::reacts_to<std::uint64_t, store::lease_result>,
                                   caf::reacts_to<std::uint64_t, user_answer>>;

struct store_state {
  pending_answers<store::commit_result> commits;
  pending_answers<store::range_result> ranges;
  pending_answers<store::lease_result> leases;
  pending_answers<user_answer> users;
};

worker::behavior_type behave_as_store(worker::stateful_pointer<store_state> self,
                                      store::etcd_client* etcd) {
  keep_last_words(self);
  // A weak handle, so that the actor can end while etcd still owes answers.
  auto answer_to = [weak = caf::actor_cast<caf::actor_addr>(self)](std::uint64_t ticket) {
    return [weak, ticket](auto answer) {
      if (auto strong = caf::actor_cast<caf::actor>(weak))
        caf::anon_send(strong, ticket, std::move(answer));
    };
  };
  auto answer_of_user = [](auto answer) {
    return [answer](std::string why) { answer(user_answer{why.empty(), std::move(why)}); };
  };
  return {
      [=](store::transaction& what) -> caf::result<store::commit_result> {
        auto owed = self->make_response_promise<store::commit_result>();
        etcd->commit(std::move(what), answer_to(self->state.commits.add(owed)));
        return owed;
      },
      [=](const store::key_range& keys) -> caf::result<store::range_result> {
        auto owed = self->make_response_promise<store::range_result>();
        etcd->range(keys, answer_to(self->state.ranges.add(owed)));
        return owed;
      },
      [=](const grant_lease& what) -> caf::result<store::lease_result> {
        auto owed = self->make_response_promise<store::lease_result>();
        etcd->grant_lease(what.ttl, answer_to(self->state.leases.add(owed)));
        return owed;
      },
      [=](const keep_lease& what) -> caf::result<store::lease_result> {
        auto owed = self->make_response_promise<store::lease_result>();
        etcd->keep_alive(what.lease, answer_to(self->state.leases.add(owed)));
        return owed;
      },
      [=](const revoke_lease& what) -> caf::result<store::lease_result> {
        auto owed = self->make_response_promise<store::lease_result>();
        etcd->revoke_lease(what.lease, answer_to(self->state.leases.add(owed)));
        return owed;
      },
      [=](const admit_user& what) -> caf::result<user_answer> {
        auto owed = self->make_response_promise<user_answer>();
        etcd->admit_user(what.who.username, what.who.password,
                         {store::keys_below(store::keys::everything_of(what.scope))},
                         store::written_by_nodes(what.scope),
                         answer_of_user(answer_to(self->state.users.add(owed))));
        return owed;
      },
      [=](const dismiss_user& what) -> caf::result<user_answer> {
        auto owed = self->make_response_promise<user_answer>();
        etcd->dismiss_user(what.username, answer_of_user(answer_to(self->state.users.add(owed))));
        return owed;
      },
      [=](std::uint64_t ticket, store::commit_result& answer) {
        self->state.commits.keep(ticket, std::move(answer));
      },
      [=](std::uint64_t ticket, store::range_result& answer) {
        self->state.ranges.keep(ticket, std::move(answer));
      },
      [=](std::uint64_t ticket, store::lease_result& answer) {
        self->state.leases.keep(ticket, std::move(answer));
      },
      [=](std::uint64_t ticket, user_answer& answer) {
        self->state.users.keep(ticket, std::move(answer));
      },
  };
}

} // namespace

store_actor spawn_store(caf::actor_system& system, store::etcd_client& etcd) {
  // A thread of its own, because the lease's renewal goes through this actor and must not wait for
  // instances.
  return system.spawn<caf::detached>(behave_as_store, &etcd);
}

} // namespace matriarch::actors
