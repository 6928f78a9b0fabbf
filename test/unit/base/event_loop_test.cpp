#include "base/event_loop.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <optional>
#include <thread>

#include "../../http/raw_socket.hpp"
#include "../../integration/awaiting.hpp"
#include "http/server.hpp"

using namespace matriarch;
using namespace matriarch::base;
using namespace matriarch::http;
using namespace matriarch::test;
using namespace std::chrono_literals;

namespace {

outgoing to(std::uint16_t port, const std::string& path = "/", const std::string& verb = "GET") {
  outgoing what;
  what.verb = verb;
  what.url = "http://127.0.0.1:" + std::to_string(port) + path;
  what.timeout = 20s;
  return what;
}

outcome sent(event_loop& loop, outgoing what) {
  return awaited<outcome>([&](auto done) { loop.send(std::move(what), done); });
}

/// Waits until the loop has done everything it was asked before.
void settle(event_loop& loop) {
  awaited<bool>([&](auto done) { loop.post([done] { done(true); }); });
}

struct fixture {
  explicit fixture(handler serve, server_options options = {}) : http(options, std::move(serve)) {
    REQUIRE_FALSE(http.start().has_value());
  }
  [[nodiscard]] std::uint16_t port() const { return http.port(); }

  server http;
};

/// Keeps every responder, so that requests stay unanswered.
struct silent_server {
  shared_state<std::vector<responder>> kept;
  fixture f{
      [this](request, responder to) { kept.change([&](auto& k) { k.push_back(std::move(to)); }); }};

  [[nodiscard]] bool has(std::size_t count) {
    return kept.becomes([&](auto& k) { return k.size() >= count; });
  }
};

/// The lines that a stream has passed on.
struct heard {
  std::vector<std::string> lines;
  std::optional<outcome> end;
};

event_loop::task_id listen(event_loop& loop, outgoing what, shared_state<heard>& into) {
  return loop.stream(
      std::move(what),
      [&](std::string line) { into.change([&](heard& h) { h.lines.push_back(std::move(line)); }); },
      [&](outcome o) { into.change([&](heard& h) { h.end = std::move(o); }); });
}

std::string chunk(const std::string& text) {
  char size[16];
  std::snprintf(size, sizeof size, "%zx", text.size());
  return std::string{size} + "\r\n" + text + "\r\n";
}

constexpr auto stream_head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

} // namespace

// -- requests -------------------------------------------------------------------------------------

TEST_CASE("a request arrives as it was given and its answer comes back") {
  request seen;
  fixture f{[&](request r, responder to) {
    seen = std::move(r);
    response answer;
    answer.status = 201;
    answer.body = "made";
    to.send(answer);
  }};
  event_loop loop;
  auto what = to(f.port(), "/v2/a%2Fb?x=1", "PUT");
  what.headers = {{"X-Revision", "7"}, {"X-Empty", ""}};
  what.body = "{}";
  what.username = "me";
  what.password = "it:s";
  auto answer = sent(loop, what);
  CHECK(answer.status == 201);
  CHECK(answer.body == "made");
  CHECK(answer.error.empty());
  CHECK_FALSE(answer.never_sent);
  CHECK(seen.verb == method::put);
  CHECK(seen.path == "/v2/a%2Fb");
  CHECK(*seen.query_value("x") == "1");
  CHECK(*seen.header("x-revision") == "7");
  CHECK(seen.header("x-empty")->empty());
  CHECK(*seen.header("content-type") == "application/json");
  CHECK(*seen.header("authorization") == "Basic bWU6aXQ6cw==");
  CHECK(seen.header("expect") == nullptr);
  CHECK(seen.body == "{}");
}

