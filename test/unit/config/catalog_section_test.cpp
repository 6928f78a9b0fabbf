#include <doctest/doctest.h>

#include <map>
#include <string>

#include "config/catalog_section.hpp"
#include "engines.hpp"

using matriarch::config::config_error;
using matriarch::config::known_engines;
using matriarch::config::read_catalog;
using matriarch::config::section;
using matriarch::model::credentials_mode;
using matriarch::model::synchronous_mode;

namespace {

/// A catalog with one plan; `plan` is further lines of it, from the 10th on, indented by four.
std::string catalog_with(const std::string& plan) {
  return "services:\n- id: s1\n  name: postgresql\n  description: a service\n  tags: [a]\n"
         "  plans:\n  - id: p1\n    name: cluster\n    description: a plan\n"
         + plan;
}

matriarch::model::plan plan_of(const std::string& plan) {
  const auto top = section::parse_text("f.yml", catalog_with(plan));
  return read_catalog(top, 4, known_engines).services.at(0).plans.at(0);
}

std::string error_in(const std::string& text) {
  try {
    (void)read_catalog(section::parse_text("f.yml", text), 4, known_engines);
  } catch (const config_error& error) {
    return error.message;
  }
  return "no error";
}

std::string error_of(const std::string& plan) {
  return error_in(catalog_with(plan));
}

std::string error_of_provision(const std::string& keys) {
  return error_of("    provision: {" + keys + "}\n");
}

std::string error_of_parameters(const std::string& parameters) {
  return error_of_provision("parameters: {" + parameters + "}");
}

} // namespace

TEST_CASE("all settings of a plan are read") {
  const auto plan = plan_of(R"(    plan_updateable: true
    binding_rotatable: true
    maintenance_info: {version: 1.2.3-rc.1+5, description: a restart}
    provision:
      engine: postgresql
      node_count: 3
      credentials: per-binding
      synchronous: strict
      ttl: 5
      node_type: small.v1
      connection_limit: 50
      binding_lifetime: 90d
      superuser_in_bindings: true
      memory: 256MB
      processes: 500
      cpu: 1.5
      disk: 2GB
      parameters:
        Shared_Buffers: 64MB
        max_connections: 200
        jit: off
        pg_stat_statements.max: '1000'
        shared_preload_libraries: ''
)");
  CHECK(plan.plan_updateable == true);
  CHECK(plan.binding_rotatable);
  REQUIRE(plan.maintenance);
  CHECK(plan.maintenance->version == "1.2.3-rc.1+5");
  CHECK(plan.maintenance->description == "a restart");
  const auto& provision = plan.provision;
  CHECK(provision.node_count == 3);
  CHECK(provision.binding_lifetime == 90LL * 24 * 60 * 60);
  CHECK(provision.superuser_in_bindings);
  CHECK(provision.settings.credentials == credentials_mode::per_binding);
  CHECK(provision.settings.synchronous == synchronous_mode::strict);
  CHECK(provision.settings.ttl == 5);
  CHECK(provision.settings.node_type == "small.v1");
  CHECK(provision.settings.connection_limit == 50);
  REQUIRE(provision.settings.limits);
  CHECK(*provision.settings.limits
        == matriarch::model::node_limits{256LL << 20, 500, 150, 2LL << 30});
  CHECK(provision.settings.parameters
        == std::map<std::string, std::string>{{"shared_buffers", "64MB"},
                                              {"max_connections", "200"},
                                              {"max_wal_senders", "210"},
                                              {"hot_standby_feedback", "on"},
                                              {"max_slot_wal_keep_size", "512MB"},
                                              {"maintenance_work_mem", "32MB"},
                                              {"temp_file_limit", "512MB"},
                                              {"max_wal_size", "512MB"},
                                              {"wal_keep_size", "128MB"},
                                              {"jit", "off"},
                                              {"pg_stat_statements.max", "1000"},
                                              {"shared_preload_libraries", ""}});
  CHECK(plan_of("    provision: {credentials: shared}\n").provision.settings.credentials
        == credentials_mode::shared);
  CHECK(plan_of("    provision: {synchronous: true}\n").provision.settings.synchronous
        == synchronous_mode::on);
}

TEST_CASE("a service can allow updates of its context") {
  auto text = catalog_with("");
  text.insert(text.find("  tags"), "  allow_context_updates: true\n");
  CHECK(read_catalog(section::parse_text("f.yml", text), 4, known_engines)
            .services[0]
            .allow_context_updates);
}

