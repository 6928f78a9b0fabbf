#include "cli/broker_check.hpp"

#include <fmt/format.h>

#include <chrono>
#include <future>
#include <memory>

#include "http/event_loop.hpp"
#include "http/port_check.hpp"
#include "model/json.hpp"
#include "model/times.hpp"
#include "model/utf8.hpp"
#include "store/etcd_check.hpp"
#include "store/keys.hpp"

namespace matriarch::broker {

namespace {

/// What a cell says to its broker; several are asked at once.
std::future<http::outcome> ask(http::event_loop& loop, const actors::cell_settings& cell,
                               const std::string& path, const std::string& fleets_authority) {
  auto promised = std::make_shared<std::promise<http::outcome>>();
  http::outgoing what;
  what.url = path;
  what.username = cell.username;
  what.password = cell.password;
  loop.send(actors::addressed_to(cell, std::move(what), fleets_authority),
            [promised](http::outcome came) { promised->set_value(std::move(came)); });
  return promised->get_future();
}

/// What is wrong with the answers of a cell that is there; nothing if it is the one that is configured.
std::optional<std::string> fault_of(const actors::cell_settings& cell, const http::outcome& health,
                                    const http::outcome& listing) {
  // Cells of another make say nothing of themselves.
  auto body = json::parse(health.body);
  auto guid = body.ok() ? json::string_member(*body, "guid") : std::string{};
  if (!guid.empty() && guid != cell.guid)
    return "it says that it is the cell " + guid;
  // A cell of another make need not have a health.
  constexpr int least_refusal = 400, least_trouble = 500, nothing_there = 404;
  constexpr std::size_t longest_answer = 200;
  if (health.status >= least_refusal && health.status < least_trouble
      && health.status != nothing_there)
    return fmt::format("it answers {}: {}", health.status, legible(health.body, longest_answer));
  if (listing.status == 401 || listing.status == 403)
    return "it refuses the username and the password";
  return std::nullopt;
}

/// The PEM of who signs for the fleet's cells, and of who did before the configuration named another;
/// empty as long as no broker has acted.
std::string fleets_authority(const config::broker_config& config) {
  auto now = std::chrono::floor<model::duration>(std::chrono::system_clock::now());
  return config.authority.shown(now)
         + store::look_up(config.etcd, store::keys::shown_authority).value_or("");
}

void look_at_cells(const config::broker_config& config,
                   const std::vector<actors::cell_settings>& cells, base::findings& found) {
  auto authority = fleets_authority(config);
  http::event_loop loop;
  std::vector<std::pair<std::future<http::outcome>, std::future<http::outcome>>> asked;
  for (const auto& cell : cells)
    asked.emplace_back(ask(loop, cell, "/healthz", authority),
                       ask(loop, cell, "/v2/service_instances", authority));
  std::vector<std::string> away; ///< or not to be told from somebody else
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
                      + ": nobody can tell yet whether it is that cell: the first broker that "
                        "acts on this etcd signs its certificate");
    else if (signs_later && health.unrecognised)
      away.push_back(who + ": no broker that acts on this etcd has signed its certificate yet");
    else if (health.unrecognised)
      found.fault("cell", fmt::format("{}: {}", who, health.error));
    else if (health.status == 0)
      away.push_back(fmt::format("{}: {}", who, health.error));
    else if (auto wrong = fault_of(cell, health, listing))
      found.fault("cell", fmt::format("{}: {}", who, *wrong));
    else
      found.good("cell", who + " answers");
  }
  // A broker lives with cells that are away, but not with none.
  for (const auto& one : away) {
    if (away.size() == cells.size())
      found.fault("cell", one);
    else
      found.doubt("cell", one);
  }
}

} // namespace

base::findings check(const config::broker_config& config,
                     const std::vector<actors::cell_settings>& cells) {
  base::findings found;
  std::size_t plans = 0;
  for (const auto& service : config.catalog.services)
    plans += service.plans.size();
  found.good("catalog",
             fmt::format("{} services, {} plans", config.catalog.services.size(), plans));
  for (const auto& warning : config.warnings)
    found.doubt("file", warning);
  http::look_at_port(config.broker.bind_host, config.broker.port, found);
  store::look_at_etcd(config.etcd, store::keys::fleet, found);
  look_at_cells(config, cells, found);
  return found;
}

} // namespace matriarch::broker
