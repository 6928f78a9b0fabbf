// What applications may do, and what they read, on a real PostgreSQL.
#include <doctest/doctest.h>

#include <algorithm>
#include <thread>

#include "engines/postgresql/actors/leader_roles.hpp"
#include "engines/postgresql/actors/reader_rights.hpp"
#include "engines/postgresql/actors/rights_upkeep.hpp"
#include "postgresql_server.hpp"

using namespace matriarch;
using namespace matriarch::actors;
using namespace matriarch::engines::postgresql;
using namespace std::chrono_literals;
using test::client;
using test::postgresql_server;

namespace {

/// An instance with two applications, `one` and `two`, and a `reader`, as the instance's actor
/// would keep it.
struct instance {
  postgresql_server server;
  role_order order = {};
  known_passwords passwords = {};

  explicit instance(std::vector<std::string> applications = {"one", "two"}, bool reads = true) {
    order.conn_url = server.url();
    order.superuser = postgresql_server::superuser();
    order.owner = {"appuser", "the owner's"};
    for (const auto& name : applications)
      order.wanted.push_back({{name, "password of " + name}});
    if (reads)
      order.wanted.push_back({{"reader", "password of reader"}, true});
    keep();
    auto made = make_roles(order, passwords);
    REQUIRE_MESSAGE(made.ok, made.why);
    keep();
  }

  [[nodiscard]] rights_answer compare() const {
    bool readers = std::ranges::any_of(order.wanted, &wanted_role::read_only);
    return keep_rights({"", order.conn_url, order.superuser, order.owner.username, readers});
  }
  /// The comparison of each minute, with nothing skipped.
  void keep() const {
    auto said = compare();
    REQUIRE_MESSAGE(said.ok, said.why);
    REQUIRE(said.complete);
    REQUIRE(said.skipped.empty());
  }

  [[nodiscard]] client as(const std::string& name) const {
    return client{server, {name, "password of " + name}};
  }
  [[nodiscard]] client admin() const { return client{server, postgresql_server::superuser()}; }
};

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// One object of each kind that can be read, in a schema; `readable` has a query for each.
void make_one_of_each(client& by, const std::string& schema) {
  by.ask("create schema " + schema + "; set search_path = " + schema);
  by.ask("create table t (n serial, words text); insert into t (words) values ('a')");
  by.ask("create table parted (n int) partition by range (n)");
  by.ask("create table part partition of parted for values from (0) to (10)");
  by.ask("create view v as select * from t; create materialized view m as select * from t");
  by.ask("create unlogged table u (n int); create table \"o\"\"d d\" (n int)");
  by.ask("create function f() returns int language sql as 'select 1'");
  by.ask("revoke execute on function f() from public; create view calls as select f()");
  by.ask("create table guarded (n int); insert into guarded values (1);"
         "alter table guarded enable row level security");
  by.ask("reset search_path");
}

std::vector<std::string> readable(const std::string& schema) {
  std::vector<std::string> all;
  for (const char* what :
       {"select * from %.t", "select * from %.parted", "select * from %.part", "select * from %.v",
        "select * from %.m", "select * from %.u", "select last_value from %.t_n_seq",
        "select * from %.\"o\"\"d d\"", "select %.f()", "select * from %.calls",
        "select 1 / count(*) from %.guarded"}) {
    std::string text = what;
    all.push_back(text.replace(text.find('%'), 1, schema));
  }
  return all;
}

/// What cannot be read in it, with PostgreSQL's error.
std::string not_readable(client& by, const std::string& schema) {
  std::string all;
  for (const auto& one : readable(schema))
    if (auto why = by.refusal(one); !why.empty())
      all += one + ": " + why;
  return all;
}

} // namespace

TEST_CASE("a reader reads every kind of thing, whoever made it, before and after") {
  instance app;
  auto one = app.as("one");
  auto reader = app.as("reader");
  make_one_of_each(one, "shared");
  one.ask("set role none");
  make_one_of_each(one, "own");
  auto admin = app.admin();
  admin.ask("create role somebody; grant create on database db to somebody; set role somebody");
  make_one_of_each(admin, "others");
  app.keep();
  for (const char* schema : {"shared", "own", "others"})
    CHECK(not_readable(reader, schema) == "");
}

TEST_CASE("what the owner makes can be read at once") {
  instance app;
  app.as("one").ask("create schema s; create table s.t (n int); create view s.v as select 1;"
                    "create sequence s.q");
  auto reader = app.as("reader");
  for (const char* what : {"select * from s.t", "select * from s.v", "select * from s.q"})
    CHECK(reader.refusal(what) == "");
}

