#include <doctest/doctest.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "awaiting.hpp"
#include "certificates.hpp"
#include "etcd_server.hpp"
#include "http/event_loop.hpp"
#include "http/server.hpp"
#include "model/json.hpp"
#include "router/certificate.hpp"
#include "router/haproxy.hpp"
#include "store/etcd.hpp"

namespace matriarch::router {

namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
using matriarch::test::awaited;
using matriarch::test::etcd_server;
using matriarch::test::free_port;

/// A port that nobody uses and that no call has returned before.
int fresh_port() {
  static std::set<int> known;
  for (;;)
    if (auto port = free_port(); known.insert(port).second)
      return port;
}

/// Looks until a condition holds; false if it does not within the test's patience.
bool eventually(const std::function<bool()>& condition) {
  for (auto deadline = clock::now() + matriarch::test::patience; clock::now() < deadline;
       std::this_thread::sleep_for(10ms))
    if (condition())
      return true;
  return false;
}

sockaddr_in address_of(const std::string& host, int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  ::inet_pton(AF_INET, host.c_str(), &address.sin_addr);
  return address;
}

/// A loopback address of this run's own; `number` from 1 to 250.
std::string address(int number) {
  auto pid = static_cast<int>(::getpid());
  return "127." + std::to_string(100 + pid % 100) + "." + std::to_string(pid / 100 % 250) + "."
         + std::to_string(number);
}

/// A socket that closes itself.
class connection {
public:
  explicit connection(int port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    auto to = address_of("127.0.0.1", port);
    if (::connect(socket_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0)
      close();
    else
      name_ = line();
  }
  ~connection() { close(); }
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;

  /// Who answered; empty if nobody did.
  [[nodiscard]] const std::string& name() const { return name_; }

  /// Whether what is sent comes back.
  [[nodiscard]] bool works() {
    return socket_ >= 0 && ::send(socket_, "ping\n", 5, MSG_NOSIGNAL) == 5 && line() == "ping";
  }

  /// Whether the other side has ended it, or does so within the test's patience.
  [[nodiscard]] bool ends() {
    char byte = 0;
    return socket_ < 0 || (readable() && ::recv(socket_, &byte, 1, 0) <= 0);
  }

private:
  [[nodiscard]] bool readable() const {
    pollfd one{socket_, POLLIN, 0};
    return ::poll(&one, 1,
                  static_cast<int>(std::chrono::milliseconds{matriarch::test::patience}.count()))
           > 0;
  }
  std::string line() {
    std::string text;
    for (char byte = 0; readable() && ::recv(socket_, &byte, 1, 0) == 1;) {
      if (byte == '\n')
        return text;
      text += byte;
    }
    return {};
  }
  void close() {
    if (socket_ >= 0)
      ::close(socket_);
    socket_ = -1;
  }

  int socket_;
  std::string name_;
};

/// Connections of clients that say nothing, and close them when this goes.
class silent_clients {
public:
  silent_clients(int port, int count) {
    auto to = address_of("127.0.0.1", port);
    for (int i = 0; i < count; ++i) {
      // Where the kernel's queue is full, connecting takes a while.
      sockets_.push_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      ::connect(sockets_.back(), reinterpret_cast<sockaddr*>(&to), sizeof to);
    }
  }
  ~silent_clients() {
    for (auto one : sockets_)
      ::close(one);
  }
  silent_clients(const silent_clients&) = delete;
  silent_clients& operator=(const silent_clients&) = delete;

private:
  std::vector<int> sockets_;
};

/// Pretends to be a member: Patroni's REST API on port 8008, and a database on 5432 that says its
/// name and then returns what it gets.
class fake_member {
public:
  fake_member(std::string name, std::string host, std::string scope)
      : host_(std::move(host)), name_(std::move(name)), scope_(std::move(scope)),
        api_({host_, 8008}, [this](http::request got, http::responder to) { answer(got, to); }) {
    if (auto error = api_.start())
      throw std::runtime_error{*error};
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    auto at = address_of(host_, 5432);
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0
        || ::listen(listener_, 100) != 0)
      throw std::runtime_error{"cannot listen on " + host_};
    thread_ = std::thread{[this] { serve(); }};
  }
  ~fake_member() {
    freezes(false);
    ending_ = true;
    thread_.join();
    ::close(listener_);
    api_.stop();
  }