TEST_CASE("each verb is sent as it is, with its body and without Expect") {
  server_options options;
  options.max_body_bytes = 4'000'000;
  fixture f{[](request r, responder to) {
              response answer;
              answer.body = std::to_string(static_cast<int>(r.verb)) + r.body;
              if (r.header("expect") != nullptr)
                answer.body = "expects";
              answer.status = r.verb == method::head ? 204 : 200;
              to.send(answer);
            },
            options};
  event_loop loop;
  auto says = [&](const std::string& verb, const std::string& body) {
    auto what = to(f.port(), "/", verb);
    what.body = body;
    return sent(loop, what).body;
  };
  auto number = [](method m) { return std::to_string(static_cast<int>(m)); };
  CHECK(says("GET", "") == number(method::get));
  CHECK(says("POST", "") == number(method::post));
  CHECK(says("POST", "b") == number(method::post) + "b");
  CHECK(says("PATCH", "b") == number(method::patch) + "b");
  CHECK(says("DELETE", "") == number(method::del));
  CHECK(says("DELETE", "b") == number(method::del) + "b");
  auto long_body = std::string(2'000'000, 'x');
  CHECK(says("PUT", long_body) == number(method::put) + long_body);
  CHECK(sent(loop, to(f.port(), "/", "HEAD")).status == 204);
}

TEST_CASE("an HTTP error is an answer like any other") {
  fixture f{[](request, responder to) {
    response answer;
    answer.status = 412;
    answer.body = "stale";
    to.send(answer);
  }};
  event_loop loop;
  auto answer = sent(loop, to(f.port()));
  CHECK(answer.status == 412);
  CHECK(answer.body == "stale");
  CHECK(answer.error.empty());
}

TEST_CASE("a refused connection and an unknown host mean that nothing was sent") {
  std::uint16_t port = 0;
  {
    raw_listener gone;
    port = gone.port();
  }
  event_loop loop;
  auto answer = sent(loop, to(port, "/path?secret=1"));
  CHECK(answer.status == 0);
  CHECK(answer.never_sent);
  CHECK(answer.error.find("127.0.0.1:" + std::to_string(port) + "/path") != std::string::npos);
  CHECK(answer.error.find("secret") == std::string::npos);

  auto nowhere = to(1);
  nowhere.url = "http://host.invalid/";
  CHECK(sent(loop, nowhere).never_sent);
  nowhere.url = "file:///etc/passwd";
  answer = sent(loop, nowhere);
  CHECK(answer.status == 0);
  CHECK_FALSE(answer.error.empty());
}

TEST_CASE("a request without an answer ends at its time-out and may have been seen") {
  silent_server silent;
  event_loop loop;
  auto what = to(silent.f.port());
  what.timeout = 300ms;
  auto answer = sent(loop, what);
  CHECK(answer.status == 0);
  CHECK(answer.error.find("no answer within 300 ms") != std::string::npos);
  CHECK(answer.error.find("TLS") == std::string::npos);
  CHECK(silent.has(1));
  CHECK_FALSE(answer.never_sent);
}

TEST_CASE("an unanswered TLS handshake is reported, whichever time-out ends first") {
  raw_listener listener; // the kernel accepts connections
  event_loop loop;
  auto what = to(listener.port());
  what.url.replace(0, 4, "https");
  what.timeout = 30s;
  what.connect_timeout = 300ms; // includes the TLS handshake
  CHECK(sent(loop, what).error.find("TLS handshake") != std::string::npos);
  what.timeout = 300ms;
  what.connect_timeout = 30s;
  CHECK(sent(loop, what).error.find("TLS handshake") != std::string::npos);
  silent_server plain;
  what.url = "https://127.0.0.1:" + std::to_string(plain.f.port()) + "/";
  what.timeout = 30s;
  CHECK(sent(loop, what).error.find("does not answer by TLS") != std::string::npos);
}

TEST_CASE("a connection that ends within an answer is an error and may have been seen") {
  raw_listener listener;
  event_loop loop;
  std::thread half{[&] {
    auto client = listener.accept();
    (void)client.receive_until("\r\n\r\n");
    client.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
  }};
  auto answer = sent(loop, to(listener.port()));
  half.join();
  CHECK(answer.status == 0);
  CHECK_FALSE(answer.error.empty());
  CHECK_FALSE(answer.never_sent);
}

