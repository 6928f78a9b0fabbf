// The roles of bindings on a real PostgreSQL.
#include <doctest/doctest.h>

#include <thread>

#include "role_orders.hpp"

using namespace matriarch;
using namespace matriarch::test;

TEST_CASE("what one binding makes, another uses and alters") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.want("two");
  app.must_make();
  app.as("one").ask("create table t (n int); insert into t values (1)");
  auto two = app.as("two");
  CHECK(two.refusal("alter table t add column m int; insert into t values (2, 3)").empty());
  CHECK(two.ask("select count(*) from t") == "2");
  CHECK(app.admin().ask("select tableowner from pg_tables where tablename = 't'") == "appuser");
}

TEST_CASE("an order ends the sessions of an unfinished earlier one") {
  postgresql_server server;
  instance app{server};
  auto earlier = app.admin();
  earlier.ask("set application_name = 'matriarch roles'");
  earlier.ask("begin");
  earlier.ask("create role late login");
  auto other = app.admin();
  app.want("one");
  app.must_make();
  CHECK_FALSE(earlier.refusal("commit").empty());
  CHECK(other.ask("select count(*) from pg_roles where rolname = 'late'") == "0");
}

TEST_CASE("a role that is no longer wanted cannot log in, and its objects stay") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.want("two");
  app.must_make();
  auto one = app.as("one");
  one.ask("set role none");
  one.ask("create schema own");
  one.ask("create table own.t (n int)");
  one.ask("select lo_create(4711)");
  app.admin("postgres").ask("create database second");
  app.admin("postgres").ask("grant create on database second to one");
  auto elsewhere = app.as("one", "second");
  elsewhere.ask("set role none");
  elsewhere.ask("create schema mine");
  app.drop("one");
  app.must_make();
  CHECK_FALSE(one.refusal("select 1").empty());
  CHECK_FALSE(app.as("one").connected());
  CHECK(app.admin().ask("select count(*) from pg_roles where rolname = 'one'") == "0");
  CHECK(app.as("two").refusal("insert into own.t values (1)").empty());
  CHECK(app.admin("second").ask("select nspowner::regrole from pg_namespace where nspname = 'mine'")
        == "appuser");
}

TEST_CASE("a read-only role reads what was made before and later, and writes nothing") {
  postgresql_server server;
  instance app{server};
  app.want("writer");
  app.must_make();
  auto writer = app.as("writer");
  writer.ask("create table before (n serial); create schema s; create table s.t (n int)");
  app.want("reader", true);
  app.must_make();
  writer.ask("create table later (n int); create schema l; create table l.t (n int)");
  auto reader = app.as("reader");
  for (const char* table : {"before", "s.t", "later", "l.t"}) {
    CAPTURE(table);
    CHECK(reader.refusal(std::string{"select * from "} + table).empty());
  }
  CHECK(reader.refusal("select last_value from before_n_seq").empty());
  for (int attempt = 0; attempt < 2; ++attempt) {
    CAPTURE(attempt);
    for (const char* what :
         {"insert into before values (1)", "update before set n = 2", "delete from s.t",
          "truncate later", "create table mine (n int)", "create temporary table mine (n int)",
          "create schema mine", "select lo_create(0)", "select nextval('before_n_seq')",
          "set role appuser"}) {
      CAPTURE(what);
      CHECK_FALSE(reader.refusal(what).empty());
    }
    // A setting that a session can change itself must not be the only protection.
    reader.ask("set default_transaction_read_only = off");
  }
  CHECK(holds(reader.refusal("select rolpassword from pg_authid"), "permission denied"));
}