  void leads(bool now) { leads_ = now; }
  void replicates(bool now) { replicates_ = now; }
  /// All its processes stand still: its kernel accepts connections, and nothing is answered.
  void freezes(bool now) {
    frozen_ = now;
    std::lock_guard guard{mutex_};
    if (!now)
      unanswered_.clear();
  }
  [[nodiscard]] int checks() const { return checks_; }
  [[nodiscard]] int connections() const { return connections_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  /// What Patroni writes about itself.
  [[nodiscard]] std::string announcement() const {
    return R"({"conn_url":"postgres://)" + host_ + R"(:5432/postgres","api_url":"http://)" + host_
           + R"(:8008/patroni","state":"running","role":"replica"})";
  }

private:
  void answer(const http::request& got, http::responder& to) {
    if (frozen_) {
      std::lock_guard guard{mutex_};
      unanswered_.push_back(std::move(to));
      return;
    }
    ++checks_;
    auto asked = got.segments.empty() ? std::string{} : got.segments[0];
    bool is_so = (asked == "primary" && leads_) || (asked == "replica" && replicates_);
    auto code = is_so ? 200 : 503;
    to.send({code,
             R"({"state": "running", "role": "replica", "patroni": {"version": "3.0.2", "scope": ")"
                 + scope_ + R"("}})",
             {}});
  }

  void serve() {
    std::vector<pollfd> sockets{{listener_, POLLIN, 0}};
    while (!ending_) {
      if (frozen_) {
        std::this_thread::sleep_for(10ms);
        continue;
      }
      ::poll(sockets.data(), sockets.size(), 20);
      if (sockets[0].revents != 0) {
        int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        auto greeting = name_ + "\n";
        if (client >= 0 && ::send(client, greeting.data(), greeting.size(), MSG_NOSIGNAL) > 0) {
          ++connections_;
          sockets.push_back({client, POLLIN, 0});
        }
      }
      for (std::size_t i = 1; i < sockets.size(); ++i) {
        if (sockets[i].revents == 0)
          continue;
        std::array<char, 256> piece{};
        auto got = ::recv(sockets[i].fd, piece.data(), piece.size(), 0);
        if (got > 0) {
          ::send(sockets[i].fd, piece.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL);
        } else {
          ::close(sockets[i].fd);
          sockets.erase(sockets.begin() + static_cast<long>(i--));
        }
      }
    }
    for (std::size_t i = 1; i < sockets.size(); ++i)
      ::close(sockets[i].fd);
  }

  std::string host_;
  std::string name_;
  std::string scope_;
  std::atomic<bool> leads_ = false;
  std::atomic<bool> replicates_ = false;
  std::atomic<bool> frozen_ = false;
  std::mutex mutex_;
  std::vector<http::responder> unanswered_;
  std::atomic<int> checks_ = 0;
  std::atomic<int> connections_ = 0;
  std::atomic<bool> ending_ = false;
  http::server api_;
  int listener_ = -1;
  std::thread thread_;
};

/// What a router says of itself.
struct router_status {
  std::string status;
  std::string etcd;
  std::string routes_as_of;
  std::int64_t routes = -1;
  std::int64_t read_only_routes = -1;
  std::int64_t reloads = -1;
  std::int64_t old_workers = -1;
  std::vector<std::string> left_out;
};

/// An etcd, and a router on it that can be killed and started again.
class platform {
public:
  /// `broker` is the section of that name, if there shall be one. `how` the etcd is; with TLS it
  /// asks for users too. `more` of the router's own settings begins with a comma.
  explicit platform(const std::string& broker = {}, etcd_server::options how = {},
                    const std::string& more = {})
      : server_(how), etcd_(loop_, access_to(how)) {
    auto pattern = (std::filesystem::temp_directory_path() / "matriarch-router-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr)
      throw std::runtime_error{"cannot make a temporary directory"};
    directory_ = pattern;
    status_port_ = fresh_port();
    std::ofstream{directory_ / "router.yml"}
        << "router: {data_dir: " << (directory_ / "data").string()
        << ", stop_grace: 100ms, check_interval: 200ms, status: {port: " << status_port_ << "}"
        << more << "}\n"
        << broker << "etcd: {machines: ['" << server_.url() << "']" << access_lines(how) << "}\n";
  }

  ~platform() {
    end(SIGTERM);
    // HAProxy outlives a router that is killed.
    haproxy left{"/usr/sbin/haproxy", directory_ / "data"};
    if (left.adopt())
      left.stop(0ms);
    if (std::getenv("KEEP_FILES") == nullptr)
      std::filesystem::remove_all(directory_);
  }

  etcd_server& etcd() { return server_; }

  /// Starts the router; it is there when this returns, though HAProxy need not be.
  void start() {
    auto program = std::getenv("ROUTER_PROGRAM");
    if (program == nullptr)
      throw std::runtime_error{"ROUTER_PROGRAM must name the router's executable"};
    auto config = (directory_ / "router.yml").string();
    auto log = (directory_ / "router.log").string();
    router_ = ::fork();
    if (router_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGTERM);
      int file = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
      ::dup2(file, STDERR_FILENO);
      ::execl(program, program, config.c_str(), nullptr);
      ::_exit(127);
    }
    if (!eventually([&] { return status().routes >= 0; }))
      throw std::runtime_error{"the router does not start; see " + log};
  }

  /// Stops the router where it is, or lets it go on.
  void freeze(bool now) { ::kill(router_, now ? SIGSTOP : SIGCONT); }

  /// HAProxy's processes: the master first, then the workers from the oldest to the newest.
  [[nodiscard]] std::vector<pid_t> processes_of_haproxy() const {
    std::vector<pid_t> found;
    auto wanted = (directory_ / "data/haproxy.cfg").string();
    for (const auto& entry : std::filesystem::directory_iterator{"/proc"}) {
      auto name = entry.path().filename().string();
      if (name.find_first_not_of("0123456789") != std::string::npos)
        continue;
      std::ifstream in{entry.path() / "cmdline"};
      if (std::string{std::istreambuf_iterator<char>{in}, {}}.find(wanted) != std::string::npos)
        found.push_back(std::stoi(name));
    }
    std::sort(found.begin(), found.end());
    return found;
  }

  /// Ends the router; its exit code, or -1 if it was killed.
  int end(int signal) {
    if (router_ == 0)
      return -1;
    ::kill(router_, signal);
    int code = 0;
    ::waitpid(router_, &code, 0);
    router_ = 0;
    return WIFEXITED(code) ? WEXITSTATUS(code) : -1;
  }

  /// What a GET of a path on a port of 127.0.0.1 brings.
  http::outcome fetch(int port, const std::string& path, const std::string& scheme = "http",
                      const std::string& authority = {}) {
    http::outgoing ask;
    ask.url = scheme + "://127.0.0.1:" + std::to_string(port) + path;
    ask.headers.emplace_back("X-Forwarded-For", "192.0.2.1");
    ask.tls.authority = authority;
    return awaited<http::outcome>([&](auto done) { loop_.send(ask, done); });
  }

