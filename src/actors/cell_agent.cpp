#include "actors/cell_agent.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <deque>
#include <iterator>
#include <random>

#include "actors/alarm.hpp"
#include "actors/cell_calls.hpp"
#include "actors/last_words.hpp"
#include "actors/plan_questions.hpp"
#include "base/json.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds sessions_time = 5s;
constexpr std::chrono::milliseconds health_time = 3s;
constexpr caf::timespan health_pause = 2s;
// A cell that is away is asked again soon at first, then less and less often.
constexpr caf::timespan first_pause_when_away = 250ms;
constexpr caf::timespan longest_pause_when_away = 4s;
// etcd reports the authorities as soon as it is read.
constexpr caf::timespan pause_without_authority = 100ms;
// A cell uses its certificate within moments of the certificate's arrival in etcd.
constexpr caf::timespan pause_after_news = 50ms;
// A node without a record does no harm within a minute.
constexpr caf::timespan listing_pause = 1min;
constexpr std::chrono::milliseconds listing_time = 5s;
// A key is made in a millisecond.
constexpr std::chrono::milliseconds certificate_time = 5s;
// The cell starts a server for each plan of a piece in turn, some hundredths of a second each.
constexpr std::chrono::milliseconds judging_time = 30s;
// What is installed on a cell changes rarely, and a change of the engine's version is noticed at
// once. While a plan has a fault, somebody may be repairing the cell, so the cell is asked sooner.
constexpr caf::timespan judging_pause = 1h;
constexpr caf::timespan judging_pause_with_faults = 1min;
constexpr caf::timespan judging_retry_pause = 10s;
// Starting nodes is bound by the cell's disk: more at once only makes each slower.
constexpr std::size_t orders_at_once = 8;
// An order that has waited this long is not sent any more: its sender is about to give up, and a
// node started later would belong to nobody.
constexpr caf::timespan longest_wait = 60s;
const std::string https = "https://";

class cell_agent {
public:
  cell_agent(cell_agent_actor::pointer self, cell_settings cell, http_actor http,
             certification certificates, plans_to_judge plans, cell_directory_actor directory)
      : self_(self), alarm_(self), cell_(std::move(cell)), http_(std::move(http)),
        certificates_(std::move(certificates)), plans_(std::move(plans)),
        directory_(std::move(directory)) {}

  cell_agent_actor::behavior_type behavior() {
    ask_health();
    return {
        [this](const start_order& order) { return start(order); },
        [this](const removal_order& order) {
          return enqueue({removal_request(cell_, order), judge_removal});
        },
        [this](const halt_order& order) {
          return enqueue({halt_request(cell_, order), judge_halt});
        },
        [this](const orphan_order& order) {
          return enqueue({orphan_request(cell_, order), judge_removal});
        },
        [this](const renewal_order& order) { renew(order); },
        [this](const sessions_order& order) { end_sessions(order); },
        [this](look_atom) {
          if (reachable_.value_or(false))
            return;
          away_pause_ = first_pause_when_away;
          alarm_.set(pause_after_news);
        },
        [this](tick_atom) {
          if (!alarm_.rings())
            return;
          ask_health();
          send_next();
        },
    };
  }

private:
  using judge = cell_answer (*)(const base::outcome&);
  /// The node that a certificate is for.
  struct bearer {
    std::string node_id;
    std::string scope;
    std::string fleet;
  };
  struct order {
    base::outgoing what;
    judge rule;
    std::optional<bearer> certified_first = {};
    caf::typed_response_promise<cell_answer> owed = {};
    caf::actor_clock::time_point too_late = {};
  };

  [[nodiscard]] bool asks_for_the_fleets_own() const { return shows_the_fleets_own(cell_); }

  /// Sends a request to the cell. The request's URL is only a path here; see addressed_to().
  auto to_cell(base::outgoing what) {
    auto by = asks_for_the_fleets_own() ? certificates_.board->authority.load() : nullptr;
    what = addressed_to(cell_, std::move(what), by ? by->trusted(certificates_.now()) : "");
    auto patience = what.timeout + 5s; // the event loop's own time-out comes first
    return self_->request(http_, patience, std::move(what));
  }

  // -- orders -------------------------------------------------------------------------------------

