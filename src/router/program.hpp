#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/background.hpp"
#include "base/event_loop.hpp"
#include "model/record.hpp"
#include "router/fleet_follower.hpp"
#include "router/haproxy_keeper.hpp"
#include "router/pem_files.hpp"
#include "router/placed_routes.hpp"
#include "router/report_publisher.hpp"
#include "router/router_config.hpp"
#include "router/routing_table.hpp"
#include "router/status.hpp"
#include "store/etcd.hpp"

namespace matriarch::router {

/// The router's state and the events that change it. All members run on the event loop's thread,
/// except where noted. A worker thread, which may block, keeps HAProxy at what is wanted.
class program {
public:
  program(const router_config& settings, base::event_loop& loop, store::etcd_client& etcd);

  /// `self` is this router's identity. `refused` is called, with the reason in words, if another
  /// router has its id or etcd turns out to belong to another fleet.
  void start(const model::router_report& self, std::function<void(std::string)> refused);
  /// Nothing is changed from here on. `then` is called when this router's key is gone from etcd.
  void freeze(std::function<void()> then);
  /// Stops HAProxy; from any thread, after freeze().
  void stop_haproxy();
  void stop_following();
  /// From any thread but the loop's; afterwards nothing posts to the loop any more.
  void end_threads();

  /// For the status server, from any thread: the HTTP status and the body.
  [[nodiscard]] std::pair<int, std::string> status();

private:
  using clock = std::chrono::steady_clock;

  void begin(bool adopted, const port_table& last);

  // What etcd reports.
  fleet_follower::listener from_etcd();
  void note_listed(const std::vector<store::key_value>& found, bool last, store::revision at);
  void note_changes(bool routes_changed, store::revision at);
  void note_reachable(bool is, const std::string& why);
  void read_members();
  void join();
  void look_who_counts(store::revision at);
  void tell_leader(const leader_change& change) const;

  // From keys to HAProxy.
  void serve_last();
  void apply();
  void bring_about();
  void note_served(const port_table& changes);
  void note_outcome(store::revision at, std::vector<left_out> unserved,
                    const keeper_outcome& outcome);
  void retry(std::chrono::milliseconds pause);
  void retry_after_failure();

  // Periodic work.
  void look_at_names();
  void look_at_certificate();
  void look_at_old_workers();
  void settle();
  void watch();
  void ask();
  void save();

  // What the router reports about itself.
  void publish();
  void tell_news();
  [[nodiscard]] std::int64_t count_served(bool to_leader) const;
  [[nodiscard]] std::int64_t routes_served() const { return count_served(true); }
  void update_status();

  const router_config& settings_;
  base::event_loop& loop_;
  store::etcd_client& etcd_;
  haproxy_keeper keeper_; ///< on the worker's thread, but for running()
  fleet_follower source_;
  std::unique_ptr<report_publisher> publisher_;

  routing_table table_;
  placed_routes placed_;
  pem_files pem_;
  port_table told_;   ///< what HAProxy was asked to do since it last confirmed everything
  port_table served_; ///< what HAProxy does
  std::array<std::int64_t, 2> served_count_{};   ///< of these, to replicas and to leaders
  store::revision revision_ = 0;                 ///< up to which placed_ is what etcd says
  store::revision serves_ = 0;                   ///< and served_
  std::map<std::uint16_t, std::string> unbound_; ///< ports that HAProxy does not have, and why
  std::map<std::uint16_t, std::string> refused_; ///< ports not served as they should be, and why
  std::set<left_out> unserved_;
  /// The refused ports that the report names, by instance, with the first reason. Ports that are
  /// not bound are reported separately: the broker can give out another port instead.
  std::map<std::string, std::string> reported_;
  std::string silent_; ///< why HAProxy takes no connections although it runs; empty if it does
  std::string error_;  ///< of the last attempt

  bool etcd_reachable_ = false;
  /// Until when etcd reported every change, as far as known: before it was lost, or in an earlier
  /// run.
  std::optional<model::wall_time> routes_as_of_;
  int old_workers_ = 0; ///< as of the last look
  std::function<void(std::string)> turned_away_;
  bool listed_ = false;              ///< etcd has listed everything once
  bool is_counted_ = false;          ///< by the other routers, or that need not be awaited
  store::revision counted_from_ = 0; ///< when this router's key was first seen
  std::string id_;
  bool has_haproxy_ = false; ///< as of the last look
  bool busy_ = false;        ///< HAProxy is being brought to what is wanted
  bool dirty_ = false;       ///< something has changed since that began
  bool settling_ = false;
  bool looking_ = false; ///< at old workers
  bool reading_ = false; ///< a member's key
  bool frozen_ = false;  ///< the program is ending
  int failures_ = 0;
  std::int64_t reloads_ = 0;
  clock::time_point started_at_{};
  base::event_loop::task_id retry_ = 0;

  std::mutex mutex_;                               ///< protects page_, which other threads read
  std::pair<int, std::string> page_ = page_of({}); ///< the status page; see update_status()

  std::unique_ptr<base::background> worker_;
};

} // namespace matriarch::router
