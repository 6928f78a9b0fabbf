#include "config/broker_config.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>

#include "config/catalog_section.hpp"
#include "config/uri.hpp"
#include "config/yaml_reader.hpp"

namespace matriarch::config {

namespace {

constexpr std::int64_t greatest_port = 65535;

// -- who may log in -------------------------------------------------------------------------------

login user_of(const section& from) {
  login user;
  user.username = from.text("username");
  if (user.username.find(':') != std::string::npos)
    from.refuse("username", "a username must not contain a colon: basic authentication ends the "
                            "user's name there");
  user.password = from.secret("password");
  return user;
}

/// An entry of `users:`, of either kind.
login login_of(const section& from) {
  from.allow({"username", "password", "password_file", "token", "token_file"});
  if (!from.has("token") && !from.has("token_file"))
    return user_of(from);
  for (const auto* name : {"username", "password", "password_file"})
    if (from.has(name))
      from.refuse(name, "one of users has either a username and a password, or a token");
  const auto* name = from.has("token") ? "token" : "token_file";
  login bearer;
  bearer.token = from.secret("token");
  // RFC 6750, section 2.1: other characters cannot be sent.
  const auto text = bearer.token.substr(0, bearer.token.find_last_not_of('=') + 1);
  if (text.empty() || !consists_of(text, "-._~+/"))
    from.refuse(name, "a token must consist of letters, digits and \"-._~+/\", with \"=\" at its "
                      "end only");
  return bearer;
}

/// The username and password of this mapping, and then its `users:`.
std::vector<login> logins_of(const section& from) {
  std::vector<login> logins{user_of(from)};
  for (const auto& entry : from.children("users"))
    logins.push_back(login_of(entry));
  return logins;
}

std::vector<login> admins_of(const section& from, const std::vector<login>& users) {
  from.allow({"username", "password", "password_file", "users"});
  auto admins = logins_of(from);
  for (const auto& admin : admins)
    if (std::ranges::find(users, admin) != users.end())
      from.refuse("broker.admin and broker have a user or a token in common: the platform could "
                  "call /admin with it. Give each its own");
  return admins;
}

// -- the sections ---------------------------------------------------------------------------------

std::vector<model::ip_range> proxies_of(const section& from) {
  std::vector<model::ip_range> proxies;
  for (const auto& text : from.texts("trusted_proxies")) {
    auto range = model::ip_range::parse(text);
    if (!range)
      from.refuse("trusted_proxies",
                  "broker.trusted_proxies must list addresses or networks such as "
                  "10.0.0.5 or 10.0.0.0/8, found \""
                      + text + "\"");
    proxies.push_back(*range);
  }
  return proxies;
}

broker_settings broker_of(const section& from) {
  from.allow({"bind_host", "port", "username", "password", "password_file", "users", "admin",
              "strict", "advertise_host", "threads", "trusted_proxies"});
  broker_settings broker;
  broker.bind_host = from.text("bind_host", broker.bind_host);
  broker.port = static_cast<std::uint16_t>(from.number("port", 1, greatest_port, broker.port));
  broker.users = logins_of(from);
  if (from.has("admin"))
    broker.admins = admins_of(from.child("admin"), broker.users);
  else
    from.warn("admin", "broker.admin is missing, so the platform's credentials can call /admin as "
                       "well; give the operators credentials of their own");
  broker.strict = from.flag("strict", broker.strict);
  broker.advertise_host = from.text("advertise_host", broker.bind_host);
  if (broker.advertise_host == "0.0.0.0" || broker.advertise_host == "::"
      || broker.advertise_host == "[::]")
    from.refuse("advertise_host",
                "broker.advertise_host must be a host that applications can connect to (it is in "
                "their credentials), found \""
                    + broker.advertise_host + "\"");
  // A broker cannot use more than 64: few actors make its answers.
  broker.threads = static_cast<int>(from.number("threads", 1, 64, broker.threads));
  if (from.has("trusted_proxies"))
    broker.trusted_proxies = proxies_of(from);
  return broker;
}

std::vector<cell_settings> cells_of(const section& top) {
  std::vector<cell_settings> cells;
  std::set<std::string> guids;
  std::set<std::string> uris;
  for (const auto& from : top.children("cells")) {
    from.allow(
        {"guid", "availability_zone", "uri", "authority", "username", "password", "password_file"});
    cell_settings cell;
    cell.guid = from.text("guid");
    // The guid becomes part of etcd keys, where a slash would start another level.
    if (!consists_of(cell.guid, ".-_:"))
      from.refuse("guid", "a cell's guid must consist of letters, digits and \".-_:\", found \""
                              + cell.guid + "\"");
    if (!guids.insert(cell.guid).second)
      from.refuse("guid", "two cells have the guid \"" + cell.guid + "\"; each needs its own");
    cell.availability_zone = from.text("availability_zone");
    cell.uri = without_last_slash(from.text("uri"));
    const bool plain = cell.uri.starts_with(http_scheme);
    if (const auto fault = fault_of_uri(cell.uri, plain ? http_scheme : https_scheme))
      from.refuse("uri", "the uri of cell \"" + cell.guid + "\" " + *fault);
    if (plain)
      from.warn("uri",
                "cell \"" + cell.guid
                    + "\" is reached by plain HTTP: passwords cross the network as they are. "
                      "A cell of this release takes https://");
    if (from.has("authority"))
      cell.authority = from.file_text("authority");
    if (!uris.insert(cell.uri).second)
      from.refuse("uri", "two cells have the uri " + cell.uri + "; each needs its own");
    cell.username = from.text("username");
    cell.password = from.secret("password");
    cells.push_back(std::move(cell));
  }
  if (cells.empty())
    top.refuse("cells", "cells must list at least one cell: without one there is nowhere to run a "
                        "database");
  return cells;
}

routing_settings routing_of(const section& from) {
  from.allow({"first", "last", "rest", "wait_for_routers"});
  routing_settings routing;
  routing.first = static_cast<std::uint16_t>(from.number("first", 1, greatest_port, routing.first));
  routing.last = static_cast<std::uint16_t>(from.number("last", 1, greatest_port, routing.last));
  if (routing.first > routing.last)
    from.refuse(from.has("last") ? "last" : "first",
                "routing.first must not be greater than routing.last, found "
                    + std::to_string(routing.first) + " and " + std::to_string(routing.last));
  routing.rest_milliseconds = from.milliseconds("rest", routing.rest_milliseconds);
  routing.wait_for_routers = from.flag("wait_for_routers", routing.wait_for_routers);
  return routing;
}

secrets_settings secrets_of(const section& from) {
  from.allow({"key_file"});
  secrets_settings secrets;
  secrets.key_file = from.text("key_file");
  secrets.keys = from.secret_file_text("key_file");
  return secrets;
}

/// The section `authority:`: an operator's own authority.
tls::authorities authority_of(const section& from) {
  from.allow({"certificate", "key", "successor"});
  std::string successor;
  if (from.has("successor"))
    successor = from.file_text("successor");
  auto authority = tls::operators_authority(
      {from.secret_file_text("key"), from.file_text("certificate")}, successor);
  if (!authority)
    from.refuse(authority.error());
  return *std::move(authority);
}

/// The section `repair:`: when the nodes of a lost cell are replaced.
model::repair_settings repair_of(const section& from) {
  // A cell's lease in etcd ends after ten seconds, a leader's after thirty: a shorter time proves
  // nothing.
  constexpr std::int64_t shortest = 5'000;
  constexpr std::int64_t short_for_production = 60'000;
  constexpr std::int64_t longest = 7LL * 24 * 60 * 60 * 1000;
  // Each repair copies whole databases over the network; more at once only slow each other down.
  constexpr std::int64_t most_at_once = 100;
  from.allow({"after", "parallel"});
  model::repair_settings repair;
  auto after = from.milliseconds("after", repair.after.count());
  if (after < shortest || after > longest)
    from.refuse("after",
                "repair.after must be 5s to 7d: how long nothing is heard of a cell before "
                "its nodes are replaced");
  if (after < short_for_production)
    from.warn("after",
              "repair.after is shorter than a machine takes to start again: nodes would be "
              "copied elsewhere that are about to come back; 5m is a good value");
  repair.after = model::duration{after};
  repair.parallel = static_cast<int>(from.number("parallel", 1, most_at_once, repair.parallel));
  return repair;
}

std::string audit_file_of(const section& from) {
  from.allow({"file"});
  return from.text("file");
}

std::vector<std::string> warnings_of(const std::string& path, const section& top,
                                     const broker_config& config,
                                     std::string_view local_port_range) {
  auto warnings = top.warnings();
  const auto& routing = config.routing;
  const auto range = std::to_string(routing.first) + " to " + std::to_string(routing.last);
  static const std::regex two_numbers(R"(\s*([0-9]{1,5})\s+([0-9]{1,5})\s*)");
  std::match_results<std::string_view::const_iterator> found;
  if (std::regex_match(local_port_range.begin(), local_port_range.end(), found, two_numbers)) {
    const auto low = std::stol(found[1].str());
    const auto high = std::stol(found[2].str());
    if (routing.first <= high && low <= routing.last)
      warnings.push_back(
          path + ": routing's ports " + range + " meet the kernel's local ports " + found[1].str()
          + " to " + found[2].str()
          + ": an outgoing connection can take an instance's public port. "
            "Choose other ports, or reserve these with sysctl net.ipv4.ip_local_reserved_ports");
  }
  if (config.broker.port >= routing.first && config.broker.port <= routing.last)
    warnings.push_back(path + ": broker.port " + std::to_string(config.broker.port)
                       + " is one of routing's ports " + range
                       + ": an instance could get it as its public port. Choose another port");
  return warnings;
}

broker_config config_of(const std::string& path, const section& top,
                        std::string_view local_port_range, const model::engine_list& engines) {
  top.belong_to("broker");
  top.allow(
      {"broker", "cells", "etcd", "routing", "repair", "secrets", "authority", "audit", "catalog"});
  broker_config config;
  config.broker = broker_of(top.child("broker"));
  config.cells = cells_of(top);
  config.etcd = read_etcd(top.child("etcd"));
  config.routing = routing_of(top.child_or_empty("routing"));
  config.repair = repair_of(top.child_or_empty("repair"));
  if (top.has("secrets"))
    config.secrets = secrets_of(top.child("secrets"));
  if (top.has("authority"))
    config.authority = authority_of(top.child("authority"));
  if (top.has("audit"))
    config.audit_file = audit_file_of(top.child("audit"));
  config.catalog = read_catalog(top.child("catalog"), config.cells.size(), engines);
  config.warnings = warnings_of(path, top, config, local_port_range);
  return config;
}

} // namespace

result<broker_config> parse_broker_config(const std::string& path, const std::string& text,
                                          std::string_view local_port_range,
                                          const model::engine_list& engines) {
  try {
    return config_of(path, section::parse_text(path, text), local_port_range, engines);
  } catch (const config_error& error) {
    return failure{error.message};
  }
}

result<broker_config> load_broker_config(const std::string& path,
                                         const model::engine_list& engines) {
  std::ifstream range("/proc/sys/net/ipv4/ip_local_port_range");
  std::string local_port_range;
  std::getline(range, local_port_range);
  try {
    return config_of(path, section::parse_file(path), local_port_range, engines);
  } catch (const config_error& error) {
    return failure{error.message};
  }
}

} // namespace matriarch::config
