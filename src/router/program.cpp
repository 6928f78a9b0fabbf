#include "router/router.hpp"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/background.hpp"
#include "base/directory_lock.hpp"
#include "base/ending.hpp"
#include "base/event_loop.hpp"
#include "base/json.hpp"
#include "base/logging.hpp"
#include "base/times.hpp"
#include "base/utf8.hpp"
#include "http/server.hpp"
#include "router/certificate.hpp"
#include "router/check.hpp"
#include "router/fleet.hpp"
#include "router/haproxy.hpp"
#include "router/haproxy_keeper.hpp"
#include "router/host_addresses.hpp"
#include "router/port_table.hpp"
#include "router/report_publisher.hpp"
#include "router/router_config.hpp"
#include "router/routing_table.hpp"
#include "store/etcd.hpp"
#include "store/etcd_access.hpp"
#include "store/keys.hpp"
#include "store/ownership.hpp"

namespace matriarch::router {

namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

constexpr int cannot_serve = 1;
constexpr int wrong_configuration = 2;

/// Between attempts at what was left out; a port that is freed is served soon after.
constexpr std::chrono::milliseconds left_out_pause{5'000};
/// After a failure, doubled with each further one.
constexpr std::chrono::milliseconds first_pause{100};
constexpr std::chrono::milliseconds longest_pause{5'000};
/// HAProxy that has run so long is not in a loop of failures.
constexpr std::chrono::seconds settled_after{30};
/// Between two looks at whether HAProxy runs.
constexpr std::chrono::milliseconds watch_pause{250};
/// Between two questions to HAProxy, which takes no connections while it does not answer.
constexpr std::chrono::milliseconds ask_pause{1'000};
/// Above so many instances that are not served the report leaves out why: etcd's values are small, and
/// /healthz has it.
constexpr std::size_t most_reasons = 500;
/// A reason is cut there.
constexpr std::size_t longest_reason = 300;
constexpr std::size_t longest_name = 100;
/// Between two writes of the files that the next start reads: enough changes share one.
constexpr std::chrono::milliseconds save_pause{1'000};
/// Between two looks at workers of before a reload, while there are any: a server that stands still
/// is found by the current worker's checks, and sessions with it are ended then.
constexpr std::chrono::milliseconds old_workers_pause{1'000};
/// How long changes wait that nobody waits for, such as a member's position, before the router says
/// that it serves them.
constexpr std::chrono::milliseconds news_pause{2'000};
/// Between two looks at whether the certificate was renewed, which is days before the old one ends.
constexpr std::chrono::seconds certificate_pause{10};
/// How long a router that starts waits for etcd before it serves what it served last.
constexpr std::chrono::milliseconds etcd_patience{3'000};
/// How long a router that starts waits for others to leave it its share: one that stands still, or has
/// died, is not worth more.
constexpr std::chrono::milliseconds others_patience{3'000};
/// Between two questions for the addresses of all hosts, where some are names: within a minute another
/// address is known.
constexpr std::chrono::seconds names_pause{30};
/// Until an etcd that does not say whose it is is asked again.
constexpr std::chrono::milliseconds fleet_pause{1'000};
/// Until an etcd that did not answer is asked again for a member's key.
constexpr std::chrono::milliseconds member_pause{1'000};
/// How long a router that ends waits for etcd to take its key away: the lease would end it anyway.
constexpr std::chrono::milliseconds withdraw_patience{2'000};

int refuse(int code, const std::string& why) {
  return base::refuse("router", why, code);
}

/// All addresses that connections of this machine may come from.
std::vector<std::string> addresses_of_machine() {
  // More than any machine has; what it says is written with each of its reports.
  constexpr std::size_t most = 64;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0)
    return {};
  std::set<std::string> found;
  for (const auto* one = all; one != nullptr && found.size() < most; one = one->ifa_next) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    const auto* at = one->ifa_addr;
    if (at != nullptr && at->sa_family == AF_INET
        && ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(at)->sin_addr, text.data(),
                       text.size()))
      found.insert(text.data());
    if (at != nullptr && at->sa_family == AF_INET6
        && ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(at)->sin6_addr, text.data(),
                       text.size()))
      found.insert(text.data());
  }
  ::freeifaddrs(all);
  return {found.begin(), found.end()};
}

/// The router's state and what moves it. All members run on the event loop's thread, except where
/// noted. What blocks is done by a thread that keeps HAProxy at what is wanted.
class program {
public:
  program(const router_config& settings, base::event_loop& loop, store::etcd_client& etcd)
      : settings_(settings), loop_(loop), etcd_(etcd), keeper_(settings),
        worker_(std::make_unique<base::background>()) {}

  /// Who it is. `refused` is called, with the reason in words, if another router has its id or etcd
  /// turns out to be another fleet's.
  void start(const model::router_report& self, std::function<void(std::string)> refused) {
    id_ = self.id;
    turned_away_ = refused;
    publisher_ = std::make_unique<report_publisher>(etcd_, self, std::move(refused));
    addresses_ = std::make_unique<host_addresses>(loop_, [this](const std::string& host) {
      if (frozen_)
        return;
      for (const auto& instance : std::exchange(instances_at_[host], {}))
        note_route(instance);
      apply();
    });
    update_status();
    look_at_certificate();
    remember_authority();
    worker_->submit([this] {
      auto adopted = keeper_.adopt();
      auto last = keeper_.last_table();
      auto last_at = keeper_.last_at();
      loop_.post([this, adopted, last, last_at] {
        routes_as_of_ = last_at;
        begin(adopted, last);
      });
    });
  }

  /// Nothing is changed from here on. `then` is called when etcd has this router's key no more.
  void freeze(std::function<void()> then) {
    frozen_ = true;
    publisher_->withdraw(std::move(then));
  }

  /// Stops HAProxy; from any thread, after freeze().
  void stop_haproxy() {
    std::promise<void> stopped;
    worker_->submit([&] {
      keeper_.stop(settings_.stop_grace);
      stopped.set_value();
    });
    stopped.get_future().wait();
  }

  void stop_following() {
    frozen_ = true;
    follower_.reset();
    publisher_.reset();
  }

  /// From any thread but the loop's; afterwards nothing posts to the loop any more.
  void end_threads() {
    worker_.reset();
    if (addresses_) // a start that was refused has none
      addresses_->stop();
  }

  /// For the status server, from any thread: the HTTP status and the body.
  std::pair<int, std::string> status() {
    std::lock_guard guard{mutex_};
    return {status_code_, status_};
  }

private:
  void begin(bool adopted, const port_table& last) {
    has_haproxy_ = adopted;
    is_counted_ = adopted; // what it lets through, the other routers leave to it
    wanted_.replace(last);
    if (adopted) {
      note_served(last);
      spdlog::info("HAProxy of an earlier router goes on serving {} ports", served_.size());
      look_at_old_workers();
    }
    update_status();

    follow();
    loop_.after(etcd_patience, [this] { serve_last(); });
    watch();
    ask();
    save();
    tell_news();
    look_at_names();
  }

  void follow() {
    store::follower::listener tell;
    tell.listed = [this](store::listing_page page) { list(std::move(page)); };
    tell.changed = [this](std::vector<store::change> changes, store::revision at) {
      auto changed = false;
      for (const auto& one : changes)
        changed = (one.what == store::change::kind::put ? table_.put(one.entry.key, one.entry.value)
                                                        : table_.erase(one.entry.key))
                  || changed;
      note_changes(changed, at);
    };
    tell.reachable = [this](bool is, std::string why) {
      if (!is || !waits_for_fleet_) // what answers may be another fleet's
        note_reachable(is, why);
    };
    // Everything from /routers/ over /routing/ to the end of /service/.
    follower_ = std::make_unique<store::follower>(
        etcd_, store::key_range{store::keys::routers, store::keys::last}, std::move(tell),
        store::follower::options{});
  }

  void note_reachable(bool is, const std::string& why) {
    if (is)
      spdlog::info("etcd is reachable");
    else
      spdlog::warn("etcd cannot be reached, the last routes stay: {}", why);
    if (etcd_reachable_ && !is)
      routes_as_of_ =
          std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
    etcd_reachable_ = is;
    if (!is)
      serve_last();
    update_status();
  }

  // -- whose etcd it is ---------------------------------------------------------------------------

  /// What etcd lists has no effect before it is known whose it is: another fleet's etcd would take
  /// all instances of this router's fleet off their ports. Keys come in their order, and the one that
  /// tells it before most of them.
  void list(store::listing_page page) {
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
      table_.begin_listing();
    }
    for (const auto& one : page.found)
      table_.list(one.key, one.value);
    if (!page.last)
      return;
    auto changed = table_.end_listing();
    auto is_first = !std::exchange(listed_, true);
    if (is_first)
      join();
    note_changes(changed || is_first, page.at);
  }

  bool is_of_fleet() {
    auto told = std::ranges::find(unjudged_, store::keys::shown_fleet, &store::key_value::key);
    auto fleet = told == unjudged_.end() ? std::string{} : told->value;
    if (fleet.empty() && knows_fleet(settings_)) {
      wait_for_fleet();
      return false;
    }
    if (auto wrong = why_not_of_fleet(settings_, fleet)) {
      leave_etcd();
      turned_away_(*wrong);
      return false;
    }
    remember_fleet(settings_, fleet);
    if (std::exchange(waits_for_fleet_, false))
      note_reachable(true, {});
    return true;
  }

  /// An empty etcd in the place of the fleet's, whose broker may be about to act on it as another one.
  void wait_for_fleet() {
    if (!std::exchange(waits_for_fleet_, true))
      note_reachable(false, "it does not say which fleet it belongs to (" + store::keys::shown_fleet
                                + "), as it has before");
    leave_etcd();
    loop_.after(fleet_pause, [this] {
      if (!frozen_)
        follow();
    });
  }

  /// Not at once: the follower is calling.
  void leave_etcd() {
    loop_.post([this] { follower_.reset(); });
  }

  /// Without etcd what was served last is better than nothing: the checks still tell who leads.
  void serve_last() {
    if (listed_ || has_haproxy_ || busy_ || frozen_)
      return;
    spdlog::info("serving the {} ports of last time until etcd is there", wanted_.table().size());
    bring_about();
  }

  /// Before HAProxy starts, this router says that it is there, and waits until the others, if there are
  /// any, have left it its share of what a node takes: all together shall not let more through.
  void join() {
    is_counted_ = is_counted_ || table_.routers() == 0 || table_.has_router(id_);
    if (is_counted_)
      return;
    publish();
    loop_.after(others_patience, [this] {
      if (std::exchange(is_counted_, true))
        return;
      spdlog::warn("the other routers do not say that they leave this one its share of what nodes "
                   "take; it serves all the same");
      apply();
    });
  }

  void look_who_counts(store::revision at) {
    if (is_counted_ || !listed_)
      return;
    if (counted_from_ == 0 && table_.has_router(id_))
      counted_from_ = at;
    is_counted_ = counted_from_ != 0 && table_.others_serve(id_, counted_from_);
    if (is_counted_)
      apply();
  }

  // -- from keys to HAProxy -----------------------------------------------------------------------

  void note_changes(bool routes_changed, store::revision at) {
    revision_ = std::max(revision_, at);
    auto instances = table_.take_changes();
    auto leaders = table_.take_leader_changes();
    auto news = table_.take_news();
    if (routes_changed)
      take_up_authority(table_.authority());
    if (std::exchange(sharing_, table_.routers()) != table_.routers()) {
      note_routes();
    } else {
      for (const auto& change : leaders)
        instances.insert(table_.instances_of(change.scope).begin(),
                         table_.instances_of(change.scope).end());
      for (const auto& instance : instances)
        note_route(instance);
    }
    for (const auto& change : leaders)
      tell_leader(change);
    if (routes_changed || !leaders.empty() || news)
      apply();
    look_who_counts(at);
    read_members();
  }

  /// One after the other, those that the table had no place for when they came.
  void read_members() {
    if (frozen_ || table_.unread().empty() || std::exchange(reading_, true))
      return;
    auto key = *table_.unread().begin();
    etcd_.range({key, {}}, [this, key](const store::range_result& came) {
      if (!came.ok) {
        loop_.after(member_pause, [this] {
          reading_ = false;
          read_members();
        });
        return;
      }
      reading_ = false;
      auto value = came.found.empty() ? std::nullopt
                                      : std::optional<std::string_view>{came.found.front().value};
      note_changes(table_.put_read(key, value), revision_);
    });
  }

  void tell_leader(const leader_change& change) const {
    if (change.before.empty())
      return;
    for (const auto& instance : table_.instances_of(change.scope))
      if (table_.of(instance).served)
        spdlog::info("instance {}: {} leads instead of {}", instance,
                     one_line(change.now, longest_name), one_line(change.before, longest_name));
  }

  /// Makes all ports what the routes say.
  void note_routes() {
    left_out_.clear();
    instances_at_.clear();
    port_table all;
    for (const auto& [instance, one] : table_.instances())
      all.merge(ports_of_instance(instance));
    wanted_.replace(std::move(all));
  }

  /// The same for the ports of an instance.
  void note_route(const std::string& instance) {
    left_out_.erase(instance);
    wanted_.set(instance, ports_of_instance(instance));
  }

  /// What of the instance has no place is noted as left out.
  port_table ports_of_instance(const std::string& instance) {
    const auto& one = table_.of(instance);
    auto lost = one.unserved;
    auto ports = one.served ? ports_of_route(*one.served, lost) : port_table{};
    if (!lost.empty())
      left_out_.insert_or_assign(instance, std::move(lost));
    return ports;
  }

  /// `lost` gets the nodes whose hosts have no address.
  port_table ports_of_route(const route& one, std::vector<left_out>& lost) {
    auto address_of = [&](const std::string& host) {
      if (is_name(host))
        instances_at_[host].insert(one.instance);
      return addresses_->of(host);
    };
    auto placed = one;
    std::erase_if(placed.members, [&](routed_member& member) {
      auto database = address_of(member.database.host);
      auto control = address_of(member.control.host);
      if (!database || !control) {
        lost.push_back({one.port, one.instance,
                        fmt::format("the host of its node {} has no address; see its cell's "
                                    "configuration and this machine's resolver",
                                    member.name)});
        return true;
      }
      member.database.host = *database;
      member.control.host = *control;
      return false;
    });
    return ports_of(placed, table_.leader(one.scope), settings_.limits, sharing_);
  }

  /// The hosts of routes that do not change may get other addresses.
  void look_at_names() {
    if (frozen_)
      return;
    loop_.after(names_pause, [this] { look_at_names(); });
    for (const auto& [host, instances] : instances_at_)
      (void)addresses_->of(host); // another one that is found is told of
  }

  void apply() {
    dirty_ = true;
    if (!busy_ && !frozen_ && listed_ && is_counted_)
      bring_about();
  }

  void bring_about() {
    dirty_ = false;
    busy_ = true;
    // What cannot even be wanted belongs to this attempt: a name that gets an address meanwhile is not
    // served before the next one.
    std::vector<left_out> unserved;
    for (const auto& [instance, lost] : left_out_)
      unserved.insert(unserved.end(), lost.begin(), lost.end());
    auto changes = wanted_.take_changes();
    for (const auto& [port, now] : changes)
      told_.insert_or_assign(port, now);
    worker_->submit([this, changes = std::move(changes), pem = pem_, at = listed_ ? revision_ : 0,
                     unserved = std::move(unserved)] {
      auto outcome = keeper_.bring_about(changes, pem);
      loop_.post([this, at, unserved, outcome = std::move(outcome)] {
        note_outcome(at, unserved, outcome);
      });
    });
  }

  /// HAProxy does with these ports what was wanted.
  void note_served(const port_table& changes) {
    for (const auto& [port, now] : changes) {
      if (auto before = served_.find(port); before != served_.end())
        --served_count_[before->second->to_leader];
      if (now != nullptr)
        ++served_count_[now->to_leader];
    }
    take_up(served_, changes);
  }

  void note_outcome(store::revision at, std::vector<left_out> unserved,
                    const keeper_outcome& outcome) {
    busy_ = false;
    has_haproxy_ = keeper_.running();
    if (outcome.error.empty()) {
      note_served(std::exchange(told_, {}));
      serves_ = at;
    } else if (outcome.error != error_) {
      spdlog::error("{}", outcome.error);
    }
    error_ = outcome.error;
    if (outcome.started || outcome.reloaded) {
      reloads_ += outcome.reloaded ? 1 : 0;
      spdlog::info("HAProxy {} and serves {} instances", outcome.started ? "started" : "reloaded",
                   routes_served());
    }
    if (outcome.started)
      started_at_ = clock::now();
    if (outcome.reloaded)
      look_at_old_workers();

    if (outcome.is_known) {
      unbound_ = outcome.unbound;
      refused_ = outcome.refused;
    }
    auto note = [&](std::uint16_t port, const std::string& why) {
      // What is not wanted any more by now is about to be closed.
      const auto& wanted = wanted_.table();
      if (auto found = wanted.find(port); found != wanted.end())
        unserved.push_back({port, found->second->instance, why});
    };
    for (const auto& [port, why] : refused_)
      note(port, why);
    reported_.clear();
    for (const auto& one : unserved)
      reported_.emplace(one.instance, one.reason);
    for (const auto& [port, why] : unbound_)
      note(port, why);
    const auto before =
        std::exchange(unserved_, std::set<left_out>{unserved.begin(), unserved.end()});
    for (const auto& one : unserved_)
      if (!before.contains(one))
        spdlog::warn("instance {} is not served on port {}: {}", one.instance, one.port,
                     one.reason);

    publish();
    if (!outcome.error.empty())
      retry_after_failure();
    else if (unserved_.empty() && unbound_.empty())
      loop_.cancel(std::exchange(retry_, 0));
    else if (retry_ == 0) // what comes meanwhile does not put it off
      retry(left_out_pause);
    if (!outcome.is_settled)
      settle();
    if (old_workers_ > 0)
      look_at_old_workers();
    if (dirty_)
      apply();
    update_status();
  }

  void retry(std::chrono::milliseconds pause) {
    loop_.cancel(retry_);
    retry_ = loop_.after(pause, [this] {
      retry_ = 0;
      if (listed_ && !busy_ && !frozen_) {
        for (const auto& [instance, lost] : std::map{left_out_})
          note_route(instance); // names may have got addresses
        bring_about();
      } else {
        serve_last();
      }
    });
  }

  void retry_after_failure() {
    retry(std::min(longest_pause, first_pause * (1 << std::min(failures_, 10))));
    ++failures_;
  }

  /// Servers that were drained at a change of leaders are followed by their checks again, once those
  /// have failed: HAProxy can follow the next change by itself then, whatever becomes of this router.
  void settle() {
    if (std::exchange(settling_, true))
      return;
    loop_.after(settings_.check_interval, [this] {
      if (frozen_)
        return;
      worker_->submit([this] {
        auto outcome = keeper_.settle();
        loop_.post([this, outcome] {
          settling_ = false;
          if (!outcome.error.empty() && !busy_)
            apply();
          else if (!outcome.is_settled && !frozen_)
            settle();
        });
      });
    });
  }

  /// Notices that HAProxy has ended.
  void watch() {
    loop_.after(watch_pause, [this] { watch(); });
    if (busy_ || frozen_)
      return;
    if (has_haproxy_ && !keeper_.running()) {
      has_haproxy_ = false;
      spdlog::error("HAProxy has ended and is started again; its messages are in {}/haproxy.log",
                    settings_.data_dir);
      if (clock::now() - started_at_ > settled_after)
        failures_ = 0;
      publish();
      retry_after_failure();
      update_status();
    } else if (has_haproxy_ && error_.empty() && clock::now() - started_at_ > settled_after) {
      failures_ = 0;
    }
  }

  /// Asks HAProxy for a sign of life: it may stand still although nothing is to be changed, and then
  /// nobody may count on what it was told before.
  void ask() {
    if (frozen_)
      return;
    worker_->submit([this] {
      auto why = keeper_.why_silent().value_or("");
      if (why.empty())
        keeper_.note_held();
      loop_.post([this, why] {
        loop_.after(ask_pause, [this] { ask(); });
        if (frozen_ || why == silent_)
          return;
        if (why.empty())
          spdlog::info("HAProxy answers again");
        else if (silent_.empty())
          spdlog::error("{}: this router is not counted on until it does", why);
        silent_ = why;
        // What it did before it stood still is looked at before anybody counts on it again.
        if (why.empty())
          apply();
        else
          publish();
        update_status();
      });
    });
  }

  /// Keeps the files current that a start reads while there is no etcd.
  void save() {
    loop_.after(save_pause, [this] { save(); });
    if (!frozen_)
      worker_->submit([this] {
        if (auto wrong = keeper_.save())
          spdlog::error("{}", *wrong);
      });
  }

  /// Ends sessions in workers of before a reload whose server is not used any more.
  void look_at_old_workers() {
    if (frozen_ || std::exchange(looking_, true))
      return;
    // The keeper knows of all instances once it was handed what etcd has listed.
    worker_->submit([this, all_known = serves_ > 0] {
      auto seen = keeper_.running() ? keeper_.look_at_old_workers(all_known) : std::nullopt;
      loop_.post([this, seen] {
        looking_ = false;
        if (seen && seen->ended > 0)
          spdlog::info("{} sessions of before a reload are ended, for their servers are not used "
                       "any more",
                       seen->ended);
        auto count = seen ? seen->count : has_haproxy_ ? old_workers_ : 0;
        if (std::exchange(old_workers_, count) != count)
          update_status();
        if (old_workers_ > 0 || !seen)
          loop_.after(old_workers_pause, [this] { look_at_old_workers(); });
      });
    });
  }

  /// Takes up the certificate of the brokers' port when its files have changed. One that is no good
  /// is not taken up: the old one serves on.
  void look_at_certificate() {
    if (!settings_.broker || !settings_.broker->has_tls())
      return;
    loop_.after(certificate_pause, [this] { look_at_certificate(); });
    auto pem = read_certificate(settings_.broker->tls_certificate, settings_.broker->tls_key);
    if (pem && *pem == pem_.broker)
      return;
    auto wrong =
        pem ? write_private_file(certificate_path(settings_), *pem) : std::optional{pem.error()};
    if (wrong != certificate_error_ && wrong)
      spdlog::error("the certificate of the brokers' port stays the old one: {}", *wrong);
    certificate_error_ = wrong;
    if (wrong)
      return;
    if (!pem_.broker.empty())
      spdlog::info("the brokers' port gets its new certificate");
    pem_.broker = *pem;
    apply();
  }

  /// Who signed the fleet's certificates when an earlier router was told: also without etcd no other
  /// one is taken.
  void remember_authority() {
    std::ifstream file{authority_path(settings_)};
    std::ostringstream text;
    text << file.rdbuf();
    pem_.fleet = certificates_in(text.str());
  }

  void take_up_authority(const std::string& told) {
    auto pem = certificates_in(told);
    if (pem.empty() || pem == pem_.fleet)
      return;
    if (auto wrong = write_private_file(authority_path(settings_), pem))
      return spdlog::error("members are checked by the authority of before: {}", *wrong);
    spdlog::info("members are checked by the fleet's authority{}",
                 pem_.fleet.empty() ? "" : ", which is another one");
    pem_.fleet = std::move(pem);
  }

  // -- what it says of itself ---------------------------------------------------------------------

  /// Says in etcd what is served. Without HAProxy, and while it does not answer, nothing is.
  void publish() {
    if (!listed_ || frozen_)
      return;
    model::router_report now;
    now.silent = !has_haproxy_ ? "HAProxy does not run" : silent_;
    now.serves = now.silent.empty() ? serves_ : 0;
    for (const auto& [port, why] : unbound_)
      now.unbound.push_back(port);
    for (const auto& [instance, why] : reported_)
      now.unserved.push_back(
          {instance, reported_.size() > most_reasons ? "" : one_line(why, longest_reason)});
    publisher_->say(std::move(now));
  }

  /// What nobody waits for is said every now and then all the same.
  void tell_news() {
    loop_.after(news_pause, [this] { tell_news(); });
    if (revision_ > serves_)
      apply();
  }

  [[nodiscard]] std::int64_t count_served(bool to_leader) const {
    if (!has_haproxy_)
      return 0;
    auto count = served_count_[to_leader];
    auto leave_out = [&](std::uint16_t port) {
      if (auto found = served_.find(port);
          found != served_.end() && found->second->to_leader == to_leader)
        --count;
    };
    for (const auto& [port, why] : unbound_)
      leave_out(port);
    for (const auto& [port, why] : refused_) // none of which is unbound
      leave_out(port);
    return count;
  }
  [[nodiscard]] std::int64_t routes_served() const { return count_served(true); }

  void update_status() {
    json::document body;
    body.SetObject();
    auto is_well = has_haproxy_ && silent_.empty() && error_.empty() && etcd_reachable_;
    auto all_served = is_well && unserved_.empty();
    auto takes_connections = has_haproxy_ && silent_.empty();
    json::add(body, "status", all_served ? "ok" : takes_connections ? "degraded" : "down", body);
    json::add(body, "id", id_, body);
    json::add(body, "routes", routes_served(), body);
    json::add(body, "read_only_routes", count_served(false), body);
    json::value left(rapidjson::kArrayType);
    for (const auto& one : unserved_) {
      json::value entry(rapidjson::kObjectType);
      json::add(entry, "port", one.port, body);
      json::add(entry, "instance", one.instance, body);
      json::add(entry, "reason", one.reason, body);
      left.PushBack(entry, body.GetAllocator());
    }
    json::add(body, "left_out", std::move(left), body);
    json::value closed(rapidjson::kArrayType);
    for (const auto& [port, why] : unbound_)
      closed.PushBack(static_cast<int>(port), body.GetAllocator());
    json::add(body, "unbound", std::move(closed), body);
    json::add(body, "serves", serves_, body);
    json::add(body, "routers", table_.routers(), body);
    json::add(body, "reloads", reloads_, body);
    json::add(body, "old_workers", std::int64_t{old_workers_}, body);
    json::add(body, "etcd", etcd_reachable_ ? "reachable" : "unreachable", body);
    if (!etcd_reachable_ && has_haproxy_ && routes_as_of_)
      json::add(body, "routes_as_of", base::text_of(*routes_as_of_), body);
    json::add(body, "haproxy",
              !has_haproxy_     ? "not running"
              : silent_.empty() ? "running"
                                : "does not answer",
              body);
    if (!error_.empty())
      json::add(body, "error", error_, body);
    std::lock_guard guard{mutex_};
    status_code_ = takes_connections ? 200 : 503;
    status_ = json::text_of(body);
  }

  const router_config& settings_;
  base::event_loop& loop_;
  store::etcd_client& etcd_;
  haproxy_keeper keeper_; ///< on the worker's thread, but for running()
  std::unique_ptr<store::follower> follower_;
  std::unique_ptr<report_publisher> publisher_;
  std::unique_ptr<host_addresses> addresses_;

  routing_table table_{*settings_.engines};
  int sharing_ = -1; ///< how many routers share what nodes take, as of wanted_; none is known yet
  std::map<std::string, std::vector<left_out>> left_out_; ///< what has no place, by instance
  /// Whose nodes' hosts are names; also who has left, until all routes are noted again.
  std::map<std::string, std::set<std::string>> instances_at_;
  wanted_ports wanted_; ///< as long as etcd has not told, what an earlier run served
  port_table told_;     ///< what HAProxy was told since it has last confirmed everything
  port_table served_;   ///< what HAProxy does
  std::array<std::int64_t, 2> served_count_{};   ///< of them those to replicas, and to leaders
  store::revision revision_ = 0;                 ///< up to which wanted_ is what etcd says
  store::revision serves_ = 0;                   ///< and served_
  std::map<std::uint16_t, std::string> unbound_; ///< ports that HAProxy does not have, and why
  std::map<std::uint16_t, std::string> refused_; ///< ports that it does not serve as it should
  std::set<left_out> unserved_;
  /// Those of them that the report names, by instance, with the first reason. Ports that are not bound
  /// are said by themselves: another port can be given instead.
  std::map<std::string, std::string> reported_;
  std::string silent_; ///< why HAProxy takes no connections although it runs; empty if it does
  std::string error_;  ///< of the last attempt
  pem_texts pem_;      ///< as HAProxy shall have it
  std::optional<std::string> certificate_error_; ///< why the files' content was not taken up

  bool etcd_reachable_ = false;
  /// Until when etcd told of every change, as far as known: before it was lost, or of an earlier run.
  std::optional<model::wall_time> routes_as_of_;
  int old_workers_ = 0; ///< as of the last look
  std::function<void(std::string)> turned_away_;
  bool is_judged_ = false; ///< the listing that is under way is of this router's fleet
  std::vector<store::key_value> unjudged_; ///< what it has told until then
  bool waits_for_fleet_ = false;
  bool listed_ = false;              ///< etcd has told everything once
  bool is_counted_ = false;          ///< by the other routers, or it need not wait for that
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

  std::mutex mutex_; ///< for what other threads read
  int status_code_ = 503;
  std::string status_;

  std::unique_ptr<base::background> worker_;
};

http::response answer_to(const http::request& asked, program& router) {
  if (asked.segments != std::vector<std::string>{"healthz"})
    return {
        404, R"({"error":"NotFound","description":"there is nothing here; see GET /healthz"})", {}};
  if (asked.verb != http::method::get && asked.verb != http::method::head)
    return {405,
            R"({"error":"MethodNotAllowed","description":"healthz can only be read"})",
            {{"Allow", "GET"}}};
  auto [code, body] = router.status();
  return {code, body, {}};
}

model::router_report self_of(const router_config& config, int status_port,
                             const std::string& identity) {
  model::router_report self;
  self.host = host_name();
  self.id = id_of(config, status_port);
  self.owner = identity;
  if (config.broker)
    self.addresses = addresses_of_machine();
  return self;
}

/// Makes the data directory if need be, and holds it.
result<base::directory_lock> hold_data_dir(const std::string& data_dir) {
  std::error_code error;
  std::filesystem::create_directories(data_dir, error);
  if (error)
    return failure{fmt::format("{} cannot be made: {}", data_dir, error.message())};
  // A predecessor that is just ending takes its grace time.
  constexpr std::chrono::seconds patience{10};
  return base::directory_lock::take(data_dir, "another router works on the same data_dir",
                                    patience);
}

} // namespace

int run(const std::string& config_path, const engine_checks& engines) {
  auto config = load_router_config(config_path);
  if (!config)
    return refuse(wrong_configuration, config.error());
  config->engines = &engines;
  base::ending ended{SIGTERM, SIGINT, SIGUSR1};
  for (const auto& warning : config->warnings)
    spdlog::warn("{}", warning);

  auto lock = hold_data_dir(config->data_dir);
  if (!lock)
    return refuse(cannot_serve, lock.error());
  auto identity = store::identity_in(config->data_dir);
  if (!identity)
    return refuse(cannot_serve, identity.error());

  base::findings programs;
  look_at_haproxy(*config, programs);
  if (auto missing = programs.faults(); !missing.empty()) {
    // One that an earlier router has left serves on, and has to be looked after.
    if (!haproxy{config->haproxy, config->data_dir}.adopt())
      return refuse(wrong_configuration, fmt::format("{}: {}", config_path, missing));
    spdlog::error("{}", missing);
  }

  auto loop = std::make_unique<base::event_loop>();
  auto etcd = std::make_unique<store::etcd_client>(*loop, store::access_of(config->etcd));
  auto router = std::make_unique<program>(*config, *loop, *etcd);

  http::server_options options;
  options.bind_host = config->status_host;
  options.port = config->status_port;
  http::server server{options, [&](http::request asked, http::responder to) {
                        to.send(answer_to(asked, *router));
                      }};
  auto refused = server.start();
  auto self = refused ? model::router_report{} : self_of(*config, server.port(), *identity);
  // Whoever has the same id would be waited for in this one's stead, and this one in that one's.
  if (!refused) {
    refused = store::other_owner(*etcd, report_publisher::key_of(self));
    // HAProxy of an earlier router goes on serving what it served.
    if (refused)
      server.stop();
  }
  store::taken_later taken{SIGUSR1};
  if (!refused) {
    loop->run([&] { router->start(self, [&](const std::string& who) { taken.note(who); }); });
    spdlog::info("router follows etcd; its status is at http://{}:{}/healthz", config->status_host,
                 server.port());
    auto received = ended.wait().signal;
    refused = taken.who();
    auto withdrawn = std::make_shared<std::promise<void>>();
    loop->run([&] { router->freeze([withdrawn] { withdrawn->set_value(); }); });
    (void)withdrawn->get_future().wait_for(withdraw_patience);
    if (received == SIGUSR1) {
      spdlog::info("ending; HAProxy goes on serving");
    } else {
      spdlog::info("ending on signal {}, HAProxy too", received);
      router->stop_haproxy();
    }
    server.stop();
  }
  loop->run([&] { router->stop_following(); });
  router->end_threads();
  etcd.reset();
  loop.reset();
  return refused ? refuse(cannot_serve, *refused) : 0;
}

int check(const std::string& config_path, std::ostream& out) {
  auto config = load_router_config(config_path);
  if (!config)
    return refuse(wrong_configuration, config.error());
  auto found = check(*config);
  found.print(out);
  return found.exit_code();
}

} // namespace matriarch::router
