#include "cli/broker.hpp"

#include <fmt/format.h>
#include <malloc.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <caf/all.hpp>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <stop_token>
#include <thread>

#include "actors/singletons.hpp"
#include "base/ending.hpp"
#include "base/json.hpp"
#include "base/line_sink.hpp"
#include "base/logging.hpp"
#include "base/times.hpp"
#include "cli/broker_check.hpp"
#include "cli/engines.hpp"
#include "cli/event_log.hpp"
#include "cli/front_desk.hpp"
#include "cli/machine.hpp"
#include "config/broker_config.hpp"
#include "http/routes.hpp"
#include "http/server.hpp"
#include "http/tenant_text.hpp"
#include "store/etcd_access.hpp"
#include "store/keyring.hpp"

namespace matriarch::broker {

namespace {

using namespace std::chrono_literals;

// The actors wait for etcd and cells, not for a processor: two threads serve thousands of
// instances.
constexpr std::size_t actor_threads = 2;
constexpr auto farewell = 1s; // to give up the lease, which would end by itself soon after
// The next start can resume all pending work, so a stop need not wait for what hangs: a database
// that does not answer, or a handler. Service managers are promised 5 s.
constexpr auto longest_stop = 4500ms;

constexpr int cannot_serve = 1;
constexpr int wrong_configuration = 2;

struct actor_config : caf::actor_system_config {
  actor_config() {
    set("scheduler.max-threads", actor_threads);
    // Work-stealing threads look for work a hundred times a second; work-sharing threads sleep
    // until there is some.
    set("scheduler.policy", caf::atom("sharing"));
  }
};

std::vector<std::string> hosts_of(const config::etcd_settings& etcd) {
  std::vector<std::string> hosts;
  for (const auto& machine : etcd.machines)
    hosts.emplace_back(http::host_in(machine));
  return hosts;
}

std::vector<actors::cell_settings> cells_of(const config::broker_config& from) {
  std::vector<actors::cell_settings> cells;
  for (const auto& cell : from.cells)
    cells.push_back({cell.guid, cell.availability_zone, cell.uri, cell.username, cell.password,
                     cell.authority});
  return cells;
}

actors::plans_to_judge plans_of(const model::catalog& catalog) {
  // The plans of the first engine: cells judge no others yet.
  actors::judged_plans judged{&cli::known_engines().usual(), {}};
  for (const auto& service : catalog.services)
    for (const auto& plan : service.plans)
      if (plan.provision.engine == judged.engine->name())
        judged.plans.push_back({plan.id, plan.provision.settings});
  return std::make_shared<const actors::judged_plans>(std::move(judged));
}

http::credential_set credentials_of(const std::vector<config::login>& from) {
  http::credential_set all;
  for (const auto& one : from)
    if (one.token.empty())
      all.users.push_back({one.username, one.password});
    else
      all.tokens.push_back(one.token);
  return all;
}

/// The line that replaces audit lines that were lost.
std::string line_about(std::uint64_t left_out) {
  auto now = std::chrono::floor<model::duration>(std::chrono::system_clock::now());
  json::document line;
  line.SetObject();
  json::add(line, "time", base::text_of(now), line);
  json::add(line, "action", "left out", line);
  json::add(line, "left_out", static_cast<std::int64_t>(left_out), line);
  return json::text_of(line);
}

/// The sink of the audit trail: a file of its own, which never delays a request, or the log.
result<http::audit_sink> audit_sink_of(const std::string& file) {
  if (file.empty())
    return http::audit_sink{[](const std::string& line) { spdlog::info("audit {}", line); }};
  // The trail is for the operator, not for everybody on this machine.
  constexpr unsigned for_its_group = 0640;
  auto opened = base::line_sink::open(
      file, for_its_group, {line_about, [file](const auto& why) {
                              spdlog::error("the audit trail {} leaves lines out: {}", file, why);
                            }});
  if (!opened.ok())
    return failure{opened.error()};
  auto trail = std::shared_ptr<base::line_sink>{std::move(*opened)};
  return http::audit_sink{[trail](std::string line) { trail->post(std::move(line)); }};
}

/// The receivers of events about instances: each has a bounded queue and a thread that empties it.
model::event_sink sinks_into(http::audit_sink trail) {
  return [trail = std::move(trail)](const model::event& one) {
    cli::log_event(one);
    if (auto line = http::audit_line(one))
      trail(std::move(*line));
  };
}

/// Settings that are derived from the configuration's file.
struct derived_settings {
  std::shared_ptr<const store::keyring> keys;
  http::audit_sink audit;
};

result<store::keyring> keys_of(const config::broker_config& from) {
  auto keys = from.secrets.key_file.empty() ? result<store::keyring>{store::keyring{}}
                                            : store::keyring::parse(from.secrets.keys);
  if (!keys.ok())
    return failure{"secrets.key_file: " + from.secrets.key_file + ": " + keys.error()};
  return keys;
}

/// Why this user could not write the audit trail there, if so.
std::optional<std::string> why_no_audit(const std::string& file) {
  if (file.empty() || ::access(file.c_str(), W_OK) == 0)
    return std::nullopt;
  auto why = errno;
  auto directory = std::filesystem::path{file}.parent_path();
  if (why == ENOENT && ::access(directory.empty() ? "." : directory.c_str(), W_OK | X_OK) == 0)
    return std::nullopt;
  return fmt::format("audit.file: cannot open {}: {}", file, std::strerror(why));
}

result<derived_settings> derive(const config::broker_config& from) {
  auto keys = keys_of(from);
  if (!keys.ok())
    return failure{keys.error()};
  auto audit = audit_sink_of(from.audit_file);
  if (!audit.ok())
    return failure{"audit.file: " + audit.error()};
  return derived_settings{std::make_shared<const store::keyring>(std::move(*keys)),
                          std::move(*audit)};
}

/// The broker's parts, in the order of their dependencies.
class broker {
public:
  /// `ended`: ends the process if one of the actors ends.
  broker(config::broker_config settings, derived_settings derived, base::ending& ended)
      : settings_(std::move(settings)), derived_(std::move(derived)),
        etcd_(loop_, store::access_of(settings_.etcd)),
        watched_etcd_(watching_loop_, store::access_of(settings_.etcd)), system_(config_),
        actors_([&] {
          return std::make_unique<actors::singletons>(
              system_, setup(), [&ended](std::string why) { ended.fail(std::move(why)); });
        }()),
        desk_(published_, outside_, actors_->edge()),
        server_(server_options(),
                http::make_routes({settings_.catalog, credentials_of(settings_.broker.users),
                                   credentials_of(settings_.broker.admins), settings_.broker.strict,
                                   settings_.broker.advertise_host, hosts_of(settings_.etcd),
                                   derived_.audit, settings_.broker.trusted_proxies,
                                   cli::host_name(), &cli::known_engines()},
                                  desk_)) {}

