#include "engines/postgresql/actors/reader_rights.hpp"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

#include "engines/postgresql/actors/owned_objects.hpp"

namespace matriarch::engines::postgresql {

namespace {

// A change of rights waits only briefly for another session that changes the same object, and
// delays only such sessions. Commits are asynchronous: rights that a crash takes back are granted
// again, and a role made afterwards is written after them.
constexpr const char* unobtrusive = "set lock_timeout = '50ms';set synchronous_commit = off;";
// Small enough for any server's memory, and for a short query.
constexpr int most_at_once = 5000;
// Limits on the server's answer, which a tenant may control: as many rows of a kind as `kinds` says
// at most; a change that contains twice the name of a routine with a hundred arguments of full
// length; a batch that is sent within the time-out.
constexpr std::int64_t most_in_one = 200;
constexpr int longest_change = 64 * 1024;
constexpr int longest_batch = 1024 * 1024;

/// The rights that need a change. Each row says how many of its kind go into one transaction, the
/// object's name, and the change.
///
/// A reader gets rights from the public, from its group or by itself (`who`). A table is first
/// locked in a mode that conflicts with ALTER TABLE but not with queries or changes of rows: if a
/// change of rights met an ALTER TABLE, one of them would fail. Other kinds cannot be locked.
/// Objects of a superuser's extension are left as they are; applications may have put objects into
/// extensions, too, and these are included. Objects that another session has locked are only named.
/// Each privilege is revoked as its grantor, since nobody else can do it, together with the grants
/// that depend on it.
constexpr std::string_view differences = R"(
with names as (select current_setting('matriarch.owner') as owner,
    current_setting('matriarch.readers') as readers,
    current_setting('matriarch.temporary_files') as temporary_files),
  g as (select oid, rolname from pg_roles, names where rolname = readers),
  o as (select oid, rolname from pg_roles, names where rolname = owner),
  each as (select r.oid, quote_ident(r.rolname) as name, r.rolbypassrls from pg_roles r
    join pg_auth_members m on m.member = r.oid join g on g.oid = m.roleid where not r.rolsuper),
  who as (select 0::oid as oid, 'public' as name
    union all select oid, quote_ident(rolname) from g union all select oid, name from each),
  -- longer settings are not decompressed, as in binding_roles.cpp
  settings as materialized (select setrole, setconfig from pg_db_role_setting where setdatabase = 0
    and setrole in (select oid from each) and pg_column_size(setconfig) <= 8192),
  -- roles that must own nothing
  theirs as (select oid from each union all select oid from g),
  held as materialized (select distinct relation as oid from pg_locks where locktype = 'relation'
    and granted and pid <> pg_backend_pid() and mode in ('AccessExclusiveLock', 'ExclusiveLock')
    and database = (select oid from pg_database where datname = current_database())),
  kinds(kind, word, size, lock) as (values
    ('r'::"char", 'table', 200, true), ('p', 'table', 200, true), ('v', 'table', 50, false),
    ('m', 'table', 1, false), ('f', 'table', 20, false), ('S', 'sequence', 50, false)),
  every_relation as (select c.oid, c.relacl, c.relkind, c.relowner as owner, format('%I.%I', n.nspname, c.relname) as name, k.word, k.size,
      case when k.lock
        then format('lock table only %I.%I in row exclusive mode nowait;', n.nspname, c.relname)
        else '' end as lock
    from pg_class c join kinds k on k.kind = c.relkind join pg_namespace n on n.oid = c.relnamespace
    where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
      and not exists (select from pg_depend d join pg_roles u on u.oid = c.relowner
        where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
        and u.rolsuper)),
  relations as (select r.* from every_relation r left join held h using (oid) where h.oid is null),
  granted as (select r.oid, a.grantee, a.grantor, a.privilege_type as privilege
    from relations r, aclexplode(r.relacl) a
    union all select t.attrelid, a.grantee, a.grantor, a.privilege_type
    from pg_attribute t, aclexplode(t.attacl) a where t.attacl is not null),
  schemas as (select n.oid, n.nspacl, n.nspowner as owner, quote_ident(n.nspname) as name from pg_namespace n
    where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
      and not exists (select from pg_depend d join pg_roles u on u.oid = n.nspowner
        where d.classid = 'pg_namespace'::regclass and d.objid = n.oid and d.deptype = 'e'
        and u.rolsuper))
select size, name, change from (

-- The database itself.
select 1 as turn, 1 as size, 'the database' as name,
    format('grant connect on database %I to %I', d.datname, g.rolname) as change
  from pg_database d, g
  where d.datname = current_database() and not has_database_privilege(g.oid, d.oid, 'connect')
union all
select 1, 1, 'the database', case a.grantor when d.datdba then '' else format('set role %I;', pg_get_userbyid(a.grantor)) end
    || format('revoke %s on database %I from %s cascade', a.privilege_type, d.datname, w.name)
    || case a.grantor when d.datdba then '' else ';reset role' end
  from pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
  join who w on w.oid = a.grantee
  where d.datname = current_database() and a.privilege_type <> 'CONNECT'

-- What the owner will create. DROP OWNED or another ALTER DEFAULT PRIVILEGES can remove these.
union all
select 1, 1, 'the default privileges',
    format('alter default privileges for role %I grant %s on %s to %I', o.rolname, privilege, word,
      g.rolname)
  from g, o, (values ('n'::"char", 'usage', 'schemas'), ('r', 'select', 'tables'),
    ('S', 'select', 'sequences')) as wanted(kind, privilege, word)
  where not exists (select from pg_default_acl d, aclexplode(d.defaclacl) a
    where d.defaclrole = o.oid and d.defaclnamespace = 0 and d.defaclobjtype = wanted.kind
      and a.grantee = g.oid and a.privilege_type = upper(privilege))

union all
select 2, 20, s.name, format('grant usage on schema %s to %I', s.name, g.rolname)
  from schemas s, g where not has_schema_privilege(g.oid, s.oid, 'usage')
union all
select 2, 20, s.name, case a.grantor when s.owner then '' else format('set role %I;', pg_get_userbyid(a.grantor)) end
    || format('revoke create on schema %s from %s cascade', s.name, w.name)
    || case a.grantor when s.owner then '' else ';reset role' end
  from schemas s, aclexplode(s.nspacl) a join who w on w.oid = a.grantee
  where a.privilege_type = 'CREATE'

-- Tables, views, foreign tables and sequences.
union all
select 3, r.size, r.name,
    r.lock || format('grant select on %s %s to %I', r.word, r.name, g.rolname)
  from relations r, g where not has_table_privilege(g.oid, r.oid, 'select')
union all
select 3, r.size, r.name, r.lock || case a.grantor when r.owner then '' else format('set role %I;', pg_get_userbyid(a.grantor)) end
    || format('revoke %s on %s %s from %s cascade', string_agg(distinct a.privilege, ', '), r.word,
      r.name, w.name)
    || case a.grantor when r.owner then '' else ';reset role' end
  from granted a join who w on w.oid = a.grantee join relations r on r.oid = a.oid
  where a.privilege <> 'SELECT'
  group by r.size, r.name, r.lock, r.word, r.owner, a.grantor, w.name

-- What a reader created while it could becomes the owner's, so that the reader cannot fill the disk
-- with it. A column's sequence goes with its table.
union all
select 3, r.size, r.name, r.lock || format('alter %s %s owner to %I', r.word, r.name, o.rolname)
  from relations r join theirs on theirs.oid = r.owner, o
  where r.relkind <> 'S' or not exists (select from pg_depend d where d.classid = 'pg_class'::regclass
    and d.objid = r.oid and d.deptype in ('a', 'i'))
union all
select 2, 20, s.name, format('alter schema %s owner to %I', s.name, o.rolname)
  from schemas s join theirs on theirs.oid = s.owner, o
-- Readers' functions no longer run with others' rights; their triggers are dropped first.
union all
select 2, 20, c.oid::regclass::text, format('drop trigger %I on %s', t.tgname, c.oid::regclass)
  from pg_trigger t join pg_proc f on f.oid = t.tgfoid join theirs on theirs.oid = f.proowner
  join pg_class c on c.oid = t.tgrelid where not t.tgisinternal and t.tgparentid = 0
union all
select 3, 20, i.identity, case when i.type in ('function', 'procedure')
      then format('alter routine %s security invoker;', i.identity) else '' end
    || format('alter %s %s owner to %I', {word}, i.identity, o.rolname)
  from pg_shdepend d join theirs on theirs.oid = d.refobjid
  cross join lateral pg_identify_object(d.classid, d.objid, 0) i, o
  where d.refclassid = 'pg_authid'::regclass and d.deptype = 'o'
    and d.dbid = (select oid from pg_database where datname = current_database())
    and d.classid in (select k::regclass from unnest(array[{classes}]) k)
    and not exists (select from pg_type t where d.classid = 'pg_type'::regclass and t.oid = d.objid
      and t.typtype = 'm')
    and not exists (select from pg_trigger t where d.classid = 'pg_proc'::regclass
      and t.tgfoid = d.objid)

-- Functions, which views may call. One with its owner's rights may write; if the public may not call
-- it, that is on purpose.
union all
select 4, 20, f.oid::regprocedure::text,
    format('grant execute on routine %s to %I', f.oid::regprocedure, g.rolname)
  from pg_proc f join pg_namespace n on n.oid = f.pronamespace
  join pg_language l on l.oid = f.prolang, g
  where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and not exists (select from pg_depend d join pg_roles u on u.oid = f.proowner
      where d.classid = 'pg_proc'::regclass and d.objid = f.oid and d.deptype = 'e' and u.rolsuper)
    and not f.prosecdef and (f.prokind = 'a' or l.lanname not in ('c', 'internal'))
    and not has_function_privilege(g.oid, f.oid, 'execute')

-- Large objects are read by Matriarch's own functions, without a right of the reader.
union all
select 5, 50, 'large object ' || l.oid, case a.grantor when l.lomowner then '' else format('set role %I;', pg_get_userbyid(a.grantor)) end
    || format('revoke update on large object %s from %s cascade', l.oid, w.name)
    || case a.grantor when l.lomowner then '' else ';reset role' end
  from pg_largeobject_metadata l, aclexplode(l.lomacl) a join who w on w.oid = a.grantee
  where a.privilege_type = 'UPDATE'

-- The readers: they are members of no role that may write, no policy hides rows from them, and their
-- temporary files have the plan's limit, or else Matriarch's.
union all
select 6, 1, 'the role ' || r.name, format('revoke %s from %s', m.roleid::regrole, r.name)
  from who r join pg_auth_members m on m.member = r.oid, o where pg_has_role(m.roleid, o.oid, 'member')
union all
select 5, 1, 'the role ' || r.name, format('delete from pg_db_role_setting where setrole = %s and'
    || ' setdatabase = 0 and pg_column_size(setconfig) > 8192', r.oid)
  from each r join pg_db_role_setting s on s.setrole = r.oid and s.setdatabase = 0
  where pg_column_size(s.setconfig) > 8192
union all
select 6, 1, 'the role ' || r.name, format('alter role %s bypassrls', r.name)
  from each r where not r.rolbypassrls
union all
select 6, 1, 'the role ' || r.name, format('alter role %s set role = none', r.name)
  from each r where not exists (select from settings s, unnest(s.setconfig) c
    where s.setrole = r.oid and c = 'role=none')
union all
select 6, 1, 'the role ' || r.name,
    format('alter role %s set temp_file_limit = %L', r.name, temporary_files)
  from each r, names where current_setting('temp_file_limit') = '-1'
    and not exists (select from settings s, unnest(s.setconfig) c
      where s.setrole = r.oid and c like 'temp\_file\_limit=%')
union all
select 6, 1, 'the role ' || r.name, format('alter role %s reset temp_file_limit', r.name)
  from each r join settings s on s.setrole = r.oid, names
  where current_setting('temp_file_limit') <> '-1'
    and 'temp_file_limit=' || temporary_files = any (s.setconfig)

-- Only named, without a change.
union all
select 7, 0, named.name, '' from (select r.name from every_relation r join held h using (oid), g
  where not has_table_privilege(g.oid, r.oid, 'select') limit 20) named

) as all_of_them
-- In random order, also within a size, so that objects that are passed over do not block the rest.
order by turn, md5(size || ' ' || (select random())), random() limit )";

/// Ends readers' sessions that hold locks for which these changes would wait. Readers need no such
/// lock; a session has one from a right that was revoked since, and keeps both until its
/// transaction ends.
constexpr const char* end_of_writing_readers = R"(
select pg_terminate_backend(a.pid) from pg_stat_activity a
join pg_auth_members m on m.member = a.usesysid join pg_roles g on g.oid = m.roleid
where g.rolname = current_setting('matriarch.readers') and a.datname = current_database()
  and exists (select from pg_locks l where l.pid = a.pid and l.locktype = 'relation'
    and l.relation >= 16384 and l.mode not in ('AccessShareLock', 'SIReadLock')
    and not exists (select from pg_class c where c.oid = l.relation and c.relpersistence = 't')))";