  router_status status() {
    auto got = fetch(status_port_, "/healthz");
    router_status now;
    auto body = json::parse(got.body);
    if (got.status == 0 || !body)
      return now;
    now.status = json::string_member(*body, "status");
    now.etcd = json::string_member(*body, "etcd");
    now.routes_as_of = json::string_member(*body, "routes_as_of");
    now.routes = json::integer_member(*body, "routes", -1);
    now.read_only_routes = json::integer_member(*body, "read_only_routes", -1);
    now.reloads = json::integer_member(*body, "reloads", -1);
    now.old_workers = json::integer_member(*body, "old_workers", -1);
    if (auto left = json::member(*body, "left_out"))
      for (const auto& one : left->GetArray())
        now.left_out.push_back(json::string_member(one, "instance"));
    return now;
  }

  /// Waits until the router serves so many instances and has left out nothing.
  bool serves(int count) {
    return eventually([&] {
      auto now = status();
      return now.status == "ok" && now.routes == count;
    });
  }

  using keys_and_values = std::vector<std::pair<std::string, std::string>>;

  void put(const keys_and_values& keys) {
    store::transaction write;
    for (const auto& [key, value] : keys)
      write.then.emplace_back(store::put{key, value});
    commit(std::move(write));
  }
  /// Each in a transaction of its own, none of which waits for another.
  void put_each(const std::vector<keys_and_values>& all) {
    auto committed = std::make_shared<matriarch::test::shared_state<std::size_t>>();
    for (const auto& keys : all) {
      store::transaction write;
      for (const auto& [key, value] : keys)
        write.then.emplace_back(store::put{key, value});
      etcd_.commit(write, [committed](const store::commit_result& done) {
        if (done.state == store::commit_state::committed)
          committed->change([](auto& count) { ++count; });
      });
    }
    REQUIRE(committed->becomes([&](auto count) { return count == all.size(); }));
  }
  void erase(const std::string& key) {
    store::transaction write;
    write.then.emplace_back(store::erase{{key, ""}});
    commit(std::move(write));
  }

  /// What says that there is an instance with these members.
  static keys_and_values keys_of(const std::string& name, int port,
                                 const std::vector<fake_member*>& members) {
    std::string nodes;
    keys_and_values keys;
    for (auto* one : members) {
      nodes += (nodes.empty() ? "" : ",") + (R"({"node_id":")" + one->name() + R"("})");
      keys.emplace_back("/service/" + name + "/members/" + one->name(), one->announcement());
    }
    keys.emplace_back("/service/" + name + "/state",
                      R"({"scope":")" + name + R"(","phase":"accepted","nodes":[)" + nodes + "]}");
    keys.emplace_back("/routing/allocation/" + name, std::to_string(port));
    return keys;
  }

  void add(const std::string& name, int port, const std::vector<fake_member*>& members) {
    put(keys_of(name, port, members));
  }

  void add_read_only_port(const std::string& name, int port) {
    put({{"/routing/readonly/" + name, std::to_string(port)}});
  }

  /// The leader of an instance becomes another one, as Patroni does it.
  void lead(const std::string& name, fake_member& now) {
    put({{"/service/" + name + "/leader", now.name()}});
  }

  /// Several reloads, each by a new instance; returns when HAProxy has made them.
  void reload(int times, const std::string& prefix, fake_member& of) {
    for (int i = 0; i < times; ++i) {
      auto before = status().reloads;
      add(prefix + std::to_string(i), fresh_port(), {&of});
      if (!eventually([&] { return status().reloads > before; }))
        throw std::runtime_error{"HAProxy was not reloaded"};
    }
  }

  std::filesystem::path directory() const { return directory_; }

  /// Whether the router has logged such a line.
  [[nodiscard]] bool has_logged(const std::string& text) const {
    std::ifstream log{directory_ / "router.log"};
    return std::string{std::istreambuf_iterator<char>{log}, {}}.find(text) != std::string::npos;
  }

private:
  [[nodiscard]] store::etcd_access access_to(const etcd_server::options& how) const {
    store::etcd_access access{{server_.url()}};
    if (!how.root_password.empty()) {
      access.username = "root";
      access.password = how.root_password;
    }
    if (how.tls)
      access.tls.authority = server_.tls().authority();
    return access;
  }
  /// The same in the router's configuration.
  [[nodiscard]] std::string access_lines(const etcd_server::options& how) const {
    std::string lines;
    if (!how.root_password.empty())
      lines += ", username: root, password: " + how.root_password;
    if (how.tls)
      lines += ", tls: {authority: " + server_.tls().authority() + "}";
    return lines;
  }

  void commit(store::transaction write) {
    auto done = awaited<store::commit_result>([&](auto then) { etcd_.commit(write, then); });
    if (done.state != store::commit_state::committed)
      throw std::runtime_error{"etcd: " + done.error};
  }

  etcd_server server_;
  http::event_loop loop_;
  store::etcd_client etcd_;
  std::filesystem::path directory_;
  int status_port_ = 0;
  pid_t router_ = 0;
};

/// Pretends to be a broker.
class fake_broker {
public:
  explicit fake_broker(std::string name)
      : name_(std::move(name)), server_({}, [this](auto got, auto to) {
          auto is_check = got.segments == std::vector<std::string>{"healthz"};
          if (got.segments == std::vector<std::string>{"forwarded"}) {
            auto* forwarded = got.header("x-forwarded-for");
            to.send({200, forwarded == nullptr ? "" : *forwarded, {}});
            return;
          }
          bool asks_for_active = got.query_value("active") != nullptr;
          to.send({is_check && asks_for_active && !active_ ? 503 : 200, name_, {}});
        }) {
    if (auto error = server_.start())
      throw std::runtime_error{*error};
  }
  void acts(bool now) { active_ = now; }
  [[nodiscard]] std::string address() const {
    return "'127.0.0.1:" + std::to_string(server_.port()) + "'";
  }

private:
  std::string name_;
  std::atomic<bool> active_ = false;
  http::server server_;
};

