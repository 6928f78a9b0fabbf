#include "engines/postgresql/cell/patroni_config.hpp"

#include "engines/postgresql/cell/request.hpp"
#include "engines/postgresql/cell/settings.hpp"

#include <charconv>

#include <yaml-cpp/yaml.h>

#include <fmt/format.h>

#include "engines/postgresql/model/groups.hpp"
#include "engines/postgresql/model/settings.hpp"
#include "model/settings.hpp"

namespace matriarch::engines::postgresql {

namespace {

// sockaddr_un holds 108 bytes with the final zero.
constexpr std::size_t longest_socket_path = 107;

/// Debian's bundle of authorities. Without any, Patroni would accept every certificate as etcd's.
constexpr std::string_view system_authorities = "/etc/ssl/certs/ca-certificates.crt";

constexpr std::string_view access_key = "pg_hba";

/// In a node's directory, two levels above its data.
constexpr const char* bounds_file = "/bounds.conf";

/// Parameters that every node needs; a plan may override them.
const cell::engine_parameters foundations = {
    {"wal_level", "replica"},
    {"hot_standby", "on"},
    {"wal_log_hints", "on"}, // pg_rewind needs it, or checksums
    {"max_replication_slots", "10"},
    {"wal_keep_size", "128MB"},
    // A new replica streams at once; the default pause of 5 s is most of the time that provisioning
    // takes.
    {"wal_retrieve_retry_interval", "500ms"},
    {"password_encryption", "scram-sha-256"},
    {"ssl_min_protocol_version", "TLSv1.2"},
};

std::string address(const std::string& host, int port) {
  return fmt::format("{}:{}", host, port);
}

bool socket_fits(const node_paths& paths, const cell::endpoint& where) {
  return fmt::format("{}/.s.PGSQL.{}", paths.run, where.port).size() <= longest_socket_path;
}

void write(YAML::Emitter& out, std::string_view key, const std::string& text) {
  out << YAML::Key << std::string{key} << YAML::Value << YAML::DoubleQuoted << text;
}

void write(YAML::Emitter& out, std::string_view key, bool flag) {
  out << YAML::Key << std::string{key} << YAML::Value << flag;
}

void open(YAML::Emitter& out, std::string_view key) {
  out << YAML::Key << std::string{key} << YAML::Value << YAML::BeginMap;
}

void write(YAML::Emitter& out, std::string_view key, const cell::role& who) {
  open(out, key);
  write(out, "username", who.username);
  write(out, "password", who.password);
  out << YAML::EndMap;
}

void write(YAML::Emitter& out, std::string_view key, const cell::engine_parameters& parameters) {
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

void write(YAML::Emitter& out, const json::value& what) {
  if (what.IsObject()) {
    out << YAML::BeginMap;
    for (const auto& member : what.GetObject()) {
      out << YAML::Key << YAML::DoubleQuoted << member.name.GetString() << YAML::Value;
      write(out, member.value);
    }
    out << YAML::EndMap;
  } else if (what.IsArray()) {
    out << YAML::BeginSeq;
    for (const auto& item : what.GetArray())
      write(out, item);
    out << YAML::EndSeq;
  } else if (what.IsString()) {
    out << YAML::DoubleQuoted << std::string{what.GetString(), what.GetStringLength()};
  } else if (what.IsNull()) {
    out << YAML::Null;
  } else {
    out << json::text_of(what); // numbers and flags are the same in both
  }
}

/// Merges as Patroni's PATCH /config does: by key, and null removes a key (RFC 7396).
void merge(json::value& into, const json::value& from, json::document& owner) {
  for (const auto& member : from.GetObject()) {
    auto found = into.FindMember(member.name);
    bool there = found != into.MemberEnd();
    if (member.value.IsNull()) {
      if (there)
        into.RemoveMember(found);
    } else if (there && found->value.IsObject() && member.value.IsObject()) {
      merge(found->value, member.value, owner);
    } else {
      json::value name{member.name, owner.GetAllocator()};
      json::value copy{member.value, owner.GetAllocator()};
      if (there)
        found->value = std::move(copy);
      else
        into.AddMember(std::move(name), std::move(copy), owner.GetAllocator());
    }
  }
}

/// PostgreSQL's parameters in a dynamic configuration; nullptr if the request has removed them.
json::value* parameters_in(json::document& configuration) {
  auto postgresql = configuration.FindMember("postgresql");
  if (postgresql == configuration.MemberEnd() || !postgresql->value.IsObject())
    return nullptr;
  auto parameters = postgresql->value.FindMember("parameters");
  if (parameters == postgresql->value.MemberEnd() || !parameters->value.IsObject())
    return nullptr;
  return &parameters->value;
}

/// Raises max_wal_senders; see wal_senders_beside(). The cell's own configuration may set a number
/// of connections that the broker does not know.
void make_room_for_replicas(json::document& configuration) {
  auto* found = parameters_in(configuration);
  if (found == nullptr)
    return;
  auto& parameters = *found;
  auto number_of = [&](const char* name, int otherwise) {
    auto number = static_cast<int>(json::integer_member(parameters, name, otherwise));
    auto text = json::string_member(parameters, name);
    std::from_chars(text.data(), text.data() + text.size(), number);
    return number;
  };
  constexpr int default_connections = 100, default_senders = 10;
  auto needed = wal_senders_beside(number_of("max_connections", default_connections));
  if (number_of("max_wal_senders", default_senders) >= needed)
    return;
  parameters.RemoveMember("max_wal_senders");
  json::add(parameters, "max_wal_senders", std::to_string(needed), configuration);
}

/// PostgreSQL ignores case in parameters' names.
void lower_names(json::document& configuration) {
  auto postgresql = configuration.FindMember("postgresql");
  if (postgresql == configuration.MemberEnd() || !postgresql->value.IsObject())
    return;
  auto parameters = postgresql->value.FindMember("parameters");
  if (parameters == postgresql->value.MemberEnd() || !parameters->value.IsObject())
    return;
  for (auto& parameter : parameters->value.GetObject()) {
    std::string name{parameter.name.GetString(), parameter.name.GetStringLength()};
    for (auto& c : name)
      c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    parameter.name = json::string(name, configuration);
  }
}

void write_bootstrap(YAML::Emitter& out, const cell::cell_config& config,
                     const cell::node_request& request, const node_paths& paths) {
  open(out, "bootstrap");
  out << YAML::Key << "dcs" << YAML::Value;
  write(out, dynamic_configuration(config, request));
  out << YAML::Key << "initdb" << YAML::Value << YAML::BeginSeq;
  out << YAML::BeginMap << YAML::Key << "encoding" << YAML::Value << "UTF8" << YAML::EndMap;
  out << YAML::BeginMap << YAML::Key << "locale" << YAML::Value << "C.UTF-8" << YAML::EndMap;
  out << YAML::BeginMap << YAML::Key << "auth" << YAML::Value << "scram-sha-256" << YAML::EndMap;
  out << "data-checksums" << YAML::EndSeq;
  // Run by /bin/sh, so that the script needs no execute permission.
  write(out, "post_bootstrap", "/bin/sh " + shell_word(paths.bootstrap_script));
  out << YAML::EndMap;
}

void write_postgresql(YAML::Emitter& out, const cell::cell_config& config,
                      const cell::node_record& node, const node_paths& paths) {
  const auto& request = node.request;
  auto listen = address(node.where.host, node.where.port);
  open(out, "postgresql");
  write(out, "listen", listen);
  write(out, "connect_address", listen);
  write(out, "bin_dir", paths.programs);
  write(out, "data_dir", paths.data);
  write(out, "pgpass", paths.home + "/pgpass");
  // Without a socket Patroni falls back to TCP.
  write(out, "use_unix_socket", true);
  out << YAML::Key << "basebackup" << YAML::Value << YAML::BeginSeq << YAML::BeginMap;
  // Does not wait for the leader's next checkpoint, which may be minutes away.
  write(out, "checkpoint", std::string{"fast"});
  out << YAML::EndMap << YAML::EndSeq;
  open(out, "authentication");
  write(out, "superuser", asked_of(request).superuser);
  write(out, "replication", asked_of(request).replication);
  out << YAML::EndMap;
  const auto& shown =
      settings_of(config).tls.certificate.empty() ? paths.certificate : paths.operators;
  cell::engine_parameters local = {
      {"unix_socket_directories", socket_fits(paths, node.where) ? paths.run : ""},
      {"ssl", "on"},
      {"ssl_cert_file", shown},
      {"ssl_key_file", shown},
  };
  // A client that does not authenticate holds one of the node's connections for this long.
  // PostgreSQL's default of one minute is for people who type a password. Set locally, so that
  // existing nodes get it, too.
  auto shared = dynamic_configuration(config, request);
  auto* asked = parameters_in(shared);
  if (asked == nullptr || json::member(*asked, "authentication_timeout") == nullptr)
    local["authentication_timeout"] = "10s";
  // A session whose client is gone in the middle of a statement holds one of the node's connections
  // until the statement ends, and routers no longer count it.
  if (asked == nullptr || json::member(*asked, "client_connection_check_interval") == nullptr)
    local["client_connection_check_interval"] = "2s";
  if (!settings_of(config).tls.authority.empty())
    local["ssl_ca_file"] = paths.authority;
  write(out, "parameters", local);
  write(out, access_key, access_rules(config, request, paths));
  out << YAML::EndMap;
}

void write_etcd(YAML::Emitter& out, const cell::cell_config& config,
                const cell::node_request& request, const node_paths& paths) {
  const auto& etcd = config.etcd;
  std::vector<std::string> hosts;
  for (const auto& machine : etcd.machines)
    hosts.push_back(machine.substr(machine.find("://") + 3));
  bool tls = etcd.machines.front().starts_with("https://");
  open(out, "etcd3");
  write(out, "hosts", hosts);
  write(out, "protocol", std::string{tls ? "https" : "http"});
  // A cluster's own user can write only that cluster's keys.
  if (!request.etcd.username.empty()) {
    write(out, "username", request.etcd.username);
    write(out, "password", request.etcd.password);
  } else if (!etcd.username.empty()) {
    write(out, "username", etcd.username);
    write(out, "password", etcd.password);
  }
  if (tls) {
    write(out, "cacert",
          etcd.tls_authority.empty() ? std::string{system_authorities} : paths.etcd_authority);
    if (!etcd.tls_certificate.empty()) {
      write(out, "cert", paths.etcd_certificate);
      write(out, "key", paths.etcd_key);
    }
  }
  out << YAML::EndMap;
}

} // namespace

node_paths::node_paths(const std::string& directory)
    : directory(directory), record(directory + "/node.json"), patroni(directory + "/patroni.yml"),
      bootstrap_script(directory + "/bootstrap.sh"), bootstrap_sql(directory + "/bootstrap.sql"),
      programs(directory + "/bin"), certificate(directory + "/server.pem"),
      operators(directory + "/operator.pem"), fleet(directory + "/fleet.crt"),
      authority(directory + "/authority.crt"), etcd_authority(directory + "/etcd-authority.crt"),
      etcd_certificate(directory + "/etcd.crt"), etcd_key(directory + "/etcd.key"),
      log(directory + "/log"), refused(directory + "/refused"), bounds(directory + bounds_file),
      home(directory + "/home"), data(home + "/data"), run(home + "/run"),
      python(directory + "/python") {}

json::document dynamic_configuration(const cell::cell_config& config,
                                     const cell::node_request& request) {
  const auto& patroni = settings_of(config).patroni;
  json::document all;
  all.SetObject();
  json::add(all, "ttl", patroni.ttl, all);
  json::add(all, "loop_wait", patroni.loop_wait, all);
  json::add(all, "retry_timeout", patroni.retry_timeout, all);
  json::add(all, "maximum_lag_on_failover", patroni.maximum_lag_on_failover, all);
  json::add(all, "master_start_timeout", patroni.master_start_timeout, all);
  json::add(all, "failsafe_mode", patroni.failsafe_mode, all);
  auto wanted = config.parameters_of(request.plan_id);
  wanted.insert(foundations.begin(), foundations.end());
  json::value parameters{rapidjson::kObjectType};
  for (const auto& [name, text] : wanted)
    parameters.AddMember(json::string(name, all), json::string(text, all), all.GetAllocator());
  json::value postgresql{rapidjson::kObjectType};
  json::add(postgresql, "use_pg_rewind", true, all);
  json::add(postgresql, "use_slots", true, all);
  json::add(postgresql, "parameters", std::move(parameters), all);
  json::add(all, "postgresql", std::move(postgresql), all);
  const auto given = asked_of(request).dynamic_configuration;
  if (!given.empty())
    if (auto asked = json::parse(given)) {
      lower_names(*asked);
      merge(all, *asked, all);
    }
  make_room_for_replicas(all);
  return all;
}

std::string render_patroni(const cell::cell_config& config, const cell::node_record& node,
                           const node_paths& paths, bool certified) {
  const auto& request = node.request;
  YAML::Emitter out;
  // PostgreSQL's parameters may hold any character, but PyYAML refuses some unescaped ones.
  out.SetOutputCharset(YAML::EscapeNonAscii);
  out << YAML::BeginMap;
  write(out, "scope", request.scope);
  write(out, "name", request.node_id);
  write(out, "namespace", std::string{"/service/"});
  open(out, "restapi");
  auto api = address(node.where.host, node.where.api_port);
  write(out, "listen", api);
  write(out, "connect_address", api);
  write(out, "authentication", asked_of(request).patroni);
  if (certified && node.api_tls) {
    write(out, "certfile", paths.certificate);
    // A password authenticates the caller; a certificate, if offered, must be the fleet's.
    write(out, "cafile", paths.fleet);
    write(out, "verify_client", std::string{"none"});
  }
  out << YAML::EndMap;
  if (certified) {
    // How members ask each other. A member of an earlier release is asked by plain HTTP, as its key
    // says.
    open(out, "ctl");
    write(out, "cacert", paths.fleet);
    out << YAML::EndMap;
  }
  write_etcd(out, config, request, paths);
  open(out, "watchdog");
  write(out, "mode", std::string{"off"});
  out << YAML::EndMap;
  write_bootstrap(out, config, request, paths);
  write_postgresql(out, config, node, paths);
  out << YAML::EndMap;
  return std::string{out.c_str()} + "\n";
}

bool speaks_tls(const std::string& patroni) {
  try {
    return YAML::Load(patroni)["restapi"]["certfile"].IsDefined();
  } catch (const YAML::Exception&) {
    return false;
  }
}

std::vector<std::string> access_rules(const cell::cell_config& config,
                                      const cell::node_request& request, const node_paths& paths) {
  // The first matching line decides. `all` does not include replication, so that only the
  // replication user can replicate, and it can do nothing else.
  const auto* host = settings_of(config).require_tls ? "hostssl" : "host";
  auto clients = config.endpoints.clients();
  auto replication = sql_identifier(asked_of(request).replication.username);
  // A revoked role becomes a member of this group: that needs no reload, and no session can hold it
  // up. Where memberships cannot be changed, the agent writes the name into the file.
  auto revoked =
      fmt::format("+{},@{}", sql_identifier(revoked_role(asked_of(request).app_user.username)),
                  sql_identifier(paths.refused));
  return {
      fmt::format("local all {} reject", revoked),
      fmt::format("local replication {} reject", revoked),
      fmt::format("host all {} all reject", revoked),
      fmt::format("host replication {} all reject", revoked),
      fmt::format("local replication {} scram-sha-256", replication),
      fmt::format("local all {} reject", replication),
      "local all all scram-sha-256",
      fmt::format("{} replication {} {} scram-sha-256", host, replication, clients),
      fmt::format("host all {} all reject", replication),
      fmt::format("{} all all {} scram-sha-256", host, clients),
  };
}

std::optional<std::string> with_access_rules(const std::string& patroni,
                                             const std::vector<std::string>& rules) {
  // The emitter writes one line for each rule, so that all other text stays byte for byte.
  YAML::Emitter out;
  out.SetOutputCharset(YAML::EscapeNonAscii);
  out << YAML::BeginMap << YAML::Key << "postgresql" << YAML::Value << YAML::BeginMap;
  write(out, access_key, rules);
  out << YAML::EndMap << YAML::EndMap;
  std::string section = out.c_str();
  section = section.substr(section.find('\n') + 1) + "\n";
  auto title = section.substr(0, section.find('\n') + 1);
  auto start = patroni.find("\n" + title);
  if (start == std::string::npos)
    return std::nullopt;
  ++start;
  auto end = start + title.size();
  while (patroni.compare(end, 4, "    ") == 0) {
    auto line = patroni.find('\n', end);
    if (line == std::string::npos)
      return std::nullopt;
    end = line + 1;
  }
  return patroni.substr(0, start) + section + patroni.substr(end);
}

std::string render_bounds(bool only_reads) {
  return only_reads ? "default_transaction_read_only = on\n" : "\n";
}

std::string render_bootstrap_sql(const cell::node_request& request) {
  auto admin = sql_identifier(asked_of(request).admin.username);
  auto app_user = sql_identifier(asked_of(request).app_user.username);
  // Passwords must not reach the log, not even by a failed statement. And Patroni's own limit of
  // two seconds is too short for CREATE DATABASE on a busy disk.
  return fmt::format(R"(SET log_statement = none;
SET log_min_duration_statement = -1;
SET log_min_error_statement = panic;
SET statement_timeout = 0;
SET standard_conforming_strings = on;
SET password_encryption = 'scram-sha-256';
CREATE ROLE {0} WITH LOGIN CREATEROLE CREATEDB PASSWORD {1};
CREATE ROLE {2} WITH LOGIN PASSWORD {3};
CREATE DATABASE {4} OWNER {2};
)",
                     admin, sql_literal(asked_of(request).admin.password), app_user,
                     sql_literal(asked_of(request).app_user.password),
                     sql_identifier(app_database));
}

std::string render_bootstrap_script(const cell::cell_config& config, const node_paths& paths) {
  return fmt::format(
      "exec {} --no-psqlrc --quiet --set ON_ERROR_STOP=1 --file {} --dbname \"$1\"\n",
      shell_word(settings_of(config).bin_dir + "/psql"), shell_word(paths.bootstrap_sql));
}

std::string render_postgres_script(const cell::cell_config& config, const node_paths& paths,
                                   const cell::node_walls& walls) {
  std::string behind;
  if (!walls.joined_by.empty())
    behind += fmt::format("echo 0 > {} || exit 1\n", shell_word(walls.joined_by));
  // PostgreSQL reports the lack of memory to the session and goes on. Shared memory is not counted.
  if (walls.process_memory > 0)
    behind += fmt::format("ulimit -d {} || exit 1\n", walls.process_memory / 1024)
              // The kernel should end PostgreSQL's children before the postmaster.
              + "export PG_OOM_ADJUST_FILE=/proc/self/oom_score_adj PG_OOM_ADJUST_VALUE=0\n";
  // bash calls this limit -u, dash calls it -p.
  if (walls.process_count > 0)
    behind +=
        fmt::format("ulimit -u {0} 2>/dev/null || ulimit -p {0} || exit 1\n", walls.process_count);
  // Patroni includes this file, which initdb makes and replicas copy, and never rewrites it; so the
  // path in it is relative to be right in each copy. A node of an earlier release gets the line at
  // its next start.
  auto line = fmt::format("include_if_exists = '../..{}'", bounds_file);
  auto include = fmt::format(R"(base={}
if [ -f "$base" ] && ! grep -qxF {} "$base"; then
  printf '\n%s\n' {} >> "$base" || :
fi
)",
                             shell_word(paths.data + "/postgresql.base.conf"), shell_word(line),
                             shell_word(line));
  // Without --single PostgreSQL starts as a replica, which needs the label.
  return fmt::format(R"(#!/bin/sh
{}{}if [ "$1" = --single ] && [ -e {} ]; then
  echo 'a copy that was never started is no crashed leader: it is started as a replica' >&2
  exit 1
fi
exec {} "$@"
)",
                     behind, include, shell_word(paths.data + "/backup_label"),
                     shell_word(settings_of(config).bin_dir + "/postgres"));
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

} // namespace matriarch::engines::postgresql