  caf::result<cell_answer> start(const start_order& order) {
    struct order asked {
      start_request(cell_, order), judge_start
    };
    if (!certificates_.public_host.empty())
      asked.certified_first = bearer{order.node_id, order.scope, order.fleet};
    return enqueue(std::move(asked));
  }

  caf::result<cell_answer> enqueue(order what) {
    what.owed = self_->make_response_promise<cell_answer>();
    what.too_late = self_->clock().now() + longest_wait;
    auto owed = what.owed;
    waiting_.push_back(std::move(what));
    send_next();
    return owed;
  }

  /// Starts wait until the signing authority is known; a broker that has just become active may not
  /// know it yet.
  [[nodiscard]] bool can_be_sent(const order& which) {
    return (!which.certified_first && !asks_for_the_fleets_own())
           || certificates_.board->authority.load() || is_too_late(which);
  }

  [[nodiscard]] bool is_too_late(const order& which) {
    return self_->clock().now() > which.too_late;
  }

  void send_next() {
    while (under_way_ < orders_at_once) {
      auto found =
          std::ranges::find_if(waiting_, [this](const order& which) { return can_be_sent(which); });
      if (found == waiting_.end())
        return;
      auto next = std::move(*found);
      waiting_.erase(found);
      if (is_too_late(next)) {
        give_up(next);
        continue;
      }
      ++under_way_;
      if (!next.certified_first) {
        send(std::move(next));
        continue;
      }
      auto whom = *std::exchange(next.certified_first, {});
      certify(whom, [this, next](const certified& came) mutable {
        if (came.failed)
          return answer(next.owed, *came.failed);
        if (!is_too_late(next))
          return send(std::move(next));
        --under_way_;
        give_up(next);
        send_next();
      });
    }
  }

  void give_up(order& which) {
    bool who_signs = which.certified_first || asks_for_the_fleets_own();
    auto known = who_signs && !certificates_.board->authority.load()
                     ? "it is not known yet who signs the fleet's certificates"
                     : "too many orders are under way";
    which.owed.deliver(cell_answer{cell_answer::kind::unsent, known});
  }

  void answer(caf::typed_response_promise<cell_answer> owed, cell_answer said) {
    --under_way_;
    owed.deliver(std::move(said));
    send_next();
  }

  void send(order next) {
    auto done = [this, owed = next.owed, starts = next.rule == judge_start](cell_answer said) {
      // Agents of earlier releases report a node's address only in their list, and an answer can be
      // lost.
      if (starts && reachable_.value_or(false) && said.at.database.empty())
        ask_listing_soon();
      answer(owed, std::move(said));
    };
    to_cell(std::move(next.what))
        .then([done, rule = next.rule](const base::outcome& came) { done(rule(came)); },
              [done](const caf::error&) {
                done({cell_answer::kind::unknown, "no answer in time"});
              });
  }

  // -- certificates -------------------------------------------------------------------------------

  /// The result of giving a node a certificate: the cell took it, the cell takes none (its nodes
  /// have their own certificates, or it is a foreign cell), or why this is not known.
  struct certified {
    std::optional<cell_answer> failed = {};
    bool taken = false;
  };
  using certified_function = std::function<void(const certified&)>;

  base::outgoing certificate_request(const bearer& whom, const char* part, std::string body) const {
    auto what = node_request(cell_, "PUT", whom.node_id, part, whom.scope, whom.fleet);
    what.timeout = certificate_time;
    what.body = std::move(body);
    return what;
  }

  /// Has the cell make a key for a node, signs the request, and sends the certificate to the cell.
  /// The key never leaves the cell.
  void certify(const bearer& whom, certified_function then) {
    ask(certificate_request(whom, "/key", "{}"), [this, whom, then](const base::outcome& came) {
      if (came.status == 0)
        return then({no_answer(came)});
      auto parsed = json::parse(came.body);
      auto request =
          parsed.ok() ? json::string_member(*parsed, "certificate_request") : std::string{};
      auto by = certificates_.board->authority.load();
      if (came.status != 200 || request.empty() || !by)
        return then({});
      auto now = certificates_.now();
      auto host = json::string_member(*parsed, "host");
      auto made = tls::certify(*by, request,
                               {whom.node_id, certificates_.hosts_of(whom.node_id, host)}, now);
      if (!made) {
        spdlog::error("cell {}: node {} gets no certificate: {}", cell_.guid, whom.node_id,
                      made.error());
        return then({});
      }
      json::document body;
      body.SetObject();
      json::add(body, "certificate", *made, body);
      json::add(body, "authorities", by->trusted(now), body);
      json::add(body, "patroni_tls", certificates_.board->control_tls.load(), body);
      hand_over(whom, json::text_of(body), then);
    });
  }

