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
/// database `db`, as a cell makes them, and a cell's pg_hba.conf. It is ready when the constructor returns, and gone with its
/// files when this goes or when the thread that started it ends. Failures are std::runtime_error.
class postgresql_server {
public:
  /// With settings of its own: `max_locks_per_transaction=10`.
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

  /// Gives it a pg_hba.conf as earlier cells made it, which refuses nobody.
  void forget_who_is_refused() const;

  /// What pg_dump writes of the application's database, by that user. Throws std::runtime_error
  /// with its words if it fails.
  [[nodiscard]] std::string dump(const std::string& username, const std::string& password) const;

  /// Freezes its sessions: a client finds a socket that takes what it sends, and no answer.
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

/// A session of somebody's, for what an application would do.
class client {
public:
  client(const postgresql_server& at, const model::credentials& who,
         const std::string& database = "db");

  [[nodiscard]] bool connected() const;
  /// The first field of the answer; empty if there is none. Throws std::runtime_error with
  /// PostgreSQL's words.
  std::string ask(const std::string& sql);
  /// Asks and does not wait; nothing else can be asked of this session then.
  void begin(const std::string& sql);
  /// PostgreSQL's words if it refuses; empty if it does not.
  std::string refusal(const std::string& sql);

  /// A large object's bytes, by libpq's functions for them.
  std::string read_large_object(const std::string& id);

private:
  std::unique_ptr<PGconn, decltype(&PQfinish)> server_;
};

} // namespace matriarch::test
