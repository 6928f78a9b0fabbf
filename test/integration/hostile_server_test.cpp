// A server that a tenant controls, and that answers anything, or nothing.
#include <doctest/doctest.h>

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engines/postgresql/actors/binding_roles.hpp"
#include "engines/postgresql/actors/leader_roles.hpp"
#include "engines/postgresql/actors/login_check.hpp"
#include "engines/postgresql/actors/owner_settings.hpp"
#include "engines/postgresql/actors/reader_rights.hpp"
#include "engines/postgresql/actors/rights_upkeep.hpp"
#include "engines/postgresql/actors/role_removal.hpp"
#include "engines/postgresql/actors/session.hpp"
#include "engines/postgresql/actors/session_ends.hpp"
#include "engines/postgresql/model/role_settings.hpp"

using namespace matriarch;
using namespace std::chrono_literals;
using engines::postgresql::session;

namespace {

/// How a pretender behaves.
struct manner {
  std::vector<std::string> row = {}; ///< of its answers: the columns' texts
  int rows = 1;
  bool endless = false;       ///< row after row, even if nothing was asked
  bool floods_logins = false; ///< with a message of a GB, before the login
  bool takes_nothing = false; ///< of what the client sends after its login
  bool wants_to_copy = false; ///< instead of an answer
};

/// Speaks enough of PostgreSQL's protocol to accept every login, and answers each query as it
/// likes. One client at a time.
class pretender {
public:
  explicit pretender(manner how)
      : how_(std::move(how)), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&at), size) != 0
        || ::listen(listener_, 10) != 0
        || ::getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &size) != 0)
      throw std::runtime_error{"cannot listen"};
    port_ = ntohs(at.sin_port);
    std::string described;
    std::string row;
    add(described, static_cast<std::int16_t>(how_.row.size()));
    add(row, static_cast<std::int16_t>(how_.row.size()));
    for (const auto& text : how_.row) {
      described += std::string{"c\0", 2} + std::string(18, '\0');
      add(row, static_cast<std::int32_t>(text.size()));
      row += text;
    }
    described_ = message('T', described);
    row_ = message('D', row);
    thread_ = std::thread{[this] { serve(); }};
  }
  ~pretender() {
    ending_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    {
      std::lock_guard guard{mutex_};
      if (client_ >= 0)
        ::shutdown(client_, SHUT_RDWR);
    }
    thread_.join();
    ::close(listener_);
  }
  pretender(const pretender&) = delete;
  pretender& operator=(const pretender&) = delete;

  [[nodiscard]] std::string url() const {
    return "postgres://127.0.0.1:" + std::to_string(port_) + "/postgres";
  }
  /// The longest query that it got.
  [[nodiscard]] std::size_t longest_question() const { return longest_question_; }
  [[nodiscard]] std::size_t asked() const { return asked_; }

