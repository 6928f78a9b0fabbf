#include <doctest/doctest.h>

#include <fcntl.h>
#include <grp.h>
#include <libpq-fe.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>

#include <fmt/format.h>

#include "awaiting.hpp"
#include "base/event_loop.hpp"
#include "base/json.hpp"
#include "etcd_server.hpp"
#include "store/etcd.hpp"
#include "store/etcd_access.hpp"
#include "store/keys.hpp"

namespace matriarch::cell {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using test::awaited;
using test::etcd_server;

namespace {

/// Patroni and PostgreSQL need longer than other servers, above all under other load.
constexpr auto patience = 180s;

template <class Condition>
bool becomes(Condition condition) {
  auto deadline = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline)
      return false;
    std::this_thread::sleep_for(50ms);
  }
  return true;
}

std::string content(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream{path}.rdbuf();
  return text.str();
}

using headers = std::vector<std::pair<std::string, std::string>>;
using plans = std::map<std::string, std::map<std::string, std::string>>;

/// Every role's password, and the same inside a JSON string.
const std::string hard_password = "it's \"hard\" \\ to :quote$ %s";
const std::string hard_password_json = "it's \\\"hard\\\" \\\\ to :quote$ %s";

/// A test's parameters for a connection to a node, where they differ from the default.
struct manner {
  std::string sslmode = "prefer";
  std::string sslrootcert = {};
  std::string replication = {};
};

constexpr uid_t nobody = 65534;

/// What a cell has around it, where root may arrange that.
struct fleet_observations {
  bool another_user = false; ///< it is not root's
  int disk = 0;              ///< MB of a file system of its own, of which it keeps some free
};

/// A cell's program with an etcd, both real, and what a test asks of them.
class cell {
public:
  /// `more`: further lines of its configuration, below `postgresql:`.
  explicit cell(etcd_server::options how = {},
                const std::function<std::string(const etcd_server&)>& more = nullptr,
                const fleet_observations& around = {})
      : etcd(how) {
    if (!executable_)
      throw std::runtime_error{"CELL_PROGRAM must name the cell's program"};
    std::string name = "/tmp/matriarch-cell-XXXXXX";
    if (!::mkdtemp(name.data()))
      throw std::runtime_error{"no temporary directory"};
    ::chmod(name.c_str(), 0755); // nodes run as another user
    directory_ = name;
    port_ = test::free_port();
    std::ofstream{directory_ + "/cell.yml"} << fmt::format(
        "cell: {{guid: c1, availability_zone: z1, port: {}, username: u, password: p, data_dir: "
        "{}/d, "
        "capacity: 2, least_free_disk: {}, addresses: 127.{}.1.0/28}}\n"
        "etcd: {{machines: ['{}']{}}}\n"
        "patroni: {{ttl: 5, loop_wait: 1, retry_timeout: 2}}\n"
        "postgresql:\n  parameters: {{shared_buffers: 16MB, max_connections: 50}}\n{}",
        port_, directory_, around.disk > 0 ? "256MB" : "0MB", test::free_octet(), etcd.url(),
        etcd_access(how), more ? more(etcd) : "");
    client = std::make_unique<store::etcd_client>(loop, client_access(how));
    arrange(around);
    start();
  }

  ~cell() {
    kill();
    for (const auto& [id, pid] : pids())
      ::kill(pid, SIGKILL);
    if (has_disk_)
      ::umount2((directory_ + "/d").c_str(), MNT_DETACH);
    std::error_code ignored;
    for (int i = 0; i < 100 && fs::exists(directory_); ++i) {
      fs::remove_all(directory_, ignored); // fails while a dying process still writes
      if (ignored)
        std::this_thread::sleep_for(50ms);
    }
  }

  /// Fills its file system, but for that many MB. What it fills it with is in the file of that name.
  void fill_disk_but_for(std::int64_t left, const std::string& name) const {
    auto path = directory_ + "/d/" + name;
    auto available = static_cast<std::int64_t>(fs::space(directory_ + "/d").available);
    auto file = ::open(path.c_str(), O_CREAT | O_WRONLY, 0600);
    REQUIRE(::posix_fallocate(file, 0, available - (left << 20)) == 0);
    ::close(file);
  }

  /// Has the cell start Patroni by a script of these lines, from its next start on.
  void start_patroni_by(const std::string& lines) {
    auto script = directory_ + "/patroni";
    std::ofstream{script} << "#!/bin/sh\n" << lines << "\n";
    ::chmod(script.c_str(), 0755);
    auto path = directory_ + "/cell.yml";
    auto text = content(path);
    const std::string section = "patroni: {";
    if (text.find(script) == std::string::npos)
      text.insert(text.find(section) + section.size(), "executable: " + script + ", ");
    std::ofstream{path} << text;
  }

  /// Whether its data is on a file system of its own.
  [[nodiscard]] bool has_disk() const { return has_disk_; }
  [[nodiscard]] const std::string& directory() const { return directory_; }

  /// Makes the cell find PostgreSQL's programs in a directory where `postgres` is a script of these
  /// lines that ends by starting the real program. `{}` in the lines is a directory of the test's,
  /// which is returned.
  std::string replace_postgres_by(const std::string& lines) {
    const std::string real = "/usr/lib/postgresql/15/bin";
    auto programs = directory_ + "/bin";
    fs::create_directories(programs);
    for (const auto& entry : fs::directory_iterator{real})
      if (auto link = fs::path{programs} / entry.path().filename(); !fs::exists(link))
        fs::create_symlink(entry.path(), link);
    auto script = programs + "/postgres";
    auto fresh = script + ".new";
    std::ofstream{fresh} << "#!/bin/sh\n"
                         << fmt::format(fmt::runtime(lines), directory_) << "exec " << real
                         << "/postgres \"$@\"\n";
    ::chmod(fresh.c_str(), 0755);
    fs::rename(fresh, script);
    auto path = directory_ + "/cell.yml";
    auto text = content(path);
    if (text.find(programs) == std::string::npos)
      std::ofstream{path} << text << "  bin_dir: " << programs << "\n";
    return directory_;
  }

  /// The cell's answer about these plans.
  base::outcome judge(const plans& all) {
    json::document body;
    body.SetObject();
    json::value list{rapidjson::kObjectType};
    for (const auto& [id, parameters] : all) {
      json::value plan{rapidjson::kObjectType};
      for (const auto& [name, text] : parameters)
        plan.AddMember(json::string(name, body), json::string(text, body), body.GetAllocator());
      list.AddMember(json::string(id, body), plan, body.GetAllocator());
    }
    json::add(body, "plans", std::move(list), body);
    return ask("PUT", "/v2/postgresql", json::text_of(body));
  }

  /// Makes it listen elsewhere, from its next start on.
  void move() {
    auto before = fmt::format("port: {}", port_);
    port_ = test::free_port();
    auto path = directory_ + "/cell.yml";
    auto text = content(path);
    text.replace(text.find(before), before.size(), fmt::format("port: {}", port_));
    std::ofstream{path} << text;
  }
  [[nodiscard]] std::string port() const { return std::to_string(port_); }

  void start() {
    if (!launched())
      throw std::runtime_error{"the cell does not answer"};
  }

