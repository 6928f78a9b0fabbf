#pragma once

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
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "awaiting.hpp"
#include "base/event_loop.hpp"
#include "base/json.hpp"
#include "etcd_server.hpp"
#include "http/server.hpp"
#include "router/haproxy.hpp"
#include "store/etcd.hpp"
#include "store/keys.hpp"
#include "store/router_json.hpp"

/// Shared by the router's tests: an etcd, a router on it, and pretended members and clients.
namespace matriarch::router {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
using matriarch::test::awaited;
using matriarch::test::etcd_server;
using matriarch::test::free_port;
using matriarch::test::free_ports;

/// Waits until a condition holds; false if it does not within the test's time limit.
inline bool eventually(const std::function<bool()>& condition) {
  for (auto deadline = clock::now() + matriarch::test::patience; clock::now() < deadline;
       std::this_thread::sleep_for(10ms))
    if (condition())
      return true;
  return false;
}

inline sockaddr_in address_of(const std::string& host, int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  ::inet_pton(AF_INET, host.c_str(), &address.sin_addr);
  return address;
}

/// A loopback address of this run's own; `number` from 1 to 250.
inline std::string address(int number) {
  return "127." + std::to_string(matriarch::test::free_octet()) + ".0." + std::to_string(number);
}

/// What every client sends first.
inline const std::string hello = "hello..\n";

/// A client's socket, which closes itself.
class connection {
public:
  /// Connects from that address of this machine, if one is given. It sends hello, or another text.
  explicit connection(int port, const std::string& from = {}, const std::string& says = hello)
      : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (!from.empty()) {
      auto source = address_of(from, 0);
      ::bind(socket_, reinterpret_cast<sockaddr*>(&source), sizeof source);
    }
    auto to = address_of("127.0.0.1", port);
    is_refused_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0;
    if (is_refused_ || ::send(socket_, says.data(), says.size(), MSG_NOSIGNAL) < 0)
      close();
    else
      name_ = line();
  }

  /// Whether nobody listens there.
  [[nodiscard]] bool is_refused() const { return is_refused_; }

  ~connection() { close(); }
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;

  /// The name of the member that answered; empty if none did.
  [[nodiscard]] const std::string& name() const { return name_; }

  /// Whether the member echoes what is sent.
  [[nodiscard]] bool works() {
    return socket_ >= 0 && ::send(socket_, "ping\n", 5, MSG_NOSIGNAL) == 5 && line() == "ping";
  }

  /// Whether the other side has ended the connection, or does so within the test's time limit.
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
  bool is_refused_ = false;
  std::string name_;
};

/// Connections of clients that send this, or nothing, and no more; they close with this object.
class idle_clients {
public:
  idle_clients(int port, int count, const std::string& from = {}, const std::string& says = {}) {
    auto to = address_of("127.0.0.1", port);
    auto source = address_of(from.empty() ? "127.0.0.1" : from, 0);
    for (int i = 0; i < count; ++i) {
      // If the kernel's queue is full, connecting takes a while.
      sockets_.push_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      ::bind(sockets_.back(), reinterpret_cast<sockaddr*>(&source), sizeof source);
      ::connect(sockets_.back(), reinterpret_cast<sockaddr*>(&to), sizeof to);
      pollfd one{sockets_.back(), POLLOUT, 0};
      if (!says.empty() && ::poll(&one, 1, 1'000) > 0)
        ::send(sockets_.back(), says.data(), says.size(), MSG_NOSIGNAL);
    }
  }
  ~idle_clients() {
    for (auto one : sockets_)
      ::close(one);
  }
  idle_clients(const idle_clients&) = delete;
  idle_clients& operator=(const idle_clients&) = delete;

private:
  std::vector<int> sockets_;
};

/// Pretends to be a member: Patroni's REST API on port 8008, and on 5432 a database that sends its
/// name and then echoes.
class fake_member {
public:
  /// Without `shows` its REST API speaks plain HTTP.
  fake_member(std::string name, std::string host, std::string scope,
              const tls::key_pair& shows = {})
      : host_(std::move(host)), name_(std::move(name)), scope_(std::move(scope)),
        has_tls_(!shows.key.empty()),
        api_(options_of(host_, shows),
             [this](http::request got, http::responder to) { answer(got, to); }) {
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
  /// All its processes are frozen: its kernel accepts connections, but nothing answers.
  void freezes(bool now) {
    frozen_ = now;
    std::lock_guard guard{mutex_};
    if (!now)
      unanswered_.clear();
  }
  [[nodiscard]] int checks() const { return checks_; }
  /// How many connections it has had in total.
  [[nodiscard]] int connections() const { return connections_; }
  [[nodiscard]] int open() const { return open_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  /// The member's key, as Patroni writes it.
  [[nodiscard]] std::string announcement() const {
    return R"({"conn_url":"postgres://)" + host_ + R"(:5432/postgres","api_url":")"
           + (has_tls_ ? "https://" : "http://") + host_
           + R"(:8008/patroni","state":"running","role":"replica"})";
  }
  /// The node in the record, whose cell has reported whether its Patroni is certified.
  [[nodiscard]] std::string registered(bool certified) const {
    return R"({"node_id":")" + name_ + R"(","address":")" + host_ + R"(:5432","patroni_address":")"
           + host_ + R"(:8008","patroni_certified":)" + (certified ? "true" : "false") + "}";
  }

