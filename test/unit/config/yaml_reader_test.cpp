#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include <unistd.h>

#include "config/yaml_reader.hpp"

using matriarch::config::config_error;
using matriarch::config::nearest;
using matriarch::config::section;

namespace {

section parse(const std::string& text) {
  return section::parse_text("f.yml", text);
}

std::string error_of(const std::function<void()>& what) {
  try {
    what();
  } catch (const config_error& error) {
    return error.message;
  }
  return "no error";
}

std::string parse_error(const std::string& text) {
  return error_of([&] { (void)parse(text); });
}

} // namespace

TEST_CASE("values are read by their kind") {
  const auto top = parse("name: a\nport: 3000\nstrict: true\ntags: [x, y]\nrest: 7d\n"
                         "broker:\n  host: h\ncells:\n- guid: c1\n- guid: c2\n");
  CHECK(top.text("name") == "a");
  CHECK(top.number("port", 1, 65535) == 3000);
  CHECK(top.flag("strict"));
  CHECK(top.texts("tags") == std::vector<std::string>{"x", "y"});
  CHECK(top.milliseconds("rest") == 7LL * 24 * 3600 * 1000);
  CHECK(top.child("broker").text("host") == "h");
  REQUIRE(top.children("cells").size() == 2);
  CHECK(top.children("cells")[1].text("guid") == "c2");
  CHECK(top.has("name"));
  CHECK_FALSE(top.has("nothing"));
  CHECK(top.names().front() == "name");
}

TEST_CASE("a missing value takes its default") {
  const auto top = parse("a: 1\n");
  CHECK(top.text("t", "x") == "x");
  CHECK(top.number("n", 1, 2, 2) == 2);
  CHECK(top.flag("f", false) == false);
  CHECK(top.milliseconds("m", 5) == 5);
  CHECK(top.texts("l").empty());
  CHECK(top.children("c").empty());
  CHECK(top.child_or_empty("s").names().empty());
}

TEST_CASE("a key without a value counts as missing") {
  const auto top = parse("a: 1\nrouting:\nport: ~\n");
  CHECK(top.child_or_empty("routing").number("first", 1, 9, 3) == 3);
  CHECK(error_of([&] { (void)top.number("port", 1, 9); })
        == "f.yml:3: port is missing; it must be an integer from 1 to 9");
}

