#include <doctest/doctest.h>

#include "../temporary_directory.hpp"
#include "cell/cell_config.hpp"
#include "engines/postgresql/cell/settings.hpp"

namespace matriarch::cell {

namespace {

const std::string cell_line =
    "cell: {guid: g, availability_zone: z, port: 8901, username: u, password: p, data_dir: /d/, "
    "capacity: 2, addresses: 127.77.1.0/24}\n";
const std::string etcd_line = "etcd: {machines: [http://127.0.0.1:2379]}\n";

result<cell_config> loaded(const std::string& text) {
  test::temporary_directory directory;
  auto read =
      load_cell_config(directory.file("cell.yml", text), engines::postgresql::file_sections());
  if (!read)
    return failure{read.error()};
  return read->config;
}

/// The message of a configuration that must be refused.
std::string refusal(const std::string& text) {
  auto config = loaded(text);
  return config.ok() ? "accepted" : config.error();
}

std::string with(std::string text, const std::string& from, const std::string& to) {
  return text.replace(text.find(from), from.size(), to);
}

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("the documented example is a valid configuration") {
  auto read = load_cell_config(std::string{CONF_FOLDER} + "/cell.yml",
                               engines::postgresql::file_sections());
  REQUIRE_MESSAGE(read.ok(), (read.ok() ? "" : read.error()));
  const auto* config = &read->config;
  CHECK(config->guid == "cell-z1-1");
  CHECK(config->uri == "https://127.0.0.1:8901");
  CHECK(config->capacity == 16);
  CHECK(config->least_free_disk == std::int64_t{256} << 20);
  CHECK(engines::postgresql::settings_of(*config).patroni.ttl == 30);
  CHECK(config->parameters_of("another").at("shared_buffers") == "16MB");
}

TEST_CASE("a short configuration gets the documented defaults") {
  auto config = loaded(cell_line + etcd_line);
  REQUIRE_MESSAGE(config.ok(), (config.ok() ? "" : config.error()));
  CHECK(config->bind_host == "127.0.0.1");
  CHECK(config->uri == "https://127.0.0.1:8901");
  CHECK(config->data_dir == "/d");
  CHECK(config->least_free_disk == std::int64_t{256} << 20);
  CHECK(engines::postgresql::settings_of(*config).patroni.executable == "/usr/bin/patroni");
  CHECK(engines::postgresql::settings_of(*config).patroni.loop_wait == 10);
  CHECK(engines::postgresql::settings_of(*config).patroni.failsafe_mode);
  CHECK(engines::postgresql::settings_of(*config).bin_dir == "/usr/lib/postgresql/15/bin");
}

TEST_CASE("a plan has the cell's parameters and its own") {
  auto config =
      loaded(cell_line + etcd_line
             + "postgresql: {parameters: {a: 1, b: 2}}\nplans: {p1: {parameters: {b: 3}}}\n");
  REQUIRE_MESSAGE(config.ok(), (config.ok() ? "" : config.error()));
  CHECK(config->parameters_of("p1") == engine_parameters{{"a", "1"}, {"b", "3"}});
  CHECK(config->parameters_of("p2") == engine_parameters{{"a", "1"}, {"b", "2"}});
}

TEST_CASE("names of parameters are compared without regard to case") {
  auto config = loaded(cell_line + etcd_line
                       + "postgresql: {parameters: {Work_Mem: 1MB}}\n"
                         "plans: {p1: {parameters: {WORK_MEM: 2MB}}}\n");
  REQUIRE_MESSAGE(config.ok(), (config.ok() ? "" : config.error()));
  CHECK(config->parameters_of("p1") == engine_parameters{{"work_mem", "2MB"}});
}

TEST_CASE("the certificate of all nodes and the users of etcd come from the configuration") {
  test::temporary_directory directory;
  auto pem = directory.file("some.pem", "x");
  auto password = directory.file("password", "q\n");
  auto config = loaded(with(cell_line, "password: p", "password_file: " + password)
                       + "etcd: {machines: ['https://e:2379'], username: cell, password: z, tls: "
                         "{authority: "
                       + pem + "}}\npostgresql: {require_tls: true, tls: {certificate: " + pem
                       + ", key: " + pem + "}}\n");
  REQUIRE_MESSAGE(config.ok(), (config.ok() ? "" : config.error()));
  CHECK(config->password == "q");
  CHECK(config->etcd.username == "cell");
  CHECK(config->etcd.tls_authority == pem);
  CHECK(engines::postgresql::settings_of(*config).require_tls);
  CHECK(engines::postgresql::settings_of(*config).tls.certificate == pem);
  CHECK(engines::postgresql::settings_of(*config).tls.key == pem);
  CHECK(engines::postgresql::settings_of(*config).tls.authority.empty());
  CHECK(config->tls.certificate.empty());
  CHECK_FALSE(config->plain_http);
}

TEST_CASE("a wrong configuration is refused in one line that names what is wrong") {
  for (auto [text, word] : {
           std::pair{cell_line, "etcd"},
           {etcd_line, "cell"},
           {with(cell_line, "guid: g", "guid: a/b") + etcd_line, "guid"},
           {with(cell_line, "8901", "0") + etcd_line, "port"},
           {with(cell_line, "8901", "65536") + etcd_line, "port"},
           {with(cell_line, "username: u", "user: u") + etcd_line, "user"},
           {with(cell_line, "/d/", "d") + etcd_line, "data_dir"},
           {with(cell_line, "/d/", "/") + etcd_line, "data_dir"},
           {with(cell_line, "/d/", "/" + std::string(160, 'd')) + etcd_line, "160 bytes"},
           {with(cell_line, "capacity: 2", "capacity: 255") + etcd_line, "254"},
           {with(cell_line, "capacity: 2", "capacity: 2, least_free_disk: some") + etcd_line,
            "a whole number of MB, GB or TB"},
           {with(cell_line, "127.77.1.0/24", "127.77.1.0") + etcd_line, "addresses"},
           {with(cell_line, ", addresses: 127.77.1.0/24", "") + etcd_line, "addresses"},
           {with(cell_line, "capacity", "host: 10.0.0.1, capacity") + etcd_line, "addresses"},
           {cell_line + "etcd: {machines: []}\n", "machines"},
           {cell_line + "etcd: {machines: [127.0.0.1:2379]}\n", "http://"},
           {cell_line + etcd_line + "patroni: {retry_timeout: 1}\n", "retry_timeout"},
           {cell_line + etcd_line + "postgresql: {parameters: {port: 1}}\n", "port"},
           {cell_line + etcd_line + "postgresql: {parameters: {SSL_Key_File: /k}}\n", "SSL_Key"},
           {cell_line + etcd_line + "postgresql: {parameters: {a: 1, A: 2}}\n", "twice"},
           {cell_line + etcd_line + "postgresql: {tls: {key: /nowhere}}\n", "certificate"},
           {cell_line + etcd_line + "plans: {p: {driver: docker}}\n", "driver"},
       }) {
    CAPTURE(text);
    auto why = refusal(text);
    CHECK(holds(why, "cell.yml:"));
    CHECK(holds(why, word));
    CHECK_FALSE(holds(why, "\n"));
  }
}

} // namespace matriarch::cell