private:
  template <class Integer>
  static void add(std::string& to, Integer number) {
    for (int shift = 8 * (static_cast<int>(sizeof number) - 1); shift >= 0; shift -= 8)
      to += static_cast<char>((static_cast<std::uint64_t>(number) >> shift) & 0xff);
  }
  static std::string message(char kind, const std::string& body) {
    std::string text{kind};
    add(text, static_cast<std::int32_t>(body.size() + 4));
    return text + body;
  }
  static bool send(int to, const std::string& text) {
    return ::send(to, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }
  static std::string receive(int from, std::size_t count) {
    std::string got(count, '\0');
    return ::recv(from, got.data(), count, MSG_WAITALL) == static_cast<ssize_t>(count)
               ? got
               : std::string{};
  }
  static std::size_t length_of(const std::string& four) {
    std::size_t length = 0;
    for (char c : four)
      length = length << 8 | static_cast<unsigned char>(c);
    return length - 4;
  }

  void serve() {
    while (!ending_) {
      int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0)
        return;
      set_client(client);
      talk(client);
      set_client(-1);
      ::close(client);
    }
  }
  void set_client(int client) {
    std::lock_guard guard{mutex_};
    client_ = client;
    if (ending_ && client >= 0)
      ::shutdown(client, SHUT_RDWR);
  }

  void talk(int client) {
    const auto ready = message('Z', "I");
    for (bool let_in = false; !let_in && !ending_;) {
      auto size = receive(client, 4);
      if (size.empty())
        return;
      auto asked = receive(client, length_of(size));
      if (asked.size() == 4) // TLS, or GSSAPI
        send(client, "N");
      else
        let_in = send(client, message('R', std::string(4, '\0'))
                                  + (how_.floods_logins ? std::string{} : ready));
    }
    if (how_.floods_logins) {
      std::string notice{"N"};
      add(notice, std::int32_t{1 << 30});
      return flood(client, notice, std::string(100'000, 'x'));
    }
    if (how_.takes_nothing) {
      if (how_.endless)
        flood(client, described_, row_);
      return await_end(client);
    }
    while (!ending_) {
      auto kind = receive(client, 1);
      auto size = kind.empty() ? kind : receive(client, 4);
      if (size.empty() || kind == "X")
        return;
      auto question = receive(client, length_of(size));
      longest_question_ = std::max(longest_question_.load(), question.size());
      asked_ += question.size();
      if (how_.wants_to_copy) {
        send(client, message('G', std::string(3, '\0')));
        continue;
      }
      if (how_.endless)
        return flood(client, described_, row_);
      if (!send(client, described_))
        return;
      // It does not answer queries that it made up itself.
      const bool its_own =
          !how_.row.empty() && !how_.row.back().empty() && question.starts_with(how_.row.back());
      for (int i = 0; i < (its_own ? 0 : how_.rows); ++i)
        if (!send(client, row_))
          return;
      send(client, message('C', std::string{"SELECT 1\0", 9}) + ready);
    }
  }
  /// Enough to be noticed, but not enough to fill the memory of a client that reads it all.
  void flood(int client, const std::string& first, const std::string& then) const {
    constexpr std::size_t enough = 300'000'000;
    bool taken = send(client, first);
    for (std::size_t sent = 0; taken && sent < enough && !ending_; sent += then.size())
      taken = send(client, then);
  }
  /// A client that waits for this without a limit should fail, and not hang.
  static void await_end(int client) {
    pollfd one{client, POLLRDHUP, 0};
    ::poll(&one, 1, static_cast<int>(20s / 1ms));
  }

  manner how_;
  int listener_;
  int port_ = 0;
  std::string described_;
  std::string row_;
  std::atomic<std::size_t> longest_question_{0};
  std::atomic<std::size_t> asked_{0};
  std::atomic<bool> ending_{false};
  std::mutex mutex_;
  int client_ = -1;
  std::thread thread_;
};

const model::credentials superuser{"postgres", "p"};

engines::postgresql::deadline in(std::chrono::milliseconds time) {
  return std::chrono::steady_clock::now() + time;
}

session must_open(const pretender& server) {
  auto opened = session::open(server.url(), superuser, in(60s));
  REQUIRE_MESSAGE(opened.ok(), opened.error());
  return std::move(*opened);
}

/// Longer than any name, with the words around it.
constexpr std::size_t bounded = 2'000;
/// A text that nobody should have to read.
const std::string much = "line\n" + std::string(1'000'000, 'x');

bool is_short_line(const std::string& words) {
  return !words.empty() && words.size() <= bounded && words.find('\n') == std::string::npos;
}

} // namespace

TEST_CASE("any answer of a server leads to a result in words, and to no exception") {
  for (std::size_t columns : {0, 1, 13})
    for (const std::string text : {"", "t", "99999999999999999999", "-1e9"}) {
      CAPTURE(columns);
      CAPTURE(text);
      pretender server{{.row = std::vector<std::string>(columns, text)}};
      engines::postgresql::known_passwords passwords;
      actors::role_order roles{"i", server.url(), superuser, {"owner", "p"}};
      auto made = engines::postgresql::make_roles(roles, passwords);
      CHECK_FALSE(made.ok);
      CHECK_FALSE(made.why.empty());
      (void)engines::postgresql::keep_rights({"i", server.url(), superuser, "owner", true});
      (void)engines::postgresql::remove_role(
          {"i", server.url(), superuser, {"owner", "p"}, "one", {}});
    }
}

