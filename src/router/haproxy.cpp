#include "router/haproxy.hpp"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <thread>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

namespace matriarch::router {

namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

/// An answer on the master socket takes a millisecond, and some hundred while HAProxy reloads.
constexpr std::chrono::milliseconds answer_patience{2'000};
/// A reload takes 0.1 s with some listens and a second with thousands; a busy machine needs more.
constexpr std::chrono::milliseconds reload_patience{30'000};
/// HAProxy that an earlier router has just started or reloaded gets there in a second.
constexpr std::chrono::milliseconds adopt_patience{10'000};
/// How long a port is left alone that HAProxy could not open although it seemed free: each attempt
/// pauses all the others for two seconds.
constexpr std::chrono::minutes failed_bind_pause{1};
/// Between two looks at whether HAProxy has got there.
constexpr std::chrono::milliseconds look_again{10};
/// What HAProxy prints is kept for whoever looks for a reason; a line for each change of a server.
constexpr std::uintmax_t longest_log = 4 * 1024 * 1024;
/// A command line must fit into HAProxy's buffer of 16 kB.
constexpr std::size_t longest_command = 8 * 1024;
/// How often listens are left out and the rest is tried before an apply is given up: HAProxy names
/// all of one kind at once, so more than a few rounds mean something else is wrong.
constexpr int rounds = 10;

constexpr std::string_view port_taken =
    "something else uses its port on this machine; end that, or give the instance another port";

/// A file descriptor that closes itself.
class descriptor {
public:
  explicit descriptor(int number) : number_(number) {}
  ~descriptor() {
    if (number_ >= 0)
      ::close(number_);
  }
  descriptor(const descriptor&) = delete;
  descriptor& operator=(const descriptor&) = delete;
  operator int() const { return number_; }

private:
  int number_;
};

int milliseconds_until(clock::time_point deadline) {
  auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - clock::now());
  return static_cast<int>(std::max<std::int64_t>(0, left.count()));
}

bool wait_for(int file, short events, clock::time_point deadline) {
  pollfd one{file, events, 0};
  int ready = 0;
  do
    ready = ::poll(&one, 1, milliseconds_until(deadline));
  while (ready < 0 && errno == EINTR);
  return ready > 0;
}

std::string read_file(const std::string& path) {
  std::ifstream in{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

/// Starts a program with none of this one's files, signals or session. 0 and errno if it could not.
pid_t spawn(const std::vector<std::string>& arguments, int output) {
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&files, output, STDERR_FILENO);
  // The status port would stay taken as long as HAProxy runs.
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

/// When a process started, in the kernel's ticks since boot: with its pid it means one process.
/// Empty if there is no such process or it has ended.
std::string start_of(pid_t process) {
  auto text = read_file(fmt::format("/proc/{}/stat", process));
  // The name, in parentheses, may hold anything; the state is the third field, the start the 22nd.
  auto name_end = text.rfind(')');
  if (name_end == std::string::npos)
    return {};
  std::istringstream rest{text.substr(name_end + 1)};
  std::vector<std::string> fields{std::istream_iterator<std::string>{rest}, {}};
  constexpr std::size_t state = 0, start = 19;
  if (fields.size() <= start || fields[state] == "Z" || fields[state] == "X")
    return {};
  return fields[start];
}

/// The arguments of a process; empty if there is none, or not to be read.
std::vector<std::string> arguments_of(std::string_view process) {
  auto text = read_file(fmt::format("/proc/{}/cmdline", process));
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin < text.size();) {
    auto end = std::min(text.find('\0', begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

/// Why HAProxy could not listen there, if it could not. Its listeners and the connections they have
/// accepted share their port (SO_REUSEPORT), so its own ports count as free; those of anybody else
/// do not.
std::optional<std::string> why_not_bound(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0)
    return std::nullopt; // HAProxy says better what is wrong with a host
  int wrong = EADDRNOTAVAIL;
  for (auto* address = found; address && wrong != 0; address = address->ai_next) {
    descriptor probe{::socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    int on = 1;
    ::setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    ::setsockopt(probe, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
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

/// Leaves out the listens for which there is a reason.
void leave_out(apply_outcome& outcome,
               const std::function<std::optional<std::string>(const haproxy_listen&)>& reason) {
  std::erase_if(outcome.applied.listens, [&](const haproxy_listen& listen) {
    auto why = reason(listen);
    if (why)
      outcome.unserved.push_back({listen.port, instance_of(listen.name), *why});
    return why.has_value();
  });
}

} // namespace

bool write_private_file(const std::string& path, const std::string& text) {
  auto draft = path + ".draft";
  ::unlink(draft.c_str()); // one that was left behind keeps its rights
  {
    descriptor out{::open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
    if (out < 0)
      return false;
    std::string_view unwritten = text;
    while (!unwritten.empty()) {
      auto written = ::write(out, unwritten.data(), unwritten.size());
      if (written <= 0)
        return false;
      unwritten.remove_prefix(static_cast<std::size_t>(written));
    }
  }
  return ::rename(draft.c_str(), path.c_str()) == 0;
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
  if (!wait_for(master_handle_, POLLIN, clock::now()))
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
  std::string started;
  if (!(written >> master >> started) || start_of(master) != started)
    return false;
  hold(master);
  // While it starts or reloads, HAProxy refuses connections to its master socket for a moment.
  auto answers = [&] {
    for (auto deadline = clock::now() + adopt_patience; running() && clock::now() < deadline;
         std::this_thread::sleep_for(look_again))
      if (processes(answer_patience).master == master)
        return true;
    return false;
  };
  // The handle was made after the file was compared: only now is it known what it means.
  if (start_of(master) != started) {
    let_go();
    return false;
  }
  if (!answers()) {
    // Nobody could reload it, and another one beside it would share its ports.
    stop(0ms);
    return false;
  }
  auto last = last_configuration();
  running_ = last && runs(*last) ? last : std::nullopt;
  return true;
}

std::optional<haproxy_config> haproxy::last_configuration() const {
  auto text = read_file(path("haproxy.cfg"));
  if (text.empty())
    return std::nullopt;
  return parse_haproxy_config(text);
}

std::optional<std::chrono::sys_time<std::chrono::milliseconds>> haproxy::last_configured() const {
  std::error_code error;
  auto written = std::filesystem::last_write_time(path("haproxy.cfg"), error);
  if (error)
    return std::nullopt;
  return std::chrono::floor<std::chrono::milliseconds>(std::chrono::file_clock::to_sys(written));
}

void haproxy::stop(std::chrono::milliseconds grace) {
  auto gone_by = [&](std::chrono::milliseconds patience) {
    for (auto deadline = clock::now() + patience; running();
         std::this_thread::sleep_for(look_again))
      if (clock::now() > deadline)
        return false;
    return true;
  };
  // Each kills what the one before left: workers end with their master.
  signal(SIGUSR1);
  if (!gone_by(grace)) {
    signal(SIGTERM);
    if (!gone_by(5s)) {
      signal(SIGKILL);
      (void)gone_by(5s);
    }
  }
  let_go();
  running_.reset();
}

// -- its command line -----------------------------------------------------------------------------

result<std::string> haproxy::ask(std::string_view command,
                                 std::chrono::milliseconds patience) const {
  auto deadline = clock::now() + patience;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  auto where = path("master.sock");
  if (where.size() >= sizeof address.sun_path)
    return failure{"the path of HAProxy's master socket is too long"};
  std::memcpy(address.sun_path, where.c_str(), where.size() + 1);
  descriptor socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return failure{fmt::format("HAProxy's master socket {}: {}", where, std::strerror(errno))};
  auto line = fmt::format("{}\n", command);
  std::string_view unsent = line;
  while (!unsent.empty()) {
    auto sent = ::send(socket, unsent.data(), unsent.size(), MSG_NOSIGNAL);
    if (sent > 0)
      unsent.remove_prefix(static_cast<std::size_t>(sent));
    else if (errno != EAGAIN || !wait_for(socket, POLLOUT, deadline))
      return failure{"HAProxy's master does not take commands"};
  }
  // The master ends the connection when the client has nothing more to say.
  ::shutdown(socket, SHUT_WR);
  std::string answer;
  std::array<char, 65'536> piece;
  while (wait_for(socket, POLLIN, deadline)) {
    auto got = ::recv(socket, piece.data(), piece.size(), 0);
    if (got == 0)
      return answer;
    if (got > 0)
      answer.append(piece.data(), static_cast<std::size_t>(got));
    else if (errno != EAGAIN && errno != EINTR)
      return failure{"HAProxy's master closed the connection"};
  }
  return failure{"HAProxy's master does not answer"};
}

haproxy_processes haproxy::processes(std::chrono::milliseconds patience) const {
  auto answer = ask("show proc", patience);
  return answer ? parse_show_proc(*answer) : haproxy_processes{};
}

bool haproxy::runs(const haproxy_config& config) const {
  auto answer = ask("@1 show info", answer_patience);
  return answer
         && answer->find(fmt::format("\ndescription: {}\n", config.description()))
                != std::string::npos;
}

/// Commands for workers, sent as few lines: each is a connection of its own.
class haproxy::command_list {
public:
  explicit command_list(const haproxy& to) : to_(to) {}
  ~command_list() { send(); }
  command_list(const command_list&) = delete;
  command_list& operator=(const command_list&) = delete;

  void add(int worker, const std::string& command) {
    line_ += fmt::format("{}@!{} {}", line_.empty() ? "" : ";", worker, command);
    if (line_.size() > longest_command)
      send();
  }

private:
  void send() {
    if (!line_.empty())
      (void)to_.ask(line_, answer_patience); // a worker that has ended has no sessions
    line_.clear();
  }

  const haproxy& to_;
  std::string line_;
};

void haproxy::end_sessions(const std::vector<misplaced_servers>& of) {
  // While HAProxy reloads, its master does not answer for a moment.
  haproxy_processes found;
  for (auto deadline = clock::now() + 5s; found.master == 0;
       std::this_thread::sleep_for(look_again)) {
    if (!running() || clock::now() > deadline)
      return;
    found = processes(answer_patience);
  }
  std::set<server_key> servers;
  for (const auto& one : of)
    for (const auto& server : one.servers)
      servers.emplace(one.proxy, server);
  {
    command_list commands{*this};
    for (auto worker : found.current)
      for (const auto& [proxy, server] : servers) {
        commands.add(worker, fmt::format("set server {}/{} health down", proxy, server));
        commands.add(worker, fmt::format("shutdown sessions server {}/{}", proxy, server));
      }
  }
  (void)end_old_sessions(found.old,
                         [&](const server_key& server) { return servers.contains(server); });
}

std::optional<haproxy::old_workers> haproxy::end_lost_sessions() {
  auto found = processes(answer_patience);
  if (found.master == 0)
    return std::nullopt;
  old_workers seen{static_cast<int>(found.old.size()), 0};
  if (found.old.empty())
    return seen;
  auto states = ask("@1 show servers state", answer_patience);
  if (!states)
    return std::nullopt;
  check_results results{*states};
  seen.ended = end_old_sessions(found.old,
                                [&](const server_key& server) { return results.is_lost(server); });
  return seen;
}

std::size_t
haproxy::end_old_sessions(const std::vector<int>& workers,
                          const std::function<bool(const server_key&)>& is_meant) const {
  // A worker that was replaced takes no command about its servers ("Proxy is disabled"), but each
  // of its sessions can be ended, and it gets no new ones.
  std::size_t ended = 0;
  for (auto worker : workers) {
    auto sessions = ask(fmt::format("@!{} show sess", worker), answer_patience);
    if (!sessions)
      continue; // it has just ended
    command_list commands{*this};
    for (const auto& id : sessions_with(is_meant, *sessions)) {
      commands.add(worker, "shutdown session " + id);
      ++ended;
    }
  }
  return ended;
}

// -- its configuration ----------------------------------------------------------------------------

haproxy::run_result haproxy::check(const haproxy_config& config) const {
  auto candidate = path("candidate.cfg");
  auto output = path("candidate.log");
  if (!write_private_file(candidate, config.text()))
    return {false, fmt::format("{} cannot be written: {}", candidate, std::strerror(errno))};
  descriptor log{::open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
  auto child = log < 0 ? 0 : spawn({executable_, "-c", "-f", candidate}, log);
  if (child == 0)
    return {false, fmt::format("{} cannot be run: {}", executable_, std::strerror(errno))};
  auto deadline = clock::now() + reload_patience;
  int status = 0;
  pid_t ended = 0;
  while ((ended = ::waitpid(child, &status, WNOHANG)) == 0) {
    if (clock::now() > deadline) {
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
      return {false, "haproxy -c does not end"};
    }
    std::this_thread::sleep_for(look_again);
  }
  return {ended == child && WIFEXITED(status) && WEXITSTATUS(status) == 0, read_file(output)};
}

void haproxy::leave_out_taken_ports(apply_outcome& outcome) {
  // One port that cannot be bound fails the whole reload, after HAProxy has paused all its other
  // listeners for two seconds: so it is tried first.
  auto is_held = [&](const haproxy_listen& listen) {
    return running_
           && std::any_of(running_->listens.begin(), running_->listens.end(),
                          [&](const haproxy_listen& one) {
                            return one.port == listen.port && one.bind_host == listen.bind_host;
                          });
  };
  std::erase_if(not_bound_,
                [](const auto& entry) { return clock::now() - entry.second > failed_bind_pause; });
  leave_out(outcome, [&](const haproxy_listen& listen) -> std::optional<std::string> {
    if (is_held(listen))
      return std::nullopt;
    if (not_bound_.contains(listen.port))
      return std::string{port_taken};
    return why_not_bound(listen.bind_host, listen.port);
  });
}

void haproxy::leave_out_refused(apply_outcome& outcome) const {
  for (int round = 0; round < rounds; ++round) {
    auto checked = check(outcome.applied);
    outcome.error.clear();
    if (checked.succeeded)
      return;
    outcome.error = "HAProxy refuses its configuration: " + alerts_in(checked.printed);
    std::set<std::string> refused;
    for (auto line : lines_refused(checked.printed, path("candidate.cfg")))
      if (auto listen = outcome.applied.listen_at(line))
        refused.insert(listen->name);
    if (refused.empty())
      return;
    leave_out(outcome, [&](const haproxy_listen& listen) -> std::optional<std::string> {
      if (refused.contains(listen.name))
        return outcome.error;
      return std::nullopt;
    });
  }
}

apply_outcome haproxy::apply(const haproxy_config& wanted,
                             const std::function<std::map<std::string, std::string>()>& leaders) {
  apply_outcome outcome;
  outcome.applied = wanted;
  auto is_running = running();
  if (!is_running)
    running_.reset();
  leave_out_taken_ports(outcome);
  if (is_running && running_ && running_->text() == outcome.applied.text())
    return outcome;
  leave_out_refused(outcome);
  if (!outcome.error.empty())
    return outcome;

  for (int round = 0; round < rounds; ++round) {
    if (is_running && running_ && running_->text() == outcome.applied.text()) {
      outcome.error.clear();
      return outcome;
    }
    std::map<server_key, endpoint> up;
    if (is_running)
      if (auto states = ask("@1 show servers state", answer_patience))
        up = servers_up(*states);
    auto before = read_file(path("haproxy.cfg"));
    if (!write_private_file(path("server-state"), server_state_file(outcome.applied, up, leaders()))
        || !write_private_file(path("haproxy.cfg"), outcome.applied.text())) {
      outcome.error = fmt::format("{} cannot be written to: {}", data_dir_, std::strerror(errno));
      return outcome;
    }
    auto printed = is_running ? reload(outcome.applied) : start(outcome.applied);
    if (!printed) {
      running_ = outcome.applied;
      (is_running ? outcome.reloaded : outcome.started) = true;
      outcome.error.clear();
      return outcome;
    }
    // The file stays what HAProxy runs, for whoever adopts it.
    if (is_running && !before.empty())
      (void)write_private_file(path("haproxy.cfg"), before);
    outcome.error =
        fmt::format("HAProxy did not {}: {}", is_running ? "reload" : "start", alerts_in(*printed));
    auto taken = ports_not_bound(*printed);
    for (auto port : taken)
      not_bound_[port] = clock::now();
    auto count = outcome.applied.listens.size();
    leave_out(outcome, [&](const haproxy_listen& listen) -> std::optional<std::string> {
      if (taken.contains(listen.port))
        return std::string{port_taken};
      return std::nullopt;
    });
    if (outcome.applied.listens.size() == count || running() != is_running)
      return outcome;
  }
  return outcome;
}

std::string haproxy::printed_since(std::size_t offset) const {
  auto text = read_file(path("haproxy.log"));
  return text.size() > offset ? text.substr(offset) : text;
}

void haproxy::kill_leftovers() const {
  // Workers have their master's command line, and no other HAProxy has this file's name in its own.
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc", ignored}) {
    auto name = entry.path().filename().string();
    auto arguments = arguments_of(name);
    if (std::find(arguments.begin(), arguments.end(), "-W") == arguments.end()
        || std::find(arguments.begin(), arguments.end(), path("haproxy.cfg")) == arguments.end())
      continue;
    spdlog::warn("process {} of an HAProxy whose master has ended is killed", name);
    ::kill(static_cast<pid_t>(std::stol(name)), SIGKILL);
  }
}

std::optional<std::string> haproxy::start(const haproxy_config& config) {
  kill_leftovers();
  auto log_path = path("haproxy.log");
  descriptor log{
      ::open(log_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600)};
  // -W: a master that stays while workers come and go; -S: its command line.
  auto master = log < 0 ? 0
                        : spawn({executable_, "-W", "-S", path("master.sock") + ",mode,600", "-f",
                                 path("haproxy.cfg")},
                                log);
  if (master == 0)
    return fmt::format("{} cannot be run: {}", executable_, std::strerror(errno));
  hold(master);
  (void)write_private_file(path("haproxy.pid"), fmt::format("{} {}\n", master, start_of(master)));
  for (auto deadline = clock::now() + reload_patience; clock::now() < deadline;
       std::this_thread::sleep_for(look_again)) {
    if (!running())
      break;
    auto found = processes(answer_patience);
    if (found.master == master && runs(config))
      return std::nullopt;
  }
  signal(SIGKILL);
  for (auto deadline = clock::now() + 5s; running() && clock::now() < deadline;)
    std::this_thread::sleep_for(look_again);
  let_go();
  return printed_since(0);
}

std::optional<std::string> haproxy::reload(const haproxy_config& config) {
  auto log_path = path("haproxy.log");
  std::error_code unreadable;
  auto length = std::filesystem::file_size(log_path, unreadable);
  if (unreadable)
    length = 0;
  // HAProxy appends, so it goes on at the start.
  if (length > longest_log && ::truncate(log_path.c_str(), 0) == 0)
    length = 0;
  auto before = processes(answer_patience);
  if (before.master == 0)
    return "its master does not answer";
  signal(SIGUSR2);
  for (auto deadline = clock::now() + reload_patience; clock::now() < deadline;
       std::this_thread::sleep_for(look_again)) {
    if (!running())
      break;
    auto now = processes(answer_patience);
    if (now.failed_reloads > before.failed_reloads)
      break;
    auto is_new = !now.current.empty()
                  && std::none_of(now.current.begin(), now.current.end(), [&](int worker) {
                       return std::count(before.current.begin(), before.current.end(), worker) > 0;
                     });
    if (is_new && runs(config))
      return std::nullopt;
  }
  return printed_since(length);
}

// -- the directory --------------------------------------------------------------------------------

result<directory_lock> directory_lock::take(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error)
    return failure{fmt::format("{} cannot be made: {}", directory, error.message())};
  auto path = directory + "/lock";
  auto file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0)
    return failure{fmt::format("{} cannot be opened: {}", path, std::strerror(errno))};
  // A predecessor that is just ending takes its grace time.
  for (auto deadline = clock::now() + 10s; ::flock(file, LOCK_EX | LOCK_NB) != 0;
       std::this_thread::sleep_for(50ms))
    if (clock::now() > deadline) {
      ::close(file);
      return failure{
          fmt::format("another router uses {}; give each a data_dir of its own", directory)};
    }
  return directory_lock{file};
}

directory_lock::~directory_lock() {
  if (file_ >= 0)
    ::close(file_);
}

} // namespace matriarch::router