TEST_CASE("rights that an application takes away or loses come back with the next comparison") {
  instance app;
  auto one = app.as("one");
  auto reader = app.as("reader");
  for (const char* lost :
       {"revoke all on all tables in schema s from appuser_readers",
        "revoke all on schema s from appuser_readers",
        "revoke all on all sequences in schema s from appuser_readers",
        "revoke connect on database db from public, appuser_readers",
        "alter default privileges revoke select on tables from appuser_readers",
        "drop schema s cascade; drop schema public cascade; create schema public",
        "drop owned by appuser"}) {
    CAPTURE(lost);
    one.ask("drop schema if exists s cascade");
    make_one_of_each(one, "s");
    app.keep();
    REQUIRE(not_readable(reader, "s") == "");
    one.ask(lost);
    one.ask("drop schema if exists s cascade");
    make_one_of_each(one, "s");
    one.ask("create schema if not exists public; create table if not exists public.t (n int)");
    app.keep();
    CHECK(not_readable(reader, "s") == "");
    CHECK(reader.refusal("select * from public.t") == "");
    CHECK(app.as("reader").connected());
    // Default privileges are restored too.
    one.ask("create table s.later (n int)");
    CHECK(reader.refusal("select * from s.later") == "");
  }
}

TEST_CASE("a reader writes nothing, whatever an application grants to the public or to it") {
  instance app;
  auto one = app.as("one");
  one.ask("create schema s; create table s.t (n serial); create table s.c (n int, m int)");
  auto big = one.ask("select lo_from_bytea(0, 'abc')");
  one.ask("grant all on all tables in schema s to public");
  one.ask("grant insert (n), update (m) on s.c to appuser_readers");
  one.ask("grant all on all sequences in schema s to reader");
  one.ask("grant all on schema s, public to public");
  one.ask("grant all on schema s to reader");
  one.ask("grant all on database db to public; grant all on database db to reader");
  one.ask("grant all on large object " + big + " to public");
  app.admin().ask("grant one, appuser to reader; grant appuser to appuser_readers");
  app.keep();
  auto reader = app.as("reader");
  for (int attempt = 0; attempt < 2; ++attempt) {
    CAPTURE(attempt);
    for (const auto& what :
         std::vector<std::string>{"insert into s.t values (1)",
                                  "update s.c set m = 2",
                                  "delete from s.t",
                                  "insert into s.c (n) values (1)",
                                  "truncate s.t",
                                  "select nextval('s.t_n_seq')",
                                  "select setval('s.t_n_seq', 7)",
                                  "create table s.mine (n int)",
                                  "create table public.mine (n int)",
                                  "create temporary table mine (n int)",
                                  "create schema mine",
                                  "select lo_create(0)",
                                  "select lo_creat(-1)",
                                  "select lo_from_bytea(0, 'a')",
                                  "select lo_put(" + big + ", 0, 'x')",
                                  "select lo_unlink(" + big + ")",
                                  "select lowrite(lo_open(" + big + ", 131072), 'x')",
                                  "select lo_truncate(lo_open(" + big + ", 393216), 0)",
                                  "select lowrite(pg_matriarch.lo_open(" + big + ", 393216), 'x')",
                                  "comment on large object " + big + " is 'mine'",
                                  "alter large object " + big + " owner to reader",
                                  "select pg_logical_emit_message(false, 'a', 'b')",
                                  "select pg_logical_emit_message(true, 'a', 'b'::bytea)",
                                  "set role appuser",
                                  "set role one",
                                  "select pg_switch_wal()",
                                  "select pg_create_restore_point('a')",
                                  "select pg_backup_start('a')",
                                  "select lo_export(" + big + ", '/tmp/a')",
                                  "select pg_create_physical_replication_slot('a')",
                                  "select pg_create_logical_replication_slot('a', 'pgoutput')",
                                  "select * from s.t for update",
                                  "select * from s.t for share",
                                  "lock table s.t in row exclusive mode"}) {
      CAPTURE(what);
      CHECK_FALSE(reader.refusal(what).empty());
    }
    // A setting that a session can change itself must not be the only protection.
    reader.ask("set default_transaction_read_only = off");
  }
  CHECK(holds(reader.refusal("select rolpassword from pg_authid"), "permission denied"));
  CHECK(one.ask("select lo_get(" + big + ")") == "\\x616263");
}