  /// Starts the program without waiting for it, and returns its pid.
  pid_t launch() {
    auto path = directory_ + "/cell.yml";
    auto log = directory_ + "/cell.log";
    auto child = ::fork();
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (!std::freopen(log.c_str(), "a", stderr) || ::dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        ::_exit(126);
      if (!another_user_)
        ::execl(executable_, executable_, path.c_str(), nullptr);
      auto program = ::open(executable_, O_RDONLY); // where that user may not go
      if (::setgroups(0, nullptr) != 0 || ::setresgid(nobody, nobody, nobody) != 0
          || ::setresuid(nobody, nobody, nobody) != 0)
        ::_exit(126);
      ::prctl(PR_SET_PDEATHSIG, SIGKILL); // forgotten with the user
      char* words[] = {const_cast<char*>(executable_), path.data(), nullptr};
      ::fexecve(program, words, environ);
      ::_exit(127);
    }
    return child;
  }

  /// Starts another cell with the same guid elsewhere on this machine, and returns its exit code.
  /// `copied`: its data directory is a copy of this one's.
  int start_another(bool copied = false) {
    if (copied)
      fs::copy(directory_ + "/d", directory_ + "/other",
               fs::copy_options::recursive | fs::copy_options::overwrite_existing);
    auto path = directory_ + "/cell.yml";
    auto own = content(path);
    auto other = own;
    for (const auto& [from, to] :
         {std::pair{directory_ + "/d,", directory_ + "/other,"},
          {fmt::format("port: {}", port_), fmt::format("port: {}", test::free_port())}})
      other.replace(other.find(from), from.size(), to);
    std::ofstream{path} << other;
    auto child = launch();
    int status = 0;
    ::waitpid(child, &status, 0);
    std::ofstream{path} << own;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  bool launched() {
    program_ = launch();
    return becomes([&] { return ask("GET", "/healthz").status == 200; });
  }

  /// kill -9: the program cannot react.
  void kill() { end(SIGKILL); }

  int end(int signal) {
    if (program_ <= 0)
      return -1;
    ::kill(program_, signal);
    int status = 0;
    ::waitpid(program_, &status, 0);
    program_ = 0;
    return status;
  }

  base::outcome ask(const std::string& verb, const std::string& path, std::string body = {},
                    headers with = {}) {
    base::outgoing question;
    question.verb = verb;
    question.url = fmt::format("http://127.0.0.1:{}{}", port_, path);
    question.body = std::move(body);
    question.headers = std::move(with);
    question.headers.emplace_back("Content-Type", "application/json");
    question.username = "u";
    question.password = password;
    question.timeout = 29s;
    return awaited<base::outcome>([&](auto done) { loop.send(question, done); });
  }

  /// `more`: further members of parameters, as JSON that begins with a comma.
  int put(const std::string& node, const std::string& scope, headers with = {},
          const std::string& plan = "p1", const std::string& more = {}) {
    auto parameters = fmt::format(R"("PATRONI_SCOPE":"{}","NODE_ID":"{}")", scope, node);
    for (const auto* name : {"ADMIN", "SUPERUSER", "APPUSER", "REPLICATION", "PATRONI"})
      parameters += fmt::format(R"(,"{0}_USERNAME":"{1}","{0}_PASSWORD":"{2}")", name,
                                user_name(name), hard_password_json);
    parameters += more;
    return ask("PUT", "/v2/service_instances/" + node,
               fmt::format(R"({{"service_id":"s1","plan_id":"{}","parameters":{{{}}}}})", plan,
                           parameters),
               std::move(with))
        .status;
  }

  int remove(const std::string& node, headers with = {}) {
    return ask("DELETE", "/v2/service_instances/" + node + "?service_id=s1&plan_id=p1", {},
               std::move(with))
        .status;
  }

  /// The state of each node, by its id.
  std::map<std::string, std::string> states() {
    std::map<std::string, std::string> found;
    auto listing = json::parse(ask("GET", "/v2/service_instances").body);
    if (listing)
      for (const auto& node : json::member(*listing, "nodes")->GetArray()) {
        auto id = json::string_member(node, "node_id");
        found[id] = json::string_member(node, "state");
        hosts_[id] = json::string_member(node, "host");
      }
    return found;
  }

  bool runs(const std::string& node) {
    return becomes([&] { return states()[node] == "running"; });
  }

  /// Whether a new cluster's node is complete: its roles are made after its first start.
  bool takes_connections(const std::string& node) {
    return runs(node) && becomes([&] { return query(node, "APPUSER", "db", "select 1") == "1"; });
  }

  /// The first process of each node, as written on disk.
  std::map<std::string, pid_t> pids() const {
    std::map<std::string, pid_t> found;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator{directory_ + "/d/nodes", ignored}) {
      auto record = json::parse(content(entry.path() / "node.json"));
      if (!record)
        continue;
      if (const auto* process = json::member(*record, "process"))
        found[entry.path().filename()] = static_cast<pid_t>(json::integer_member(*process, "pid"));
    }
    return found;
  }

