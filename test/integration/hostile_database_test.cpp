// What an application can do to its own database and roles, against the broker's work there.
#include <doctest/doctest.h>

#include <sys/resource.h>

#include <caf/all.hpp>

#include <thread>

#include "engines/postgresql/actors/database.hpp"
#include "engines/postgresql/actors/leader_roles.hpp"
#include "engines/postgresql/actors/rights_upkeep.hpp"
#include "engines/postgresql/actors/session.hpp"
#include "role_orders.hpp"

using namespace matriarch;
using namespace matriarch::test;

namespace {

/// The peak memory of this process, in kB.
long peak_memory() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  return used.ru_maxrss;
}

} // namespace

TEST_CASE("a verifier that a role set itself is replaced, whatever it is") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.must_make();
  const std::string key(43, 'A');
  for (const auto& verifier : {
           "SCRAM-SHA-256$4096:" + std::string(24, '=') + "$" + key + "=:" + key + "=",
           "SCRAM-SHA-256$4096:====$" + key + "=:" + key + "=",
           "SCRAM-SHA-256$4096:=$" + key + "=:" + key + "=",
           "SCRAM-SHA-256$2000000000:QUFBQUFBQUFBQUFBQUFBQQ==$" + key + "=:" + key + "=",
           "SCRAM-SHA-256$4096:$" + key + "=:" + key + "=",
           "SCRAM-SHA-256$0:QUFB$" + key + "=:" + key + "=",
           std::string{"md5"} + std::string(32, '0'),
           std::string{"plain"},
       }) {
    CAPTURE(verifier);
    app.admin().ask("update pg_authid set rolpassword = '" + verifier + "' where rolname = 'one'");
    app.must_make();
    CHECK(app.as("one").connected());
  }
  app.as("one").ask("set role none; alter role current_user password null");
  app.must_make();
  CHECK(app.as("one").connected());
}

TEST_CASE("a verifier and settings of huge length are not read") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.must_make();
  // A well-formed verifier, with a salt of 30 MB; the server compresses it.
  app.as("one").ask("set role none; do $$begin execute 'alter role current_user password '"
                    " || quote_literal('SCRAM-SHA-256$4096:' || repeat('QUFB', 10000000) || '$'"
                    " || repeat('A', 43) || '=:' || repeat('A', 43) || '='); end$$");
  app.admin().ask("do $$begin execute 'alter role appuser set a.b = '"
                  " || quote_literal(repeat('a', 40000000)); end$$");
  auto before = peak_memory();
  app.must_make();
  CHECK(peak_memory() - before < 20'000);
  CHECK(app.as("one").connected());
}

TEST_CASE("huge compressed settings of a role are not read, and are removed if they hide ours") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.want("reader", true);
  app.must_make();
  auto fill = [&](const std::string& role) {
    app.admin().ask("do $$begin execute 'alter role " + role
                    + " set application_name = ' || quote_literal(repeat('a', 10000000)); end$$");
  };
  for (const char* role : {"one", "reader", "appuser"})
    fill(role);
  app.must_make();
  auto admin = app.admin();
  auto long_ones = [&](const std::string& role) {
    return admin.ask(
        "select count(*) from pg_db_role_setting where pg_column_size(setconfig) > 8192"
        " and setrole = '"
        + role + "'::regrole");
  };
  CHECK(long_ones("one") == "0");
  CHECK(long_ones("reader") == "0");
  // The owner's settings concern nobody else.
  CHECK(long_ones("appuser") == "1");
  CHECK(app.as("one").ask("select current_user") == "appuser");
  CHECK(app.as("reader").ask("show default_transaction_read_only") == "on");
  // The same for a role that is to be removed.
  fill("one");
  app.drop("one");
  app.must_make();
  CHECK_FALSE(app.has("one"));
}

TEST_CASE("a verifier by which no client would trust the server is replaced") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.must_make();
  app.admin().ask("update pg_authid set rolpassword = regexp_replace(rolpassword, ':[^:]*$', ':"
                  + std::string(43, 'A') + "=') where rolname = 'one'");
  CHECK_FALSE(app.as("one").connected());
  app.must_make();
  CHECK(app.as("one").connected());
}

