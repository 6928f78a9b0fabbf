#include "base/files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include <fmt/format.h>

#include "base/descriptor.hpp"

namespace matriarch::base {

namespace fs = std::filesystem;

namespace {

bool is_plain(const descriptor& file) {
  struct stat found {};
  return ::fstat(file, &found) == 0 && S_ISREG(found.st_mode);
}

std::string because(std::string_view what, const std::string& path) {
  return fmt::format("cannot {} {}: {}", what, path, std::strerror(errno));
}

bool write_all(int to, std::string_view text) {
  while (!text.empty()) {
    auto written = ::write(to, text.data(), text.size());
    if (written < 0 && errno != EINTR)
      return false;
    if (written > 0)
      text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

/// Forces a directory's entries to the disk.
std::optional<std::string> settle(const std::string& directory) {
  descriptor opened{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (opened < 0 || ::fsync(opened) != 0)
    return because("force to the disk", directory);
  return std::nullopt;
}

std::string parent_of(const std::string& path) {
  return fs::path{path}.parent_path().string();
}

std::optional<std::string> write_beside(const std::string& path, std::string_view text, owner whose,
                                        bool force) {
  auto fresh = path + ".new";
  ::unlink(fresh.c_str());
  {
    descriptor file{::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                           S_IRUSR | S_IWUSR)};
    if (file < 0)
      return because("create", fresh);
    if (geteuid() == 0 && ::fchown(file, whose.uid, whose.gid) != 0)
      return because("change the owner of", fresh);
    if (!write_all(file, text) || (force && ::fsync(file) != 0))
      return because("write", fresh);
  }
  if (::rename(fresh.c_str(), path.c_str()) != 0)
    return because("replace", path);
  return std::nullopt;
}

} // namespace

std::optional<std::string> write_durably(const std::string& path, std::string_view text,
                                         owner whose) {
  if (auto error = write_beside(path, text, whose, true))
    return error;
  return settle(parent_of(path));
}

std::optional<std::string> replace_file(const std::string& path, std::string_view text,
                                        owner whose) {
  return write_beside(path, text, whose, false);
}

result<std::optional<std::string>> read_file(const std::string& path, std::size_t most) {
  // O_NONBLOCK: do not wait for a pipe's writer.
  descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
  if (file < 0) {
    if (errno == ENOENT)
      return std::optional<std::string>{};
    return failure{because("open", path)};
  }
  if (!is_plain(file))
    return failure{fmt::format("{} is no plain file", path)};
  std::string text;
  char buffer[8192];
  for (;;) {
    auto got = ::read(file, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return failure{because("read", path)};
    if (got == 0)
      return std::optional{std::move(text)};
    text.append(buffer, static_cast<std::size_t>(got));
    if (text.size() > most)
      return failure{fmt::format("{} has more than {} bytes", path, most)};
  }
}

std::optional<std::string> make_directory(const std::string& path, mode_t mode, owner whose) {
  if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST)
    return because("create the directory", path);
  descriptor opened{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)};
  if (opened < 0)
    return because("open the directory", path);
  if (geteuid() == 0 && ::fchown(opened, whose.uid, whose.gid) != 0)
    return because("change the owner of", path);
  if (::fchmod(opened, mode) != 0)
    return because("change the mode of", path);
  return std::nullopt;
}

std::optional<std::string> move_durably(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0)
    return because("move away", from);
  if (auto error = settle(parent_of(from)))
    return error;
  return settle(parent_of(to));
}

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at{directory, error}, end; !error && at != end; at.increment(error))
    names.push_back(at->path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::optional<std::string> first_closed(const std::string& path, uid_t uid,
                                        const std::vector<gid_t>& groups) {
  fs::path so_far;
  for (const auto& part : fs::path{path}) {
    so_far /= part;
    struct stat found {};
    if (::stat(so_far.c_str(), &found) != 0)
      return std::nullopt;
    mode_t needed = S_IXOTH;
    if (found.st_uid == uid)
      needed = S_IXUSR;
    else if (std::find(groups.begin(), groups.end(), found.st_gid) != groups.end())
      needed = S_IXGRP;
    if ((found.st_mode & needed) == 0)
      return so_far.string();
  }
  return std::nullopt;
}

void bound_log(const std::string& path, std::size_t most) {
  descriptor log{::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
  struct stat found {};
  if (log < 0 || ::fstat(log, &found) != 0 || !S_ISREG(found.st_mode)
      || static_cast<std::size_t>(found.st_size) <= most)
    return;
  // Not a rename: writers would go on in the renamed file, which they have open.
  std::string last(most, '\0');
  auto got = ::pread(log, last.data(), most, found.st_size - static_cast<off_t>(most));
  last.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  (void)replace_file(path + ".1", last, {found.st_uid, found.st_gid});
  if (::ftruncate(log, 0) != 0)
    return; // tried again at the next check
}

} // namespace matriarch::base
