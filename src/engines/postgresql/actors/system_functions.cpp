#include "engines/postgresql/actors/system_functions.hpp"

#include <fmt/format.h>

#include "model/names.hpp"

namespace matriarch::engines::postgresql {

namespace {

// Everything defined here runs with a superuser's rights or is called by a superuser, so no name in
// it may be looked up in an application's schema.

constexpr const char* beginning = R"(
set local allow_system_table_mods = on;
create schema if not exists pg_matriarch;
grant usage on schema pg_matriarch to public;
)";

/// Renames PostgreSQL's own functions of these names, once.
constexpr const char* rename = R"(
do $$ declare f record; begin
  for f in select proname as name, pg_get_function_identity_arguments(p.oid) as arguments
      from pg_proc p join pg_language l on l.oid = p.prolang
      where l.lanname = 'internal' and p.pronamespace = 'pg_catalog'::regnamespace
        and p.proname in ({names}) loop
    execute format('alter function pg_catalog.%I(%s) rename to %I', f.name, f.arguments,
      'matriarch_' || f.name);
  end loop;
end $$;
)";

/// Lets roles that work as the owner signal bindings' sessions. PostgreSQL decides about all other
/// sessions.
constexpr const char* signals = R"(
create or replace function pg_matriarch.is_application(integer) returns boolean
language sql stable strict security definer set search_path = pg_catalog, pg_temp as $$
  select exists (select from pg_stat_get_activity($1) s join pg_roles r on r.oid = s.usesysid
    join pg_auth_members m on m.member = r.oid join pg_roles g on g.oid = m.roleid
    where g.rolname in ({groups}) and not r.rolsuper and not r.rolreplication)
$$;
create or replace function pg_matriarch.cancel(integer) returns boolean
language sql strict security definer set search_path = pg_catalog, pg_temp as $$
  select case when pg_matriarch.is_application($1) then matriarch_pg_cancel_backend($1)
    else false end
$$;
create or replace function pg_matriarch.terminate(integer, bigint) returns boolean
language sql strict security definer set search_path = pg_catalog, pg_temp as $$
  select case when pg_matriarch.is_application($1) then matriarch_pg_terminate_backend($1, $2)
    else false end
$$;
revoke execute on function pg_matriarch.is_application(integer), pg_matriarch.cancel(integer),
  pg_matriarch.terminate(integer, bigint) from public;
grant execute on function pg_matriarch.is_application(integer), pg_matriarch.cancel(integer),
  pg_matriarch.terminate(integer, bigint) to {writers};

create or replace function pg_catalog.pg_cancel_backend(integer) returns boolean
language plpgsql strict parallel safe set search_path = pg_catalog, pg_temp as $$ begin
  if has_function_privilege('pg_matriarch.cancel(integer)', 'execute') then
    if pg_matriarch.is_application($1) then
      return pg_matriarch.cancel($1);
    end if;
  end if;
  return matriarch_pg_cancel_backend($1);
end $$;
create or replace function
pg_catalog.pg_terminate_backend(pid integer, timeout bigint default 0) returns boolean
language plpgsql strict parallel safe set search_path = pg_catalog, pg_temp as $$ begin
  if has_function_privilege('pg_matriarch.terminate(integer, bigint)', 'execute') then
    if pg_matriarch.is_application($1) then
      return pg_matriarch.terminate($1, $2);
    end if;
  end if;
  return matriarch_pg_terminate_backend($1, $2);
end $$;
)";

/// Readers of large objects. Large objects have no default privileges, so grants would always come
/// too late for some; and with lo_compat_privileges a reader could write comments of any length on
/// them. A function with a superuser's rights opens them for reading. 131072 is INV_WRITE of
/// libpq-fs.h.
constexpr const char* large_objects = R"(
create or replace function pg_matriarch.lo_open(oid, integer) returns integer
language sql strict security definer set search_path = pg_catalog, pg_temp as $$
  select matriarch_lo_open($1, $2 & ~ 131072)
$$;
create or replace function pg_matriarch.lo_get(oid) returns bytea
language sql strict security definer set search_path = pg_catalog, pg_temp as $$
  select matriarch_lo_get($1)
$$;
create or replace function pg_matriarch.lo_get(oid, bigint, integer) returns bytea
language sql strict security definer set search_path = pg_catalog, pg_temp as $$
  select matriarch_lo_get($1, $2, $3)