  void hand_over(const bearer& whom, std::string body, const certified_function& then) {
    ask(certificate_request(whom, "/certificate", std::move(body)),
        [then](const base::outcome& came) {
          if (came.status == 200)
            return then({{}, true});
          // No node has been started. The cell's agent may just have restarted.
          then({came.status == 0 ? no_answer(came)
                                 : cell_answer{cell_answer::kind::unknown, description_in(came)}});
        });
  }

  void ask(base::outgoing what, std::function<void(const base::outcome&)> then) {
    to_cell(std::move(what))
        .then([then](const base::outcome& came) { then(came); },
              [then](const caf::error&) {
                then({0, "", "no answer in time", false});
              });
  }

  /// Renews one certificate at a time, beside the orders: a cell may have hundreds of nodes.
  void renew(const renewal_order& order) {
    auto same = [&](const bearer& one) { return one.node_id == order.node_id; };
    if (std::ranges::none_of(to_renew_, same))
      to_renew_.push_back({order.node_id, order.scope, order.fleet});
    if (to_renew_.size() == 1)
      renew_next();
  }

  void renew_next() {
    certify(to_renew_.front(), [this](const certified& came) {
      auto whom = std::move(to_renew_.front());
      to_renew_.pop_front();
      if (came.taken)
        spdlog::info("node {} on cell {} has a new certificate", whom.node_id, cell_.guid);
      else if (came.failed)
        spdlog::warn("node {} on cell {} has no new certificate yet: {}", whom.node_id, cell_.guid,
                     came.failed->for_the_log());
      if (!to_renew_.empty())
        renew_next();
    });
  }

  // -- sessions -----------------------------------------------------------------------------------

  void end_sessions(const sessions_order& order) {
    auto what = node_request(cell_, "PUT", order.node_id, "/sessions", order.scope, order.fleet);
    what.timeout = sessions_time;
    json::document body;
    body.SetObject();
    json::value roles{rapidjson::kArrayType};
    for (const auto& one : order.roles)
      roles.PushBack(json::value{one.c_str(), body.GetAllocator()}, body.GetAllocator());
    body.AddMember("roles", roles, body.GetAllocator());
    what.body = json::text_of(body);
    auto done = [this, id = order.node_id](const std::string& why) {
      if (!why.empty())
        spdlog::warn("cell {} did not end sessions of node {}: {}", cell_.guid, id, why);
    };
    to_cell(std::move(what))
        .then(
            // Foreign cells and agents of earlier releases cannot do this.
            [done](const base::outcome& came) {
              done(came.status == 200 || came.status == 404 ? "" : description_in(came));
            },
            [done](const caf::error&) { done("no answer in time"); });
  }

  // -- health -------------------------------------------------------------------------------------

  void ask_health() {
    // No cell can be authenticated without the fleet's authority, which says nothing about the
    // cell.
    if (asks_for_the_fleets_own() && !certificates_.board->authority.load()) {
      alarm_.set(pause_without_authority);
      return;
    }
    base::outgoing what;
    what.url = "/healthz";
    what.timeout = health_time;
    to_cell(std::move(what))
        .then([this](const base::outcome& came) { note(came); },
              [this](const caf::error&) {
                note({0, "", "no answer in time", false});
              });
  }

  void note(const base::outcome& came) {
    auto seen = health_in(cell_.guid, came, plans_ ? plans_->engine->name() : "");
    if (seen.full_nodes > seen_.full_nodes)
      spdlog::error(
          "cell {}: the disks of {} nodes are nearly full, and their databases only read; "
          "its log and GET /v2/service_instances there say which",
          cell_.guid, seen.full_nodes);
    if (seen.reachable != reachable_) {
      reachable_ = seen.reachable;
      if (seen.reachable)
        spdlog::info("cell {} answers", cell_.guid);
      else
        spdlog::warn("cell {} cannot be reached and is tried again: {}", cell_.guid, seen.why);
    }
    note_engine(seen.reachable, seen.engine_version);
    // A cell that is back is asked for its list at once: removed nodes may have come back with it.
    if (!seen.reachable)
      list_at_ = {};
    else if (self_->clock().now() >= list_at_)
      ask_listing();
    away_pause_ =
        seen.reachable ? first_pause_when_away : std::min(away_pause_ * 2, longest_pause_when_away);
    alarm_.set(seen.reachable ? health_pause : jittered(away_pause_));
    seen_ = std::move(seen);
    tell_health();
  }

