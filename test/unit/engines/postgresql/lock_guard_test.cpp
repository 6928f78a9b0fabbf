#include "engines/postgresql/cell/lock_guard.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "../../temporary_directory.hpp"

using namespace matriarch;
using namespace matriarch::engines::postgresql;
using namespace matriarch::test;

namespace {

namespace fs = std::filesystem;

std::string content(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream{path}.rdbuf();
  return text.str();
}

/// A copy of this machine's Patroni that can be changed.
class patroni {
public:
  patroni() {
    fs::create_directories(directory_.path() + "/guard");
    std::ofstream{directory_.path() + "/guard/sitecustomize.py"} << lock_guard_text();
    auto where = directory_.path() + "/where";
    REQUIRE(
        std::system(("/usr/bin/python3 -c 'import patroni; print(patroni.__path__[0], end=\"\")' > "
                     + where)
                        .c_str())
        == 0);
    fs::create_directories(directory_.path() + "/other");
    fs::copy(content(where), directory_.path() + "/other/patroni", fs::copy_options::recursive);
    text_ = content(module());
    REQUIRE_FALSE(text_.empty());
  }

  /// Replaces some code, which has to exist.
  patroni& change(const std::string& from, const std::string& to) {
    auto at = text_.find(from);
    REQUIRE_MESSAGE(at != std::string::npos, from);
    for (; at != std::string::npos; at = text_.find(from, at + to.size()))
      text_.replace(at, from.size(), to);
    std::ofstream{module()} << text_;
    return *this;
  }

  /// The exit code of a program that runs with the guard; `words` gets its output.
  int run(const std::string& program, bool checks = true) {
    auto command = fmt::format("env -i PATH=/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 "
                               "PYTHONPATH={0}/guard:{0}/other {1} {2} "
                               "> {0}/words 2>&1",
                               directory_.path(),
                               checks ? fmt::format("{}=1", lock_guard_check) : "", program);
    int status = std::system(command.c_str());
    words = content(directory_.path() + "/words");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  std::string words;

private:
  [[nodiscard]] std::string module() const {
    return directory_.path() + "/other/patroni/dcs/etcd3.py";
  }

  temporary_directory directory_;
  std::string text_;
};

constexpr const char* program = "/usr/bin/patroni --version";

// Later versions renew the leader key with a compare of their own.
constexpr const char* compares_itself = R"(
                fields = {'key': base64_encode(self.leader_path), 'value': base64_encode(self._name),
                          'lease': self._lease}
                request_put = {'request_put': fields}
                first = {'key': fields['key'], 'target': 'VALUE', 'value': fields['value']}
                second = {'key': fields['key'], 'target': 'CREATE', 'create_revision': '0'}
                ret = self._client.call_rpc('/kv/txn', {
                    'compare': [first], 'success': [request_put],
                    'failure': [{'request_txn': {'compare': [second], 'success': [request_put]}}]})
                return ret.get('succeeded', False) \
                    or ret.get('responses', [{}])[0].get('response_txn', {}).get('succeeded', False)
                try:)";

constexpr const char* puts_its_key =
    "self._run_and_handle_exceptions(self._client.put, self.leader_path,\n"
    "                                                    self._name, self._lease, retry=_retry)";

} // namespace

TEST_CASE("the guard knows this machine's Patroni") {
  patroni known;
  CHECK(known.run(program) == lock_guard_holds);
  CHECK(known.words.empty());
  CHECK(known.run(program, false) == 0);
}

TEST_CASE("a Patroni that compares the leader key itself needs no guard") {
  patroni later;
  later.change("                try:\n                    " + std::string{puts_its_key},
               std::string{compares_itself}.substr(1) + "\n                    "
                   + std::string{puts_its_key});
  // The code that the guard needs is missing too.
  later.change("_handle_auth_errors", "_handle_errors");
  CHECK(later.run(program) == lock_guard_holds);
  CHECK(later.words == "");
}

TEST_CASE("a Patroni that the guard does not know or cannot guard is not started") {
  struct difference {
    std::string name;
    std::string from;
    std::string to;
  };
  for (const auto& [name, from, to] :
       {difference{"a client of another name", "PatroniEtcd3Client", "Client"},
        {"no such decorator", "_handle_auth_errors", "_handle_errors"},
        {"another name for a put", "def put(self, key,", "def write(self, key,"},
        {"other arguments of a put", "lease=None, create_revision=None",
         "lease_id=None, create_revision=None"},
        {"a key that is put past the client's put", puts_its_key,
         "self._client.call_rpc('/kv/put', {'key': base64_encode(self.leader_path),\n"
         "                        'value': base64_encode(self._name), 'lease': self._lease})"},
        {"an election past the client's put",
         "_retry(self._client.put, self.leader_path, self._name, self._lease, 0)",
         "self._client.call_rpc('/kv/put', {'key': base64_encode(self.leader_path),\n"
         "                                  'value': base64_encode(self._name)})"},
        {"a renewal of another name", "def _update_leader(", "def _renew_leader("},
        {"a renewal that never comes to pass", puts_its_key, "pass"},
        {"a transaction that is not sent", "'compare': [compare], 'success'",
         "'compare': [], 'success'"},
        {"no such class", "class Etcd3(AbstractEtcd)", "class Etcd4(AbstractEtcd)"},
        {"a module that cannot be read", "import", "imp0rt"}}) {
    CAPTURE(name);
    patroni other;
    other.change(from, to);
    CHECK(other.run(program) == lock_guard_refused);
    CHECK(other.words.find("could be kept from taking the leader's key") != std::string::npos);
    // Also when a node's Patroni loads that code, not only in the check.
    if (name != "a module that cannot be read")
      CHECK(other.run("/usr/bin/python3 -c 'import patroni.dcs.etcd3'", false)
            == lock_guard_refused);
  }
}

TEST_CASE("a program that runs without the guard is recognised") {
  patroni known;
  CHECK(known.run("/usr/bin/python3 -I /usr/bin/patroni --version") == 0);
}
