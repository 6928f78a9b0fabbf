#include "cli/broker.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <caf/all.hpp>
#include <condition_variable>
#include <cstdio>
#include <future>
#include <mutex>
#include <stop_token>
#include <thread>

#include "actors/authority_keeper.hpp"
#include "actors/cell_directory.hpp"
#include "actors/database.hpp"
#include "actors/etcd_pulse.hpp"
#include "actors/etcd_watcher.hpp"
#include "actors/gateway.hpp"
#include "actors/http.hpp"
#include "actors/instance_directory.hpp"
#include "actors/leadership.hpp"
#include "actors/port_registry.hpp"
#include "actors/router_directory.hpp"
#include "actors/store.hpp"
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

// The actors wait for etcd and cells, never for a processor: two threads serve thousands of
// instances.
constexpr std::size_t actor_threads = 2;
constexpr auto farewell = 1s; // to give up the lease; it ends by itself soon after
// Everything that is under way can be taken up again by the next start, so a stop need not wait for
// what hangs: a database that does not answer, a handler. Service managers are promised 5 s.
constexpr auto longest_stop = 4500ms;

struct actor_config : caf::actor_system_config {
  actor_config() {
    set("scheduler.max-threads", actor_threads);
    // Stealing threads look around for work a hundred times a second; sharing ones sleep until
    // there is.
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

http::credential_set credentials_of(const std::vector<config::login>& from) {
  http::credential_set all;
  for (const auto& one : from)
    if (one.token.empty())
      all.users.push_back({one.username, one.password});
    else
      all.tokens.push_back(one.token);
  return all;
}

/// Where the lines of the audit trail go: to a file of their own, each written at once, or to the
/// log. Throws spdlog::spdlog_ex if the file cannot be opened.
http::audit_sink audit_sink_of(const std::string& file) {
  if (file.empty())
    return [](const std::string& line) { spdlog::info("audit {}", line); };
  // Who did what is for the operator, not for everybody on this machine.
  int made = ::open(file.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0640);
  if (made < 0) // spdlog would make missing directories: a mistyped path is a mistake
    throw spdlog::spdlog_ex{file, errno};
  ::close(made);
  auto trail = spdlog::basic_logger_mt("audit", file);
  trail->set_pattern("%v");
  trail->flush_on(spdlog::level::info);
  return [trail](const std::string& line) { trail->info("{}", line); };
}

/// What could not be read from the configuration's file itself.
struct derived_settings {
  std::shared_ptr<const store::keyring> keys;
  http::audit_sink audit;
};

result<derived_settings> derive(const config::broker_config& from) {
  auto keys = from.secrets.key_file.empty() ? result<store::keyring>{store::keyring{}}
                                            : store::keyring::parse(from.secrets.keys);
  if (!keys.ok())
    return failure{from.secrets.key_file + ": " + keys.error()};
  try {
    return derived_settings{std::make_shared<const store::keyring>(std::move(*keys)),
                            audit_sink_of(from.audit_file)};
  } catch (const spdlog::spdlog_ex& wrong) {
    return failure{std::string{"the audit trail's file cannot be opened: "} + wrong.what()};
  }
}

/// The broker's parts, in the order in which they depend on each other.
class broker {
public:
  broker(config::broker_config settings, derived_settings derived)
      : settings_(std::move(settings)), derived_(std::move(derived)),
        etcd_(loop_, store::access_of(settings_.etcd)), system_(config_),
        store_(actors::spawn_store(system_, etcd_)), http_(actors::spawn_http(system_, loop_)),
        database_(actors::spawn_database(system_)),
        ports_(actors::spawn_port_registry(system_,
                                           {settings_.routing.first, settings_.routing.last,
                                            model::duration{settings_.routing.rest_milliseconds}},
                                           outside_, published_)),
        routers_(actors::spawn_router_directory(
            system_, {outside_, settings_.routing.wait_for_routers, &published_})),
        self_{outside_.new_id(),
              fmt::format("{}:{}", settings_.broker.bind_host, settings_.broker.port),
              cli::host_name(), cli::machine_identity()},
        authority_(find_authority()),
        cells_(actors::spawn_cell_directory(
            system_, {cells_of(settings_), http_, store_, outside_, store::encode_active(self_),
                      settings_.repair, &published_, settings_.broker.advertise_host, authority_})),
        directory_(actors::spawn_instance_directory(
            system_, {store_, http_, database_, ports_, cells_, routers_, outside_, &published_,
                      store::encode_active(self_), derived_.keys, !settings_.etcd.username.empty(),
                      derived_.audit, model::default_parameters()})),
        gateway_(std::make_unique<actors::gateway>(system_, directory_, cells_, published_)),
        server_(server_options(),
                http::make_routes({settings_.catalog, credentials_of(settings_.broker.users),
                                   credentials_of(settings_.broker.admins), settings_.broker.strict,
                                   settings_.broker.advertise_host, hosts_of(settings_.etcd),
                                   derived_.audit, settings_.broker.trusted_proxies,
                                   cli::host_name()},
                                  backend())) {}

  /// Binds before anything is done: the listening socket proves that no earlier broker of this
  /// address is left on this machine.
  std::optional<std::string> start() {
    if (auto failed = server_.start())
      return failed;
    leadership_ = actors::spawn_leadership(
        system_, {store_, directory_, self_, outside_.new_id(), &published_});
    pulse_ = actors::spawn_etcd_pulse(
        system_, {store_, store::encode_active(self_), outside_, &published_.status});
    watcher_ = actors::start_etcd_watcher(
        etcd_, {directory_, ports_, cells_, routers_, leadership_, gateway_.get(), authority_});
    return std::nullopt;
  }

  void stop() {
    gateway_->stop_waiting();
    server_.stop();
    caf::scoped_actor here{system_};
    here->request(leadership_, farewell, actors::stop_atom::value)
        .receive([](bool) {}, [](const caf::error&) {});
    // The watch ends on the thread that calls it, so that no call is under way.
    std::promise<void> ended;
    loop_.post([&] {
      watcher_.reset();
      ended.set_value();
    });
    ended.get_future().wait();
    gateway_.reset();
    auto shutdown = caf::exit_reason::user_shutdown;
    caf::anon_send_exit(pulse_, shutdown);
    caf::anon_send_exit(leadership_, shutdown);
    caf::anon_send_exit(directory_, shutdown);
    caf::anon_send_exit(cells_, shutdown);
    caf::anon_send_exit(authority_, shutdown);
    caf::anon_send_exit(routers_, shutdown);
    caf::anon_send_exit(ports_, shutdown);
    caf::anon_send_exit(database_, shutdown);
    caf::anon_send_exit(http_, shutdown);
    caf::anon_send_exit(store_, shutdown);
  }

private:
  [[nodiscard]] http::server_options server_options() const {
    http::server_options options;
    options.bind_host = settings_.broker.bind_host;
    options.port = settings_.broker.port;
    options.threads = settings_.broker.threads;
    options.warn = [](const std::string& line) { spdlog::warn("{}", line); };
    return options;
  }

  /// The operator's authority is known from the start; the fleet's own is in etcd.
  actors::authority_keeper_actor find_authority() {
    return actors::spawn_authority_keeper(system_,
                                          {store_, outside_, store::encode_active(self_),
                                           derived_.keys, &published_, settings_.authority});
  }

  http::backend backend() {
    http::backend behind;
    behind.find = [this](const std::string& name) { return published_.instances.find(name); };
    behind.all = [this] { return published_.instances.all(); };
    behind.cells = [this] { return published_.status.cells.load(); };
    behind.routers = [this] { return published_.status.routers.load(); };
    behind.health = [this] {
      const auto& now = published_.status;
      http::broker_health how{now.etcd_reachable, now.active, now.loaded, now.etcd_refuses_writes};
      how.repair_halted = *now.repair_halted.load();
      // Enough to begin with; service-status has all of them.
      constexpr std::size_t most_told = 20;
      auto unwell = published_.instances.unwell(most_told);
      how.unwell_instances = unwell.count;
      how.some_unwell = std::move(unwell.some);
      if (auto heard = now.etcd_heard.load(); heard != actors::status_board::steady_time{})
        how.etcd_age = std::chrono::duration_cast<std::chrono::seconds>(
            std::chrono::steady_clock::now() - heard);
      return how;
    };
    behind.authority = [this] {
      auto known = published_.status.authority.load();
      return known ? known->shown(outside_.now()) : std::string{};
    };
    behind.ask = [this](model::request what, std::chrono::milliseconds patience,
                        std::function<void(model::verdict)> answer) {
      gateway_->ask(std::move(what), patience, std::move(answer));
    };
    behind.demote = [this](model::demote_request what,
                           std::function<void(model::demote_report)> answer) {
      gateway_->ask(std::move(what), std::move(answer));
    };
    behind.orphans = [this] { return published_.status.orphans.load(); };
    behind.forget = [this](model::forget_request what,
                           std::function<void(model::forget_report)> answer) {
      gateway_->ask(std::move(what), std::move(answer));
    };
    behind.remove_orphan = [this](model::orphan_removal what,
                                  std::function<void(model::verdict)> answer) {
      gateway_->ask(std::move(what), std::move(answer));
    };
    return behind;
  }

  config::broker_config settings_;
  derived_settings derived_;
  actors::environment outside_ = actors::real_environment();
  actors::published published_;
  http::event_loop loop_;
  store::etcd_client etcd_;
  actor_config config_;
  caf::actor_system system_;
  actors::store_actor store_;
  actors::http_actor http_;
  actors::database_actor database_;
  actors::port_registry_actor ports_;
  actors::router_directory_actor routers_;
  store::active_broker self_;
  actors::authority_keeper_actor authority_;
  actors::cell_directory_actor cells_;
  actors::instance_directory_actor directory_;
  std::unique_ptr<actors::gateway> gateway_;
  http::server server_;
  actors::leadership_actor leadership_;
  actors::etcd_pulse_actor pulse_;
  std::unique_ptr<store::follower> watcher_;
};

/// Ends the process if that takes longer than `longest_stop`; until the thread is told to stop.
void end_in_time(const std::stop_token& ended) {
  std::mutex mutex;
  std::condition_variable_any changed;
  std::unique_lock lock{mutex};
  if (changed.wait_for(lock, ended, longest_stop, [&] { return ended.stop_requested(); }))
    return;
  spdlog::warn("the broker ends although not everything has; it goes on at the next start");
  ::_exit(0);
}

/// SIGTERM and SIGINT wait for wait_for_end(); every thread started later inherits that.
sigset_t hold_back_signals() {
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  sigaddset(&ending, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ending, nullptr);
  return ending;
}

} // namespace

int run(const std::string& config_path) {
  auto ending = hold_back_signals();
  auto settings = config::load_broker_config(config_path);
  if (!settings.ok()) {
    fmt::print(stderr, "matriarch broker: {}\n", settings.error());
    return 2;
  }
  for (const auto& warning : settings->warnings)
    spdlog::warn("{}", warning);
  auto derived = derive(*settings);
  if (!derived.ok()) {
    fmt::print(stderr, "matriarch broker: {}\n", derived.error());
    return 2;
  }
  const auto host = settings->broker.bind_host;
  const auto port = settings->broker.port;
  std::jthread limit; // outlives the broker, whose parts' ends are limited too
  broker running{std::move(*settings), std::move(*derived)};
  if (auto failed = running.start()) {
    fmt::print(stderr, "matriarch broker: cannot start: {}\n", *failed);
    return 1;
  }
  spdlog::info("the broker serves at http://{}:{}", host, port);
  int signal = 0;
  sigwait(&ending, &signal);
  spdlog::info("the broker stops");
  limit = std::jthread{end_in_time};
  running.stop();
  return 0;
}

} // namespace matriarch::broker