  /// How many processes have the data directory in their command line.
  std::size_t processes() const {
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator{"/proc"})
      if (content(entry.path() / "cmdline").find(directory_ + "/d/") != std::string::npos)
        ++count;
    return count;
  }

  std::vector<std::string> node_files() const {
    std::vector<std::string> found;
    for (const auto* folder : {"nodes", "trash"})
      for (const auto& entry : fs::directory_iterator{directory_ + "/d/" + folder})
        found.push_back(entry.path());
    return found;
  }

  /// The values of all keys below a prefix.
  std::vector<std::string> values(const std::string& prefix) {
    auto read = awaited<store::range_result>(
        [&](auto done) { client->range(store::keys_below(prefix), done); });
    std::vector<std::string> found;
    for (const auto& entry : read.found)
      found.push_back(entry.value);
    return found;
  }

  /// The first field of a query's answer, or what went wrong.
  std::string query(const std::string& node, const std::string& role, const std::string& database,
                    const std::string& sql, const manner& how = {}) {
    std::map<const char*, std::string> with{{"host", hosts_[node]},
                                            {"port", "5432"},
                                            {"user", user_name(role)},
                                            {"password", hard_password},
                                            {"dbname", database},
                                            {"connect_timeout", "60"},
                                            {"sslmode", how.sslmode},
                                            {"sslrootcert", how.sslrootcert},
                                            {"replication", how.replication}};
    std::vector<const char*> names;
    std::vector<const char*> values;
    for (const auto& [name, value] : with)
      if (!value.empty()) {
        names.push_back(name);
        values.push_back(value.c_str());
      }
    names.push_back(nullptr);
    values.push_back(nullptr);
    auto* connection = PQconnectdbParams(names.data(), values.data(), 0);
    if (PQstatus(connection) != CONNECTION_OK) {
      std::string why = PQerrorMessage(connection);
      PQfinish(connection);
      return why;
    }
    auto* answer = PQexec(connection, sql.c_str());
    std::string text = PQresultStatus(answer) == PGRES_TUPLES_OK && PQntuples(answer) > 0
                           ? PQgetvalue(answer, 0, 0)
                       : PQresultStatus(answer) == PGRES_COMMAND_OK ? "done"
                                                                    : PQerrorMessage(connection);
    PQclear(answer);
    PQfinish(connection);
    return text;
  }

  /// Asks a node's Patroni, with its credentials.
  base::outcome patroni(const std::string& node, const std::string& verb, const std::string& path,
                        const std::string& body) {
    base::outgoing question;
    question.verb = verb;
    question.url = fmt::format("http://{}:8008{}", hosts_[node], path);
    question.body = body;
    question.username = user_name("PATRONI");
    question.password = hard_password;
    question.timeout = 29s;
    return awaited<base::outcome>([&](auto done) { loop.send(question, done); });
  }

  /// Removes from a node's patroni.yml what earlier agents did not write.
  void make_access_earlier(const std::string& node) const {
    auto path = data_dir() + "/nodes/" + node + "/patroni.yml";
    std::istringstream lines{content(path)};
    std::string text;
    for (std::string line; std::getline(lines, line);)
      if (line.find("_revoked") == std::string::npos)
        text += line + "\n";
    std::ofstream{path} << text;
  }

  /// The output of a program that a database's superuser runs on the server, errors included.
  std::string run_in(const std::string& node, const std::string& command) {
    auto sql = fmt::format("create temporary table said (line text); copy said from program "
                           "$copy${{ {}; }} 2>&1 || true$copy$ with (delimiter e'\\x01'); "
                           "select string_agg(line, E'\\n') from said",
                           command);
    return query(node, "SUPERUSER", "postgres", sql);
  }

  /// Whether the second node of two streams from the first or the first from the second.
  bool one_streams() {
    auto streams = "select count(*) from pg_stat_replication where state = 'streaming'";
    return becomes([&] {
      return query("n1", "SUPERUSER", "postgres", streams) == "1"
             || query("n2", "SUPERUSER", "postgres", streams) == "1";
    });
  }

  std::string leader() {
    for (const auto* node : {"n1", "n2"})
      if (query(node, "SUPERUSER", "postgres", "select pg_is_in_recovery()") == "f")
        return node;
    return "";
  }

  /// Switches over as soon as Patroni can.
  bool switches_over() {
    std::string from;
    return becomes([&] {
             from = leader();
             auto answer =
                 patroni(from, "POST", "/switchover", fmt::format(R"({{"leader":"{}"}})", from));
             return answer.status == 200;
           })
           && becomes([&] { return !leader().empty() && leader() != from; });
  }

  [[nodiscard]] std::string data_dir() const { return directory_ + "/d"; }

  std::string health(const std::string& field) {
    auto body = json::parse(ask("GET", "/healthz").body);
    return body ? json::string_member(*body, field) : "";
  }

  std::string log() const { return content(directory_ + "/cell.log"); }

  etcd_server etcd;
  base::event_loop loop;
  std::unique_ptr<store::etcd_client> client;
  std::string password = "p";

private:
  void arrange(const fleet_observations& around) {
    if (::geteuid() != 0)
      return;
    auto data = directory_ + "/d";
    fs::create_directory(data);
    if (around.disk > 0)
      has_disk_ = ::mount("tmpfs", data.c_str(), "tmpfs", 0,
                          fmt::format("mode=755,size={}m", around.disk).c_str())
                  == 0;
    another_user_ = around.another_user;
    if (another_user_)
      REQUIRE(::chown(data.c_str(), nobody, nobody) == 0);
  }

  /// The cell is root to an etcd with users, for brevity; a node is not.
  std::string etcd_access(const etcd_server::options& how) const {
    std::string text;
    if (!how.root_password.empty())
      text += ", username: root, password: " + how.root_password;
    if (how.tls)
      text += ", tls: {authority: " + etcd.tls().authority()
              + ", certificate: " + etcd.tls().client() + ", key: " + etcd.tls().client_key() + "}";
    return text;
  }

  store::etcd_access client_access(const etcd_server::options& how) const {
    store::etcd_access access{.endpoints = {etcd.url()}};
    if (!how.root_password.empty()) {
      access.username = "root";
      access.password = how.root_password;
    }
    if (how.tls)
      access.tls = {etcd.tls().authority(), etcd.tls().client(), etcd.tls().client_key()};
    return access;
  }

  static std::string user_name(const std::string& role) {
    return role == "SUPERUSER"            ? "postgres"
           : role.starts_with("binding_") ? role
                                          : "the " + role + "'s user";
  }

  const char* executable_ = std::getenv("CELL_PROGRAM");
  std::string directory_;
  int port_ = 0;
  pid_t program_ = 0;
  bool has_disk_ = false;
  bool another_user_ = false;
  std::map<std::string, std::string> hosts_;
};

headers claim(const std::string& scope, int revision, const std::string& fleet = "ours") {
  return {{"X-Matriarch-Scope", scope},
          {"X-Matriarch-Revision", std::to_string(revision)},
          {"X-Matriarch-Fleet", fleet}};
}

} // namespace

TEST_CASE(
    "two nodes become a leader and its replica, outlive the agent, and leave nothing behind") {
  cell one;
  CHECK(becomes([&] { return one.values("/cells/c1").size() == 1; }));
  REQUIRE(one.put("n1", "scope") == 201);
  REQUIRE(one.runs("n1"));
  REQUIRE(one.put("n2", "scope") == 201);
  REQUIRE(one.runs("n2"));

  INFO("the replica streams, and the application user has its database");
  CHECK(one.one_streams());
  CHECK(one.query("n1", "APPUSER", "db", "create table t (i int)") == "done");
  CHECK(one.query("n1", "ADMIN", "postgres", "create role r") == "done");
  CHECK(one.query("n2", "APPUSER", "db", "select pg_is_in_recovery()") == "t");
  CHECK(becomes([&] { return one.values("/postgresql-brokerpatroni/").size() == 2; }));

  INFO("an existing node is not made again, and there is no room for a third");
  auto pids = one.pids();
  CHECK(one.put("n1", "scope") == 200);
  CHECK(one.put("n1", "scope", {}, "p2") == 409);
  CHECK(one.put("n1", "other") == 409);
  CHECK(one.put("n3", "scope") == 422);
  CHECK(one.pids() == pids);

  INFO("an agent that was killed finds its nodes running");
  one.kill();
  one.start();
  CHECK(one.runs("n1"));
  CHECK(one.runs("n2"));
  CHECK(one.pids() == pids);

  INFO("a node that an earlier agent started gets the pg_hba.conf of today");
  auto refuses = [&](const std::string& node) {
    return one.query(node, "SUPERUSER", "postgres",
                     "select count(*) from pg_hba_file_rules where auth_method = 'reject' and "
                     "'+the APPUSER''s user_revoked' = any (user_name)");
  };
  CHECK(refuses("n1") == "4");
  one.kill();
  one.make_access_earlier("n1");
  CHECK(one.patroni("n1", "POST", "/reload", "").status == 202);
  CHECK(becomes([&] { return refuses("n1") == "0"; }));
  one.start();
  CHECK(becomes([&] { return refuses("n1") == "4"; }));
  CHECK(one.pids() == pids);

  INFO("and it restarts a node that an earlier agent had started");
  ::kill(pids["n1"], SIGKILL);
  CHECK(becomes([&] { return one.pids()["n1"] != pids["n1"]; }));
  CHECK(one.runs("n1"));

  INFO("an agent that ends lets its nodes run");
  pids = one.pids();
  CHECK(one.end(SIGTERM) == 0);
  one.start();
  CHECK(one.pids() == pids);

  INFO("removal leaves nothing, not even room for the same node");
  CHECK(one.remove("n2") == 200);
  CHECK(one.values("/postgresql-brokerpatroni/").size() == 1);
  CHECK(one.remove("n1") == 200);
  CHECK(one.values("/postgresql-brokerpatroni/").empty());
  CHECK(one.processes() == 0);
  CHECK(one.node_files().empty());
  CHECK(one.remove("n1") == 410);
  CHECK(one.put("n1", "scope") == 410);
  CHECK(one.log().find("hard") == std::string::npos);
}