TEST_CASE("a setting whose value looks like others does not count for them") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.must_make();
  auto admin = app.admin();
  admin.ask("alter role one reset role");
  admin.ask("alter role one set application_name = 'x,role=appuser,y'");
  app.must_make();
  CHECK(app.as("one").ask("select current_user") == "appuser");
}

TEST_CASE("no setting that an application makes for its database affects the broker's sessions") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.want("two");
  app.must_make();
  for (const char* setting : {"local_preload_libraries = 'nope'",
                              "statement_timeout = 1",
                              "lock_timeout = 1",
                              "exit_on_error = on",
                              "client_encoding = 'SQL_ASCII'",
                              "search_path = 'nowhere'",
                              "default_transaction_read_only = on",
                              "default_transaction_isolation = 'serializable'",
                              "default_transaction_deferrable = on",
                              "row_security = off",
                              "work_mem = '64kB'",
                              "datestyle = 'German'",
                              "standard_conforming_strings = off",
                              "role = 'two'",
                              "session_authorization = 'appuser'",
                              "default_tablespace = 'nowhere'",
                              "idle_session_timeout = 1",
                              "check_function_bodies = on",
                              "temp_tablespaces = 'nowhere'",
                              "application_name = 'matriarch removal'",
                              "array_nulls = off",
                              "restrict_nonsystem_relation_kind = 'view'",
                              "quote_all_identifiers = on",
                              "plan_cache_mode = 'force_generic_plan'",
                              "enable_seqscan = off",
                              "timezone_abbreviations = 'Default'",
                              "jit_above_cost = 0"}) {
    CAPTURE(setting);
    auto leaver = app.as("one");
    leaver.ask("set role none");
    leaver.ask("create schema own");
    leaver.ask("create table own.t (n serial)");
    leaver.ask("reset role");
    leaver.ask(std::string{"alter database db set "} + setting);
    app.drop("one");
    app.must_make();
    CHECK_FALSE(app.has("one"));
    auto admin = app.admin("postgres");
    admin.ask("alter database db reset all");
    app.admin().ask("drop schema own cascade");
    app.want("one");
    app.must_make();
  }
}

TEST_CASE("a bind fails if a setting of the database ends its login, and names the setting") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.must_make();
  auto one = app.as("one");
  one.ask("alter database db set work_mem = '1MB'");
  one.ask("alter database db set local_preload_libraries = 'nope'");
  app.want_fresh("two");
  auto said = app.make();
  REQUIRE_MESSAGE(said.ok, said.why);
  REQUIRE(said.unmade.contains("two"));
  CHECK(holds(said.unmade["two"], "local_preload_libraries"));
  CHECK(holds(said.unmade["two"], "alter database db reset local_preload_libraries"));
  one.ask("alter database db reset local_preload_libraries");
  app.must_make();
  CHECK(app.as("two").connected());
}

TEST_CASE("a bind fails if its login waits for a lock on a catalog table, and names the holder") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.must_make();
  auto reading = app.as("one");
  auto rewriting = app.as("one");
  reading.ask("begin");
  reading.ask("select count(*) from pg_class");
  rewriting.begin("vacuum full pg_class");
  auto admin = app.admin("postgres");
  auto pid_of = [&](const std::string& query) {
    return admin.ask("select pid from pg_stat_activity where query like '" + query
                     + "%' and"
                       " pid <> pg_backend_pid()");
  };
  while (admin.ask("select count(*) from pg_locks where mode = 'AccessExclusiveLock' and"
                   " not granted")
         == "0")
    std::this_thread::yield();
  app.want_fresh("two");
  auto said = app.make();
  REQUIRE_MESSAGE(said.ok, said.why);
  REQUIRE(said.unmade.contains("two"));
  CHECK_MESSAGE(holds(said.unmade["two"], "the session " + pid_of("vacuum") + " of \"one\""),
                said.unmade["two"]);
  CHECK(holds(said.unmade["two"], "the session " + pid_of("select count")));
  reading.ask("commit");
  app.must_make();
  CHECK(app.as("two").connected());
}