TEST_CASE("a request that may have had an effect is never sent twice") {
  raw_listener listener;
  event_loop loop;
  std::thread other{[&] {
    auto first = listener.accept();
    (void)first.receive_until("\r\n\r\n");
    first.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    // The second request arrives on the same connection but is not answered.
    (void)first.receive_until("\r\n\r\n");
    first.close();
  }};
  CHECK(sent(loop, to(listener.port(), "/", "POST")).status == 200);
  auto second = to(listener.port(), "/", "POST");
  second.timeout = 2s;
  auto answer = sent(loop, second);
  other.join();
  CHECK(answer.status == 0);
  CHECK_FALSE(answer.never_sent);
  CHECK(answer.error.find("broke before the answer") != std::string::npos);
}

TEST_CASE("an answer above the limit is an error") {
  fixture f{[](request, responder to) {
    response answer;
    answer.body = std::string(200'000, 'x');
    to.send(answer);
  }};
  event_loop loop;
  auto what = to(f.port());
  what.max_answer_bytes = 200'000;
  CHECK(sent(loop, what).status == 200);
  what.max_answer_bytes = 199'999;
  auto answer = sent(loop, what);
  CHECK(answer.status == 0);
  CHECK(answer.error.find("longer than 199999 bytes") != std::string::npos);
}

TEST_CASE("a header with a line end is refused before anything is sent") {
  silent_server silent;
  event_loop loop;
  auto what = to(silent.f.port());
  what.headers = {{"X-Scope", "a\r\nX-Injected: b"}};
  auto answer = sent(loop, what);
  CHECK(answer.status == 0);
  CHECK(answer.never_sent);
  CHECK(answer.error.find("X-Scope") != std::string::npos);
}

TEST_CASE("a request that waits for a connection until its time-out was never sent") {
  silent_server silent;
  event_loop loop;
  for (int i = 0; i < 32; ++i)
    loop.send(to(silent.f.port()), [](outcome) {});
  REQUIRE(silent.has(32));
  auto what = to(silent.f.port());
  what.timeout = 200ms;
  auto answer = sent(loop, what);
  CHECK(answer.status == 0);
  CHECK(answer.never_sent);
}

TEST_CASE("requests beyond the connections of a host are done one after the other") {
  fixture f{[](request r, responder to) {
    response answer;
    answer.body = r.path;
    to.send(answer);
  }};
  event_loop loop;
  struct tally {
    int right = 0;
    std::vector<std::string> wrong;
  };
  shared_state<tally> answers;
  for (int i = 0; i < 1'000; ++i) {
    auto path = "/" + std::to_string(i);
    loop.send(to(f.port(), path), [&answers, path](outcome o) {
      answers.change([&](tally& t) {
        if (o.body == path)
          ++t.right;
        else
          t.wrong.push_back(path + " " + o.error + o.body);
      });
    });
  }
  CHECK(answers.becomes([](tally& t) { return t.right == 1'000 || !t.wrong.empty(); }));
  auto wrong = answers.now().wrong;
  CHECK_MESSAGE(wrong.empty(), (wrong.empty() ? "" : wrong.front()));
}

// -- streams --------------------------------------------------------------------------------------

TEST_CASE("a stream passes on complete lines as they come, and reports its end") {
  raw_listener listener;
  event_loop loop;
  shared_state<heard> all;
  listen(loop, to(listener.port()), all);
  auto server = listener.accept();
  (void)server.receive_until("\r\n\r\n");
  server.send(stream_head + chunk("one\ntw"));
  REQUIRE(all.becomes([](heard& h) { return h.lines.size() == 1; }));
  server.send(chunk("o\r\n\nfour\nfi"));
  REQUIRE(all.becomes([](heard& h) { return h.lines.size() == 4; }));
  CHECK_FALSE(all.now().end.has_value());
  server.send(chunk("ve") + "0\r\n\r\n");
  REQUIRE(all.becomes([](heard& h) { return h.end.has_value(); }));
  CHECK(all.now().lines == std::vector<std::string>{"one", "two", "", "four"});
  CHECK(all.now().end->status == 200);
  CHECK(all.now().end->body == "five");
}

TEST_CASE("a stream that breaks ends with an error after its last complete line") {
  raw_listener listener;
  event_loop loop;
  shared_state<heard> all;
  listen(loop, to(listener.port()), all);
  {
    auto server = listener.accept();
    (void)server.receive_until("\r\n\r\n");
    server.send(stream_head + chunk("one\ntw"));
  }
  REQUIRE(all.becomes([](heard& h) { return h.end.has_value(); }));
  CHECK(all.now().lines == std::vector<std::string>{"one"});
  CHECK(all.now().end->status == 0);
  CHECK_FALSE(all.now().end->error.empty());
  CHECK_FALSE(all.now().end->never_sent);
}

TEST_CASE("a stream that is refused ends with the refusal and no lines") {
  fixture f{[](request, responder to) {
    response answer;
    answer.status = 503;
    answer.body = "no\nleader\n";
    to.send(answer);
  }};
  event_loop loop;
  shared_state<heard> all;
  listen(loop, to(f.port()), all);
  REQUIRE(all.becomes([](heard& h) { return h.end.has_value(); }));
  CHECK(all.now().lines.empty());
  CHECK(all.now().end->status == 503);
  CHECK(all.now().end->body == "no\nleader\n");
}

TEST_CASE("a line above the limit ends its stream, many short ones do not") {
  raw_listener listener;
  event_loop loop;
  shared_state<heard> all;
  auto what = to(listener.port());
  what.max_answer_bytes = 100'000;
  listen(loop, what, all);
  auto server = listener.accept();
  (void)server.receive_until("\r\n\r\n");
  server.send(stream_head);
  auto line = std::string(999, 'x') + "\n";
  for (int i = 0; i < 500; ++i)
    server.send(chunk(line));
  REQUIRE(all.becomes([](heard& h) { return h.lines.size() == 500; }));
  server.send(chunk(std::string(100'001, 'x')));
  REQUIRE(all.becomes([](heard& h) { return h.end.has_value(); }));
  CHECK(all.now().end->error.find("longer than 100000 bytes") != std::string::npos);
}

TEST_CASE("open streams do not use up the requests' connections") {
  raw_listener listener;
  silent_server silent;
  event_loop loop;
  for (int i = 0; i < 40; ++i)
    loop.stream(
        to(silent.f.port()), [](std::string) {}, [](outcome) {});
  CHECK(silent.has(40));
  auto answer = std::make_shared<std::promise<outcome>>();
  loop.send(to(silent.f.port(), "/last"), [answer](outcome o) { answer->set_value(o); });
  REQUIRE(silent.has(41));
  silent.kept.change([](auto& k) { k.back().send({}); });
  CHECK(answer->get_future().get().status == 200);
}

// -- timers and posts -----------------------------------------------------------------------------

TEST_CASE("timers are called in the order of their times, equal ones in the order they were set") {
  event_loop loop;
  shared_state<std::vector<int>> order;
  auto note = [&](int n) { return [&, n] { order.change([&](auto& o) { o.push_back(n); }); }; };
  // Set from within the loop, so that no timer runs before all are set.
  loop.post([&] {
    loop.after(60ms, note(5));
    loop.after(0ms, note(1));
    loop.after(30ms, note(3));
    loop.after(-5ms, note(2));
    loop.after(45ms, note(4));
  });
  REQUIRE(order.becomes([](auto& o) { return o.size() == 5; }));
  CHECK(order.now() == std::vector<int>{1, 2, 3, 4, 5});
}

TEST_CASE("a timer is not called before its time") {
  event_loop loop;
  auto begun = std::chrono::steady_clock::now();
  awaited<bool>([&](auto done) { loop.after(50ms, [done] { done(true); }); });
  CHECK(std::chrono::steady_clock::now() - begun >= 50ms);
}

TEST_CASE("posts are called in their order on the loop's one thread") {
  event_loop loop;
  shared_state<std::vector<std::pair<int, std::thread::id>>> calls;
  for (int i = 0; i < 100; ++i)
    loop.post(
        [&, i] { calls.change([&](auto& c) { c.emplace_back(i, std::this_thread::get_id()); }); });
  REQUIRE(calls.becomes([](auto& c) { return c.size() == 100; }));
  for (int i = 0; i < 100; ++i) {
    CHECK(calls.now()[static_cast<std::size_t>(i)].first == i);
    CHECK(calls.now()[static_cast<std::size_t>(i)].second == calls.now()[0].second);
  }
  CHECK(calls.now()[0].second != std::this_thread::get_id());
}

TEST_CASE("a chain of timers without delay does not block the loop") {
  fixture f{[](request, responder to) { to.send({}); }};
  event_loop loop;
  std::function<void()> again = [&] { loop.after(0ms, again); };
  loop.post(again);
  CHECK(sent(loop, to(f.port())).status == 200);
}

// -- cancelling and ending ------------------------------------------------------------------------

TEST_CASE("a cancelled task is not called") {
  silent_server silent;
  raw_listener listener;
  event_loop loop;
  std::atomic<int> calls = 0;
  auto request = loop.send(to(silent.f.port()), [&](outcome) { ++calls; });
  auto stream = loop.stream(
      to(listener.port()), [&](std::string) { ++calls; }, [&](outcome) { ++calls; });
  auto timer = loop.after(50ms, [&] { ++calls; });
  REQUIRE(silent.has(1));
  auto server = listener.accept();
  (void)server.receive_until("\r\n\r\n");

  loop.cancel(request);
  loop.cancel(stream);
  loop.cancel(timer);
  loop.cancel(timer);
  loop.cancel(999'999);

  silent.kept.change([](auto& k) { k.front().send({}); });
  server.send(stream_head + chunk("line\n"));
  CHECK(server.at_end());
  awaited<bool>([&](auto done) { loop.after(100ms, [done] { done(true); }); });
  CHECK(calls == 0);
}

TEST_CASE("a stream that is cancelled from within a line passes on no further lines") {
  raw_listener listener;
  event_loop loop;
  std::atomic<int> lines = 0;
  std::atomic<event_loop::task_id> id = 0;
  id = loop.stream(
      to(listener.port()),
      [&](std::string) {
        ++lines;
        loop.cancel(id);
      },
      [&](outcome) { lines += 100; });
  auto server = listener.accept();
  (void)server.receive_until("\r\n\r\n");
  server.send(stream_head + chunk("1\n2\n3\n"));
  CHECK(server.at_end());
  settle(loop);
  CHECK(lines == 1);
}

TEST_CASE("all members can be called from within a callback") {
  fixture f{[](request, responder to) { to.send({}); }};
  auto loop = std::make_unique<event_loop>();
  auto answer = awaited<outcome>([&](auto done) {
    loop->post([&, done] {
      loop->after(0ms, [&, done] {
        loop->send(to(f.port()), [&, done](outcome first) {
          REQUIRE(first.status == 200);
          loop->cancel(loop->after(0ms, [] { FAIL("cancelled"); }));
          loop->stream(
              to(f.port()), [](std::string) {}, done);
        });
      });
    });
  });
  CHECK(answer.status == 200);
}

TEST_CASE("no callback runs after the loop's end") {
  silent_server silent;
  std::atomic<bool> ended = false;
  std::atomic<int> late = 0;
  {
    event_loop loop;
    for (int i = 0; i < 50; ++i) {
      loop.send(to(silent.f.port()), [&](outcome) { late += ended; });
      loop.stream(
          to(silent.f.port()), [](std::string) {}, [&](outcome) { late += ended; });
      loop.after(std::chrono::milliseconds{i}, [&] { late += ended; });
    }
    REQUIRE(silent.has(50));
  }
  ended = true;
  silent.kept.change([](auto& k) { k.clear(); });
  event_loop other;
  awaited<bool>([&](auto done) { other.after(60ms, [done] { done(true); }); });
  CHECK(late == 0);
}