/// A directory that is gone when this is.
class scratch_directory {
public:
  scratch_directory() {
    auto pattern = (std::filesystem::temp_directory_path() / "matriarch-router-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr)
      throw std::runtime_error{"cannot make a temporary directory"};
    path_ = pattern;
  }
  ~scratch_directory() { std::filesystem::remove_all(path_); }
  scratch_directory(const scratch_directory&) = delete;
  scratch_directory& operator=(const scratch_directory&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path sub(const std::string& name) const {
    std::filesystem::create_directory(path_ / name);
    return path_ / name;
  }

private:
  std::filesystem::path path_;
};

/// A port that something else listens on, until this goes.
class taken_port {
public:
  taken_port() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), port_(fresh_port()) {
    auto at = address_of("127.0.0.1", port_);
    if (::bind(socket_, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0
        || ::listen(socket_, 1) != 0)
      throw std::runtime_error{"cannot take a port"};
  }
  ~taken_port() { ::close(socket_); }
  taken_port(const taken_port&) = delete;
  taken_port& operator=(const taken_port&) = delete;
  [[nodiscard]] int number() const { return port_; }

private:
  int socket_;
  int port_;
};

/// Who answers on a port now; empty if nobody does.
std::string who_answers(int port) {
  return connection{port}.name();
}

} // namespace

TEST_CASE("an instance's port follows its leader, and is closed when the instance goes") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"};
  n1.leads(true);
  auto port = fresh_port();
  all.add("a", port, {&n1, &n2});
  all.lead("a", n1);
  all.start();
  CHECK(eventually([&] { return who_answers(port) == "n1"; }));

  connection held{port};
  CHECK(held.works());
  n1.leads(false);
  n2.leads(true);
  all.lead("a", n2);
  CHECK(held.ends());
  CHECK(eventually([&] { return who_answers(port) == "n2"; }));
  CHECK(all.status().reloads == 0);

  all.erase("/service/a/state");
  CHECK(all.serves(0));
  CHECK(who_answers(port).empty());
  CHECK(all.end(SIGTERM) == 0);
  haproxy left{"/usr/sbin/haproxy", all.directory() / "data"};
  CHECK_FALSE(left.adopt());
}

TEST_CASE("many new instances at once are few reloads") {
  platform all;
  fake_member n1{"n1", address(1), "a"};
  all.start();
  REQUIRE(all.serves(0));
  auto before = all.status().reloads;
  constexpr int count = 20;
  std::vector<platform::keys_and_values> many;
  for (int i = 0; i < count; ++i)
    many.push_back(platform::keys_of("a" + std::to_string(i), fresh_port(), {&n1}));
  all.put_each(many);
  CHECK(all.serves(count));
  CHECK(all.status().reloads - before <= count / 2);
}

TEST_CASE("reloads end no connection, and never send a new one to a replica") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"}, other{"o", address(3), "b"};
  n1.leads(true);
  auto port = fresh_port();
  all.add("a", port, {&n1, &n2});
  all.lead("a", n1);
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));

  std::vector<std::unique_ptr<connection>> held;
  std::map<std::string, int> answers;
  std::jthread asks{[&](const std::stop_token& ending) {
    while (!ending.stop_requested())
      ++answers[who_answers(port)];
  }};
  for (int i = 0; i < 5; ++i) {
    held.push_back(std::make_unique<connection>(port));
    all.reload(1, "b" + std::to_string(i), other);
  }
  asks.request_stop();
  asks.join();
  CHECK(answers["n1"] > 50);
  CHECK(answers.size() == 1);
  CHECK(n2.connections() == 0);
  for (auto& one : held)
    CHECK(one->works());
}

TEST_CASE("a new member is not used before its first check") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"};
  all.start();
  REQUIRE(all.serves(0));
  auto port = fresh_port();
  all.add("a", port, {&n1});
  // From before the port is there until the member has been checked twice.
  while (n1.checks() < 2)
    (void)who_answers(port);
  CHECK(n1.connections() == 0);
  n1.leads(true);
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  all.add("a", port, {&n1, &n2});
  while (n2.checks() < 2)
    CHECK(who_answers(port) != "n2");
  CHECK(n2.connections() == 0);
}

TEST_CASE("a member of another scope at a member's old address is never used") {
  platform all;
  fake_member stranger{"n1", address(1), "stranger"}, n2{"n2", address(2), "a"};
  stranger.leads(true);
  auto port = fresh_port();
  all.add("a", port, {&stranger, &n2});
  all.start();
  REQUIRE(eventually([&] { return stranger.checks() > 2 && n2.checks() > 2; }));
  CHECK(who_answers(port).empty());
  n2.leads(true);
  REQUIRE(eventually([&] { return who_answers(port) == "n2"; }));
  CHECK(stranger.connections() == 0);
}

TEST_CASE("a connection of before a reload ends when its leader is replaced") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"}, other{"o", address(3), "b"};
  n1.leads(true);
  auto port = fresh_port();
  all.add("a", port, {&n1, &n2});
  all.lead("a", n1);
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  connection oldest{port};
  all.reload(1, "b", other);
  connection old{port};
  all.reload(1, "c", other);
  CHECK(oldest.works());
  CHECK(old.works());
  // A key that vanishes alone says nothing.
  all.erase("/service/a/leader");
  all.reload(1, "d", other);
  CHECK(oldest.works());
  n1.leads(false);
  n2.leads(true);
  all.lead("a", n2);
  CHECK(oldest.ends());
  CHECK(old.ends());
  CHECK(eventually([&] { return who_answers(port) == "n2"; }));
}