TEST_CASE("settings of the database that are too long to read are reported as such") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.must_make();
  auto one = app.as("one");
  one.ask("do $$begin execute 'alter database db set application_name = '"
          " || quote_literal(repeat('a', 10000000)); end$$");
  one.ask("alter database db set local_preload_libraries = 'nope'");
  app.want_fresh("two");
  auto said = app.make();
  REQUIRE_MESSAGE(said.ok, said.why);
  REQUIRE(said.unmade.contains("two"));
  CHECK_MESSAGE(holds(said.unmade["two"], "alter database db reset all"), said.unmade["two"]);
  one.ask("alter database db reset all");
  app.must_make();
  CHECK(app.as("two").connected());
}

TEST_CASE("settings that lock everybody out are reverted") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.must_make();
  int number = 0;
  for (const char* what :
       {"alter database db connection limit 0", "revoke all on database db from public, appuser"}) {
    CAPTURE(what);
    app.as("one").ask(what);
    CHECK_FALSE(app.as("one").connected());
    auto name = "new" + std::to_string(++number);
    app.want_fresh(name);
    app.must_make();
    CHECK(app.as(name).connected());
    CHECK(app.as("one").connected());
  }
}

TEST_CASE("grants by others do not prevent a role's removal") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.want("two");
  app.must_make();
  auto two = app.as("two");
  two.ask("create table t (n int, m int); create function f() returns int language sql as "
          "'select 1'; create schema s; grant select, update on t to two with grant option; "
          "grant execute on function f() to two with grant option; "
          "grant usage on schema s to two with grant option");
  two.ask("set role none");
  two.ask("grant select, update (m) on t to one; grant execute on function f() to one; "
          "grant usage on schema s to one");
  app.drop("one");
  app.must_make();
  CHECK_FALSE(app.has("one"));
  CHECK(two.refusal("select n from t") == "");
}

TEST_CASE("a role with many more objects than a transaction could lock is removed") {
  postgresql_server server{
      {"max_locks_per_transaction=10", "max_connections=20", "max_prepared_transactions=0"}};
  instance app{server};
  app.want("one");
  app.want("two");
  app.must_make();
  app.as("one").ask("grant create on schema public to one, two");
  auto one = app.as("one");
  one.ask("set role none");
  one.ask("create procedure fill() language plpgsql as $$ begin for i in 1 .. 2000 loop"
          " execute format('create table t%s (n serial primary key)', i);"
          " if i % 20 = 0 then commit; end if; end loop; end $$");
  one.ask("call fill()");
  one.ask("create procedure functions() language plpgsql as $$ begin for i in 1 .. 2000 loop"
          " execute format('create function f%s() returns int language sql as ''select 1''', i);"
          " end loop; end $$");
  one.ask("call functions()");
  one.ask("create procedure objects() language plpgsql as $$ begin for i in 1 .. 3000 loop"
          " perform lo_create(0); if i % 20 = 0 then commit; end if; end loop; end $$");
  one.ask("call objects()");
  auto two = app.as("two");
  two.ask("create procedure grant_all() language plpgsql as $$ declare t text; begin"
          " for i in 1 .. 2000 loop"
          " execute format('create view v%s as select 1 n; grant select on v%s to one', i, i);"
          " if i % 20 = 0 then commit; end if; end loop; end $$");
  two.ask("call grant_all()");
  app.drop("one");
  int orders = 0;
  do {
    auto said = app.make();
    REQUIRE_MESSAGE(said.ok, said.why);
    for (const auto& [name, why] : app.lingering)
      MESSAGE(name << ": " << why);
  } while (app.has("one") && ++orders < 20);
  CHECK_FALSE(app.has("one"));
  CHECK(app.as("two").refusal("alter table t2000 add column m int; drop function f2000()") == "");
}

