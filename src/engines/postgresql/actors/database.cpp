#include "engines/postgresql/actors/database.hpp"

#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "actors/guarded.hpp"
#include "actors/last_words.hpp"
#include "engines/postgresql/actors/cluster_front.hpp"
#include "engines/postgresql/actors/leader_roles.hpp"
#include "engines/postgresql/actors/rights_upkeep.hpp"
#include "engines/postgresql/actors/role_removal.hpp"
#include "engines/postgresql/actors/session.hpp"
#include "engines/postgresql/model/decisions.hpp"

namespace matriarch::engines::postgresql {

namespace {

using namespace std::chrono_literals;

// A worker mostly waits, and costs a thread. One instance occupies at most seven workers, four of
// them by removals, whatever its nodes or tenant hold up. Only many such instances together can
// delay another one, and each frees its workers within seconds.
constexpr std::size_t most_workers = 96;
// Comparisons of rights under way at a time, over all instances. Only a new reader waits for a
// comparison, and each keeps a leader busy.
constexpr std::size_t most_comparisons = 4;
// Instances whose last comparison was slow, for whatever reason, share these places, so that they
// do not delay the others. `slow_for` is how long: a tenant gains little by holding up every second
// comparison.
constexpr std::size_t most_slow_comparisons = 2;
constexpr auto slow_comparison = 3s; // a round takes 2 s where there is much to do
constexpr auto slow_for = 10min;
// Such a question belongs to an operation and is repeated half a second later: rather than wait
// longer, the broker asks again, possibly another leader.
constexpr auto longest_question = 5s;

// What takes longer is ended here; the leader goes on with it, and the next one takes less.
constexpr auto longest_flush = 60s;

/// How far each streaming replica's replay is behind the leader's current position. The leader of a cluster
/// that follows another one writes nothing: what it has received counts.
constexpr const char* lag_of_each_replica =
    "select application_name, coalesce(pg_wal_lsn_diff(case when pg_is_in_recovery()"
    " then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())"
    " else pg_current_wal_lsn() end, replay_lsn), 9223372036854775807)::bigint"
    " from pg_stat_replication where state = 'streaming'";

deadline soon() {
  return std::chrono::steady_clock::now() + longest_question;
}

actors::lag_answer ask(const actors::lag_question& question) {
  auto leader = session::open(question.conn_url, question.superuser, soon());
  if (!leader.ok())
    return {false, {}, "cannot connect to the leader: " + leader.error()};
  auto found = leader->run(lag_of_each_replica);
  if (!found.ok())
    return {false, {}, "the leader did not say how far its replicas are: " + found.error()};
  actors::lag_answer answer{true, {}, {}};
  for (int i = 0; i < PQntuples(found->get()); ++i)
    if (auto behind = number_at(*found, i, 1))
      answer.lag[words_at(*found, i, 0)] = *behind;
  return answer;
}

actors::flush_answer obey(const actors::flush_order& order) {
  auto leader = session::open(order.conn_url, order.superuser,
                              std::chrono::steady_clock::now() + longest_flush);
  if (!leader.ok())
    return {false, 0, "cannot connect to the leader: " + leader.error()};
  auto done = leader->run("checkpoint");
  if (!done.ok())
    return {false, 0, done.error()};
  auto timeline = leader->run("select timeline_id from pg_control_checkpoint()");
  if (!timeline.ok() || PQntuples(timeline->get()) != 1)
    return {false, 0, "the leader did not say which timeline it writes"};
  return {true, number_at(*timeline, 0, 0).value_or(0)};
}

sql_settings ask(const sql_settings_question& question) {
  auto node = session::open(question.conn_url, question.superuser, soon());
  if (!node.ok())
    return {false, "", "cannot connect to the node: " + node.error()};
  // PostgreSQL 15 keeps its pending_restart mark on a parameter that was added to its
  // configuration, never applied because that needs a restart, and removed again.
  auto found = node->run(
      "select coalesce(current_setting(" + node->literal(model::settings_mark)
      + ", true), ''), count(*) > 0 and bool_and(in_vain) from (select source not in"
        " ('configuration file', 'command line') and not exists (select from pg_file_settings f"
        " where lower(f.name) = lower(s.name)) as in_vain from pg_settings s where pending_restart)"
        " as marked");
  if (!found.ok())
    return {false, "", "the node did not say which settings it has: " + found.error()};
  if (PQntuples(found->get()) != 1)
    return {false, "", "the node answered what was not asked for"};
  return {true, words_at(*found, 0, 0), "", text_at(*found, 0, 1) == "t"};
}

sql_actor::behavior_type work(sql_actor::pointer,
                              const std::shared_ptr<known_passwords>& passwords) {
  return {
      [](const actors::lag_question& question) {
        return actors::guarded<actors::lag_answer>([&] { return ask(question); });
      },
      [=](const actors::role_order& order) {
        return actors::guarded<actors::role_answer>([&] { return make_roles(order, *passwords); });
      },
      [](const actors::role_removal& order) {
        return actors::guarded<actors::role_removal_answer>([&] { return remove_role(order); });
      },
      [](const actors::rights_order& order) {
        return actors::guarded<actors::rights_answer>([&] { return keep_rights(order); });
      },
      [](const actors::flush_order& order) {
        return actors::guarded<actors::flush_answer>([&] { return obey(order); });
      },
      [](const sql_settings_question& question) {
        return actors::guarded<sql_settings>([&] { return ask(question); });
      },
  };
}

/// Gives each job to an idle worker, or to a new one. At most one job of a kind is under way for
/// one instance, or for one role that is removed; the others wait in line.
class front {
public:
  front(sql_actor::pointer self, std::shared_ptr<known_passwords> passwords)
      : self_(self), passwords_(std::move(passwords)) {}