TEST_CASE("no application is let into a database other than its own") {
  postgresql_server server;
  instance app{server};
  app.want("writer");
  app.must_make();
  for (const char* database : {"postgres", "template1"}) {
    CAPTURE(database);
    CHECK_FALSE(app.as("writer", database).connected());
  }
  CHECK(app.as("writer").connected());
  app.admin("postgres").ask("create database added");
  app.admin("postgres").ask("create database granted");
  app.admin("postgres").ask("grant connect on database granted to appuser");
  app.want("reader", true);
  app.must_make();
  for (const char* name : {"writer", "reader"}) {
    CAPTURE(name);
    CHECK(app.as(name).connected());
    for (const char* database : {"postgres", "template1", "added"}) {
      CAPTURE(database);
      CHECK_FALSE(app.as(name, database).connected());
    }
  }
  CHECK(app.as("writer", "granted").connected());
}

TEST_CASE("an application's functions with the names of PostgreSQL's are never run") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.must_make();
  auto one = app.as("one");
  for (const char* arguments : {"text, text", "text, text, text"})
    one.ask(std::string{"create function public.format("} + arguments
            + ") returns text language plpgsql as $$ begin execute 'alter role appuser superuser'; "
              "return 'select 1'; end $$");
  one.ask("alter database db set search_path = public, pg_catalog");
  app.want("reader", true);
  app.must_make();
  app.drop("one");
  app.must_make();
  CHECK(app.admin("postgres").ask("select rolsuper from pg_roles where rolname = 'appuser'")
        == "f");
}

TEST_CASE("settings that an application makes for its whole database delay no order") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.must_make();
  auto one = app.as("one");
  one.ask("set role none; create schema own; set role appuser");
  one.ask("alter database db set default_transaction_read_only = on");
  one.ask("alter database db set role = 'appuser'");
  app.want("reader", true);
  app.must_make();
  app.drop("one");
  app.must_make();
  CHECK_FALSE(app.as("one").connected());
}

TEST_CASE("an order that is done twice changes nothing") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.want("reader", true).valid_until = model::wall_time{4'000'000'000s};
  app.must_make();
  auto state = [&] {
    return app.admin().ask("select string_agg(rolname || xmin, ',' order by rolname) from "
                           "pg_authid");
  };
  auto before = state();
  app.must_make();
  CHECK(state() == before);
  // Nor with passwords whose verifiers have to be computed again.
  instance anew{server};
  anew.order = app.order;
  anew.must_make();
  CHECK(state() == before);
}

TEST_CASE("roles that are not ours are left alone, and their names are not taken") {
  postgresql_server server;
  instance app{server};
  auto admin = app.admin();
  admin.ask("create role somebody login password 'his own'");
  app.must_make();
  CHECK(client{server, {"somebody", "his own"}}.connected());
  app.want("somebody");
  auto said = app.make();
  CHECK(said.ok);
  CHECK(holds(said.unmade["somebody"], "no binding's"));
  CHECK(client{server, {"somebody", "his own"}}.connected());
}

TEST_CASE("changes made by hand are undone, and an application's own settings stay") {
  postgresql_server server;
  instance app{server};
  app.want("one").connection_limit = 7;
  app.must_make();
  auto admin = app.admin();
  auto limit = [&] { return admin.ask("select rolconnlimit from pg_roles where rolname = 'one'"); };
  admin.ask("alter role one nologin connection limit 1 password 'another'");
  admin.ask("alter role one reset role");
  admin.ask("alter role one set search_path = own");
  app.must_make();
  CHECK(limit() == "7");
  auto one = app.as("one");
  REQUIRE(one.connected());
  CHECK(one.ask("select current_user") == "appuser");
  CHECK(one.ask("show search_path") == "own");
  app.order.wanted.front().connection_limit = 3;
  app.must_make();
  CHECK(limit() == "3");
}