TEST_CASE("a role with more default privileges than a transaction could lock is removed") {
  postgresql_server server{
      {"max_locks_per_transaction=10", "max_connections=20", "max_prepared_transactions=0"}};
  instance app{server};
  app.want("one");
  app.want("two");
  app.must_make();
  auto one = app.as("one");
  one.ask("set role none");
  one.ask("create procedure fill() language plpgsql as $$ begin for i in 1 .. 2000 loop"
          " execute format('create schema s%s', i);"
          " execute format('alter default privileges in schema s%s grant select on tables to"
          " public', i); if i % 20 = 0 then commit; end if; end loop; end $$");
  one.ask("call fill()");
  app.as("two").ask("alter default privileges grant select on tables to one");
  app.drop("one");
  for (int orders = 0; orders < 20 && app.has("one"); ++orders)
    REQUIRE(app.make().ok);
  CAPTURE(app.lingering["one"]);
  CHECK_FALSE(app.has("one"));
}

TEST_CASE("locked objects are skipped, and all others are handed over") {
  postgresql_server server;
  instance app{server};
  app.want("one");
  app.want("two");
  app.must_make();
  app.as("one").ask("grant create on schema public to one");
  auto one = app.as("one");
  one.ask("set role none");
  for (const char* name : {"a", "b", "c", "d"})
    one.ask(std::string{"create table "} + name + " (n int)");
  one.ask("grant select on b to appuser");
  auto two = app.as("two");
  two.ask("begin");
  two.ask("select * from b");
  app.drop("one");
  CHECK(app.make().ok);
  CHECK(holds(app.lingering["one"], "lock timeout"));
  CHECK(app.admin().ask("select string_agg(tablename, ',') from pg_tables where tableowner = 'one'")
        == "b");
  two.ask("commit");
  app.must_make();
  CHECK_FALSE(app.has("one"));
}

TEST_CASE("an instance whose node does not answer delays no other instance") {
  postgresql_server stuck;
  postgresql_server well;
  instance bad{stuck};
  instance good{well};
  bad.order.instance = "bad";
  good.order.instance = "good";
  good.want("one");
  stuck.pause();
  caf::actor_system_config how;
  caf::actor_system system{how};
  auto database = spawn_database(system);
  {
    caf::scoped_actor self{system};
    for (int i = 0; i < 50; ++i)
      self->send(database, bad.order);
    bool answered = false;
    // One after the other these would take 400 s.
    self->request(database, 60s, good.order)
        .receive([&](const role_answer& said) { answered = said.ok; }, [](const caf::error&) {});
    CHECK(answered);
  }
  CHECK(good.as("one").connected());
  stuck.resume();
  caf::anon_send_exit(database, caf::exit_reason::kill);
}

TEST_CASE("instances whose rights take long to compare delay the others only once") {
  postgresql_server stuck;
  postgresql_server well;
  instance bad{stuck};
  instance good{well};
  stuck.pause();
  caf::actor_system_config how;
  caf::actor_system system{how};
  auto database = spawn_database(system);
  {
    caf::scoped_actor self{system};
    auto order_of = [](const instance& one, const std::string& name) {
      return rights_order{name, one.order.conn_url, one.order.superuser, one.order.owner.username,
                          true};
    };
    // More than the limit of comparisons at a time.
    constexpr int many = 8;
    auto compare_all_bad = [&] {
      for (int i = 0; i < many; ++i)
        self->send(database, order_of(bad, "bad " + std::to_string(i)));
    };
    int ended = 0;
    auto receive_bad = [&](int count) {
      for (int until = ended + count; ended < until;)
        self->receive([&](const rights_answer& said) {
          CHECK_FALSE(said.ok);
          ++ended;
        });
    };
    compare_all_bad();
    receive_bad(many);
    compare_all_bad();
    bool answered = false;
    self->request(database, 60s, order_of(good, "good"))
        .receive([&](const rights_answer& said) { answered = said.ok; }, [](const caf::error&) {});
    CHECK(answered);
    bool any_bad = false;
    self->receive([&](const rights_answer&) { any_bad = true; }, caf::after(0s) >> [] {});
    CHECK_MESSAGE(!any_bad, "one that takes long was compared before");
  }
  stuck.resume();
  caf::anon_send_exit(database, caf::exit_reason::kill);
}
