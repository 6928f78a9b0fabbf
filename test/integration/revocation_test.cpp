// Revoked roles, on a real PostgreSQL, whatever they do against their revocation.
#include <doctest/doctest.h>

#include <poll.h>
#include <signal.h>

#include <array>
#include <thread>

#include "role_orders.hpp"

using namespace matriarch;
using namespace matriarch::test;

namespace {

/// Stops a PostgreSQL process, which then behaves as in a system call: it handles no signals.
class standstill {
public:
  explicit standstill(client& session) : pid_(std::stoi(session.ask("select pg_backend_pid()"))) {
    ::kill(pid_, SIGSTOP);
  }
  ~standstill() { end(); }
  standstill(const standstill&) = delete;
  standstill& operator=(const standstill&) = delete;

  void end() {
    if (pid_ > 0)
      ::kill(std::exchange(pid_, 0), SIGCONT);
  }

private:
  pid_t pid_;
};

/// A login that has passed pg_hba.conf and waits for the client's proof.
class begun_login {
public:
  begun_login(const postgresql_server& at, const std::string& who)
      : server_(nullptr, PQfinish), password_("password of " + who) {
    auto url = at.url();
    std::array<const char*, 6> names{"dbname", "user", "password", "sslmode", "dbname", nullptr};
    std::array<const char*, 6> values{url.c_str(), who.c_str(), password_.c_str(),
                                      "disable",   "db",        nullptr};
    server_.reset(PQconnectStartParams(names.data(), values.data(), 1));
    auto next = PGRES_POLLING_WRITING;
    while (next == PGRES_POLLING_WRITING) {
      wait(POLLOUT);
      next = PQconnectPoll(server_.get());
    }
    REQUIRE(next == PGRES_POLLING_READING);
    wait(POLLIN); // the server asks for the proof
  }

  /// Whether the login then succeeds.
  bool goes_on() {
    auto next = PQconnectPoll(server_.get());
    while (next == PGRES_POLLING_WRITING || next == PGRES_POLLING_READING) {
      wait(next == PGRES_POLLING_WRITING ? POLLOUT : POLLIN);
      next = PQconnectPoll(server_.get());
    }
    return next == PGRES_POLLING_OK;
  }

private:
  void wait(short event) const {
    pollfd ready{PQsocket(server_.get()), event, 0};
    ::poll(&ready, 1, 20'000);
  }

  std::unique_ptr<PGconn, decltype(&PQfinish)> server_;
  std::string password_;
};

/// A session that keeps its own role's row locked.
client locking(const instance& app, const std::string& name) {
  auto session = app.as(name);
  session.ask("set role none");
  session.ask("begin");
  session.ask("alter role current_user password 'mine'");
  return session;
}

/// The removal of a role that keeps its own row locked must succeed.
void must_go_with_its_lock(instance& app) {
  app.want("one");
  app.must_make();
  auto holder = locking(app, "one");
  app.drop("one");
  app.must_make();
  CHECK_FALSE(app.has("one"));
  CHECK_FALSE(holder.refusal("commit").empty());
  CHECK_FALSE(app.as("one").connected());
}

} // namespace

TEST_CASE("a role that keeps its own row locked is refused at once, while others are made") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.must_make();
  auto holder = locking(app, "one");
  standstill still{holder}; // it keeps the lock
  app.drop("one");
  app.want_fresh("two");
  auto said = app.refuse_and_make();
  REQUIRE_MESSAGE(said.ok, said.why);
  CHECK(said.unmade.empty());
  CHECK(said.leaving.contains("one"));
  CHECK_FALSE(app.as("one").connected());
  CHECK_FALSE(client{server, {"one", "mine"}}.connected());
  CHECK(app.as("two").connected());
  still.end();
  app.must_make();
  CHECK_FALSE(app.has("one"));
}

TEST_CASE("a role that keeps its own row locked is removed with its session") {
  postgresql_server server;
  instance app{server};
  must_go_with_its_lock(app);
}

TEST_CASE("with an earlier release's pg_hba.conf, a role that locks its own row is removed too") {
  postgresql_server server;
  server.forget_who_is_refused();
  instance app{server};
  must_go_with_its_lock(app);
}

TEST_CASE("a session that does not end is reported for its own binding, and delays no other") {
  postgresql_server server;
  instance app{server};
  for (const char* name : {"one", "two", "three"})
    app.want(name);
  app.must_make();
  auto one = app.as("one");
  auto two = app.as("two");
  standstill still{one};
  app.drop("one");
  app.drop("two");
  auto said = app.make();
  REQUIRE_MESSAGE(said.ok, said.why);
  REQUIRE(app.lingering.contains("one"));
  CHECK(holds(app.lingering["one"], "does not end"));
  CHECK_FALSE(app.as("one").connected());
  CHECK_FALSE(app.has("two"));
  CHECK(app.as("three").connected());
  still.end();
  app.must_make();
  CHECK_FALSE(app.has("one"));
}

