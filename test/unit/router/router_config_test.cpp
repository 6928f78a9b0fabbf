#include <doctest/doctest.h>

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "../../texts.hpp"
#include "router/router_config.hpp"

namespace matriarch::router {

namespace {

using namespace std::chrono_literals;

result<router_config> load(const std::string& text) {
  auto path = std::filesystem::temp_directory_path()
              / ("router-config-" + std::to_string(::getpid()) + ".yml");
  std::ofstream{path} << text;
  auto loaded = load_router_config(path);
  std::filesystem::remove(path);
  return loaded;
}

using matriarch::test::contains;

const std::string etcd = "etcd: {machines: ['http://127.0.0.1:2379']}\n";

} // namespace

TEST_CASE("the example configuration is read") {
  auto directory = std::getenv("CONF_DIR");
  REQUIRE(directory);
  auto config = load_router_config(std::string{directory} + "/router.yml");
  REQUIRE_MESSAGE(config.ok(), config.error());
  CHECK(config->data_dir == "/var/lib/matriarch/router");
  CHECK(config->maxconn == 4000);
  CHECK(config->first_port == 30000);
  CHECK(config->last_port == 32767);
  CHECK(config->slots == 6);
  CHECK(config->limits == limit_settings{});
  CHECK(config->check_interval == 500ms);
  CHECK(config->warnings.empty());
  CHECK(config->stop_grace == 5s);
  CHECK(config->status_port == 8890);
  REQUIRE(config->broker);
  CHECK(config->broker->listen == 8888);
}

TEST_CASE("only the data directory and etcd are required") {
  auto config = load("router: {data_dir: /tmp/r/}\n" + etcd);
  REQUIRE_MESSAGE(config.ok(), config.error());
  CHECK(config->data_dir == "/tmp/r");
  CHECK(config->haproxy == "/usr/sbin/haproxy");
  CHECK(config->id.empty());
  CHECK(config->first_port == 30000);
  CHECK(config->last_port == 32767);
  CHECK(config->limits == limit_settings{});
  CHECK_FALSE(config->broker);
}

TEST_CASE("a wrong configuration is refused with the reason") {
  auto error = [](const std::string& text) {
    auto loaded = load(text);
    return loaded ? std::string{} : loaded.error();
  };
  CHECK(contains(error("router: {data_dir: r}\n" + etcd), "absolute path"));
  CHECK(contains(error("router: {data_dir: \"/tmp/a b\"}\n" + etcd), "spaces"));
  CHECK(contains(error("router: {data_dir: /" + std::string(100, 'x') + "}\n" + etcd), "70"));
  CHECK(contains(error("router: {data_dir: /r, bind_hots: 1}\n" + etcd), "bind_host"));
  CHECK(contains(error("router: {data_dir: /r, bind_host: 'x y'}\n" + etcd), "x y"));
  CHECK(contains(error("router: {data_dir: /r, check_interval: 1ms}\n" + etcd), "50ms"));
  CHECK(contains(error("router: {data_dir: /r, limits: {first_bytes: 7d}}\n" + etcd), "24h"));
  CHECK(contains(error("router: {data_dir: /r, limits: {nearly_full: 101}}\n" + etcd),
                 "nearly_full"));
  CHECK(contains(error("router: {data_dir: /r, limits: {routers: 0}}\n" + etcd), "routers"));
  CHECK(contains(error("router: {data_dir: /r, ports: {first: 31000, last: 30999}}\n" + etcd),
                 "first, 31000, is above last, 30999"));
  CHECK(contains(error("router: {data_dir: /r, ports: {first: 0}}\n" + etcd), "first"));
  CHECK(contains(error("router: {data_dir: /r, id: 'a/b'}\n" + etcd), "id may have letters"));
  CHECK(contains(error("router: {data_dir: /r, max_connections_per_port: 0}\n" + etcd),
                 "max_connections_per_port"));
  CHECK(contains(error("router: {data_dir: /r, max_connections_per_port: 1000001}\n" + etcd),
                 "max_connections_per_port"));
  CHECK(contains(error("router: {data_dir: /r}\nbroker: {listen: 1, servers: [x]}\n" + etcd),
                 "host:port"));
  CHECK(contains(error("router: {data_dir: /r}\n"), "etcd"));
  CHECK(contains(error("router: {data_dir: /r}\netcd: {machines: ['127.0.0.1:2379']}\n"),
                 "must be a URI such as http://"));
  CHECK(contains(
      error("router: {data_dir: /r}\nbroker: {listen: 1, servers: ['h:1'], tls: {}}\n" + etcd),
      "broker.tls.certificate is missing"));
  CHECK(contains(error("router: {data_dir: /r}\nbroker: {listen: 1, servers: ['h:1'], tls: "
                       "{certificate: /nonexistent}}\n"
                       + etcd),
                 "/nonexistent cannot be read"));
}

TEST_CASE("keys of earlier releases cause a warning, and the others are read") {
  auto config =
      load("router: {data_dir: /r, hard_stop_after: 1h, max_old_workers: 50, id: r-1, slots: "
           "9, ports: {first: 20000, last: 20009}, limits: {reserve: 20, routers: 2, "
           "per_source: 5}}\n"
           + etcd);
  REQUIRE_MESSAGE(config.ok(), config.error());
  REQUIRE(config->warnings.size() == 2);
  CHECK(contains(config->warnings[0], "router.hard_stop_after has no effect any more"));
  CHECK(contains(config->warnings[1], "router.max_old_workers has no effect any more"));
  CHECK(config->id == "r-1");
  CHECK(config->slots == 9);
  CHECK(config->first_port == 20000);
  CHECK(config->last_port == 20009);
  CHECK(config->limits.reserve == 20);
  CHECK(config->limits.routers == 2);
  CHECK(config->limits.per_source == 5);
}

TEST_CASE("etcd's user is read") {
  auto config = load("router: {data_dir: /r}\netcd: {machines: ['https://h:1'], username: router, "
                     "password: p}\n");
  REQUIRE_MESSAGE(config.ok(), config.error());
  CHECK(config->etcd.machines == std::vector<std::string>{"https://h:1"});
  CHECK(config->etcd.username == "router");
  CHECK(config->etcd.password == "p");
}

} // namespace matriarch::router