TEST_CASE(
    "a connection of before a reload ends when its server freezes, before another one leads") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"}, other{"o", address(3), "b"};
  n1.leads(true);
  n2.replicates(true);
  auto port = fresh_port();
  auto read_only = fresh_port();
  all.add("a", port, {&n1, &n2});
  all.add_read_only_port("a", read_only);
  all.lead("a", n1);
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  REQUIRE(eventually([&] { return who_answers(read_only) == "n2"; }));
  connection oldest{port};
  connection reads{read_only};
  all.reload(1, "b", other);
  connection old{port};
  all.reload(1, "c", other);
  connection current{port};
  CHECK(oldest.works());
  CHECK(reads.works());
  n1.freezes(true);
  CHECK(current.ends());
  CHECK(old.ends());
  CHECK(oldest.ends());
  CHECK(reads.works());
  n2.freezes(true);
  CHECK(reads.ends());
}

TEST_CASE("a connection ends whose server was frozen and replaced while there was no router") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"}, other{"o", address(3), "b"};
  n1.leads(true);
  auto port = fresh_port();
  all.add("a", port, {&n1});
  all.lead("a", n1);
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  connection held{port};
  all.reload(1, "b", other);
  all.end(SIGKILL);
  n1.freezes(true);
  n2.leads(true);
  all.erase("/service/a/members/n1");
  all.add("a", port, {&n2});
  all.lead("a", n2);
  all.start();
  CHECK(held.ends());
  CHECK(eventually([&] { return who_answers(port) == "n2"; }));
}

TEST_CASE("a router that hangs leaves HAProxy following the leader, and catches up afterwards") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"}, other{"o", address(3), "b"};
  n1.leads(true);
  auto port = fresh_port();
  all.add("a", port, {&n1, &n2});
  all.lead("a", n1);
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  connection old{port};
  all.reload(1, "b", other);
  connection current{port};
  all.freeze(true);
  n1.leads(false);
  n2.leads(true);
  all.lead("a", n2);
  CHECK(current.ends());
  CHECK(eventually([&] { return who_answers(port) == "n2"; }));
  CHECK(old.works());
  all.freeze(false);
  CHECK(old.ends());
}

TEST_CASE("workers of before reloads are bounded in number, and the youngest stay") {
  platform all{{}, {}, ", max_old_workers: 3"};
  fake_member n1{"n1", address(1), "a"}, other{"o", address(3), "b"};
  n1.leads(true);
  auto port = fresh_port();
  all.add("a", port, {&n1});
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  std::vector<std::unique_ptr<connection>> held;
  constexpr int reloads = 8, kept = 3;
  for (int i = 0; i < reloads; ++i) {
    held.push_back(std::make_unique<connection>(port));
    all.reload(1, "b" + std::to_string(i), other);
  }
  for (int i = 0; i < reloads; ++i)
    CHECK((i < reloads - kept ? held[i]->ends() : held[i]->works()));
  // With the master and the current worker.
  CHECK(eventually([&] { return all.processes_of_haproxy().size() == kept + 2; }));
  CHECK(eventually([&] { return all.status().old_workers == kept; }));
  held.clear();
  CHECK(eventually([&] { return all.status().old_workers == 0; }));
  CHECK(all.processes_of_haproxy().size() == 2);
}

TEST_CASE("a port that something else uses is left out until it is free, the others are served") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "b"};
  n1.leads(true);
  n2.leads(true);
  auto other = std::make_unique<taken_port>();
  auto taken = other->number();
  auto port = fresh_port();
  all.start();
  REQUIRE(all.serves(0));
  all.add("a", taken, {&n1});
  all.add("b", port, {&n2});
  CHECK(eventually([&] { return who_answers(port) == "n2"; }));
  CHECK(eventually([&] {
    auto now = all.status();
    return now.left_out == std::vector<std::string>{"a"} && now.status == "degraded"
           && now.routes == 1;
  }));
  other.reset();
  CHECK(all.serves(2));
  CHECK(eventually([&] { return who_answers(taken) == "n1"; }));
}

TEST_CASE("a port that HAProxy fails to open after all does not keep the others closed") {
  auto pattern = (std::filesystem::temp_directory_path() / "matriarch-router-XXXXXX").string();
  REQUIRE(::mkdtemp(pattern.data()) != nullptr);
  {
    fake_member n1{"n1", address(1), "a"};
    n1.leads(true);
    router_config settings;
    settings.data_dir = pattern;
    auto listen = [&](const std::string& name, int port) {
      routed_member member{"n1", {address(1), 5432}, {address(1), 8008}};
      return route{name, "a", static_cast<std::uint16_t>(port), {member}};
    };
    auto port = fresh_port();
    taken_port taken;
    auto good = haproxy_config_of(settings, {listen("good", port)});
    auto both = haproxy_config_of(settings, {listen("bad", taken.number()), listen("good", port)});
    // As if it was taken after it was tried: it is tried at another address.
    both.listens[0].bind_host = address(9);
    haproxy proxy{settings.haproxy, settings.data_dir};
    auto nobody = [] { return std::map<std::string, std::string>{}; };

    REQUIRE(proxy.apply(good, nobody).started);
    CHECK(eventually([&] { return who_answers(port) == "n1"; }));
    auto outcome = proxy.apply(both, nobody);
    CHECK(outcome.error.empty());
    CHECK_FALSE(outcome.reloaded);
    REQUIRE(outcome.unserved.size() == 1);
    CHECK(outcome.unserved[0].instance == "bad");
    CHECK(proxy.last_configuration() == good);
    CHECK(who_answers(port) == "n1");
    proxy.stop(0ms);

    haproxy next{settings.haproxy, settings.data_dir};
    outcome = next.apply(both, nobody);
    CHECK(outcome.error.empty());
    CHECK(outcome.started);
    CHECK(outcome.applied == good);
    CHECK(eventually([&] { return who_answers(port) == "n1"; }));
    next.stop(0ms);
  }
  std::filesystem::remove_all(pattern);
}

