#include <doctest/doctest.h>

#include <atomic>
#include <string>
#include <vector>

#include "awaiting.hpp"
#include "base/event_loop.hpp"
#include "config/etcd_section.hpp"
#include "etcd_server.hpp"
#include "etcd_stand_in.hpp"
#include "store/etcd.hpp"
#include "store/etcd_access.hpp"
#include "store/keys.hpp"

namespace matriarch::store {

using namespace std::chrono_literals;
using matriarch::test::awaited;
using matriarch::test::etcd_server;

namespace {

const std::string root_password = "the root of it all";

/// The time-out of calls in tests about something else: enough for a machine with other load while
/// etcd hashes passwords.
constexpr auto unhurried = 20s;

commit_result written(etcd_client& etcd, const std::string& key, const std::string& value = "x") {
  transaction what;
  what.then = {put{key, value, 0}};
  return awaited<commit_result>([&](auto done) { etcd.commit(what, done); });
}

range_result found(etcd_client& etcd, const key_range& keys) {
  return awaited<range_result>([&](auto done) { etcd.range(keys, done); });
}

bool writes(etcd_client& etcd, const std::string& key) {
  return written(etcd, key).state == commit_state::committed;
}

bool reads(etcd_client& etcd, const std::string& key) {
  return found(etcd, {key, ""}).ok;
}

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

etcd_server::options protected_by_password() {
  return {.root_password = root_password};
}

etcd_access as_user(const etcd_server& server, std::string username, std::string password) {
  return {.endpoints = {server.url()},
          .username = std::move(username),
          .password = std::move(password)};
}

etcd_access as_root(const etcd_server& server) {
  return as_user(server, "root", root_password);
}

} // namespace

// -- TLS ------------------------------------------------------------------------------------------

TEST_CASE("over TLS a client knows etcd by its authority, and nobody else") {
  etcd_server server{{.tls = true}};
  REQUIRE(server.url().starts_with("https://"));
  base::event_loop loop;

  SUBCASE("with the authority everything works") {
    etcd_client etcd{
        loop, {.endpoints = {server.url()}, .tls = {server.tls().authority()}}, unhurried};
    CHECK(writes(etcd, "/a"));
    CHECK(found(etcd, {"/a", ""}).found.size() == 1);
    auto lease = awaited<lease_result>([&](auto done) { etcd.grant_lease(5s, done); });
    CHECK(lease.is == lease_result::state::held);
  }

  SUBCASE("without it nothing is sent") {
    etcd_client etcd{loop, etcd_access{.endpoints = {server.url()}}, unhurried};
    auto refused = written(etcd, "/a", "secret-value");
    CHECK(refused.state == commit_state::not_done);
    CHECK(holds(refused.error, "certificate"));
    CHECK_FALSE(holds(refused.error, "secret"));
  }

  SUBCASE("the system's authorities do not count where one is given") {
    // A wrong authority: the client's own certificate, which has signed nothing.
    etcd_client etcd{
        loop, {.endpoints = {server.url()}, .tls = {server.tls().client()}}, unhurried};
    CHECK(written(etcd, "/a").state == commit_state::not_done);
  }

  SUBCASE("under a name that is not in its certificate it is refused") {
    etcd_client etcd{loop,
                     {.endpoints = {"https://localhost:" + std::to_string(server.port())},
                      .tls = {server.tls().authority()}},
                     unhurried};
    auto refused = written(etcd, "/a");
    CHECK(refused.state == commit_state::not_done);
    CHECK(holds(refused.error, "localhost"));
  }
}

TEST_CASE("a client shows its certificate to an etcd that asks for one") {
  etcd_server server{{.tls = true, .asks_for_certificates = true}};
  const auto& tls = server.tls();
  base::event_loop loop;
  etcd_client without{loop, {.endpoints = {server.url()}, .tls = {tls.authority()}}, unhurried};
  CHECK_FALSE(reads(without, "/a"));
  etcd_client with{
      loop,
      {.endpoints = {server.url()}, .tls = {tls.authority(), tls.client(), tls.client_key()}},
      unhurried};
  CHECK(writes(with, "/a"));
}

// -- user and password ----------------------------------------------------------------------------

TEST_CASE("with TLS and a password the client does all it does without") {
  etcd_server server{{.tls = true, .root_password = root_password}};
  base::event_loop loop;
  auto access = as_root(server);
  access.tls.authority = server.tls().authority();
  etcd_client etcd{loop, access, unhurried};
  CHECK(writes(etcd, "/a"));
  CHECK(found(etcd, {"/a", ""}).found.size() == 1);
  auto lease = awaited<lease_result>([&](auto done) { etcd.grant_lease(60s, done); });
  REQUIRE(lease.is == lease_result::state::held);
  auto kept = awaited<lease_result>([&](auto done) { etcd.keep_alive(lease.id, done); });
  CHECK(kept.is == lease_result::state::held);
  auto gone = awaited<lease_result>([&](auto done) { etcd.revoke_lease(lease.id, done); });
  CHECK(gone.is == lease_result::state::gone);
}

TEST_CASE("a wrong password gives a clear error without the password, and nothing is done") {
  etcd_server server{protected_by_password()};
  base::event_loop loop;
  for (const auto* name : {"root", "nobody"}) {
    CAPTURE(name);
    etcd_client etcd{loop, as_user(server, name, "secret-password"), unhurried};
    auto refused = written(etcd, "/a", "secret-value");
    CHECK(refused.state == commit_state::not_done);
    CHECK(
        refused.error
        == "a transaction on /a: etcd refuses user \"" + std::string{name}
               + "\": authentication failed, invalid user ID or password; check etcd.username and "
                 "etcd.password");
    CHECK_FALSE(found(etcd, {"/a", ""}).ok);
  }
  etcd_client root{loop, as_root(server), unhurried};
  CHECK(found(root, {"/a", ""}).found.empty());
}

TEST_CASE("without a user, an etcd that asks for one is an error and nothing is done") {
  etcd_server server{protected_by_password()};
  base::event_loop loop;
  etcd_client etcd{loop, {server.url()}};
  auto refused = written(etcd, "/a");
  CHECK(refused.state == commit_state::not_done);
  CHECK(holds(refused.error, "user name is empty"));
}

TEST_CASE("a client goes on when etcd forgets its token, even if many calls notice at once") {
  etcd_server server{protected_by_password()};
  base::event_loop loop;
  etcd_client etcd{loop, as_root(server), unhurried};
  REQUIRE(writes(etcd, "/a"));
  server.stop();
  server.start();
  SUBCASE("by a transaction") {
    CHECK(written(etcd, "/a").error.empty());
  }
  SUBCASE("by a lease") {
    auto lease = awaited<lease_result>([&](auto done) { etcd.grant_lease(5s, done); });
    CHECK_MESSAGE(lease.is == lease_result::state::held, lease.error);
  }
  SUBCASE("by many") {
    constexpr int many = 40;
    test::shared_state<std::vector<commit_result>> came;
    for (int i = 0; i < many; ++i) {
      transaction what;
      what.then = {put{"/many/" + std::to_string(i), "x", 0}};
      etcd.commit(what, [&](commit_result result) {
        came.change([&](auto& all) { all.push_back(std::move(result)); });
      });
    }
    REQUIRE(came.becomes([&](auto& all) { return all.size() == many; }));
    for (const auto& result : came.now())
      CHECK_MESSAGE(result.state == commit_state::committed, result.error);
    // Each was done once.
    for (const auto& entry : found(etcd, keys_below("/many/")).found)
      CHECK(entry.create_revision == entry.mod_revision);
  }
}

TEST_CASE("a configured user is used from the moment when etcd asks for users") {
  etcd_server server;
  base::event_loop loop;
  etcd_client etcd{loop, as_root(server), unhurried};
  REQUIRE(writes(etcd, "/a"));
  server.turn_authentication_on(root_password);
  CHECK(writes(etcd, "/a"));
}

TEST_CASE("one token is fetched at a time, however many calls wait for it") {
  std::atomic<int> fetched = 0;
  test::etcd_stand_in server{[&](const auto& path, const auto&) -> test::etcd_stand_in::reply {
    if (path != "/v3/auth/authenticate")
      return {200, R"({"header":{"revision":"5"}})"};
    ++fetched;
    return {200, R"({"header":{},"token":"t.1"})"};
  }};
  base::event_loop loop;
  etcd_client etcd{loop, {.endpoints = {server.url()}, .username = "u", .password = "p"}};
  constexpr int many = 10; // fewer than the stand-in lets wait for a connection
  test::shared_state<std::vector<range_result>> came;
  for (int i = 0; i < many; ++i)
    etcd.range({"/a", ""}, [&](range_result result) {
      came.change([&](auto& all) { all.push_back(std::move(result)); });
    });
  REQUIRE(came.becomes([&](auto& all) { return all.size() == many; }));
  for (const auto& result : came.now())
    CHECK_MESSAGE(result.ok, result.error);
  CHECK(fetched == 1);
}

TEST_CASE("an etcd that refuses each new token is not asked for ever") {
  std::atomic<int> fetched = 0;
  std::atomic<int> asked = 0;
  test::etcd_stand_in server{[&](const auto& path, const auto&) -> test::etcd_stand_in::reply {
    if (path == "/v3/auth/authenticate")
      return {200, R"({"header":{},"token":"t.)" + std::to_string(++fetched) + R"("})"};
    ++asked;
    return {401, R"({"error":"etcdserver: invalid auth token","code":16})"};
  }};
  base::event_loop loop;
  etcd_client etcd{loop, {.endpoints = {server.url()}, .username = "u", .password = "p"}};
  auto refused = written(etcd, "/a");
  CHECK(refused.state == commit_state::not_done);
  CHECK(holds(refused.error, "invalid auth token"));
  CHECK(fetched == 3);
  CHECK(asked == 3);
}

TEST_CASE("the configuration's etcd section says all that a client needs") {
  config::etcd_settings settings;
  settings.machines = {"https://etcd1:2379", "https://etcd2:2379"};
  settings.username = "broker";
  settings.password = "pw";
  settings.tls_authority = "authority.pem";
  settings.tls_certificate = "client.pem";
  settings.tls_key = "client.key";
  auto access = access_of(settings);
  CHECK(access.endpoints == settings.machines);
  CHECK(access.username == "broker");
  CHECK(access.password == "pw");
  CHECK(access.tls == base::tls_files{"authority.pem", "client.pem", "client.key"});
}

TEST_CASE("a call ends within its time-out while etcd gives no token") {
  etcd_server server{protected_by_password()};
  base::event_loop loop;
  etcd_client etcd{loop, as_root(server), 300ms};
  server.pause();
  auto late = written(etcd, "/a");
  CHECK(late.state == commit_state::not_done);
  CHECK(holds(late.error, "user \"root\""));
  CHECK_FALSE(holds(late.error, root_password));
}

TEST_CASE("the token comes from the endpoint that has one to give") {
  etcd_server second{protected_by_password()};
  base::event_loop loop;
  auto access = as_root(second);
  access.endpoints.insert(access.endpoints.begin(),
                          "http://127.0.0.1:" + std::to_string(test::free_port()));
  etcd_client etcd{loop, access, unhurried};
  CHECK(writes(etcd, "/a"));
}

// -- users of instances ---------------------------------------------------------------------------

namespace {

std::string admitted(etcd_client& etcd, const std::string& scope, const std::string& password) {
  return awaited<std::string>([&](auto done) {
    etcd.admit_user(scope, password, {keys_below(keys::everything_of(scope))},
                    written_by_nodes(scope), done);
  });
}

std::string dismissed(etcd_client& etcd, const std::string& username) {
  return awaited<std::string>([&](auto done) { etcd.dismiss_user(username, done); });
}

} // namespace

TEST_CASE("an admitted user reads its scope and writes what it may, and nothing else") {
  etcd_server server{protected_by_password()};
  base::event_loop loop;
  etcd_client root{loop, as_root(server), unhurried};
  for (const auto* key : {"/service/a/state", "/service/b/leader", "/service/ab/leader"})
    REQUIRE(writes(root, key));
  REQUIRE(admitted(root, "a", "pw-a").empty());
  REQUIRE(admitted(root, "b", "pw-b").empty());

  etcd_client a{loop, as_user(server, "a", "pw-a"), unhurried};
  for (const auto* key : {"leader", "members/n1", "config", "status", "initialize", "history",
                          "sync", "failsafe", "failover", "optime/leader"}) {
    CAPTURE(key);
    CHECK(writes(a, "/service/a/" + std::string{key}));
  }
  // With its record, which it may read.
  CHECK(found(a, keys_below("/service/a/")).found.size() == 11);

  for (const auto* key :
       {"/service/a/state", "/service/a/bindings/x", "/service/b/leader", "/service/b/members/n1",
        "/service/ab/leader", "/routing/nextport", "/matriarch/active"}) {
    CAPTURE(key);
    auto refused = written(a, key);
    CHECK(refused.state == commit_state::not_done);
    CHECK(holds(refused.error, "permission denied"));
  }
  for (const auto* key : {"/service/b/leader", "/service/ab/leader", "/matriarch/active"}) {
    CAPTURE(key);
    CHECK_FALSE(reads(a, key));
  }
  CHECK_FALSE(found(a, keys_below("/service/")).ok);
  CHECK_FALSE(found(a, keys_below("")).ok);
  // Nor may it make users.
  CHECK(holds(admitted(a, "c", "pw-c"), "permission denied"));
}

TEST_CASE("admitting a user again changes only the password, and completes unfinished work") {
  etcd_server server{protected_by_password()};
  base::event_loop loop;
  etcd_client root{loop, as_root(server), unhurried};
  REQUIRE(admitted(root, "a", "first").empty());
  etcd_client first{loop, as_user(server, "a", "first"), unhurried};
  REQUIRE(writes(first, "/service/a/leader"));

  CHECK(admitted(root, "a", "first").empty());
  CHECK(writes(first, "/service/a/leader"));

  CHECK(admitted(root, "a", "second").empty());
  CHECK(holds(written(first, "/service/a/leader").error, "etcd refuses user \"a\""));
  etcd_client second{loop, as_user(server, "a", "second"), unhurried};
  CHECK(writes(second, "/service/a/leader"));

  // Half of it is undone, as after a broker that ended in the middle.
  SUBCASE("the user is gone and the role is there") {
    server.control({"user", "delete", "a"}, root_password);
  }
  SUBCASE("the role is gone and the user is there") {
    server.control({"role", "delete", "a"}, root_password);
  }
  SUBCASE("the user does not have the role") {
    server.control({"user", "revoke-role", "a", "a"}, root_password);
  }
  CHECK(admitted(root, "a", "second").empty());
  CHECK(writes(second, "/service/a/leader"));
}

TEST_CASE("excess rights of a role are revoked") {
  etcd_server server{protected_by_password()};
  base::event_loop loop;
  etcd_client root{loop, as_root(server), unhurried};
  auto admit = [&](std::vector<key_range> readable, std::vector<key_range> writable) {
    return awaited<std::string>([&](auto done) {
      root.admit_user("a", "pw", std::move(readable), std::move(writable), done);
    });
  };
  etcd_client a{loop, as_user(server, "a", "pw"), unhurried};
  REQUIRE(admit({{"/k1", ""}, {"/k2", ""}, {"/k3", ""}}, {{"/k2", ""}}).empty());
  CHECK(reads(a, "/k1"));
  CHECK((reads(a, "/k2") && writes(a, "/k2")));
  REQUIRE(admit({{"/k1", ""}, {"/k2", ""}}, {{"/k1", ""}}).empty());
  CHECK((reads(a, "/k1") && writes(a, "/k1")));
  CHECK(reads(a, "/k2"));
  CHECK_FALSE(writes(a, "/k2"));
  CHECK_FALSE(reads(a, "/k3"));
}

TEST_CASE("while users are made, other requests are done all the same") {
  etcd_server server{protected_by_password()};
  base::event_loop loop;
  etcd_client etcd{loop, as_root(server), unhurried};
  constexpr int many = 12;
  test::shared_state<std::vector<std::string>> errors;
  auto note = [&](std::string error) {
    errors.change([&](auto& all) { all.push_back(std::move(error)); });
  };
  for (int i = 0; i < many; ++i) {
    auto name = "scope-" + std::to_string(i);
    etcd.admit_user(name, "pw", {}, {keys_below("/service/" + name + "/members/")}, note);
    transaction what;
    what.then = {put{"/meanwhile/" + std::to_string(i), "x", 0}};
    etcd.commit(what, [&](commit_result came) {
      note(came.state == commit_state::committed ? "" : "not committed: " + came.error);
    });
  }
  REQUIRE(errors.becomes([&](auto& all) { return all.size() == 2 * many; }));
  for (const auto& error : errors.now())
    CHECK_MESSAGE(error.empty(), error);
}

TEST_CASE("a dismissed user is gone with its role, and a user that never existed counts as gone") {
  etcd_server server{protected_by_password()};
  base::event_loop loop;
  etcd_client root{loop, as_root(server), unhurried};
  REQUIRE(admitted(root, "a", "pw").empty());
  etcd_client a{loop, as_user(server, "a", "pw"), unhurried};
  REQUIRE(writes(a, "/service/a/leader"));
  CHECK(dismissed(root, "a").empty());
  CHECK_FALSE(writes(a, "/service/a/leader"));
  CHECK_THROWS(server.control({"role", "get", "a"}, root_password));
  CHECK(dismissed(root, "a").empty());
  CHECK(dismissed(root, "never").empty());
}

TEST_CASE("users that belong to no instance are left alone") {
  etcd_server server{protected_by_password()};
  base::event_loop loop;
  etcd_client root{loop, as_root(server), unhurried};
  server.control({"role", "add", "operators"}, root_password);
  server.control({"user", "add", "alice:pw-alice"}, root_password);
  server.control({"user", "grant-role", "alice", "operators"}, root_password);
  for (const auto* name : {"root", "alice"}) {
    CAPTURE(name);
    for (const auto& why : {admitted(root, name, "taken"), dismissed(root, name)}) {
      CHECK(holds(why, "user \"" + std::string{name} + "\""));
      CHECK_FALSE(holds(why, "taken"));
    }
  }
  CHECK(writes(root, "/still-root"));
  etcd_client alice{loop, as_user(server, "alice", "pw-alice"), unhurried};
  CHECK(holds(written(alice, "/a").error, "permission denied"));
}

} // namespace matriarch::store
