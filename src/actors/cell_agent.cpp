#include "actors/cell_agent.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <deque>
#include <random>

#include "actors/alarm.hpp"
#include "http/percent_encoding.hpp"
#include "model/json.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;

// A cell starts a node at once and removes it within 30 s, PostgreSQL's clean end included.
constexpr std::chrono::milliseconds start_time = model::start_timeout;
constexpr std::chrono::milliseconds removal_time = 40s;
constexpr std::chrono::milliseconds health_time = 3s;
constexpr caf::timespan health_pause = 2s;
// A cell that is away is asked again soon at first, then less and less often.
constexpr caf::timespan first_pause_when_away = 250ms;
constexpr caf::timespan longest_pause_when_away = 4s;
// What runs without a record does no harm by the minute.
constexpr caf::timespan listing_pause = 1min;
constexpr std::chrono::milliseconds listing_time = 5s;
// Starting nodes is bound by the cell's disk: more at once only makes each slower.
constexpr std::size_t orders_at_once = 8;
// An order that has waited for so long is not sent any more: who gave it is about to give up on it,
// and a node that starts after that would be nobody's.
constexpr caf::timespan longest_wait = 60s;
constexpr std::size_t longest_quote = 300;

std::string shortened(const std::string& text) {
  return text.size() <= longest_quote ? text : text.substr(0, longest_quote) + "…";
}

std::string description_in(const http::outcome& came) {
  auto parsed = json::parse(came.body);
  auto text = parsed.ok() ? json::string_member(*parsed, "description") : std::string{};
  return "answered " + std::to_string(came.status) + (text.empty() ? "" : ": " + shortened(text));
}

/// Node ids are made here, of characters that need no escaping.
std::string node_url(const cell_settings& cell, const std::string& node_id) {
  return cell.uri + "/v2/service_instances/" + node_id;
}

/// The plan that the node was placed with; the instance's may have changed since.
const std::string& plan_of(const model::record& instance, const std::string& node_id) {
  const auto* node = instance.find_node(node_id);
  return node == nullptr ? instance.plan_id : node->plan_id;
}

std::string start_body(const start_order& order) {
  const auto& instance = order.instance;
  json::document body;
  body.SetObject();
  json::add(body, "service_id", instance.service_id, body);
  json::add(body, "plan_id", plan_of(instance, order.node_id), body);
  json::add(body, "organization_guid", instance.organization_guid, body);
  json::add(body, "space_guid", instance.space_guid, body);
  json::value parameters{rapidjson::kObjectType};
  auto add = [&](const char* name, const std::string& text) {
    json::add(parameters, name, text, body);
  };
  add("PATRONI_SCOPE", instance.scope);
  add("NODE_ID", order.node_id);
  add("ADMIN_USERNAME", instance.admin.username);
  add("ADMIN_PASSWORD", instance.admin.password);
  add("SUPERUSER_USERNAME", instance.superuser.username);
  add("SUPERUSER_PASSWORD", instance.superuser.password);
  add("APPUSER_USERNAME", instance.application.username);
  add("APPUSER_PASSWORD", instance.application.password);
  add("REPLICATION_USERNAME", instance.replication.username);
  add("REPLICATION_PASSWORD", instance.replication.password);
  add("PATRONI_USERNAME", instance.patroni.username);
  add("PATRONI_PASSWORD", instance.patroni.password);
  const auto& settings = instance.desired.settings;
  add("PATRONI_DYNAMIC_CONFIG", model::dynamic_configuration(settings));
  if (!settings.node_type.empty())
    add("NODE_TYPE", settings.node_type);
  if (!instance.etcd.username.empty()) {
    add("ETCD_USERNAME", instance.etcd.username);
    add("ETCD_PASSWORD", instance.etcd.password);
  }
  json::add(body, "parameters", std::move(parameters), body);
  return json::text_of(body);
}

class cell_agent {
public:
  cell_agent(cell_agent_actor::pointer self, cell_settings cell, http_actor http,
             cell_directory_actor directory)
      : self_(self), alarm_(self), cell_(std::move(cell)), http_(std::move(http)),
        directory_(std::move(directory)) {}

  cell_agent_actor::behavior_type behavior() {
    ask_health();
    return {
        [this](const start_order& order) { return enqueue(start_request(order), judge_start); },
        [this](const removal_order& order) {
          return enqueue(removal_request(order), judge_removal);
        },
        [this](const orphan_order& order) { return enqueue(orphan_request(order), judge_removal); },
        [this](tick_atom) {
          if (alarm_.rings())
            ask_health();
        },
    };
  }

private:
  using judge = cell_answer (*)(const http::outcome&);
  struct order {
    http::outgoing what;
    judge rule;
    caf::typed_response_promise<cell_answer> owed;
    caf::actor_clock::time_point too_late;
  };

