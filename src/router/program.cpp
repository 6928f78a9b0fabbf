#include "router/program.hpp"

#include <algorithm>
#include <future>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/utf8.hpp"
#include "router/status.hpp"
#include "store/keys.hpp"

namespace matriarch::router {

namespace {

using namespace std::chrono_literals;

/// The pause between attempts at what was left out; a port that becomes free is served soon after.
constexpr std::chrono::milliseconds left_out_pause{5'000};
/// After a failure, doubled with each further one.
constexpr std::chrono::milliseconds first_pause{100};
constexpr std::chrono::milliseconds longest_pause{5'000};
/// A HAProxy that has run this long is not in a loop of failures.
constexpr std::chrono::seconds settled_after{30};
/// Between two looks at whether HAProxy runs.
constexpr std::chrono::milliseconds watch_pause{250};
/// The pause between two questions to HAProxy, which takes no connections while it does not answer.
constexpr std::chrono::milliseconds ask_pause{1'000};
/// With more unserved instances than this, the report leaves out the reasons: etcd's values must
/// stay small, and /healthz has the reasons.
constexpr std::size_t most_reasons = 500;
/// Longer reasons are cut.
constexpr std::size_t longest_reason = 300;
constexpr std::size_t longest_name = 100;
/// The pause between two writes of the files that the next start reads, so that changes share a
/// write.
constexpr std::chrono::milliseconds save_pause{1'000};
/// The pause between two looks at workers from before a reload, while there are any. The current
/// worker's checks notice a frozen server, and the old workers' sessions with it are ended then.
constexpr std::chrono::milliseconds old_workers_pause{1'000};
/// How long the router may delay its report of changes that nobody waits for, such as a member's
/// position.
constexpr std::chrono::milliseconds news_pause{2'000};
/// Between two looks at whether the certificate was renewed, which is days before the old one ends.
constexpr std::chrono::seconds certificate_pause{10};
/// How long a router that starts waits for etcd before it serves what it served last.
constexpr std::chrono::milliseconds etcd_patience{3'000};
/// How long a router that starts waits for the others to reduce their share: a frozen or dead
/// router is not worth more time.
constexpr std::chrono::milliseconds others_patience{3'000};
/// The pause between two lookups of all host names: a new address is known within a minute.
constexpr std::chrono::seconds names_pause{30};
/// The pause before an etcd that did not answer is asked again for a member's key.
constexpr std::chrono::milliseconds member_pause{1'000};

} // namespace

program::program(const router_config& settings, base::event_loop& loop, store::etcd_client& etcd)
    : settings_(settings), loop_(loop), etcd_(etcd), keeper_(settings),
      source_(settings, etcd, from_etcd()), table_(*settings.engines),
      placed_(settings.limits, table_), pem_(settings),
      worker_(std::make_unique<base::background>()) {}

void program::start(const model::router_report& self, std::function<void(std::string)> refused) {
  id_ = self.id;
  turned_away_ = refused;
  publisher_ = std::make_unique<report_publisher>(etcd_, self, std::move(refused));
  placed_.start(loop_, [this] { apply(); });
  update_status();
  look_at_certificate();
  pem_.remember_authority();
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

void program::freeze(std::function<void()> then) {
  frozen_ = true;
  source_.freeze();
  publisher_->withdraw(std::move(then));
}

void program::stop_haproxy() {
  std::promise<void> stopped;
  worker_->submit([&] {
    keeper_.stop(settings_.stop_grace);
    stopped.set_value();
  });
  stopped.get_future().wait();
}

void program::stop_following() {
  frozen_ = true;
  source_.stop();
  publisher_.reset();
}

void program::end_threads() {
  worker_.reset();
  placed_.stop();
}

std::pair<int, std::string> program::status() {
  std::lock_guard guard{mutex_};
  return page_;
}

void program::begin(bool adopted, const port_table& last) {
  has_haproxy_ = adopted;
  is_counted_ = adopted; // the other routers already allow for its share
  placed_.wanted().replace(last);
  if (adopted) {
    note_served(last);
    spdlog::info("HAProxy of an earlier router goes on serving {} ports", served_.size());
    look_at_old_workers();
  }
  update_status();

  source_.follow();
  loop_.after(etcd_patience, [this] { serve_last(); });
  watch();
  ask();
  save();
  tell_news();
  look_at_names();
}

fleet_follower::listener program::from_etcd() {
  fleet_follower::listener tell;
  tell.begin_listing = [this] { table_.begin_listing(); };
  tell.listed = [this](const std::vector<store::key_value>& found, bool last, store::revision at) {
    note_listed(found, last, at);
  };
  tell.changed = [this](const std::vector<store::change>& changes, store::revision at) {
    auto changed = false;
    for (const auto& one : changes)
      changed = (one.what == store::change::kind::put ? table_.put(one.entry.key, one.entry.value)
                                                      : table_.erase(one.entry.key))
                || changed;
    note_changes(changed, at);
  };
  tell.reachable = [this](bool is, const std::string& why) { note_reachable(is, why); };
  tell.turned_away = [this](const std::string& why) { turned_away_(why); };
  return tell;
}

void program::note_reachable(bool is, const std::string& why) {
  if (is)
    spdlog::info("etcd is reachable");
  else
    spdlog::warn("etcd cannot be reached, the last routes stay: {}", why);
  if (etcd_reachable_ && !is)
    routes_as_of_ = std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
  etcd_reachable_ = is;
  if (!is)
    serve_last();
  update_status();
}

void program::note_listed(const std::vector<store::key_value>& found, bool last,
                          store::revision at) {
  for (const auto& one : found)
    table_.list(one.key, one.value);
  if (!last)
    return;
  auto changed = table_.end_listing();
  auto is_first = !std::exchange(listed_, true);
  if (is_first)
    join();
  note_changes(changed || is_first, at);
}

/// Without etcd the last known routes are better than none: HAProxy's checks still find the leader.
void program::serve_last() {
  if (listed_ || has_haproxy_ || busy_ || frozen_)
    return;
  spdlog::info("serving the {} ports of the last run until etcd answers",
               placed_.wanted().table().size());
  bring_about();
}

/// Before HAProxy starts, this router announces itself and waits until the others have reduced
/// their share of each node's connections, so that all routers together do not let more through.
void program::join() {
  is_counted_ = is_counted_ || table_.routers() == 0 || table_.has_router(id_);
  if (is_counted_)
    return;
  publish();
  loop_.after(others_patience, [this] {
    if (std::exchange(is_counted_, true))
      return;
    spdlog::warn("the other routers have not confirmed this router's share of the nodes' "
                 "connections; it serves all the same");
    apply();
  });
}

void program::look_who_counts(store::revision at) {
  if (is_counted_ || !listed_)
    return;
  if (counted_from_ == 0 && table_.has_router(id_))
    counted_from_ = at;
  is_counted_ = counted_from_ != 0 && table_.others_serve(id_, counted_from_);
  if (is_counted_)
    apply();
}

// -- from keys to HAProxy -----------------------------------------------------------------------

void program::note_changes(bool routes_changed, store::revision at) {
  revision_ = std::max(revision_, at);
  auto instances = table_.take_changes();
  auto leaders = table_.take_leader_changes();
  auto news = table_.take_news();
  if (routes_changed)
    pem_.take_up_authority(table_.authority());
  if (placed_.sharing() != table_.routers()) {
    placed_.place_all(table_.routers());
  } else {
    for (const auto& change : leaders)
      instances.insert(table_.instances_of(change.scope).begin(),
                       table_.instances_of(change.scope).end());
    for (const auto& instance : instances)
      placed_.place(instance);
  }
  for (const auto& change : leaders)
    tell_leader(change);
  if (routes_changed || !leaders.empty() || news)
    apply();
  look_who_counts(at);
  read_members();
}

/// Reads, one after the other, the members that the table had dropped when they came.
void program::read_members() {
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

void program::tell_leader(const leader_change& change) const {
  if (change.before.empty())
    return;
  for (const auto& instance : table_.instances_of(change.scope))
    if (table_.of(instance).served)
      spdlog::info("instance {}: {} leads instead of {}", instance,
                   one_line(change.now, longest_name), one_line(change.before, longest_name));
}

void program::look_at_names() {
  if (frozen_)
    return;
  loop_.after(names_pause, [this] { look_at_names(); });
  placed_.look_at_names();
}

void program::apply() {
  dirty_ = true;
  if (!busy_ && !frozen_ && listed_ && is_counted_)
    bring_about();
}

void program::bring_about() {
  dirty_ = false;
  busy_ = true;
  // What cannot be placed belongs to this attempt: a name that gets an address in the course of it
  // is served by the next one.
  auto unserved = placed_.left_out();
  auto changes = placed_.wanted().take_changes();
  for (const auto& [port, now] : changes)
    told_.insert_or_assign(port, now);
  worker_->submit([this, changes = std::move(changes), pem = pem_.texts(),
                   at = listed_ ? revision_ : 0, unserved = std::move(unserved)] {
    auto outcome = keeper_.bring_about(changes, pem);
    loop_.post([this, at, unserved, outcome = std::move(outcome)] {
      note_outcome(at, unserved, outcome);
    });
  });
}

/// HAProxy now does what is wanted with these ports.
void program::note_served(const port_table& changes) {
  for (const auto& [port, now] : changes) {
    if (auto before = served_.find(port); before != served_.end())
      --served_count_[before->second->to_leader];
    if (now != nullptr)
      ++served_count_[now->to_leader];
  }
  take_up(served_, changes);
}

void program::note_outcome(store::revision at, std::vector<left_out> unserved,
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
    // A port that is no longer wanted is about to be closed.
    const auto& wanted = placed_.wanted().table();
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
      spdlog::warn("instance {} is not served on port {}: {}", one.instance, one.port, one.reason);

  publish();
  if (!outcome.error.empty())
    retry_after_failure();
  else if (unserved_.empty() && unbound_.empty())
    loop_.cancel(std::exchange(retry_, 0));
  else if (retry_ == 0) // later changes do not postpone it
    retry(left_out_pause);
  if (!outcome.is_settled)
    settle();
  if (old_workers_ > 0)
    look_at_old_workers();
  if (dirty_)
    apply();
  update_status();
}

void program::retry(std::chrono::milliseconds pause) {
  loop_.cancel(retry_);
  retry_ = loop_.after(pause, [this] {
    retry_ = 0;
    if (listed_ && !busy_ && !frozen_) {
      placed_.place_left_out();
      bring_about();
    } else {
      serve_last();
    }
  });
}

void program::retry_after_failure() {
  retry(std::min(longest_pause, first_pause * (1 << std::min(failures_, 10))));
  ++failures_;
}

/// Servers that were drained at a change of leaders are left to their checks again, once those have
/// failed: HAProxy can then follow the next change by itself, even without this router.
void program::settle() {
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

/// Notices when HAProxy has ended.
void program::watch() {
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

/// Asks HAProxy for a sign of life. HAProxy may be frozen while there is nothing to change, and
/// then clients cannot rely on what it confirmed before.
void program::ask() {
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
      // HAProxy's state is read before anybody relies on it again.
      if (why.empty())
        apply();
      else
        publish();
      update_status();
    });
  });
}

/// Keeps current the files that a start without etcd reads.
void program::save() {
  loop_.after(save_pause, [this] { save(); });
  if (!frozen_)
    worker_->submit([this] {
      if (auto wrong = keeper_.save())
        spdlog::error("{}", *wrong);
    });
}

/// In workers from before a reload, ends the sessions whose server is not used any more.
void program::look_at_old_workers() {
  if (frozen_ || std::exchange(looking_, true))
    return;
  // The keeper knows all instances once it has got what etcd listed.
  worker_->submit([this, all_known = serves_ > 0] {
    auto seen = keeper_.running() ? keeper_.look_at_old_workers(all_known) : std::nullopt;
    loop_.post([this, seen] {
      looking_ = false;
      if (seen && seen->ended > 0)
        spdlog::info("{} sessions from before a reload are ended, for their servers are not used "
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

/// Takes up the certificate of the brokers' port when its files have changed.
void program::look_at_certificate() {
  if (!settings_.broker || !settings_.broker->has_tls())
    return;
  loop_.after(certificate_pause, [this] { look_at_certificate(); });
  if (pem_.take_up_certificate())
    apply();
}

// -- reports ------------------------------------------------------------------------------------

/// Reports in etcd what is served: nothing without HAProxy, or while HAProxy does not answer.
void program::publish() {
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

/// Reports from time to time also the changes that nobody waits for.
void program::tell_news() {
  loop_.after(news_pause, [this] { tell_news(); });
  if (revision_ > serves_)
    apply();
}

std::int64_t program::count_served(bool to_leader) const {
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
  for (const auto& [port, why] : refused_) // no port is in both maps
    leave_out(port);
  return count;
}

void program::update_status() {
  router_status now{id_, has_haproxy_, silent_, error_, etcd_reachable_, routes_as_of_};
  now.routes = routes_served();
  now.read_only_routes = count_served(false);
  now.unserved = unserved_;
  for (const auto& [port, why] : unbound_)
    now.unbound.push_back(port);
  now.serves = serves_;
  now.routers = table_.routers();
  now.reloads = reloads_;
  now.old_workers = old_workers_;
  std::lock_guard guard{mutex_};
  page_ = page_of(now);
}

} // namespace matriarch::router
