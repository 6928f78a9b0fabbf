#include <doctest/doctest.h>

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

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

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

const std::string etcd = "etcd: {machines: ['http://127.0.0.1:2379']}\n";

} // namespace

TEST_CASE("the example configuration is read") {
  auto directory = std::getenv("CONF_DIR");
  REQUIRE(directory);
  auto config = load_router_config(std::string{directory} + "/router.yml");
  REQUIRE_MESSAGE(config.ok(), config.error());
  CHECK(config->data_dir == "/var/lib/matriarch/router");
  CHECK(config->maxconn == 4000);
  CHECK(config->max_connections_per_port == 500);
  CHECK(config->check_interval == 500ms);
  CHECK(config->hard_stop_after == 1h);
  CHECK(config->max_old_workers == 50);
  CHECK(config->stop_grace == 5s);
  CHECK(config->status_port == 8890);
  REQUIRE(config->broker);
  CHECK(config->broker->listen == 8888);
}

TEST_CASE("the data directory and etcd are all that has to be said") {
  auto config = load("router: {data_dir: /tmp/r/}\n" + etcd);
  REQUIRE_MESSAGE(config.ok(), config.error());
  CHECK(config->data_dir == "/tmp/r");
  CHECK(config->haproxy == "/usr/sbin/haproxy");
  CHECK(config->max_connections_per_port == 500);
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
  CHECK(contains(error("router: {data_dir: /r, hard_stop_after: 7d}\n" + etcd), "24h"));
  CHECK(contains(error("router: {data_dir: /r, max_connections_per_port: 0}\n" + etcd),
                 "max_connections_per_port"));
  CHECK(contains(error("router: {data_dir: /r, max_connections_per_port: 1000001}\n" + etcd),
                 "max_connections_per_port"));
  CHECK(contains(error("router: {data_dir: /r, max_old_workers: 0}\n" + etcd), "max_old_workers"));
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

TEST_CASE("etcd's user is read") {
  auto config = load("router: {data_dir: /r}\netcd: {machines: ['https://h:1'], username: router, "
                     "password: p}\n");
  REQUIRE_MESSAGE(config.ok(), config.error());
  CHECK(config->etcd.machines == std::vector<std::string>{"https://h:1"});
  CHECK(config->etcd.username == "router");
  CHECK(config->etcd.password == "p");
}

} // namespace matriarch::router
