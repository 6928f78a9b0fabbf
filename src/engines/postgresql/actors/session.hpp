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

/// The little that this project adds to libpq. Everything blocks, up to a deadline.
namespace matriarch::engines::postgresql {

using rows = std::unique_ptr<PGresult, decltype(&PQclear)>;
using deadline = std::chrono::steady_clock::time_point;
/// Once it is set, nobody waits any longer; none means that it never is.
using hurry = std::shared_ptr<const std::atomic<bool>>;

/// Whose certificates servers have to show where a URL says `sslmode=verify-full`: PEM. One text for
/// the whole process, and for the sessions that begin from then on.
void trust(const std::string& authorities);
/// What a server may send in one session: a hundred thousand rights or roles are some 20 MB.
constexpr std::uint64_t most_bytes = 64ULL * 1024 * 1024;
/// What may be sent at once: ten thousand new roles are 10 MB, and what a server answers, of which
/// scripts are made, may be anything.
constexpr std::size_t longest_script = 16UL * 1024 * 1024;

/// A session as a superuser, of which nothing that it says reaches PostgreSQL's log, and in which
/// no setting counts that somebody made for the database.
class session {
public:
  /// `login_url` is a member's: host and port, one of each, and what is to be checked of the server;
  /// `database` is the maintenance database if it is not named. No call on the session lasts beyond
  /// `until`, and no session takes more than `most_bytes`.
  [[nodiscard]] static result<session> open(const std::string& login_url,
                                            const model::credentials& who, deadline until,
                                            const std::string& database = {});

  /// A session as an application opens it, but for `options`: with all settings that count for it.
  /// What the application did to its database may hold it up: nothing waits for it in a hurry.
  [[nodiscard]] static result<session> open_as_application(const std::string& login_url,
                                                           const model::credentials& who,
                                                           const std::string& database,
                                                           deadline until, hurry hurried,
                                                           const std::string& options = {});

  /// Runs one statement, or several as one transaction, and gives the last one's rows. The failure
  /// is PostgreSQL's own message without the statement, in which there may be secrets.
  [[nodiscard]] result<rows> run(const std::string& sql);

  /// Whether the last failure of run() was that somebody else's transaction holds what it needs.
  [[nodiscard]] bool was_locked_out() const { return state_ == "55P03"; }
  void until(deadline when) { until_ = when; }
  /// Whether every further call fails, for it is too late.
  [[nodiscard]] bool is_over() const { return std::chrono::steady_clock::now() >= until_; }
  /// The process that serves this session, as the server counts them.
  [[nodiscard]] int process() const { return PQbackendPID(server_.get()); }

  /// Texts as parts of a statement.
  [[nodiscard]] std::string identifier(const std::string& name) const;
  [[nodiscard]] std::string literal(const std::string& text) const;
  /// The SCRAM verifier of a password, which is all that PostgreSQL gets of it.
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

  /// Waits for the event, takes in what the server has said, and gives why it waits no more.
  [[nodiscard]] std::optional<std::string> listen(short event) const;

  connection server_;
  deadline until_;
  hurry hurried_;
  std::string state_;
};

/// Whether this says that a session has let somebody in, and left too few locks to do anything: one
/// session can take them all, by a statement.
[[nodiscard]] bool lacks_locks(const std::string& why);

/// A field as a whole number; nothing if it is none, or too large. What an application's database
/// answers need not be what was asked for.
[[nodiscard]] std::optional<std::int64_t> number_at(const rows& from, int row, int column);
/// A field as text, to be compared, or given back to the same server; empty if it is null.
[[nodiscard]] std::string text_at(const rows& from, int row, int column);
/// A field as it may stand in words, which go into logs, answers and etcd: on one line, and cut where it
/// is longer than any name.
[[nodiscard]] std::string words_at(const rows& from, int row, int column);

} // namespace matriarch::engines::postgresql
