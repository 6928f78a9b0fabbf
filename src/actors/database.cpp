#include "actors/database.hpp"

#include <libpq-fe.h>

#include <array>
#include <cstdlib>
#include <memory>

namespace matriarch::actors {

namespace {

// The question is asked while an operation waits for it and again half a second later: one that
// takes longer than this is better asked anew, of whoever leads then.
constexpr const char* connect_seconds = "3";
constexpr const char* session_settings = "-c statement_timeout=3000 -c application_name=matriarch";

using connection = std::unique_ptr<PGconn, decltype(&PQfinish)>;
using rows = std::unique_ptr<PGresult, decltype(&PQclear)>;

/// How far each streaming replica's replay is behind the leader's current position.
constexpr const char* lag_of_each_replica =
    "select application_name,"
    " coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn), 9223372036854775807)::bigint"
    " from pg_stat_replication where state = 'streaming'";

lag_answer ask(const lag_question& question) {
  // `conn_url` is the member's own word for its host, port and database; user and password are
  // ours.
  std::array<const char*, 7> names{"dbname",  "user",    "password", "connect_timeout",
                                   "options", "sslmode", nullptr};
  std::array<const char*, 7> values{question.conn_url.c_str(),
                                    question.superuser.username.c_str(),
                                    question.superuser.password.c_str(),
                                    connect_seconds,
                                    session_settings,
                                    "prefer",
                                    nullptr};
  constexpr int expand_dbname = 1;
  connection server{PQconnectdbParams(names.data(), values.data(), expand_dbname), PQfinish};
  if (PQstatus(server.get()) != CONNECTION_OK)
    return {
        false, {}, std::string{"cannot connect to the leader: "} + PQerrorMessage(server.get())};
  rows found{PQexec(server.get(), lag_of_each_replica), PQclear};
  if (PQresultStatus(found.get()) != PGRES_TUPLES_OK)
    return {false, {}, std::string{"the leader did not say: "} + PQerrorMessage(server.get())};
  lag_answer answer{true, {}, {}};
  for (int i = 0; i < PQntuples(found.get()); ++i)
    answer.lag[PQgetvalue(found.get(), i, 0)] = std::atoll(PQgetvalue(found.get(), i, 1));
  return answer;
}

database_actor::behavior_type behave(database_actor::pointer) {
  return {[](const lag_question& question) { return ask(question); }};
}

} // namespace

database_actor spawn_database(caf::actor_system& system) {
  return system.spawn<caf::detached>(behave);
}

} // namespace matriarch::actors