TEST_CASE("if the sessions of many roles do not end, the first removal reports all of them") {
  postgresql_server server;
  instance app{server};
  for (const char* name : {"one", "two", "three"})
    app.want(name);
  app.must_make();
  auto one = app.as("one");
  auto two = app.as("two");
  standstill still{one};
  standstill other{two};
  for (const char* name : {"one", "two", "three"})
    app.drop(name);
  REQUIRE(app.refuse_and_make().ok);
  auto said = remove_role(
      {"", app.order.conn_url, app.order.superuser, app.order.owner, "one", {}, {"two", "three"}});
  CHECK_FALSE(said.gone);
  CHECK(said.others.contains("two"));
  CHECK_FALSE(said.others.contains("three"));
}

TEST_CASE("an urgent order waits for no login and no replica, and still revokes") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.must_make();
  postgresql_server replica{server};
  auto admin = app.admin();
  await_streaming(admin);
  client on_replica{replica, postgresql_server::superuser(), "postgres"};
  on_replica.ask("select pg_wal_replay_pause()");
  app.drop("one");
  app.want_fresh("two");
  app.order.hurry = std::make_shared<std::atomic<bool>>(true);
  auto said = app.refuse_and_make();
  REQUIRE_MESSAGE(said.ok, said.why);
  CHECK_FALSE(app.as("one").connected());
  CHECK(said.cut_short);
  CHECK(said.replayed == 0);
  said = app.refuse_and_make();
  CHECK_FALSE(said.cut_short);
  CHECK(said.unmade.contains("two"));
  app.order.hurry->store(false);
  on_replica.ask("select pg_wal_replay_resume()");
  said = app.refuse_and_make();
  CHECK(said.unmade.empty());
}

TEST_CASE("a replica that lacks a revocation is reported before anything else is tried") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.must_make();
  postgresql_server replica{server};
  auto admin = app.admin();
  await_streaming(admin);
  client on_replica{replica, postgresql_server::superuser(), "postgres"};
  on_replica.ask("select pg_wal_replay_pause()");
  app.drop("one");
  app.want_fresh("two");
  auto said = app.refuse_and_make();
  REQUIRE_MESSAGE(said.ok, said.why);
  CHECK(said.cut_short);
  CHECK(said.caught_up.empty());
  CHECK(said.leaving.contains("one"));
  CHECK_FALSE(app.has("two"));
  // It is reported once; the next order goes on with the others.
  said = app.refuse_and_make();
  CHECK_FALSE(said.cut_short);
  CHECK(app.has("two"));
  on_replica.ask("select pg_wal_replay_resume()");
}

TEST_CASE("an urgent order gives up a login that the application's database delays") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.must_make();
  auto holder = app.as("one");
  holder.ask("begin");
  holder.ask("select count(*) from pg_class");
  auto locking = app.as("one");
  locking.begin("vacuum full pg_class"); // every new session waits behind it
  auto admin = app.admin("postgres");
  auto waits = [&] {
    return admin.ask("select count(*) from pg_locks where not granted and mode ="
                     " 'AccessExclusiveLock'")
           == "1";
  };
  for (int looks = 0; looks < 1'000 && !waits(); ++looks)
    admin.ask("select pg_sleep(0.01)");
  REQUIRE(waits());
  app.want_fresh("two");
  app.order.hurry = std::make_shared<std::atomic<bool>>(false);
  std::thread hurried{[&] {
    auto tries = [&] {
      return admin.ask("select count(*) from pg_locks l where not granted and mode ="
                       " 'AccessShareLock'")
             != "0";
    };
    while (!tries())
      admin.ask("select pg_sleep(0.01)");
    app.order.hurry->store(true);
  }};
  auto said = app.refuse_and_make();
  hurried.join();
  REQUIRE_MESSAGE(said.ok, said.why);
  CHECK(holds(said.unmade["two"], "more urgent"));
  holder.ask("commit");
}

TEST_CASE("a login that had begun before the revocation does not end after it") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.want("two");
  app.must_make();
  auto holder = locking(app, "one");
  standstill still{holder}; // otherwise the role itself could be closed
  begun_login login{server, "one"};
  begun_login other{server, "two"};
  app.drop("one");
  auto said = app.make();
  REQUIRE_MESSAGE(said.ok, said.why);
  CHECK_FALSE(login.goes_on());
  CHECK(other.goes_on());
}

TEST_CASE("a role's prepared transactions are rolled back, in whichever database") {
  postgresql_server server{{"max_prepared_transactions=10"}};
  instance app{server};
  app.want("one");
  app.must_make();
  app.admin("postgres").ask("create database second");
  app.admin("postgres").ask("grant connect, create on database second to one");
  auto prepare = [&](const std::string& database, const std::string& what) {
    auto one = app.as("one", database);
    one.ask("set role none");
    one.ask("begin");
    one.ask(what);
    one.ask("prepare transaction '" + database + "'");
  };
  prepare("db", "alter role current_user password 'mine'");
  prepare("second", "create schema mine");
  app.drop("one");
  app.must_make();
  CHECK_FALSE(app.has("one"));
  CHECK(app.admin().ask("select count(*) from pg_prepared_xacts") == "0");
}