  /// Binds the socket first: a listening socket proves that no earlier broker with this address is
  /// left on this machine.
  std::optional<std::string> start() {
    if (auto failed = server_.start())
      return failed;
    actors_->begin();
    return std::nullopt;
  }

  void stop() {
    actors_->edge().stop_waiting();
    server_.stop();
    actors_->resign(farewell);
    actors_.reset();
  }

  [[nodiscard]] const actors::singletons& actors() const { return *actors_; }

private:
  [[nodiscard]] http::server_options server_options() const {
    http::server_options options;
    options.bind_host = settings_.broker.bind_host;
    options.port = settings_.broker.port;
    options.threads = settings_.broker.threads;
    options.warn = [](const std::string& line) { spdlog::warn("{}", line); };
    return options;
  }

  [[nodiscard]] actors::singleton_setup setup() {
    actors::singleton_setup all;
    all.loop = &loop_;
    all.etcd = &etcd_;
    all.watching_loop = &watching_loop_;
    all.watched_etcd = &watched_etcd_;
    all.out = &published_;
    all.outside = outside_;
    all.self = {outside_.new_id(),
                fmt::format("{}:{}", settings_.broker.bind_host, settings_.broker.port),
                cli::host_name(), cli::machine_identity()};
    all.keys = derived_.keys;
    all.cells = cells_of(settings_);
    all.plans = plans_of(settings_.catalog);
    all.ports = {settings_.routing.first, settings_.routing.last,
                 model::duration{settings_.routing.rest_milliseconds}};
    all.wait_for_routers = settings_.routing.wait_for_routers;
    all.repair = settings_.repair;
    all.public_host = settings_.broker.advertise_host;
    all.operators_authority = settings_.authority;
    all.etcd_users = !settings_.etcd.username.empty();
    all.tell = sinks_into(derived_.audit);
    all.engines = cli::engines_of_actors();
    return all;
  }

