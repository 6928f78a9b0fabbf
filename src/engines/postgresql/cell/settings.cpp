#include "engines/postgresql/cell/settings.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "config/yaml_reader.hpp"
#include "engines/postgresql/cell/settings_check.hpp"

namespace matriarch::engines::postgresql {

namespace {

using config::section;

// Defaults of Patroni and of Debian's packages.
constexpr std::string_view patroni_executable = "/usr/bin/patroni";
constexpr std::string_view postgresql_bin_dir = "/usr/lib/postgresql/15/bin";

/// PostgreSQL accepts words of up to 255 bytes in pg_hba.conf. The path continues below this
/// directory with a node's id, of at most 64 bytes, and fixed parts.
constexpr std::size_t longest_directory = 160;

/// The cell sets these for each node; a plan's values would break the node.
constexpr std::array<std::string_view, 12> reserved_parameters = {
    "listen_addresses", "port",       "unix_socket_directories", "cluster_name", "data_directory",
    "hba_file",         "ident_file", "logging_collector",       "ssl",          "ssl_cert_file",
    "ssl_key_file",     "ssl_ca_file"};

/// PostgreSQL ignores case in parameters' names; merging does not.
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

cell::engine_parameters parameters_in(const section& parent) {
  cell::engine_parameters parameters;
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
      from.refuse(given, fmt::format("{} is given twice: PostgreSQL does not tell upper case from "
                                     "lower case",
                                     name));
  }
  return parameters;
}

void read_patroni(const section& from, patroni_settings& into) {
  from.allow({"executable", "ttl", "loop_wait", "retry_timeout", "maximum_lag_on_failover",
              "failsafe_mode", "master_start_timeout"});
  into.executable = from.text("executable", std::string{patroni_executable});
  into.ttl = from.number("ttl", 2, 86'400, into.ttl);
  into.loop_wait = from.number("loop_wait", 1, 3'600, into.loop_wait);
  // With 1, Patroni 3.0.2 never elects a leader on etcd's v3 API.
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

class own_sections final : public cell::engine_sections {
public:
  [[nodiscard]] std::vector<std::string_view> names() const override {
    return {"patroni", "postgresql"};
  }

  [[nodiscard]] std::shared_ptr<const cell::engine_settings>
  read(const section& top) const override {
    auto into = std::make_shared<node_settings>();
    read_patroni(top.child_or_empty("patroni"), into->patroni);
    auto from = top.child_or_empty("postgresql");
    from.allow({"bin_dir", "parameters", "tls", "require_tls"});
    into->bin_dir = from.text("bin_dir", std::string{postgresql_bin_dir});
    into->parameters = read_parameters(from);
    into->require_tls = from.flag("require_tls", false);
    if (from.has("tls"))
      read_node_tls(from.child("tls"), into->tls);
    return into;
  }

  [[nodiscard]] cell::engine_parameters read_parameters(const section& plan) const override {
    return parameters_in(plan);
  }

  // The registered default ports of both.
  [[nodiscard]] cell::node_ports ports() const override { return {5432, 8008}; }
  [[nodiscard]] std::string user() const override { return "postgres"; }
  [[nodiscard]] std::size_t longest_data_dir() const override { return longest_directory; }
};

} // namespace

const cell::engine_sections& file_sections() {
  static const own_sections all;
  return all;
}

} // namespace matriarch::engines::postgresql
