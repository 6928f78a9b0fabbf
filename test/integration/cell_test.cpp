#include <doctest/doctest.h>

#include <libpq-fe.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <thread>

#include <fmt/format.h>

#include "awaiting.hpp"
#include "etcd_server.hpp"
#include "http/event_loop.hpp"
#include "model/json.hpp"
#include "store/etcd.hpp"

namespace matriarch::cell {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using test::awaited;
using test::etcd_server;

namespace {

/// Patroni and PostgreSQL need longer than other servers, above all while others use the machine.
constexpr auto patience = 90s;

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

/// A cell's program with an etcd, both real, and what a test asks of them.
class cell {
public:
  cell() {
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
        "capacity: 2, addresses: 127.{}.{}.0/28}}\n"
        "etcd: {{machines: ['{}']}}\n"
        "patroni: {{ttl: 5, loop_wait: 1, retry_timeout: 2}}\n"
        "postgresql: {{parameters: {{shared_buffers: 16MB, max_connections: 50}}}}\n",
        // Any octets do; these keep parallel runs apart.
        port_, directory_, 150 + ::getpid() % 50, ::getpid() / 50 % 256, etcd.url());
    start();
  }

  ~cell() {
    kill();
    for (const auto& [id, pid] : pids())
      ::kill(pid, SIGKILL);
    std::error_code ignored;
    for (int i = 0; i < 100 && fs::exists(directory_); ++i) {
      fs::remove_all(directory_, ignored); // fails while a dying process still writes
      if (ignored)
        std::this_thread::sleep_for(50ms);
    }
  }

  void start() {
    if (!launched())
      throw std::runtime_error{"the cell does not answer"};
  }

  /// Starts the program without waiting for it, and gives its pid.
  pid_t launch() {
    auto path = directory_ + "/cell.yml";
    auto log = directory_ + "/cell.log";
    auto child = ::fork();
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (!std::freopen(log.c_str(), "a", stderr) || ::dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        ::_exit(126);
      ::execl(executable_, executable_, path.c_str(), nullptr);
      ::_exit(127);
    }
    return child;
  }

  bool launched() {
    program_ = launch();
    return becomes([&] { return ask("GET", "/healthz").status == 200; });
  }

  /// kill -9: the program has no say in it.
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

  http::outcome ask(const std::string& verb, const std::string& path, std::string body = {},
                    headers with = {}) {
    http::outgoing question;
    question.verb = verb;
    question.url = fmt::format("http://127.0.0.1:{}{}", port_, path);
    question.body = std::move(body);
    question.headers = std::move(with);
    question.headers.emplace_back("Content-Type", "application/json");
    question.username = "u";
    question.password = password;
    question.timeout = 29s;
    return awaited<http::outcome>([&](auto done) { loop.send(question, done); });
  }

  int put(const std::string& node, const std::string& scope, headers with = {},
          const std::string& plan = "p1") {
    auto parameters = fmt::format(R"("PATRONI_SCOPE":"{}","NODE_ID":"{}")", scope, node);
    for (const auto* name : {"ADMIN", "SUPERUSER", "APPUSER", "REPLICATION", "PATRONI"})
      parameters += fmt::format(R"(,"{0}_USERNAME":"{1}","{0}_PASSWORD":"{2}")", name,
                                user_name(name), "it's \\\"hard\\\" \\\\ to :quote$ %s");
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
        [&](auto done) { client.range(store::keys_below(prefix), done); });
    std::vector<std::string> found;
    for (const auto& entry : read.found)
      found.push_back(entry.value);
    return found;
  }

  /// The first field of a query's answer, or what went wrong.
  std::string query(const std::string& node, const std::string& role, const std::string& database,
                    const std::string& sql) {
    const char* names[] = {"host", "port", "user", "password", "dbname", "connect_timeout",
                           nullptr};
    auto user = user_name(role);
    const char* values[] = {
        hosts_[node].c_str(), "5432", user.c_str(), "it's \"hard\" \\ to :quote$ %s",
        database.c_str(),     "5",    nullptr};
    auto* connection = PQconnectdbParams(names, values, 0);
    auto* answer = PQexec(connection, sql.c_str());
    std::string text = PQresultStatus(answer) == PGRES_TUPLES_OK && PQntuples(answer) > 0
                           ? PQgetvalue(answer, 0, 0)
                       : PQresultStatus(answer) == PGRES_COMMAND_OK ? "done"
                                                                    : PQerrorMessage(connection);
    PQclear(answer);
    PQfinish(connection);
    return text;
  }

  std::string health(const std::string& field) {
    auto body = json::parse(ask("GET", "/healthz").body);
    return body ? json::string_member(*body, field) : "";
  }

  std::string log() const { return content(directory_ + "/cell.log"); }

  etcd_server etcd;
  http::event_loop loop;
  store::etcd_client client{loop, {etcd.url()}};
  std::string password = "p";

private:
  static std::string user_name(const std::string& role) {
    return role == "SUPERUSER" ? "postgres" : "the " + role + "'s user";
  }

  const char* executable_ = std::getenv("CELL_PROGRAM");
  std::string directory_;
  int port_ = 0;
  pid_t program_ = 0;
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
  CHECK(one.values("/cells/c1").size() == 1);
  REQUIRE(one.put("n1", "scope") == 201);
  REQUIRE(one.runs("n1"));
  REQUIRE(one.put("n2", "scope") == 201);
  REQUIRE(one.runs("n2"));

  INFO("the replica streams, and the application user has its database");
  auto replicas = "select count(*) from pg_stat_replication where state = 'streaming'";
  CHECK(becomes([&] { return one.query("n1", "SUPERUSER", "postgres", replicas) == "1"; }));
  CHECK(one.query("n1", "APPUSER", "db", "create table t (i int)") == "done");
  CHECK(one.query("n1", "ADMIN", "postgres", "create role r") == "done");
  CHECK(one.query("n2", "APPUSER", "db", "select pg_is_in_recovery()") == "t");
  CHECK(becomes([&] { return one.values("/postgresql-brokerpatroni/").size() == 2; }));

  INFO("what is there already is not made again, and a third has no room");
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

  INFO("and it starts a node again that another agent had started");
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

TEST_CASE("a request that was overtaken or comes from another fleet has no effect") {
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

TEST_CASE("two removals of one node are both answered") {
  cell one;
  REQUIRE(one.put("n1", "scope") == 201);
  int other = 0;
  std::thread asking{[&] { other = one.remove("n1"); }};
  int mine = one.remove("n1");
  asking.join();
  // Whoever came after the end finds nothing.
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
  CHECK(becomes([&] { return one.log().find("etcd cannot be reached") != std::string::npos; }));
  CHECK(one.health("etcd") == "unreachable");
  one.etcd.start();
  CHECK(becomes([&] { return one.values("/cells/c1").size() == 1; }));
  CHECK(one.health("etcd") == "reachable");
}

TEST_CASE("keys that went with their lease come back") {
  cell one;
  CHECK(becomes([&] { return one.values("/cells/c1").size() == 1; }));
  one.etcd.stop();
  one.etcd.wipe();
  one.etcd.start();
  CHECK(becomes([&] { return one.values("/cells/c1").size() == 1; }));
}

TEST_CASE("only who knows the password gets in, and only what makes sense is done") {
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

TEST_CASE("two cells never share a data directory") {
  cell one;
  int status = 0;
  REQUIRE(::waitpid(one.launch(), &status, 0) > 0);
  CHECK(WEXITSTATUS(status) == 2);
  CHECK(one.log().find("another cell works on the same data_dir") != std::string::npos);
}

} // namespace matriarch::cell