$$;
revoke execute on function pg_matriarch.lo_open(oid, integer), pg_matriarch.lo_get(oid),
  pg_matriarch.lo_get(oid, bigint, integer) from public;
grant execute on function pg_matriarch.lo_open(oid, integer), pg_matriarch.lo_get(oid),
  pg_matriarch.lo_get(oid, bigint, integer) to {readers};

create or replace function pg_catalog.lo_open(oid, integer) returns integer
language plpgsql strict set search_path = pg_catalog, pg_temp as $$ begin
  if ($2 & 131072) = 0 and has_function_privilege('pg_matriarch.lo_open(oid, integer)', 'execute')
  then
    return pg_matriarch.lo_open($1, $2);
  end if;
  return matriarch_lo_open($1, $2);
end $$;
create or replace function pg_catalog.lo_get(oid) returns bytea
language plpgsql strict set search_path = pg_catalog, pg_temp as $$ begin
  if has_function_privilege('pg_matriarch.lo_get(oid)', 'execute') then
    return pg_matriarch.lo_get($1);
  end if;
  return matriarch_lo_get($1);
end $$;
create or replace function pg_catalog.lo_get(oid, bigint, integer) returns bytea
language plpgsql strict set search_path = pg_catalog, pg_temp as $$ begin
  if has_function_privilege('pg_matriarch.lo_get(oid, bigint, integer)', 'execute') then
    return pg_matriarch.lo_get($1, $2, $3);
  end if;
  return matriarch_lo_get($1, $2, $3);
end $$;
)";

/// The first functions write without a right to any object: own large objects, and WAL. The others
/// take any number of locks: one statement could fill the node's lock table, so that nobody can log
/// in any more, or end a replica. Signatures are read from the server, since some versions add an
/// argument. pg_stat_get_wal_receiver shows the leader's address and files, which are not
/// applications' business; they may see all other statistics.
constexpr const char* taken_from_public = R"(
do $$ declare f regprocedure; begin
  for f in select oid from pg_proc where pronamespace = 'pg_catalog'::regnamespace and proname in
      ('lo_creat', 'lo_create', 'lo_from_bytea', 'pg_logical_emit_message', 'pg_advisory_lock',
       'pg_advisory_lock_shared', 'pg_advisory_xact_lock', 'pg_advisory_xact_lock_shared',
       'pg_try_advisory_lock', 'pg_try_advisory_lock_shared', 'pg_try_advisory_xact_lock',
       'pg_try_advisory_xact_lock_shared') loop
    execute format('revoke execute on function %s from public', f);
    execute format('grant execute on function %s to %s', f, {writers_text});
  end loop;
end $$;
revoke execute on function pg_catalog.pg_stat_get_wal_receiver() from public;
)";

} // namespace

std::optional<std::string> keep_system_functions(session& database, const function_users& who) {
  using fmt::arg;
  auto writers = database.identifier(who.writers);
  auto groups = database.literal(who.owner);
  if (!who.readers.empty())
    groups += ", " + database.literal(who.readers);
  auto renamed = [&](const char* names) { return fmt::format(rename, arg("names", names)); };
  auto script = std::string{beginning} + renamed("'pg_cancel_backend', 'pg_terminate_backend'")
                + fmt::format(signals, arg("groups", groups), arg("writers", writers))
                + fmt::format(taken_from_public, arg("writers_text", database.literal(writers)));
  if (!who.readers.empty())
    script += renamed("'lo_open', 'lo_get'")
              + fmt::format(large_objects, arg("readers", database.identifier(who.readers)));
  // Only a superuser can undo these changes, so a digest tells whether they were made.
  constexpr std::size_t digits = 32;
  auto stamp = model::start_of_sha256(script, digits);
  auto found = database.run("select coalesce(max(obj_description(oid, 'pg_namespace')), '')"
                            " from pg_namespace where nspname = 'pg_matriarch'");
  if (!found.ok())
    return found.error();
  if (text_at(*found, 0, 0) == stamp)
    return std::nullopt;
  auto done = database.run("begin;" + script + "comment on schema pg_matriarch is "
                           + database.literal(stamp) + ";commit");
  if (done.ok())
    return std::nullopt;
  (void)database.run("rollback");
  return done.error();
}

} // namespace matriarch::engines::postgresql
