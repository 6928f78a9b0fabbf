#include "cell/cell_config.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "cell/settings_check.hpp"
#include "config/yaml_reader.hpp"

namespace matriarch::cell {

namespace {

using config::section;

// The defaults of Patroni and of Debian's packages.
constexpr std::string_view patroni_executable = "/usr/bin/patroni";
constexpr std::string_view postgresql_bin_dir = "/usr/lib/postgresql/15/bin";

/// PostgreSQL takes words of 255 bytes in pg_hba.conf. Below this directory come a node's id, of 64 bytes at
/// most, and what surrounds it.
constexpr std::size_t longest_data_dir = 160;

/// The cell decides these for each node; a plan that set them would break the node.
constexpr std::array<std::string_view, 12> reserved_parameters = {
    "listen_addresses", "port",       "unix_socket_directories", "cluster_name", "data_directory",
    "hba_file",         "ident_file", "logging_collector",       "ssl",          "ssl_cert_file",
    "ssl_key_file",     "ssl_ca_file"};

/// PostgreSQL does not tell upper case from lower case in a parameter's name; merging has to.
std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return text;
}

std::string scalar(const section& from, const std::string& name) {
  auto node = from.node(name);
  if (!node.IsScalar())
    from.refuse(name, fmt::format("{} must be a text, a number or a flag", name));
  return node.Scalar();
}

postgresql_parameters read_parameters(const section& parent) {
  postgresql_parameters parameters;
  auto from = parent.child_or_empty("parameters");
  for (const auto& given : from.names()) {
    auto name = lower_case(given);
    if (std::find(reserved_parameters.begin(), reserved_parameters.end(), name)
        != reserved_parameters.end())
      from.refuse(given, fmt::format("{} is set by the cell for each node; remove it", given));
    auto text = scalar(from, given);
    if (auto wrong = why_no_parameter(name, text))
      from.refuse(given, fmt::format("\"{}\" {}", given, *wrong));
    if (!parameters.emplace(name, std::move(text)).second)
      from.refuse(given, fmt::format("{} is there twice: PostgreSQL does not tell upper case from "
                                     "lower case",
                                     name));
  }
  return parameters;
}

endpoint_pool read_endpoints(const section& cell) {
  if (cell.has("addresses") == cell.has("host"))
    cell.refuse("cell needs either addresses, a network of which each node gets an address, or "
                "host, one address of which each node gets two ports");
  auto pool =
      cell.has("addresses")
          ? endpoint_pool::of_network(cell.text("addresses"))
          // The range is below the ports that Linux gives to outgoing connections.
          : endpoint_pool::of_host(cell.text("host"),
                                   static_cast<int>(cell.number("first_port", 1, 65534, 15000)),
                                   static_cast<int>(cell.number("last_port", 2, 65535, 15999)));
  if (!pool) {
    std::string key = cell.has("addresses") ? "addresses" : "host";
    cell.refuse(key, fmt::format("cell.{}: {}", key, pool.error()));
  }
  return *pool;
}

void read_cell(const section& from, cell_config& into) {
  from.allow({"guid", "availability_zone", "bind_host", "port", "username", "password",
              "password_file", "data_dir", "capacity", "addresses", "host", "first_port",
              "last_port", "run_as", "uri", "tls", "plain_http"});
  into.guid = from.text("guid");
  if (into.guid.find('/') != std::string::npos)
    from.refuse("guid", "guid must not contain a slash: it is part of an etcd key");
  into.availability_zone = from.text("availability_zone");
  into.bind_host = from.text("bind_host", "127.0.0.1");
  into.port = static_cast<std::uint16_t>(from.number("port", 1, 65535));
  into.uri = from.text("uri", fmt::format("https://{}:{}", into.bind_host, into.port));
  if (from.has("tls")) {
    auto tls = from.child("tls");
    tls.allow({"certificate", "key"});
    into.tls = {tls.secret_file_text("key"), tls.file_text("certificate")};
    if (!tls::belong_together(into.tls))
      from.refuse("tls",
                  "cell.tls: the key is not that of the first certificate, or one of them is "
                  "not there in PEM, without a passphrase");
  }
  into.plain_http = from.flag("plain_http", false);
  into.username = from.text("username");
  into.password = from.secret("password");
  into.data_dir = from.text("data_dir");
  if (into.data_dir.front() != '/' || into.data_dir == "/")
    from.refuse("data_dir", "data_dir must be an absolute path of a directory of the cell's own");
  while (into.data_dir.back() == '/')
    into.data_dir.pop_back();
  if (into.data_dir.size() > longest_data_dir)
    from.refuse("data_dir",
                fmt::format("data_dir must have {} bytes at most, for pg_hba.conf names a "
                            "file below it",
                            longest_data_dir));
  into.endpoints = read_endpoints(from);
  into.capacity = static_cast<std::size_t>(from.number("capacity", 1, 10'000));
  if (into.capacity > into.endpoints.size())
    from.refuse("capacity",
                fmt::format("capacity is {}, but there is room for {} nodes only in the "
                            "addresses or ports of this cell",
                            into.capacity, into.endpoints.size()));
  into.run_as = from.text("run_as", geteuid() == 0 ? "postgres" : "");
}

void read_patroni(const section& from, patroni_settings& into) {
  from.allow({"executable", "ttl", "loop_wait", "retry_timeout", "maximum_lag_on_failover",
              "failsafe_mode", "master_start_timeout"});
  into.executable = from.text("executable", std::string{patroni_executable});
  into.ttl = from.number("ttl", 2, 86'400, into.ttl);
  into.loop_wait = from.number("loop_wait", 1, 3'600, into.loop_wait);
  // With 1, Patroni 3.0.2 on etcd's v3 API never elects a leader.
  into.retry_timeout = from.number("retry_timeout", 2, 3'600, into.retry_timeout);
  into.maximum_lag_on_failover =
      from.number("maximum_lag_on_failover", 0, 1'000'000'000'000, into.maximum_lag_on_failover);
  into.failsafe_mode = from.flag("failsafe_mode", into.failsafe_mode);
  into.master_start_timeout =
      from.number("master_start_timeout", 0, 86'400, into.master_start_timeout);
}

void read_node_tls(const section& from, node_tls_settings& into) {
  from.allow({"certificate", "key", "authority"});
  into.certificate = from.file("certificate");
  into.key = from.secret_file("key");
  if (from.has("authority"))
    into.authority = from.file("authority");
}

cell_config read(const section& top) {
  cell_config config;
  top.belong_to("cell");
  top.allow({"cell", "etcd", "patroni", "postgresql", "plans"});
  read_cell(top.child("cell"), config);

  config.etcd = config::read_etcd(top.child("etcd"));

  read_patroni(top.child_or_empty("patroni"), config.patroni);

  auto postgresql = top.child_or_empty("postgresql");
  postgresql.allow({"bin_dir", "parameters", "tls", "require_tls"});
  config.postgresql.bin_dir = postgresql.text("bin_dir", std::string{postgresql_bin_dir});
  config.postgresql.parameters = read_parameters(postgresql);
  config.postgresql.require_tls = postgresql.flag("require_tls", false);
  if (postgresql.has("tls"))
    read_node_tls(postgresql.child("tls"), config.postgresql.tls);

  auto plans = top.child_or_empty("plans");
  for (const auto& id : plans.names()) {
    auto plan = plans.child(id);
    plan.allow({"parameters"});
    config.plans[id] = read_parameters(plan);
  }
  return config;
}

template <class Parse>
result<loaded_cell_config> loaded(Parse parse) {
  try {
    auto top = parse();
    auto config = read(top);
    return loaded_cell_config{std::move(config), top.warnings()};
  } catch (const config::config_error& wrong) {
    return failure{wrong.message};
  }
}

} // namespace

postgresql_parameters cell_config::parameters_of(std::string_view plan_id) const {
  auto merged = postgresql.parameters;
  if (auto plan = plans.find(std::string{plan_id}); plan != plans.end())
    for (const auto& [name, text] : plan->second)
      merged[name] = text;
  return merged;
}

result<loaded_cell_config> parse_cell_config(const std::string& path, const std::string& text) {
  return loaded([&] { return section::parse_text(path, text); });
}

result<loaded_cell_config> load_cell_config(const std::string& path) {
  return loaded([&] { return section::parse_file(path); });
}

} // namespace matriarch::cell
