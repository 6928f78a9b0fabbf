#include "router/router.hpp"

#include <signal.h>

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/ending.hpp"
#include "base/event_loop.hpp"
#include "base/logging.hpp"
#include "http/server.hpp"
#include "router/check.hpp"
#include "router/data_dir.hpp"
#include "router/haproxy.hpp"
#include "router/host_addresses.hpp"
#include "router/program.hpp"
#include "router/report_publisher.hpp"
#include "router/router_config.hpp"
#include "store/etcd.hpp"
#include "store/etcd_access.hpp"
#include "store/ownership.hpp"

namespace matriarch::router {

namespace {

constexpr int cannot_serve = 1;
constexpr int wrong_configuration = 2;
/// How long a router that starts waits for one that is just ending, which takes its grace time.
constexpr std::chrono::milliseconds predecessor_patience{10'000};
/// How long a router that ends waits for etcd to remove its key: the lease would end the key
/// anyway.
constexpr std::chrono::milliseconds withdraw_patience{2'000};

int refuse(int code, const std::string& why) {
  return base::refuse("router", why, code);
}

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

} // namespace

int run(const std::string& config_path, const engine_checks& engines) {
  auto config = load_router_config(config_path);
  if (!config)
    return refuse(wrong_configuration, config.error());
  config->engines = &engines;
  base::ending ended{SIGTERM, SIGINT, SIGUSR1};
  for (const auto& warning : config->warnings)
    spdlog::warn("{}", warning);

  auto lock = hold_data_dir(config->data_dir, predecessor_patience);
  if (!lock)
    return refuse(cannot_serve, lock.error());
  auto identity = store::identity_in(config->data_dir);
  if (!identity)
    return refuse(cannot_serve, identity.error());

  base::findings programs;
  look_at_haproxy(*config, programs);
  if (auto missing = programs.faults(); !missing.empty()) {
    // A HAProxy that an earlier router left running has to be looked after.
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
  // With a shared id, a broker that waits for one router would take the other's report for it.
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