  // -- orders -------------------------------------------------------------------------------------

  http::outgoing request(std::string verb, std::string url, const std::string& scope,
                         const std::string& fleet) const {
    http::outgoing what;
    what.verb = std::move(verb);
    what.url = std::move(url);
    what.username = cell_.username;
    what.password = cell_.password;
    what.headers = {{"Content-Type", "application/json"},
                    {"X-Broker-API-Version", "2.17"},
                    {"X-Matriarch-Scope", scope},
                    {"X-Matriarch-Fleet", fleet}};
    return what;
  }

  http::outgoing start_request(const start_order& order) const {
    auto what = request("PUT", node_url(cell_, order.node_id), order.instance.scope, order.fleet);
    what.headers.emplace_back("X-Matriarch-Revision", std::to_string(order.at));
    what.timeout = start_time;
    what.body = start_body(order);
    return what;
  }

  http::outgoing removal_request(const removal_order& order) const {
    auto what = removal_of({order.node_id, order.instance.scope, order.instance.service_id,
                            plan_of(order.instance, order.node_id)},
                           order.fleet);
    what.headers.emplace_back("X-Matriarch-Revision", std::to_string(order.at));
    return what;
  }

  http::outgoing orphan_request(const orphan_order& order) const {
    return removal_of(order.node, order.fleet);
  }

  http::outgoing removal_of(const model::listed_node& node, const std::string& fleet) const {
    // Plan and service ids come from the catalog, whose ids may hold any character.
    auto url = node_url(cell_, node.node_id)
               + "?service_id=" + http::percent_encoded(node.service_id)
               + "&plan_id=" + http::percent_encoded(node.plan_id);
    auto what = request("DELETE", std::move(url), node.scope, fleet);
    what.timeout = removal_time;
    json::document body;
    body.SetObject();
    json::add(body, "service_id", node.service_id, body);
    json::add(body, "plan_id", node.plan_id, body);
    what.body = json::text_of(body);
    return what;
  }

  /// Tenants are told without the address that the outcome names.
  static cell_answer no_answer(const http::outcome& came) {
    if (came.never_sent)
      return {cell_answer::kind::unsent, "it cannot be reached", came.error};
    return {cell_answer::kind::unknown, "it does not answer", came.error};
  }

  static cell_answer judge_start(const http::outcome& came) {
    using kind = cell_answer::kind;
    if (came.status == 0)
      return no_answer(came);
    // 409 is a foreign cell's word for a node it has already: its member key will show.
    if (came.status == 200 || came.status == 201 || came.status == 202 || came.status == 409)
      return {kind::done};
    if (came.status >= 400 && came.status < 500)
      return {kind::refused, description_in(came)};
    return {kind::unknown, description_in(came)};
  }

  static cell_answer judge_removal(const http::outcome& came) {
    using kind = cell_answer::kind;
    if (came.status == 0)
      return no_answer(came);
    if (came.status == 200 || came.status == 410)
      return {kind::done};
    return {kind::refused, description_in(came)};
  }

  caf::result<cell_answer> enqueue(http::outgoing what, judge rule) {
    auto owed = self_->make_response_promise<cell_answer>();
    waiting_.push_back({std::move(what), rule, owed, self_->clock().now() + longest_wait});
    send_next();
    return owed;
  }

  void send_next() {
    while (under_way_ < orders_at_once && !waiting_.empty()) {
      auto next = std::move(waiting_.front());
      waiting_.pop_front();
      if (self_->clock().now() > next.too_late) {
        next.owed.deliver(cell_answer{cell_answer::kind::unsent, "too many orders are under way"});
        continue;
      }
      ++under_way_;
      auto patience = next.what.timeout + 5s; // the event loop's own time-out comes first
      auto done = [this, owed = next.owed](cell_answer answer) mutable {
        --under_way_;
        owed.deliver(std::move(answer));
        send_next();
      };
      self_->request(http_, patience, std::move(next.what))
          .then([done, rule = next.rule](const http::outcome& came) mutable { done(rule(came)); },
                [done](const caf::error&) mutable {
                  done({cell_answer::kind::unknown, "no answer in time"});
                });
    }
  }

  // -- health -------------------------------------------------------------------------------------

