#include "cell/cell_config.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include <fmt/format.h>

#include "config/yaml_reader.hpp"
#include "model/node_limits.hpp"

namespace matriarch::cell {

namespace {

using config::section;

endpoint_pool read_endpoints(const section& cell, const node_ports& ports) {
  if (cell.has("addresses") == cell.has("host"))
    cell.refuse("cell needs either addresses, a network of which each node gets an address, or "
                "host, one address of which each node gets two ports");
  auto pool =
      cell.has("addresses")
          ? endpoint_pool::of_network(cell.text("addresses"), ports)
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

/// A database that finds no room for its log ends; this is what some of them write in a moment.
constexpr const char* usual_least_free_disk = "256MB";

std::int64_t read_least_free_disk(const section& from) {
  auto text = from.text("least_free_disk", usual_least_free_disk);
  auto bytes = model::bytes_of(text);
  if (!bytes)
    from.refuse("least_free_disk",
                fmt::format("cell.least_free_disk must be a whole number of MB, GB or TB, such as "
                            "{}, or 0MB for none; found \"{}\"",
                            usual_least_free_disk, text));
  return *bytes;
}

void read_cell(const section& from, const engine_sections& engine, cell_config& into) {
  from.allow({"guid", "availability_zone", "bind_host", "port", "username", "password",
              "password_file", "data_dir", "capacity", "least_free_disk", "addresses", "host",
              "first_port", "last_port", "run_as", "uri", "tls", "plain_http"});
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
  if (const auto longest = engine.longest_data_dir(); into.data_dir.size() > longest)
    from.refuse(
        "data_dir",
        fmt::format("data_dir must have {} bytes at most, for nodes have long names of files "
                    "below it",
                    longest));
  into.endpoints = read_endpoints(from, engine.ports());
  into.capacity = static_cast<std::size_t>(from.number("capacity", 1, 10'000));
  if (into.capacity > into.endpoints.size())
    from.refuse("capacity",
                fmt::format("capacity is {}, but there is room for {} nodes only in the "
                            "addresses or ports of this cell",
                            into.capacity, into.endpoints.size()));
  into.least_free_disk = read_least_free_disk(from);
  into.run_as = from.text("run_as", geteuid() == 0 ? engine.user() : "");
}

cell_config read(const section& top, const engine_sections& engine) {
  cell_config config;
  top.belong_to("cell");
  std::vector<std::string_view> sections{"cell", "etcd", "plans"};
  for (auto name : engine.names())
    sections.push_back(name);
  top.allow(sections);
  read_cell(top.child("cell"), engine, config);
  config.etcd = config::read_etcd(top.child("etcd"));
  config.engine = engine.read(top);
  auto plans = top.child_or_empty("plans");
  for (const auto& id : plans.names()) {
    auto plan = plans.child(id);
    plan.allow({"parameters"});
    config.plans[id] = engine.read_parameters(plan);
  }
  return config;
}

template <class Parse>
result<loaded_cell_config> loaded(const engine_sections& engine, Parse parse) {
  try {
    auto top = parse();
    auto config = read(top, engine);
    return loaded_cell_config{std::move(config), top.warnings()};
  } catch (const config::config_error& wrong) {
    return failure{wrong.message};
  }
}

} // namespace

engine_parameters cell_config::parameters_of(std::string_view plan_id) const {
  auto merged = engine->parameters;
  if (auto plan = plans.find(std::string{plan_id}); plan != plans.end())
    for (const auto& [name, text] : plan->second)
      merged[name] = text;
  return merged;
}

result<loaded_cell_config> parse_cell_config(const std::string& path, const std::string& text,
                                             const engine_sections& engine) {
  return loaded(engine, [&] { return section::parse_text(path, text); });
}

result<loaded_cell_config> load_cell_config(const std::string& path,
                                            const engine_sections& engine) {
  return loaded(engine, [&] { return section::parse_file(path); });
}

} // namespace matriarch::cell