TEST_CASE("the broker that acts is reached through the router, its standby while nobody acts") {
  fake_broker one{"one"}, two{"two"};
  auto port = fresh_port();
  platform all{"broker: {listen: " + std::to_string(port) + ", servers: [" + one.address() + ", "
               + two.address() + "]}\n"};
  two.acts(true);
  all.start();
  CHECK(eventually([&] { return all.fetch(port, "/").body == "two"; }));
  two.acts(false);
  CHECK(eventually([&] { return all.fetch(port, "/").body == "one"; }));
  two.acts(true);
  CHECK(eventually([&] { return all.fetch(port, "/").body == "two"; }));
  CHECK(all.status().routes == 0);
}

TEST_CASE("silent clients on one port keep nobody else out, nor on all ports the operator") {
  fake_broker broker{"acts"};
  broker.acts(true);
  auto front = fresh_port();
  // Six of the connections are the broker's.
  platform all{"broker: {listen: " + std::to_string(front) + ", servers: [" + broker.address()
                   + "]}\n",
               {},
               ", maxconn: 60, max_connections_per_port: 20"};
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "b"}, n3{"n3", address(3), "c"};
  const std::vector<fake_member*> members{&n1, &n2, &n3};
  std::vector<int> ports;
  for (const auto* name : {"a", "b", "c"}) {
    auto* member = members[ports.size()];
    member->leads(true);
    ports.push_back(fresh_port());
    all.add(name, ports.back(), {member});
  }
  all.start();
  REQUIRE(all.serves(3));
  for (std::size_t i = 0; i < 3; ++i)
    REQUIRE(eventually([&] { return who_answers(ports[i]) == members[i]->name(); }));
  auto answers = [&] { return all.fetch(front, "/").body == "acts"; };
  REQUIRE(eventually(answers));
  auto before = n1.connections();
  {
    // Each of them reaches the database, which can then end it.
    silent_clients many{ports[0], 100};
    REQUIRE(eventually([&] { return n1.connections() == before + 20; }));
    CHECK(who_answers(ports[1]) == "n2");
    CHECK(who_answers(ports[2]) == "n3");
    CHECK(answers());
    CHECK(n1.connections() == before + 20);
    silent_clients on_the_second{ports[1], 20}, on_the_third{ports[2], 100};
    // 54 are the instances'; the 55th is refused at once.
    CHECK(eventually([&] { return who_answers(ports[2]).empty(); }));
    CHECK(answers());
  }
  for (std::size_t i = 0; i < 3; ++i)
    CHECK(eventually([&] { return who_answers(ports[i]) == members[i]->name(); }));
}

TEST_CASE("a broker hears the client's address from the router alone") {
  fake_broker one{"one"};
  one.acts(true);
  auto port = fresh_port();
  platform all{"broker: {listen: " + std::to_string(port) + ", servers: [" + one.address()
               + "]}\n"};
  all.start();
  CHECK(eventually([&] { return all.fetch(port, "/").body == "one"; }));
  CHECK(all.fetch(port, "/forwarded").body == "127.0.0.1");
}

TEST_CASE("the brokers' port speaks TLS alone, and takes up a certificate that was renewed") {
  scratch_directory files;
  test::certificates first{files.sub("first")}, second{files.sub("second")};
  // As a program does that renews certificates: each file is replaced at once, one after the other.
  auto install = [&](const std::string& from, const std::string& name) {
    std::filesystem::copy_file(from, files.path() / (name + ".new"));
    std::filesystem::rename(files.path() / (name + ".new"), files.path() / name);
  };
  install(first.server(), "broker.pem");
  install(first.server_key(), "broker.key");
  fake_broker one{"one"};
  one.acts(true);
  auto port = fresh_port();
  platform all{"broker: {listen: " + std::to_string(port) + ", servers: [" + one.address()
               + "], tls: {certificate: " + (files.path() / "broker.pem").string()
               + ", key: " + (files.path() / "broker.key").string() + "}}\n"};
  all.start();
  auto body_by = [&](const test::certificates& trusted) {
    return all.fetch(port, "/", "https", trusted.authority()).body;
  };
  CHECK(eventually([&] { return body_by(first) == "one"; }));
  CHECK(all.fetch(port, "/").body != "one");
  CHECK(all.fetch(port, "/").status / 100 != 2);
  // It holds the key.
  CHECK((std::filesystem::status(all.directory() / "data/broker.pem").permissions()
         & std::filesystem::perms::all)
        == (std::filesystem::perms::owner_read | std::filesystem::perms::owner_write));

  // A certificate without its key, for as long as the router likes to look: nothing changes.
  install(second.server(), "broker.pem");
  CHECK(eventually([&] { return all.has_logged("stays the old one"); }));
  CHECK(body_by(first) == "one");
  install(second.server_key(), "broker.key");
  CHECK(eventually([&] { return body_by(second) == "one"; }));
  // The worker of before the reload may have one more connection in its queue.
  CHECK(eventually([&] { return body_by(first).empty(); }));
}

