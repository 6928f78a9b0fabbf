#pragma once

#include <libpq-fe.h>
#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "model/record.hpp"

namespace matriarch::test {

/// A real PostgreSQL on a free loopback port, with a superuser `postgres`, a role `appuser` and its
/// database `db`, as a cell makes them, and a cell's pg_hba.conf. It is ready when the constructor
/// returns. It ends, and its files are removed, with this object or with the thread that started
/// it. Failures are std::runtime_error.
class postgresql_server {
public:
  /// With these settings, such as `max_locks_per_transaction=10`.
  explicit postgresql_server(std::vector<std::string> settings = {});
  /// A streaming replica of that one.
  explicit postgresql_server(const postgresql_server& primary);
  ~postgresql_server();
  postgresql_server& operator=(const postgresql_server&) = delete;

  /// As in a member's key: `postgres://127.0.0.1:port/postgres`.
  [[nodiscard]] std::string url() const;
  [[nodiscard]] static model::credentials superuser() { return {"postgres", "the superuser's"}; }
  /// Everything that it has written to its log.
  [[nodiscard]] std::string log() const;

  /// Gives it a pg_hba.conf as earlier cells made it, without the line that refuses revoked roles.
  void forget_who_is_refused() const;

  /// The output of pg_dump for the application's database, run as that user. Throws
  /// std::runtime_error with pg_dump's message if it fails.
  [[nodiscard]] std::string dump(const std::string& username, const std::string& password) const;

  /// Freezes its sessions: a client's data is accepted, but not answered.
  void pause() const;
  void resume() const;

private:
  void make_directory();
  void launch();

  std::filesystem::path directory_;
  std::vector<std::string> settings_;
  int port_ = 0;
  pid_t pid_ = -1;
};

/// A client's session, to do what an application would do.
class client {
public:
  client(const postgresql_server& at, const model::credentials& who,
         const std::string& database = "db");

  [[nodiscard]] bool connected() const;
  /// The first field of the answer; empty if there is none. Throws std::runtime_error with
  /// PostgreSQL's message.
  std::string ask(const std::string& sql);
  /// Sends a query and does not wait; nothing else can be asked in this session then.
  void begin(const std::string& sql);
  /// PostgreSQL's message if it refuses; empty if it does not.
  std::string refusal(const std::string& sql);

  /// A large object's bytes, by libpq's functions for them.
  std::string read_large_object(const std::string& id);

private:
  std::unique_ptr<PGconn, decltype(&PQfinish)> server_;
};

} // namespace matriarch::test
