#include "engines/postgresql/actors/cluster_front.hpp"

#include <chrono>
#include <cstddef>
#include <string>
#include <utility>

#include "actors/last_words.hpp"
#include "base/json.hpp"
#include "base/utf8.hpp"
#include "model/addresses.hpp"

namespace matriarch::engines::postgresql {

namespace {

using namespace std::chrono_literals;

// Patroni answers a switchover when it is done, 2 s on an idle machine.
constexpr std::chrono::milliseconds switchover_time = 15s;
// Patroni restarts PostgreSQL in place: a clean stop with its last checkpoint, and a start.
constexpr std::chrono::milliseconds restart_time = 60s;
constexpr std::chrono::milliseconds configure_time = 10s;
constexpr std::chrono::milliseconds question_time = 5s;
// Above the request's own time-out, so that the request always answers first.
constexpr caf::timespan margin = 5s;
constexpr caf::timespan sql_patience = 10s;
constexpr std::size_t longest_quote = 300;
// Patroni's answers have some kilobytes; the limit is for answers that a tenant made up.
constexpr std::size_t longest_answer = 256 * 1024;

/// A request to a member's own REST API, whose `api_url` ends with /patroni. For HTTPS, the node
/// must show a certificate of the fleet that names it; for a node of a foreign cell the system's
/// authorities are trusted.
base::outgoing request_to(const actors::node_contact& node, std::string verb,
                          const std::string& path, std::string body,
                          std::chrono::milliseconds timeout,
                          const actors::engine_surroundings& with) {
  base::outgoing what;
  what.verb = std::move(verb);
  what.url = node.url.substr(0, node.url.rfind("/patroni")) + path;
  if (node.by_fleet && node.url.starts_with("https:")) {
    what.url = "https://" + node.node_id + path;
    what.reached_at = model::place_in(node.url);
    if (auto by = with.board->authority.load())
      what.tls.authority_text = by->trusted(with.outside.now());
  }
  what.username = node.login.username;
  what.password = node.login.password;
  what.max_answer_bytes = longest_answer;
  what.headers = {{"Content-Type", "application/json"}};
  what.body = std::move(body);
  what.timeout = timeout;
  return what;
}

/// The result of an order, with Patroni's reason if it refused.
actors::order_answer answer_of(const base::outcome& came) {
  using outcome = actors::order_answer::outcome;
  if (came.status == 200)
    return {outcome::done};
  if (came.status == 0)
    return {outcome::refused, came.error};
  auto is = came.body.starts_with("restart failed") ? outcome::not_started
            : came.body.find("after failure already in progress") != std::string::npos
                ? outcome::starts_alone
                : outcome::refused;
  return {is, "Patroni answered " + std::to_string(came.status) + ": "
                  + one_line(came.body, longest_quote)};
}

/// Whether Patroni reports that settings wait for a restart; nothing if it reports no state.
std::optional<bool> waits_for_restart(const base::outcome& came) {
  auto parsed = json::parse(came.body);
  if (came.status == 0 || !parsed.ok() || !parsed->IsObject())
    return std::nullopt;
  const auto* waits = json::member(*parsed, "pending_restart");
  return waits != nullptr && waits->IsBool() && waits->GetBool();
}

/// A standby's replay position as reported by its Patroni.
actors::position_answer replayed_by(const base::outcome& came) {
  auto parsed = json::parse(came.body);
  if (came.status == 0 || !parsed.ok() || !parsed->IsObject())
    return {false, 0, came.error.empty() ? "Patroni does not say how it is" : came.error};
  const auto* wal = json::member(*parsed, "xlog");
  if (wal == nullptr || !wal->IsObject() || json::member(*wal, "replayed_location") == nullptr)
    return {false, 0, "Patroni does not say how far the node has replayed"};
  return {true, json::integer_member(*wal, "replayed_location")};
}

std::string condition_of(const actors::restart_order& what) {
  if (!what.only_if_waiting)
    return what.only_as_replica ? R"({"role":"replica"})" : "{}";
  return what.only_as_replica ? R"({"restart_pending":true,"role":"replica"})"
                              : R"({"restart_pending":true})";
}

class cluster_front {
public:
  cluster_front(actors::engine_actor::pointer self, sql_actor sql, actors::engine_surroundings with)
      : self_(self), sql_(std::move(sql)), with_(std::move(with)) {}

