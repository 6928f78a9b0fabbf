#include "cell/drivers/process.hpp"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sstream>
#include <utility>

#include <fmt/format.h>

#include "base/files.hpp"
#include "base/processes.hpp"

namespace matriarch::cell {

namespace {

std::string because(std::string_view what) {
  return fmt::format("cannot {}: {}", what, std::strerror(errno));
}

// -- in the child, between clone and exec ---------------------------------------------------------
// The agent has several threads, and only the calling one exists in the child: whatever lock
// another held stays locked. So these functions make system calls only and allocate nothing.

// Exit codes of a child that did not get to run its program; the agent's log explains them.
constexpr int exit_not_recorded = 120;
constexpr int exit_no_namespace = 121;
constexpr int exit_no_user = 122;
constexpr int exit_no_program = 127;

struct prepared {
  char* const* arguments;
  char* const* environment;
  const char* directory;
  const char* uid_map; ///< of a user namespace, else nullptr
  const char* gid_map;
  uid_t uid;
  gid_t gid;
  const gid_t* groups;
  std::size_t group_count;
  bool change_user;
  bool own_mounts;
  const char* hidden;         ///< shows `shown` only; nullptr: nothing is hidden
  char* const* path_to_shown; ///< the directories from `hidden` to `shown`, `shown` last
  const char* shown;
  char* const* covered;      ///< further directories, which become empty
  const char* shared_memory; ///< the options of its file system
  int log;
  int go;
};

bool write_whole(const char* path, const char* text) {
  int file = ::open(path, O_WRONLY | O_CLOEXEC);
  if (file < 0)
    return false;
  auto length = static_cast<ssize_t>(std::strlen(text));
  bool written = ::write(file, text, static_cast<std::size_t>(length)) == length;
  ::close(file);
  return written;
}

/// Maps the user to itself, so that a program does not see itself as root.
bool map_user(const prepared& how) {
  return write_whole("/proc/self/setgroups", "deny")
         && write_whole("/proc/self/uid_map", how.uid_map)
         && write_whole("/proc/self/gid_map", how.gid_map);
}

/// Makes a recursive copy of all mounts the new root, so that later mounts stay inside it. In a
/// chroot the root is no mount point, so its mounts cannot be made private; /proc can, so the copy
/// is made there. Then shows the namespace's processes in /proc.
bool own_root() {
  if (::mount(nullptr, "/proc", nullptr, MS_PRIVATE, nullptr) != 0 && errno != EINVAL)
    return false;
  return ::mount("/", "/proc", nullptr, MS_BIND | MS_REC, nullptr) == 0
         // The copy still follows when the administrator unmounts something.
         && ::mount(nullptr, "/proc", nullptr, MS_SLAVE | MS_REC, nullptr) == 0
         && ::chroot("/proc") == 0 && ::chdir("/") == 0
         && ::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) == 0;
}

/// Processes of a node share memory through files here, which belong to the same user in all nodes.
/// A mount of its own separates nodes, and ends with the namespace.
bool own_shared_memory(const prepared& how) {
  return ::mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, how.shared_memory)
             == 0
         || errno == ENOENT;
}

/// Covers a directory with an empty one that nobody can list. A few directories inside it are all
/// that is needed; the size limit keeps a mistake from using up memory. Each node gets its own
/// /tmp, through which nodes could otherwise reach each other.
bool cover(const char* directory) {
  const char* options =
      std::strcmp(directory, "/tmp") == 0 ? "mode=1777,size=16m" : "mode=0711,size=64k";
  return ::mount("tmpfs", directory, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) == 0;
}

/// Hides what the machine has and a node does not need. Missing directories, and those closed to
/// this user, need no cover.
bool hide_machine(const prepared& how) {
  for (auto* const* directory = how.covered; *directory; ++directory)
    if (!cover(*directory) && errno != ENOENT && errno != ENOTDIR && errno != EACCES)
      return false;
  return true;
}

/// Covers a directory with an empty one that nobody can list, and shows the node's own directory,
/// the working directory, in it again.
bool hide_others(const prepared& how) {
  if (!cover(how.hidden))
    return false;
  ::umask(0);
  for (auto* const* directory = how.path_to_shown; *directory; ++directory)
    if (::mkdir(*directory, S_IRWXU | S_IXGRP | S_IXOTH) != 0)
      return false;
  return ::mount(".", how.shown, nullptr, MS_BIND, nullptr) == 0;
}

