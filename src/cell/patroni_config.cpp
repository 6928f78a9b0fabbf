#include "cell/patroni_config.hpp"

#include <yaml-cpp/yaml.h>

#include <array>
#include <set>

#include <fmt/format.h>

namespace matriarch::cell {

namespace {

// sockaddr_un holds 108 bytes with the final zero.
constexpr std::size_t longest_socket_path = 107;

/// Patroni takes these from the cluster's configuration in etcd alone, for all members must agree.
const std::set<std::string_view> cluster_wide = {
    "max_connections", "max_locks_per_transaction", "max_worker_processes",
    "wal_level",       "max_prepared_transactions", "max_wal_senders",
    "wal_log_hints",   "max_replication_slots",     "track_commit_timestamp",
    "hot_standby",
};

/// What every node needs, whatever its plan says otherwise.
const postgresql_parameters foundations = {
    {"wal_level", "replica"},
    {"hot_standby", "on"},
    {"wal_log_hints", "on"}, // pg_rewind needs it, or checksums
    {"max_wal_senders", "10"},
    {"max_replication_slots", "10"},
    {"wal_keep_size", "128MB"},
    // A new replica streams at once; the default of 5 s is most of the time a provision takes.
    {"wal_retrieve_retry_interval", "500ms"},
};

std::string address(const std::string& host, int port) {
  return fmt::format("{}:{}", host, port);
}

bool socket_fits(const node_paths& paths, const endpoint& where) {
  return fmt::format("{}/.s.PGSQL.{}", paths.run, where.port).size() <= longest_socket_path;
}

void write(YAML::Emitter& out, std::string_view key, const std::string& text) {
  out << YAML::Key << std::string{key} << YAML::Value << YAML::DoubleQuoted << text;
}

void write(YAML::Emitter& out, std::string_view key, std::int64_t number) {
  out << YAML::Key << std::string{key} << YAML::Value << number;
}

void write(YAML::Emitter& out, std::string_view key, bool flag) {
  out << YAML::Key << std::string{key} << YAML::Value << flag;
}

void open(YAML::Emitter& out, std::string_view key) {
  out << YAML::Key << std::string{key} << YAML::Value << YAML::BeginMap;
}

void write(YAML::Emitter& out, std::string_view key, const role& who) {
  open(out, key);
  write(out, "username", who.username);
  write(out, "password", who.password);
  out << YAML::EndMap;
}

void write(YAML::Emitter& out, std::string_view key, const postgresql_parameters& parameters) {
  open(out, key);
  for (const auto& [name, text] : parameters)
    write(out, name, text);
  out << YAML::EndMap;
}

void write(YAML::Emitter& out, std::string_view key, const std::vector<std::string>& texts) {
  out << YAML::Key << std::string{key} << YAML::Value << YAML::BeginSeq;
  for (const auto& text : texts)
    out << YAML::DoubleQuoted << text;
  out << YAML::EndSeq;
}

void write_bootstrap(YAML::Emitter& out, const patroni_settings& patroni,
                     const postgresql_parameters& parameters, const node_paths& paths) {
  open(out, "bootstrap");
  open(out, "dcs");
  write(out, "ttl", patroni.ttl);
  write(out, "loop_wait", patroni.loop_wait);
  write(out, "retry_timeout", patroni.retry_timeout);
  write(out, "maximum_lag_on_failover", patroni.maximum_lag_on_failover);
  write(out, "master_start_timeout", patroni.master_start_timeout);
  write(out, "failsafe_mode", patroni.failsafe_mode);
  open(out, "postgresql");
  write(out, "use_pg_rewind", true);
  write(out, "use_slots", true);
  write(out, "parameters", parameters);
  out << YAML::EndMap << YAML::EndMap;
  out << YAML::Key << "initdb" << YAML::Value << YAML::BeginSeq;
  out << YAML::BeginMap << YAML::Key << "encoding" << YAML::Value << "UTF8" << YAML::EndMap;
  out << YAML::BeginMap << YAML::Key << "locale" << YAML::Value << "C.UTF-8" << YAML::EndMap;
  out << YAML::BeginMap << YAML::Key << "auth" << YAML::Value << "scram-sha-256" << YAML::EndMap;
  out << "data-checksums" << YAML::EndSeq;
  // /bin/sh runs it, so that the script needs no right to be executed where noexec is set.
  write(out, "post_bootstrap", "/bin/sh " + shell_word(paths.bootstrap_script));
  out << YAML::EndMap;
}

void write_postgresql(YAML::Emitter& out, const cell_config& config, const node_record& node,
                      const node_paths& paths, const postgresql_parameters& parameters) {
  const auto& request = node.request;
  auto listen = address(node.where.host, node.where.port);
  auto clients = config.endpoints.clients();
  open(out, "postgresql");
  write(out, "listen", listen);
  write(out, "connect_address", listen);
  write(out, "bin_dir", config.postgresql.bin_dir);
  write(out, "data_dir", paths.data);
  write(out, "pgpass", paths.home + "/pgpass");
  // Without a socket Patroni falls back to TCP.
  write(out, "use_unix_socket", true);
  out << YAML::Key << "basebackup" << YAML::Value << YAML::BeginSeq << YAML::BeginMap;
  // Do not wait for the leader's next checkpoint, which may be minutes away.
  write(out, "checkpoint", std::string{"fast"});
  out << YAML::EndMap << YAML::EndSeq;
  open(out, "authentication");
  write(out, "superuser", request.superuser);
  write(out, "replication", request.replication);
  out << YAML::EndMap;
  write(out, "parameters", parameters);
  write(out, "pg_hba",
        std::vector<std::string>{
            "local all all scram-sha-256",
            fmt::format("host replication all {} scram-sha-256", clients),
            fmt::format("host all all {} scram-sha-256", clients),
        });
  out << YAML::EndMap;
}

} // namespace

node_paths::node_paths(const std::string& directory)
    : directory(directory), record(directory + "/node.json"), patroni(directory + "/patroni.yml"),
      bootstrap_script(directory + "/bootstrap.sh"), bootstrap_sql(directory + "/bootstrap.sql"),
      log(directory + "/log"), home(directory + "/home"), data(home + "/data"), run(home + "/run") {
}

std::string render_patroni(const cell_config& config, const node_record& node,
                           const node_paths& paths) {
  const auto& request = node.request;
  auto wanted = config.parameters_of(request.plan_id);
  wanted.insert(foundations.begin(), foundations.end());
  postgresql_parameters shared;
  postgresql_parameters local;
  for (const auto& [name, text] : wanted)
    (cluster_wide.contains(name) ? shared : local)[name] = text;
  local["unix_socket_directories"] = socket_fits(paths, node.where) ? paths.run : "";

  std::vector<std::string> machines;
  for (const auto& machine : config.etcd_machines) {
    auto host = machine.substr(machine.find("://") + 3);
    machines.push_back(host.substr(0, host.find('/')));
  }

  YAML::Emitter out;
  // PostgreSQL's parameters may hold any character, and PyYAML refuses some as they are.
  out.SetOutputCharset(YAML::EscapeNonAscii);
  out << YAML::BeginMap;
  write(out, "scope", request.scope);
  write(out, "name", request.node_id);
  write(out, "namespace", std::string{"/service/"});
  open(out, "restapi");
  auto api = address(node.where.host, node.where.api_port);
  write(out, "listen", api);
  write(out, "connect_address", api);
  write(out, "authentication", request.patroni);
  out << YAML::EndMap;
  open(out, "etcd3");
  write(out, "hosts", machines);
  write(out, "protocol", std::string{"http"});
  out << YAML::EndMap;
  open(out, "watchdog");
  write(out, "mode", std::string{"off"});
  out << YAML::EndMap;
  write_bootstrap(out, config.patroni, shared, paths);
  write_postgresql(out, config, node, paths, local);
  out << YAML::EndMap;
  return std::string{out.c_str()} + "\n";
}

std::string render_bootstrap_sql(const node_request& request) {
  auto admin = sql_identifier(request.admin.username);
  auto app_user = sql_identifier(request.app_user.username);
  // Passwords must not reach the log, not even by a statement that fails, and Patroni's own limit
  // of two seconds is too short for CREATE DATABASE on a busy disk.
  return fmt::format(R"(SET log_statement = none;
SET log_min_duration_statement = -1;
SET log_min_error_statement = panic;
SET statement_timeout = 0;
SET standard_conforming_strings = on;
SET password_encryption = 'scram-sha-256';
CREATE ROLE {0} WITH LOGIN CREATEROLE CREATEDB PASSWORD {1};
CREATE ROLE {2} WITH LOGIN CREATEDB PASSWORD {3};
CREATE DATABASE {4} OWNER {2};
)",
                     admin, sql_literal(request.admin.password), app_user,
                     sql_literal(request.app_user.password), sql_identifier(app_database));
}

std::string render_bootstrap_script(const cell_config& config, const node_paths& paths) {
  return fmt::format(
      "exec {} --no-psqlrc --quiet --set ON_ERROR_STOP=1 --file {} --dbname \"$1\"\n",
      shell_word(config.postgresql.bin_dir + "/psql"), shell_word(paths.bootstrap_sql));
}

namespace {

std::string quoted(std::string_view text, char quote, std::string_view twice) {
  std::string out{quote};
  for (char c : text) {
    if (c == quote)
      out += twice;
    else
      out += c;
  }
  return out + quote;
}

} // namespace

std::string sql_identifier(std::string_view text) {
  return quoted(text, '"', "\"\"");
}

std::string sql_literal(std::string_view text) {
  return quoted(text, '\'', "''");
}

std::string shell_word(std::string_view text) {
  return quoted(text, '\'', "'\\''");
}

} // namespace matriarch::cell