TEST_CASE("a certificate is taken with its key alone") {
  scratch_directory files;
  test::certificates made{files.path()};
  auto error = [](const std::string& certificate, const std::string& key) {
    auto read = read_certificate(certificate, key);
    return read ? "no error" : read.error();
  };
  auto both = read_certificate(made.server(), made.server_key());
  REQUIRE_MESSAGE(both.ok(), both.error());
  auto one_file = (files.path() / "both.pem").string();
  std::ofstream{one_file} << *both;
  CHECK(error(one_file, "") == "no error");
  CHECK(error(made.server(), made.client_key())
        == "the key in " + made.client_key() + " is not that of the first certificate in "
               + made.server());
  CHECK(error(made.server(), "")
        == made.server() + " holds no key in PEM that can be read without a passphrase");
  CHECK(error(made.server_key(), "") == made.server_key() + " holds no certificate in PEM");
  CHECK(error("/nonexistent", "") == "/nonexistent cannot be read: No such file or directory");
}

TEST_CASE("a router reaches etcd by TLS and as a user") {
  etcd_server::options how;
  how.tls = true;
  how.root_password = "secret-of-root";
  platform all{{}, how};
  fake_member n1{"n1", address(1), "a"};
  n1.leads(true);
  auto port = fresh_port();
  all.add("a", port, {&n1});
  all.start();
  CHECK(eventually([&] { return who_answers(port) == "n1"; }));
  CHECK_FALSE(all.has_logged("secret-of-root"));
}

TEST_CASE("a read-only port leads to the replicas, and to the leader while none is up") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"}, n3{"n3", address(3), "a"};
  n1.leads(true);
  auto port = fresh_port();
  auto read_only = fresh_port();
  all.add("a", port, {&n1, &n2, &n3});
  all.lead("a", n1);
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  all.add_read_only_port("a", read_only);
  CHECK(eventually([&] { return who_answers(read_only) == "n1"; }));
  // HAProxy serves a port a moment before the router says so.
  CHECK(eventually([&] { return all.status().read_only_routes == 1; }));
  CHECK(all.serves(1));

  n2.replicates(true);
  REQUIRE(eventually([&] { return who_answers(read_only) == "n2"; }));
  connection held{read_only};
  CHECK(held.name() == "n2");
  for (int i = 0; i < 10; ++i)
    CHECK(who_answers(read_only) == "n2");
  n3.replicates(true);
  REQUIRE(eventually([&] { return who_answers(read_only) == "n3"; }));
  std::map<std::string, int> shares;
  std::vector<std::unique_ptr<connection>> many;
  for (int i = 0; i < 9; ++i) {
    many.push_back(std::make_unique<connection>(read_only));
    ++shares[many.back()->name()];
  }
  CHECK(shares["n2"] >= 3);
  CHECK(shares["n3"] >= 3);

  n2.replicates(false);
  CHECK(held.ends());
  n3.replicates(false);
  CHECK(eventually([&] { return who_answers(read_only) == "n1"; }));
  CHECK(who_answers(port) == "n1");

  all.erase("/routing/readonly/a");
  CHECK(eventually([&] { return who_answers(read_only).empty(); }));
  CHECK(who_answers(port) == "n1");
}

TEST_CASE("read-only sessions end with a replica that becomes the leader, also after a reload") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"}, other{"o", address(3), "b"};
  n1.leads(true);
  n2.replicates(true);
  auto port = fresh_port();
  auto read_only = fresh_port();
  all.add("a", port, {&n1, &n2});
  all.add_read_only_port("a", read_only);
  all.lead("a", n1);
  all.start();
  REQUIRE(eventually([&] { return who_answers(read_only) == "n2"; }));
  connection old{read_only};
  all.reload(1, "b", other);
  CHECK(old.works());
  CHECK(who_answers(read_only) == "n2");
  n2.replicates(false);
  n1.leads(false);
  n2.leads(true);
  n1.replicates(true);
  all.lead("a", n2);
  CHECK(old.ends());
  CHECK(eventually([&] { return who_answers(read_only) == "n1"; }));
  CHECK(eventually([&] { return who_answers(port) == "n2"; }));
}

TEST_CASE("a replica of another scope at a member's old address is never read from") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, stranger{"n2", address(2), "stranger"};
  n1.leads(true);
  stranger.replicates(true);
  auto read_only = fresh_port();
  all.add("a", fresh_port(), {&n1, &stranger});
  all.add_read_only_port("a", read_only);
  all.start();
  REQUIRE(eventually([&] { return who_answers(read_only) == "n1"; }));
  auto before = stranger.checks();
  REQUIRE(eventually([&] { return stranger.checks() > before + 4; }));
  CHECK(who_answers(read_only) == "n1");
  CHECK(stranger.connections() == 0);
}

TEST_CASE("of an instance's two ports the one that is free is served") {
  platform all;
  fake_member n1{"n1", address(1), "a"};
  n1.leads(true);
  n1.replicates(true);
  auto port = fresh_port();
  auto read_only = std::make_unique<taken_port>();
  all.add("a", port, {&n1});
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  all.add_read_only_port("a", read_only->number());
  CHECK(eventually([&] { return all.status().left_out == std::vector<std::string>{"a"}; }));
  CHECK(who_answers(port) == "n1");
  CHECK(all.status().routes == 1);
  CHECK(all.status().read_only_routes == 0);
  auto number = read_only->number();
  read_only.reset();
  CHECK(eventually([&] { return who_answers(number) == "n1"; }));

  // The other way round, from the start.
  CHECK(all.end(SIGTERM) == 0);
  taken_port taken;
  all.put({{"/routing/allocation/a", std::to_string(taken.number())}});
  all.start();
  CHECK(eventually([&] { return who_answers(number) == "n1"; }));
  n1.replicates(false);
  CHECK(eventually([&] { return who_answers(number) == "n1"; }));
  CHECK(eventually([&] {
    auto now = all.status();
    return now.read_only_routes == 1 && now.routes == 0;
  }));
}

