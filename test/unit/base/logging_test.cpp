#include "base/logging.hpp"

#include <doctest/doctest.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <regex>
#include <stdexcept>
#include <string>
#include <thread>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace matriarch::base;

namespace {

/// What a process that runs this prints on stderr.
std::string said_by(void (*what)()) {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  auto child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    ::signal(SIGABRT, SIG_DFL);
    what();
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string all;
  char byte = 0;
  while (::read(ends[0], &byte, 1) == 1)
    all += byte;
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  return all;
}

} // namespace

TEST_CASE("a line of the log is the time in UTC, the level and the text") {
  auto said = said_by([] {
    set_up_logging("info");
    spdlog::warn("a {}", "word");
    spdlog::debug("not this");
    flush_log();
  });
  CHECK(std::regex_match(said,
                         std::regex{R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z warning a word\n)"}));
}

TEST_CASE("a quoted text in a log line cannot begin another line") {
  auto said = said_by([] {
    set_up_logging("info");
    spdlog::info("told: {}", "a\n2026-01-01T00:00:00.000Z info forged\x1b[2J");
    flush_log();
  });
  CHECK(said.ends_with("told: a 2026-01-01T00:00:00.000Z info forged [2J\n"));
  CHECK(std::ranges::count(said, '\n') == 1);
}

TEST_CASE("a very long text is shortened in the log") {
  auto said = said_by([] {
    set_up_logging("info");
    spdlog::info("told: {}", std::string(1'000'000, 'x'));
    spdlog::info("the next one");
    flush_log();
  });
  CHECK(said.size() < 10'000);
  CHECK(said.find("xxx…\n") != std::string::npos);
  CHECK(said.ends_with(" info the next one\n"));
}

TEST_CASE("the reason why a server does not start comes after its log lines") {
  auto said = said_by([] {
    set_up_logging("info");
    spdlog::warn("a word");
    (void)refuse("broker", "its port is taken", 1);
  });
  CHECK(said.ends_with(" warning a word\nmatriarch broker: its port is taken\n"));
}

TEST_CASE("a server that does not start also ends if nobody reads stderr") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  ::fcntl(ends[1], F_SETFL, O_NONBLOCK);
  while (::write(ends[1], "x", 1) == 1)
    continue;
  ::fcntl(ends[1], F_SETFL, 0);
  constexpr int wrong_configuration = 2;
  constexpr unsigned patience = 60;
  auto child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    ::alarm(patience);
    set_up_logging("info");
    ::_exit(refuse("broker", "its port is taken", wrong_configuration));
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == wrong_configuration);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("an uncaught exception is logged before the process ends") {
  auto said = said_by([] {
    set_up_logging("info");
    std::thread{[] { throw std::runtime_error{"the reason"}; }}.join();
  });
  CHECK(said.find(" critical the process ends by an exception: the reason\n") != std::string::npos);
}