/// Uses bare system calls: the C library's functions would wait for the agent's other threads,
/// which do not exist here, to change their user too.
bool change_user(const prepared& how) {
  return ::syscall(SYS_setgroups, how.group_count, how.groups) == 0
         && ::syscall(SYS_setresgid, how.gid, how.gid, how.gid) == 0
         && ::syscall(SYS_setresuid, how.uid, how.uid, how.uid) == 0;
}

void restore_signals() {
  struct sigaction usual {};
  usual.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number)
    ::sigaction(number, &usual, nullptr); // refused for SIGKILL and SIGSTOP, rightly
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

[[noreturn]] void become(const prepared& how) {
  // A signal that the agent handles must not run the agent's handler here.
  restore_signals();
  char go = 0;
  while (::read(how.go, &go, 1) < 0 && errno == EINTR) {
  }
  if (go != 1)
    ::_exit(exit_not_recorded);
  ::setsid();
  if (how.uid_map && !map_user(how))
    ::_exit(exit_no_namespace);
  if (how.own_mounts
      && (!own_root() || !own_shared_memory(how)
          || (how.hidden && (::chdir(how.shown) != 0 || !hide_machine(how) || !hide_others(how)))))
    ::_exit(exit_no_namespace);
  ::umask(077);
  if (how.change_user && !change_user(how))
    ::_exit(exit_no_user);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  int nothing = ::open("/dev/null", O_RDONLY);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(how.log, STDOUT_FILENO);
  ::dup2(how.log, STDERR_FILENO);
  // The agent's sockets must end with the agent.
  ::syscall(SYS_close_range, 3u, ~0u, 0u);
  if (!how.arguments)
    ::_exit(0);
  if (::chdir(how.directory) != 0)
    ::_exit(exit_no_program);
  ::execve(how.arguments[0], how.arguments, how.environment);
  ::_exit(exit_no_program);
}

// -- in the agent ---------------------------------------------------------------------------------

unsigned long flags_of(fencing how) {
  switch (how) {
  case fencing::pid_namespace:
    return CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC;
  case fencing::user_namespace:
    return CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC;
  case fencing::none:
    break;
  }
  return 0;
}