TEST_CASE("a session that takes too much memory fails in its own node, and nobody else notices") {
  cell one;
  REQUIRE(one.put("n1", "small", {}, "p1", R"(,"NODE_MEMORY":"268435456","NODE_CPU":"2")") == 201);
  REQUIRE(one.put("n2", "neighbour") == 201);
  REQUIRE(one.takes_connections("n1"));
  REQUIRE(one.takes_connections("n2"));
  auto health = json::parse(one.ask("GET", "/healthz").body);
  REQUIRE(health.ok());
  auto by = json::string_member(*json::member(*health, "limits"), "memory");
  MESSAGE("memory is limited by ", by, " here");
  CHECK((by == "cgroup" || by == "rlimit"));
  CHECK(json::integer_member(*health, "memory") > 0);
  CHECK(json::integer_member(*health, "disk") > 0);
  auto since = [&](const std::string& node) {
    return one.query(node, "SUPERUSER", "postgres", "select pg_postmaster_start_time()");
  };
  auto neighbour_since = since("n2");
  auto pids = one.pids();
  auto said = one.query("n1", "APPUSER", "db",
                        "set work_mem = '4GB'; select count(*) from (select md5(i::text) as m from "
                        "generate_series(1, 6000000) i order by m) s");
  CAPTURE(said);
  CHECK((said.find("out of memory") != std::string::npos
         || said.find("server closed the connection") != std::string::npos
         || said.find("terminating connection") != std::string::npos));
  CHECK(becomes([&] { return one.query("n1", "APPUSER", "db", "select 1") == "1"; }));
  CHECK(since("n2") == neighbour_since);
  INFO("the node's Patroni lives on");
  CHECK(one.pids() == pids);
  INFO("and a later agent knows its limits");
  one.kill();
  one.start();
  CHECK(one.runs("n1"));
  CHECK(one.pids() == pids);
  CHECK(one.remove("n1") == 200);
  CHECK(one.put("n3", "large", {}, "p1", R"(,"NODE_MEMORY":"1")") == 400);
}

TEST_CASE("where a node's processes are counted, it starts no more than its own, and others do") {
  // Then each of its nodes has a user namespace.
  cell one{{}, nullptr, {.another_user = true}};
  auto health = json::parse(one.ask("GET", "/healthz").body);
  REQUIRE(health.ok());
  auto by = json::string_member(*json::member(*health, "limits"), "processes");
  if (by == "none") {
    MESSAGE("skipped: processes are not counted here");
    return;
  }
  REQUIRE(one.put("n1", "small", {}, "p1", R"(,"NODE_PROCESSES":"100")") == 201);
  REQUIRE(one.put("n2", "neighbour") == 201);
  REQUIRE(one.takes_connections("n1"));
  REQUIRE(one.takes_connections("n2"));
  auto pids = one.pids();
  auto start = [&](const std::string& node) {
    return one.query(node, "SUPERUSER", "postgres",
                     "copy (select 1) to program 'i=0; while [ $i -lt 200 ]; do sleep 4 & "
                     "i=$((i+1)); done; true'");
  };
  auto said = start("n1");
  CHECK_MESSAGE(said.find("program") != std::string::npos, said);
  CHECK(start("n2") == "done");
  CHECK(one.query("n2", "APPUSER", "db", "select 1") == "1");
  CHECK(becomes([&] { return one.query("n1", "APPUSER", "db", "select 1") == "1"; }));
  CHECK(one.pids() == pids);
}

TEST_CASE(
    "a node whose disk is nearly full is read-only without a failover, and writes again later") {
  cell one;
  const std::string little_wal =
      R"(,"PATRONI_DYNAMIC_CONFIG":"{\"postgresql\":{\"parameters\":{\"max_wal_size\":\"64MB\",\"min_wal_size\":\"32MB\",\"wal_keep_size\":\"16MB\"}}}")";
  REQUIRE(one.put("n1", "small", {}, "p1", R"(,"NODE_DISK":"536870912")" + little_wal) == 201);
  REQUIRE(one.takes_connections("n1"));
  auto disk_is = [&] {
    auto listing = json::parse(one.ask("GET", "/v2/service_instances").body);
    const auto& node = (*json::member(*listing, "nodes"))[0];
    return json::string_member(*json::member(node, "disk"), "state");
  };
  auto pids = one.pids();
  auto since = one.query("n1", "SUPERUSER", "postgres", "select pg_postmaster_start_time()");
  REQUIRE(one.query("n1", "APPUSER", "db", "create table filled (line text)") == "done");
  std::string said;
  // Some 30 MB each, with their WAL.
  for (int i = 0; i < 60 && said.find("read-only transaction") == std::string::npos; ++i)
    said = one.query("n1", "APPUSER", "db",
                     "insert into filled select md5(i::text) || md5((-i)::text) from "
                     "generate_series(1, 150000) i");
  CHECK_MESSAGE(said.find("cannot execute INSERT in a read-only transaction") != std::string::npos,
                said);
  CHECK(disk_is() != "roomy");
  CHECK(one.log().find("node n1: its disk is nearly full") != std::string::npos);
  INFO("sessions that read, or that free space, are not hindered");
  CHECK(one.query("n1", "APPUSER", "db", "select count(*) > 0 from filled") == "t");
  INFO("a later agent finds it in the same state");
  one.kill();
  one.start();
  REQUIRE(one.runs("n1"));
  CHECK(becomes([&] { return disk_is() != "roomy"; }));
  REQUIRE(one.query("n1", "APPUSER", "db", "begin read write; truncate filled; commit") == "done");
  auto freed = std::chrono::steady_clock::now();
  REQUIRE(becomes([&] {
    return one.query("n1", "APPUSER", "db", "insert into filled values ('again')") == "done";
  }));
  auto took = std::chrono::steady_clock::now() - freed;
  CHECK(took < 10s);
  MESSAGE("it wrote again ", std::chrono::duration_cast<std::chrono::milliseconds>(took).count(),
          " ms after there was room");
  CHECK(one.pids() == pids);
  CHECK(one.query("n1", "SUPERUSER", "postgres", "select pg_postmaster_start_time()") == since);
}