TEST_CASE("what a reader granted or made while it had the right is taken from it") {
  instance app;
  auto one = app.as("one");
  one.ask("create table t (n int); grant insert on t to reader with grant option");
  one.ask("grant all on schema public to public; grant all on database db to public");
  auto reader = app.as("reader");
  reader.ask("set default_transaction_read_only = off");
  reader.ask("grant insert on t to public");
  reader.ask("create table mine (n serial); create view seen as select 1; create schema its");
  // The application's own table, which it has passed on to the owner.
  one.ask("set role none; create table own (n int); grant all on own to appuser with grant option");
  one.ask("set role appuser; grant insert on own to public");
  app.keep();
  for (const char* what : {"insert into t values (1)", "insert into own values (1)",
                           "insert into mine values (1)", "alter table mine add m int",
                           "create table its.more (n int)", "create table public.more (n int)"}) {
    CAPTURE(what);
    CHECK(holds(reader.refusal(what), "permission denied") != holds(reader.refusal(what), "owner"));
  }
  CHECK(one.refusal("insert into mine values (1)").empty());
}

TEST_CASE("what the readers' group or a reader owns becomes the owner's, of every kind") {
  instance app;
  auto one = app.as("one");
  one.ask("create schema s; grant all on schema s to public; create table t (n int);"
          "grant trigger on t to public");
  auto reader = app.as("reader");
  reader.ask("set default_transaction_read_only = off; set search_path = s");
  for (const char* made :
       {"create function f() returns int language sql security definer as 'select 1'",
        "create type e as enum ('a')", "create domain d as int", "create type c as (n int)",
        "create collation l (locale = 'C')", "create text search dictionary w (template = simple)",
        "create table g (n int)", "alter table g owner to appuser_readers",
        "create function hung() returns trigger language plpgsql as 'begin return new; end'",
        "create trigger hung before insert on public.t for each row execute function hung()"})
    REQUIRE(reader.refusal(made) == "");
  auto said = app.compare();
  REQUIRE(said.complete);
  app.keep();
  for (const std::string what :
       {"comment on function s.f() is 'a'", "alter type s.e add value 'b'",
        "comment on domain s.d is 'a'", "alter type s.c add attribute m int",
        "comment on collation s.l is 'a'", "comment on text search dictionary s.w is 'a'",
        "insert into s.g values (1)"}) {
    CAPTURE(what);
    CHECK_FALSE(reader.refusal(what).empty());
  }
  CHECK(one.refusal("insert into s.g values (1)") == "");
  // It would run as the owner whatever the reader has written.
  CHECK(
      one.ask(
          "select prosecdef from pg_proc where proname = 'f' and pronamespace = 's'::regnamespace")
      == "f");
  CHECK(one.ask("select count(*) from pg_trigger where tgname = 'hung'") == "0");
}

TEST_CASE("what an application puts into an extension of its own is read and not written as well") {
  instance app;
  auto one = app.as("one");
  one.ask("create extension lo; create table t (n int); create table u (n int)");
  one.ask("revoke select on t from appuser_readers; grant insert on u to public");
  one.ask("alter extension lo add table t; alter extension lo add table u");
  app.keep();
  auto reader = app.as("reader");
  CHECK(reader.refusal("select * from t") == "");
  reader.ask("set default_transaction_read_only = off");
  CHECK(holds(reader.refusal("insert into u values (1)"), "permission denied"));
}

TEST_CASE("a reader reads a view over an application's own aggregate") {
  instance app;
  auto one = app.as("one");
  one.ask("alter default privileges revoke execute on functions from public");
  one.ask("create function plus(int, int) returns int language sql immutable as 'select $1 + $2'");
  one.ask("create aggregate total(int) (sfunc = plus, stype = int, initcond = '0')");
  one.ask("create view v as select total(n) from generate_series(1, 3) n");
  app.keep();
  CHECK(app.as("reader").ask("select * from v") == "6");
}

TEST_CASE("a reader's session that holds a lock from before the revocation is ended") {
  instance app;
  auto one = app.as("one");
  one.ask("create table t (n int); grant insert, update on t to public");
  auto writer = app.as("reader");
  writer.ask("set default_transaction_read_only = off; begin");
  REQUIRE(writer.refusal("lock table t in share row exclusive mode") == "");
  auto reader = app.as("reader");
  reader.ask("begin isolation level serializable; select * from t");
  (void)app.compare();
  CHECK_FALSE(writer.refusal("insert into t values (1)").empty());
  CHECK(reader.refusal("select * from t") == "");
  app.keep();
  auto again = app.as("reader");
  again.ask("set default_transaction_read_only = off");
  CHECK(holds(again.refusal("insert into t values (1)"), "permission denied"));
}

