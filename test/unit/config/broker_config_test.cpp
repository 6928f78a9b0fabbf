#include <doctest/doctest.h>

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "config/broker_config.hpp"
#include "engines.hpp"

using matriarch::config::broker_config;
using matriarch::config::known_engines;
using matriarch::config::load_broker_config;
using matriarch::config::login;
using matriarch::config::parse_broker_config;

namespace {

/// A configuration without any key that has a default.
const std::string smallest = R"(broker:
  username: u
  password: p
cells:
- {guid: c1, availability_zone: z1, uri: 'https://127.0.0.1:8901', username: cu, password: cp}
- {guid: c2, availability_zone: z2, uri: 'https://127.0.0.1:8902/', username: cu, password: cp}
etcd:
  machines: [http://127.0.0.1:2379/]
catalog:
  services:
  - id: s1
    name: postgresql
    description: a service
    plans:
    - id: p1
      name: cluster
      description: a plan
)";

/// The smallest configuration with `from` replaced by `to`.
std::string with(const std::string& from, const std::string& to, std::string text = smallest) {
  const auto at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

broker_config good(const std::string& text, std::string_view range = "32768\t60999\n") {
  auto parsed = parse_broker_config("f.yml", text, range, known_engines);
  INFO((parsed.ok() ? "" : parsed.error()));
  REQUIRE(parsed.ok());
  return *parsed;
}

std::string error_of(const std::string& text) {
  const auto parsed = parse_broker_config("f.yml", text, "", known_engines);
  return parsed.ok() ? "no error" : parsed.error();
}

/// The smallest configuration in which operators have credentials of their own.
const std::string separate =
    std::string(smallest).insert(smallest.find("cells:"), "  admin: {username: a, password: ap}\n");

std::string plan_with(const std::string& lines) {
  return smallest + lines;
}

} // namespace

TEST_CASE("missing keys take the defaults") {
  const auto config = good(smallest);
  CHECK(config.broker.bind_host == "127.0.0.1");
  CHECK(config.broker.port == 3000);
  CHECK(config.broker.strict);
  CHECK(config.broker.advertise_host == "127.0.0.1");
  CHECK(config.broker.threads == 1);
  CHECK_FALSE(config.broker.trusted_proxies);
  CHECK(config.routing.first == 30000);
  CHECK(config.routing.last == 32767);
  CHECK(config.routing.rest_milliseconds == 7LL * 24 * 3600 * 1000);
  CHECK(config.routing.wait_for_routers);
  const auto& service = config.catalog.services.at(0);
  CHECK(service.bindable);
  CHECK_FALSE(service.plan_updateable);
  CHECK(service.tags.empty());
  CHECK(service.metadata.empty());
  const auto& plan = service.plans.at(0);
  CHECK(plan.free);
  CHECK_FALSE(plan.bindable);
  CHECK(plan.maximum_polling_duration == 600);
  CHECK(plan.provision.engine == "postgresql");
  CHECK(plan.provision.node_count == 2);
  matriarch::model::cluster_settings otherwise;
  otherwise.parameters = known_engines.usual().completed({});
  CHECK(plan.provision.settings == otherwise);
  CHECK(plan.provision.settings.credentials == matriarch::model::credentials_mode::per_binding);
  CHECK(plan.provision.binding_lifetime == 0);
  CHECK_FALSE(plan.provision.superuser_in_bindings);
  CHECK_FALSE(plan.plan_updateable);
  CHECK_FALSE(plan.binding_rotatable);
  CHECK_FALSE(plan.maintenance);
  CHECK_FALSE(service.allow_context_updates);
  CHECK(config.secrets.key_file.empty());
  CHECK(config.audit_file.empty());
}

TEST_CASE("all keys are read") {
  const auto config =
      good(with("  username: u\n",
                "  username: u\n  port: 1\n  bind_host: 10.0.0.1\n  strict: false\n  threads: 4\n"
                "  trusted_proxies: [10.0.0.0/8, '::1']\n",
                plan_with(
                    "      free: false\n      bindable: false\n      maximum_polling_duration: 60\n"
                    "      provision: {node_count: 1}\n"))
           + "routing: {first: 1000, last: 1000, rest: 10s, wait_for_routers: false}\n");
  CHECK(config.broker.users == std::vector<login>{{"u", "p", ""}});
  CHECK(config.broker.admins.empty());
  CHECK(config.broker.port == 1);
  CHECK(config.broker.advertise_host == "10.0.0.1");
  CHECK_FALSE(config.broker.strict);
  CHECK(config.broker.threads == 4);
  REQUIRE(config.broker.trusted_proxies);
  REQUIRE(config.broker.trusted_proxies->size() == 2);
  CHECK(config.broker.trusted_proxies->at(0).contains(
      *matriarch::model::ip_address::parse("10.9.9.9")));
  CHECK(config.cells.at(1).guid == "c2");
  CHECK(config.cells.at(1).availability_zone == "z2");
  CHECK(config.cells.at(1).uri == "https://127.0.0.1:8902");
  CHECK(config.cells.at(1).username == "cu");
  CHECK(config.cells.at(1).password == "cp");
  CHECK(config.etcd.machines.at(0) == "http://127.0.0.1:2379");
  CHECK(config.routing.first == 1000);
  CHECK(config.routing.rest_milliseconds == 10'000);
  CHECK_FALSE(config.routing.wait_for_routers);
  const auto& plan = config.catalog.services[0].plans[0];
  CHECK_FALSE(plan.free);
  CHECK(plan.bindable == false);
  CHECK(plan.maximum_polling_duration == 60);
  CHECK(plan.provision.node_count == 1);
}

TEST_CASE("services and plans are found by their ids") {
  const auto catalog = good(smallest).catalog;
  REQUIRE(catalog.find_service("s1"));
  CHECK_FALSE(catalog.find_service("p1"));
  CHECK(catalog.find_service("s1")->find_plan("p1")->name == "cluster");
  CHECK_FALSE(catalog.find_service("s1")->find_plan("s1"));
}

TEST_CASE("metadata becomes JSON with the types that YAML gives them") {
  const auto config =
      good(plan_with("      metadata:\n        n: 1.50\n        t: true\n        q: 'true'\n"
                     "        z: ~\n        l: [a, {b: 007}]\n        s: say \"hi\"\n"));
  CHECK(config.catalog.services[0].plans[0].metadata
        == R"({"n":1.50,"t":true,"q":"true","z":null,"l":["a",{"b":"007"}],"s":"say \"hi\""})");
  CHECK(error_of(plan_with("      metadata: [a]\n"))
        == "f.yml:18: catalog.services[0].plans[0].metadata must be a mapping, found a list");
  CHECK(error_of(plan_with("      metadata: {n: 1e999}\n"))
            .starts_with("f.yml:18: metadata cannot be written as JSON: "));
}

TEST_CASE("ports lie between 1 and 65535") {
  for (const auto* port : {"0", "65536", "-1", "x"})
    CHECK(error_of(with("  username: u\n", std::string("  username: u\n  port: ") + port + "\n"))
          == std::string("f.yml:3: broker.port must be an integer from 1 to 65535, found \"") + port
                 + "\"");
  CHECK(error_of(smallest + "routing: {first: 0}\n")
        == "f.yml:18: routing.first must be an integer from 1 to 65535, found \"0\"");
  CHECK(error_of(smallest + "routing: {last: 70000}\n")
        == "f.yml:18: routing.last must be an integer from 1 to 65535, found \"70000\"");
}

TEST_CASE("repair has defaults, reads its values, and refuses harmful ones") {
  CHECK(good(smallest).repair.after == std::chrono::minutes{5});
  CHECK(good(smallest).repair.parallel == 2);
  const auto given = good(smallest + "repair: {after: 10m, parallel: 4}\n");
  CHECK(given.repair.after == std::chrono::minutes{10});
  CHECK(given.repair.parallel == 4);
  for (const auto* wrong : {"0s", "4999ms", "8d"})
    CHECK(error_of(smallest + "repair: {after: " + wrong + "}\n")
          == "f.yml:18: repair.after must be 5s to 7d: how long nothing is heard of a cell before "
             "its nodes are replaced");
  CHECK(error_of(smallest + "repair: {parallel: 0}\n")
        == "f.yml:18: repair.parallel must be an integer from 1 to 100, found \"0\"");
  CHECK(error_of(smallest + "repair: {afer: 1m}\n").find("did you mean \"after\"?")
        != std::string::npos);
}

TEST_CASE("a warning is given if repair.after is shorter than a machine's restart") {
  const auto warnings = good(smallest + "repair: {after: 10s}\n").warnings;
  REQUIRE(warnings.size() == good(smallest).warnings.size() + 1);
  CHECK(warnings.back().starts_with("f.yml:18: repair.after is shorter than"));
  CHECK(good(smallest + "repair: {after: 1m}\n").warnings == good(smallest).warnings);
}

TEST_CASE("the routing range is not empty") {
  CHECK(error_of(smallest + "routing:\n  first: 30001\n  last: 30000\n")
        == "f.yml:20: routing.first must not be greater than routing.last, found 30001 and 30000");
  CHECK(error_of(smallest + "routing:\n  first: 40000\n")
        == "f.yml:19: routing.first must not be greater than routing.last, found 40000 and 32767");
}

TEST_CASE("a warning is given if the routing range meets the kernel's local ports") {
  CHECK(good(separate, "32768\t60999\n").warnings.empty());
  CHECK(good(separate, "").warnings.empty());
  CHECK(good(separate, "nonsense").warnings.empty());
  CHECK(good(separate, "1024 29999").warnings.empty());
  const auto warnings = good(separate, "32767\t60999\n").warnings;
  REQUIRE(warnings.size() == 1);
  CHECK(warnings[0].starts_with("f.yml: routing's ports 30000 to 32767 meet the kernel's local "
                                "ports 32767 to 60999: "));
  CHECK(good(separate, "1024 30000").warnings.size() == 1);
}

TEST_CASE("a warning is given if the broker's port is in the routing range") {
  const auto warnings =
      good(with("  username: u\n", "  username: u\n  port: 30000\n", separate)).warnings;
  REQUIRE(warnings.size() == 1);
  CHECK(warnings[0].starts_with("f.yml: broker.port 30000 is one of routing's ports"));
}

TEST_CASE("a warning is given if the platform can call /admin") {
  const auto warnings = good(smallest).warnings;
  REQUIRE(warnings.size() == 1);
  CHECK(warnings[0].starts_with("f.yml:1: broker.admin is missing, so the platform's credentials "
                                "can call /admin as well"));
}

TEST_CASE("applications cannot be told to connect to a wildcard address") {
  const auto wildcard = with("  username: u\n", "  username: u\n  bind_host: 0.0.0.0\n");
  CHECK(error_of(wildcard).starts_with("f.yml:1: broker.advertise_host must be a host that "
                                       "applications can connect to"));
  CHECK(good(with("  username: u\n", "  username: u\n  advertise_host: db.example.com\n", wildcard))
            .broker.advertise_host
        == "db.example.com");
}

TEST_CASE("the broker's user and password are required") {
  CHECK(error_of(with("  password: p\n", ""))
        == "f.yml:1: broker.password is missing; it must be a text, or password_file must name a "
           "file whose first line it is");
  CHECK(error_of(with("  username: u\n", ""))
        == "f.yml:1: broker.username is missing; it must be a text");
  CHECK(error_of(with("  username: u\n", "  username: a:b\n"))
            .starts_with("f.yml:2: a username must not contain a colon"));
}

TEST_CASE("several users and tokens can be valid at a time, for rotation") {
  const auto config =
      good(with("  username: u\n", "  username: u\n  users:\n  - {username: u, password: next}\n"
                                   "  - token: aB1-._~+/==\n"
                                   "  admin:\n    username: a\n    password: ap\n"
                                   "    users: [{token: t}]\n"));
  CHECK(config.broker.users
        == std::vector<login>{{"u", "p", ""}, {"u", "next", ""}, {"", "", "aB1-._~+/=="}});
  CHECK(config.broker.admins == std::vector<login>{{"a", "ap", ""}, {"", "", "t"}});
  CHECK(config.warnings.empty());
}

TEST_CASE("a user is either a name and a password or a token that can be sent") {
  const auto error_of_user = [](const std::string& user) {
    return error_of(with("  username: u\n", "  username: u\n  users: [" + user + "]\n"));
  };
  CHECK(error_of_user("{username: a, token: t}")
        == "f.yml:3: one of users has either a username and a password, or a token");
  CHECK(error_of_user("{}").starts_with("f.yml:3: broker.users[0].username is missing"));
  CHECK(error_of_user("{username: a}").starts_with("f.yml:3: broker.users[0].password is missing"));
  CHECK(error_of_user("{username: 'a:b', password: p}")
            .starts_with("f.yml:3: a username must not contain a colon"));
  for (const auto* token : {"'hunter 2'", "'='", "'a=b'", "hünter2"}) {
    const auto error = error_of_user(std::string("{token: ") + token + "}");
    CHECK(error
          == "f.yml:3: a token must consist of letters, digits and \"-._~+/\", with \"=\" at its "
             "end only");
  }
  CHECK(error_of_user("hunter2").find("hunter2") == std::string::npos);
}

TEST_CASE("the platform and the operators must not share credentials") {
  const auto with_admin = [](const std::string& admin) {
    return error_of(
        with("  username: u\n", "  username: u\n  users: [{token: t}]\n  admin: " + admin + "\n"));
  };
  CHECK(with_admin("{username: u, password: p}")
            .starts_with("f.yml:4: broker.admin and broker have a user or a token in common"));
  CHECK(with_admin("{username: a, password: p, users: [{token: t}]}")
            .starts_with("f.yml:4: broker.admin and broker have a user or a token in common"));
  CHECK(with_admin("{username: u, password: other}") == "no error");
}

TEST_CASE("the keys for etcd's secrets are read from their file") {
  const auto path =
      (std::filesystem::temp_directory_path() / ("matriarch-keys-" + std::to_string(::getpid())))
          .string();
  std::ofstream(path) << "# newest\nabc\n\ndef\n";
  const auto config = good(smallest + "secrets: {key_file: " + path + "}\naudit: {file: /a/b}\n");
  CHECK(config.secrets.key_file == path);
  CHECK(config.secrets.keys == "# newest\nabc\n\ndef\n");
  CHECK(config.audit_file == "/a/b");
  std::filesystem::remove(path);
  CHECK(error_of(smallest + "secrets:\n  key_file: " + path + "\n")
        == "f.yml:19: secrets.key_file: the file " + path
               + " cannot be read: No such file or directory");
  CHECK(error_of(smallest + "secrets: {}\n").starts_with("f.yml:18: secrets.key_file is missing"));
  CHECK(error_of(smallest + "audit: {}\n").starts_with("f.yml:18: audit.file is missing"));
}

TEST_CASE("an operator's authority is read from its files, and one that cannot sign is refused") {
  const auto directory =
      std::filesystem::temp_directory_path() / ("matriarch-pem-" + std::to_string(::getpid()));
  std::filesystem::create_directory(directory);
  const matriarch::model::wall_time now{};
  const auto authority =
      matriarch::tls::make_authority("operator", {now, now + std::chrono::days{99}});
  const auto server =
      matriarch::tls::make_unchecked({"n1", {"h"}}, {now, now + std::chrono::days{99}});
  std::ofstream(directory / "authority.pem") << authority->certificate;
  std::ofstream(directory / "authority.key") << authority->key;
  std::ofstream(directory / "server.pem") << server->certificate;
  const auto with_files = [&](const std::string& certificate, const std::string& key) {
    return smallest + "authority:\n  certificate: " + (directory / certificate).string()
           + "\n  key: " + (directory / key).string() + "\n";
  };
  CHECK(good(smallest).authority.all.empty());
  CHECK(good(with_files("authority.pem", "authority.key")).authority.all.size() == 1);
  CHECK(error_of(with_files("server.pem", "authority.key"))
            .starts_with("f.yml:18: authority.certificate is not an authority's"));
  CHECK(error_of(with_files("authority.pem", "server.pem"))
            .starts_with("f.yml:18: authority.key is no key in PEM"));
  CHECK(error_of(with_files("authority.pem", "none"))
            .starts_with("f.yml:20: authority.key: the file"));
  CHECK(error_of(smallest + "authority: {}\n").starts_with("f.yml:18: authority.key is missing"));
  std::filesystem::remove_all(directory);
}

TEST_CASE("cells must exist, be complete and be distinct") {
  CHECK(error_of("broker: {username: u, password: p}\ncells: []\n")
            .starts_with("f.yml:2: cells must list at least one cell"));
  CHECK(error_of("broker: {username: u, password: p}\n")
            .starts_with("f.yml:1: cells must list at least one cell"));
  CHECK(error_of(with("guid: c2", "guid: c1"))
        == "f.yml:6: two cells have the guid \"c1\"; each needs its own");
  CHECK(error_of(with("8902/", "8901"))
        == "f.yml:6: two cells have the uri https://127.0.0.1:8901; each needs its own");
  CHECK(error_of(with("guid: c2, ", "")) == "f.yml:6: cells[1].guid is missing; it must be a text");
  CHECK(error_of(with("guid: c2", "guid: a/b"))
            .starts_with("f.yml:6: a cell's guid must consist of"));
  CHECK(error_of(with(", username: cu", ""))
        == "f.yml:5: cells[0].username is missing; it must be a text");
  CHECK(error_of(with("availability_zone: z1, ", ""))
        == "f.yml:5: cells[0].availability_zone is missing; it must be a text");
}

TEST_CASE("a cell's address is an https URI, or with a warning a plain http one") {
  const auto with_uri = [](const std::string& uri) { return with("https://127.0.0.1:8901", uri); };
  const auto error_of_uri = [&](const std::string& uri) { return error_of(with_uri(uri)); };
  CHECK(error_of_uri("127.0.0.1:8901")
        == "f.yml:5: the uri of cell \"c1\" must be a URI such as https://10.0.0.1:8901, "
           "found \"127.0.0.1:8901\"");
  for (const std::string scheme : {"http://", "https://"}) {
    CHECK(error_of_uri(scheme + "user:secret@h:1")
          == "f.yml:5: the uri of cell \"c1\" must not contain a user or a password");
    for (const auto* place : {"h:0", "h:65536", "h:x", "h:", "h:1/a"})
      CHECK(error_of_uri(scheme + place).find("must have a port from 1 to 65535")
            != std::string::npos);
    for (const auto* place : {"", ":80", "a b:1", "h/p:1", "[::1:80"})
      CHECK(error_of_uri(scheme + place).find("must be a URI such as") != std::string::npos);
    for (const auto* place : {"h", "cell-1.example.com:80", "[::1]:80", "[::1]"})
      CHECK(error_of_uri(scheme + place) == "no error");
  }
  CHECK(error_of_uri("user:secret@h:1").find("secret") == std::string::npos);
  const auto warnings = good(with_uri("http://h:1")).warnings;
  REQUIRE(warnings.size() == good(smallest).warnings.size() + 1);
  CHECK(warnings.back().starts_with("f.yml:5: cell \"c1\" is reached by plain HTTP"));
}

TEST_CASE("etcd has at least one machine") {
  CHECK(error_of(with("[http://127.0.0.1:2379/]", "[]"))
        == "f.yml:8: etcd.machines must list at least one URI such as http://127.0.0.1:2379");
  CHECK(error_of(with("etcd:\n  machines: [http://127.0.0.1:2379/]\n", ""))
        == "f.yml:1: etcd is missing; it must be a mapping");
}

TEST_CASE("the catalog has services, and services have plans") {
  CHECK(error_of(
            with("  services:\n", "  services: []\n", smallest.substr(0, smallest.find("  - id"))))
        == "f.yml:10: catalog.services must list at least one service");
  CHECK(error_of(smallest.substr(0, smallest.find("    plans")))
        == "f.yml:11: service \"postgresql\" must list at least one plan");
}

TEST_CASE("services and plans have ids, names and descriptions") {
  CHECK(error_of(with("    - id: p1\n      name", "    - name"))
        == "f.yml:15: catalog.services[0].plans[0].id is missing; it must be a text");
  CHECK(error_of(with("id: p1", "id: ''"))
        == "f.yml:15: catalog.services[0].plans[0].id must not be empty");
  CHECK(error_of(with("  - id: s1\n    name", "  - name"))
        == "f.yml:11: catalog.services[0].id is missing; it must be a text");
  CHECK(error_of(with("      description: a plan\n", ""))
        == "f.yml:15: catalog.services[0].plans[0].description is missing; it must be a text");
  CHECK(error_of(with("    description: a service\n", ""))
        == "f.yml:11: catalog.services[0].description is missing; it must be a text");
  CHECK(
      error_of(with("name: cluster", "name: my plan"))
      == "f.yml:16: name must consist of letters, digits, periods and hyphens, found \"my plan\"");
  CHECK(error_of(with("name: postgresql", "name: a/b"))
        == "f.yml:12: name must consist of letters, digits, periods and hyphens, found \"a/b\"");
}

TEST_CASE("ids and names in the catalog are unique") {
  const auto plan = [](const std::string& id, const std::string& name) {
    return "    - {id: " + id + ", name: " + name + ", description: d}\n";
  };
  const auto service = [&](const std::string& id, const std::string& name,
                           const std::string& plan_id) {
    return "  - id: " + id + "\n    name: " + name + "\n    description: d\n    plans:\n"
           + plan(plan_id, "cluster");
  };
  CHECK(error_of(smallest + plan("p1", "other"))
        == "f.yml:18: another service or plan has the id \"p1\"; each needs its own");
  CHECK(error_of(smallest + plan("p2", "cluster"))
        == "f.yml:18: two plans of service \"postgresql\" have the name \"cluster\"; each needs "
           "its own");
  CHECK(error_of(smallest + service("s1", "other", "p2"))
        == "f.yml:18: another service or plan has the id \"s1\"; each needs its own");
  CHECK(error_of(smallest + service("s2", "postgresql", "p2"))
        == "f.yml:19: two services have the name \"postgresql\"; each needs its own");
  CHECK(error_of(smallest + service("s2", "other", "p1"))
        == "f.yml:22: another service or plan has the id \"p1\"; each needs its own");
  CHECK(error_of(smallest + service("p1", "other", "p2"))
        == "f.yml:18: another service or plan has the id \"p1\"; each needs its own");
  CHECK(error_of(smallest + service("s2", "other", "p2")) == "no error");
}

TEST_CASE("a plan's node count is from 1 to the number of cells") {
  for (const auto* count : {"0", "3", "1.5"})
    CHECK(error_of(plan_with(std::string("      provision: {node_count: ") + count + "}\n"))
          == std::string("f.yml:18: catalog.services[0].plans[0].provision.node_count must be an "
                         "integer from 1 to 2, found \"")
                 + count + "\"");
  const auto one_cell = with(smallest.substr(smallest.find("- {guid: c2"),
                                             smallest.find("etcd:") - smallest.find("- {guid: c2")),
                             "");
  CHECK(error_of(one_cell)
        == "f.yml:14: provision.node_count is missing; its default of 2 is more than the number of "
           "cells, 1: write node_count, from 1 to 1");
  CHECK(error_of(one_cell + "      provision: {node_count: 1}\n") == "no error");
}

TEST_CASE("an engine or a credentials mode that does not exist is refused") {
  CHECK(
      error_of(plan_with("      provision: {engine: mysql}\n"))
      == "f.yml:18: provision.engine must be postgresql, the only engine so far, found \"mysql\"");
  CHECK(error_of(plan_with("      provision: {credentials: own}\n"))
        == "f.yml:18: provision.credentials must be per-binding or shared, found \"own\"");
}

TEST_CASE("a polling duration is at most a week") {
  CHECK(error_of(plan_with("      maximum_polling_duration: 604801\n"))
        == "f.yml:18: catalog.services[0].plans[0].maximum_polling_duration must be an integer "
           "from 1 "
           "to 604800, found \"604801\"");
}

TEST_CASE("an unknown key is an error in every section") {
  CHECK(error_of(smallest + "callbacks: {}\n")
        == "f.yml:18: unknown key \"callbacks\"; Allowed: broker, cells, etcd, routing, "
           "repair, secrets, authority, audit, catalog");
  CHECK(error_of(with("  username: u\n", "  usrname: u\n"))
        == "f.yml:2: unknown key \"usrname\" in broker; did you mean \"username\"? Allowed: "
           "bind_host, port, username, password, password_file, users, admin, strict, "
           "advertise_host, threads, trusted_proxies");
  CHECK(error_of(with("guid: c2", "guids: c2"))
            .starts_with("f.yml:6: unknown key \"guids\" in cells[1]; did you mean \"guid\"?"));
  CHECK(error_of(with("machines", "machine"))
            .starts_with("f.yml:8: unknown key \"machine\" in etcd; did you mean \"machines\"?"));
  CHECK(error_of(smallest + "routing: {frist: 1}\n")
            .starts_with("f.yml:18: unknown key \"frist\" in routing; did you mean \"first\"?"));
  CHECK(error_of(with("  services", "  service"))
            .starts_with("f.yml:10: unknown key \"service\" in catalog;"));
  CHECK(error_of(with("    plans", "    plan"))
            .starts_with("f.yml:14: unknown key \"plan\" in catalog.services[0];"));
  CHECK(error_of(plan_with("      fre: true\n"))
            .starts_with("f.yml:18: unknown key \"fre\" in catalog.services[0].plans[0]; did you "
                         "mean \"free\"?"));
  CHECK(error_of(plan_with("      provision: {nodes: 2}\n"))
            .starts_with(
                "f.yml:18: unknown key \"nodes\" in catalog.services[0].plans[0].provision;"));
}

TEST_CASE("the examples' configuration is valid and has the examples' ids and passwords") {
  const auto loaded = load_broker_config(CONF_FOLDER "/dev.yml", known_engines);
  INFO((loaded.ok() ? "" : loaded.error()));
  REQUIRE(loaded.ok());
  CHECK(loaded->broker.port == 3000);
  CHECK(loaded->broker.users == std::vector<login>{{"starkandwayne", "starkandwayne", ""}});
  CHECK_FALSE(loaded->broker.strict);
  CHECK(loaded->cells.size() == 4);
  const auto* service = loaded->catalog.find_service("beb5973c-e1b2-11e5-a736-c7c0b526363d");
  REQUIRE(service);
  CHECK(service->plan_updateable);
  CHECK(service->plans.at(0).id == "b96d0936-e423-11e5-accb-93d374e93368");
  CHECK(service->plans.at(0).name == "cluster");
}

TEST_CASE("production's configuration has no password of its own") {
  // The files that the configuration names, and its text with their paths.
  const auto directory =
      std::filesystem::temp_directory_path() / ("matriarch-etc-" + std::to_string(::getpid()));
  std::filesystem::create_directory(directory);
  for (const auto* name : {"next-password", "platform-token", "etcd-password", "etcd-authority.pem",
                           "etcd-client.pem", "etcd-client-key.pem", "secrets.keys"})
    std::ofstream(directory / name) << name;
  std::ifstream file(CONF_FOLDER "/production.yml");
  std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::string folder = "/etc/matriarch";
  for (std::size_t at = 0; (at = text.find(folder, at)) != std::string::npos;)
    text.replace(at, folder.size(), directory.string());

  for (const auto* name : {"BIND_HOST", "USERNAME", "ROUTER_HOST", "CELL_USERNAME", "CELL_PASSWORD",
                           "ADMIN_USERNAME", "ADMIN_PASSWORD"})
    ::setenv((std::string("MATRIARCH_") + name).c_str(), (std::string("value-of-") + name).c_str(),
             1);
  ::unsetenv("MATRIARCH_PASSWORD");
  CHECK(error_of(text).find("broker.password needs the environment variable MATRIARCH_PASSWORD, "
                            "which is not set")
        != std::string::npos);
  ::setenv("MATRIARCH_PASSWORD", "value", 1);
  const auto config = good(text);
  CHECK(config.broker.strict);
  CHECK(config.broker.users.size() == 3);
  CHECK(config.broker.users[2].token == "platform-token");
  CHECK(config.broker.admins.size() == 1);
  CHECK(config.etcd.password == "etcd-password");
  CHECK(config.secrets.keys == "secrets.keys");
  std::filesystem::remove_all(directory);
}

TEST_CASE("a missing configuration file is a failure of one line") {
  CHECK(load_broker_config("/nonexistent.yml", known_engines).error()
        == "/nonexistent.yml:1: the configuration cannot be read: No such file or directory");
}
