#include "actors/etcd_watcher.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "store/keys.hpp"

namespace matriarch::actors {

namespace keys = store::keys;

namespace {

// Users wait while the loss of etcd is not noticed yet: half of this time without a sign of life,
// half for the answer to a question. A busy etcd answers in a tenth of that.
constexpr std::chrono::milliseconds silence{5'000};

/// Sends the keys outside `/service/`. They are few and come first, so each receiver gets all of
/// its keys at once.
void tell_of_others(const watcher_setup& tell, const std::vector<store::key_value>& found,
                    store::revision at) {
  key_listing routing{{}, at};
  key_listing cells{{}, at};
  key_listing own{{}, at};
  key_listing routers{{}, at};
  for (const auto& entry : found)
    if (entry.key.starts_with(keys::routing))
      routing.found.push_back(entry);
    else if (entry.key.starts_with(keys::cells))
      cells.found.push_back(entry);
    else if (entry.key.starts_with(keys::own))
      own.found.push_back(entry);
    else if (entry.key.starts_with(keys::routers))
      routers.found.push_back(entry);
  routers.found.insert(routers.found.end(), routing.found.begin(), routing.found.end());
  if (tell.authority)
    caf::anon_send(tell.authority, std::move(own));
  caf::anon_send(tell.ports, std::move(routing));
  caf::anon_send(tell.cells, std::move(cells));
  caf::anon_send(tell.routers, std::move(routers));
}

} // namespace

std::unique_ptr<store::follower> start_etcd_watcher(store::etcd_client& etcd, watcher_setup tell) {
  store::follower::listener listener;
  listener.listed = [tell, others = std::vector<store::key_value>{},
                     told = false](store::listing_page page) mutable {
    if (page.first) {
      others.clear();
      told = false;
    }
    auto services = std::ranges::find_if(page.found, [](const store::key_value& entry) {
      return entry.key.starts_with(keys::services);
    });
    std::move(page.found.begin(), services, std::back_inserter(others));
    page.found.erase(page.found.begin(), services);
    if (!told && (page.last || !page.found.empty())) {
      tell_of_others(tell, std::exchange(others, {}), page.at);
      told = true;
    }
    caf::anon_send(tell.directory,
                   key_listing{std::move(page.found), page.at, page.first, page.last});
  };
  listener.changed = [tell](std::vector<store::change> changes, store::revision) {
    key_changes services;
    key_changes routing;
    key_changes cells;
    key_changes routers;
    key_changes own;
    for (auto& change : changes) {
      if (change.entry.key.starts_with(keys::services))
        services.changes.push_back(std::move(change));
      else if (change.entry.key.starts_with(keys::routing))
        routing.changes.push_back(std::move(change));
      else if (change.entry.key.starts_with(keys::cells))
        cells.changes.push_back(std::move(change));
      else if (change.entry.key.starts_with(keys::routers))
        routers.changes.push_back(std::move(change));
      else if (change.entry.key.starts_with(keys::own))
        own.changes.push_back(std::move(change));
    }
    routers.changes.insert(routers.changes.end(), routing.changes.begin(), routing.changes.end());
    if (!services.changes.empty())
      caf::anon_send(tell.directory, std::move(services));
    if (!routers.changes.empty())
      caf::anon_send(tell.routers, std::move(routers));
    if (!routing.changes.empty())
      caf::anon_send(tell.ports, std::move(routing));
    if (!cells.changes.empty())
      caf::anon_send(tell.cells, std::move(cells));
    if (!own.changes.empty() && tell.authority)
      caf::anon_send(tell.authority, own);
    if (!own.changes.empty())
      caf::anon_send(tell.leadership, std::move(own));
  };
  listener.reachable = [tell](bool reachable, std::string why) {
    tell.edge->note_etcd(reachable);
    caf::anon_send(tell.directory, etcd_reachable{reachable, std::move(why)});
  };
  return std::make_unique<store::follower>(etcd, store::key_range{keys::first, keys::last},
                                           std::move(listener),
                                           store::follower::options{.silence_limit = silence});
}

} // namespace matriarch::actors
