#include "router/router.hpp"

#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "http/event_loop.hpp"
#include "http/server.hpp"
#include "model/json.hpp"
#include "model/times.hpp"
#include "router/background.hpp"
#include "router/certificate.hpp"
#include "router/haproxy.hpp"
#include "router/haproxy_config.hpp"
#include "router/router_config.hpp"
#include "router/routing_table.hpp"
#include "store/etcd.hpp"
#include "store/etcd_access.hpp"
#include "store/keys.hpp"

namespace matriarch::router {

namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

constexpr int cannot_serve = 1;
constexpr int wrong_configuration = 2;

/// From the first change to the reload: a new instance's keys come within some milliseconds.
constexpr std::chrono::milliseconds settle{50};
/// The same for each worker that earlier reloads have left behind, and the longest: when connections
/// are long and changes many, more of these share a reload, and connections live through more of
/// them. A new instance is not kept waiting for more than a second.
constexpr std::chrono::milliseconds settle_per_old_worker{50};
constexpr std::chrono::milliseconds longest_settle{1'000};
/// Between attempts at what was left out; a port that is freed is served soon after.
constexpr std::chrono::milliseconds left_out_pause{5'000};
/// After a failure, doubled with each further one.
constexpr std::chrono::milliseconds first_pause{100};
constexpr std::chrono::milliseconds longest_pause{5'000};
/// HAProxy that has run so long is not in a loop of failures.
constexpr std::chrono::seconds settled_after{30};
/// Between two looks at whether HAProxy runs.
constexpr std::chrono::milliseconds watch_pause{250};
/// Between two looks at whether a worker of before a reload has sessions with a server that is down.
/// A look costs some milliseconds, and nothing while there is no such worker.
constexpr std::chrono::milliseconds old_workers_pause{1'000};
/// Between two looks at whether the certificate was renewed, which is days before the old one ends.
constexpr std::chrono::seconds certificate_pause{10};
/// How long a router that starts waits for etcd before it serves what it served last.
constexpr std::chrono::milliseconds etcd_patience{3'000};

int refuse(int code, const std::string& why) {
  fmt::print(stderr, "matriarch router: {}\n", why);
  return code;
}

/// The router's state and what moves it. All members run on the event loop's thread, except where
/// noted. What blocks is done by two threads: one brings HAProxy to its configuration, one ends
/// sessions, which cannot wait for a reload.
class program {
public:
  program(const router_config& settings, http::event_loop& loop, store::etcd_client& etcd)
      : settings_(settings), loop_(loop), etcd_(etcd),
        haproxy_(settings.haproxy, settings.data_dir), applier_(std::make_unique<background>()),
        ender_(std::make_unique<background>()) {}

  void start() {
    update_status();
    look_at_certificate();
    applier_->submit([this] {
      auto adopted = haproxy_.adopt();
      auto last = haproxy_.last_configuration();
      loop_.post([this, adopted, last] { begin(adopted, last); });
    });
  }

  /// Nothing is changed from here on, but sessions are still ended.
  void freeze() { frozen_ = true; }

  /// Stops HAProxy; from any thread, after freeze().
  void stop_haproxy() {
    std::promise<void> stopped;
    applier_->submit([&] {
      haproxy_.stop(settings_.stop_grace);
      stopped.set_value();
    });
    stopped.get_future().wait();
  }

  void stop_following() {
    frozen_ = true;
    follower_.reset();
  }

  /// From any thread but the loop's; afterwards nothing posts to the loop any more.
  void end_threads() {
    ender_.reset();
    applier_.reset();
  }

  /// For the status server, from any thread: the HTTP status and the body.
  std::pair<int, std::string> status() {
    std::lock_guard guard{mutex_};
    return {status_code_, status_};
  }

private:
  void begin(bool adopted, const std::optional<haproxy_config>& last) {
    has_haproxy_ = adopted;
    if (last) {
      served_ = *last;
      routes_as_of_ = haproxy_.last_configured();
    }
    if (!adopted)
      served_.listens.clear();
    else
      spdlog::info("HAProxy of an earlier router goes on serving {} ports", served_.listens.size());
    update_status();

    store::follower::listener tell;
    tell.listed = [this](std::vector<store::key_value> all, store::revision) {
      std::vector<std::pair<std::string, std::string>> keys;
      for (auto& one : all)
        keys.emplace_back(std::move(one.key), std::move(one.value));
      auto changed = table_.list(keys);
      auto is_first = !std::exchange(listed_, true);
      note_changes(changed || is_first);
    };
    tell.changed = [this](std::vector<store::change> changes, store::revision) {
      auto changed = false;
      for (const auto& one : changes)
        changed = (one.what == store::change::kind::put ? table_.put(one.entry.key, one.entry.value)
                                                        : table_.erase(one.entry.key))
                  || changed;
      note_changes(changed);
    };
    tell.reachable = [this](bool is, std::string why) {
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
    };
    // Everything from /routing/ to the end of /service/.
    follower_ = std::make_unique<store::follower>(
        etcd_, store::key_range{store::keys::routing, store::keys::last}, std::move(tell),
        store::follower::options{});
    loop_.after(etcd_patience, [this] { serve_last(); });
    watch();
    look_at_old_workers();
  }

  /// Without etcd what was served last is better than nothing: the checks still tell who leads.
  void serve_last() {
    if (listed_ || has_haproxy_ || busy_ || frozen_)
      return;
    applier_->submit([this] {
      auto last = haproxy_.last_configuration();
      loop_.post([this, last] {
        if (!last || listed_ || has_haproxy_ || busy_ || frozen_)
          return;
        spdlog::info("serving the {} ports of last time until etcd is there", last->listens.size());
        apply(*last);
      });
    });
  }

  // -- from keys to HAProxy -----------------------------------------------------------------------

  void note_changes(bool routes_changed) {
    if (routes_changed)
      routes_ = table_.current();
    auto changes = table_.take_leader_changes();
    if (routes_changed || !changes.empty()) {
      std::map<std::string, std::string> leaders;
      for (const auto& one : routes_.served)
        if (auto leader = table_.leader(one.scope); !leader.empty())
          for (const auto& proxy : {haproxy_name(one.instance), read_only_leader(one.instance)})
            leaders[proxy] = haproxy_name(leader);
      std::lock_guard guard{mutex_};
      leaders_ = std::move(leaders);
    }
    if (!changes.empty())
      note_leaders(changes);
    if (routes_changed)
      schedule();
  }

  void note_leaders(const std::vector<leader_change>& changes) {
    std::vector<misplaced_servers> misplaced;
    for (const auto& change : changes) {
      if (change.now.empty())
        continue;
      for (const auto& one : routes_.served) {
        if (one.scope != change.scope)
          continue;
        std::set<std::string> servers;
        for (const auto& member : one.members)
          servers.insert(haproxy_name(member.name));
        // It may have been a member only before a reload.
        if (!change.before.empty())
          servers.insert(haproxy_name(change.before));
        servers.erase(haproxy_name(change.now));
        misplaced.push_back({haproxy_name(one.instance), {servers.begin(), servers.end()}});
        if (one.read_only_port != 0) {
          misplaced.push_back({read_only_leader(one.instance), misplaced.back().servers});
          misplaced.push_back({read_only_listen(one.instance), {haproxy_name(change.now)}});
        }
        if (!change.before.empty())
          spdlog::info("instance {}: {} leads instead of {}", one.instance, change.now,
                       change.before);
      }
    }
    end_sessions(misplaced);
    // The worker that a reload is just starting may not have been told.
    if (busy_)
      told_during_apply_.insert(told_during_apply_.end(), misplaced.begin(), misplaced.end());
  }

  void end_sessions(const std::vector<misplaced_servers>& of) {
    if (has_haproxy_ && !of.empty())
      ender_->submit([this, of] { haproxy_.end_sessions(of); });
  }

  void schedule() {
    dirty_ = true;
    if (!busy_ && settling_ == 0 && !frozen_)
      settling_ = loop_.after(
          std::clamp(settle_per_old_worker * old_workers_, settle, longest_settle), [this] {
            settling_ = 0;
            apply_routes();
          });
  }

  void apply_routes() {
    if (!busy_ && !frozen_ && listed_)
      apply(haproxy_config_of(settings_, routes_.served, certificate_));
  }

  void apply(haproxy_config wanted) {
    loop_.cancel(std::exchange(retry_, 0));
    loop_.cancel(std::exchange(settling_, 0));
    dirty_ = false;
    busy_ = true;
    applier_->submit([this, wanted = std::move(wanted)] {
      auto outcome = haproxy_.apply(wanted, [this] {
        std::lock_guard guard{mutex_};
        return leaders_;
      });
      loop_.post([this, outcome = std::move(outcome)] { note_outcome(outcome); });
    });
  }

  void note_outcome(const apply_outcome& outcome) {
    busy_ = false;
    has_haproxy_ = haproxy_.running();
    if (outcome.error.empty())
      served_ = outcome.applied;
    else
      spdlog::error("{}", outcome.error);
    error_ = outcome.error;
    if (outcome.reloaded || outcome.started) {
      reloads_ += outcome.reloaded ? 1 : 0;
      spdlog::info("HAProxy {} and serves {} instances", outcome.started ? "started" : "reloaded",
                   routes_served());
    }
    if (outcome.started)
      started_at_ = clock::now();

    auto unserved = routes_.unserved;
    unserved.insert(unserved.end(), outcome.unserved.begin(), outcome.unserved.end());
    for (const auto& one : unserved)
      if (std::find(unserved_.begin(), unserved_.end(), one) == unserved_.end())
        spdlog::warn("instance {} is not served on port {}: {}", one.instance, one.port,
                     one.reason);
    unserved_ = std::move(unserved);

    end_sessions(std::exchange(told_during_apply_, {}));
    if (!outcome.error.empty())
      retry_after_failure();
    else if (!outcome.unserved.empty())
      retry(left_out_pause);
    if (dirty_)
      apply_routes();
    update_status();
  }

  void retry(std::chrono::milliseconds pause) {
    loop_.cancel(retry_);
    retry_ = loop_.after(pause, [this] {
      retry_ = 0;
      if (listed_)
        apply_routes();
      else
        serve_last();
    });
  }

  void retry_after_failure() {
    retry(std::min(longest_pause, first_pause * (1 << std::min(failures_, 10))));
    ++failures_;
  }

  /// Notices that HAProxy has ended.
  void watch() {
    loop_.after(watch_pause, [this] { watch(); });
    if (busy_ || frozen_)
      return;
    if (has_haproxy_ && !haproxy_.running()) {
      has_haproxy_ = false;
      spdlog::error("HAProxy has ended and is started again; its messages are in {}/haproxy.log",
                    settings_.data_dir);
      if (clock::now() - started_at_ > settled_after)
        failures_ = 0;
      retry_after_failure();
      update_status();
    } else if (has_haproxy_ && error_.empty() && clock::now() - started_at_ > settled_after) {
      failures_ = 0;
    }
  }

  /// Ends what a frozen server leaves open in workers of before a reload.
  void look_at_old_workers() {
    if (frozen_)
      return;
    ender_->submit([this] {
      auto seen = haproxy_.running() ? haproxy_.end_lost_sessions() : std::nullopt;
      loop_.post([this, seen] {
        if (seen && seen->ended > 0)
          spdlog::info(
              "{} sessions of before a reload are ended, for their servers are down or gone",
              seen->ended);
        auto count = seen ? seen->count : has_haproxy_ ? old_workers_ : 0;
        if (std::exchange(old_workers_, count) != count)
          update_status();
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
    if (pem && *pem == certificate_)
      return;
    auto wrong = pem ? keep_certificate(*pem) : std::optional{pem.error()};
    if (wrong != certificate_error_ && wrong)
      spdlog::error("the certificate of the brokers' port stays the old one: {}", *wrong);
    certificate_error_ = wrong;
    if (wrong)
      return;
    if (!certificate_.empty())
      spdlog::info("the brokers' port gets its new certificate");
    certificate_ = *pem;
    schedule();
  }

  /// Writes what HAProxy reads; why it could not, if so.
  [[nodiscard]] std::optional<std::string> keep_certificate(const std::string& pem) const {
    auto path = certificate_path(settings_);
    if (write_private_file(path, pem))
      return std::nullopt;
    return fmt::format("{} cannot be written: {}", path, std::strerror(errno));
  }

  // -- what it says of itself ---------------------------------------------------------------------

  [[nodiscard]] std::size_t routes_served() const {
    return static_cast<std::size_t>(
        std::count_if(served_.listens.begin(), served_.listens.end(), is_first_port));
  }

  [[nodiscard]] std::size_t read_only_routes_served() const {
    return static_cast<std::size_t>(
        std::count_if(served_.listens.begin(), served_.listens.end(), is_read_only_port));
  }

  void update_status() {
    json::document body;
    body.SetObject();
    auto is_well = has_haproxy_ && error_.empty() && etcd_reachable_;
    auto all_served = is_well && unserved_.empty();
    json::add(body, "status", all_served ? "ok" : has_haproxy_ ? "degraded" : "down", body);
    json::add(body, "routes",
              static_cast<std::int64_t>(has_haproxy_ ? routes_served() : std::size_t{0}), body);
    json::add(body, "read_only_routes",
              static_cast<std::int64_t>(has_haproxy_ ? read_only_routes_served() : std::size_t{0}),
              body);
    json::value left(rapidjson::kArrayType);
    for (const auto& one : unserved_) {
      json::value entry(rapidjson::kObjectType);
      json::add(entry, "port", one.port, body);
      json::add(entry, "instance", one.instance, body);
      json::add(entry, "reason", one.reason, body);
      left.PushBack(entry, body.GetAllocator());
    }
    json::add(body, "left_out", std::move(left), body);
    json::add(body, "reloads", reloads_, body);
    json::add(body, "old_workers", std::int64_t{old_workers_}, body);
    json::add(body, "etcd", etcd_reachable_ ? "reachable" : "unreachable", body);
    if (!etcd_reachable_ && has_haproxy_ && routes_as_of_)
      json::add(body, "routes_as_of", model::text_of(*routes_as_of_), body);
    json::add(body, "haproxy", has_haproxy_ ? "running" : "not running", body);
    if (!error_.empty())
      json::add(body, "error", error_, body);
    std::lock_guard guard{mutex_};
    status_code_ = has_haproxy_ ? 200 : 503;
    status_ = json::text_of(body);
  }

  const router_config& settings_;
  http::event_loop& loop_;
  store::etcd_client& etcd_;
  haproxy haproxy_;
  std::unique_ptr<store::follower> follower_;

  routing_table table_;
  routes routes_;
  haproxy_config served_; ///< what HAProxy runs
  std::vector<left_out> unserved_;
  std::vector<misplaced_servers> told_during_apply_;
  std::string error_;       ///< of the last attempt
  std::string certificate_; ///< of the brokers' port, with its key, as HAProxy shall have it
  std::optional<std::string> certificate_error_; ///< why the files' content was not taken up

  bool etcd_reachable_ = false;
  /// Until when etcd told of every change, as far as known: before it was lost, or of an earlier run.
  std::optional<model::wall_time> routes_as_of_;
  int old_workers_ = 0;      ///< as of the last look
  bool listed_ = false;      ///< etcd has told everything once
  bool has_haproxy_ = false; ///< as of the last look
  bool busy_ = false;        ///< an apply is under way
  bool dirty_ = false;       ///< something has changed since it began
  bool frozen_ = false;      ///< the program is ending
  int failures_ = 0;
  std::int64_t reloads_ = 0;
  clock::time_point started_at_{};
  http::event_loop::task_id settling_ = 0;
  http::event_loop::task_id retry_ = 0;

  std::mutex mutex_;                           ///< for what other threads read
  std::map<std::string, std::string> leaders_; ///< the leading server by listen
  int status_code_ = 503;
  std::string status_;

  std::unique_ptr<background> applier_;
  std::unique_ptr<background> ender_;
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

} // namespace

int run(const std::string& config_path) {
  auto config = load_router_config(config_path);
  if (!config)
    return refuse(wrong_configuration, config.error());
  // Blocked in every thread started from here on, so that sigwait() below is what gets them.
  sigset_t ending;
  sigemptyset(&ending);
  for (int number : {SIGTERM, SIGINT, SIGUSR1})
    sigaddset(&ending, number);
  ::pthread_sigmask(SIG_BLOCK, &ending, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  spdlog::set_default_logger(spdlog::stderr_logger_mt("router"));

  for (const auto& warning : config->warnings)
    spdlog::warn("{}", warning);

  auto lock = directory_lock::take(config->data_dir);
  if (!lock)
    return refuse(cannot_serve, lock.error());

  auto loop = std::make_unique<http::event_loop>();
  auto etcd = std::make_unique<store::etcd_client>(*loop, store::access_of(config->etcd));
  auto router = std::make_unique<program>(*config, *loop, *etcd);

  http::server_options options;
  options.bind_host = config->status_host;
  options.port = config->status_port;
  http::server server{options, [&](http::request asked, http::responder to) {
                        to.send(answer_to(asked, *router));
                      }};
  auto refused = server.start();
  if (!refused) {
    loop->run([&] { router->start(); });
    spdlog::info("router follows etcd; its status is at http://{}:{}/healthz", config->status_host,
                 server.port());
    int received = 0;
    ::sigwait(&ending, &received);
    loop->run([&] { router->freeze(); });
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

} // namespace matriarch::router