  actors::engine_actor::behavior_type behavior() {
    return {
        [this](actors::lag_question& what) -> caf::result<actors::lag_answer> {
          return self_->delegate(sql_, std::move(what));
        },
        [this](actors::role_order& what) -> caf::result<actors::role_answer> {
          return self_->delegate(sql_, std::move(what));
        },
        [this](actors::role_removal& what) -> caf::result<actors::role_removal_answer> {
          return self_->delegate(sql_, std::move(what));
        },
        [this](actors::rights_order& what) -> caf::result<actors::rights_answer> {
          return self_->delegate(sql_, std::move(what));
        },
        [this](actors::flush_order& what) -> caf::result<actors::flush_answer> {
          return self_->delegate(sql_, std::move(what));
        },
        [this](const actors::settings_question& what) { return settings_of(what); },
        [this](const actors::position_question& what) { return position_of(what); },
        [this](const actors::switch_over_order& what) {
          return tell(what.leader, "POST", "/switchover",
                      json::object_text({{"leader", what.leader.node_id}, {"candidate", what.to}}),
                      switchover_time);
        },
        [this](const actors::configuration_order& what) {
          return tell(what.by, "PATCH", "/config", what.change, configure_time);
        },
        [this](const actors::restart_order& what) {
          return tell(what.node, "POST", "/restart", condition_of(what), restart_time);
        },
        [this](const actors::reload_order& what) {
          return tell(what.node, "POST", "/reload", "", restart_time);
        },
        [this](const actors::copy_order& what) {
          return tell(what.node, "POST", "/reinitialize", R"({"force":true})", configure_time);
        },
    };
  }

private:
  caf::result<actors::order_answer> tell(const actors::node_contact& node, const char* verb,
                                         const char* path, std::string body,
                                         std::chrono::milliseconds time) {
    auto owed = self_->make_response_promise<actors::order_answer>();
    self_
        ->request(with_.http, time + margin,
                  request_to(node, verb, path, std::move(body), time, with_))
        .then([owed](const base::outcome& came) mutable { owed.deliver(answer_of(came)); },
              [owed](const caf::error&) mutable {
                owed.deliver(actors::order_answer{actors::order_answer::outcome::refused,
                                                  "Patroni did not answer in time"});
              });
    return owed;
  }

  /// PostgreSQL knows which settings it has read, Patroni whether they need a restart. PostgreSQL
  /// is asked first, since Patroni notes a restart before it has PostgreSQL read the settings.
  caf::result<actors::settings_answer> settings_of(const actors::settings_question& what) {
    auto owed = self_->make_response_promise<actors::settings_answer>();
    auto fail = [owed](std::string why) mutable {
      owed.deliver(actors::settings_answer{false, {}, std::move(why)});
    };
    self_
        ->request(sql_, sql_patience,
                  sql_settings_question{what.instance, what.conn_url, what.superuser})
        .then(
            [this, owed, fail, node = what.node](const sql_settings& said) mutable {
              if (!said.ok)
                return fail(said.why);
              ask_patroni(node, said, owed);
            },
            [fail](const caf::error&) mutable { fail("PostgreSQL did not answer in time"); });
    return owed;
  }

  void ask_patroni(const actors::node_contact& node, const sql_settings& said,
                   caf::typed_response_promise<actors::settings_answer> owed) {
    self_
        ->request(with_.http, question_time + margin,
                  request_to(node, "GET", "/patroni", "", question_time, with_))
        .then(
            [owed, said](const base::outcome& came) mutable {
              auto waits = waits_for_restart(came);
              if (waits)
                owed.deliver(
                    actors::settings_answer{true, said.digest, {}, *waits && !said.marked_in_vain});
              else
                owed.deliver(actors::settings_answer{false, {}, "Patroni does not say how it is"});
            },
            [owed](const caf::error&) mutable {
              owed.deliver(actors::settings_answer{false, {}, "Patroni did not answer in time"});
            });
  }

  caf::result<actors::position_answer> position_of(const actors::position_question& what) {
    auto owed = self_->make_response_promise<actors::position_answer>();
    self_
        ->request(with_.http, question_time + margin,
                  request_to(what.node, "GET", "/patroni", "", question_time, with_))
        .then([owed](const base::outcome& came) mutable { owed.deliver(replayed_by(came)); },
              [owed](const caf::error&) mutable {
                owed.deliver(actors::position_answer{false, 0, "Patroni did not answer in time"});
              });
    return owed;
  }

  actors::engine_actor::pointer self_;
  sql_actor sql_;
  actors::engine_surroundings with_;
};

struct front_state {
  std::unique_ptr<cluster_front> self;
};

} // namespace

actors::engine_actor spawn_cluster_front(caf::actor_system& system, sql_actor sql,
                                         actors::engine_surroundings with) {
  return system.spawn(
      [](actors::engine_actor::stateful_pointer<front_state> self, sql_actor below,
         actors::engine_surroundings around) -> actors::engine_actor::behavior_type {
        actors::keep_last_words(self);
        self->link_to(below);
        self->state.self =
            std::make_unique<cluster_front>(self, std::move(below), std::move(around));
        return self->state.self->behavior();
      },
      std::move(sql), std::move(with));
}

} // namespace matriarch::engines::postgresql
