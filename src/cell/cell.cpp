#include "cell/cell.hpp"

#include <sys/stat.h>

#include <memory>
#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include "base/ending.hpp"
#include "base/event_loop.hpp"
#include "base/files.hpp"
#include "base/logging.hpp"
#include "cell/agent.hpp"
#include "cell/api.hpp"
#include "cell/cell_config.hpp"
#include "cell/cell_identity.hpp"
#include "cell/check.hpp"
#include "http/server.hpp"
#include "store/etcd.hpp"
#include "store/etcd_access.hpp"
#include "store/keys.hpp"
#include "store/ownership.hpp"

namespace matriarch::cell {

namespace {

constexpr int cannot_serve = 1;
constexpr int wrong_configuration = 2;

int refuse(int code, const std::string& why) {
  return base::refuse("cell", why, code);
}

/// The programs needed for nodes that are missing; empty if all are there.
std::string missing_programs(const node_engine& engine) {
  base::findings found;
  engine.look_at_programs(false, found);
  return found.faults();
}

/// Whether an earlier run has left nodes here, which have to be fenced and stopped even if
/// something is missing.
bool has_nodes(const cell_config& config) {
  return !base::names_in(config.data_dir + "/nodes").empty();
}

/// The configuration's own settings with which nodes would not start; nothing if there are none, or
/// if that cannot be found out.
std::optional<std::string> wrong_settings(node_engine& engine) {
  auto judged = engine.judge_own_settings();
  for (const auto& why : judged.unknown)
    spdlog::warn("whether nodes start with this cell's own settings is not known: {}", why);
  if (judged.faults.empty())
    return std::nullopt;
  return fmt::format("{}", fmt::join(judged.faults, "; "));
}

} // namespace

int run(const std::string& config_path, const engine_kind& kind, const driver_kind& drivers) {
  auto loaded = load_cell_config(config_path, kind.sections());
  if (!loaded)
    return refuse(wrong_configuration, loaded.error());
  for (const auto& warning : loaded->warnings)
    spdlog::warn("{}", warning);
  const auto* config = &loaded->config;
  auto user = find_user(config->run_as);
  if (!user)
    return refuse(wrong_configuration,
                  fmt::format("{}: cell.run_as: {}", config_path, user.error()));
  // Nodes' users have to pass through the directories made here; code that writes secrets sets its
  // own mode.
  ::umask(022);
  base::ending ended;
  base::event_loop loop;
  auto driver = drivers.make(*config, *user);
  auto engine = kind.make(*config, *driver, loop);
  if (auto missing = missing_programs(*engine); !missing.empty()) {
    if (!has_nodes(*config))
      return refuse(wrong_configuration, fmt::format("{}: {}", config_path, missing));
    spdlog::error("the nodes here are looked after, but none can be started: {}", missing);
  }
  if (!has_nodes(*config))
    if (auto wrong = wrong_settings(*engine))
      return refuse(wrong_configuration, fmt::format("{}: {}", config_path, *wrong));

  store::etcd_client etcd{loop, store::access_of(config->etcd)};
  auto opened = agent::open(*config, *driver, *engine, loop, etcd);
  if (!opened)
    return refuse(wrong_configuration, fmt::format("{}: {}", config_path, opened.error()));
  auto cell = *std::move(opened);
  // After the lock on the data directory was taken.
  auto identity = cell_identity::open(*config);
  if (!identity) {
    loop.run([&] {
      cell.reset();
      engine.reset();
    });
    return refuse(cannot_serve, identity.error());
  }

  http::server_options options;
  options.bind_host = config->bind_host;
  options.port = config->port;
  options.tls = (*identity)->shown();
  auto asked = std::make_unique<api>(*cell, loop);
  http::server server{options, asked->service()};
  auto end = [&] {
    loop.run([&] {
      asked.reset();
      cell.reset();
      engine.reset();
      identity->reset();
    });
  };
  auto refused = who_else_has(etcd, cell->self(), ended);
  if (!refused)
    refused = server.start();
  if (refused) {
    end();
    return refuse(cannot_serve, *refused);
  }
  // A fleet mismatch does not stop the agent: the nodes here are still looked after.
  etcd.range({store::keys::shown_fleet, {}}, [of = *config](const store::range_result& came) {
    auto fleet = came.ok && !came.found.empty() ? came.found.front().value : std::string{};
    if (auto wrong = why_not_of_fleet(of, fleet))
      spdlog::error("{}", *wrong);
  });
  store::taken_later taken{SIGTERM};
  loop.run([&] {
    cell->start((*identity)->request(), [&](const std::string& who) { taken.note(who); });
    (*identity)->start(etcd);
  });
  spdlog::info("cell {} serves on https://{}:{}, fencing {}", config->guid, config->bind_host,
               server.port(), name_of(driver->can().how));

  spdlog::info("ending on signal {}; the nodes go on running", ended.wait().signal);
  server.stop();
  end();
  refused = taken.who();
  return refused ? refuse(cannot_serve, *refused) : 0;
}

int check(const std::string& config_path, const engine_kind& kind, const driver_kind& drivers,
          std::ostream& out) {
  auto loaded = load_cell_config(config_path, kind.sections());
  if (!loaded)
    return refuse(wrong_configuration, loaded.error());
  auto found = check(*loaded, kind, drivers);
  found.print(out);
  return found.exit_code();
}

} // namespace matriarch::cell