TEST_CASE("a reader cannot take locks in any number, and an application's locks are left alone") {
  instance app;
  auto one = app.as("one");
  auto reader = app.as("reader");
  CHECK(holds(reader.refusal("select pg_advisory_lock(1)"), "permission denied"));
  CHECK(
      holds(reader.refusal("select pg_try_advisory_xact_lock_shared(1, 2)"), "permission denied"));
  CHECK(one.ask("select pg_try_advisory_lock(1)") == "t");
  one.ask("set role none");
  CHECK(one.ask("select pg_try_advisory_lock(1)") == "t");
}

TEST_CASE("a role that the database sets for every session does not apply to readers") {
  instance app;
  auto admin = app.admin();
  admin.ask("alter database db set role = 'appuser_readers'");
  CHECK(app.as("reader").ask("select current_user") == "reader");
  // A reader that an earlier release has made.
  admin.ask("alter role reader reset role");
  REQUIRE(app.as("reader").ask("select current_user") == "appuser_readers");
  app.keep();
  CHECK(app.as("reader").ask("select current_user") == "reader");
}

TEST_CASE("hundreds of locked objects do not delay those that are not locked") {
  instance app;
  auto one = app.as("one");
  one.ask("create table t (n int); do $$ begin for i in 1..300 loop"
          " execute format('create view v%s as select 1 as n', i); end loop; end $$");
  one.ask("revoke all on all tables in schema public from appuser_readers");
  one.ask("begin; do $$ begin for i in 1..300 loop"
          " execute format('alter view v%s rename to w%s', i, i); end loop; end $$");
  auto said = app.compare();
  CHECK(said.complete);
  CHECK_FALSE(said.skipped.empty());
  CHECK(app.as("reader").refusal("select * from t") == "");
  one.ask("commit");
  app.keep();
  CHECK(app.as("reader").refusal("select * from w300") == "");
}

TEST_CASE("a reader's temporary files are bounded from its first session on") {
  instance app;
  app.order.wanted.push_back({{"another", "password of another"}, true});
  auto made = make_roles(app.order, app.passwords);
  REQUIRE_MESSAGE(made.ok, made.why);
  CHECK(app.as("another").ask("show temp_file_limit") == "1GB");
}

TEST_CASE("a reader reads large objects that were made a moment ago, by either protocol") {
  instance app;
  auto one = app.as("one");
  auto shared = one.ask("select lo_from_bytea(0, 'abc')");
  one.ask("set role none");
  auto own = one.ask("select lo_from_bytea(0, 'abc')");
  for (const auto& big : {shared, own}) {
    auto reader = app.as("reader");
    CHECK(reader.ask("select lo_get(" + big + ")") == "\\x616263");
    CHECK(reader.ask("select lo_get(" + big + ", 1, 1)") == "\\x62");
    CHECK(reader.ask("begin; select loread(lo_open(" + big + ", 262144), 100)") == "\\x616263");
    CHECK(reader.refusal("select lo_get(1)") != "");
  }
  // libpq's functions, used by drivers and pg_dump, call by number.
  CHECK(app.as("reader").read_large_object(shared) == "abc");
  CHECK(app.as("one").read_large_object(shared) == "abc");
}

TEST_CASE("other roles use PostgreSQL's functions as before") {
  instance app;
  auto one = app.as("one");
  auto big = one.ask("select lo_from_bytea(0, 'abc')");
  auto admin = app.admin();
  admin.ask("create role somebody login password 'password of somebody'");
  auto other = app.as("somebody");
  CHECK(holds(other.refusal("select lo_get(" + big + ")"), "permission denied for large object"));
  CHECK(holds(other.refusal("select lo_open(" + big + ", 262144)"), "permission denied"));
  CHECK(holds(other.refusal("select lo_open(" + big + ", 131072)"), "permission denied"));
  for (const char* helper :
       {"pg_matriarch.lo_get(1)", "pg_matriarch.lo_open(1, 262144)", "pg_matriarch.cancel(1)",
        "pg_matriarch.terminate(1, 0)", "pg_matriarch.is_application(1)"})
    CHECK(holds(other.refusal(std::string{"select "} + helper), "permission denied"));
  CHECK(admin.ask("select lo_get(" + big + ")") == "\\x616263");
  // An application may still do what it likes with its own objects.
  CHECK(one.ask("begin; select lowrite(lo_open(" + big + ", 131072), 'xyz')") == "3");
  one.ask("commit");
  CHECK(one.ask("select lo_get(" + big + ")") == "\\x78797a");
  CHECK(one.refusal("select pg_logical_emit_message(false, 'a', 'b')") == "");
  // The application keeps that even after this.
  one.ask("drop owned by appuser");
  CHECK(one.refusal("select lo_create(0)") == "");
  CHECK(one.refusal("select pg_logical_emit_message(false, 'a', 'b')") == "");
}

