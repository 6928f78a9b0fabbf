#include "cell/check.hpp"

#include <filesystem>
#include <system_error>

#include <fmt/format.h>
#include <unistd.h>

#include "base/directory_lock.hpp"
#include "base/event_loop.hpp"
#include "base/files.hpp"
#include "base/json.hpp"
#include "cell/fence.hpp"
#include "cell/guid_holder.hpp"
#include "http/port_check.hpp"
#include "http/tenant_text.hpp"
#include "store/etcd_check.hpp"
#include "store/keys.hpp"
#include "store/ownership.hpp"
#include "tls/authorities.hpp"

namespace matriarch::cell {

namespace {

void look_at_directory(const cell_config& config, base::findings& found) {
  namespace fs = std::filesystem;
  std::error_code unknown;
  fs::path there{config.data_dir};
  // The agent makes the directory with all missing parents.
  while (!fs::exists(there, unknown) && there.has_parent_path() && there != there.parent_path())
    there = there.parent_path();
  if (!fs::is_directory(there, unknown))
    found.fault("directory", fmt::format("cell.data_dir {}: {} is no directory", config.data_dir,
                                         there.string()));
  else if (::access(there.c_str(), W_OK | X_OK) != 0)
    found.fault("directory", fmt::format("cell.data_dir {}: this user may not write to {}",
                                         config.data_dir, there.string()));
  else
    found.good("directory", there == config.data_dir
                                ? config.data_dir + " is there"
                                : fmt::format("{} will be made", config.data_dir));
}

/// The certificate that an agent with this configuration shows, if one has ever run.
std::optional<http::recognised_by> shown_by(const cell_config& config) {
  if (!config.tls.certificate.empty())
    return http::recognised_by{std::string{http::host_in(config.uri)}, config.tls.certificate};
  auto kept = base::read_file(config.data_dir + "/cell.pem");
  if (!kept || !*kept)
    return std::nullopt;
  return http::recognised_by{tls::cell_host(config.guid), **kept};
}

/// Whether nodes start with the configuration's own settings.
void look_at_settings(const cell_config& config, node_engine& engine, base::findings& found) {
  auto judged = engine.judge_own_settings();
  for (const auto& one : judged.faults)
    found.fault("settings", one);
  for (const auto& one : judged.unknown)
    found.doubt("settings", one);
  if (judged.faults.empty() && judged.unknown.empty())
    found.good("settings", fmt::format("{} starts with the parameters here, and with those of {} "
                                       "plans",
                                       engine.title(), config.plans.size()));
}

/// Whether another cell has the guid, so that this one would not start.
void look_at_guid(const cell_config& config, base::findings& found) {
  auto there = store::look_up(config.etcd, store::keys::cell(config.guid));
  if (!there)
    return;
  auto identity = store::known_identity_in(config.data_dir);
  auto unknown = identity ? std::string{"its key does not identify it"} : identity.error();
  auto self = claimant_of(config, identity ? identity->value_or("") : "");
  auto has = identity ? holder_of(*there, self) : holder::nobody;
  // A cell that runs in this very directory is not a copy, whatever address its earlier
  // configuration gave.
  auto runs_here = has == holder::twin && base::directory_lock::is_taken(config.data_dir);
  if (has == holder::itself || runs_here)
    found.good("guid", "it runs " + whereabouts(*there));
  else if (has != holder::nobody)
    found.fault("guid", taken_words(*there, self));
  else
    found.doubt("guid", fmt::format("the cell {} has it in etcd, and it is not known whether that "
                                    "is this one: {}",
                                    whereabouts(*there), unknown));
}

} // namespace

std::optional<std::string> why_not_of_fleet(const cell_config& config,
                                            const std::string& fleet_in_etcd) {
  auto text = base::read_file(config.data_dir + "/fence.json");
  auto memory = text && *text ? fence::parse(**text) : result<fence>{failure{""}};
  if (!memory || memory->fleet().empty() || fleet_in_etcd.empty()
      || memory->fleet() == fleet_in_etcd)
    return std::nullopt;
  return fmt::format("etcd.machines leads to the fleet {}, and {} belongs to the fleet {}, whose "
                     "brokers alone can act here",
                     fleet_in_etcd, config.data_dir, memory->fleet());
}

base::findings check(const loaded_cell_config& loaded, const engine_kind& kind,
                     const driver_kind& drivers) {
  const auto& config = loaded.config;
  base::findings found;
  found.good("guid",
             fmt::format("cell {} in availability zone {}", config.guid, config.availability_zone));
  for (const auto& warning : loaded.warnings)
    found.doubt("file", warning);
  auto user = find_user(config.run_as);
  base::event_loop loop;
  auto driver = drivers.make_for_questions(config, user ? *user : system_user{});
  auto how = driver->can().how;
  auto engine = kind.make(config, *driver, loop);
  engine->look_at_programs(true, found);
  auto has_programs = found.faults().empty();
  if (user)
    found.good("user", "nodes run as " + user->name);
  else
    found.fault("user", "cell.run_as: " + user.error());
  if (how == fencing::none)
    found.doubt("fencing", "nodes run without namespaces: neither root nor user namespaces are "
                           "available");
  else
    found.good("fencing", std::string{name_of(how)});
  if (has_programs && user)
    look_at_settings(config, *engine, found);
  look_at_directory(config, found);
  auto is_it = [&](const json::value& health) {
    return json::string_member(health, "guid") == config.guid;
  };
  http::look_at_port(config.bind_host, config.port, is_it, found, shown_by(config));
  if (!store::look_at_etcd(config.etcd, store::keys::shown_fleet, found))
    return found;
  look_at_guid(config, found);
  auto fleet = store::look_up(config.etcd, store::keys::shown_fleet).value_or("");
  if (auto wrong = why_not_of_fleet(config, fleet))
    found.fault("fleet", *wrong);
  return found;
}

} // namespace matriarch::cell
