#pragma once

#include <libpq-fe.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "engines/postgresql/model/login_target.hpp"
#include "model/record.hpp"

/// What this project adds to libpq. All calls block, up to a deadline.
namespace matriarch::engines::postgresql {

using rows = std::unique_ptr<PGresult, decltype(&PQclear)>;
using deadline = std::chrono::steady_clock::time_point;
/// Once it is set, no call waits any longer; null: never.
using hurry = std::shared_ptr<const std::atomic<bool>>;

/// Sets the authorities (PEM) that must have signed a server's certificate if the URL says
/// `sslmode=verify-full`. One text for the whole process; applies to later sessions.
void trust(const std::string& authorities);
/// Most bytes that a server may send in one session: a hundred thousand rights or roles are some 20
/// MB.
constexpr std::uint64_t most_bytes = 64ULL * 1024 * 1024;
/// Longest script that may be sent: ten thousand new roles are 10 MB. Scripts are made from
/// servers' answers, which may be anything.
constexpr std::size_t longest_script = 16UL * 1024 * 1024;

/// A superuser's session. Nothing in it reaches PostgreSQL's log, and no setting that somebody made
/// for the database applies.
class session {
public:
  /// `login_url` is a member's: one host, one port, and how the server is checked. `database` is
  /// the maintenance database by default. No call lasts beyond `until`, and the session accepts at
  /// most `most_bytes`.
  [[nodiscard]] static result<session> open(const std::string& login_url,
                                            const model::credentials& who, deadline until,
                                            const std::string& database = {});

  /// A session as an application opens it, apart from `options`: all of the application's settings
  /// apply. The application may have made its database slow, so `hurried` ends the wait.
  [[nodiscard]] static result<session> open_as_application(const std::string& login_url,
                                                           const model::credentials& who,
                                                           const std::string& database,
                                                           deadline until, hurry hurried,
                                                           const std::string& options = {});

  /// Runs one statement, or several as one transaction, and returns the last one's rows. A failure
  /// is PostgreSQL's own message without the statement, which may contain secrets.
  [[nodiscard]] result<rows> run(const std::string& sql);

  /// Whether the last run() failed because another transaction holds a lock.
  [[nodiscard]] bool was_locked_out() const { return state_ == "55P03"; }
  void until(deadline when) { until_ = when; }
  /// Whether the deadline has passed, so that every further call fails.
  [[nodiscard]] bool is_over() const { return std::chrono::steady_clock::now() >= until_; }
  /// The process id of the session's server process.
  [[nodiscard]] int process() const { return PQbackendPID(server_.get()); }

  /// Texts as parts of a statement.
  [[nodiscard]] std::string identifier(const std::string& name) const;
  [[nodiscard]] std::string literal(const std::string& text) const;
  /// The SCRAM verifier of a password; PostgreSQL never gets the password itself.
  [[nodiscard]] result<std::string> verifier(const std::string& username,
                                             const std::string& password) const;

private:
  using connection = std::unique_ptr<PGconn, decltype(&PQfinish)>;
  session(connection server, deadline until, hurry hurried)
      : server_(std::move(server)), until_(until), hurried_(std::move(hurried)) {}

  struct parameter {
    const char* name;
    const char* value;
  };
  static result<session> connect(const std::optional<login_target>& to,
                                 const std::vector<parameter>& given, deadline until,
                                 hurry hurried = {});

  /// Waits for the event and reads the server's data. Returns why it cannot wait any longer.
  [[nodiscard]] std::optional<std::string> listen(short event) const;

  connection server_;
  deadline until_;
  hurry hurried_;
  std::string state_;
};

/// Whether this message says that the server let the session in but has too few locks left for it:
/// one session can take nearly all locks by one statement.
[[nodiscard]] bool lacks_locks(const std::string& why);

/// A field as a whole number; nothing if it is none or too large. An application's database need
/// not answer what was asked for.
[[nodiscard]] std::optional<std::int64_t> number_at(const rows& from, int row, int column);
/// A field as text, for comparisons or for the same server; empty if null.
[[nodiscard]] std::string text_at(const rows& from, int row, int column);
/// A field for logs, answers and etcd: on one line, and cut if longer than any name.
[[nodiscard]] std::string words_at(const rows& from, int row, int column);

} // namespace matriarch::engines::postgresql
