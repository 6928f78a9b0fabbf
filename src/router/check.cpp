#include "router/check.hpp"

#include <charconv>
#include <filesystem>
#include <system_error>

#include <fmt/format.h>
#include <unistd.h>

#include "base/json.hpp"
#include "base/programs.hpp"
#include "http/port_check.hpp"
#include "router/fleet.hpp"
#include "router/haproxy.hpp"
#include "router/report_publisher.hpp"
#include "store/etcd_check.hpp"
#include "store/keys.hpp"
#include "store/ownership.hpp"
#include "store/router_json.hpp"

namespace matriarch::router {

namespace {

// HAProxy 2.6 brought the conditions in its configuration, and the commands that add servers and
// end their sessions, which the router uses.
constexpr int least_major = 2;
constexpr int least_minor = 6;

/// `2.6` of `HAProxy version 2.6.12-1+deb12u1 2023/12/16 …`.
std::optional<std::pair<int, int>> version_in(const std::string& line) {
  constexpr std::string_view before = "version ";
  auto at = line.find(before);
  if (at == std::string::npos)
    return std::nullopt;
  std::pair<int, int> found;
  const auto* end = line.data() + line.size();
  auto major = std::from_chars(line.data() + at + before.size(), end, found.first);
  if (major.ec != std::errc{} || major.ptr == end || *major.ptr != '.'
      || std::from_chars(major.ptr + 1, end, found.second).ec != std::errc{})
    return std::nullopt;
  return found;
}

void look_at_directory(const std::string& data_dir, base::findings& found) {
  namespace fs = std::filesystem;
  std::error_code unknown;
  fs::path there{data_dir};
  while (!fs::exists(there, unknown) && there.has_parent_path() && there != there.parent_path())
    there = there.parent_path();
  if (fs::is_directory(there, unknown) && ::access(there.c_str(), W_OK | X_OK) == 0)
    found.good("directory",
               there == data_dir ? data_dir + " is there" : data_dir + " will be made");
  else
    found.fault("directory", fmt::format("router.data_dir {}: this user may not write to {}",
                                         data_dir, there.string()));
}

void look_at_ports(const router_config& config, base::findings& found) {
  std::string closed;
  int count = 0;
  std::string why;
  for (int port = config.first_port; port <= config.last_port; ++port)
    if (auto wrong = why_not_bound(config.bind_host, static_cast<std::uint16_t>(port))) {
      constexpr int most_named = 5;
      if (count++ < most_named)
        closed += (closed.empty() ? "" : ", ") + std::to_string(port);
      why = *wrong;
    }
  auto range = fmt::format("{} to {} on {}", config.first_port, config.last_port, config.bind_host);
  if (count == 0)
    found.good("ports", range + " are free");
  else
    found.doubt("ports", fmt::format("{} of {} cannot be opened ({}{}): {}", count, range, closed,
                                     count > 5 ? ", …" : "", why));
}

void look_at_status_port(const router_config& config, base::findings& found) {
  auto id = id_of(config, config.status_port);
  // A router's page has routes; routers of earlier releases did not report their id.
  auto is_it = [&](const json::value& health) {
    return json::member(health, "routes") != nullptr && json::string_member(health, "id", id) == id;
  };
  http::look_at_port(config.status_host, config.status_port, is_it, found);
}

/// Whether another router has the id, so that this one would not start.
void look_at_id(const router_config& config, base::findings& found) {
  if (config.id.empty() && config.status_port == 0)
    return; // a start makes the id from a port that is free
  model::router_report self;
  self.id = id_of(config, config.status_port);
  auto there = store::look_up(config.etcd, store::keys::router(self.id));
  auto said = store::decode_router_report(there.value_or(""));
  auto identity = store::known_identity_in(config.data_dir);
  if (identity)
    self.owner = identity->value_or("");
  if (!there || !said)
    found.good("id", "router " + self.id);
  else if (!identity || said->owner.empty())
    found.doubt("id", fmt::format("a router on the machine {} has the id {} in etcd, and it is not "
                                  "known whether that is this one: {}",
                                  said->host, self.id,
                                  identity ? "its key does not identify it" : identity.error()));
  else if (auto taken = report_publisher::key_of(self).other_owner(*there))
    found.fault("id", *taken);
  else
    found.good("id", fmt::format("router {}: it runs on the machine {}", self.id, said->host));
}

} // namespace

void look_at_haproxy(const router_config& config, base::findings& found) {
  if (auto wrong = base::why_not_runnable(config.haproxy)) {
    found.fault("haproxy", fmt::format("HAProxy: {} {}; install it, or say where it is with "
                                       "router.haproxy",
                                       config.haproxy, *wrong));
    return;
  }
  auto said = base::version_of(config.haproxy, "-v");
  auto is = version_in(said.value_or(""));
  if (is && *is >= std::pair{least_major, least_minor})
    found.good("haproxy", config.haproxy + ": " + *said);
  else if (!said) // a busy machine takes its time
    found.doubt("haproxy", config.haproxy + " did not say its version in time");
  else
    found.fault("haproxy",
                fmt::format("HAProxy {}.{} or later is needed, and {} says: {}", least_major,
                            least_minor, config.haproxy, said->empty() ? "nothing" : *said));
}

base::findings check(const router_config& config) {
  base::findings found;
  for (const auto& warning : config.warnings)
    found.doubt("file", warning);
  look_at_haproxy(config, found);
  look_at_directory(config.data_dir, found);
  look_at_ports(config, found);
  if (config.status_port != 0)
    look_at_status_port(config, found);
  if (!store::look_at_etcd(config.etcd, store::keys::shown_fleet, found))
    return found;
  look_at_id(config, found);
  auto fleet = store::look_up(config.etcd, store::keys::shown_fleet).value_or("");
  if (auto wrong = why_not_of_fleet(config, fleet))
    found.fault("fleet", *wrong);
  return found;
}

} // namespace matriarch::router
