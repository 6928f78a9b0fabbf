#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "router/router_config.hpp"
#include "store/etcd.hpp"

namespace matriarch::router {

/// Follows the keys that routes are made of. What etcd lists has no effect before it is known whose it
/// is: another fleet's etcd would take all instances of this router's fleet off their ports. Belongs
/// to the event loop's thread.
class fleet_follower {
public:
  struct listener {
    /// A listing of all keys begins; one that is under way is broken off.
    std::function<void()> begin_listing;
    /// Some of them; `last` if there are no more.
    std::function<void(const std::vector<store::key_value>& found, bool last, store::revision at)>
        listed;
    std::function<void(const std::vector<store::change>& changes, store::revision at)> changed;
    std::function<void(bool is, const std::string& why)> reachable;
    /// It is another fleet's etcd, as said in words; nothing is followed any more.
    std::function<void(std::string why)> turned_away;
  };

  fleet_follower(const router_config& settings, store::etcd_client& etcd, listener tell);

  void follow();
  /// etcd is not asked anew any more; what it tells is told on.
  void freeze() { frozen_ = true; }
  /// Nothing is told any more.
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
  std::vector<store::key_value> unjudged_; ///< what it has told until then
  bool waits_for_fleet_ = false;
  bool frozen_ = false;
  bool stopped_ = false;
};

} // namespace matriarch::router