TEST_CASE("where the file system is nearly full, all nodes only read until there is room again") {
  cell one{{}, nullptr, {.disk = 400}};
  if (!one.has_disk()) {
    MESSAGE("skipped: nothing can be mounted here");
    return;
  }
  const std::string little_wal =
      R"(,"PATRONI_DYNAMIC_CONFIG":"{\"postgresql\":{\"parameters\":{\"max_wal_size\":\"64MB\",\"min_wal_size\":\"32MB\",\"wal_keep_size\":\"16MB\"}}}")";
  REQUIRE(one.put("n1", "small", {}, "p1", little_wal) == 201);
  REQUIRE(one.takes_connections("n1"));
  REQUIRE(one.query("n1", "APPUSER", "db", "create table there (n int)") == "done");
  auto pids = one.pids();
  auto since = one.query("n1", "SUPERUSER", "postgres", "select pg_postmaster_start_time()");
  auto writes = [&] { return one.query("n1", "APPUSER", "db", "insert into there values (1)"); };
  CHECK(writes() == "done");
  one.fill_disk_but_for(50, "filler");
  CHECK(becomes([&] { return writes().find("read-only transaction") != std::string::npos; }));
  CHECK(one.query("n1", "APPUSER", "db", "select count(*) > 0 from there") == "t");
  fs::remove(one.directory() + "/d/filler");
  auto freed = std::chrono::steady_clock::now();
  REQUIRE(becomes([&] { return writes() == "done"; }));
  CHECK(std::chrono::steady_clock::now() - freed < 10s);
  CHECK(one.pids() == pids);
  CHECK(one.query("n1", "SUPERUSER", "postgres", "select pg_postmaster_start_time()") == since);
}

TEST_CASE("who replicates does nothing else, and nobody else replicates") {
  // Only in this test does Patroni show etcd a certificate.
  cell one{{.tls = true, .asks_for_certificates = true}};
  REQUIRE(one.put("n1", "scope") == 201);
  REQUIRE(one.takes_connections("n1"));
  for (const std::string sslmode : {"require", "disable"}) {
    CAPTURE(sslmode);
    CHECK(one.query("n1", "APPUSER", "db", "select 1", {sslmode}) == "1");
    for (const auto* role : {"APPUSER", "ADMIN", "SUPERUSER"}) {
      auto said = one.query("n1", role, "db", "IDENTIFY_SYSTEM", {sslmode, "", "true"});
      CAPTURE(said);
      CHECK(said.find("no pg_hba.conf entry for replication") != std::string::npos);
    }
    CHECK(one.query("n1", "REPLICATION", "postgres", "IDENTIFY_SYSTEM", {sslmode, "", "true"})
              .find("FATAL")
          == std::string::npos);
    for (const auto* replication : {"false", "database"}) {
      auto said =
          one.query("n1", "REPLICATION", "postgres", "select 1", {sslmode, "", replication});
      CAPTURE(said);
      CHECK(said.find("pg_hba.conf rejects connection") != std::string::npos);
    }
  }
  CHECK(one.query("n1", "APPUSER", "db", "create database more").find("permission denied")
        != std::string::npos);
  CHECK(one.query("n1", "SUPERUSER", "postgres",
                  "select count(*) from pg_authid where rolpassword not like 'SCRAM-SHA-256$%'")
        == "0");
}