  config::broker_config settings_;
  derived_settings derived_;
  actors::environment outside_ = actors::real_environment();
  actors::published published_;
  base::event_loop loop_;
  store::etcd_client etcd_;
  // A separate loop for the watch: reading a large fleet's keys from etcd takes seconds, and the
  // lease has to be renewed and requests have to be made in that time.
  base::event_loop watching_loop_;
  store::etcd_client watched_etcd_;
  actor_config config_;
  caf::actor_system system_;
  std::unique_ptr<actors::singletons> actors_;
  cli::front_desk desk_;
  http::server server_;
};

/// Ends the process with that exit code if the shutdown takes longer than `longest_stop`, unless
/// the thread is stopped before.
void end_in_time(const std::stop_token& ended, int code) {
  std::mutex mutex;
  std::condition_variable_any changed;
  std::unique_lock lock{mutex};
  if (changed.wait_for(lock, ended, longest_stop, [&] { return ended.stop_requested(); }))
    return;
  spdlog::warn("the broker ends with unfinished work, which the next start takes up");
  base::flush_log();
  ::_exit(code);
}

/// glibc gives nearly each thread an arena of its own. An instance's actor runs on whichever thread
/// is free, so its memory lies scattered between freed memory in all arenas, and in a large fleet
/// these gaps are a tenth of the memory. Two arenas are enough: threads hardly ever wait for each
/// other.
void keep_memory_together() {
  constexpr int arenas = 2;
  mallopt(M_ARENA_MAX, arenas);
}

} // namespace

int run(const std::string& config_path,
        const std::function<void(const actors::singletons&)>& once_running) {
  keep_memory_together();
  base::ending ended;
  auto settings = config::load_broker_config(config_path, cli::known_engines());
  if (!settings.ok())
    return base::refuse("broker", settings.error(), wrong_configuration);
  for (const auto& warning : settings->warnings)
    spdlog::warn("{}", warning);
  auto derived = derive(*settings);
  if (!derived.ok())
    return base::refuse("broker", config_path + ": " + derived.error(), wrong_configuration);
  const auto host = settings->broker.bind_host;
  const auto port = settings->broker.port;
  std::jthread limit; // outlives the broker, so that it also limits the destructors
  broker running{std::move(*settings), std::move(*derived), ended};
  auto stop = [&](int code) {
    limit = std::jthread{end_in_time, code};
    running.stop();
    return code;
  };
  if (auto failed = running.start())
    return stop(base::refuse("broker", *failed, cannot_serve));
  spdlog::info("the broker serves at http://{}:{}", host, port);
  if (once_running)
    once_running(running.actors());
  auto cause = ended.wait();
  if (!cause.why.empty()) {
    spdlog::critical("the broker ends, so that it is started anew: {}", cause.why);
    return stop(cannot_serve);
  }
  spdlog::info("the broker stops");
  return stop(0);
}

int check(const std::string& config_path, std::ostream& out) {
  auto settings = config::load_broker_config(config_path, cli::known_engines());
  if (!settings.ok())
    return base::refuse("broker", settings.error(), wrong_configuration);
  auto found = check(*settings, cells_of(*settings), *plans_of(settings->catalog));
  // The keys are read as at a start; but the audit trail's file is not opened, for the user who
  // runs the broker should create it.
  if (auto keys = keys_of(*settings); !keys.ok())
    found.fault("files", keys.error());
  if (auto wrong = why_no_audit(settings->audit_file))
    found.fault("files", *wrong);
  found.print(out);
  return found.exit_code();
}

} // namespace matriarch::broker
