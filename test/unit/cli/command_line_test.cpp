#include <doctest/doctest.h>

#include <cstdlib>
#include <sstream>

#include "../../texts.hpp"
#include "cli/command_line.hpp"

namespace {

struct attempt {
  int code = 0;
  std::string out;
  std::string err;
};

attempt run(const std::vector<std::string>& arguments) {
  std::ostringstream out;
  std::ostringstream err;
  const auto code = matriarch::cli::run(arguments, out, err);
  return {code, out.str(), err.str()};
}

using matriarch::test::contains;

} // namespace

TEST_CASE("help lists every command and exits with 0") {
  const auto help = run({"--help"});
  CHECK(help.code == 0);
  CHECK(help.err.empty());
  for (const auto* name :
       {"broker", "cell", "router", "service-status", "show-cells", "show-routers", "reencrypt",
        "forget-cell", "orphans", "remove-orphan", "BROKER_URI", "Exit codes"})
    CHECK(contains(help.out, name));
  const auto one = run({"show-cells", "--help"});
  CHECK(one.code == 0);
  CHECK(contains(one.out, "--json"));
}

TEST_CASE("the version is printed") {
  const auto version = run({"--version"});
  CHECK(version.code == 0);
  CHECK(version.out.starts_with("matriarch "));
}

TEST_CASE("a wrong command line is one line, a hint, and exit code 2") {
  const auto misspelt = run({"show-cell"});
  CHECK(misspelt.code == 2);
  CHECK(misspelt.out.empty());
  CHECK(misspelt.err
        == "matriarch: there is no command \"show-cell\"; did you mean \"show-cells\"?\n"
           "Usage: see matriarch --help\n");
  const auto option = run({"show-cells", "--jsn"});
  CHECK(option.code == 2);
  CHECK(contains(option.err, "--jsn"));
  CHECK(contains(option.err, "Usage: see matriarch show-cells --help\n"));
  CHECK(run({}).code == 2);
  CHECK(run({"--nonsense"}).code == 2);
  CHECK(run({"service-status", "a", "b"}).code == 2);
}

TEST_CASE("a command takes just the arguments of its row, and says which one is missing") {
  CHECK(contains(run({"forget-cell"}).err, "matriarch: cell is required"));
  CHECK(contains(run({"remove-orphan", "c1"}).err, "matriarch: node is required"));
  for (const auto& command : std::vector<std::vector<std::string>>{{"show-cells", "a"},
                                                                   {"show-routers", "a"},
                                                                   {"service-status", "a", "b"},
                                                                   {"reencrypt", "a"},
                                                                   {"orphans", "a"},
                                                                   {"forget-cell", "a", "b"},
                                                                   {"remove-orphan", "a", "b", "c"},
                                                                   {"forget-cell"},
                                                                   {"remove-orphan", "a"}})
    CHECK(run(command).code == 2);
}

TEST_CASE("a server needs a configuration, and a bad one is exit code 2") {
  ::unsetenv("PATRONI_BROKER_CONFIG");
  for (const auto* name : {"broker", "cell", "router"}) {
    const auto without = run({name});
    CHECK(without.code == 2);
    CHECK(contains(without.err, "--config"));
    CHECK(run({name, "--config", "/nonexistent.yml", "--log-level", "off"}).code == 2);
    CHECK(run({name, "--config", "/nonexistent.yml", "--log-level", "loud"}).code == 2);
  }
  ::setenv("PATRONI_BROKER_CONFIG", "/nonexistent.yml", 1);
  const auto by_variable = run({"broker"});
  ::unsetenv("PATRONI_BROKER_CONFIG");
  CHECK(by_variable.code == 2);
  CHECK_FALSE(contains(by_variable.err, "--config"));
}

TEST_CASE("the operator's commands need BROKER_URI") {
  ::unsetenv("BROKER_URI");
  for (const auto& command : std::vector<std::vector<std::string>>{{"show-cells"},
                                                                   {"show-routers"},
                                                                   {"service-status"},
                                                                   {"reencrypt"},
                                                                   {"orphans"},
                                                                   {"forget-cell", "c1"},
                                                                   {"remove-orphan", "c1", "n1"}}) {
    const auto without = run(command);
    CHECK(without.code == 2);
    CHECK(without.out.empty());
    CHECK(without.err.starts_with("matriarch: BROKER_URI is not set"));
  }
}

TEST_CASE("a missing file of authorities is named, wherever it was set") {
  ::setenv("BROKER_URI", "https://user:s3cret@127.0.0.1:1", 1);
  const auto by_option = run({"show-cells", "--ca-file", "/nonexistent.pem"});
  ::setenv("BROKER_CA_FILE", "/nonexistent.pem", 1);
  const auto by_variable = run({"show-cells"});
  ::unsetenv("BROKER_CA_FILE");
  ::unsetenv("BROKER_URI");
  for (const auto& refused : {by_option, by_variable}) {
    CHECK(refused.code == 2);
    CHECK(contains(refused.err, "/nonexistent.pem"));
  }
}

TEST_CASE("a broker that cannot be reached is exit code 1, and the password stays secret") {
  // Port 1 on loopback: nothing listens there, and no test program could.
  ::setenv("BROKER_URI", "http://user:s3cret@127.0.0.1:1", 1);
  const auto refused = run({"show-cells"});
  ::unsetenv("BROKER_URI");
  CHECK(refused.code == 1);
  CHECK(refused.out.empty());
  CHECK(refused.err.starts_with("matriarch: the broker at http://127.0.0.1:1 cannot be reached: "));
  CHECK_FALSE(contains(refused.err, "s3cret"));
}
