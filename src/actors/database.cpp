#include "actors/database.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "actors/leader_roles.hpp"
#include "actors/postgresql.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;

// A leader that hangs holds up one worker for some seconds; the others go on.
constexpr std::size_t workers = 8;
// Such a question is asked while an operation waits for it, and again half a second later: one that
// takes longer is better asked anew, of whoever leads then.
constexpr auto longest_question = 5s;

/// How far each streaming replica's replay is behind the leader's current position.
constexpr const char* lag_of_each_replica =
    "select application_name,"
    " coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn), 9223372036854775807)::bigint"
    " from pg_stat_replication where state = 'streaming'";

postgresql::deadline soon() {
  return std::chrono::steady_clock::now() + longest_question;
}

lag_answer ask(const lag_question& question) {
  auto leader = postgresql::session::open(question.conn_url, question.superuser, soon());
  if (!leader.ok())
    return {false, {}, "cannot connect to the leader: " + leader.error()};
  auto found = leader->run(lag_of_each_replica);
  if (!found.ok())
    return {false, {}, "the leader did not say how far its replicas are: " + found.error()};
  lag_answer answer{true, {}, {}};
  for (int i = 0; i < PQntuples(found->get()); ++i)
    answer.lag[postgresql::text_at(*found, i, 0)] =
        std::atoll(postgresql::text_at(*found, i, 1).c_str());
  return answer;
}

settings_answer ask(const settings_question& question) {
  auto node = postgresql::session::open(question.conn_url, question.superuser, soon());
  if (!node.ok())
    return {false, "", "cannot connect to the node: " + node.error()};
  auto found = node->run("select coalesce(current_setting(" + node->literal(model::settings_mark)
                         + ", true), '')");
  if (!found.ok())
    return {false, "", "the node did not say which settings it has: " + found.error()};
  return {true, postgresql::text_at(*found, 0, 0), ""};
}

database_actor::behavior_type work(database_actor::pointer,
                                   const std::shared_ptr<known_passwords>& passwords) {
  return {
      [](const lag_question& question) { return ask(question); },
      [=](const role_order& order) { return make_roles(order, *passwords); },
      [](const settings_question& question) { return ask(question); },
  };
}

/// Gives each question to the worker that has the fewest.
class front {
public:
  front(database_actor::pointer self, const std::shared_ptr<known_passwords>& passwords)
      : self_(self) {
    for (auto& one : team_)
      one.handle = self->spawn<caf::detached + caf::linked>(work, passwords);
  }

  template <class Answer, class Question>
  caf::result<Answer> pass_on(const Question& what) {
    auto owed = self_->make_response_promise<Answer>();
    auto& least = *std::ranges::min_element(team_, {}, &worker::open);
    ++least.open;
    self_->request(least.handle, caf::infinite, what)
        .then(
            [&least, owed](Answer& said) mutable {
              --least.open;
              owed.deliver(std::move(said));
            },
            [&least, owed](const caf::error& why) mutable {
              --least.open;
              owed.deliver(why);
            });
    return owed;
  }

private:
  struct worker {
    database_actor handle;
    int open = 0;
  };
  database_actor::pointer self_;
  std::array<worker, workers> team_;
};

struct state {
  std::unique_ptr<front> self;
};

} // namespace

database_actor spawn_database(caf::actor_system& system) {
  // (CAF 0.17 binds a reference to nothing where an actor starts without arguments.)
  return system.spawn(
      [](database_actor::stateful_pointer<state> self,
         const std::shared_ptr<known_passwords>& passwords) -> database_actor::behavior_type {
        self->state.self = std::make_unique<front>(self, passwords);
        auto* team = self->state.self.get();
        return {
            [=](const lag_question& what) { return team->pass_on<lag_answer>(what); },
            [=](const role_order& what) { return team->pass_on<role_answer>(what); },
            [=](const settings_question& what) { return team->pass_on<settings_answer>(what); },
        };
      },
      std::make_shared<known_passwords>());
}

} // namespace matriarch::actors
