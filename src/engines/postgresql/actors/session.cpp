#include "engines/postgresql/actors/session.hpp"

#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <climits>
#include <mutex>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/utf8.hpp"
#include "engines/postgresql/actors/scram_verifier.hpp"
#include "engines/postgresql/model/login_target.hpp"

namespace matriarch::engines::postgresql {

namespace {

// A leader on the same network answers in milliseconds. A slower one is asked again later.
constexpr auto longest_connect = std::chrono::seconds{3};
// Settings from the start of a session; reset_settings handles the rest. Nothing in this session
// may be logged, not even a failed or slow statement. The database is the application's: its
// settings for all sessions, and functions that hide PostgreSQL's own, must not apply to a
// superuser. lock_timeout: a statement that waits for a lock holds up everybody after it. No commit
// waits for a synchronous standby, since that wait has no bound; not even statement_timeout ends
// it.
constexpr const char* session_settings =
    "-c search_path=pg_catalog,pg_temp -c role=none -c default_transaction_read_only=off"
    " -c default_transaction_isolation=read\\ committed -c default_transaction_deferrable=off"
    " -c local_preload_libraries= -c exit_on_error=off -c datestyle=ISO -c row_security=off"
    " -c standard_conforming_strings=on"
    " -c application_name=matriarch -c statement_timeout=10s -c lock_timeout=200ms"
    " -c log_statement=none -c log_min_error_statement=panic -c log_min_duration_statement=-1"
    " -c log_min_duration_sample=-1 -c log_transaction_sample_rate=0 -c track_activities=off"
    // Applications can read the statistics of all sessions.
    " -c pg_stat_statements.track=none"
    " -c synchronous_commit=local -c idle_session_timeout=0"
    " -c idle_in_transaction_session_timeout=0";
/// Resets all other settings of the database and role to PostgreSQL's built-in values.
constexpr const char* reset_settings =
    "select set_config(name, coalesce(boot_val, case name when 'timezone_abbreviations'"
    " then 'Default' else '' end), false) from pg_settings"
    " where source in ('database', 'user', 'database user')";

constexpr const char* given_up = "a more urgent order interrupted it; it is tried again";
// Pause between two checks of `hurry`.
constexpr auto look_for_hurry = std::chrono::milliseconds{20};

/// Waits until the server has sent or will take something. False if the time is up or the order is
/// hurried, also if the server never stops sending.
bool await(PGconn* server, short event, deadline until, const hurry& hurried) {
  while (true) {
    auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    if (left <= std::chrono::milliseconds{0})
      return false;
    auto wait = std::min(left, hurried ? look_for_hurry : std::chrono::milliseconds{INT_MAX});
    pollfd ready{PQsocket(server), event, 0};
    auto came = poll(&ready, 1, static_cast<int>(wait.count()));
    if (came != 0)
      return came > 0;
    if (hurried && hurried->load())
      return false;
  }
}

/// Stops reading after too many bytes: a server that a tenant controls may send without end.
std::optional<std::string> excess(PGconn* server) {
  tcp_info told{};
  socklen_t length = sizeof told;
  if (::getsockopt(PQsocket(server), IPPROTO_TCP, TCP_INFO, &told, &length) != 0
      || told.tcpi_bytes_received <= most_bytes)
    return std::nullopt;
  return "the server has sent more than " + std::to_string(most_bytes / 1024 / 1024) + " MB";
}

/// Whether the server asks for a COPY. libpq would return such a result again and again until
/// somebody copies.
bool wants_to_copy(ExecStatusType status) {
  return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

/// Servers' messages are repeated in logs and answers. PostgreSQL's own have about 100 bytes.
constexpr std::size_t longest_message = 400;

std::string bounded(std::string_view text) {
  return legible(text, longest_message);
}

/// The first line of libpq's message; the others repeat it for each address.
std::string first_line(const char* text) {
  std::string_view whole = text == nullptr ? "" : text;
  return bounded(whole.substr(0, whole.find('\n')));
}

/// libpq reads the trusted authorities from a file. This file has no name, so nobody can replace
/// it.
class trusted_file {
public:
  void write(const std::string& text) {
    std::lock_guard guard{mutex_};
    if (text == text_)
      return;
    auto fresh = ::memfd_create("authorities", MFD_CLOEXEC);
    if (fresh < 0 || ::write(fresh, text.data(), text.size()) != std::ssize(text)) {
      spdlog::error("the fleet's authorities cannot be kept for libpq");
      ::close(fresh);
      return;
    }
    text_ = text;
    // The descriptor's number stays, and with it the path: a reader sees the old text or the new
    // one, never a mixture.
    if (number_ < 0) {
      number_ = fresh;
    } else {
      ::dup3(fresh, number_, O_CLOEXEC);
      ::close(fresh);
    }
  }
  /// Empty if there is no file.
  std::string path() {
    std::lock_guard guard{mutex_};
    return number_ < 0 ? std::string{} : fmt::format("/proc/self/fd/{}", number_);
  }

private:
  std::mutex mutex_;
  std::string text_;
  int number_ = -1;
};

trusted_file& trusted() {
  static trusted_file only;
  return only;
}

} // namespace

void trust(const std::string& authorities) {
  trusted().write(authorities);
}

result<session> session::connect(const std::optional<login_target>& to,
                                 const std::vector<parameter>& given, deadline until,
                                 hurry hurried) {
  // Without an address, libpq would look for a server on this machine.
  if (!to)
    return failure{"its cell has not reported its address yet"};
  // Nodes do not use Kerberos, and looking for its tickets takes milliseconds.
  std::vector<const char*> names{"host", "port", "sslmode", "channel_binding", "gssencmode"};
  std::vector<const char*> values{to->host.c_str(), to->port.c_str(), to->sslmode.c_str(),
                                  to->channel_binding.c_str(), "disable"};
  if (!to->address.empty()) {
    names.push_back("hostaddr");
    values.push_back(to->address.c_str());
  }
  const auto authorities = trusted().path();
  if (to->is_checked()) {
    if (authorities.empty())
      return failure{"it is not known yet who signs the fleet's certificates"};
    names.push_back("sslrootcert");
    values.push_back(authorities.c_str());
  }
  for (const auto& [name, value] : given) {
    names.push_back(name);
    values.push_back(value);
  }
  names.push_back(nullptr);
  values.push_back(nullptr);
  constexpr int expand_dbname = 0;
  connection server{PQconnectStartParams(names.data(), values.data(), expand_dbname), PQfinish};
  // libpq would print the server's notices, which may be a tenant's text.
  if (server)
    PQsetNoticeProcessor(
        server.get(), [](void*, const char*) {}, nullptr);
  // Otherwise libpq itself would wait without limit for a server that does not accept data.
  constexpr int nonblocking = 1;
  PQsetnonblocking(server.get(), nonblocking);
  auto end = std::min(until, std::chrono::steady_clock::now() + longest_connect);
  auto next =
      PQstatus(server.get()) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
  while (next == PGRES_POLLING_READING || next == PGRES_POLLING_WRITING) {
    if (!await(server.get(), next == PGRES_POLLING_READING ? POLLIN : POLLOUT, end, hurried))
      return failure{hurried && hurried->load() ? given_up
                                                : "PostgreSQL did not let a session in in time"};
    next = PQconnectPoll(server.get());
    if (auto too_much = excess(server.get()))
      return failure{*too_much};
  }
  if (next != PGRES_POLLING_OK) {
    auto why = first_line(PQerrorMessage(server.get()));
    if (lacks_locks(why))
      why += " (a session holds nearly all locks that the node has room for, and nobody gets in"
             " until it ends)";
    return failure{why};
  }
  return session{std::move(server), until, std::move(hurried)};
}

bool lacks_locks(const std::string& why) {
  return why.find("out of shared memory") != std::string::npos;
}

result<session> session::open(const std::string& login_url, const model::credentials& who,
                              deadline until, const std::string& database) {
  const auto target = login_target_in(login_url);
  auto opened = connect(target,
                        {{"user", who.username.c_str()},
                         {"password", who.password.c_str()},
                         {"options", session_settings},
                         {"client_encoding", "UTF8"},
                         {"dbname", database.empty() ? maintenance_database : database.c_str()}},
                        until);
  if (opened.ok() && !database.empty())
    if (auto reset = opened->run(reset_settings); !reset.ok())
      return failure{reset.error()};
  return opened;
}

result<session> session::open_as_application(const std::string& login_url,
                                             const model::credentials& who,
                                             const std::string& database, deadline until,
                                             hurry hurried, const std::string& options) {
  return connect(login_target_in(login_url),
                 {{"user", who.username.c_str()},
                  {"password", who.password.c_str()},
                  {"options", options.c_str()},
                  {"dbname", database.c_str()}},
                 until, std::move(hurried));
}

result<rows> session::run(const std::string& sql) {
  auto* server = server_.get();
  state_.clear();
  if (sql.size() > longest_script)
    return failure{"a script is longer than " + std::to_string(longest_script / 1024 / 1024)
                   + " MB"};
  if (PQsendQuery(server, sql.c_str()) != 1)
    return failure{first_line(PQerrorMessage(server))};
  // A server that sends much may accept nothing before somebody reads.
  for (int left = PQflush(server); left != 0; left = PQflush(server)) {
    if (left < 0)
      return failure{first_line(PQerrorMessage(server))};
    if (auto wrong = listen(POLLIN | POLLOUT))
      return failure{*wrong};
  }
  rows last{nullptr, PQclear};
  std::string wrong;
  while (true) {
    while (PQisBusy(server) == 1)
      if (auto trouble = listen(POLLIN))
        return failure{*trouble};
    rows next{PQgetResult(server), PQclear};
    if (!next)
      break;
    auto status = PQresultStatus(next.get());
    if (wants_to_copy(status))
      return failure{"the server answered what was not asked for"};
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK && wrong.empty()) {
      const char* message = PQresultErrorField(next.get(), PG_DIAG_MESSAGE_PRIMARY);
      wrong = message == nullptr ? "the connection was lost" : bounded(message);
      const char* state = PQresultErrorField(next.get(), PG_DIAG_SQLSTATE);
      state_ = state == nullptr ? "" : state;
    }
    last = std::move(next);
  }
  if (!wrong.empty())
    return failure{wrong};
  return last;
}

std::optional<std::string> session::listen(short event) const {
  auto* server = server_.get();
  if (!await(server, event, until_, hurried_))
    return hurried_ && hurried_->load() ? given_up : "PostgreSQL did not answer in time";
  if (PQconsumeInput(server) != 1)
    return first_line(PQerrorMessage(server));
  return excess(server);
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
  if (auto quick = make_verifier(password))
    return *quick;
  std::unique_ptr<char, decltype(&PQfreemem)> made{
      PQencryptPasswordConn(server_.get(), password.c_str(), username.c_str(), "scram-sha-256"),
      PQfreemem};
  if (!made)
    return failure{"libpq could not make a SCRAM verifier"};
  return std::string{made.get()};
}

std::optional<std::int64_t> number_at(const rows& from, int row, int column) {
  const auto text = text_at(from, row, column);
  std::int64_t number = 0;
  auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || wrong != std::errc{} || end != text.data() + text.size())
    return std::nullopt;
  return number;
}

std::string text_at(const rows& from, int row, int column) {
  const char* text = PQgetvalue(from.get(), row, column);
  return text == nullptr ? "" : text; // null if the server answered less than was asked for
}

std::string words_at(const rows& from, int row, int column) {
  // Room for a schema's and a table's name, each of 63 bytes and quoted; routines have arguments,
  // too.
  constexpr std::size_t longest = 200;
  const char* text = PQgetvalue(from.get(), row, column);
  return text == nullptr ? "" : one_line(text, longest);
}

} // namespace matriarch::engines::postgresql