TEST_CASE("roles that the cell refuses cannot log in, whatever PostgreSQL knows of them") {
  cell one;
  REQUIRE(one.put("n1", "scope", claim("scope", 10)) == 201);
  REQUIRE(one.takes_connections("n1"));
  auto refuse = [&](const std::string& roles, const std::string& scope) {
    return one
        .ask("PUT", "/v2/service_instances/n1/sessions", R"({"roles":[)" + roles + "]}",
             claim(scope, 10))
        .status;
  };
  auto statement = [&](const std::string& text) {
    return one.query("n1", "SUPERUSER", "postgres", text);
  };
  auto logs_in = [&](const std::string& role) {
    return one.query("n1", role, "db", "select 1") == "1";
  };
  for (const std::string role : {"binding_1", "binding_2"})
    REQUIRE(statement("create role " + role + " login password $$" + hard_password + "$$")
            == "done");
  REQUIRE(logs_in("binding_1"));
  CHECK(refuse(R"("binding_1")", "another") == 400);
  for (const auto* wrong : {"", "1", R"("superuser")", R"("binding_1 all")", R"("binding_1\nall")",
                            R"("binding_1\u0000")", R"("binding_1,all")", R"("binding_1\"")"})
    CHECK_MESSAGE(refuse(wrong, "scope") == 400, wrong);
  CHECK(logs_in("binding_1"));

  REQUIRE(refuse(R"("binding_1")", "scope") == 200);
  CHECK(becomes([&] {
    return one.query("n1", "binding_1", "db", "select 1").find("pg_hba.conf rejects")
           != std::string::npos;
  }));
  for (const auto* role : {"binding_2", "APPUSER", "SUPERUSER"})
    CHECK_MESSAGE(logs_in(role), role);

  INFO("the refusal survives the agent's death");
  one.kill();
  one.start();
  REQUIRE(one.runs("n1"));
  CHECK_FALSE(logs_in("binding_1"));
  INFO("a refused role stays refused until another role is");
  REQUIRE(refuse(R"("binding_2")", "scope") == 200);
  CHECK(becomes([&] { return logs_in("binding_1"); }));
  CHECK_FALSE(logs_in("binding_2"));
}

TEST_CASE(
    "a cluster has the settings that the broker asked for, and they can be changed for all nodes") {
  cell one;
  const std::string mark = "it's a \"mark\" \\ \u00fc\u20ac";
  const std::string wanted =
      R"(,"PATRONI_DYNAMIC_CONFIG":"{\"synchronous_mode\":true,\"postgresql\":{\"parameters\":)"
      R"({\"shared_buffers\":\"20MB\",\"max_connections\":\"60\",\"matriarch.settings\":)"
      R"(\"it's a \\\"mark\\\" \\\\ \u00fc\u20ac\"}}}","NODE_TYPE":"small")";
  REQUIRE(one.put("n1", "scope", {}, "p1", wanted) == 201);
  CHECK(one.put("n1", "scope", {}, "p1", wanted) == 200);
  REQUIRE(one.runs("n1"));
  REQUIRE(one.put("n2", "scope", {}, "p1", wanted) == 201);
  REQUIRE(one.runs("n2"));
  REQUIRE(one.one_streams());
  auto setting = [&](const std::string& node, const std::string& name) {
    return one.query(node, "SUPERUSER", "postgres", "select current_setting('" + name + "')");
  };
  for (const auto* node : {"n1", "n2"}) {
    CAPTURE(node);
    CHECK(setting(node, "matriarch.settings") == mark);
    CHECK(setting(node, "shared_buffers") == "20MB");
    CHECK(setting(node, "max_connections") == "60");
    CHECK(setting(node, "ssl_min_protocol_version") == "TLSv1.2");
  }
  CHECK(becomes([&] { return setting("n1", "synchronous_standby_names") == "n2"; }));

  INFO("no node's local configuration prevents a change");
  CHECK(one.patroni("n1", "PATCH", "/config",
                    R"({"postgresql":{"parameters":{"matriarch.settings":"next","work_mem":"5MB",)"
                    R"("wal_retrieve_retry_interval":"700ms"}}})")
            .status
        == 200);
  for (const auto* node : {"n1", "n2"}) {
    CAPTURE(node);
    CHECK(becomes([&] { return setting(node, "matriarch.settings") == "next"; }));
    CHECK(setting(node, "work_mem") == "5MB");
    CHECK(setting(node, "wal_retrieve_retry_interval") == "700ms");
  }
}

TEST_CASE("a database's superuser finds nothing of other nodes: no file, no process") {
  cell one;
  cell neighbour; // another cell on the same machine
  REQUIRE(one.health("isolation") == "mount-namespace");
  REQUIRE(one.put("n1", "mine") == 201);
  REQUIRE(one.takes_connections("n1"));
  REQUIRE(one.put("n2", "theirs") == 201);
  REQUIRE(one.takes_connections("n2"));
  REQUIRE(neighbour.put("n1", "theirs") == 201);
  REQUIRE(neighbour.takes_connections("n1"));

  INFO("its own files are there");
  auto own = one.data_dir() + "/nodes/n1";
  CHECK(one.run_in("n1", "cat " + own + "/patroni.yml").find("scope: \"mine\"")
        != std::string::npos);
  CHECK(one.query("n1", "SUPERUSER", "postgres",
                  "select length(pg_read_file('" + own + "/patroni.yml')) > 0")
        == "t");

  for (const auto& other : {one.data_dir() + "/nodes/n2", neighbour.data_dir() + "/nodes/n1"}) {
    CAPTURE(other);
    for (const auto* file : {"/patroni.yml", "/server.pem", "/home/data/PG_VERSION"}) {
      CAPTURE(file);
      REQUIRE(fs::exists(other + file));
      auto refused = [](const std::string& text) {
        return text.find("No such file") != std::string::npos
               || text.find("Permission denied") != std::string::npos;
      };
      CHECK(refused(one.run_in("n1", "cat " + other + file)));
      CHECK(refused(
          one.query("n1", "SUPERUSER", "postgres", "select pg_read_file('" + other + file + "')")));
    }
    CHECK(one.run_in("n1", "ls -a " + other).find("cannot access") != std::string::npos);
  }
  CHECK(one.run_in("n1", "ls " + one.data_dir() + "/nodes").find("cannot open")
        != std::string::npos);

  INFO("nor anything of the machine: neither the cell's configuration nor anybody's files");
  auto configuration = fs::path{one.data_dir()}.parent_path().string() + "/cell.yml";
  REQUIRE(fs::exists(configuration));
  CHECK(one.run_in("n1", "cat " + configuration).find("No such file") != std::string::npos);
  CHECK(one.query("n1", "SUPERUSER", "postgres", "select pg_read_file('" + configuration + "')")
            .find("No such file")
        != std::string::npos);
  for (const auto* directory : {"/root", "/home", "/var", "/srv", "/opt"}) {
    CAPTURE(directory);
    if (!fs::exists(directory))
      continue;
    auto listed = one.run_in("n1", std::string{"ls "} + directory);
    CHECK(listed.find("cannot open") != std::string::npos);
  }
  CHECK(one.run_in("n1", "ls -d /etc/*/ | tr '\\n' ' '; stat -c %a /etc/cron.d").find("711")
        != std::string::npos);
  CHECK(one.run_in("n1", "echo here > /tmp/own && cat /tmp/own").find("here") != std::string::npos);
  CHECK(one.run_in("n2", "cat /tmp/own").find("No such file") != std::string::npos);

  INFO("it sees its own processes only, and can end no other");
  CHECK(one.run_in("n1", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").find("nodes/n2")
        == std::string::npos);
  CHECK(one.run_in("n1", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").find("nodes/n1")
        != std::string::npos);
  auto victim = one.pids()["n2"];
  CHECK(one.run_in("n1", fmt::format("kill -9 {}", victim)).find("No such process")
        != std::string::npos);
  CHECK(one.run_in("n1", "ls /dev/shm") != one.run_in("n2", "ls /dev/shm"));
  CHECK(one.pids()["n2"] == victim);
  CHECK(::kill(victim, 0) == 0);
}

TEST_CASE("nobody but a node's own user can read its files, and those hold all its secrets") {
  cell one;
  REQUIRE(one.put("n1", "scope") == 201);
  REQUIRE(one.runs("n1"));
  CHECK((fs::status(one.data_dir()).permissions() & fs::perms{077}) == fs::perms::none);
  std::size_t seen = 0;
  for (const auto& entry : fs::recursive_directory_iterator{one.data_dir()})
    // Programs are no secret: the node's copy of PostgreSQL's bin directory is links and a script.
    if (entry.is_regular_file() && entry.path().parent_path().filename() != "bin") {
      CAPTURE(entry.path());
      CHECK((entry.status().permissions() & fs::perms{077}) == fs::perms::none);
      ++seen;
    }
  CHECK(seen > 100); // PostgreSQL's own files are among them
  for (const auto& entry : fs::directory_iterator{"/proc"}) {
    CAPTURE(entry.path());
    CHECK(content(entry.path() / "cmdline").find("hard\"") == std::string::npos);
  }
}

TEST_CASE("nodes live with an etcd user that may write nothing but Patroni's own keys") {
  auto with_tls = [](const etcd_server& etcd) {
    return "  require_tls: true\n  tls: {certificate: " + etcd.tls().server()
           + ", key: " + etcd.tls().server_key() + "}\n";
  };
  cell one{{.tls = true, .root_password = "rootpw"}, with_tls};
  auto admitted = awaited<std::string>([&](auto done) {
    one.client->admit_user("scope-user", "it's \"hard\"",
                           {store::keys_below(store::keys::everything_of("scope"))},
                           store::written_by_nodes("scope"), done);
  });
  REQUIRE(admitted == "");
  const std::string user = R"(,"ETCD_USERNAME":"scope-user","ETCD_PASSWORD":"it's \"hard\"")";
  REQUIRE(one.put("n1", "scope", {}, "p1", user) == 201);
  REQUIRE(one.put("n2", "scope", {}, "p1", user) == 201);
  REQUIRE(one.runs("n1"));
  REQUIRE(one.runs("n2"));
  REQUIRE(one.one_streams());

  INFO("TLS is the operator's, and without it there is no connection");
  CHECK(one.query("n1", "APPUSER", "db", "select 1", {"verify-ca", one.etcd.tls().authority()})
        == "1");
  CHECK(one.query("n1", "APPUSER", "db", "select 1", {"disable"}).find("no encryption")
        != std::string::npos);

  INFO("a switchover, also after etcd has forgotten all tokens, and a failover");
  CHECK(one.switches_over());
  REQUIRE(one.one_streams());
  one.etcd.stop();
  one.etcd.start();
  CHECK(one.switches_over());
  REQUIRE(one.one_streams());
  auto old = one.leader();
  one.kill(); // or it would start the leader again before its lease ends
  ::kill(one.pids()[old], SIGKILL);
  CHECK(becomes([&] { return !one.leader().empty() && one.leader() != old; }));
  one.start();
  CHECK(one.one_streams());
}

TEST_CASE("a request that is outdated or comes from another fleet has no effect") {
  cell one;
  REQUIRE(one.put("n1", "scope", claim("scope", 10)) == 201);
  CHECK(one.put("n2", "scope", claim("scope", 9)) == 412);
  CHECK(one.put("n2", "scope", claim("scope", 11, "theirs")) == 412);
  CHECK(one.put("n2", "scope", claim("another", 11)) == 400);
  CHECK(one.remove("n1", claim("scope", 9)) == 412);
  one.kill();
  one.start();
  CHECK(one.put("n2", "scope", claim("scope", 9)) == 412);
  CHECK(one.remove("n1", claim("scope", 11, "theirs")) == 412);
  CHECK(one.states().size() == 1);

  INFO("a removal that comes before its node keeps the node away");
  CHECK(one.remove("n2", claim("scope", 12)) == 410);
  CHECK(one.put("n2", "scope", claim("scope", 12)) == 410);
  CHECK(one.remove("n1", claim("scope", 12)) == 200);
  CHECK(one.processes() == 0);
}

TEST_CASE("a removal that an agent began is finished by the next") {
  cell one;
  REQUIRE(one.put("n1", "scope") == 201);
  REQUIRE(one.runs("n1"));
  std::thread asking{[&] { (void)one.remove("n1"); }};
  CHECK(becomes([&] { return one.log().find("n1 is being removed") != std::string::npos; }));
  one.kill();
  asking.join();
  one.start();
  CHECK(becomes([&] { return one.states().empty(); }));
  CHECK(one.processes() == 0);
  CHECK(becomes([&] { return one.node_files().empty(); }));
  CHECK(one.put("n1", "scope") == 410);
}

TEST_CASE("a node whose file only later releases may read is left alone, and the cell says so") {
  cell one;
  REQUIRE(one.put("n1", "scope") == 201);
  REQUIRE(one.runs("n1"));
  const auto path = one.directory() + "/d/nodes/n1/node.json";
  one.kill();
  const auto before = content(path);
  auto later = before;
  const std::string own = R"("min_reader":1)";
  REQUIRE(later.find(own) != std::string::npos);
  later.replace(later.find(own), own.size(), R"("min_reader":9)");
  std::ofstream{path} << later;
  one.start();
  CHECK(one.log().find("later release has written it") != std::string::npos);
  INFO("no other node takes its place, and it is not reported as gone");
  CHECK(one.put("n1", "scope") == 409);
  CHECK(one.remove("n1") == 500);
  CHECK(content(path) == later);
  CHECK(one.processes() > 0);
  INFO("an agent that can read it again does what was asked for");
  one.kill();
  std::ofstream{path} << before;
  one.start();
  CHECK(becomes([&] { return one.processes() == 0 && one.node_files().empty(); }));
}

TEST_CASE("two removals of one node are both answered") {
  cell one;
  REQUIRE(one.put("n1", "scope") == 201);
  int other = 0;
  std::thread asking{[&] { other = one.remove("n1"); }};
  int mine = one.remove("n1");
  asking.join();
  // A request that comes after the removal finds nothing.
  CHECK((mine == 200 || mine == 410));
  CHECK((other == 200 || other == 410));
  CHECK((mine == 200 || other == 200));
  CHECK(one.processes() == 0);
}

TEST_CASE("the cell serves without etcd, and announces itself once etcd is there") {
  cell one;
  CHECK(becomes([&] { return one.health("etcd") == "reachable"; }));
  one.kill();
  one.etcd.stop();
  one.etcd.wipe();
  one.start();
  CHECK(becomes([&] { return one.log().find("cannot be written to etcd") != std::string::npos; }));
  CHECK(one.health("etcd") == "unreachable");
  one.etcd.start();
  CHECK(becomes([&] { return one.values("/cells/c1").size() == 1; }));
  CHECK(becomes([&] { return one.health("etcd") == "reachable"; }));
}

TEST_CASE("keys that ended with their lease come back") {
  cell one;
  CHECK(becomes([&] { return one.values("/cells/c1").size() == 1; }));
  one.etcd.stop();
  one.etcd.wipe();
  one.etcd.start();
  CHECK(becomes([&] { return one.values("/cells/c1").size() == 1; }));
}

TEST_CASE("requests without the password are refused, and so are those that make no sense") {
  cell one;
  CHECK(one.ask("PUT", "/v2/service_instances/n1", "{").status == 400);
  CHECK(one.ask("PUT", "/v2/service_instances/..n1", "{}").status == 400);
  CHECK(one.ask("POST", "/v2/service_instances/n1").status == 405);
  CHECK(one.ask("GET", "/v2/catalog").status == 404);
  CHECK(one.put("n1", "scope", {{"X-Matriarch-Revision", "two"}}) == 400);
  one.password = "q";
  CHECK(one.put("n1", "scope") == 401);
  CHECK(one.ask("GET", "/v2/service_instances").status == 401);
  CHECK(one.ask("GET", "/healthz").status == 200);
  one.password = "p";
  CHECK(one.states().empty());
}

TEST_CASE("for a plan that PostgreSQL cannot start, each wrong parameter is explained") {
  cell one;
  auto said = one.judge({{"good",
                          {{"work_mem", "8MB"},
                           {"shared_buffers", "7TB"},
                           {"shared_preload_libraries", "auto_explain,pg_stat_statements"},
                           {"pg_stat_statements.max", "5000"},
                           {"any.thing", "x"},
                           {"search_path", "\"a b\", public"},
                           {"log_line_prefix", "it's \\%m"},
                           {"application_name", "of a plan"}}},
                         {"unknown", {{"work_mme", "8MB"}, {"no_such", "1"}, {"fsync", "maybe"}}},
                         {"range", {{"max_connections", "0"}}},
                         {"unit", {{"work_mem", "8XB"}}},
                         {"word", {{"wal_compression", "brotli"}}},
                         {"number", {{"random_page_cost", "dear"}}},
                         {"zone", {{"log_min_messages", "panic"}, {"timezone", "Nowhere"}}},
                         {"fixed", {{"block_size", "4096"}}},
                         {"library", {{"shared_preload_libraries", "auto_explain, timescaledb"}}}});
  REQUIRE(said.status == 200);
  auto body = json::parse(said.body);
  REQUIRE(body.ok());
  auto version = json::string_member(*body, "version");
  CHECK(version.starts_with("15."));
  CHECK(one.health("postgresql") == version);
  CHECK(json::text_of(*json::member(*body, "libraries")).find("\"auto_explain\"")
        != std::string::npos);
  const auto& faults = *json::member(*body, "faults");
  auto of = [&](const char* plan) {
    std::vector<std::string> words;
    if (const auto* all = json::member(faults, plan))
      for (const auto& one : all->GetArray())
        words.emplace_back(one.GetString());
    return words;
  };
  using texts = std::vector<std::string>;
  CHECK(of("good") == texts{});
  CHECK(of("unknown")
        == texts{"PostgreSQL " + version + " has no parameter \"no_such\"",
                 "PostgreSQL " + version + " has no parameter \"work_mme\"; is \"work_mem\" meant?",
                 "parameter \"fsync\" requires a Boolean value (it is on or off)"});
  CHECK(of("range")
        == texts{"0 is outside the valid range for parameter \"max_connections\" (1 .. 262143)"});
  CHECK(of("unit")
        == texts{"invalid value for parameter \"work_mem\": \"8XB\" (Valid units for this "
                 "parameter are \"B\", \"kB\", \"MB\", \"GB\", and \"TB\".)"});
  CHECK(of("word")
        == texts{"invalid value for parameter \"wal_compression\": \"brotli\" (Available values: "
                 "pglz, lz4, zstd, on, off.)"});
  CHECK(of("number")
        == texts{"invalid value for parameter \"random_page_cost\": \"dear\" (it is a number from "
                 "0 to 1.79769e+308)"});
  CHECK(of("zone") == texts{"invalid value for parameter \"TimeZone\": \"Nowhere\""});
  CHECK(of("fixed") == texts{"parameter \"block_size\" cannot be changed"});
  CHECK(of("library")
        == texts{"shared_preload_libraries names the library \"timescaledb\", which is not "
                 "installed for PostgreSQL "
                 + version});
  CHECK(faults.MemberCount() == 8);
  auto has = json::parse(one.ask("GET", "/v2/postgresql").body);
  REQUIRE(has.ok());
  const auto* buffers = json::member((*has)["parameters"], "shared_buffers");
  REQUIRE(buffers != nullptr);
  CHECK(json::text_of(*buffers)
        == R"({"type":"INTEGER","context":"postmaster","min":"16","max":"1073741823"})");
  CHECK(one.node_files().empty());
}

TEST_CASE("questions about PostgreSQL need the password, and a malformed one is refused") {
  cell one;
  CHECK(one.ask("PUT", "/v2/postgresql", "{").status == 400);
  auto refused = one.ask("PUT", "/v2/postgresql", R"({"plans":{"p":{"include":"/etc/passwd"}}})");
  CHECK(refused.status == 400);
  CHECK(refused.body.find("include") != std::string::npos);
  CHECK(one.ask("POST", "/v2/postgresql").status == 405);
  one.password = "q";
  CHECK(one.ask("GET", "/v2/postgresql").status == 401);
  CHECK(one.judge({}).status == 401);
}

TEST_CASE("while PostgreSQL is looked at, the cell answers everything else") {
  cell one;
  one.kill();
  auto go = one.replace_postgres_by("while [ ! -e {}/go ]; do sleep 0.02; done\n");
  one.start();
  auto waiting = std::async(std::launch::async, [&] {
    return one.judge({{"p", {{"work_mem", "8XB"}}}});
  });
  for (int i = 0; i < 10; ++i)
    CHECK(one.ask("GET", "/v2/service_instances").status == 200);
  CHECK(one.health("postgresql").empty());
  CHECK(waiting.wait_for(0s) == std::future_status::timeout);
  std::ofstream{go + "/go"} << "";
  auto said = waiting.get();
  CHECK(said.status == 200);
  CHECK(said.body.find("8XB") != std::string::npos);
}

TEST_CASE("another PostgreSQL in the same place is examined again") {
  cell one;
  one.kill();
  one.replace_postgres_by("");
  one.start();
  const plans all{{"p", {{"work_mem", "8MB"}}}};
  auto first = one.judge(all).body;
  CHECK(first.find("15.") != std::string::npos);
  CHECK(first.find("8MB") == std::string::npos);
  one.replace_postgres_by("case \"$*\" in --version) echo 'postgres (PostgreSQL) 99.1'; exit 0;; "
                          "*server_version) echo 'LOG:  parameter \"work_mem\" is gone'; exit 1;; "
                          "esac\n");
  auto second = one.judge(all).body;
  CHECK(second.find("\"version\":\"99.1\"") != std::string::npos);
  CHECK(second.find("is gone") != std::string::npos);
  CHECK(one.health("postgresql") == "99.1");
  // A PostgreSQL that cannot be run gives no judgement of plans, and the cell goes on.
  one.replace_postgres_by("echo out of order; exit 3\n");
  auto third = one.judge(all);
  CHECK(third.status == 503);
  CHECK(third.body.find("out of order") != std::string::npos);
}

TEST_CASE("an error that is not about a plan's settings leaves the other plans judged") {
  cell one;
  one.kill();
  one.replace_postgres_by(
      "case \"$*\" in *server_version) if grep -q odd \"$2/postgresql.conf\"; then "
      "echo 'FATAL:  the disk is full'; exit 1; fi;; esac\n");
  one.start();
  auto said = one.judge({{"bad", {{"work_mem", "8XB"}}},
                         {"good", {{"work_mem", "8MB"}}},
                         {"odd", {{"search_path", "odd"}}}});
  CHECK(said.status == 200);
  auto body = json::parse(said.body);
  REQUIRE(body.ok());
  CHECK((*body)["faults"].MemberCount() == 1);
  CHECK((*body)["faults"].HasMember("bad"));
  CHECK(json::text_of((*body)["unjudged"])
        == R"({"odd":"PostgreSQL says of none of these settings: the disk is full"})");
}

TEST_CASE("where Patroni cannot be guarded no node starts, and the cell says so") {
  cell c;
  REQUIRE(c.put("n1", "guarded") == 201);
  REQUIRE(c.runs("n1"));
  auto health = [&] { return c.ask("GET", "/healthz").body; };
  CHECK(health().find("unguarded") == std::string::npos);
  c.kill();
  // A Python that ignores everybody's modules but its own.
  c.start_patroni_by("exec /usr/bin/python3 -I /usr/bin/patroni \"$@\"");
  c.start();
  CHECK(c.put("n2", "guarded") == 422);
  CHECK(health().find("unguarded") != std::string::npos);
  CHECK(health().find("degraded") != std::string::npos);
  CHECK(health().find("does not load the guard") != std::string::npos);
  // A running node goes on; once it has ended it does not come back without the guard.
  CHECK(c.runs("n1"));
  ::kill(c.pids().at("n1"), SIGKILL);
  CHECK(becomes([&] { return c.states()["n1"] == "restarting"; }));
  c.kill();
  c.start_patroni_by("exec /usr/bin/patroni \"$@\"");
  c.start();
  CHECK(c.runs("n1"));
  CHECK(c.put("n2", "guarded") == 201);
  CHECK(health().find("unguarded") == std::string::npos);
}

TEST_CASE("a removal without service and plan changes nothing") {
  cell c;
  REQUIRE(c.put("n1", "kept") == 201);
  for (const std::string query : {"", "?service_id=s1", "?plan_id=p1", "?service_id=&plan_id=p1"})
    CHECK(c.ask("DELETE", "/v2/service_instances/n1" + query).status == 400);
  CHECK(c.runs("n1"));
}

TEST_CASE("two cells never share a data directory") {
  cell one;
  int status = 0;
  REQUIRE(::waitpid(one.launch(), &status, 0) > 0);
  CHECK(WEXITSTATUS(status) == 2);
  CHECK(one.log().find("another cell works on the same data_dir") != std::string::npos);
}

TEST_CASE("a second cell with a guid does not start, and names the holder; a killed one is back at "
          "once") {
  cell here;
  REQUIRE(becomes([&] { return here.values("/cells/").size() == 1; }));
  auto said = here.values("/cells/");
  CHECK(here.start_another() == 1);
  CHECK(here.log().find("the guid c1 is taken: the cell at https://") != std::string::npos);
  CHECK(here.values("/cells/") == said);
  CHECK(here.start_another(true) == 1);
  CHECK(here.log().find("one of the two data directories is a copy of the other")
        != std::string::npos);
  CHECK(here.values("/cells/") == said);
  here.kill();
  CHECK(here.values("/cells/") == said); // its lease lives
  here.start();
  CHECK(here.ask("GET", "/healthz").status == 200);
}

TEST_CASE("a cell that moved to another port gets its guid once the old lease has ended") {
  cell one;
  REQUIRE(becomes([&] { return one.values("/cells/").size() == 1; }));
  one.kill();
  one.move();
  one.start();
  CHECK(becomes([&] {
    auto said = one.values("/cells/");
    return said.size() == 1 && said.front().find(one.port()) != std::string::npos;
  }));
}

} // namespace matriarch::cell