  void ask_health() {
    http::outgoing what;
    what.url = cell_.uri + "/healthz";
    what.timeout = health_time;
    self_->request(http_, health_time + 2s, std::move(what))
        .then([this](const http::outcome& came) { note(came); },
              [this](const caf::error&) {
                note({0, "", "no answer in time", false});
              });
  }

  void note(const http::outcome& came) {
    cell_health seen;
    seen.guid = cell_.guid;
    // A cell of another make need not have /healthz: any answer below 500 says that it is there.
    seen.reachable = came.status > 0 && came.status < 500;
    if (!seen.reachable) {
      seen.why = came.status == 0 ? came.error : description_in(came);
    } else if (auto parsed = json::parse(came.body); came.status == 200 && parsed.ok()) {
      seen.capacity = static_cast<int>(json::integer_member(*parsed, "capacity"));
      seen.fencing = json::string_member(*parsed, "fencing");
    }
    if (seen.reachable != reachable_) {
      reachable_ = seen.reachable;
      if (seen.reachable)
        spdlog::info("cell {} answers", cell_.guid);
      else
        spdlog::warn("cell {} cannot be reached and is tried again: {}", cell_.guid, seen.why);
    }
    // At once when it is back, for it may bring what was removed meanwhile.
    if (!seen.reachable)
      list_at_ = {};
    else if (self_->clock().now() >= list_at_)
      ask_listing();
    away_pause_ =
        seen.reachable ? first_pause_when_away : std::min(away_pause_ * 2, longest_pause_when_away);
    alarm_.set(seen.reachable ? health_pause : jittered(away_pause_));
    self_->send(directory_, std::move(seen));
  }

  // -- what runs there ----------------------------------------------------------------------------

  void ask_listing() {
    list_at_ = self_->clock().now() + listing_pause;
    http::outgoing what;
    what.url = cell_.uri + "/v2/service_instances";
    what.username = cell_.username;
    what.password = cell_.password;
    what.timeout = listing_time;
    self_->request(http_, listing_time + 2s, std::move(what))
        .then([this](const http::outcome& came) { note_listing(came); }, [](const caf::error&) {});
  }

  /// A cell of another make has no list; an unreadable one is none either.
  void note_listing(const http::outcome& came) {
    auto parsed = json::parse(came.body);
    const auto* nodes =
        came.status == 200 && parsed.ok() ? json::member(*parsed, "nodes") : nullptr;
    if (nodes == nullptr || !nodes->IsArray())
      return;
    cell_listing seen{cell_.guid, {}};
    for (const auto& entry : nodes->GetArray()) {
      model::listed_node node{
          json::string_member(entry, "node_id"), json::string_member(entry, "scope"),
          json::string_member(entry, "service_id"), json::string_member(entry, "plan_id")};
      if (node.node_id.empty() || node.scope.empty())
        return;
      seen.nodes.push_back(std::move(node));
    }
    self_->send(directory_, std::move(seen));
  }

  /// Three quarters to all of a pause, so that the agents of cells that went away together do not
  /// all ask at once.
  caf::timespan jittered(caf::timespan pause) {
    std::uniform_int_distribution<caf::timespan::rep> any{pause.count() * 3 / 4, pause.count()};
    return caf::timespan{any(chance_)};
  }

  cell_agent_actor::pointer self_;
  alarm<cell_agent_actor::pointer> alarm_;
  cell_settings cell_;
  http_actor http_;
  cell_directory_actor directory_;
  std::deque<order> waiting_;
  std::size_t under_way_ = 0;
  std::optional<bool> reachable_;
  caf::actor_clock::time_point list_at_;
  caf::timespan away_pause_ = first_pause_when_away;
  std::minstd_rand chance_{static_cast<unsigned>(std::hash<std::string>{}(cell_.guid))};
};

struct state {
  std::unique_ptr<cell_agent> self;
};

} // namespace

cell_agent_actor spawn_cell_agent(caf::actor_system& system, cell_settings cell, http_actor http,
                                  cell_directory_actor directory) {
  return system.spawn(
      [](cell_agent_actor::stateful_pointer<state> self, cell_settings which, http_actor outside,
         cell_directory_actor tell) -> cell_agent_actor::behavior_type {
        self->state.self = std::make_unique<cell_agent>(self, std::move(which), std::move(outside),
                                                        std::move(tell));
        return self->state.self->behavior();
      },
      std::move(cell), std::move(http), std::move(directory));
}

} // namespace matriarch::actors