  void tell_health() {
    auto told = seen_;
    told.engine_version = engine_version_;
    told.plan_faults = plan_faults_;
    self_->send(directory_, std::move(told));
  }

  // -- its engine ---------------------------------------------------------------------------------

  /// A cell that is back may have another version of the engine, or may have learnt to answer this
  /// question.
  void note_engine(bool reachable, const std::string& version) {
    if (!plans_ || plans_->plans.empty() || judging_)
      return;
    if (!reachable)
      judge_at_ = {};
    else if (self_->clock().now() >= judge_at_ || (!version.empty() && version != asked_about_)) {
      asked_about_ = version;
      ask_engine();
    }
  }

  void ask_engine() {
    questions_ = questions_about(plans_->plans);
    answers_ = {};
    answers_.unjudged = std::move(questions_.left_out);
    answered_ = 0;
    judging_ = true;
    ask_about_next();
  }

  void ask_about_next() {
    base::outgoing what;
    what.verb = "PUT";
    what.url = "/v2/" + std::string{plans_->engine->name()};
    what.headers = {{"Content-Type", "application/json"}};
    what.username = cell_.username;
    what.password = cell_.password;
    what.timeout = judging_time;
    what.max_answer_bytes = longest_judgement;
    what.body = questions_.pieces[answered_].body;
    ask(std::move(what), [this](const base::outcome& came) { note_judgement(came); });
  }

  /// Foreign cells and agents of earlier releases do not answer this; their nodes count as without
  /// fault.
  void note_judgement(const base::outcome& came) {
    const auto& asked = questions_.pieces[answered_];
    auto said = came.status == 200 ? judgement_in(came.body, asked, plans_->plans) : std::nullopt;
    if (said) {
      answers_.engine_version = said->engine_version;
      std::ranges::move(said->faults, std::back_inserter(answers_.faults));
      std::ranges::move(said->unjudged, std::back_inserter(answers_.unjudged));
    } else if (came.status == 400) {
      // This cell takes a smaller question; the rest is still asked.
      for (const auto& plan : asked.plan_ids)
        answers_.unjudged.push_back({plan, description_in(came)});
    } else {
      return end_judging(came);
    }
    if (++answered_ < questions_.pieces.size())
      return ask_about_next();
    judging_failure_.clear();
    if (!answers_.engine_version.empty())
      engine_version_ = answers_.engine_version;
    take_faults(std::move(answers_.faults));
    take_unjudged(std::move(answers_.unjudged));
    settle_judging(plan_faults_.empty() ? judging_pause : judging_pause_with_faults);
  }

  /// Handles a cell that did not answer the question.
  void end_judging(const base::outcome& came) {
    if (came.status == 404 || came.status == 405) {
      engine_version_.clear();
      plan_faults_.clear();
      judging_failure_.clear();
      return settle_judging(judging_pause);
    }
    auto why = came.status == 0 ? came.error : description_in(came);
    if (why != judging_failure_)
      spdlog::warn("cell {} does not say which plans its nodes start with: {}", cell_.guid, why);
    judging_failure_ = why;
    settle_judging(judging_retry_pause);
  }

  void settle_judging(caf::timespan pause) {
    judging_ = false;
    judge_at_ = self_->clock().now() + pause;
    tell_health();
  }

  void take_faults(std::vector<model::plan_fault> all) {
    for (const auto& fault : all)
      if (std::ranges::find(plan_faults_, fault) == plan_faults_.end())
        for (const auto& words : fault.words)
          spdlog::warn("cell {} cannot start nodes of plan {}: {}", cell_.guid, fault.plan_id,
                       words);
    for (const auto& fault : plan_faults_)
      if (std::ranges::find(all, fault.plan_id, &model::plan_fault::plan_id) == all.end())
        spdlog::info("cell {} can start nodes of plan {} again", cell_.guid, fault.plan_id);
    plan_faults_ = std::move(all);
  }