TEST_CASE("a connection to a server that never stops sending is closed") {
  pretender server{{.row = {std::string(10'000, 'x')}, .endless = true}};
  CHECK(must_open(server).run("select 1").error() == "the server has sent more than 64 MB");
}

TEST_CASE("a connection to a server that never stops sending before the login is closed") {
  pretender server{{.floods_logins = true}};
  auto opened = session::open(server.url(), superuser, in(60s));
  REQUIRE_FALSE(opened.ok());
  CHECK(opened.error() == "the server has sent more than 64 MB");
}

TEST_CASE("a connection to a server that always sends more is closed when the time is up") {
  pretender server{{.row = {std::string(10'000, 'x')}, .endless = true}};
  auto on = must_open(server);
  on.until(in(5ms)); // too short to exceed the size limit
  CHECK(on.run("select 1").error() == "PostgreSQL did not answer in time");
  CHECK(on.is_over());
}

TEST_CASE("a connection to a server that reads nothing of a long script ends when the time is up") {
  pretender server{{.row = {"x"}, .takes_nothing = true}};
  auto on = must_open(server);
  on.until(in(100ms));
  CHECK(on.run("select '" + std::string(15'000'000, 'x') + "'").error()
        == "PostgreSQL did not answer in time");
}

TEST_CASE("a connection to a server that reads nothing and never stops sending is closed") {
  pretender server{{.row = {std::string(10'000, 'x')}, .endless = true, .takes_nothing = true}};
  auto on = must_open(server);
  on.until(in(15s)); // the size limit is reached before
  CHECK(on.run("select '" + std::string(15'000'000, 'x') + "'").error()
        == "the server has sent more than 64 MB");
}

TEST_CASE("a script longer than the broker's own is not sent") {
  pretender server{{.row = {"x"}}};
  auto on = must_open(server);
  CHECK(on.run(std::string(engines::postgresql::longest_script + 1, ' ')).error()
        == "a script is longer than 16 MB");
  CHECK(on.run("select 1").ok());
}

TEST_CASE("a connection to a server that starts a copy instead of answering is closed") {
  pretender server{{.wants_to_copy = true}};
  auto on = must_open(server);
  CHECK(on.run("select 1").error() == "the server answered what was not asked for");
  CHECK_FALSE(on.run("select 1").ok());
}

TEST_CASE("a URL with several hosts, or with settings, is not followed") {
  pretender server{{.row = {"x"}}};
  auto port = server.url().substr(server.url().rfind(':'));
  for (const auto& url :
       {"postgres://127.0.0.1,127.0.0.1" + port, "postgres://127.0.0.1:1,127.0.0.1" + port,
        std::string{"host=127.0.0.1"}, std::string{"postgres:///postgres?host=/tmp"},
        server.url() + "?host=192.0.2.1&connect_timeout=0"}) {
    CAPTURE(url);
    CHECK_FALSE(session::open(url, superuser, in(60s)).ok());
  }
  (void)must_open(server);
}

TEST_CASE("invented changes of rights are sent in scripts of bounded length") {
  SUBCASE("however many it says go into one") {
    pretender server{{.row = {"1000000", "a table", std::string(60'000, ' ')}, .rows = 100}};
    auto on = must_open(server);
    CHECK(engines::postgresql::compare_rights(on, "owner", "readers", in(60s)).complete);
    CHECK(server.longest_question() < 1'500'000);
  }
  SUBCASE("even if it says that none go into one") {
    pretender server{{.row = {"-5", "a table", "select 1"}}};
    auto on = must_open(server);
    CHECK(engines::postgresql::compare_rights(on, "owner", "readers", in(60s)).complete);
  }
  SUBCASE("however long one is") {
    pretender server{{.row = {"1", "a table", std::string(100'000, ' ')}}};
    auto on = must_open(server);
    auto came = engines::postgresql::compare_rights(on, "owner", "readers", in(60s));
    CHECK(came.skipped == std::vector<std::string>{"a table"});
    CHECK(server.longest_question() < 100'000);
  }
  SUBCASE("however many there are") {
    pretender server{{.row = {"200", "a table", std::string(1'000, ' ')}, .rows = 6'000}};
    auto on = must_open(server);
    CHECK_FALSE(engines::postgresql::compare_rights(on, "owner", "readers", in(60s)).complete);
    CHECK(server.asked() < 5'500'000);
  }
}

TEST_CASE("settings of a role that are long are not compared, and not sent back") {
  // The role has it from its owner, who no longer has it.
  auto setting = std::string{engines::postgresql::copied_mark} + "=" + much;
  pretender server{{.row = {"f", "1", "2", setting}}};
  auto on = must_open(server);
  CHECK_FALSE(engines::postgresql::copy_settings(on, "owner"));
  CHECK(server.longest_question() < 100'000);
}

TEST_CASE("a role with a name that PostgreSQL cannot have is ignored") {
  auto found_of = [](const std::string& name) {
    pretender server{{.row = {name, "", "t", "1", "", "", "f", "f", "f", "f", "f", "f", "f"}}};
    auto on = must_open(server);
    auto found = engines::postgresql::find_roles(on, "owner");
    REQUIRE_MESSAGE(found.ok(), found.error());
    return found->size();
  };
  CHECK(found_of(std::string(63, 'x')) == 1);
  CHECK(found_of(std::string(64, 'x')) == 0);
}

TEST_CASE("the name of a skipped object is cut") {
  pretender server{{.row = {"0", much, ""}}};
  auto on = must_open(server);
  auto came = engines::postgresql::compare_rights(on, "owner", "readers", in(60s));
  REQUIRE(came.skipped.size() == 1);
  CHECK(is_short_line(came.skipped.front()));
  CHECK(came.skipped.front().starts_with("line?xxx"));
}

TEST_CASE("the description of a session that does not end is cut") {
  pretender server{{.row = {"one", much, much, much, much, "t"}}};
  auto on = must_open(server);
  auto ended = engines::postgresql::end_sessions(on, {"one"});
  REQUIRE_MESSAGE(ended.ok(), ended.error());
  CHECK(is_short_line((*ended)["one"]));
}

TEST_CASE("the description of what delays a login is cut") {
  // The second client is not served as long as the first one is there.
  pretender server{{.row = {"9" + much, "t", "t"}}};
  auto on = must_open(server);
  actors::role_order order{"i", server.url(), superuser, {"owner", "p"}};
  std::vector<int> ending;
  auto fault =
      engines::postgresql::fault_of_login(on, order, {.who = {"one", "p"}}, in(60s), ending);
  REQUIRE(fault);
  CHECK_MESSAGE(is_short_line(fault->words), fault->words.substr(0, bounded));
  CHECK(fault->words.find("the session 9line?xxx") != std::string::npos);
}