  template <class Answer, class Question>
  caf::result<Answer> pass_on(const char* kind, const Question& what) {
    auto owed = self_->make_response_promise<Answer>();
    auto line = kind + (" " + what.instance);
    if constexpr (std::is_same_v<Question, actors::role_removal>)
      line += " " + what.name;
    if constexpr (std::is_same_v<Question, actors::rights_order>)
      line = line_of_comparison(what.instance);
    add(line, [this, owed, what, line](const sql_actor& worker) mutable {
      auto over = [this, worker, line, instance = what.instance, begun = self_->clock().now()] {
        if constexpr (std::is_same_v<Question, actors::rights_order>)
          note_comparison(instance, begun);
        idle_.push_back(worker);
        end(line);
        go_on();
      };
      self_->request(worker, caf::infinite, what)
          .then(
              [owed, over](Answer& said) mutable {
                owed.deliver(std::move(said));
                over();
              },
              [owed, over](const caf::error& why) mutable {
                owed.deliver(why);
                over();
              });
    });
    go_on();
    return owed;
  }

private:
  using job = std::function<void(const sql_actor&)>;

  void add(const std::string& line, job begin) {
    auto& waiting = lines_[line];
    waiting.push_back(std::move(begin));
    if (waiting.size() == 1 && !busy_.contains(line))
      ready_.push_back(line);
  }

  /// Ends a job. The line's next job has its turn after those of other lines.
  void end(const std::string& line) {
    busy_.erase(line);
    if (lines_.contains(line))
      ready_.push_back(line);
  }

  std::string line_of_comparison(const std::string& instance) {
    auto slow = slow_until_.find(instance);
    bool is_slow = slow != slow_until_.end() && self_->clock().now() < slow->second;
    auto number = std::hash<std::string>{}(instance);
    return is_slow ? "slow rights " + std::to_string(number % most_slow_comparisons)
                   : "rights " + std::to_string(number % most_comparisons);
  }

  void note_comparison(const std::string& instance, caf::actor_clock::time_point begun) {
    auto now = self_->clock().now();
    std::erase_if(slow_until_, [&](const auto& one) { return one.second <= now; });
    if (now - begun >= slow_comparison)
      slow_until_[instance] = now + slow_for;
  }

  /// A fleet has as many lines as instances, so only lines that can continue are looked at.
  void go_on() {
    while (!ready_.empty() && (!idle_.empty() || made_ < most_workers)) {
      auto line = std::move(ready_.front());
      ready_.pop_front();
      busy_.insert(line);
      auto waiting = lines_.find(line);
      auto begin = std::move(waiting->second.front());
      waiting->second.pop_front();
      if (waiting->second.empty())
        lines_.erase(waiting);
      begin(free_worker());
    }
  }

  sql_actor free_worker() {
    if (idle_.empty()) {
      ++made_;
      return self_->spawn<caf::detached + caf::linked>(work, passwords_);
    }
    auto worker = idle_.back();
    idle_.pop_back();
    return worker;
  }

  sql_actor::pointer self_;
  std::shared_ptr<known_passwords> passwords_;
  std::unordered_map<std::string, std::list<job>> lines_; ///< waiting jobs by line, in order
  std::deque<std::string> ready_;                         ///< waiting lines without a job under way
  std::map<std::string, caf::actor_clock::time_point> slow_until_; ///< by instance
  std::unordered_set<std::string> busy_;                           ///< lines with a job under way
  std::vector<sql_actor> idle_;
  std::size_t made_ = 0;
};

struct state {
  std::unique_ptr<front> self;
};

} // namespace

sql_actor spawn_database(caf::actor_system& system) {
  // With no arguments, CAF 0.17 would bind a reference to nothing here.
  return system.spawn(
      [](sql_actor::stateful_pointer<state> self,
         const std::shared_ptr<known_passwords>& passwords) -> sql_actor::behavior_type {
        actors::keep_last_words(self);
        self->state.self = std::make_unique<front>(self, passwords);
        auto* team = self->state.self.get();
        return {
            [=](const actors::lag_question& what) {
              return team->pass_on<actors::lag_answer>("lag", what);
            },
            [=](const actors::role_order& what) {
              return team->pass_on<actors::role_answer>("roles", what);
            },
            [=](const actors::role_removal& what) {
              return team->pass_on<actors::role_removal_answer>("removal", what);
            },
            [=](const actors::rights_order& what) {
              return team->pass_on<actors::rights_answer>("rights", what);
            },
            [=](const actors::flush_order& what) {
              return team->pass_on<actors::flush_answer>("flush", what);
            },
            [=](const sql_settings_question& what) {
              return team->pass_on<sql_settings>("settings", what);
            },
        };
      },
      std::make_shared<known_passwords>());
}

const model::engine& engine::decisions() const {
  return postgresql::decisions();
}

actors::engine_actor engine::spawn(caf::actor_system& system,
                                   const actors::engine_surroundings& with) const {
  return spawn_cluster_front(system, spawn_database(system), with);
}

void engine::trust(const std::string& authorities) const {
  postgresql::trust(authorities);
}

} // namespace matriarch::engines::postgresql