/// fork() with flags. The C library has no such call, and its clone() needs a stack.
pid_t fork_into(fencing how) {
  return static_cast<pid_t>(
      ::syscall(SYS_clone, flags_of(how) | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
}

std::vector<char*> pointers_to(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const auto& text : texts)
    pointers.push_back(const_cast<char*>(text.c_str())); // execve's old signature
  pointers.push_back(nullptr);
  return pointers;
}

/// The directories from below `upper` to `lower`, which lies below it.
std::vector<std::string> way_to(const std::string& upper, const std::string& lower) {
  std::vector<std::string> way;
  for (auto slash = lower.find('/', upper.size() + 1); slash != std::string::npos;
       slash = lower.find('/', slash + 1))
    way.push_back(lower.substr(0, slash));
  way.push_back(lower);
  return way;
}

bool works(fencing how) {
  // In a user namespace root could only map to itself, and nodes do not run as root.
  if ((how == fencing::pid_namespace) != (geteuid() == 0))
    return false;
  int go[2];
  if (::pipe2(go, O_CLOEXEC) != 0)
    return false;
  auto uid_map = fmt::format("{0} {0} 1", geteuid());
  auto gid_map = fmt::format("{0} {0} 1", getegid());
  prepared trial{};
  trial.uid_map = how == fencing::user_namespace ? uid_map.c_str() : nullptr;
  trial.gid_map = gid_map.c_str();
  trial.own_mounts = true;
  trial.shared_memory = "mode=1777";
  trial.log = STDERR_FILENO;
  trial.go = go[0];
  auto child = fork_into(how);
  if (child == 0) {
    ::close(go[1]);
    become(trial);
  }
  ::close(go[0]);
  char yes = 1;
  bool worked = child > 0 && ::write(go[1], &yes, 1) == 1;
  ::close(go[1]);
  int status = 0;
  if (child > 0)
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
  return worked && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

} // namespace

fencing strongest_fencing() {
  for (auto candidate : {fencing::pid_namespace, fencing::user_namespace})
    if (works(candidate))
      return candidate;
  return fencing::none;
}

bool counts_by_itself(fencing how, const std::string& kernel_release) {
  // Since then it counts a user's in each user namespace.
  constexpr std::pair<int, int> first{5, 14};
  std::istringstream text{kernel_release};
  std::pair<int, int> release;
  char dot = 0;
  return how == fencing::user_namespace && (text >> release.first >> dot >> release.second)
         && release >= first;
}

result<base::process_identity>
start_process(const launch& what,
              const std::function<bool(const base::process_identity&)>& record) {
  int log = ::open(what.log.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
                   S_IRUSR | S_IWUSR);
  if (log < 0)
    return failure{because("open " + what.log)};
  int go[2];
  if (::pipe2(go, O_CLOEXEC) != 0) {
    ::close(log);
    return failure{because("make a pipe")};
  }
  auto arguments = pointers_to(what.arguments);
  auto environment = pointers_to(what.environment);
  auto uid_map = fmt::format("{0} {0} 1", geteuid());
  auto gid_map = fmt::format("{0} {0} 1", getegid());
  prepared how{};
  how.arguments = arguments.data();
  how.environment = environment.data();
  how.directory = what.directory.c_str();
  how.uid_map = what.how == fencing::user_namespace ? uid_map.c_str() : nullptr;
  how.gid_map = gid_map.c_str();
  how.uid = what.user.uid;
  how.gid = what.user.gid;
  how.groups = what.user.groups.data();
  how.group_count = what.user.groups.size();
  how.change_user = geteuid() == 0;
  how.own_mounts = what.how != fencing::none;
  auto way = way_to(what.hidden, what.shown);
  auto path_to_shown = pointers_to(way);
  how.hidden = what.hidden.empty() ? nullptr : what.hidden.c_str();
  how.path_to_shown = path_to_shown.data();
  how.shown = what.shown.c_str();
  auto covered = pointers_to(what.covered);
  how.covered = covered.data();
  auto shared_memory = what.shared_memory > 0 ? fmt::format("mode=1777,size={}", what.shared_memory)
                                              : std::string{"mode=1777"};
  how.shared_memory = shared_memory.c_str();
  how.log = log;
  how.go = go[0];
  // No signal may reach the child before the child has reset the agent's handlers.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  auto child = fork_into(what.how);
  if (child == 0) {
    ::close(go[1]); // or the child would wait for its own end of the pipe
    become(how);
  }
  auto why = child < 0 ? because("start a process") : std::string{};
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::close(log);
  ::close(go[0]);
  if (child < 0) {
    ::close(go[1]);
    return failure{why};
  }
  auto started = base::start_time_of(child);
  base::process_identity identity{child, started.value_or(0), base::boot_id()};
  char yes = 1;
  bool going = started && record(identity) && ::write(go[1], &yes, 1) == 1;
  ::close(go[1]);
  if (!going) {
    while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
    return failure{"the new process could not be written down, so it was not started"};
  }
  return identity;
}

std::optional<std::string> reap(const base::process_identity& process) {
  int status = 0;
  if (::waitpid(process.pid, &status, WNOHANG) != process.pid)
    return std::nullopt;
  if (WIFSIGNALED(status))
    return fmt::format("killed by signal {}", WTERMSIG(status));
  switch (WEXITSTATUS(status)) {
  case exit_no_namespace:
    return "its namespace could not be set up";
  case exit_no_user:
    return "it could not change to its user";
  case exit_no_program:
    return "its program could not be run";
  default:
    return fmt::format("exit code {}", WEXITSTATUS(status));
  }
}

std::vector<pid_t> processes_beside(const base::process_identity& first) {
  auto space = base::pid_namespace_of(first.pid);
  if (!base::is_alive(first) || !space || space == base::pid_namespace_of(::getpid()))
    return {};
  auto found = base::all_processes();
  std::erase_if(found, [&](pid_t pid) { return base::pid_namespace_of(pid) != space; });
  return found;
}

std::vector<pid_t> processes_below(const std::string& directory, uid_t uid) {
  auto found = base::all_processes();
  std::erase_if(found, [&](pid_t pid) {
    struct stat process {};
    char where[4096];
    auto entry = fmt::format("/proc/{}", pid);
    if (pid == ::getpid() || ::stat(entry.c_str(), &process) != 0 || process.st_uid != uid)
      return true;
    auto length = ::readlink((entry + "/cwd").c_str(), where, sizeof where);
    if (length <= 0)
      return true;
    std::string_view path{where, static_cast<std::size_t>(length)};
    return path != directory && !path.starts_with(directory + "/");
  });
  return found;
}

std::size_t kill_all_below(const std::string& directory, uid_t uid) {
  auto pids = processes_below(directory, uid);
  return static_cast<std::size_t>(
      std::ranges::count_if(pids, [](pid_t pid) { return ::kill(pid, SIGKILL) == 0; }));
}

} // namespace matriarch::cell