TEST_CASE("an application sees and ends the sessions of its instance, and no others") {
  instance app;
  auto two = app.as("two");
  auto admin = app.admin();
  admin.ask("create role copier login replication password 'password of copier'");
  admin.ask("set application_name = 'the superuser'");
  auto one = app.as("one");
  for (const char* name : {"one", "two", "reader"}) {
    CAPTURE(name);
    for (const char* call : {"pg_terminate_backend(%)", "pg_catalog.pg_terminate_backend(%, 5000)",
                             "pg_terminate_backend(pid => %, timeout => 3000)"}) {
      CAPTURE(call);
      auto victim = app.as(name);
      auto pid = victim.ask("select pg_backend_pid()");
      victim.ask("/* seen by others */ select 1");
      CHECK(holds(two.ask("select query from pg_stat_activity where pid = " + pid),
                  "seen by others"));
      // Whatever search_path an application has.
      two.ask("set search_path = nowhere");
      CHECK(two.ask("select pg_cancel_backend(" + pid + ")") == "t");
      std::string text = call;
      CHECK(two.ask("select " + text.replace(text.find('%'), 1, pid)) == "t");
      CHECK_FALSE(victim.refusal("select pg_sleep(20)").empty());
    }
  }
  auto pid = admin.ask("select pg_backend_pid()");
  auto copier = app.as("copier");
  for (const auto& other : {pid, copier.ask("select pg_backend_pid()")})
    for (const char* call : {"pg_cancel_backend", "pg_terminate_backend"}) {
      CAPTURE(other);
      CAPTURE(call);
      CHECK(holds(one.refusal("select " + std::string{call} + "(" + other + ")"), "must be"));
      CHECK(holds(one.refusal("select pg_matriarch."
                              + std::string{call == std::string{"pg_cancel_backend"}
                                                ? "cancel(" + other + ")"
                                                : "terminate(" + other + ", 0)"})
                      + "f",
                  "f"));
    }
  CHECK(admin.refusal("select 1") == "");
  CHECK(copier.refusal("select 1") == "");
  // A reader can end only its own sessions.
  auto reader = app.as("reader");
  auto of_one = one.ask("select pg_backend_pid()");
  CHECK(holds(reader.refusal("select pg_terminate_backend(" + of_one + ")"), "must be"));
  auto another = app.as("reader");
  CHECK(reader.ask("select pg_terminate_backend(" + another.ask("select pg_backend_pid()") + ")")
        == "t");
  CHECK(one.refusal("select 1") == "");
  // A process that does not exist, and a superuser's own session.
  CHECK(one.ask("select pg_cancel_backend(2147483647)") == "f");
  CHECK(admin.ask("select pg_terminate_backend(" + of_one + ")") == "t");
}

TEST_CASE("settings that an application makes for itself apply to its next sessions") {
  instance app;
  auto one = app.as("one");
  one.ask("alter role current_user set work_mem = '7MB'");
  one.ask("alter role current_user set search_path = \"a;b\", 'it''s', public");
  one.ask("alter role current_user in database db set datestyle = 'german'");
  one.ask("alter role current_user set role = none");
  one.ask("alter role current_user set local_preload_libraries = 'nope'");
  // A value that SET would not have produced.
  one.ask("set application_name = 'x; alter role appuser superuser'");
  one.ask("alter role current_user set application_name from current");
  app.as("two").ask("set role none; alter role current_user set work_mem = '9MB'");
  app.keep();
  for (const char* name : {"one", "two"}) {
    CAPTURE(name);
    auto session = app.as(name);
    CHECK(session.ask("show search_path") == "\"a;b\", \"it's\", public");
    CHECK(session.ask("show datestyle") == "German, DMY");
    CHECK(session.ask("show application_name") == "x; alter role appuser superuser");
    CHECK(session.ask("show work_mem") == (name == std::string{"one"} ? "7MB" : "9MB"));
    CHECK(session.ask("select current_user") == "appuser");
  }
  CHECK(app.as("reader").ask("show work_mem") == "4MB");
  one.ask("alter role current_user reset all");
  one.ask("alter role current_user in database db reset all");
  app.keep();
  CHECK(app.as("one").ask("show work_mem") == "4MB");
  CHECK(app.as("one").ask("show datestyle") == "ISO, MDY");
  CHECK(app.as("one").ask("select current_user") == "appuser");
  CHECK(app.as("two").ask("show work_mem") == "9MB");
}

