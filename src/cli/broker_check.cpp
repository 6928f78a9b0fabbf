#include "cli/broker_check.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <memory>

#include "actors/plan_questions.hpp"
#include "base/event_loop.hpp"
#include "base/json.hpp"
#include "base/utf8.hpp"
#include "http/port_check.hpp"
#include "store/etcd_check.hpp"
#include "store/keys.hpp"

namespace matriarch::broker {

namespace {

// As long as a cell may take for an answer.
constexpr std::chrono::seconds judging_time{30};

/// A request of the broker to a cell; several cells are asked at once.
std::future<base::outcome> send(base::event_loop& loop, const actors::cell_settings& cell,
                                base::outgoing what, const std::string& fleets_authority) {
  auto promised = std::make_shared<std::promise<base::outcome>>();
  what.username = cell.username;
  what.password = cell.password;
  loop.send(actors::addressed_to(cell, std::move(what), fleets_authority),
            [promised](base::outcome came) { promised->set_value(std::move(came)); });
  return promised->get_future();
}

std::future<base::outcome> ask(base::event_loop& loop, const actors::cell_settings& cell,
                               const std::string& path, const std::string& fleets_authority) {
  base::outgoing what;
  what.url = path;
  return send(loop, cell, std::move(what), fleets_authority);
}

std::future<base::outcome> ask(base::event_loop& loop, const actors::cell_settings& cell,
                               const model::engine& engine, const actors::plan_question& about,
                               const std::string& fleets_authority) {
  base::outgoing what;
  what.verb = "PUT";
  what.url = "/v2/" + std::string{engine.name()};
  what.headers = {{"Content-Type", "application/json"}};
  what.timeout = judging_time;
  what.max_answer_bytes = actors::longest_judgement;
  what.body = about.body;
  return send(loop, cell, std::move(what), fleets_authority);
}

/// What is wrong with a cell's answers; nothing if it is the configured cell.
std::optional<std::string> fault_of(const actors::cell_settings& cell, const base::outcome& health,
                                    const base::outcome& listing) {
  // Cells of another make do not identify themselves.
  auto body = json::parse(health.body);
  auto guid = body.ok() ? json::string_member(*body, "guid") : std::string{};
  if (!guid.empty() && guid != cell.guid)
    return "it says that it is the cell " + guid;
  // Cells of another make may have no /healthz.
  constexpr int least_refusal = 400, least_trouble = 500, nothing_there = 404;
  constexpr std::size_t longest_answer = 200;
  if (health.status >= least_refusal && health.status < least_trouble
      && health.status != nothing_there)
    return fmt::format("it answers {}: {}", health.status, legible(health.body, longest_answer));
  if (listing.status == 401 || listing.status == 403)
    return "it refuses the username and the password";
  return std::nullopt;
}

/// The certificates, as PEM, of the authority that signs for the fleet's cells, and of the one
/// before if the configuration has changed it; empty as long as no broker has acted.
std::string fleets_authority(const config::broker_config& config) {
  auto now = std::chrono::floor<model::duration>(std::chrono::system_clock::now());
  return config.authority.shown(now)
         + store::look_up(config.etcd, store::keys::shown_authority).value_or("");
}

/// A plan in words, by its name in the catalog.
std::string words_for(const model::catalog& catalog, const std::string& plan_id) {
  for (const auto& service : catalog.services)
    for (const auto& plan : service.plans)
      if (plan.id == plan_id)
        return fmt::format("plan {} ({})", plan.name, plan_id);
  return "plan " + plan_id;
}

/// The cell's properties, as it reports them.
model::cell_view view_of(const actors::cell_settings& cell, const base::outcome& health) {
  model::cell_view view;
  view.guid = cell.guid;
  view.reachable = true;
  if (auto body = json::parse(health.body)) {
    view.memory = json::integer_member(*body, "memory");
    view.disk = json::integer_member(*body, "disk");
  }
  return view;
}

/// Whether some cell has room for each plan's limits. A cell that is away may be that cell.
void look_at_limits(const model::catalog& catalog, const std::vector<model::plan_settings>& plans,
                    const std::vector<model::cell_view>& answering, bool all_answer,
                    base::findings& found) {
  for (const auto& plan : plans)
    if (auto why = model::why_unfit_for_new(plan.plan_id, plan.settings, {}, answering);
        !why.empty()) {
      auto words = fmt::format("{}: {}", words_for(catalog, plan.plan_id), why);
      if (all_answer)
        found.fault("plans", words);
      else
        found.doubt("plans", words);
    }
}

/// The cells that answer and are the configured ones.
std::vector<actors::cell_settings> look_at_cells(const config::broker_config& config,
                                                 const std::vector<actors::cell_settings>& cells,
                                                 const std::string& authority,
                                                 std::vector<model::cell_view>& views,
                                                 base::findings& found) {
  std::vector<actors::cell_settings> answering;
  base::event_loop loop;
  std::vector<std::pair<std::future<base::outcome>, std::future<base::outcome>>> asked;
  for (const auto& cell : cells)
    asked.emplace_back(ask(loop, cell, "/healthz", authority),
                       ask(loop, cell, "/v2/service_instances", authority));
  std::vector<std::string> away; ///< or that cannot be identified
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const auto& cell = cells[i];
    auto health = asked[i].first.get();
    auto listing = asked[i].second.get();
    auto who = fmt::format("{} in {} at {}", cell.guid, cell.availability_zone, cell.uri);
    bool signs_later = actors::shows_the_fleets_own(cell)
                       && !store::look_up(config.etcd, store::keys::cell_certificate(cell.guid));
    if (signs_later && authority.empty())
      found.doubt("cell",
                  who
                      + ": it is not known yet whether it is that cell: the first broker that "
                        "acts on this etcd signs its certificate");
    else if (signs_later && health.unrecognised)
      away.push_back(who + ": no broker that acts on this etcd has signed its certificate yet");
    else if (health.unrecognised)
      found.fault("cell", fmt::format("{}: {}", who, health.error));
    else if (health.status == 0)
      away.push_back(fmt::format("{}: {}", who, health.error));
    else if (auto wrong = fault_of(cell, health, listing))
      found.fault("cell", fmt::format("{}: {}", who, *wrong));
    else {
      found.good("cell", who + " answers");
      answering.push_back(cell);
      views.push_back(view_of(cell, health));
    }
  }
  // A broker can work while some cells are away, but not while all are.
  for (const auto& one : away) {
    if (away.size() == cells.size())
      found.fault("cell", one);
    else
      found.doubt("cell", one);
  }
  return answering;
}

/// One cell's findings about all plans, asked in several requests.
base::findings plans_on(base::event_loop& loop, const actors::cell_settings& cell,
                        const model::catalog& catalog, const actors::judged_plans& judged,
                        const actors::plan_questions& questions, const std::string& authority) {
  constexpr std::size_t longest_answer = 200;
  base::findings found;
  std::string version;
  for (const auto& piece : questions.pieces) {
    auto came = ask(loop, cell, *judged.engine, piece, authority).get();
    auto said =
        came.status == 200 ? actors::judgement_in(came.body, piece, judged.plans) : std::nullopt;
    if (!said) {
      auto why =
          came.status == 0 ? came.error
          : came.status == 404 || came.status == 405
              ? "the cell does not know the question"
              : fmt::format("answered {}: {}", came.status, legible(came.body, longest_answer));
      found.doubt("plans", fmt::format("{} plans are not judged ({})", piece.plan_ids.size(), why));
      continue;
    }
    version = said->engine_version;
    for (const auto& fault : said->faults)
      for (const auto& words : fault.words)
        found.fault("plans",
                    fmt::format("{} does not start: {}", words_for(catalog, fault.plan_id), words));
    for (const auto& one : said->unjudged)
      found.doubt("plans", fmt::format("{} is not judged in all: {}",
                                       words_for(catalog, one.plan_id), one.words));
  }
  if (found.all().empty() && !questions.pieces.empty())
    found.good("plans", fmt::format("all {} start with {} {}", judged.plans.size(),
                                    judged.engine->title(), version));
  return found;
}

void note(base::findings& all, const base::findings::finding& one, std::string said) {
  using weight = base::findings::weight;
  if (one.is == weight::good)
    all.good(one.about, std::move(said));
  else if (one.is == weight::doubt)
    all.doubt(one.about, std::move(said));
  else
    all.fault(one.about, std::move(said));
}

/// Equal findings of several cells are reported once, with the cells' names.
void look_at_plans(const model::catalog& catalog, const std::vector<actors::cell_settings>& cells,
                   const actors::judged_plans& judged, const std::string& authority,
                   base::findings& found) {
  auto questions = actors::questions_about(judged.plans);
  for (const auto& one : questions.left_out)
    found.doubt("plans", fmt::format("{} is not judged in all: {}", words_for(catalog, one.plan_id),
                                     one.words));
  base::event_loop loop;
  std::vector<std::future<base::findings>> asked;
  for (const auto& cell : cells)
    asked.push_back(std::async(std::launch::async, [&] {
      return plans_on(loop, cell, catalog, judged, questions, authority);
    }));
  std::vector<std::pair<base::findings::finding, std::vector<std::string>>> alike;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    auto said = asked[i].get();
    for (const auto& one : said.all()) {
      auto known =
          std::ranges::find_if(alike, [&](const auto& other) { return other.first == one; });
      if (known == alike.end())
        known = alike.insert(alike.end(), {one, {}});
      known->second.push_back(cells[i].guid);
    }
  }
  for (const auto& [one, guids] : alike)
    note(found, one, fmt::format("{}, on {}", one.said, fmt::join(guids, ", ")));
}

} // namespace

base::findings check(const config::broker_config& config,
                     const std::vector<actors::cell_settings>& cells,
                     const actors::judged_plans& all_plans) {
  base::findings found;
  std::size_t plans = 0;
  for (const auto& service : config.catalog.services)
    plans += service.plans.size();
  found.good("catalog",
             fmt::format("{} services, {} plans", config.catalog.services.size(), plans));
  for (const auto& warning : config.warnings)
    found.doubt("file", warning);
  // Only brokers load instances. A broker's page does not say which one it is, for strangers can
  // read it.
  auto is_it = [](const json::value& health) {
    return json::member(health, "instances_loaded") != nullptr;
  };
  http::look_at_port(config.broker.bind_host, config.broker.port, is_it, found);
  // Only etcd knows the authority that signs for the cells.
  if (!store::look_at_etcd(config.etcd, store::keys::fleet, found))
    return found;
  auto authority = fleets_authority(config);
  std::vector<model::cell_view> views;
  auto answering = look_at_cells(config, cells, authority, views, found);
  look_at_limits(config.catalog, all_plans.plans, views, views.size() == cells.size(), found);
  look_at_plans(config.catalog, answering, all_plans, authority, found);
  return found;
}

} // namespace matriarch::broker
