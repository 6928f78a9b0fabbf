#include "router/haproxy.hpp"

#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>
#include <thread>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/descriptor.hpp"
#include "base/files.hpp"
#include "base/processes.hpp"
#include "router/words.hpp"

namespace matriarch::router {

namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

/// An answer takes a millisecond, and some hundred milliseconds while HAProxy reloads.
constexpr std::chrono::milliseconds answer_patience{2'000};
/// A start or a reload takes half a second with thousands of ports; a busy machine needs longer.
constexpr std::chrono::milliseconds reload_patience{30'000};
/// A HAProxy that an earlier router has just started or reloaded is ready within a second.
constexpr std::chrono::milliseconds adopt_patience{10'000};
/// The pause between two looks at whether HAProxy is ready.
constexpr std::chrono::milliseconds look_again{10};
/// HAProxy's output is kept for operators who look for a reason; it has a line for each change of a
/// server.
constexpr std::uintmax_t longest_log = 4 * 1024 * 1024;

/// Empty if it cannot be read.
std::string read_file(const std::string& path) {
  std::ifstream in{path, std::ios::binary};
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

/// Starts a program without this one's open files, signal masks or session. 0 and errno if it could
/// not.
pid_t spawn(const std::vector<std::string>& arguments, int output) {
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&files, output, STDERR_FILENO);
  // Otherwise the status port would stay taken as long as HAProxy runs.
  posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);

  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  sigset_t changed;
  sigemptyset(&changed);
  for (int number : {SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGUSR1, SIGUSR2, SIGCHLD})
    sigaddset(&changed, number);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &changed);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  std::vector<char*> words;
  for (const auto& argument : arguments)
    words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  pid_t child = 0;
  auto wrong = ::posix_spawn(&child, words[0], &files, &attributes, words.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  errno = wrong;
  return wrong == 0 ? child : 0;
}

} // namespace

std::optional<std::string> why_not_bound(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0)
    return std::nullopt; // HAProxy explains better what is wrong with a host
  int wrong = EADDRNOTAVAIL;
  for (auto* address = found; address && wrong != 0; address = address->ai_next) {
    base::descriptor probe{::socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    int on = 1;
    ::setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    wrong = ::bind(probe, address->ai_addr, address->ai_addrlen) == 0 ? 0 : errno;
  }
  ::freeaddrinfo(found);
  if (wrong == 0)
    return std::nullopt;
  return wrong == EADDRINUSE ? std::string{port_taken}
                             : fmt::format("its port cannot be opened on {}: {}; see "
                                           "router.bind_host and this router's rights",
                                           host, std::strerror(wrong));
}

std::optional<std::string> write_private_file(const std::string& path, std::string_view text) {
  return base::replace_file(path, text, {::geteuid(), ::getegid()});
}

haproxy::haproxy(std::string executable, std::string data_dir)
    : executable_(std::move(executable)), data_dir_(std::move(data_dir)) {}

haproxy::~haproxy() {
  let_go();
}

std::string haproxy::path(std::string_view name) const {
  return fmt::format("{}/{}", data_dir_, name);
}

// -- the process ----------------------------------------------------------------------------------

void haproxy::hold(pid_t master) {
  let_go();
  std::lock_guard guard{mutex_};
  master_ = master;
  master_handle_ = static_cast<int>(::syscall(SYS_pidfd_open, master, 0));
}

void haproxy::let_go() {
  std::lock_guard guard{mutex_};
  if (master_handle_ >= 0)
    ::close(master_handle_);
  master_handle_ = -1;
  master_ = 0;
}

bool haproxy::running() {
  std::lock_guard guard{mutex_};
  if (master_handle_ < 0)
    return false;
  // A pidfd becomes readable when its process ends, whether it is a child or not.
  if (!base::wait_for(master_handle_, POLLIN, clock::now()))
    return true;
  ::waitpid(master_, nullptr, WNOHANG);
  return false;
}

void haproxy::signal(int number) {
  std::lock_guard guard{mutex_};
  if (master_handle_ >= 0)
    ::syscall(SYS_pidfd_send_signal, master_handle_, number, nullptr, 0);
}

bool haproxy::adopt() {
  std::istringstream written{read_file(path("haproxy.pid"))};
  pid_t master = 0;
  std::uint64_t started = 0;
  if (!(written >> master >> started) || base::running_since(master) != started)
    return false;
  hold(master);
  // While it starts or reloads, HAProxy refuses connections to its master socket for a moment.
  auto answers = [&] {
    for (auto deadline = clock::now() + adopt_patience; running() && clock::now() < deadline;
         std::this_thread::sleep_for(look_again))
      if (processes().master == master)
        return true;
    return false;
  };
  // The handle was made after the file was compared: only now is it certain which process it means.
  if (base::running_since(master) != started) {
    let_go();
    return false;
  }
  if (!answers()) {
    // Nobody could reload this HAProxy, and another one beside it would share its ports.
    stop(0ms);
    return false;
  }
  return true;
}

void haproxy::stop(std::chrono::milliseconds grace) {
  auto gone_by = [&](std::chrono::milliseconds patience) {
    for (auto deadline = clock::now() + patience; running();
         std::this_thread::sleep_for(look_again))
      if (clock::now() > deadline)
        return false;
    return true;
  };
  // Each step kills what the step before left: workers end with their master.
  signal(SIGUSR1);
  if (!gone_by(grace)) {
    signal(SIGTERM);
    if (!gone_by(5s)) {
      signal(SIGKILL);
      (void)gone_by(5s);
    }
  }
  let_go();
}

// -- its command line -----------------------------------------------------------------------------

haproxy_socket haproxy::worker() const {
  return haproxy_socket{path("stats.sock")};
}

result<std::string> haproxy::ask_worker(int pid, std::string_view command) const {
  return haproxy_socket{path("master.sock")}.ask(fmt::format("@!{} {}", pid, command),
                                                 answer_patience);
}

haproxy_processes haproxy::processes() const {
  auto answer = haproxy_socket{path("master.sock")}.ask("show proc", answer_patience);
  return answer ? parse_show_proc(*answer) : haproxy_processes{};
}

std::string haproxy::description() const {
  auto answer = haproxy_socket{path("master.sock")}.ask("@1 show info", answer_patience);
  if (!answer)
    return {};
  constexpr std::string_view label = "\ndescription: ";
  auto at = answer->find(label);
  if (at == std::string::npos)
    return {};
  at += label.size();
  return answer->substr(at, answer->find('\n', at) - at);
}

result<told_state> haproxy::tell() const {
  told_state told;
  auto worker_socket = worker();
  auto servers = worker_socket.ask("show servers state", answer_patience);
  if (!servers)
    return failure{servers.error()};
  told.servers = *std::move(servers);
  auto frontends = worker_socket.ask("show stat -1 1 -1", answer_patience);
  if (!frontends)
    return failure{frontends.error()};
  told.frontends = *std::move(frontends);
  for (auto which : all_maps) {
    auto map = worker_socket.ask("show map " + path_of(which, data_dir_), answer_patience);
    if (!map)
      return failure{map.error()};
    told.maps.push_back(*std::move(map));
  }
  return told;
}

// -- its files ------------------------------------------------------------------------------------

std::optional<std::string> haproxy::write(const haproxy_files& files) const {
  auto failed =
      files.text.empty() ? std::nullopt : write_private_file(path("haproxy.cfg"), files.text);
  if (!failed)
    failed = write_private_file(path("server-state"), files.server_state);
  for (auto which : all_maps)
    if (auto index = static_cast<std::size_t>(which); !failed && index < files.maps.size())
      failed = write_private_file(path_of(which, data_dir_), files.maps[index]);
  return failed;
}

proxy_state haproxy::written() const {
  told_state told;
  told.servers = read_file(path("server-state"));
  for (auto which : all_maps)
    told.maps.push_back(read_file(path_of(which, data_dir_)));
  return state_of(told);
}

std::optional<std::chrono::sys_time<std::chrono::milliseconds>> haproxy::written_at() const {
  std::error_code error;
  auto written = std::filesystem::last_write_time(path("server-state"), error);
  if (error)
    return std::nullopt;
  return std::chrono::floor<std::chrono::milliseconds>(std::chrono::file_clock::to_sys(written));
}

std::set<std::uint16_t> haproxy::ports_in_file() const {
  std::set<std::uint16_t> ports;
  auto text = read_file(path("haproxy.cfg"));
  for (auto line : lines_of(text)) {
    auto words = words_of(line);
    if (words.size() > 1 && words[0] == "bind")
      if (auto where = endpoint_of(words[1]))
        ports.insert(where->port);
  }
  return ports;
}

std::string haproxy::printed_since(std::size_t offset) const {
  auto text = read_file(path("haproxy.log"));
  return text.size() > offset ? text.substr(offset) : text;
}

void haproxy::kill_leftovers() const {
  // Workers have their master's command line, and no other HAProxy's command line names this file.
  auto has = [](const std::vector<std::string>& arguments, const std::string& one) {
    return std::find(arguments.begin(), arguments.end(), one) != arguments.end();
  };
  for (auto pid : base::all_processes()) {
    auto arguments = base::arguments_of(pid);
    if (pid <= 1 || !has(arguments, "-W") || !has(arguments, path("haproxy.cfg")))
      continue;
    spdlog::warn("process {} of an HAProxy whose master has ended is killed", pid);
    ::kill(pid, SIGKILL);
  }
}

std::optional<std::string> haproxy::start(const std::string& wanted) {
  kill_leftovers();
  auto log_path = path("haproxy.log");
  base::descriptor log{
      ::open(log_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600)};
  // -W: a master that stays while workers come and go; -S: its command line.
  auto master = log < 0 ? 0
                        : spawn({executable_, "-W", "-S", path("master.sock") + ",mode,600", "-f",
                                 path("haproxy.cfg")},
                                log);
  if (master == 0)
    return fmt::format("{} cannot be run: {}", executable_, std::strerror(errno));
  hold(master);
  (void)write_private_file(path("haproxy.pid"),
                           fmt::format("{} {}\n", master, base::running_since(master).value_or(0)));
  for (auto deadline = clock::now() + reload_patience; clock::now() < deadline;
       std::this_thread::sleep_for(look_again)) {
    if (!running())
      break;
    auto found = processes();
    if (found.master == master && description() == wanted)
      return std::nullopt;
  }
  signal(SIGKILL);
  for (auto deadline = clock::now() + 5s; running() && clock::now() < deadline;)
    std::this_thread::sleep_for(look_again);
  let_go();
  return printed_since(0);
}

std::optional<std::string> haproxy::reload(const std::string& wanted) {
  auto log_path = path("haproxy.log");
  std::error_code unreadable;
  auto length = std::filesystem::file_size(log_path, unreadable);
  if (unreadable)
    length = 0;
  // HAProxy appends, so after a truncation it goes on at the beginning.
  if (length > longest_log && ::truncate(log_path.c_str(), 0) == 0)
    length = 0;
  auto before = processes();
  if (before.master == 0)
    return "its master does not answer";
  signal(SIGUSR2);
  for (auto deadline = clock::now() + reload_patience; clock::now() < deadline;
       std::this_thread::sleep_for(look_again)) {
    if (!running())
      break;
    auto now = processes();
    if (now.failed_reloads > before.failed_reloads)
      break;
    auto is_new = !now.current.empty()
                  && std::none_of(now.current.begin(), now.current.end(), [&](int worker) {
                       return std::count(before.current.begin(), before.current.end(), worker) > 0;
                     });
    if (is_new && description() == wanted)
      return std::nullopt;
  }
  return printed_since(length);
}

} // namespace matriarch::router