TEST_CASE(
    "a transaction that a role prepared as the owner does not keep the role's own row locked") {
  postgresql_server server{{"max_prepared_transactions=10"}};
  instance app{server};
  app.want("one");
  app.must_make();
  auto one = app.as("one");
  one.ask("set role none");
  one.ask("begin");
  one.ask("alter role current_user password 'mine'");
  one.ask("set role appuser");
  one.ask("prepare transaction 'p'");
  app.drop("one");
  app.must_make();
  CHECK_FALSE(app.has("one"));
}

TEST_CASE("a transaction that a role prepared as the owner does not keep the role locked") {
  postgresql_server server{{"max_prepared_transactions=10"}};
  instance app{server};
  app.want("one");
  app.must_make();
  auto one = app.as("one");
  one.ask("create table t (n int)");
  one.ask("begin");
  one.ask("grant select on t to one");
  one.ask("prepare transaction 'p'");
  app.drop("one");
  app.must_make();
  CHECK_FALSE(app.has("one"));
}

TEST_CASE("a frozen replica is not reported to have a revocation, and its sessions end") {
  postgresql_server server;
  instance app{server};
  app.want("reader", true);
  app.must_make();
  postgresql_server replica{server};
  auto admin = app.admin();
  await_streaming(admin);
  app.replicas = {{"walreceiver", replica.url()}};
  app.must_make();
  client on_replica{replica, postgresql_server::superuser(), "postgres"};
  client reader{replica, {"reader", "password of reader"}};
  REQUIRE(reader.connected());
  on_replica.ask("select pg_wal_replay_pause()");
  app.drop("reader");
  auto said = app.make();
  REQUIRE_MESSAGE(said.ok, said.why);
  CHECK_FALSE(said.caught_up.contains("walreceiver"));
  CHECK_FALSE(reader.refusal("select 1").empty());
  on_replica.ask("select pg_wal_replay_resume()");
  said = app.make();
  CHECK(said.caught_up.contains("walreceiver"));
  CHECK_FALSE(client{replica, {"reader", "password of reader"}}.connected());
}

TEST_CASE("a removal reuses the sessions in which its role was refused, and needs no login") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.must_make();
  postgresql_server replica{server};
  auto admin = app.admin();
  await_streaming(admin);
  client reader{replica, {"one", "password of one"}};
  REQUIRE(reader.connected());
  app.order.replicas = {{"walreceiver", replica.url()}};
  app.drop("one");
  auto said = app.refuse_and_make();
  REQUIRE_MESSAGE(said.ok, said.why);
  REQUIRE(said.at_hand);
  auto removal = app.removal_of("one");
  removal.conn_url = "postgres://127.0.0.1:1/postgres";
  removal.replicas = {{"walreceiver", removal.conn_url}};
  CHECK(remove_role(removal).kept_out);
  removal.at_hand = said.at_hand;
  auto done = remove_role(removal);
  CHECK_MESSAGE(done.gone, done.why);
  CHECK_FALSE(app.has("one"));
  CHECK_FALSE(reader.refusal("select 1").empty());
}

TEST_CASE("a removal logs in if the session to reuse has ended") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.must_make();
  app.drop("one");
  auto said = app.refuse_and_make();
  auto* held = dynamic_cast<engines::postgresql::open_sessions*>(said.at_hand.get());
  REQUIRE(held != nullptr);
  app.admin().ask("select pg_terminate_backend(" + std::to_string(held->leader.process())
                  + ", 5000)");
  CHECK_FALSE(held->leader.run("select 1").ok());
  auto removal = app.removal_of("one");
  removal.at_hand = said.at_hand;
  auto done = remove_role(removal);
  CHECK_MESSAGE(done.gone, done.why);
  CHECK_FALSE(app.has("one"));
}

TEST_CASE(
    "a role that another removal has removed is gone, also for a removal that reuses a session") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.must_make();
  app.drop("one");
  auto said = app.refuse_and_make();
  REQUIRE(said.at_hand);
  REQUIRE(remove_role(app.removal_of("one")).gone);
  auto removal = app.removal_of("one");
  removal.at_hand = said.at_hand;
  auto done = remove_role(removal);
  CHECK_MESSAGE(done.gone, done.why);
}

TEST_CASE("a later order leaves a role as an earlier order has made it") {
  postgresql_server server;
  instance app{server};
  app.want("one", true);
  app.must_make();
  app.drop("one");
  app.order.later = {"one"};
  app.must_make();
  CHECK(app.as("one").connected());
  app.order.later.clear();
  app.must_make();
  CHECK_FALSE(app.has("one"));
}

TEST_CASE("a role whose binding could not be read can log in again once it is wanted") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.must_make();
  app.drop("one");
  REQUIRE(app.refuse_and_make().ok);
  CHECK_FALSE(app.as("one").connected());
  app.want("one");
  app.must_make();
  CHECK(app.as("one").connected());
}
