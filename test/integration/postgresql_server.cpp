#include "postgresql_server.hpp"

#include <fcntl.h>
#include <grp.h>
#include <libpq/libpq-fs.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "etcd_server.hpp"

namespace matriarch::test {

namespace {

using namespace std::chrono_literals;

constexpr const char* programs = "/usr/lib/postgresql/15/bin/";
// PostgreSQL is ready in a second; the limit is for a machine with other load.
constexpr auto longest_start = 60s;
constexpr auto look_again = 20ms;
// All loopback addresses, for replication too.
constexpr const char* everybody = "host all all 127.0.0.0/8 scram-sha-256\n"
                                  "host replication all 127.0.0.0/8 scram-sha-256\n";

/// Becomes `postgres` in a child process, since PostgreSQL refuses root, and runs the words.
[[noreturn]] void become(const std::vector<std::string>& words, const std::string& log) {
  if (::geteuid() == 0) {
    const auto* who = ::getpwnam("postgres");
    if (who == nullptr || ::initgroups(who->pw_name, who->pw_gid) != 0 || ::setgid(who->pw_gid) != 0
        || ::setuid(who->pw_uid) != 0)
      ::_exit(126);
  }
  // After the change of user, which would clear the setting.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  ::dup2(out, STDOUT_FILENO);
  ::dup2(out, STDERR_FILENO);
  std::vector<char*> arguments;
  for (const auto& word : words)
    arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  ::execv(arguments[0], arguments.data());
  ::_exit(127);
}

pid_t start(const std::vector<std::string>& words, const std::string& log) {
  auto pid = ::fork();
  if (pid == 0)
    become(words, log);
  if (pid < 0)
    throw std::runtime_error{"cannot fork"};
  return pid;
}

std::string content(const std::filesystem::path& file) {
  std::ifstream in{file};
  return {std::istreambuf_iterator<char>{in}, {}};
}

void run(const std::vector<std::string>& words, const std::string& log) {
  int status = 0;
  ::waitpid(start(words, log), &status, 0);
  if (status != 0)
    throw std::runtime_error{words[0] + " failed: " + content(log)};
}

} // namespace

void postgresql_server::make_directory() {
  auto pattern = (std::filesystem::temp_directory_path() / "matriarch-postgresql-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr)
    throw std::runtime_error{"cannot make a temporary directory"};
  directory_ = pattern;
  if (const auto* who = ::getpwnam("postgres"); ::geteuid() == 0 && who != nullptr)
    if (::chown(directory_.c_str(), who->pw_uid, who->pw_gid) != 0)
      throw std::runtime_error{"cannot give the directory to postgres"};
  port_ = free_port();
}

void postgresql_server::forget_who_is_refused() const {
  std::ofstream{directory_ / "data/pg_hba.conf"} << everybody;
  client admin{*this, superuser(), "postgres"};
  auto since = admin.ask("select pg_conf_load_time()");
  admin.ask("select pg_reload_conf()");
  while (client{*this, superuser(), "postgres"}.ask("select pg_conf_load_time()") == since)
    std::this_thread::sleep_for(look_again);
}

postgresql_server::postgresql_server(std::vector<std::string> settings)
    : settings_(std::move(settings)) {
  make_directory();
  auto password = directory_ / "password";
  std::ofstream{password} << superuser().password << '\n';
  run({std::string{programs} + "initdb", "--pgdata", directory_ / "data", "--username", "postgres",
       "--auth", "scram-sha-256", "--pwfile", password, "--locale", "C.UTF-8", "--no-sync"},
      directory_ / "log");
  std::ofstream{directory_ / "data/pg_hba.conf"} << "host all +\"appuser_revoked\" all reject\n"
                                                 << everybody;
  launch();
  client admin{*this, superuser(), "postgres"};
  admin.ask("create role appuser login");
  admin.ask("create database db owner appuser");
}

postgresql_server::postgresql_server(const postgresql_server& primary) {
  make_directory();
  run({std::string{programs} + "pg_basebackup", "--pgdata", directory_ / "data",
       "--write-recovery-conf", "--checkpoint", "fast", "--no-sync", "--dbname",
       "host=127.0.0.1 port=" + std::to_string(primary.port_)
           + " user=postgres password='the superuser\\'s'"},
      directory_ / "log");
  launch();
}

void postgresql_server::launch() {
  std::vector<std::string> words{std::string{programs} + "postgres", "-D", directory_ / "data",
                                 "-p", std::to_string(port_)};
  for (const char* setting :
       {"listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "log_statement=all",
        "log_min_duration_statement=0", "wal_retrieve_retry_interval=100ms"})
    words.insert(words.end(), {"-c", setting});
  for (const auto& setting : settings_)
    words.insert(words.end(), {"-c", setting});
  pid_ = start(words, directory_ / "log");
  auto until = std::chrono::steady_clock::now() + longest_start;
  auto where = "host=127.0.0.1 port=" + std::to_string(port_);
  while (PQping(where.c_str()) != PQPING_OK) {
    if (std::chrono::steady_clock::now() > until)
      throw std::runtime_error{"PostgreSQL did not start: " + log()};
    std::this_thread::sleep_for(look_again);
  }
}

postgresql_server::~postgresql_server() {
  if (pid_ > 0) {
    resume();
    ::kill(pid_, SIGQUIT); // at once: its data is not needed any more
    ::waitpid(pid_, nullptr, 0);
  }
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

std::string postgresql_server::url() const {
  return "postgres://127.0.0.1:" + std::to_string(port_) + "/postgres";
}

std::string postgresql_server::log() const {
  return content(directory_ / "log");
}

std::string postgresql_server::dump(const std::string& username,
                                    const std::string& password) const {
  auto to = (directory_ / ("dump of " + username)).string();
  auto log = directory_ / "log of dumps";
  run({std::string{programs} + "pg_dump", "--file", to, "--dbname",
       "host=127.0.0.1 port=" + std::to_string(port_) + " dbname=db user=" + username
           + " password='" + password + "'"},
      log);
  return content(to);
}

void postgresql_server::pause() const {
  ::kill(pid_, SIGSTOP);
}

void postgresql_server::resume() const {
  ::kill(pid_, SIGCONT);
}

client::client(const postgresql_server& at, const model::credentials& who,
               const std::string& database)
    : server_(nullptr, PQfinish) {
  auto url = at.url();
  std::array<const char*, 6> names{"dbname",          "user",   "password",
                                   "connect_timeout", "dbname", nullptr};
  std::array<const char*, 6> values{url.c_str(), who.username.c_str(), who.password.c_str(),
                                    "20",        database.c_str(),     nullptr};
  server_.reset(PQconnectdbParams(names.data(), values.data(), 1));
  PQsetNoticeProcessor(
      server_.get(), [](void*, const char*) {}, nullptr);
}

bool client::connected() const {
  return PQstatus(server_.get()) == CONNECTION_OK;
}

std::string client::ask(const std::string& sql) {
  std::unique_ptr<PGresult, decltype(&PQclear)> came{PQexec(server_.get(), sql.c_str()), PQclear};
  auto status = PQresultStatus(came.get());
  if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
    throw std::runtime_error{PQerrorMessage(server_.get())};
  return PQntuples(came.get()) > 0 ? PQgetvalue(came.get(), 0, 0) : "";
}

std::string client::read_large_object(const std::string& id) {
  ask("begin");
  auto* server = server_.get();
  int opened = lo_open(server, static_cast<Oid>(std::stoul(id)), INV_READ);
  std::array<char, 100> bytes{};
  int size = opened < 0 ? -1 : lo_read(server, opened, bytes.data(), bytes.size());
  auto why = std::string{PQerrorMessage(server)};
  refusal("rollback");
  if (size < 0)
    throw std::runtime_error{why};
  return {bytes.data(), static_cast<std::size_t>(size)};
}

void client::begin(const std::string& sql) {
  if (PQsendQuery(server_.get(), sql.c_str()) != 1)
    throw std::runtime_error{PQerrorMessage(server_.get())};
}

std::string client::refusal(const std::string& sql) {
  try {
    ask(sql);
    return {};
  } catch (const std::runtime_error& why) {
    return why.what();
  }
}

} // namespace matriarch::test