TEST_CASE("CAT-6 the catalog's texts have 255 characters at most") {
  const std::string longest(255, 'x');
  const auto replaced = [](const std::string& from, const std::string& to) {
    auto text = catalog_with("");
    return text.replace(text.find(from), from.size(), to);
  };
  for (const auto* key : {"name: cluster", "id: p1", "description: a plan", "id: s1",
                          "name: postgresql", "description: a service"}) {
    const auto name = std::string(key).substr(0, std::string(key).find(':') + 2);
    CHECK(error_in(replaced(key, name + longest)) == "no error");
    CHECK(error_in(replaced(key, name + longest + "x")).find(" has 256 characters; ")
          != std::string::npos);
  }
  CHECK(error_in(replaced("[a]", "[" + longest + "]")) == "no error");
  CHECK(error_in(replaced("[a]", "[" + longest + "x]")).starts_with("f.yml:5: a tag has 256"));
  // Characters, not bytes.
  std::string umlauts;
  for (int i = 0; i < 255; ++i)
    umlauts += "ü";
  CHECK(error_in(replaced("a plan", umlauts)) == "no error");
}

TEST_CASE("CAT-13 a maintenance version is a semantic version") {
  const auto error_of_version = [](const std::string& version) {
    return error_of("    maintenance_info:\n      version: '" + version + "'\n");
  };
  for (const auto* version : {"0.0.0", "1.0.0", "10.20.30-alpha.1", "1.0.0-0a", "1.0.0+001",
                              "1.0.0-rc.1+build.5", "1.0.0--"})
    CHECK(error_of_version(version) == "no error");
  for (const auto* version :
       {"1", "1.0", "v1.0.0", "01.0.0", "1.0.0-01", "1.0.0-", "1.0.0+", "1.0.0 ", "1.0.0-a..b"})
    CHECK(error_of_version(version)
          == std::string("f.yml:11: maintenance_info.version must be a semantic version such as "
                         "1.0.0 or 2.1.0-rc.1, found \"")
                 + version + "\"");
  CHECK(error_of("    maintenance_info: {description: d}\n")
            .starts_with("f.yml:10: services[0].plans[0].maintenance_info.version is missing"));
}

TEST_CASE("a plan's limits are optional, and must leave room for its connections") {
  CHECK_FALSE(plan_of("").provision.settings.limits);
  CHECK(plan_of("    provision: {cpu: 0.5}\n").provision.settings.limits->cpu == 50);
  for (const auto* memory : {"63MB", "1", "x", "1.5GB", "2000000TB"})
    CHECK(error_of_provision(std::string("memory: ") + memory)
          == std::string("f.yml:10: provision.memory must be a whole number of MB, GB or TB, 64 MB "
                         "at least, such as 2GB; found \"")
                 + memory + "\"");
  CHECK(error_of_provision("disk: 511MB")
        == "f.yml:10: provision.disk must be a whole number of MB, GB or TB, 512 MB at least, such "
           "as 2GB; found \"511MB\"");
  for (const auto* cpu : {"0.05", "1025", "x", "1.234"})
    CHECK(error_of_provision(std::string("cpu: ") + cpu)
          == std::string("f.yml:10: provision.cpu must be a number of processors from 0.10 to "
                         "1024, with two decimals at most, such as 2 or 0.5; found \"")
                 + cpu + "\"");
  CHECK(error_of_provision("processes: 63")
            .starts_with("f.yml:10: services[0].plans[0].provision.processes must be an integer "
                         "from 64 to 262144"));
  CHECK(error_of_provision("processes: 191, parameters: {max_connections: 50}") == "no error");
  CHECK(error_of_provision("processes: 64, parameters: {max_connections: 50}")
        == "f.yml:10: provision.processes must be at least 142, for the plan's connections, their "
           "replication, its workers and PostgreSQL's own; found 64");
  CHECK(
      error_of_provision("memory: 100MB, parameters: {shared_buffers: 51MB}")
      == "f.yml:10: provision.memory of 100 MB must be twice the plan's shared_buffers, 51 MB, at "
         "least: the other half is for its sessions");
  CHECK(error_of_provision("memory: 100MB, parameters: {shared_buffers: 50MB}") == "no error");
}

TEST_CASE("a database starts within its plan's memory, unless the plan says otherwise") {
  const auto small = plan_of("    provision: {memory: 64MB}\n").provision.settings.parameters;
  CHECK(small.find("shared_buffers")->second == "16MB");
  CHECK(small.find("maintenance_work_mem")->second == "8MB");
  const auto large =
      plan_of("    provision: {memory: 1TB, parameters: {maintenance_work_mem: 1GB}}\n")
          .provision.settings.parameters;
  CHECK(large.find("shared_buffers")->second == "128MB");
  CHECK(large.find("maintenance_work_mem")->second == "1GB");
}

