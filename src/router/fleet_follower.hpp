#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "router/router_config.hpp"
#include "store/etcd.hpp"

namespace matriarch::router {

/// Follows the keys that routes are made of. What etcd lists takes effect only once its fleet is
/// known: the etcd of another fleet would take all instances of this router's fleet off their
/// ports. Belongs to the event loop's thread.
class fleet_follower {
public:
  struct listener {
    /// A listing of all keys begins; a listing that is under way is dropped.
    std::function<void()> begin_listing;
    /// One page of the listing; `last` if there are no more.
    std::function<void(const std::vector<store::key_value>& found, bool last, store::revision at)>
        listed;
    std::function<void(const std::vector<store::change>& changes, store::revision at)> changed;
    std::function<void(bool is, const std::string& why)> reachable;
    /// The etcd belongs to another fleet, for the reason given; nothing is followed any more.
    std::function<void(std::string why)> turned_away;
  };

  fleet_follower(const router_config& settings, store::etcd_client& etcd, listener tell);

  void follow();
  /// etcd gets no new questions; what it still reports is passed on.
  void freeze() { frozen_ = true; }
  /// Nothing is passed on any more.
  void stop();

private:
  void list(store::listing_page page);
  bool is_of_fleet();
  void wait_for_fleet();
  void leave_etcd();

  const router_config& settings_;
  store::etcd_client& etcd_;
  listener tell_;
  std::unique_ptr<store::follower> follower_;
  bool is_judged_ = false; ///< the listing that is under way is of this router's fleet
  std::vector<store::key_value> unjudged_; ///< what that listing has reported until then
  bool waits_for_fleet_ = false;
  bool frozen_ = false;
  bool stopped_ = false;
};

} // namespace matriarch::router
