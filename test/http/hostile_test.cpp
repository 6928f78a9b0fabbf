// Clients that try to stop the server, by raw sockets: the server serves others as if the attackers
// were not there.

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "../integration/awaiting.hpp"
#include "http/audit.hpp"
#include "stand_in_broker.hpp"

using namespace matriarch;
using namespace matriarch::http;
using namespace matriarch::test;
using namespace std::chrono_literals;

namespace {

std::string as_platform(const std::string& verb, const std::string& path,
                        const std::string& body = {}) {
  return verb + " " + path + " HTTP/1.1\r\nHost: h\r\n" + good_credentials + version
         + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

const std::string catalog = as_platform("GET", "/v2/catalog");
const std::string health = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
const std::string no_access = "GET /v2/catalog HTTP/1.1\r\nHost: h\r\n\r\n";

std::string put_head(std::size_t length) {
  return "PUT " + here + incomplete + " HTTP/1.1\r\nHost: h\r\n" + good_credentials + version
         + "Content-Length: " + std::to_string(length) + "\r\n\r\n";
}

int status_of(raw_socket& client, const std::string& request) {
  client.send(request);
  return read_answer(client).status;
}

server_options with(const std::function<void(server_options&)>& edit) {
  server_options options;
  edit(options);
  return options;
}

/// A broker that keeps the answers to changes until the test lets them go.
struct held_broker {
  using teller = std::function<void(model::verdict)>;
  shared_state<std::vector<teller>> held;
  broker b;

  explicit held_broker(server_options options = {})
      : b(
          true, {},
          [this](const model::request&, teller answer) {
            held.change([&](auto& all) { all.push_back(std::move(answer)); });
          },
          std::move(options)) {}

  [[nodiscard]] bool holds(std::size_t count) {
    return held.becomes([&](auto& all) { return all.size() == count; });
  }
  void let_go() {
    for (auto& answer : held.now())
      answer({model::verdict_kind::accepted, "", "op-1"});
  }
};

} // namespace

// -- connections ----------------------------------------------------------------------------------

TEST_CASE("strangers' connections make room for others, the oldest first") {
  broker b{true, {}, {}, with([](auto& o) { o.max_connections = 8; })};
  auto platform = raw_socket::to(b.port());
  REQUIRE(status_of(platform, catalog) == 200);
  std::vector<raw_socket> strangers;
  for (int i = 0; i < 100; ++i) {
    strangers.push_back(raw_socket::to(b.port()));
    if (i % 3 == 0)
      strangers.back().send("GET /v2/catalog HTTP/1.1\r\nHos");
    if (i % 3 == 1)
      strangers.back().send(no_access);
  }
  CHECK(status_of(platform, catalog) == 200);
  CHECK(b.send("GET", "/v2/catalog").status == 200);
  // Seven fit beside the platform's connections; one made room for the request just made.
  for (int i = 0; i < 92; ++i)
    CHECK(strangers[static_cast<std::size_t>(i)].receive_all().has_value());
  CHECK(status_of(strangers.back(), "\r\n" + health) != 0);
  CHECK(b.load().connections <= 8);
  CHECK(b.load().closed_for_room >= 92);
  CHECK(status_of(platform, catalog) == 200);
}

TEST_CASE("an address that floods loses its own connections, not another's") {
  broker b{true, {}, {}, with([](auto& o) { o.max_connections = 8; })};
  auto quiet = raw_socket::to(b.port(), 2);
  quiet.send("GET /v2/catalog HTTP/1.1\r\nHost: h\r\n");
  std::vector<raw_socket> flood;
  for (int i = 0; i < 100; ++i)
    flood.push_back(raw_socket::to(b.port(), 3));
  // The last one is served, so the server has seen all of them.
  REQUIRE(status_of(flood.back(), health) == 200);
  CHECK(status_of(quiet, std::string{good_credentials} + version + "\r\n") == 200);
  CHECK(b.load().closed_for_room == 93);
}

TEST_CASE("events of a closed connection never reach the next connection with its descriptor") {
  broker b{true, {}, {}, with([](auto& o) { o.max_connections = 4; })};
  std::atomic<bool> ended = false;
  std::vector<std::thread> floods;
  for (int i = 0; i < 2; ++i)
    floods.emplace_back([&] {
      while (!ended) {
        std::vector<raw_socket> some;
        for (int n = 0; n < 8; ++n)
          some.push_back(raw_socket::to(b.port(), 3));
        for (auto& one : some)
          one.reset();
      }
    });
  int right = 0;
  for (int i = 0; i < 3'000; ++i) {
    auto client = raw_socket::to(b.port(), 2);
    right += status_of(client, catalog) == 200 ? 1 : 0;
  }
  ended = true;
  for (auto& one : floods)
    one.join();
  CHECK(right == 3'000);
}

TEST_CASE("a known client's unused connection gives way only when there are no strangers") {
  broker b{true, {}, {}, with([](auto& o) { o.max_connections = 2; })};
  auto first = raw_socket::to(b.port());
  REQUIRE(status_of(first, catalog) == 200);
  auto second = raw_socket::to(b.port());
  REQUIRE(status_of(second, catalog) == 200);
  auto third = raw_socket::to(b.port());
  REQUIRE(status_of(third, catalog) == 200);
  CHECK(first.at_end());
  CHECK(status_of(second, catalog) == 200);
  CHECK(status_of(third, catalog) == 200);
}

TEST_CASE("a client is turned away with 503 at once when all connections wait for answers") {
  held_broker held{with([](auto& o) { o.max_connections = 3; })};
  std::vector<raw_socket> busy;
  for (int i = 0; i < 3; ++i) {
    busy.push_back(raw_socket::to(held.b.port()));
    busy.back().send(as_platform("PUT", here + incomplete, body_with()));
  }
  REQUIRE(held.holds(3));
  auto late = raw_socket::to(held.b.port());
  auto answer = read_answer(late);
  CHECK(answer.status == 503);
  CHECK_FALSE(answer.header("Retry-After").empty());
  CHECK(answer.header("Connection") == "close");
  CHECK(late.at_end());
  held.let_go();
  for (auto& one : busy)
    CHECK(read_answer(one).status == 202);
  CHECK(held.b.send("GET", "/v2/catalog").status == 200);
  CHECK(held.b.load().turned_away == 1);
}

TEST_CASE("a lack of connections is reported in one line, not in one for each") {
  shared_state<std::vector<std::string>> lines;
  broker b{true, {}, {}, with([&](auto& o) {
             o.max_connections = 4;
             o.warn = [&](std::string text) {
               lines.change([&](auto& all) { all.push_back(std::move(text)); });
             };
           })};
  std::vector<raw_socket> strangers;
  for (int i = 0; i < 50; ++i)
    strangers.push_back(raw_socket::to(b.port()));
  REQUIRE(lines.becomes([](auto& all) { return !all.empty(); }));
  for (int i = 0; i < 50; ++i)
    strangers.push_back(raw_socket::to(b.port()));
  CHECK(b.send("GET", "/v2/catalog").status == 200);
  CHECK(lines.now().size() == 1);
  CHECK(contains(lines.now()[0], "all 4 connections"));
}

TEST_CASE("a server takes no more than half of the descriptors") {
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit low{200, 200};
  // A lowered limit cannot be raised again without rights, so a child tries it.
  auto child = ::fork();
  if (child == 0) {
    ::setrlimit(RLIMIT_NOFILE, &low);
    server s{server_options{}, [](request, responder) {}};
    bool right = !s.start() && s.load().max_connections == 100;
    s.stop();
    ::_exit(right ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

// -- those who send or read slowly, or never stop -------------------------------------------------

TEST_CASE("a client that never stops sending keeps nobody waiting") {
  broker b;
  std::atomic<bool> ended = false;
  std::atomic<int> served = 0;
  auto flood = [&](const std::string& request) {
    std::string many;
    for (int i = 0; i < 500; ++i)
      many += request;
    while (!ended) {
      auto client = raw_socket::to(b.port());
      std::thread reader{[&] {
        while (!client.receive().empty())
          ++served;
      }};
      while (!ended && client.send(many)) {
      }
      ::shutdown(client.descriptor(), SHUT_RDWR);
      reader.join();
    }
  };
  std::thread known{flood, catalog};
  std::thread stranger{flood, no_access};
  auto platform = raw_socket::to(b.port());
  int right = 0;
  for (int i = 0; i < 200; ++i)
    right += status_of(platform, catalog) == 200 ? 1 : 0;
  ended = true;
  known.join();
  stranger.join();
  CHECK(right == 200);
  CHECK(served > 0);
}

TEST_CASE("after a stranger's first request its pipelined ones are dropped") {
  broker b;
  auto stranger = raw_socket::to(b.port());
  stranger.send(health + health + health);
  auto first = read_answer(stranger);
  CHECK(first.status == 200);
  CHECK(first.header("Connection") == "close");
  CHECK(stranger.at_end());
  auto patient = raw_socket::to(b.port());
  CHECK(status_of(patient, health) == 200);
  CHECK(status_of(patient, no_access) == 401);
  CHECK(status_of(patient, health) == 200);
}

TEST_CASE("a client that reads nothing is disconnected, and the others are served") {
  std::string long_text(30'000'000, 'x');
  server s{with([](auto& o) { o.write_patience = 200ms; }), [&](request r, responder to) {
             response answer;
             answer.body = r.path == "/long" ? long_text : "short";
             to.send(answer);
           }};
  REQUIRE_FALSE(s.start().has_value());
  auto deaf = raw_socket::to(s.port());
  deaf.send("GET /long HTTP/1.1\r\nHost: h\r\n\r\n");
  CHECK(ask(s.port(), "GET /short HTTP/1.1\r\nHost: h\r\n\r\n").body == "short");
  // When no connection is left, the server has given the client up.
  auto end = std::chrono::steady_clock::now() + patience;
  while (s.load().connections > 0 && std::chrono::steady_clock::now() < end)
    std::this_thread::yield();
  CHECK(s.load().connections == 0);
  auto all = deaf.receive_all();
  REQUIRE(all.has_value());
  CHECK(all->size() < long_text.size());
}

TEST_CASE("a client that ends its side after the request still gets the answer") {
  held_broker held;
  auto half_open = raw_socket::to(held.b.port());
  half_open.send(as_platform("PUT", here + incomplete, body_with()));
  half_open.end_sending();
  REQUIRE(held.holds(1));
  held.let_go();
  CHECK(read_answer(half_open).status == 202);
  CHECK(half_open.at_end());
}

TEST_CASE("all requests that a client sent before it ended its side are served") {
  broker b;
  auto client = raw_socket::to(b.port());
  client.send(catalog + catalog + catalog + "GET /half");
  client.end_sending();
  for (int i = 0; i < 3; ++i)
    CHECK(read_answer(client).status == 200);
  CHECK(client.at_end());
}

// -- bodies ---------------------------------------------------------------------------------------

TEST_CASE("a stranger is refused before the body") {
  broker b;
  auto stranger = raw_socket::to(b.port());
  stranger.send("PUT " + here + " HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
  auto answer = read_answer(stranger);
  CHECK(answer.status == 401);
  CHECK(answer.header("Connection") == "close");
  CHECK(stranger.at_end());
  // A client with a wrong password that sends a whole small body can try again.
  auto mistaken = raw_socket::to(b.port());
  CHECK(status_of(mistaken, "PUT " + here + " HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}")
        == 401);
  CHECK(status_of(mistaken, catalog) == 200);
}

TEST_CASE("bodies that would take too much memory together are refused with 503") {
  broker b{true, {}, {}, with([](auto& o) { o.max_bodies_bytes = 10'000; })};
  std::string body = body_with();
  body += std::string(6'000 - body.size(), ' ');
  auto slow = raw_socket::to(b.port());
  slow.send(put_head(body.size()) + body.substr(0, 3'000));
  auto end = std::chrono::steady_clock::now() + patience;
  while (b.load().bodies_bytes == 0 && std::chrono::steady_clock::now() < end)
    std::this_thread::yield();
  REQUIRE(b.load().bodies_bytes == 6'000);
  auto refused = b.send("PUT", here + incomplete, body);
  CHECK(refused.status == 503);
  CHECK_FALSE(refused.header("Retry-After").empty());
  slow.send(body.substr(3'000));
  CHECK(read_answer(slow).status == 202);
  CHECK(b.send("PUT", here + incomplete, body).status == 202);
  CHECK(b.load().bodies_bytes == 0);
}

TEST_CASE("the memory of a body is freed when its sender leaves") {
  broker b;
  for (int i = 0; i < 20; ++i) {
    auto aborted = raw_socket::to(b.port());
    aborted.send(put_head(500'000) + "{");
    if (i % 2 == 0)
      aborted.reset();
  }
  CHECK(b.send("PUT", here + incomplete, body_with()).status == 202);
  auto end = std::chrono::steady_clock::now() + patience;
  while (b.load().bodies_bytes > 0 && std::chrono::steady_clock::now() < end)
    std::this_thread::yield();
  CHECK(b.load().bodies_bytes == 0);
}

// -- the trail ------------------------------------------------------------------------------------

TEST_CASE("a flood of refusals leaves few lines, which count the others") {
  line_limiter limiter;
  line_limiter::time_point now{1h};
  int written = 0;
  for (int i = 0; i < 1'000; ++i)
    written += limiter.admit(now).has_value() ? 1 : 0;
  CHECK(written == line_limiter::burst);
  now += line_limiter::pace;
  CHECK(limiter.admit(now) == 1'000 - line_limiter::burst);
  CHECK_FALSE(limiter.admit(now).has_value());
  now += 10 * line_limiter::pace;
  CHECK(limiter.admit(now) == 1);
  for (int i = 0; i < 9; ++i)
    CHECK(limiter.admit(now) == 0);
  CHECK_FALSE(limiter.admit(now).has_value());
}

TEST_CASE("a flood of strangers does not fill the trail, and no line of the platform is missing") {
  broker b;
  auto stranger = raw_socket::to(b.port());
  for (int i = 0; i < 1'000; ++i)
    REQUIRE(status_of(stranger, no_access) == 401);
  for (int i = 0; i < 100; ++i)
    REQUIRE(b.send("PUT", here + incomplete, body_with()).status == 202);
  int refused = 0;
  int provisions = 0;
  for (const auto& text : b.trail()) {
    auto line = json::parse(text);
    REQUIRE(line.ok());
    auto action = json::string_member(*line, "action");
    refused += action == refused_access ? 1 : 0;
    provisions += action == "provision" ? 1 : 0;
  }
  CHECK(refused >= line_limiter::burst);
  CHECK(refused < 1'000 / 2);
  CHECK(provisions == 100);
}

// -- the end --------------------------------------------------------------------------------------

TEST_CASE("a stop answers 503 to unanswered requests, and waits for no slow client") {
  held_broker held{with([](auto& o) { o.drain_patience = 200ms; })};
  auto waiting = raw_socket::to(held.b.port());
  waiting.send(as_platform("PUT", here + incomplete, body_with()));
  REQUIRE(held.holds(1));
  auto slow = raw_socket::to(held.b.port());
  slow.send(put_head(1'000) + "{");
  auto half_head = raw_socket::to(held.b.port());
  half_head.send("GET /v2");
  auto silent = raw_socket::to(held.b.port());
  held.b.stop();
  auto answer = read_answer(waiting);
  CHECK(answer.status == 503);
  CHECK_FALSE(answer.header("Retry-After").empty());
  CHECK(waiting.at_end());
  CHECK(slow.at_end());
  CHECK(half_head.at_end());
  CHECK(silent.at_end());
  held.let_go(); // too late, and harmless
}
