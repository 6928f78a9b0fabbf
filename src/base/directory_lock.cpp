#include "base/directory_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include <fmt/format.h>

namespace matriarch::base {

namespace {

constexpr std::chrono::milliseconds try_again{10};

std::string file_of(const std::string& directory) {
  return directory + "/lock";
}

} // namespace

result<directory_lock> directory_lock::take(const std::string& directory, std::string_view held,
                                            std::chrono::milliseconds patience) {
  auto path = file_of(directory);
  descriptor file{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR)};
  if (file < 0)
    return failure{fmt::format("cannot open {}: {}", path, std::strerror(errno))};
  auto deadline = std::chrono::steady_clock::now() + patience;
  while (::flock(file, LOCK_EX | LOCK_NB) != 0) {
    if (std::chrono::steady_clock::now() >= deadline)
      return failure{fmt::format("{}: it holds {}", held, path)};
    std::this_thread::sleep_for(try_again);
  }
  return directory_lock{std::move(file)};
}

bool directory_lock::is_taken(const std::string& directory) {
  descriptor file{::open(file_of(directory).c_str(), O_RDONLY | O_CLOEXEC)};
  // A shared lock, held for a moment only: a program that starts at this moment tries again.
  return file >= 0 && ::flock(file, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

} // namespace matriarch::base