TEST_CASE("every unit of a duration is understood, and nothing else") {
  const auto top =
      parse("a: 250ms\nb: 10s\nc: 5m\nd: 2h\ne: 10\nf: -1s\ng: 9223372036854775807d\nh: s\n");
  CHECK(top.milliseconds("a") == 250);
  CHECK(top.milliseconds("b") == 10'000);
  CHECK(top.milliseconds("c") == 300'000);
  CHECK(top.milliseconds("d") == 7'200'000);
  CHECK(error_of([&] { (void)top.milliseconds("e"); })
        == "f.yml:5: e must be a duration such as 250ms, 10s, 5m, 2h or 7d, found \"10\"");
  for (const auto* name : {"f", "g", "h"})
    CHECK(error_of([&] { (void)top.milliseconds(name); }).find("must be a duration")
          != std::string::npos);
}

TEST_CASE("an unknown key names its line, the nearest key and the allowed ones") {
  const auto broker = parse("broker:\n  port: 1\n  usrname: x\n").child("broker");
  CHECK(error_of([&] {
          broker.allow({"port", "username", "password"});
        })
        == "f.yml:3: unknown key \"usrname\" in broker; did you mean \"username\"? Allowed: port, "
           "username, password");
  CHECK(error_of([&] {
          broker.allow({"port", "strict"});
        })
        == "f.yml:3: unknown key \"usrname\" in broker; Allowed: port, strict");
  CHECK(error_of([&] { broker.allow({"port", "usrname"}); }) == "no error");
}

TEST_CASE("the nearest word is within a typing error") {
  const std::vector<std::string> words{"username", "password", "port"};
  CHECK(nearest("usrename", words) == "username");
  CHECK(nearest("prot", words) == "port");
  CHECK_FALSE(nearest("backups", words));
  CHECK_FALSE(nearest("x", {}));
}

TEST_CASE("a value of the wrong kind says what was found and what is allowed") {
  const auto top =
      parse("broker:\n  port: abc\n  big: 70000\n  strict: yes\n  host: [a]\n  tags: x\n"
            "  list: [a, {b: c}]\ncells: {}\nitems:\n- 3\n");
  const auto broker = top.child("broker");
  CHECK(error_of([&] { (void)broker.number("port", 1, 65535); })
        == "f.yml:2: broker.port must be an integer from 1 to 65535, found \"abc\"");
  CHECK(error_of([&] { (void)broker.number("big", 1, 65535); })
        == "f.yml:3: broker.big must be an integer from 1 to 65535, found \"70000\"");
  CHECK(error_of([&] { (void)broker.flag("strict"); })
        == "f.yml:4: broker.strict must be true or false, found \"yes\"");
  CHECK(error_of([&] { (void)broker.text("host"); })
        == "f.yml:5: broker.host must be a text, found a list");
  CHECK(error_of([&] { (void)broker.texts("tags"); })
        == "f.yml:6: broker.tags must be a list of texts, found \"x\"");
  CHECK(error_of([&] { (void)broker.texts("list"); })
        == "f.yml:7: broker.list[1] must be a text that is not empty, found a mapping");
  CHECK(error_of([&] { (void)top.children("cells"); })
        == "f.yml:8: cells must be a list, found a mapping");
  CHECK(error_of([&] { (void)top.children("items"); })
        == "f.yml:10: items[0] must be a mapping, found a text");
  CHECK(error_of([&] { (void)broker.child("host"); })
        == "f.yml:5: broker.host must be a mapping, found a list");
}

TEST_CASE("a missing value names the mapping's line") {
  const auto top = parse("a: 1\nbroker:\n  port: 1\n");
  CHECK(error_of([&] { (void)top.child("broker").text("username"); })
        == "f.yml:2: broker.username is missing; it must be a text");
  CHECK(error_of([&] { (void)top.child("etcd"); })
        == "f.yml:1: etcd is missing; it must be a mapping");
}

TEST_CASE("the same key twice in a mapping is an error") {
  CHECK(parse_error("a: 1\nbroker:\n  port: 1\n  host: x\n  port: 2\n")
        == "f.yml:5: key \"port\" appears twice in broker; the first is on line 3");
}

TEST_CASE("an environment variable takes the place of its name") {
  ::setenv("MATRIARCH_TEST_WORD", "se: cret", 1);
  ::setenv("MATRIARCH_TEST_PORT", "3000", 1);
  ::setenv("MATRIARCH_TEST_LITERAL", "${X}", 1);
  ::setenv("MATRIARCH_TEST_EMPTY", "", 1);
  ::unsetenv("MATRIARCH_TEST_UNSET");
  const auto top =
      parse("a: x${MATRIARCH_TEST_WORD}y\nb: ${MATRIARCH_TEST_PORT}\nc: $${HOME}\nd: a$b\n"
            "e: &e ${MATRIARCH_TEST_LITERAL}\nf: *e\nl: ['${MATRIARCH_TEST_PORT}']\n"
            "g: ${MATRIARCH_TEST_EMPTY}\n");
  CHECK(top.text("a") == "xse: crety");
  CHECK(top.number("b", 1, 65535) == 3000);
  CHECK(top.text("c") == "${HOME}");
  CHECK(top.text("d") == "a$b");
  CHECK(top.text("e") == "${X}");
  CHECK(top.text("f") == "${X}");
  CHECK(top.texts("l").front() == "3000");
  CHECK(error_of([&] { (void)top.text("g"); }) == "f.yml:8: g must not be empty");
  CHECK(parse_error("broker:\n  password: ${MATRIARCH_TEST_UNSET}\n")
        == "f.yml:2: broker.password needs the environment variable MATRIARCH_TEST_UNSET, which is "
           "not set");
  CHECK(parse_error("a: 'x${1-2}'\n").starts_with("f.yml:1: a has a \"${\""));
  CHECK(parse_error("a: 'x${'\n").starts_with("f.yml:1: a has a \"${\""));
}

TEST_CASE("a text that is no configuration is refused in one line") {
  CHECK(parse_error("") == "f.yml:1: the configuration is empty");
  CHECK(parse_error("# nothing\n") == "f.yml:1: the configuration is empty");
  CHECK(parse_error("- a\n")
        == "f.yml:1: a configuration is a mapping of keys to values, found a list");
  CHECK(parse_error("a: 1\n---\nb: 2\n").starts_with("f.yml:2: a second YAML document"));
  CHECK(parse_error("a: 1\nb: [1, 2\nc: 3\n").find(": not valid YAML: ") != std::string::npos);
  CHECK(parse_error("a: 1\n\tb: 2\n").starts_with("f.yml:2: not valid YAML: "));
  CHECK(parse_error("a: &x\n  b: *x\n").find("refers to itself") != std::string::npos);
  CHECK(parse_error("a: *nobody\n").starts_with("f.yml:1: not valid YAML: "));
  CHECK(parse_error("[a]: b\n").find("a key must be a word") != std::string::npos);
  // yaml-cpp never stops finding documents in this text.
  CHECK(parse_error(",evaba").starts_with("f.yml:1: "));
  // yaml-cpp's message repeats the faulty text.
  for (const std::string text : {"a: \"\\\x01\"\n", "a: \"\\\xff\"\n", "a: \"\\\x7f\"\n"}) {
    auto error = parse_error(text);
    CAPTURE(error);
    CHECK(error.starts_with("f.yml:1: not valid YAML: "));
    CHECK(error.ends_with("?"));
  }
}

TEST_CASE("a file that cannot be read is an error with its path") {
  CHECK(error_of([] { (void)section::parse_file("/nonexistent/x.yml"); })
        == "/nonexistent/x.yml:1: the configuration cannot be read: No such file or directory");
  CHECK(error_of([] {
          (void)section::parse_file("/");
        }).starts_with("/:1: the configuration cannot be read: "));
}

TEST_CASE("a file is read whole") {
  const auto path = std::filesystem::temp_directory_path()
                    / ("matriarch-yaml-" + std::to_string(::getpid()) + ".yml");
  std::ofstream(path) << "a: 1\n\n\nb: x\n";
  const auto top = section::parse_file(path.string());
  CHECK(top.text("b") == "x");
  CHECK(error_of([&] { top.refuse("b", "why"); }) == path.string() + ":4: why");
  CHECK(error_of([&] { top.refuse("why"); }) == path.string() + ":1: why");
  std::ofstream(path, std::ios::trunc).close();
  CHECK(error_of([&] { (void)section::parse_file(path.string()); })
        == path.string() + ":1: the configuration is empty");
  std::filesystem::remove(path);
}

namespace {

/// A file that the destructor removes.
class scratch_file {
public:
  explicit scratch_file(const std::string& text,
                        std::filesystem::perms mode = std::filesystem::perms::owner_read)
      : path_(std::filesystem::temp_directory_path()
              / ("matriarch-secret-" + std::to_string(::getpid()))) {
    std::ofstream(path_) << text;
    std::filesystem::permissions(path_, mode);
  }
  ~scratch_file() { std::filesystem::remove(path_); }
  scratch_file(const scratch_file&) = delete;
  scratch_file& operator=(const scratch_file&) = delete;
  [[nodiscard]] std::string path() const { return path_.string(); }

private:
  std::filesystem::path path_;
};

} // namespace

TEST_CASE("a secret is a value, or the first line of a file") {
  const scratch_file file("first line \r\nsecond\n");
  const auto top = parse("password: p\ntoken_file: " + file.path() + "\n");
  CHECK(top.secret("password") == "p");
  CHECK(top.secret("token") == "first line ");
  CHECK(top.warnings().empty());
}

TEST_CASE("a secret that is missing, doubled or unreadable is refused without showing it") {
  const scratch_file empty("\nhunter2\n");
  const auto top = parse("broker:\n  a: 1\n  password: hunter2\n  password_file: /nonexistent\n"
                         "  token_file: /nonexistent\n  dir_file: /\n  list: [hunter2]\n"
                         "  empty_file: "
                         + empty.path() + "\n")
                       .child("broker");
  const auto error = [&](std::string_view name) {
    auto text = error_of([&] { (void)top.secret(name); });
    CHECK(text.find("hunter2") == std::string::npos);
    return text;
  };
  CHECK(error("nothing")
        == "f.yml:1: broker.nothing is missing; it must be a text, or nothing_file must name a "
           "file whose first line it is");
  CHECK(error("password")
        == "f.yml:4: broker.password and password_file are both there; keep one of them");
  CHECK(error("token")
        == "f.yml:5: broker.token_file: the file /nonexistent cannot be read: No such file or "
           "directory");
  CHECK(error("dir") == "f.yml:6: broker.dir_file must name a file; / is a directory");
  CHECK(error("list") == "f.yml:7: broker.list must be a text, found a list");
  CHECK(error("empty").starts_with("f.yml:8: broker.empty_file names a file whose first line is "
                                   "empty"));
}

TEST_CASE("a value where a mapping should be may be a secret, and is not shown") {
  const auto top = parse("users: hunter2\nadmin: hunter2\nlist: [hunter2]\n");
  CHECK(error_of([&] { (void)top.children("users"); })
        == "f.yml:1: users must be a list, found a text");
  CHECK(error_of([&] { (void)top.child("admin"); })
        == "f.yml:2: admin must be a mapping, found a text");
  CHECK(error_of([&] { (void)top.children("list"); })
        == "f.yml:3: list[0] must be a mapping, found a text");
}

TEST_CASE("a warning is given if everybody can read a secret's file") {
  using std::filesystem::perms;
  const scratch_file file("s\n", perms::owner_read | perms::others_read);
  const auto top = parse("etcd:\n  password_file: " + file.path() + "\n");
  CHECK(top.child("etcd").secret("password") == "s");
  CHECK(top.warnings()
        == std::vector<std::string>{"f.yml:2: etcd.password_file: every user of this machine can "
                                    "read "
                                    + file.path() + "; chmod 0600 keeps it to its owner"});
}

TEST_CASE("an error names a tab in the indentation") {
  CHECK(parse_error("a:\n\tb: 1\n")
        == "f.yml:2: not valid YAML: the line begins with a tab; YAML indents by spaces");
  CHECK(parse_error("a:\n  b: [\n").find("tab") == std::string::npos);
}