/// Runs the changes as one transaction.
bool carry_out(session& on, const std::vector<std::string>& changes) {
  std::string script;
  for (const auto& one : changes)
    script += one + ";";
  return on.run(script).ok();
}

} // namespace

rights_found compare_rights(session& database, const std::string& owner, const std::string& readers,
                            deadline until) {
  auto ready = database.run(unobtrusive + ("set matriarch.owner = " + database.literal(owner))
                            + ";set matriarch.readers = " + database.literal(readers)
                            + ";set matriarch.temporary_files = "
                            + database.literal(reader_temporary_files));
  if (!ready.ok())
    return {false, ready.error()};
  if (auto ended = database.run(end_of_writing_readers); !ended.ok())
    return {false, ended.error()};
  auto found = database.run(fmt::format(differences, fmt::arg("word", word_for_alter),
                                        fmt::arg("classes", owned_beside_relations))
                            + std::to_string(most_at_once));
  if (!found.ok())
    return {false, found.error()};
  rights_found came;
  const int count = std::min(PQntuples(found->get()), most_at_once);
  auto size_at = [&](int row) {
    auto said = number_at(*found, row, 0).value_or(1);
    return std::clamp(said, std::int64_t{1}, most_in_one);
  };
  auto change_at = [&](int row) { return text_at(*found, row, 2); };
  auto length_at = [&](int row) { return PQgetlength(found->get(), row, 2); };
  auto on_time = [&] { return std::chrono::steady_clock::now() < until; };
  int at = 0;
  while (at < count && on_time()) {
    if (length_at(at) == 0 || length_at(at) > longest_change) {
      came.skipped.push_back(words_at(*found, at++, 1));
      continue;
    }
    std::vector<std::string> batch;
    int end = at;
    int bytes = 0;
    while (end < count && end - at < size_at(at) && size_at(end) == size_at(at)
           && length_at(end) <= longest_change && bytes < longest_batch) {
      bytes += length_at(end);
      batch.push_back(change_at(end++));
    }
    if (carry_out(database, batch)) {
      at = end;
      continue;
    }
    // One of the objects is being changed or is gone, so each change runs by itself.
    for (; at < end && on_time(); ++at)
      if (!carry_out(database, {change_at(at)}))
        came.skipped.push_back(words_at(*found, at, 1));
  }
  came.complete = at == count && count < most_at_once;
  return came;
}

} // namespace matriarch::engines::postgresql
