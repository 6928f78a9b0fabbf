#include "base/programs.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

namespace matriarch::base {

namespace {

// A Python program on a busy machine takes a second to print its version.
constexpr std::chrono::seconds longest_answer{10};
constexpr std::size_t longest_line = 200;

} // namespace

std::optional<std::string> why_not_runnable(const std::string& path) {
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0)
    return errno == ENOENT || errno == ENOTDIR ? std::string{"is not there"}
                                               : std::string{std::strerror(errno)};
  if (!S_ISREG(found.st_mode))
    return "is no file";
  if (::access(path.c_str(), X_OK) != 0)
    return "may not be run by this user";
  return std::nullopt;
}

std::optional<std::string> version_of(const std::string& path, const std::string& word) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    return std::nullopt;
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  std::string program = path;
  std::string asked = word;
  std::array<char*, 3> words{program.data(), asked.data(), nullptr};
  pid_t child = 0;
  auto wrong = ::posix_spawn(&child, path.c_str(), &files, nullptr, words.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  ::close(ends[1]);
  std::string line;
  bool in_time = false;
  if (wrong == 0) {
    const auto until = std::chrono::steady_clock::now() + longest_answer;
    char byte = 0;
    while (line.size() < longest_line) {
      auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          until - std::chrono::steady_clock::now());
      pollfd ready{ends[0], POLLIN, 0};
      if (left.count() <= 0 || ::poll(&ready, 1, static_cast<int>(left.count())) <= 0)
        break;
      if (::read(ends[0], &byte, 1) != 1 || byte == '\n') {
        in_time = true;
        break;
      }
      line += byte;
    }
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
  ::close(ends[0]);
  return in_time || line.size() == longest_line ? std::optional{line} : std::nullopt;
}

} // namespace matriarch::base
