// The end of the broker's process, on a real etcd, with a cell that does not exist.
#include <doctest/doctest.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "awaiting.hpp"
#include "base/event_loop.hpp"
#include "base/json.hpp"
#include "etcd_server.hpp"

using namespace matriarch;
using namespace std::chrono_literals;
using test::awaited;
using clock_type = std::chrono::steady_clock;

namespace {

bool eventually(const std::function<bool()>& condition) {
  for (auto deadline = clock_type::now() + test::patience; clock_type::now() < deadline;
       std::this_thread::sleep_for(10ms))
    if (condition())
      return true;
  return false;
}

/// A broker's configuration, and the process that runs on it.
class broker_process {
public:
  /// `more` is further lines of the configuration.
  explicit broker_process(const std::string& etcd, const std::string& more = {}) {
    auto pattern = (std::filesystem::temp_directory_path() / "matriarch-broker-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    directory_ = pattern;
    port_ = test::free_port();
    std::ofstream{directory_ / "broker.yml"}
        << "broker: {username: u, password: p, strict: false, port: " << port_ << "}\n"
        << "cells: [{guid: c, availability_zone: z, uri: 'http://127.0.0.1:1', username: c, "
           "password: c}]\n"
        << "etcd: {machines: ['" << etcd << "']}\n"
        << more
        << "catalog: {services: [{id: s, name: s, description: s, plans: [{id: p, name: p, "
           "description: p, provision: {node_count: 1}}]}]}\n";
  }
  ~broker_process() {
    if (pid_ != 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    std::filesystem::remove_all(directory_);
  }

  /// `kills` names actors that end by an error as soon as it serves; `log`, where it logs to.
  void start(const std::vector<std::string>& kills = {}, std::optional<int> log = {}) {
    const char* program = std::getenv("BROKER_PROGRAM");
    REQUIRE_MESSAGE(program != nullptr, "BROKER_PROGRAM must name the broker's executable");
    std::vector<std::string> words{program, directory_ / "broker.yml"};
    words.insert(words.end(), kills.begin(), kills.end());
    std::vector<char*> arguments;
    for (auto& word : words)
      arguments.push_back(word.data());
    arguments.push_back(nullptr);
    auto path = (directory_ / "log").string();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      int file = log ? *log : ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      ::dup2(file, STDERR_FILENO);
      ::execv(program, arguments.data());
      ::_exit(127);
    }
  }

  /// The exit code, once it has ended by itself; -1 if a signal ended it, or if it does not end.
  int code() {
    int status = 0;
    if (!eventually([&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; }))
      return -1;
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  int end(int signal) {
    ::kill(pid_, signal);
    return code();
  }

  [[nodiscard]] std::string log() const {
    std::ifstream in{directory_ / "log"};
    return {std::istreambuf_iterator<char>{in}, {}};
  }
  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] std::filesystem::path directory() const { return directory_; }

  base::outcome send(const std::string& verb, const std::string& path,
                     const std::string& body = {}) {
    base::outgoing ask;
    ask.verb = verb;
    ask.url = "http://127.0.0.1:" + std::to_string(port_) + path;
    ask.body = body;
    ask.username = "u";
    ask.password = "p";
    return awaited<base::outcome>([&](auto done) { loop_.send(ask, done); });
  }
  bool serves() {
    return eventually([&] { return send("GET", "/healthz?active").status == 200; });
  }

private:
  std::filesystem::path directory_;
  int port_ = 0;
  pid_t pid_ = 0;
  base::event_loop loop_;
};

/// Takes the port.
int listener_at(int port) {
  int taken = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(static_cast<std::uint16_t>(port));
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::bind(taken, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
  REQUIRE(::listen(taken, 1) == 0);
  return taken;
}

} // namespace

TEST_CASE("a broker ends when one of its single actors ends, and says why") {
  test::etcd_server etcd;
  for (const std::string name : {"store", "http", "postgresql", "ports", "routers", "authority",
                                 "cells", "instances", "gateway", "leadership", "pulse"}) {
    CAPTURE(name);
    broker_process broker{etcd.url()};
    broker.start({name});
    CHECK(broker.code() == 1);
    INFO(broker.log());
    CHECK(broker.log().find(" critical the broker ends, so that it is started anew: the actor \""
                            + name + "\" ended")
          != std::string::npos);
  }
}

TEST_CASE("a broker whose port is taken says so and ends at once") {
  test::etcd_server etcd;
  broker_process first{etcd.url()};
  int taken = listener_at(first.port());
  first.start();
  CHECK(first.code() == 1);
  CHECK(first.log().find("matriarch broker: cannot listen on 127.0.0.1:"
                         + std::to_string(first.port()) + ": Address already in use\n")
        != std::string::npos);
  ::close(taken);
}

TEST_CASE("a broker whose port is taken ends even if nobody reads its output") {
  test::etcd_server etcd;
  broker_process first{etcd.url()};
  int taken = listener_at(first.port());
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
  while (::write(ends[1], "x", 1) == 1)
    continue;
  ::fcntl(ends[1], F_SETFL, 0);
  first.start({}, ends[1]);
  CHECK(first.code() == 1);
  ::close(ends[0]);
  ::close(ends[1]);
  ::close(taken);
}

TEST_CASE("a broker ends on SIGTERM at any moment, also without etcd") {
  broker_process broker{"http://127.0.0.1:1"};
  broker.start();
  REQUIRE(
      eventually([&] { return broker.log().find("the broker serves at") != std::string::npos; }));
  CHECK(broker.end(SIGTERM) == 0);
}

TEST_CASE("an audit trail that nobody reads delays nobody, and counts the lines it lost") {
  test::etcd_server etcd;
  auto fifo =
      std::filesystem::temp_directory_path() / ("matriarch-trail-" + std::to_string(::getpid()));
  ::unlink(fifo.c_str());
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  broker_process broker{etcd.url(), "audit: {file: " + fifo.string() + "}\n"};
  broker.start();
  REQUIRE(broker.serves());
  // More than the pipe and the queue hold: each line has over two kilobytes of parameters.
  const std::string id(400, 'x');
  std::string cells = "\"cell\"";
  while (cells.size() < 2'000)
    cells += ",\"" + std::string(100, 'c') + "\"";
  std::size_t sent = 0;
  while (broker.log().find("the audit trail") == std::string::npos && sent < 20'000) {
    CHECK(broker
              .send("PUT", "/v2/service_instances/" + id + "?accepts_incomplete=true",
                    R"({"service_id":"s","plan_id":"p","parameters":{"cells":[)" + cells + "]}}")
              .status
          == 400);
    ++sent;
  }
  CHECK(broker.log().find(" error the audit trail " + fifo.string() + " leaves lines out: ")
        != std::string::npos);
  CHECK(broker.send("GET", "/healthz").status == 200);
  int reader = ::open(fifo.c_str(), O_RDONLY | O_CLOEXEC);
  std::string line;
  std::size_t lines = 0;
  std::int64_t left_out = 0;
  char byte = 0;
  while (left_out == 0 && ::read(reader, &byte, 1) == 1) {
    if (byte != '\n') {
      line += byte;
      continue;
    }
    auto read = json::parse(line);
    REQUIRE(read.ok());
    left_out = json::integer_member(*read, "left_out");
    lines += left_out == 0 ? 1 : 0;
    line.clear();
  }
  CHECK(lines + static_cast<std::size_t>(left_out) == sent);
  CHECK(broker.end(SIGTERM) == 0);
  ::close(reader);
  ::unlink(fifo.c_str());
}
