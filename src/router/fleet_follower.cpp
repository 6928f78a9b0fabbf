#include "router/fleet_follower.hpp"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "base/event_loop.hpp"
#include "router/fleet.hpp"
#include "store/keys.hpp"

namespace matriarch::router {

namespace {

/// The pause before an etcd that does not name its fleet is asked again.
constexpr std::chrono::milliseconds fleet_pause{1'000};

} // namespace

fleet_follower::fleet_follower(const router_config& settings, store::etcd_client& etcd,
                               listener tell)
    : settings_(settings), etcd_(etcd), tell_(std::move(tell)) {}

void fleet_follower::follow() {
  store::follower::listener tell;
  tell.listed = [this](store::listing_page page) { list(std::move(page)); };
  tell.changed = [this](const std::vector<store::change>& changes, store::revision at) {
    tell_.changed(changes, at);
  };
  tell.reachable = [this](bool is, const std::string& why) {
    if (!is || !waits_for_fleet_) // the etcd that answers may be another fleet's
      tell_.reachable(is, why);
  };
  // Everything from /routers/ over /routing/ to the end of /service/.
  follower_ = std::make_unique<store::follower>(
      etcd_, store::key_range{store::keys::routers, store::keys::last}, std::move(tell),
      store::follower::options{});
}

void fleet_follower::stop() {
  stopped_ = true;
  follower_.reset();
}

/// Keys come in order, and the key that names the fleet comes before most of them.
void fleet_follower::list(store::listing_page page) {
  if (page.first) {
    is_judged_ = false;
    unjudged_.clear();
  }
  if (!is_judged_) {
    std::move(page.found.begin(), page.found.end(), std::back_inserter(unjudged_));
    if (!page.last && (unjudged_.empty() || unjudged_.back().key < store::keys::shown_fleet))
      return;
    if (!is_of_fleet())
      return;
    is_judged_ = true;
    page.found = std::exchange(unjudged_, {});
    tell_.begin_listing();
  }
  tell_.listed(page.found, page.last, page.at);
}

bool fleet_follower::is_of_fleet() {
  auto told = std::ranges::find(unjudged_, store::keys::shown_fleet, &store::key_value::key);
  auto fleet = told == unjudged_.end() ? std::string{} : told->value;
  if (fleet.empty() && knows_fleet(settings_)) {
    wait_for_fleet();
    return false;
  }
  if (auto wrong = why_not_of_fleet(settings_, fleet)) {
    leave_etcd();
    tell_.turned_away(*wrong);
    return false;
  }
  remember_fleet(settings_, fleet);
  if (std::exchange(waits_for_fleet_, false))
    tell_.reachable(true, {});
  return true;
}

/// The etcd is empty where the fleet's etcd was: its broker may be about to act on it as another
/// fleet.
void fleet_follower::wait_for_fleet() {
  if (!std::exchange(waits_for_fleet_, true))
    tell_.reachable(false, "it does not say which fleet it belongs to (" + store::keys::shown_fleet
                               + "), as it has before");
  leave_etcd();
  etcd_.loop().after(fleet_pause, [this] {
    if (!frozen_ && !stopped_)
      follow();
  });
}

/// Not at once: the follower is still running the callback.
void fleet_follower::leave_etcd() {
  etcd_.loop().post([this] { follower_.reset(); });
}

} // namespace matriarch::router
