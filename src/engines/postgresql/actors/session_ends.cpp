#include "engines/postgresql/actors/session_ends.hpp"

#include "engines/postgresql/actors/binding_roles.hpp"

namespace matriarch::engines::postgresql {

namespace {

/// How long the session has been in its state and what it waits for. Only PostgreSQL's own words,
/// since a session's other texts come from its tenant.
std::string words_for(const rows& found, int row) {
  auto doing = words_at(found, row, 3);
  auto waits = words_at(found, row, 4);
  return "its session in process " + words_at(found, row, 1) + " does not end: it has been "
         + (doing.empty() ? "there" : doing) + " for " + words_at(found, row, 2) + " s"
         + (waits.empty() ? ", in a computation or a system call that it does not interrupt"
                          : ", waiting for " + waits);
}

/// Finds sessions that have passed pg_hba.conf and not finished logging in. They are in no view but
/// have a transaction; only their process titles tell their roles. Without /proc or titles,
/// authentication_timeout ends them.
std::string authenticating(const std::string& names) {
  return "select r.rolname, l.pid, pg_terminate_backend(l.pid) from"
         " (select distinct pid from pg_locks where locktype = 'virtualxid'"
         "  and pid <> pg_backend_pid() and pid not in (select pid from pg_stat_activity)) l"
         " join pg_authid r on position(convert_to(' ' || r.rolname || ' ', 'UTF8') in"
         " pg_read_binary_file('/proc/' || l.pid || '/cmdline', 0, 4096, true)) > 0"
         " where r.rolname in ("
         + names + ")";
}

} // namespace

result<std::map<std::string, std::string>> end_sessions(session& on,
                                                        const std::set<std::string>& names) {
  std::map<std::string, std::string> there;
  if (names.empty())
    return there;
  auto list = literals(on, names);
  auto told = on.run("select r.rolname, a.pid,"
                     " greatest(0, extract(epoch from clock_timestamp()"
                     "  - coalesce(a.state_change, a.backend_start)))::bigint,"
                     " coalesce(a.state, ''),"
                     " coalesce(a.wait_event_type || ' (' || a.wait_event || ')', ''),"
                     " pg_terminate_backend(a.pid)"
                     " from pg_stat_activity a join pg_authid r on r.oid = a.usesysid"
                     " where r.rolname in ("
                     + list + ")");
  if (!told.ok())
    return failure{told.error()};
  for (int i = 0; i < PQntuples(told->get()); ++i)
    there[text_at(*told, i, 0)] = words_for(*told, i);
  if (auto begun = on.run(authenticating(list)); begun.ok())
    for (int i = 0; i < PQntuples(begun->get()); ++i)
      there.emplace(text_at(*begun, i, 0), "a session that has not finished logging in, in process "
                                               + words_at(*begun, i, 1) + ", does not end");
  return there;
}

} // namespace matriarch::engines::postgresql