TEST_CASE("an application still works as the owner after everything that poolers do to a session") {
  instance app;
  auto one = app.as("one");
  for (const char* reset : {"discard all", "reset role", "reset all", "set role to default",
                            "reset session authorization", "set session authorization default"}) {
    CAPTURE(reset);
    one.ask(reset);
    CHECK(one.ask("select current_user") == "appuser");
    CHECK(one.ask("select session_user") == "one");
  }
}

TEST_CASE("default privileges, mappings and policies for the current user are the owner's") {
  instance app;
  auto one = app.as("one");
  auto admin = app.admin();
  admin.ask("create role somebody login password 'password of somebody'");
  admin.ask("create foreign data wrapper elsewhere; grant usage on foreign data wrapper elsewhere "
            "to appuser");
  one.ask("create schema s; alter default privileges in schema s grant select on tables to "
          "somebody; grant usage on schema s to somebody");
  app.as("two").ask("create table s.t (n int)");
  CHECK(app.as("somebody").refusal("select * from s.t") == "");
  one.ask("create server there foreign data wrapper elsewhere");
  one.ask("create user mapping for current_user server there");
  CHECK(app.as("two").ask("select usename from pg_user_mappings") == "appuser");
  // The owner is exempt from its own policies unless they are forced; then they apply to the
  // current user, and can tell bindings apart by session_user.
  one.ask("create table s.p (who name default session_user, n int)");
  one.ask("alter table s.p enable row level security; alter table s.p force row level security");
  one.ask("create policy named on s.p to one using (true) with check (true)");
  CHECK(holds(one.refusal("insert into s.p (n) values (1)"), "row-level security"));
  one.ask("create policy mine on s.p to current_user using (who = session_user)");
  for (const char* name : {"one", "two"})
    CHECK(app.as(name).refusal("insert into s.p (n) values (1)") == "");
  CHECK(one.ask("select count(*) from s.p") == "1");
  CHECK(app.as("reader").ask("select count(*) from s.p") == "2");
}

TEST_CASE("the objects that a comparison makes are in no dump, and a second one changes nothing") {
  instance app;
  auto admin = app.admin();
  auto rows = [&] {
    return admin.ask("select (select string_agg(xmin::text, ',' order by oid) from pg_proc) ||"
                     "(select string_agg(xmin::text, ',' order by oid) from pg_class) ||"
                     "(select string_agg(xmin::text, ',' order by oid) from pg_namespace) ||"
                     "(select string_agg(xmin::text, ',' order by oid) from pg_authid) ||"
                     "(select string_agg(xmin::text, ',') from pg_db_role_setting) ||"
                     "(select xmin::text from pg_database where datname = 'db')");
  };
  app.as("one").ask("create table t (n int); select lo_create(0)");
  app.keep();
  auto before = rows();
  app.keep();
  CHECK(rows() == before);
  CHECK_FALSE(holds(app.server.dump("one", "password of one"), "matriarch"));
}

TEST_CASE("a reader dumps everything there is") {
  instance app;
  auto one = app.as("one");
  make_one_of_each(one, "s");
  one.ask("select lo_from_bytea(0, 'abc')");
  app.keep();
  auto dump = app.server.dump("reader", "password of reader");
  CHECK(holds(dump, "CREATE TABLE s.guarded"));
  CHECK(holds(dump, "616263"));
}

