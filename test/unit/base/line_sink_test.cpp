#include "base/line_sink.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace matriarch::base;
using namespace std::chrono_literals;

namespace {

constexpr auto patience = 30s;

std::string left_out(std::uint64_t count) {
  return "left out " + std::to_string(count);
}

struct directory {
  std::filesystem::path path;
  directory() {
    auto pattern = (std::filesystem::temp_directory_path() / "matriarch-lines-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~directory() { std::filesystem::remove_all(path); }
};

std::string content(const std::filesystem::path& of) {
  std::ifstream in{of};
  return {std::istreambuf_iterator<char>{in}, {}};
}

/// Reads a pipe until this line has come.
std::string read_until(int descriptor, const std::string& last) {
  std::string all;
  char byte = 0;
  while (!all.ends_with(last + "\n") && ::read(descriptor, &byte, 1) == 1)
    all += byte;
  return all;
}

} // namespace

TEST_CASE("lines are appended to a file, in their order, with the mode it was made with") {
  directory here;
  auto file = here.path / "trail";
  for (int i = 0; i < 2; ++i) {
    auto sink = line_sink::open(file, 0640, {left_out});
    REQUIRE(sink.ok());
    for (int line = 0; line < 3; ++line)
      (*sink)->post(std::to_string(line));
    CHECK((*sink)->drain(patience));
  }
  CHECK(content(file) == "0\n1\n2\n0\n1\n2\n");
  struct stat made {};
  REQUIRE(::stat(file.c_str(), &made) == 0);
  CHECK((made.st_mode & 0137) == 0);
}

TEST_CASE("a file that cannot be opened is an error at once") {
  directory here;
  CHECK(line_sink::open(here.path / "none" / "trail", 0640, {left_out})
            .error()
            .ends_with("No such file or directory"));
  CHECK(line_sink::open(here.path, 0640, {left_out}).error().ends_with("Is a directory"));
}

TEST_CASE("a blocked sink delays no caller, and tells where how many lines are missing") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  int complaints = 0;
  line_sink::settings how{left_out};
  how.complain = [&](const std::string&) { ++complaints; };
  how.most_bytes = 64 * 1024;
  std::size_t full = 0; // the pipe is full from the start
  ::fcntl(ends[1], F_SETFL, O_NONBLOCK);
  while (::write(ends[1], "-", 1) == 1)
    ++full;
  ::fcntl(ends[1], F_SETFL, 0);
  line_sink sink{ends[1], how};
  const std::string line(1'000, 'x');
  constexpr int posted = 1'000;
  for (int i = 0; i < posted; ++i)
    sink.post(line);
  CHECK_FALSE(sink.drain(0ms));
  CHECK(complaints == 1);
  // Each line is either there or counted at its place.
  std::string all(full, '\0');
  for (std::size_t got = 0; got < full;)
    got += static_cast<std::size_t>(::read(ends[0], all.data() + got, full - got));
  int written = 0;
  int missing = 0;
  for (std::string next; written + missing < posted; next.clear()) {
    char byte = 0;
    while (byte != '\n' && ::read(ends[0], &byte, 1) == 1)
      next += byte;
    if (next.starts_with("left out "))
      missing += std::atoi(next.c_str() + 9);
    else
      written += next == line + "\n" ? 1 : 0;
  }
  CHECK(written + missing == posted);
  CHECK(missing > 0);
  CHECK(written > 0);
  CHECK(sink.drain(patience));
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("a FIFO without a reader delays no caller, and is written once it has one") {
  directory here;
  auto fifo = here.path / "fifo";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  auto sink = line_sink::open(fifo, 0640, {left_out});
  REQUIRE(sink.ok());
  (*sink)->post("one");
  CHECK_FALSE((*sink)->drain(0ms));
  int reader = ::open(fifo.c_str(), O_RDONLY | O_CLOEXEC);
  CHECK(read_until(reader, "one") == "one\n");
  ::close(reader);
  // The next reader gets later lines; lines between two readers are lost and counted.
  ::signal(SIGPIPE, SIG_IGN);
  std::string all;
  while (all.find("two\n") == std::string::npos) {
    reader = ::open(fifo.c_str(), O_RDONLY | O_CLOEXEC);
    (*sink)->post("two");
    all += read_until(reader, "two");
    ::close(reader);
  }
}

TEST_CASE("a file that accepts nothing is tried again, and lost lines are counted") {
  std::string why;
  line_sink::settings how{left_out};
  how.complain = [&](const std::string& said) { why = said; };
  auto sink = line_sink::open("/dev/full", 0640, how);
  REQUIRE(sink.ok());
  (*sink)->post("one");
  CHECK_FALSE((*sink)->drain(200ms));
  CHECK(why == "No space left on device");
}

TEST_CASE("a sink's destructor waits only a moment") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  ::fcntl(ends[1], F_SETFL, O_NONBLOCK);
  while (::write(ends[1], "-", 1) == 1) {
  }
  ::fcntl(ends[1], F_SETFL, 0);
  {
    line_sink sink{ends[1], {left_out}};
    sink.post("never");
  }
  // The sink's abandoned thread ends when the pipe is closed.
  ::signal(SIGPIPE, SIG_IGN);
  ::close(ends[0]);
  ::close(ends[1]);
}