private:
  static http::server_options options_of(const std::string& host, const tls::key_pair& shows) {
    http::server_options options{host, 8008};
    if (shows.key.empty())
      return options;
    auto identity = std::make_shared<tls::server_identity>();
    if (auto wrong = identity->show(shows))
      throw std::runtime_error{*wrong};
    identity->refuse_plain(true);
    options.tls = std::move(identity);
    return options;
  }

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
    std::set<int> greeted;
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
          ++open_;
          sockets.push_back({client, POLLIN, 0});
        }
      }
      for (std::size_t i = 1; i < sockets.size(); ++i) {
        if (sockets[i].revents == 0)
          continue;
        std::array<char, 256> piece{};
        auto got = ::recv(sockets[i].fd, piece.data(), piece.size(), 0);
        if (got > 0) {
          // The first bytes are no request.
          auto first = greeted.insert(sockets[i].fd).second ? static_cast<long>(hello.size()) : 0;
          if (got > first)
            ::send(sockets[i].fd, piece.data() + first, static_cast<std::size_t>(got - first),
                   MSG_NOSIGNAL);
        } else {
          greeted.erase(sockets[i].fd);
          ::close(sockets[i].fd);
          --open_;
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
  bool has_tls_ = false;
  std::atomic<bool> leads_ = false;
  std::atomic<bool> replicates_ = false;
  std::atomic<bool> frozen_ = false;
  std::mutex mutex_;
  std::vector<http::responder> unanswered_;
  std::atomic<int> checks_ = 0;
  std::atomic<int> connections_ = 0;
  std::atomic<int> open_ = 0;
  std::atomic<bool> ending_ = false;
  http::server api_;
  int listener_ = -1;
  std::thread thread_;
};

/// The router's own status.
struct router_status {
  std::string status;
  std::string id;
  std::string etcd;
  std::string routes_as_of;
  std::int64_t routes = -1;
  std::int64_t read_only_routes = -1;
  std::int64_t reloads = -1;
  std::int64_t old_workers = -1;
  std::int64_t serves = -1;
  std::vector<std::string> left_out;
  std::vector<int> unbound;
};

/// An etcd, and a router on it that can be killed and started again.
class platform {
public:
  /// `broker` is the section of that name, if there is one. `how`: the options of etcd; with TLS it
  /// asks for users too. `more` of the router's own settings begins with a comma.
  explicit platform(const std::string& broker = {}, etcd_server::options how = {},
                    const std::string& more = {})
      : server_(how), etcd_(loop_, access_to(how)) {
    auto pattern = (std::filesystem::temp_directory_path() / "matriarch-router-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr)
      throw std::runtime_error{"cannot make a temporary directory"};
    directory_ = pattern;
    status_port_ = free_port();
    first_port_ = next_port_ = free_ports(ports);
    std::ofstream{directory_ / "router.yml"}
        << "router: {data_dir: " << (directory_ / "data").string() << ", id: one"
        << ", ports: {first: " << first_port_ << ", last: " << first_port_ + ports - 1 << "}"
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

  /// A port of the router's range that no call has returned before.
  int port() {
    REQUIRE(next_port_ < first_port_ + ports);
    return next_port_++;
  }
  [[nodiscard]] int last_port() const { return first_port_ + ports - 1; }

  /// The router's report in etcd; nothing if there is none.
  std::optional<model::router_report> report(const std::string& id = "one") {
    auto found = awaited<store::range_result>([&](auto then) {
      etcd_.range({store::keys::router(id), {}}, then);
    });
    if (!found.ok || found.found.empty())
      return std::nullopt;
    auto read = store::decode_router_report(found.found[0].value);
    REQUIRE(read);
    return *read;
  }
  /// Waits until the router reports that it serves what was written at that revision.
  bool says_that_it_serves(store::revision at) {
    return eventually([&] {
      auto now = report();
      return now && now->serves >= at;
    });
  }

  /// Starts the router and waits until it answers; HAProxy may not yet run.
  void start() {
    auto log = (directory_ / "router.log").string();
    router_ = launch("router.yml");
    if (!eventually([&] { return status().routes >= 0; }))
      throw std::runtime_error{"the router does not start; see " + log};
  }

  /// Starts another router with the same id elsewhere on this machine, and returns its exit code.
  int start_another() {
    std::ofstream{directory_ / "other.yml"}
        << "router: {data_dir: " << (directory_ / "other").string()
        << ", id: one, ports: {first: " << last_port() << ", last: " << last_port()
        << "}, status: {port: " << free_port() << "}}\n"
        << "etcd: {machines: ['" << server_.url() << "']}\n";
    return exit_code(launch("other.yml"));
  }

  /// Waits for the router's own end; its exit code.
  int ended() { return exit_code(std::exchange(router_, 0)); }

  /// Freezes the router, or lets it go on.
  void freeze(bool now) { ::kill(router_, now ? SIGSTOP : SIGCONT); }

  /// HAProxy's processes: the master first, then the workers from the oldest to the newest.
  [[nodiscard]] std::vector<pid_t> processes_of_haproxy() const {
    std::vector<pid_t> found;
    auto wanted = (directory_ / "data/haproxy.cfg").string();
    for (const auto& entry : std::filesystem::directory_iterator{"/proc"}) {
      auto name = entry.path().filename().string();
      if (name.find_first_not_of("0123456789") != std::string::npos)
        continue;
      // It may end while it is read.
      std::ostringstream words;
      words << std::ifstream{entry.path() / "cmdline"}.rdbuf();
      if (words.str().find(wanted) != std::string::npos)
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
    return ended();
  }

  /// The result of a GET of a path on a port of 127.0.0.1.
  base::outcome fetch(int port, const std::string& path, const std::string& scheme = "http",
                      const std::string& authority = {}) {
    base::outgoing ask;
    ask.url = scheme + "://127.0.0.1:" + std::to_string(port) + path;
    ask.headers.emplace_back("X-Forwarded-For", "192.0.2.1");
    ask.tls.authority = authority;
    return awaited<base::outcome>([&](auto done) { loop_.send(ask, done); });
  }

  router_status status() {
    auto got = fetch(status_port_, "/healthz");
    router_status now;
    auto body = json::parse(got.body);
    if (got.status == 0 || !body)
      return now;
    now.status = json::string_member(*body, "status");
    now.id = json::string_member(*body, "id");
    now.etcd = json::string_member(*body, "etcd");
    now.routes_as_of = json::string_member(*body, "routes_as_of");
    now.routes = json::integer_member(*body, "routes", -1);
    now.read_only_routes = json::integer_member(*body, "read_only_routes", -1);
    now.reloads = json::integer_member(*body, "reloads", -1);
    now.old_workers = json::integer_member(*body, "old_workers", -1);
    now.serves = json::integer_member(*body, "serves", -1);
    if (auto ports = json::member(*body, "unbound"))
      for (const auto& one : ports->GetArray())
        now.unbound.push_back(one.GetInt());
    if (auto left = json::member(*body, "left_out"))
      for (const auto& one : left->GetArray())
        now.left_out.push_back(json::string_member(one, "instance"));
    return now;
  }

  /// Waits until the router serves that many instances and has left out none.
  bool serves(int count) {
    return eventually([&] {
      auto now = status();
      return now.status == "ok" && now.routes == count;
    });
  }

  using keys_and_values = std::vector<std::pair<std::string, std::string>>;

  /// Returns the revision.
  store::revision put(const keys_and_values& keys) {
    store::transaction write;
    for (const auto& [key, value] : keys)
      write.then.emplace_back(store::put{key, value});
    return commit(std::move(write));
  }
  /// Each in a transaction of its own, without waiting for one another.
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
  store::revision erase(const std::string& key) {
    store::transaction write;
    write.then.emplace_back(store::erase{{key, ""}});
    return commit(std::move(write));
  }

  /// The keys of an instance with these members.
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

  store::revision add(const std::string& name, int port, const std::vector<fake_member*>& members) {
    return put(keys_of(name, port, members));
  }
  void remove(const std::string& name) {
    erase("/service/" + name + "/state");
    erase("/routing/allocation/" + name);
    store::transaction write;
    write.then.emplace_back(store::erase{store::keys_below("/service/" + name + "/")});
    commit(std::move(write));
  }

  void add_read_only_port(const std::string& name, int port) {
    put({{"/routing/readonly/" + name, std::to_string(port)}});
  }

  /// Makes another member the leader of an instance, as Patroni does.
  store::revision lead(const std::string& name, fake_member& now) {
    return put({{"/service/" + name + "/leader", now.name()}});
  }

  /// Causes a reload, by an instance at a port out of the range; returns when HAProxy has reloaded.
  void reload(const std::string& name, fake_member& of) {
    auto before = status().reloads;
    add(name, free_port(), {&of});
    if (!eventually([&] { return status().reloads > before; }))
      throw std::runtime_error{"HAProxy was not reloaded"};
  }

  std::filesystem::path directory() const { return directory_; }
  [[nodiscard]] int status_port() const { return status_port_; }

  /// Whether the router has logged such a line.
  [[nodiscard]] bool has_logged(const std::string& text) const {
    std::ifstream log{directory_ / "router.log"};
    return std::string{std::istreambuf_iterator<char>{log}, {}}.find(text) != std::string::npos;
  }

private:
  /// The router's program, with that file of the directory as its configuration.
  pid_t launch(const std::string& config) const {
    auto* program = std::getenv("ROUTER_PROGRAM");
    if (program == nullptr)
      throw std::runtime_error{"ROUTER_PROGRAM must name the router's executable"};
    auto path = (directory_ / config).string();
    auto log = (directory_ / "router.log").string();
    auto child = ::fork();
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGTERM);
      int file = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
      ::dup2(file, STDERR_FILENO);
      ::execl(program, program, path.c_str(), nullptr);
      ::_exit(127);
    }
    return child;
  }
  /// The exit code once it has ended; -1 if it was killed.
  static int exit_code(pid_t child) {
    int code = 0;
    ::waitpid(child, &code, 0);
    return WIFEXITED(code) ? WEXITSTATUS(code) : -1;
  }

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
  /// The etcd user and TLS for the router's configuration.
  [[nodiscard]] std::string access_lines(const etcd_server::options& how) const {
    std::string lines;
    if (!how.root_password.empty())
      lines += ", username: root, password: " + how.root_password;
    if (how.tls)
      lines += ", tls: {authority: " + server_.tls().authority() + "}";
    return lines;
  }

  store::revision commit(store::transaction write) {
    auto done = awaited<store::commit_result>([&](auto then) { etcd_.commit(write, then); });
    if (done.state != store::commit_state::committed)
      throw std::runtime_error{"etcd: " + done.error};
    return done.at;
  }

  etcd_server server_;
  base::event_loop loop_;
  store::etcd_client etcd_;
  std::filesystem::path directory_;
  static constexpr int ports = 40;
  int first_port_ = 0;
  int next_port_ = 0;
  int status_port_ = 0;
  pid_t router_ = 0;
};

/// A port that another program listens on, until this object is destroyed.
class taken_port {
public:
  explicit taken_port(int port)
      : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), port_(port) {
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

/// The member that answers on a port now; empty if none does.
inline std::string who_answers(int port) {
  return connection{port}.name();
}

} // namespace matriarch::router
