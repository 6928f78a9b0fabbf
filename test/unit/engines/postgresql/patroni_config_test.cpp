#include <doctest/doctest.h>

#include <yaml-cpp/yaml.h>

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "engines/postgresql/cell/patroni_config.hpp"
#include "engines/postgresql/cell/settings.hpp"

namespace matriarch::engines::postgresql {

using namespace cell;

namespace {

const std::string hostile = "a'b\"c\\d:e%f$g;`h`{i}#j - *k &l !m\t";

template <class Change>
void change(cell_config& config, const Change& how) {
  auto own = std::make_shared<node_settings>(settings_of(config));
  how(*own);
  config.engine = std::move(own);
}

cell_config some_config() {
  cell_config config;
  config.engine = std::make_shared<const node_settings>();
  config.endpoints = *endpoint_pool::of_network("127.77.1.0/24", {5432, 8008});
  config.etcd.machines = {"http://127.0.0.1:2379", "http://10.0.0.2:4001"};
  change(config, [](auto& own) {
    own.patroni = {"/usr/bin/patroni", 5, 1, 2, 60, 777, false};
    own.bin_dir = "/usr/lib/postgresql/15/bin";
    own.parameters = {{"shared_buffers", "16MB"}, {"max_connections", "50"}};
  });
  config.plans["big"] = {{"shared_buffers", "64MB"}, {"wal_keep_size", "1GB"}};
  return config;
}

node_record some_node(std::string plan = "small") {
  node_record node;
  node.request = {"n1",
                  "c1",
                  "s",
                  std::move(plan),
                  "",
                  "",
                  {{"ADMIN_USERNAME", "admin"},
                   {"ADMIN_PASSWORD", hostile},
                   {"SUPERUSER_USERNAME", "super"},
                   {"SUPERUSER_PASSWORD", hostile},
                   {"APPUSER_USERNAME", "app"},
                   {"APPUSER_PASSWORD", hostile},
                   {"REPLICATION_USERNAME", "repl"},
                   {"REPLICATION_PASSWORD", hostile},
                   {"PATRONI_USERNAME", "rest"},
                   {"PATRONI_PASSWORD", hostile}}};
  node.where = {"127.77.1.9", 5432, 8008};
  return node;
}

YAML::Node rendered(const node_record& node, const std::string& directory = "/d/nodes/n1",
                    bool certified = false) {
  return YAML::Load(render_patroni(some_config(), node, node_paths{directory}, certified));
}

std::string text(const YAML::Node& node) {
  return node.as<std::string>();
}

} // namespace

TEST_CASE("Patroni's configuration has the node's name and addresses") {
  auto yaml = rendered(some_node());
  CHECK(text(yaml["scope"]) == "c1");
  CHECK(text(yaml["name"]) == "n1");
  CHECK(text(yaml["namespace"]) == "/service/");
  CHECK(text(yaml["restapi"]["listen"]) == "127.77.1.9:8008");
  CHECK(text(yaml["restapi"]["connect_address"]) == "127.77.1.9:8008");
  CHECK(text(yaml["postgresql"]["listen"]) == "127.77.1.9:5432");
  CHECK(text(yaml["postgresql"]["connect_address"]) == "127.77.1.9:5432");
  CHECK(text(yaml["postgresql"]["data_dir"]) == "/d/nodes/n1/home/data");
  CHECK(text(yaml["etcd3"]["hosts"][0]) == "127.0.0.1:2379");
  CHECK(text(yaml["etcd3"]["hosts"][1]) == "10.0.0.2:4001");
  CHECK(text(yaml["watchdog"]["mode"]) == "off");
}

TEST_CASE("Patroni serves TLS if the node has a certificate and the broker asked for TLS") {
  auto node = some_node();
  auto plain = render_patroni(some_config(), node, node_paths{"/d/n"}, false);
  CHECK_FALSE(speaks_tls(plain));
  CHECK_FALSE(YAML::Load(plain)["ctl"]);
  INFO("members of other cells may speak it already");
  auto first = rendered(node, "/d/n", true);
  CHECK(text(first["ctl"]["cacert"]) == "/d/n/fleet.crt");
  CHECK_FALSE(first["restapi"]["certfile"]);
  node.api_tls = true;
  CHECK_FALSE(rendered(node, "/d/n", false)["restapi"]["certfile"]);
  auto both = rendered(node, "/d/n", true);
  CHECK(text(both["restapi"]["certfile"]) == "/d/n/server.pem");
  CHECK(text(both["restapi"]["cafile"]) == "/d/n/fleet.crt");
  CHECK(text(both["restapi"]["verify_client"]) == "none");
  CHECK(text(both["ctl"]["cacert"]) == "/d/n/fleet.crt");
  CHECK(speaks_tls(render_patroni(some_config(), node, node_paths{"/d/n"}, true)));
}

TEST_CASE("PostgreSQL shows the operator's certificate if there is one, and Patroni never does") {
  auto config = some_config();
  change(config, [](auto& own) { own.tls.certificate = "/etc/c.pem"; });
  auto node = some_node();
  node.api_tls = true;
  auto yaml = YAML::Load(render_patroni(config, node, node_paths{"/d/n"}, true));
  CHECK(text(yaml["postgresql"]["parameters"]["ssl_cert_file"]) == "/d/n/operator.pem");
  CHECK(text(yaml["restapi"]["certfile"]) == "/d/n/server.pem");
}

TEST_CASE("the times of the configuration reach the cluster") {
  auto dcs = rendered(some_node())["bootstrap"]["dcs"];
  CHECK(dcs["ttl"].as<int>() == 5);
  CHECK(dcs["loop_wait"].as<int>() == 1);
  CHECK(dcs["retry_timeout"].as<int>() == 2);
  CHECK(dcs["master_start_timeout"].as<int>() == 60);
  CHECK(dcs["maximum_lag_on_failover"].as<int>() == 777);
  CHECK_FALSE(dcs["failsafe_mode"].as<bool>());
  CHECK(dcs["postgresql"]["use_slots"].as<bool>());
  CHECK(dcs["postgresql"]["use_pg_rewind"].as<bool>());
}

TEST_CASE("every password comes back from the YAML as it was") {
  auto yaml = rendered(some_node());
  CHECK(text(yaml["restapi"]["authentication"]["username"]) == "rest");
  CHECK(text(yaml["restapi"]["authentication"]["password"]) == hostile);
  auto authentication = yaml["postgresql"]["authentication"];
  CHECK(text(authentication["superuser"]["username"]) == "super");
  CHECK(text(authentication["superuser"]["password"]) == hostile);
  CHECK(text(authentication["replication"]["username"]) == "repl");
  CHECK(text(authentication["replication"]["password"]) == hostile);
}

TEST_CASE("PostgreSQL's parameters are the cluster's, except for the node's addresses and paths") {
  auto yaml = rendered(some_node());
  auto shared = yaml["bootstrap"]["dcs"]["postgresql"]["parameters"];
  CHECK(text(shared["max_connections"]) == "50");
  CHECK(text(shared["shared_buffers"]) == "16MB");
  CHECK(text(shared["wal_log_hints"]) == "on");
  CHECK(text(shared["wal_retrieve_retry_interval"]) == "500ms");
  CHECK(text(shared["ssl_min_protocol_version"]) == "TLSv1.2");
  CHECK(text(shared["password_encryption"]) == "scram-sha-256");
  // Patroni prefers local parameters to those that PATCH /config sets.
  auto local = yaml["postgresql"]["parameters"].as<std::map<std::string, std::string>>();
  CHECK(local
        == std::map<std::string, std::string>{{"authentication_timeout", "10s"},
                                              {"client_connection_check_interval", "2s"},
                                              {"ssl", "on"},
                                              {"ssl_cert_file", "/d/nodes/n1/server.pem"},
                                              {"ssl_key_file", "/d/nodes/n1/server.pem"},
                                              {"unix_socket_directories", "/d/nodes/n1/home/run"}});
}

TEST_CASE("max_wal_senders exceeds what unauthenticated connections and replicas can occupy") {
  auto senders_with = [](const std::string& parameters) {
    auto node = some_node();
    node.request.parameters["PATRONI_DYNAMIC_CONFIG"] =
        R"({"postgresql":{"parameters":{)" + parameters + "}}}";
    return text(rendered(node)["bootstrap"]["dcs"]["postgresql"]["parameters"]["max_wal_senders"]);
  };
  CHECK(senders_with("") == "60"); // the cell says 50
  CHECK(senders_with(R"("max_connections":"200")") == "210");
  CHECK(senders_with(R"("max_connections":200,"max_wal_senders":"20")") == "210");
  CHECK(senders_with(R"("max_wal_senders":"300")") == "300");
  CHECK(senders_with(R"("max_connections":null)") == "110");
  auto node = some_node();
  node.request.parameters["PATRONI_DYNAMIC_CONFIG"] = R"({"postgresql":null})";
  CHECK_FALSE(rendered(node)["bootstrap"]["dcs"]["postgresql"]);
}

TEST_CASE("a plan may set the time to log in and the time to notice a lost client") {
  auto node = some_node();
  for (const char* name : {"authentication_timeout", "client_connection_check_interval"}) {
    node.request.parameters["PATRONI_DYNAMIC_CONFIG"] =
        R"({"postgresql":{"parameters":{")" + std::string{name} + R"(":"30s"}}})";
    CHECK_FALSE(rendered(node)["postgresql"]["parameters"][name]);
  }
}

TEST_CASE("a plan's parameters replace the cell's and the built-in ones") {
  auto shared = rendered(some_node("big"))["bootstrap"]["dcs"]["postgresql"]["parameters"];
  CHECK(text(shared["shared_buffers"]) == "64MB");
  CHECK(text(shared["wal_keep_size"]) == "1GB");
}

TEST_CASE("the broker's parameters override all others, one by one") {
  auto node = some_node("big");
  node.request.parameters["PATRONI_DYNAMIC_CONFIG"] =
      R"({"ttl":20,"synchronous_mode":true,"failsafe_mode":null,"postgresql":{"parameters":)"
      R"({"Shared_Buffers":"1GB","work_mem":4096,"wal_keep_size":null,)"
      R"("matriarch.settings":"it's \"\\ \u00fc\u20ac"}}})";
  auto dcs = rendered(node)["bootstrap"]["dcs"];
  CHECK(dcs["ttl"].as<int>() == 20);
  CHECK(dcs["loop_wait"].as<int>() == 1);
  CHECK(dcs["synchronous_mode"].as<bool>());
  CHECK_FALSE(dcs["failsafe_mode"]);
  CHECK(dcs["postgresql"]["use_pg_rewind"].as<bool>());
  auto shared = dcs["postgresql"]["parameters"];
  CHECK(text(shared["shared_buffers"]) == "1GB");
  CHECK_FALSE(shared["Shared_Buffers"]);
  CHECK(text(shared["work_mem"]) == "4096");
  CHECK_FALSE(shared["wal_keep_size"]);
  CHECK(text(shared["max_connections"]) == "50");
  CHECK(text(shared["matriarch.settings"]) == "it's \"\\ \u00fc\u20ac");
}

namespace {

std::vector<std::string> hba_of(const cell_config& config, const node_record& node) {
  return YAML::Load(render_patroni(config, node, node_paths{"/d"}, false))["postgresql"]["pg_hba"]
      .as<std::vector<std::string>>();
}

} // namespace

TEST_CASE("every login needs a password, and only the replication user may replicate") {
  auto node = some_node();
  node.request.parameters["REPLICATION_USERNAME"] = "the \"r";
  CHECK(hba_of(some_config(), node)
        == std::vector<std::string>{
            "local all +\"app_revoked\",@\"/d/refused\" reject",
            "local replication +\"app_revoked\",@\"/d/refused\" reject",
            "host all +\"app_revoked\",@\"/d/refused\" all reject",
            "host replication +\"app_revoked\",@\"/d/refused\" all reject",
            "local replication \"the \"\"r\" scram-sha-256",
            "local all \"the \"\"r\" reject",
            "local all all scram-sha-256",
            "host replication \"the \"\"r\" 127.0.0.0/8 scram-sha-256",
            "host all \"the \"\"r\" all reject",
            "host all all 127.0.0.0/8 scram-sha-256",
        });
}

TEST_CASE("an older patroni.yml gets today's pg_hba.conf lines and is otherwise unchanged") {
  auto config = some_config();
  auto node = some_node();
  auto text = render_patroni(config, node, node_paths{"/d"}, false);
  auto rules = access_rules(config, node.request, node_paths{"/d"});
  CHECK(with_access_rules(text, rules) == text);
  auto earlier = with_access_rules(text, {"local all all scram-sha-256", "host all all all x"});
  REQUIRE(earlier);
  CHECK(*earlier != text);
  auto read = YAML::Load(*earlier);
  CHECK(read["postgresql"]["pg_hba"].size() == 2);
  CHECK(with_access_rules(*earlier, rules) == text);
  CHECK(with_access_rules(*with_access_rules(text, {}), rules) == text);
  CHECK_FALSE(with_access_rules("scope: c1\n", rules));
}

TEST_CASE("if TLS is required, no line of pg_hba.conf allows a plain connection") {
  auto config = some_config();
  change(config, [](auto& own) { own.require_tls = true; });
  for (const auto& line : hba_of(config, some_node()))
    CHECK(
        (line.starts_with("local ") || line.starts_with("hostssl ") || line.ends_with(" reject")));
}

TEST_CASE("Patroni uses the cluster's own etcd user, or the cell's if there is none") {
  auto config = some_config();
  auto node = some_node();
  auto etcd = [&] {
    return YAML::Load(render_patroni(config, node, node_paths{"/d/nodes/n1"}, false))["etcd3"];
  };
  CHECK_FALSE(etcd()["username"]);
  CHECK(text(etcd()["protocol"]) == "http");
  CHECK_FALSE(etcd()["cacert"]);
  config.etcd.username = "cell";
  config.etcd.password = hostile;
  CHECK(text(etcd()["username"]) == "cell");
  CHECK(text(etcd()["password"]) == hostile);
  node.request.etcd = {"c1", "p"};
  CHECK(text(etcd()["username"]) == "c1");
  CHECK(text(etcd()["password"]) == "p");
}

TEST_CASE("Patroni refuses an etcd with an untrusted certificate") {
  auto config = some_config();
  config.etcd.machines = {"https://e1:2379"};
  auto etcd = [&] {
    return YAML::Load(
        render_patroni(config, some_node(), node_paths{"/d/nodes/n1"}, false))["etcd3"];
  };
  CHECK(text(etcd()["hosts"][0]) == "e1:2379");
  CHECK(text(etcd()["protocol"]) == "https");
  CHECK(text(etcd()["cacert"]) == "/etc/ssl/certs/ca-certificates.crt");
  CHECK_FALSE(etcd()["cert"]);
  config.etcd.tls_authority = "/secret/authority";
  config.etcd.tls_certificate = "/secret/certificate";
  config.etcd.tls_key = "/secret/key";
  CHECK(text(etcd()["cacert"]) == "/d/nodes/n1/etcd-authority.crt");
  CHECK(text(etcd()["cert"]) == "/d/nodes/n1/etcd.crt");
  CHECK(text(etcd()["key"]) == "/d/nodes/n1/etcd.key");
}

TEST_CASE("a socket whose path would be too long is left out") {
  auto near = rendered(some_node())["postgresql"]["parameters"]["unix_socket_directories"];
  CHECK(text(near) == "/d/nodes/n1/home/run");
  // With "/home/run/.s.PGSQL.5432" appended, 107 and 108 bytes.
  auto longest = "/" + std::string(83, 'x');
  auto fits = rendered(some_node(), longest)["postgresql"]["parameters"];
  CHECK(text(fits["unix_socket_directories"]) == longest + "/home/run");
  auto too_long = rendered(some_node(), longest + "x")["postgresql"]["parameters"];
  CHECK(text(too_long["unix_socket_directories"]).empty());
}

TEST_CASE("SQL identifiers, SQL literals and shell words are quoted") {
  CHECK(sql_identifier("a\"b") == "\"a\"\"b\"");
  CHECK(sql_literal("a'b\\") == "'a''b\\'");
  CHECK(shell_word("a'b c") == "'a'\\''b c'");
}

TEST_CASE("the bootstrap SQL makes both roles and the application's database") {
  auto sql = render_bootstrap_sql(some_node().request);
  CHECK(sql.find("CREATE ROLE \"admin\" WITH LOGIN CREATEROLE CREATEDB PASSWORD "
                 + sql_literal(hostile))
        != std::string::npos);
  CHECK(sql.find("CREATE ROLE \"app\" WITH LOGIN PASSWORD " + sql_literal(hostile))
        != std::string::npos);
  CHECK(sql.find("CREATE DATABASE \"db\" OWNER \"app\";") != std::string::npos);
  // A statement that fails must not put a password into the log.
  CHECK(sql.find("SET log_min_error_statement = panic;") < sql.find("CREATE ROLE"));
}

TEST_CASE("PostgreSQL's start script does not recover a copy as if it were a leader") {
  auto config = some_config();
  change(config, [](auto& own) { own.bin_dir = "/usr/my sql/bin"; });
  auto script = render_postgres_script(config, node_paths{"/d/it's"}, {});
  CHECK(script.starts_with("#!/bin/sh\n"));
  CHECK(script.find("[ \"$1\" = --single ] && [ -e '/d/it'\\''s/home/data/backup_label' ]")
        != std::string::npos);
  CHECK(script.ends_with("exec '/usr/my sql/bin/postgres' \"$@\"\n"));
  auto patroni = YAML::Load(render_patroni(config, some_node(), node_paths{"/d/n"}, false));
  CHECK(patroni["postgresql"]["bin_dir"].as<std::string>() == "/d/n/bin");
}

TEST_CASE("PostgreSQL gets its node's limits before it starts") {
  auto config = some_config();
  auto script = render_postgres_script(config, node_paths{"/d/n"},
                                       {"/sys/fs/cgroup/it's/cgroup.procs", 64LL << 20, 332});
  auto joins = script.find("echo 0 > '/sys/fs/cgroup/it'\\''s/cgroup.procs' || exit 1\n");
  auto bounds = script.find("ulimit -d 65536 || exit 1\n");
  REQUIRE(joins != std::string::npos);
  REQUIRE(bounds != std::string::npos);
  CHECK(joins < script.find("exec "));
  CHECK(bounds < script.find("exec "));
  CHECK(script.find("ulimit -u 332 2>/dev/null || ulimit -p 332 || exit 1\n")
        < script.find("exec "));
  CHECK(script.find("PG_OOM_ADJUST_VALUE=0") != std::string::npos);
  // Relative to the data directory, so that a replica's copy is right too.
  CHECK(script.find("include_if_exists = '\\''../../bounds.conf'\\''") != std::string::npos);
  CHECK(node_paths{"/d/n"}.bounds == "/d/n/bounds.conf");
  CHECK(node_paths{"/d/n"}.data == "/d/n/home/data");
  CHECK(render_bounds(true) == "default_transaction_read_only = on\n");
  CHECK(render_bounds(false) == "\n");
  auto free = render_postgres_script(config, node_paths{"/d/n"}, {});
  CHECK(free.find("ulimit") == std::string::npos);
  CHECK(free.find("echo 0") == std::string::npos);
}

TEST_CASE("the bootstrap script holds no secret") {
  auto script = render_bootstrap_script(some_config(), node_paths{"/d/it's"});
  CHECK(script.find("'/d/it'\\''s/bootstrap.sql'") != std::string::npos);
  CHECK(script.find("e%f") == std::string::npos);
}

} // namespace matriarch::engines::postgresql