TEST_CASE("WAL and temporary files fit into a node's disk, unless its plan says otherwise") {
  const auto parameters =
      plan_of("    provision: {disk: 1TB, parameters: {temp_file_limit: 1GB}}\n")
          .provision.settings.parameters;
  CHECK(parameters.find("temp_file_limit")->second == "1GB");
  CHECK(parameters.find("max_slot_wal_keep_size")->second == "4096MB");
  CHECK(parameters.find("max_wal_size")->second == "1024MB");
  CHECK_FALSE(plan_of("").provision.settings.parameters.contains("temp_file_limit"));
  INFO("2 TB and more PostgreSQL would not take");
  CHECK(plan_of("    provision: {disk: 900TB}\n")
            .provision.settings.parameters.find("temp_file_limit")
            ->second
        == "1048576MB");
}

TEST_CASE("a plan's settings have bounds") {
  for (const auto* ttl : {"4", "3601", "x"})
    CHECK(error_of_provision(std::string("ttl: ") + ttl)
              .starts_with("f.yml:10: services[0].plans[0].provision.ttl must be an integer from 5 "
                           "to 3600"));
  CHECK(error_of_provision("connection_limit: 0")
            .find("connection_limit must be an integer from 1 to 262143")
        != std::string::npos);
  for (const auto* lifetime : {"59s", "36501d"})
    CHECK(error_of_provision(std::string("binding_lifetime: ") + lifetime)
              .starts_with("f.yml:10: provision.binding_lifetime must be from 1m to 36500d"));
  CHECK(error_of_provision("binding_lifetime: 1m") == "no error");
  CHECK(error_of_provision("synchronous: yes")
        == "f.yml:10: provision.synchronous must be false, true or strict, found \"yes\"");
  CHECK(error_of_provision("node_type: a b")
            .starts_with("f.yml:10: node_type must consist of letters"));
  CHECK(error_of_provision("connection_limit: 51, parameters: {max_connections: 50}")
        == "f.yml:10: provision.connection_limit must not be greater than the plan's "
           "max_connections, 50; found 51");
  CHECK(error_of_provision("connection_limit: 50, parameters: {max_connections: 50}")
        == "no error");
}

TEST_CASE("settings that contradict each other are refused") {
  CHECK(error_of_provision("node_count: 1, synchronous: strict")
            .starts_with("f.yml:10: provision.synchronous must not be strict with a node_count of "
                         "1"));
  CHECK(error_of_provision("node_count: 1, synchronous: true") == "no error");
  for (const auto* key : {"connection_limit: 5", "binding_lifetime: 1h"})
    CHECK(error_of_provision(std::string("credentials: shared, ") + key)
              .find(" needs credentials: per-binding")
          != std::string::npos);
}

TEST_CASE("a warning is given if a rotation changes no password") {
  const auto top = section::parse_text(
      "f.yml", catalog_with("    binding_rotatable: true\n    provision: {credentials: shared}\n"));
  (void)read_catalog(top, 4, known_engines);
  REQUIRE(top.warnings().size() == 1);
  CHECK(top.warnings()[0].starts_with("f.yml:10: plan \"cluster\" has shared credentials"));
}

TEST_CASE("parameters that a plan may not set are refused with the reason") {
  CHECK(error_of_parameters("listen_addresses: '*'")
        == "f.yml:10: a plan cannot set listen_addresses: each cell sets it for its own nodes");
  CHECK(error_of_parameters("Synchronous_Standby_Names: x")
        == "f.yml:10: a plan cannot set Synchronous_Standby_Names: Patroni sets it; write "
           "synchronous: true in the plan instead");
  for (const auto* name :
       {"port", "unix_socket_directories", "ssl", "ssl_cert_file", "wal_level", "hot_standby",
        "wal_log_hints", "cluster_name", "archive_mode", "archive_command", "matriarch.settings",
        "password_encryption", "hba_file", "data_directory", "restore_command", "fsync",
        "recovery_target_time", "primary_conninfo"})
    CHECK(error_of_parameters(std::string(name) + ": x").find("a plan cannot set ")
          != std::string::npos);
  for (const auto* name : {"hot_standby_feedback", "work_mem", "temp_file_limit", "wal_buffers",
                           "_my.own$setting", "TimeZone"})
    CHECK(error_of_parameters(std::string(name) + ": x") == "no error");
}

