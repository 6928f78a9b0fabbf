#include "actors/postgresql.hpp"

#include <poll.h>

#include <algorithm>
#include <array>

namespace matriarch::actors::postgresql {

namespace {

// A leader on the same network answers in milliseconds; one that does not is asked again later.
constexpr const char* connect_seconds = "3";
// Nothing that is said here may be logged, not even a statement that fails or takes long. And the
// database is the application's: what it may have set for all its sessions, or put in the way of
// PostgreSQL's own functions, must not count for a superuser. No commit waits for a synchronous
// standby: that has no bound, since not even statement_timeout ends it.
constexpr const char* session_settings =
    "-c search_path=pg_catalog,pg_temp -c role=none -c default_transaction_read_only=off"
    " -c application_name=matriarch -c statement_timeout=10s -c lock_timeout=5s"
    " -c log_statement=none -c log_min_error_statement=panic -c log_min_duration_statement=-1"
    " -c log_min_duration_sample=-1 -c log_transaction_sample_rate=0 -c track_activities=off"
    " -c synchronous_commit=local -c idle_session_timeout=0"
    " -c idle_in_transaction_session_timeout=0";

int milliseconds_left(deadline until) {
  auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      until - std::chrono::steady_clock::now());
  return static_cast<int>(std::max<std::int64_t>(0, left.count()));
}

/// The first line of libpq's message; the others repeat it for each address.
std::string first_line(const char* text) {
  std::string whole = text == nullptr ? "" : text;
  return whole.substr(0, whole.find('\n'));
}

} // namespace

result<session> session::open(const std::string& conn_url, const model::credentials& who,
                              deadline until, const std::string& database) {
  // The first dbname is read as a URL, and what stands after it wins.
  std::array<const char*, 8> names{"dbname",  "user",    "password", "connect_timeout",
                                   "options", "sslmode", "dbname",   nullptr};
  std::array<const char*, 8> values{conn_url.c_str(),
                                    who.username.c_str(),
                                    who.password.c_str(),
                                    connect_seconds,
                                    session_settings,
                                    "prefer",
                                    nullptr,
                                    nullptr};
  if (database.empty())
    names[6] = nullptr;
  else
    values[6] = database.c_str();
  constexpr int expand_dbname = 1;
  connection server{PQconnectdbParams(names.data(), values.data(), expand_dbname), PQfinish};
  if (PQstatus(server.get()) != CONNECTION_OK)
    return failure{first_line(PQerrorMessage(server.get()))};
  // What succeeds with a notice has succeeded; libpq would print it on stderr.
  PQsetNoticeProcessor(
      server.get(), [](void*, const char*) {}, nullptr);
  return session{std::move(server), until};
}

result<rows> session::run(const std::string& sql) {
  auto* server = server_.get();
  if (PQsendQuery(server, sql.c_str()) != 1)
    return failure{first_line(PQerrorMessage(server))};
  rows last{nullptr, PQclear};
  std::string wrong;
  while (true) {
    while (PQisBusy(server) == 1) {
      pollfd readable{PQsocket(server), POLLIN, 0};
      if (poll(&readable, 1, milliseconds_left(until_)) <= 0)
        return failure{"PostgreSQL did not answer in time"};
      if (PQconsumeInput(server) != 1)
        return failure{first_line(PQerrorMessage(server))};
    }
    rows next{PQgetResult(server), PQclear};
    if (!next)
      break;
    auto status = PQresultStatus(next.get());
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK && wrong.empty()) {
      const char* message = PQresultErrorField(next.get(), PG_DIAG_MESSAGE_PRIMARY);
      wrong = message == nullptr ? "the connection was lost" : message;
    }
    last = std::move(next);
  }
  if (!wrong.empty())
    return failure{wrong};
  return last;
}

std::string session::identifier(const std::string& name) const {
  std::unique_ptr<char, decltype(&PQfreemem)> quoted{
      PQescapeIdentifier(server_.get(), name.data(), name.size()), PQfreemem};
  return quoted ? quoted.get() : "";
}

std::string session::literal(const std::string& text) const {
  std::unique_ptr<char, decltype(&PQfreemem)> quoted{
      PQescapeLiteral(server_.get(), text.data(), text.size()), PQfreemem};
  return quoted ? quoted.get() : "";
}

result<std::string> session::verifier(const std::string& username,
                                      const std::string& password) const {
  std::unique_ptr<char, decltype(&PQfreemem)> made{
      PQencryptPasswordConn(server_.get(), password.c_str(), username.c_str(), "scram-sha-256"),
      PQfreemem};
  if (!made)
    return failure{"libpq could not make a SCRAM verifier"};
  return std::string{made.get()};
}

std::string text_at(const rows& from, int row, int column) {
  return PQgetvalue(from.get(), row, column);
}

} // namespace matriarch::actors::postgresql