TEST_CASE("an object that somebody changes is passed over, and all the others get their rights") {
  instance app;
  auto one = app.as("one");
  for (const char* name : {"a", "b", "c"})
    one.ask("create table " + std::string{name} + " (n int)");
  one.ask("create schema held; create table held.t (n int); create sequence held.q");
  one.ask("revoke all on a, b, c from appuser_readers; revoke all on held.q from appuser_readers");
  one.ask("begin; alter table b add column m int; alter sequence held.q owner to appuser");
  auto said = app.compare();
  CHECK(said.ok);
  CHECK(said.complete);
  CHECK(std::ranges::find(said.skipped, "public.b") != said.skipped.end());
  auto reader = app.as("reader");
  CHECK(reader.refusal("select * from a") == "");
  CHECK(reader.refusal("select * from c") == "");
  one.ask("commit");
  app.keep();
  CHECK(reader.refusal("select * from b") == "");
  CHECK(reader.refusal("select * from held.q") == "");
}

TEST_CASE("a comparison does not conflict with a change of a table that is under way") {
  instance app;
  auto one = app.as("one");
  one.ask("create table t (n int)");
  // Half of the comparisons have something to do.
  std::jthread busy{[&](const std::stop_token& over) {
    while (!over.stop_requested())
      (void)app.compare();
  }};
  for (int i = 0; i < 200; ++i) {
    // PostgreSQL locks no table for this, and refuses the second of two concurrent changes.
    auto refusal = one.refusal("revoke all on t from appuser_readers");
    CHECK((refusal.empty() || refusal.find("tuple concurrently updated") != refusal.npos));
    CHECK(one.refusal("alter table t alter column n set default " + std::to_string(i)) == "");
  }
}