TEST_CASE("an unknown parameter of PostgreSQL is refused") {
  for (const auto* name : {"'work mem'", "work-mem", "1st", "a.b.c", "'x = y'", "\"a'b\"", "''"})
    CHECK(
        error_of_parameters(std::string(name) + ": x").find("is no name of a PostgreSQL parameter")
        != std::string::npos);
  CHECK(error_of_parameters("work_mem: [1]").find("work_mem must be a text or a number")
        != std::string::npos);
  CHECK(error_of_parameters("work_mem: ~").find("work_mem must be a text or a number")
        != std::string::npos);
  CHECK(error_of_parameters("work_mem: \"a\\nb\"").find("control characters") != std::string::npos);
  CHECK(error_of_parameters("work_mem: 1, WORK_MEM: 2")
            .starts_with("f.yml:10: two parameters have the name work_mem"));
}

TEST_CASE("every plan limits the WAL that a slot keeps, by its own value or the default") {
  auto of = [](const std::string& provision) {
    return plan_of("    provision: " + provision + "\n").provision.settings.parameters;
  };
  CHECK(of("{}").at("max_slot_wal_keep_size") == "4GB");
  CHECK(of("{}").at("hot_standby_feedback") == "on");
  CHECK(of("{parameters: {hot_standby_feedback: off}}").at("hot_standby_feedback") == "off");
  CHECK(of("{parameters: {Max_Slot_Wal_Keep_Size: 10GB}}").at("max_slot_wal_keep_size") == "10GB");
  for (const auto* parameter :
       {"max_slot_wal_keep_size: '-1'", "max_slot_wal_keep_size: 31MB", "wal_keep_size: 2TB",
        "max_slot_wal_keep_size: 1048577", "max_slot_wal_keep_size: 999999999999999TB",
        "max_slot_wal_keep_size: 32767kB", "max_slot_wal_keep_size: 64mb", "wal_keep_size: x",
        "max_slot_wal_keep_size: ''"})
    CHECK_MESSAGE(error_of_parameters(parameter).find("fills the leader's disk")
                      != std::string::npos,
                  parameter);
  for (const auto* parameter :
       {"max_slot_wal_keep_size: 32MB", "max_slot_wal_keep_size: 1048576", "wal_keep_size: 0",
        "max_slot_wal_keep_size: 1TB", "max_slot_wal_keep_size: '64 MB'"})
    CHECK_MESSAGE(error_of_parameters(parameter) == "no error", parameter);
}

TEST_CASE("numbers that Patroni would replace by its defaults are refused") {
  for (const auto* parameter :
       {"max_connections: 24", "max_connections: 262144", "max_connections: 1e2",
        "max_connections: '-1'", "max_wal_senders: 2", "max_replication_slots: 3",
        "max_worker_processes: 1", "max_locks_per_transaction: 31", "max_prepared_transactions: x"})
    CHECK(error_of_parameters(parameter).find("must be an integer from ") != std::string::npos);
  CHECK(error_of_parameters("max_connections: 25, max_prepared_transactions: 0") == "no error");
}

TEST_CASE("a plan names one of the engines that there are, and asks for what it can do") {
  using matriarch::config::two_engines;
  auto read = [](const std::string& keys) {
    const auto top = section::parse_text("f.yml", catalog_with("    provision: {" + keys + "}\n"));
    return read_catalog(top, 4, two_engines).services.at(0).plans.at(0).provision;
  };
  auto refusal = [&](const std::string& keys) -> std::string {
    try {
      (void)read(keys);
    } catch (const config_error& error) {
      return error.message;
    }
    return "no error";
  };
  CHECK(read("").engine == "postgresql");
  CHECK(read("").node_count == 2);
  const auto humble = read("engine: humble, parameters: {any: thing}");
  CHECK(humble.engine == "humble");
  CHECK(humble.node_count == 1);
  CHECK(humble.settings.credentials == credentials_mode::shared);
  CHECK(humble.settings.parameters == std::map<std::string, std::string>{{"any", "thing"}});
  CHECK(refusal("engine: mysql")
        == "f.yml:10: provision.engine must be postgresql or humble, found \"mysql\"");
  CHECK(refusal("engine: humble, node_count: 2")
        == "f.yml:10: provision.node_count must be 1: Humble has no replicas here, found 2");
  CHECK(refusal("engine: humble, synchronous: true")
        == "f.yml:10: provision.synchronous must be false: Humble waits for no replica");
  CHECK(refusal("engine: humble, credentials: per-binding")
        == "f.yml:10: provision.credentials must be shared: Humble has no users of bindings' own");
}