TEST_CASE("a role has no more connections than it may, and none after its end") {
  postgresql_server server;
  instance app{server};
  app.want("narrow").connection_limit = 1;
  app.want("ended").valid_until = model::wall_time{1'000'000'000s};
  app.want("lasting").valid_until = model::wall_time{4'000'000'000s};
  app.must_make();
  auto first = app.as("narrow");
  CHECK(first.connected());
  CHECK_FALSE(app.as("narrow").connected());
  CHECK_FALSE(app.as("ended").connected());
  CHECK(app.as("lasting").connected());
}

TEST_CASE("the one connection that a role may have is free as soon as the role is made") {
  postgresql_server server;
  instance app{server};
  for (int number = 0; number < 10; ++number) {
    auto name = "narrow" + std::to_string(number);
    app.want_fresh(name).connection_limit = 1;
    role_answer said;
    do
      said = app.make();
    while (said.ok && said.unmade.contains(name)); // logins may take too long on a slow machine
    REQUIRE_MESSAGE(said.ok, said.why);
    CHECK(app.as(name).connected());
  }
}

TEST_CASE("a login that takes longer than a second on a busy machine is no fault") {
  postgresql_server server{{"post_auth_delay=1"}};
  instance app{server};
  app.want_fresh("late");
  auto said = app.make();
  REQUIRE_MESSAGE(said.ok, said.why);
  CHECK_MESSAGE(said.unmade.empty(), said.unmade["late"]);
}

TEST_CASE("the owner can log in only if bindings share it") {
  postgresql_server server;
  instance app{server};
  auto admin = app.admin();
  auto logs_in = [&] {
    return admin.ask("select rolcanlogin from pg_roles where rolname = 'appuser'");
  };
  app.must_make();
  CHECK(logs_in() == "f");
  admin.ask("alter role appuser password 'an application changed it'");
  app.order.owner_logs_in = true;
  app.must_make();
  CHECK(logs_in() == "t");
  CHECK(client{server, app.order.owner}.connected());
}

TEST_CASE("the answer comes once the replica has the role, or with a note that it has not") {
  postgresql_server server;
  instance app{server};
  auto alone = app.make();
  CHECK(alone.ok);
  CHECK(alone.replicas == 0);
  postgresql_server replica{server};
  auto admin = app.admin();
  REQUIRE(client{replica, postgresql_server::superuser(), "postgres"}.connected());
  await_streaming(admin);
  app.want("one");
  auto said = app.make();
  CHECK(said.ok);
  CHECK(said.replicas == 1);
  CHECK(said.replayed == 1);
  CHECK(client{replica, {"one", "password of one"}}.connected());
  client{replica, postgresql_server::superuser(), "postgres"}.ask("select pg_wal_replay_pause()");
  app.want("two");
  auto paused = app.make();
  CHECK(paused.ok);
  CHECK(paused.replicas == 1);
  CHECK(paused.replayed == 0);
  instance astray{replica};
  auto refused = astray.make();
  CHECK_FALSE(refused.ok);
  CHECK(holds(refused.why, "replica"));
}

TEST_CASE("neither a password nor its verifier reaches PostgreSQL's log") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.must_make();
  app.admin().ask("create role taken");
  app.want("taken");
  CHECK(app.make().unmade.contains("taken"));
  auto log = server.log();
  CHECK(holds(log, "create role taken")); // it does log statements
  CHECK_FALSE(holds(log, "password of"));
  CHECK_FALSE(holds(log, "SCRAM-SHA-256$"));
}

TEST_CASE(
    "names and passwords of any characters work, and names that PostgreSQL would cut do not") {
  postgresql_server server;
  instance app{server};
  std::string strange = "a\"b'c\\d;-- 😀";
  std::string longest = std::string(63 - strange.size(), 'x') + strange;
  std::string password = strange;
  while (password.size() < 900)
    password += password;
  app.order.wanted.push_back({{longest, password}});
  app.must_make();
  CHECK(client{server, {longest, password}}.connected());
  app.must_make();
  app.order.wanted.clear();
  app.must_make();
  CHECK_FALSE(client{server, {longest, password}}.connected());
  app.order.wanted.push_back({{longest + "y", password}});
  CHECK(holds(app.make().why, "63 bytes"));
  app.order.wanted = {{{"zero", std::string{"a\0b", 3}}}};
  CHECK(holds(app.make().why, "zero byte"));
}

TEST_CASE("a leader that does not answer is given up with a message") {
  postgresql_server server;
  instance app{server};
  app.must_make();
  server.pause();
  auto said = app.make();
  CHECK_FALSE(said.ok);
  CHECK_FALSE(said.why.empty());
}

TEST_CASE("the sessions of a role that is revoked end on the replicas too") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.want("reader", true);
  app.want("other");
  app.must_make();
  app.as("one").ask("create table t (n int)");
  postgresql_server replica{server};
  auto admin = app.admin();
  await_streaming(admin);
  app.replicas = {{"walreceiver", replica.url()}};
  client one{replica, {"one", "password of one"}};
  client reader{replica, {"reader", "password of reader"}};
  client other{replica, {"other", "password of other"}};
  REQUIRE(one.refusal("select * from t").empty());
  REQUIRE(reader.refusal("select * from t").empty());
  app.drop("one");
  app.drop("reader");
  app.must_make();
  CHECK_FALSE(one.refusal("select 1").empty());
  CHECK_FALSE(reader.refusal("select 1").empty());
  CHECK(other.refusal("select * from t").empty());
}