TEST_CASE("an instance that HAProxy refuses is left out, the others are served") {
  platform all;
  fake_member n1{"n1", address(1), "b"};
  n1.leads(true);
  auto port = fresh_port();
  all.add("a", fresh_port(), {&n1});
  all.put(
      {{"/service/a/members/n1",
        R"({"conn_url":"postgres://127.0.0.1:1/","api_url":"http://no-such-host.invalid:2/"})"}});
  all.add("b", port, {&n1});
  all.start();
  CHECK(eventually([&] { return who_answers(port) == "n1"; }));
  CHECK(eventually([&] { return all.status().left_out == std::vector<std::string>{"a"}; }));
}

TEST_CASE("a router that is killed leaves HAProxy serving, and the next one takes it over") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"}, other{"o", address(3), "b"};
  n1.leads(true);
  auto port = fresh_port();
  all.add("a", port, {&n1, &n2});
  all.lead("a", n1);
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  connection held{port};
  all.end(SIGKILL);
  CHECK(held.works());
  CHECK(who_answers(port) == "n1");

  all.start();
  REQUIRE(all.serves(1));
  CHECK(all.status().reloads == 0);
  all.reload(1, "b", other);
  CHECK(held.works());
  CHECK(all.end(SIGUSR1) == 0);
  CHECK(held.works());

  // The leader changes while there is no router.
  n1.leads(false);
  n2.leads(true);
  all.lead("a", n2);
  all.start();
  CHECK(held.ends());
  CHECK(eventually([&] { return who_answers(port) == "n2"; }));
}

TEST_CASE("HAProxy is started again when it ends") {
  platform all;
  fake_member n1{"n1", address(1), "a"};
  n1.leads(true);
  auto port = fresh_port();
  all.add("a", port, {&n1});
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  {
    connection held{port};
    haproxy victim{"/usr/sbin/haproxy", all.directory() / "data"};
    REQUIRE(victim.adopt());
    victim.stop(0ms);
    CHECK(held.ends());
  }
  CHECK(eventually([&] { return who_answers(port) == "n1"; }));
  CHECK(all.serves(1));
}

TEST_CASE("HAProxy whose master or worker is killed is started again, and nothing of it is left") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, other{"o", address(3), "b"};
  n1.leads(true);
  auto port = fresh_port();
  all.add("a", port, {&n1});
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  std::vector<pid_t> before;
  auto is_another = [&] {
    auto now = all.processes_of_haproxy();
    return now.size() == 2 && std::none_of(now.begin(), now.end(), [&](pid_t one) {
             return std::count(before.begin(), before.end(), one) > 0;
           });
  };
  auto serves_again = [&] {
    // Many times: a listener that was left behind would get every second connection.
    return eventually(is_another) && eventually([&] { return who_answers(port) == "n1"; })
           && std::all_of(before.begin(), before.end(),
                          [&](pid_t) { return who_answers(port) == "n1"; });
  };
  SUBCASE("the worker") {
    before = all.processes_of_haproxy();
    ::kill(before.back(), SIGKILL);
    CHECK(serves_again());
  }
  SUBCASE("the master") {
    before = all.processes_of_haproxy();
    ::kill(before.front(), SIGKILL);
    CHECK(serves_again());
  }
  SUBCASE("the master of workers that hang, old and current") {
    connection old{port};
    all.reload(1, "b", other);
    before = all.processes_of_haproxy();
    REQUIRE(before.size() == 3);
    for (auto worker : {before[1], before[2]})
      ::kill(worker, SIGSTOP);
    ::kill(before.front(), SIGKILL);
    CHECK(serves_again());
    CHECK(old.ends());
  }
  SUBCASE("the master of a worker that hangs, and the router before it") {
    before = all.processes_of_haproxy();
    all.end(SIGKILL);
    ::kill(before.back(), SIGSTOP);
    ::kill(before.front(), SIGKILL);
    all.start();
    CHECK(serves_again());
  }
  CHECK(eventually([&] { return all.status().status == "ok"; }));
}

TEST_CASE("without etcd the router serves what it served last, also after a start") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "b"};
  n1.leads(true);
  n2.leads(true);
  auto port = fresh_port();
  all.add("a", port, {&n1});
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  REQUIRE(all.serves(1));
  connection held{port};
  all.etcd().kill();
  CHECK(eventually([&] { return all.status().etcd == "unreachable"; }));
  CHECK(all.status().status == "degraded");
  CHECK_FALSE(all.status().routes_as_of.empty());
  CHECK(held.works());
  CHECK(who_answers(port) == "n1");
  CHECK(all.end(SIGTERM) == 0);
  CHECK(who_answers(port).empty());

  all.start();
  CHECK(eventually([&] { return who_answers(port) == "n1"; }));
  CHECK(eventually([&] { return all.status().routes == 1; }));
  CHECK(all.status().status == "degraded");
  CHECK_FALSE(all.status().routes_as_of.empty());
  all.etcd().start();
  auto second = fresh_port();
  CHECK(eventually([&] { return all.status().etcd == "reachable"; }));
  all.add("b", second, {&n2});
  CHECK(eventually([&] { return who_answers(second) == "n2"; }));
  CHECK(all.serves(2));
  CHECK(all.status().routes_as_of.empty());
}

} // namespace matriarch::router