  void take_unjudged(std::vector<plan_unjudged> all) {
    for (const auto& one : all)
      if (std::ranges::find(unjudged_, one) == unjudged_.end())
        spdlog::warn("cell {} has not judged all settings of plan {}: {}", cell_.guid, one.plan_id,
                     one.words);
    unjudged_ = std::move(all);
  }

  // -- what runs there ----------------------------------------------------------------------------

  void ask_listing() {
    list_at_ = self_->clock().now() + listing_pause;
    base::outgoing what;
    what.url = "/v2/service_instances";
    what.username = cell_.username;
    what.password = cell_.password;
    what.timeout = listing_time;
    to_cell(std::move(what))
        .then([this](const base::outcome& came) { note_listing(came); }, [](const caf::error&) {});
  }

  /// Asks for the list soon. Many requests at once lead to one question.
  void ask_listing_soon() {
    auto earliest = self_->clock().now() + health_pause;
    if (list_at_ > earliest)
      list_at_ = earliest;
  }

  void note_listing(const base::outcome& came) {
    if (auto seen = listing_in(cell_.guid, came))
      self_->send(directory_, *std::move(seen));
  }

  /// Three quarters to all of a pause, so that agents of cells that went away together do not all
  /// ask at the same time.
  caf::timespan jittered(caf::timespan pause) {
    std::uniform_int_distribution<caf::timespan::rep> any{pause.count() * 3 / 4, pause.count()};
    return caf::timespan{any(chance_)};
  }

  cell_agent_actor::pointer self_;
  alarm<cell_agent_actor::pointer> alarm_;
  cell_settings cell_;
  http_actor http_;
  certification certificates_;
  plans_to_judge plans_;
  cell_directory_actor directory_;
  std::deque<order> waiting_;
  std::deque<bearer> to_renew_; ///< the first one is being renewed
  std::size_t under_way_ = 0;
  std::optional<bool> reachable_;
  cell_health seen_;           ///< as last seen, without the engine's version and plan faults
  std::string asked_about_;    ///< the engine version in the health when plans were last asked
  std::string engine_version_; ///< the engine version in the cell's last answer about plans
  std::vector<model::plan_fault> plan_faults_;
  std::vector<plan_unjudged> unjudged_;   ///< as last logged
  plan_questions questions_;              ///< the questions of this round
  std::size_t answered_ = 0;              ///< number of pieces answered
  plan_judgement answers_;                ///< the answers so far
  caf::actor_clock::time_point judge_at_; ///< when the cell is asked next
  bool judging_ = false;                  ///< the cell is being asked
  std::string judging_failure_;           ///< as last logged
  caf::actor_clock::time_point list_at_;
  caf::timespan away_pause_ = first_pause_when_away;
  std::minstd_rand chance_{static_cast<unsigned>(std::hash<std::string>{}(cell_.guid))};
};

struct state {
  std::unique_ptr<cell_agent> self;
};

} // namespace

bool shows_the_fleets_own(const cell_settings& cell) {
  return cell.uri.starts_with(https) && cell.authority.empty();
}

base::outgoing addressed_to(const cell_settings& cell, base::outgoing what,
                            const std::string& fleets_authority) {
  if (!shows_the_fleets_own(cell)) {
    what.url = cell.uri + what.url;
    what.tls.authority_text = cell.authority;
    return what;
  }
  what.tls.authority_text = fleets_authority.empty() ? "nobody" : fleets_authority;
  what.url = https + tls::cell_host(cell.guid) + what.url;
  what.reached_at = cell.uri.substr(https.size());
  if (what.reached_at.find(':', what.reached_at.find(']') + 1) == std::string::npos)
    what.reached_at += ":443";
  return what;
}

cell_agent_actor spawn_cell_agent(caf::actor_system& system, cell_settings cell, http_actor http,
                                  certification certificates, plans_to_judge plans,
                                  cell_directory_actor directory) {
  return system.spawn(
      [](cell_agent_actor::stateful_pointer<state> self, cell_settings which, http_actor outside,
         certification with, plans_to_judge all,
         cell_directory_actor tell) -> cell_agent_actor::behavior_type {
        keep_last_words(self);
        self->state.self =
            std::make_unique<cell_agent>(self, std::move(which), std::move(outside),
                                         std::move(with), std::move(all), std::move(tell));
        return self->state.self->behavior();
      },
      std::move(cell), std::move(http), std::move(certificates), std::move(plans),
      std::move(directory));
}

} // namespace matriarch::actors