TEST_CASE("thousands of tables get their rights in rounds") {
  constexpr int tables = 6'000;
  instance app;
  auto one = app.as("one");
  one.ask("set role none; create schema own");
  for (int done = 0; done < tables; done += 1'000)
    one.ask("do $$ begin for i in 1..1000 loop execute format('create table own.t%s (n int)', "
            + std::to_string(done) + " + i); end loop; end $$");
  int rounds = 1;
  while (!app.compare().complete)
    ++rounds;
  CHECK(rounds > 1);
  CHECK(
      app.admin().ask("select count(*) from pg_class where relnamespace = 'own'::regnamespace and "
                      "not has_table_privilege('reader', oid, 'select')")
      == "0");
}

TEST_CASE("a reader's temporary files are bounded, by the plan where it says how") {
  instance app;
  CHECK(app.as("reader").ask("show temp_file_limit") == reader_temporary_files);
  CHECK(app.as("one").ask("show temp_file_limit") == "-1");
  CHECK(holds(app.as("reader").refusal("set temp_file_limit = -1"), "permission denied"));
  auto admin = app.admin();
  admin.ask("alter system set temp_file_limit = '2MB'");
  admin.ask("select pg_reload_conf()");
  for (int looks = 0; looks < 1'000 && app.admin().ask("show temp_file_limit") != "2MB"; ++looks)
    admin.ask("select pg_sleep(0.02)");
  app.keep();
  auto reader = app.as("reader");
  CHECK(reader.ask("show temp_file_limit") == "2MB");
  CHECK(holds(reader.refusal("select count(*) from (select g from generate_series(1, 3000000) g "
                             "order by g::text) x"),
              "temp_file_limit"));
}

TEST_CASE(
    "a role without readers keeps PostgreSQL's large objects, and its sessions all the same") {
  instance app{{"one"}, false};
  auto one = app.as("one");
  auto other = app.as("one");
  CHECK(one.ask("select pg_terminate_backend(" + other.ask("select pg_backend_pid()") + ")")
        == "t");
  CHECK(app.admin().ask("select count(*) from pg_roles where rolname = 'appuser_readers'") == "0");
  CHECK(app.admin().ask("select count(*) from pg_proc where proname = 'matriarch_lo_open'") == "0");
}

// This list shows what a new version of PostgreSQL adds. Each name was examined: the function does
// nothing that a reader must not do, or needs a right that a reader lacks, or the README lists it
// as what PostgreSQL cannot refuse (notifications, transaction ids, exported snapshots).
TEST_CASE("every function that the public may call, and that has an effect, is known") {
  instance app;
  auto unknown = app.admin().ask(R"(
select coalesce(string_agg(distinct proname, ', '), '') from pg_proc p
where pronamespace = 'pg_catalog'::regnamespace and provolatile = 'v'
  and has_function_privilege('reader', p.oid, 'execute')
  -- PostgreSQL refuses each of these unless pg_upgrade has started it; minor releases bring more
  and proname !~ '^binary_upgrade_'
  and proname not in (
  -- only read, or change this session alone
  'bernoulli', 'clock_timestamp', 'current_query', 'currtid2', 'currval', 'cursor_to_xml',
  'cursor_to_xmlschema', 'gen_random_uuid', 'lastval', 'pg_blocking_pids', 'pg_collation_actual_version',
  'pg_control_checkpoint', 'pg_control_init', 'pg_control_recovery', 'pg_control_system',
  'pg_current_wal_flush_lsn', 'pg_current_wal_insert_lsn', 'pg_current_wal_lsn',
  'pg_database_collation_actual_version', 'pg_database_size', 'pg_get_multixact_members',
  'pg_get_wal_replay_pause_state', 'pg_get_wal_resource_managers', 'pg_indexes_size',
  'pg_is_in_recovery', 'pg_is_wal_replay_paused', 'pg_isolation_test_session_is_blocked',
  'pg_jit_available', 'pg_last_committed_xact', 'pg_last_wal_receive_lsn', 'pg_last_wal_replay_lsn',
  'pg_last_xact_replay_timestamp', 'pg_lock_status', 'pg_notification_queue_usage',
  'pg_partition_ancestors', 'pg_partition_tree', 'pg_prepared_xact', 'pg_relation_size',
  'pg_safe_snapshot_blocking_pids', 'pg_sequence_last_value', 'pg_sleep', 'pg_sleep_for',
  'pg_sleep_until', 'pg_stat_clear_snapshot', 'pg_stat_force_next_flush',
  'pg_stat_get_recovery_prefetch', 'pg_stat_get_xact_blocks_fetched', 'pg_stat_get_xact_blocks_hit',
  'pg_stat_get_xact_function_calls', 'pg_stat_get_xact_function_self_time',
  'pg_stat_get_xact_function_total_time', 'pg_stat_get_xact_numscans',
  'pg_stat_get_xact_tuples_deleted', 'pg_stat_get_xact_tuples_fetched',
  'pg_stat_get_xact_tuples_hot_updated', 'pg_stat_get_xact_tuples_inserted',
  'pg_stat_get_xact_tuples_returned', 'pg_stat_get_xact_tuples_updated', 'pg_table_size',
  'pg_tablespace_size', 'pg_total_relation_size', 'pg_xact_commit_timestamp',
  'pg_xact_commit_timestamp_origin', 'pg_xact_status', 'query_to_xml',
  'query_to_xml_and_xmlschema', 'query_to_xmlschema', 'random', 'set_config', 'setseed', 'system',
  'timeofday', 'ts_rewrite', 'ts_stat', 'txid_status', 'pg_advisory_unlock',
  'pg_advisory_unlock_all', 'pg_advisory_unlock_shared',
  -- ask for a right to the object, or for its ownership
  'brin_desummarize_range', 'brin_summarize_new_values', 'brin_summarize_range',
  'gin_clean_pending_list', 'lo_close', 'lo_get', 'lo_lseek', 'lo_lseek64', 'lo_open', 'lo_put',
  'lo_tell', 'lo_tell64', 'lo_truncate', 'lo_truncate64', 'lo_unlink', 'loread', 'lowrite',
  'matriarch_lo_get', 'matriarch_lo_open', 'nextval', 'setval',
  'pg_cancel_backend', 'pg_terminate_backend', 'matriarch_pg_cancel_backend',
  'matriarch_pg_terminate_backend',
  -- ask for a superuser, for replication, or to be called by PostgreSQL itself
  'amvalidate',
  'brinhandler', 'bthandler', 'dsnowball_init', 'dsnowball_lexize', 'ginhandler', 'gisthandler',
  'hashhandler', 'heap_tableam_handler', 'plpgsql_call_handler', 'plpgsql_inline_handler',
  'plpgsql_validator', 'spghandler', 'pg_copy_logical_replication_slot',
  'pg_copy_physical_replication_slot', 'pg_create_logical_replication_slot',
  'pg_create_physical_replication_slot', 'pg_drop_replication_slot', 'pg_extension_config_dump',
  'pg_import_system_collations', 'pg_logical_slot_get_binary_changes',
  'pg_logical_slot_get_changes', 'pg_logical_slot_peek_binary_changes',
  'pg_logical_slot_peek_changes', 'pg_nextoid', 'pg_read_file_old', 'pg_replication_slot_advance',
  'pg_rotate_logfile_old', 'pg_stop_making_pinned_objects',
  -- cannot be refused, or not without breaking pg_dump: documented
  'pg_notify', 'pg_export_snapshot')
  and prorettype <> 'trigger'::regtype)");
  CHECK(unknown == "");
}
