#include "etcd_server.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>

namespace matriarch::test {

namespace {

using clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

/// etcd is ready in a second; the limit is for a machine with other load.
constexpr auto longest_start = 30s;
constexpr auto longest_stop = 10s;
/// The pause between two looks at whether a condition holds.
constexpr auto look_again = 10ms;

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

/// The whole answer to a GET, empty if there is none.
std::string ask(int port, const std::string& path) {
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  timeval second{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
  auto address = loopback(port);
  std::string answer;
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
    auto request = "GET " + path + " HTTP/1.0\r\nHost: localhost\r\n\r\n";
    [[maybe_unused]] auto sent = ::send(fd, request.data(), request.size(), MSG_NOSIGNAL);
    std::array<char, 4096> part{};
    for (ssize_t got = 0; (got = ::recv(fd, part.data(), part.size(), 0)) > 0;)
      answer.append(part.data(), static_cast<std::size_t>(got));
  }
  ::close(fd);
  return answer;
}

} // namespace

etcd_server::etcd_server(unstarted) {
  auto pattern = (std::filesystem::temp_directory_path() / "matriarch-etcd-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr)
    throw std::runtime_error{"cannot make a temporary directory"};
  directory_ = pattern;
  choose_ports();
}

etcd_server::etcd_server() : etcd_server(options{}) {}

etcd_server::etcd_server(options how) : etcd_server(unstarted{}) {
  how_ = std::move(how);
  if (how_.tls) {
    certificates_ = std::make_unique<certificates>(directory_);
    choose_ports();
  }
  // Another program may take a free port before etcd does: then other ports are tried.
  for (int tries_left = 5;; --tries_left) {
    initial_cluster_ = name_ + "=" + peer_url_;
    try {
      start();
      if (!how_.root_password.empty())
        turn_authentication_on(how_.root_password);
      return;
    } catch (const std::runtime_error& why) {
      if (tries_left == 0
          || std::string{why.what()}.find("address already in use") == std::string::npos)
        throw;
      choose_ports();
      wipe();
    }
  }
}

etcd_server::~etcd_server() {
  end(SIGKILL);
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

std::vector<std::unique_ptr<etcd_server>> etcd_server::cluster(std::size_t members) {
  std::vector<std::unique_ptr<etcd_server>> all;
  std::string initial_cluster;
  for (std::size_t i = 0; i < members; ++i) {
    all.emplace_back(new etcd_server{unstarted{}});
    all.back()->name_ = "m" + std::to_string(i + 1);
    initial_cluster += (i == 0 ? "" : ",") + all.back()->name_ + "=" + all.back()->peer_url_;
  }
  for (auto& one : all) {
    one->initial_cluster_ = initial_cluster;
    one->launch();
  }
  for (auto& one : all)
    one->await_ready();
  return all;
}

void etcd_server::choose_ports() {
  port_ = free_port();
  health_port_ = free_port();
  url_ = (how_.tls ? "https://127.0.0.1:" : "http://127.0.0.1:") + std::to_string(port_);
  health_url_ = "http://127.0.0.1:" + std::to_string(health_port_);
  peer_url_ = "http://127.0.0.1:" + std::to_string(free_port());
}

void etcd_server::turn_authentication_on(const std::string& root_password) const {
  control({"user", "add", "root:" + root_password});
  control({"role", "add", "root"});
  control({"user", "grant-role", "root", "root"});
  control({"auth", "enable"});
}

void etcd_server::control(const std::vector<std::string>& words,
                          const std::string& root_password) const {
  std::vector<std::string> all{"env", "ETCDCTL_API=3", "etcdctl", "--endpoints", url_};
  if (!root_password.empty())
    all.insert(all.end(), {"--user", "root:" + root_password});
  if (how_.tls)
    all.insert(all.end(), {"--cacert", certificates_->authority(), "--cert",
                           certificates_->client(), "--key", certificates_->client_key()});
  all.insert(all.end(), words.begin(), words.end());
  run(all);
}

void etcd_server::start() {
  launch();
  await_ready();
}

void etcd_server::launch() {
  // Faster elections than the default, for tests that end a leader. No fsync: these tests end a
  // process, not the machine.
  std::vector<std::string> words{"etcd",
                                 "--name",
                                 name_,
                                 "--data-dir",
                                 directory_ / "data",
                                 "--listen-client-urls",
                                 url_,
                                 "--advertise-client-urls",
                                 url_,
                                 "--listen-peer-urls",
                                 peer_url_,
                                 "--initial-advertise-peer-urls",
                                 peer_url_,
                                 "--initial-cluster",
                                 initial_cluster_,
                                 "--heartbeat-interval",
                                 "50",
                                 "--election-timeout",
                                 "500",
                                 "--unsafe-no-fsync",
                                 "--listen-metrics-urls",
                                 health_url_};
  if (how_.tls)
    words.insert(words.end(), {"--cert-file", certificates_->server(), "--key-file",
                               certificates_->server_key()});
  if (how_.asks_for_certificates)
    words.insert(words.end(),
                 {"--client-cert-auth", "--trusted-ca-file", certificates_->authority()});
  words.insert(words.end(), how_.words.begin(), how_.words.end());
  std::vector<char*> arguments;
  for (const auto& word : words)
    arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const std::string log = directory_ / "log";
  pid_ = ::fork();
  if (pid_ < 0)
    throw std::runtime_error{"cannot start a process"};
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(out, STDERR_FILENO);
    ::execvp("etcd", arguments.data());
    ::_exit(127);
  }
}

void etcd_server::await_ready() {
  for (auto deadline = clock::now() + longest_start; clock::now() < deadline;) {
    if (healthy() && running())
      return;
    if (!running())
      throw std::runtime_error{"etcd ended: is it installed? " + log_tail()};
    std::this_thread::sleep_for(look_again);
  }
  auto tail = log_tail();
  end(SIGKILL);
  throw std::runtime_error{"etcd did not become ready: " + tail};
}

bool etcd_server::healthy() const {
  return ask(health_port_, "/health").find("\"health\":\"true\"") != std::string::npos;
}

bool etcd_server::running() {
  if (pid_ == 0)
    return false;
  if (::waitpid(pid_, nullptr, WNOHANG) == 0)
    return true;
  pid_ = 0;
  return false;
}

void etcd_server::end(int signal) {
  if (pid_ == 0)
    return;
  ::kill(pid_, SIGCONT);
  ::kill(pid_, signal);
  for (auto deadline = clock::now() + longest_stop; running();) {
    if (clock::now() > deadline)
      ::kill(pid_, SIGKILL);
    std::this_thread::sleep_for(look_again);
  }
}

void etcd_server::stop() {
  end(SIGTERM);
}

void etcd_server::kill() {
  end(SIGKILL);
}

void etcd_server::wipe() {
  std::filesystem::remove_all(directory_ / "data");
}

void etcd_server::pause() {
  ::kill(pid_, SIGSTOP);
  // The signal is delivered a moment later; only then is etcd frozen.
  int status = 0;
  ::waitpid(pid_, &status, WUNTRACED);
  if (!WIFSTOPPED(status))
    throw std::runtime_error{"etcd ended instead of being frozen: " + log_tail()};
}

void etcd_server::resume() {
  ::kill(pid_, SIGCONT);
}

std::string etcd_server::log_tail() const {
  constexpr std::size_t most = 2000;
  std::ifstream in{directory_ / "log"};
  std::string text{std::istreambuf_iterator<char>{in}, {}};
  return text.size() > most ? text.substr(text.size() - most) : text;
}

} // namespace matriarch::test