TEST_CASE("a replica that cannot be reached does not hold up a revocation") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.must_make();
  app.replicas = {{"away", "postgres://127.0.0.1:1/postgres"}};
  app.drop("one");
  app.must_make();
}

TEST_CASE("a replica that streams but refuses logins is reported, for sessions may be open there") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.must_make();
  postgresql_server replica{server};
  auto admin = app.admin();
  await_streaming(admin);
  app.replicas = {{"walreceiver", "postgres://127.0.0.1:1/postgres"}};
  app.drop("one");
  REQUIRE(app.make().ok);
  REQUIRE(app.lingering.contains("one"));
  CHECK(holds(app.lingering["one"], "a replica that follows the leader lets nobody in"));
  CHECK_FALSE(app.as("one").connected());
  app.replicas = {{"walreceiver", replica.url()}};
  app.must_make();
  CHECK_FALSE(app.has("one"));
}

TEST_CASE("a role is not gone while logins may have begun at a replica that lacks its revocation") {
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
  REQUIRE(app.refuse_and_make().ok);
  role_removal removal{"",
                       app.order.conn_url,
                       app.order.superuser,
                       app.order.owner,
                       "one",
                       {{"walreceiver", replica.url()}}};
  auto said = remove_role(removal);
  CHECK_FALSE(said.gone);
  CHECK(holds(said.why, "logins that had begun there"));
  // One login has come.
  client late{replica, {"one", "password of one"}};
  CHECK(late.connected());
  // A login takes no longer than this.
  removal.asked_for = std::chrono::seconds{13};
  CHECK(remove_role(removal).gone);
  CHECK_FALSE(late.refusal("select 1").empty());
}

TEST_CASE("a leader that waits for an absent replica does not hold up the answer") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.want("two");
  app.must_make();
  auto admin = app.admin();
  app.as("one").ask("set role none; create schema own");
  admin.ask("alter system set synchronous_standby_names = 'absent'");
  admin.ask("select pg_reload_conf()");
  auto waits = [&] { return admin.ask("show synchronous_standby_names") == "absent"; };
  for (int looks = 0; looks < 1'000 && !waits(); ++looks)
    admin.ask("select pg_sleep(0.02)");
  app.drop("one");
  app.want("three");
  auto said = app.make();
  CHECK_MESSAGE(said.ok, said.why);
  CHECK(said.replicas == 0);
  CHECK(app.as("three").connected());
  CHECK_FALSE(app.as("one").connected());
}

