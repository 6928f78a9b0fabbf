#include <doctest/doctest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <mutex>

#include "../temporary_directory.hpp"
#include "base/files.hpp"
#include "base/remover.hpp"

namespace matriarch::base {

namespace fs = std::filesystem;
using test::temporary_directory;

namespace {

owner ours() {
  return {geteuid(), getegid()};
}

unsigned mode_of(const std::string& path) {
  struct stat found {};
  REQUIRE(::stat(path.c_str(), &found) == 0);
  return found.st_mode & 07777;
}

std::string content(const std::string& path) {
  auto read = read_file(path);
  return read.ok() && *read ? **read : "nothing";
}

} // namespace

TEST_CASE("a file is replaced as a whole, for its owner alone") {
  temporary_directory directory;
  auto path = directory.file("f", "old, and longer");
  REQUIRE_FALSE(write_durably(path, "new", ours()));
  CHECK(content(path) == "new");
  CHECK(mode_of(path) == 0600);
  CHECK(names_in(directory.path()) == std::vector<std::string>{"f"});
}

TEST_CASE("a leftover of an interrupted write does not prevent the next one") {
  temporary_directory directory;
  directory.file("f.new", "half");
  REQUIRE_FALSE(write_durably(directory.path() + "/f", "whole", ours()));
  CHECK(content(directory.path() + "/f") == "whole");
}

TEST_CASE("a link in place of the new file is not followed") {
  temporary_directory directory;
  auto target = directory.file("target", "untouched");
  fs::create_symlink(target, directory.path() + "/f.new");
  REQUIRE_FALSE(write_durably(directory.path() + "/f", "text", ours()));
  CHECK(content(target) == "untouched");
}

TEST_CASE("a file that cannot be written is an error that names it") {
  auto error = write_durably("/nonexistent/f", "", ours());
  REQUIRE(error);
  CHECK(error->find("/nonexistent/f") != std::string::npos);
}

TEST_CASE("a missing file is no error, an unreadable one is") {
  temporary_directory directory;
  auto missing = read_file(directory.path() + "/f");
  REQUIRE(missing.ok());
  CHECK_FALSE(missing->has_value());
  CHECK_FALSE(read_file(directory.path()).ok());
}

TEST_CASE("a directory on the way that a user cannot pass through is found") {
  temporary_directory directory;
  fs::create_directories(directory.path() + "/a/b");
  constexpr uid_t stranger = 54321;
  ::chmod(directory.path().c_str(), 0755);
  ::chmod((directory.path() + "/a").c_str(), 0700);
  CHECK(first_closed(directory.path() + "/a/b", stranger, {}) == directory.path() + "/a");
  CHECK_FALSE(first_closed(directory.path() + "/a/b", geteuid(), {}));
  ::chmod((directory.path() + "/a").c_str(), 0710);
  CHECK_FALSE(first_closed(directory.path() + "/a/b", stranger, {getegid()}));
}

TEST_CASE("a special file or one that is too long is refused at once") {
  temporary_directory directory;
  auto path = directory.file("f", "0123456789");
  CHECK(read_file(path, 10).ok());
  CHECK(read_file(path, 9).error() == path + " has more than 9 bytes");
  auto link = directory.path() + "/link";
  fs::create_symlink(path, link);
  CHECK_FALSE(read_file(link).ok());
  auto pipe = directory.path() + "/pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(read_file(pipe).error() == pipe + " is no plain file");
  CHECK_FALSE(read_file(directory.path()).ok());
  auto missing = read_file(directory.path() + "/missing");
  REQUIRE(missing.ok());
  CHECK_FALSE(*missing);
}

TEST_CASE("a log above its bound moves aside and its writer goes on") {
  temporary_directory directory;
  auto path = directory.file("log", "0123456789");
  std::ofstream writer{path, std::ios::app};
  bound_log(path, 10);
  CHECK(content(path) == "0123456789");
  writer << "x" << std::flush;
  bound_log(path, 10);
  CHECK(content(path).empty());
  CHECK(content(path + ".1") == "123456789x");
  writer << "y" << std::flush;
  CHECK(content(path) == "y");
}

TEST_CASE("a link in place of a log is not followed") {
  temporary_directory directory;
  auto other = directory.file("other", "0123456789");
  auto path = directory.path() + "/log";
  fs::create_symlink(other, path);
  bound_log(path, 5);
  CHECK(content(other) == "0123456789");
  fs::remove(path);
  directory.file("log", "abcdefghij");
  fs::create_symlink(other, path + ".1");
  bound_log(path, 5);
  CHECK(content(path).empty());
  CHECK(content(path + ".1") == "fghij");
  CHECK(content(other) == "0123456789");
}

TEST_CASE("the remover removes a directory and calls back") {
  temporary_directory directory;
  auto doomed = directory.path() + "/doomed";
  fs::create_directories(doomed + "/a/b");
  std::mutex mutex;
  std::condition_variable called;
  bool done = false;
  remover removing;
  removing.remove(doomed, [&](const std::optional<std::string>& error) {
    std::lock_guard guard{mutex};
    CHECK_FALSE(error);
    done = true;
    called.notify_all();
  });
  std::unique_lock lock{mutex};
  REQUIRE(called.wait_for(lock, std::chrono::seconds{30}, [&] { return done; }));
  CHECK_FALSE(fs::exists(doomed));
}

} // namespace matriarch::base