TEST_CASE("sessions of the owner end once nobody shares it any more") {
  postgresql_server server;
  instance app{server};
  app.order.owner_logs_in = true;
  app.must_make();
  client shared{server, app.order.owner};
  REQUIRE(shared.connected());
  app.order.owner_logs_in = false;
  app.must_make();
  CHECK_FALSE(shared.refusal("select 1").empty());
}

TEST_CASE("readers can read what a revoked role handed over") {
  postgresql_server server;
  instance app{server};
  app.want("reader", true);
  app.want("one");
  app.must_make();
  app.as("one").ask("set role none; create schema own; create table own.t (n int)");
  app.drop("one");
  app.must_make();
  app.must_make(); // the roles come after the rights
  CHECK(app.as("reader").refusal("select * from own.t") == "");
}

TEST_CASE("a role that policies and grants name is dropped too") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.want("two");
  app.must_make();
  app.as("two").ask("create table t (n int); alter table t enable row level security; "
                    "create policy p on t to one; grant select on t to one");
  app.drop("one");
  app.must_make();
  CHECK(app.admin().ask("select count(*) from pg_roles where rolname = 'one'") == "0");
  CHECK(app.as("two").refusal("select * from t") == "");
}

TEST_CASE("a transaction that holds a role's objects delays the removal of that role only") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.want("two");
  app.must_make();
  app.as("one").ask("set role none; create table t (n int); grant select on t to appuser");
  auto busy = app.as("two");
  busy.ask("begin");
  busy.ask("select count(*) from t");
  app.drop("one");
  app.want("three");
  auto said = app.make();
  REQUIRE_MESSAGE(said.ok, said.why);
  REQUIRE(app.lingering.contains("one"));
  CHECK(holds(app.lingering["one"], "lock timeout"));
  CHECK(app.as("three").refusal("select 1") == "");
  CHECK_FALSE(app.as("one").connected());
  busy.ask("commit");
  app.must_make();
  CHECK(app.as("two").refusal("insert into t values (1)") == "");
  CHECK(app.admin().ask("select count(*) from pg_roles where rolname = 'one'") == "0");
}

TEST_CASE("a role whose removal is delayed does not delay another's") {
  postgresql_server server;
  instance app{server};
  for (const char* name : {"reader", "held", "free"})
    app.want(name);
  app.must_make();
  auto busy = app.as("reader");
  busy.ask("begin");
  app.as("held").ask("set role none; create table t (n int); grant select on t to appuser");
  busy.ask("select count(*) from t");
  app.drop("held");
  app.drop("free");
  auto said = app.make();
  REQUIRE_MESSAGE(said.ok, said.why);
  CHECK(app.lingering.contains("held"));
  CHECK_FALSE(app.has("free"));
}

TEST_CASE("while some bindings cannot be read, only the named roles are removed") {
  postgresql_server server;
  instance app{server};
  for (const char* name : {"one", "two", "three"})
    app.want(name);
  app.order.owner_logs_in = true;
  app.must_make();
  app.drop("one");
  app.drop("two");
  app.order.owner_logs_in = false;
  app.order.some_unknown = true;
  app.order.revoked = {"two"};
  app.must_make();
  CHECK(app.as("one").connected());
  CHECK_FALSE(app.as("two").connected());
  CHECK(client{server, app.order.owner, "db"}.connected());
}

TEST_CASE("a role with many sessions that come and go is revoked at once") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.must_make();
  std::vector<std::jthread> busy;
  for (int i = 0; i < 6; ++i)
    busy.emplace_back([&](const std::stop_token& over) {
      while (!over.stop_requested())
        app.as("one").refusal("select 1");
    });
  for (int i = 0; i < 10; ++i) {
    app.order.wanted.clear();
    auto said = app.make();
    CHECK_MESSAGE(said.ok, said.why);
    CHECK(app.admin().ask("select count(*) from pg_stat_activity where backend_type = 'client "
                          "backend' and usesysid not in (select oid from pg_authid)")
          == "0");
    app.want("one");
    app.must_make();
  }
}
