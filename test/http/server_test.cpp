// Each trap of Pistache 0.0.5 that src/http/workers.cpp numbers has its test here, by raw sockets.

#include "http/server.hpp"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "../integration/awaiting.hpp"
#include "base/json.hpp"
#include "raw_socket.hpp"

using namespace matriarch;
using namespace matriarch::http;
using namespace matriarch::test;
using namespace std::chrono_literals;

namespace {

std::string get(const std::string& path, const std::string& more = {}) {
  return "GET " + path + " HTTP/1.1\r\nHost: a\r\n" + more + "\r\n";
}

std::string put(const std::string& path, const std::string& body, const std::string& more = {}) {
  return "PUT " + path + " HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size())
         + "\r\n" + more + "\r\n" + body;
}

response saying(std::string text, int status = 200) {
  response answer;
  answer.status = status;
  answer.body = std::move(text);
  return answer;
}

/// A thread that answers requests which their handler has put aside.
class clerk {
public:
  clerk() : thread_([this] { run(); }) {}
  ~clerk() {
    desk_.change([](auto& d) { d.closed = true; });
    thread_.join();
  }
  void take(responder to, response answer) {
    desk_.change([&](auto& d) { d.pending.emplace_back(std::move(to), std::move(answer)); });
  }

private:
  struct desk {
    std::deque<std::pair<responder, response>> pending;
    bool closed = false;
  };

  void run() {
    for (bool open = true; open;) {
      std::deque<std::pair<responder, response>> now;
      (void)desk_.becomes([](auto& d) { return d.closed || !d.pending.empty(); });
      desk_.change([&](auto& d) {
        now.swap(d.pending);
        open = !d.closed;
      });
      for (auto& [to, answer] : now)
        to.send(std::move(answer));
    }
  }

  shared_state<desk> desk_;
  std::thread thread_;
};

/// A running server on a free port whose answers say what was asked.
struct fixture {
  explicit fixture(handler serve, server_options options = {}) : http(options, std::move(serve)) {
    REQUIRE_FALSE(http.start().has_value());
  }
  fixture() : fixture(echo) {}
  explicit fixture(server_options options) : fixture(echo, options) {}

  static void echo(request r, responder to) { to.send(saying(r.path + ":" + r.body)); }

  [[nodiscard]] std::uint16_t port() const { return http.port(); }
  [[nodiscard]] raw_socket connect() const { return raw_socket::to(http.port()); }

  server http;
};

/// Whether a socket that does not wait is connected at once.
bool connects(const raw_socket& client, std::uint16_t port) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(port);
  (void)::connect(client.descriptor(), reinterpret_cast<sockaddr*>(&to), sizeof to);
  pollfd connected{client.descriptor(), POLLOUT, 0};
  constexpr int soon = 100; // ms; loopback takes less than one
  return ::poll(&connected, 1, soon) == 1 && (connected.revents & (POLLERR | POLLHUP)) == 0;
}

/// True if the server itself gave the answer: a JSON object that says what is wrong.
bool explains(const raw_answer& answer, int status) {
  auto body = json::parse(answer.body);
  return answer.status == status && answer.header("Content-Type") == "application/json" && body
         && !json::string_member(*body, "description").empty();
}

} // namespace

// -- the ten traps --------------------------------------------------------------------------------

TEST_CASE("an aborted client never gets its answer delivered to another client") {
  clerk later;
  fixture f{[&](request r, responder to) { later.take(std::move(to), saying(r.path)); }};
  std::string strange;
  for (int i = 0; i < 3'000 && strange.empty(); ++i) {
    auto aborted = f.connect();
    aborted.send(get("/aborted"));
    if (i % 2 == 0)
      aborted.reset();
    else
      aborted.close();
    // This client gets the descriptor that the aborted one had, and asks for nothing at first.
    auto next = f.connect();
    if (!next.silent())
      strange = next.receive();
    next.send(get("/own"));
    auto own = read_answer(next);
    if (own.body != "/own" || !next.silent())
      strange = own.head + own.body;
  }
  CHECK(strange.empty());
}

TEST_CASE("a chunked request is refused and hangs nobody") {
  fixture f;
  auto chunked = f.connect();
  chunked.send("PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r");
  auto answer = read_answer(chunked);
  CHECK(explains(answer, 411));
  CHECK(answer.header("Connection") == "close");
  chunked.send("\n");
  CHECK(ask(f.port(), get("/y")).body == "/y:");
  CHECK(chunked.at_end());
}

TEST_CASE("a handler that throws anything is answered with a 500 and the server goes on") {
  fixture f{[](request r, responder to) {
    if (r.path == "/int")
      throw 42;
    if (r.path == "/exception")
      throw std::runtime_error{"secret"};
    to.send(saying("fine"));
  }};
  CHECK(explains(ask(f.port(), get("/int")), 500));
  auto answer = ask(f.port(), get("/exception"));
  CHECK(explains(answer, 500));
  CHECK(answer.body.find("secret") == std::string::npos);
  auto client = f.connect();
  client.send(get("/int"));
  CHECK(read_answer(client).status == 500);
  client.send(get("/"));
  CHECK(read_answer(client).body == "fine");
}

TEST_CASE("clients that send nothing, or speak TLS, block nobody") {
  fixture f;
  std::vector<raw_socket> idle;
  for (int i = 0; i < 50; ++i)
    idle.push_back(f.connect());
  auto tls = f.connect();
  tls.send(std::string{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 15});
  CHECK(explains(read_answer(tls), 400));
  CHECK(ask(f.port(), get("/")).body == "/:");
}

TEST_CASE("a connection is closed after its answer exactly if the client wants it") {
  fixture f;
  for (auto& [text, header] : {std::pair{get("/", "Connection: close\r\n"), "close"},
                               std::pair{std::string{"GET / HTTP/1.0\r\n\r\n"}, "close"}}) {
    auto closing = f.connect();
    closing.send(text);
    auto answer = read_answer(closing);
    CHECK(answer.status == 200);
    CHECK(answer.header("Connection") == header);
    CHECK(closing.at_end());
  }
  auto kept = f.connect();
  for (auto* path : {"/1", "/2", "/3"}) {
    kept.send(get(path));
    auto answer = read_answer(kept);
    CHECK(answer.body == std::string{path} + ":");
    CHECK(answer.header("Connection") == "keep-alive");
  }
  auto old = f.connect();
  old.send("GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  CHECK(read_answer(old).body == "/1:");
  old.send("GET /2 HTTP/1.0\r\n\r\n");
  CHECK(read_answer(old).body == "/2:");
  CHECK(old.at_end());
}

TEST_CASE("a malformed request is answered with a JSON 400 and its connection closed") {
  std::atomic<int> handled = 0;
  fixture f{[&](request r, responder to) {
    ++handled;
    fixture::echo(std::move(r), std::move(to));
  }};
  for (auto* text :
       {"nonsense\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: abc\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "GET /%0 HTTP/1.1\r\nHost: a\r\n\r\n", "\n", "GET / HTTP/1.1\r\nHost: a\r\n\n"}) {
    auto bad = f.connect();
    bad.send(text);
    auto answer = read_answer(bad);
    CHECK_MESSAGE(explains(answer, 400), text);
    CHECK(answer.header("Connection") == "close");
    CHECK(bad.at_end());
  }
  CHECK(handled == 0);
}

TEST_CASE("headers that do not concern the server cannot make a request fail") {
  fixture f;
  for (auto* header :
       {"Date: yesterday", "Cookie: ;;;=", "Cache-Control: max-age=x", "Content-Type: foo",
        "Content-Type:", "Accept: ///", "Authorization: x", "Connection: upgrade"})
    CHECK_MESSAGE(ask(f.port(), get("/", std::string{header} + "\r\n")).status == 200, header);
}

TEST_CASE("a body above the limit is refused while its sender can still read the answer") {
  server_options options;
  options.max_body_bytes = 100'000;
  fixture f{[](request r, responder to) { to.send(saying(std::to_string(r.body.size()))); },
            options};
  CHECK(ask(f.port(), put("/", std::string(100'000, 'x'))).body == "100000");
  auto big = f.connect();
  // Far more than the sockets' buffers hold, so a reset would show here.
  big.send(put("/", std::string(20'000'000, 'x')));
  auto answer = read_answer(big);
  CHECK(explains(answer, 413));
  CHECK(answer.header("Connection") == "close");
  CHECK(big.at_end());
}

TEST_CASE("a head above the limit is refused") {
  fixture f;
  CHECK(explains(ask(f.port(), get("/", "X: " + std::string(20'000, 'x') + "\r\n")), 431));
  CHECK(explains(ask(f.port(), std::string(20'000, 'x')), 431));
  CHECK(ask(f.port(), get("/", "X: " + std::string(15'000, 'x') + "\r\n")).status == 200);
}

TEST_CASE("a handler sees decoded segments, query, headers and the peer") {
  request seen;
  fixture f{[&](request r, responder to) {
    seen = std::move(r);
    to.send({});
  }};
  auto client = f.connect();
  client.send(
      "PATCH /v2/a%2Fb+c?x=%26 HTTP/1.1\r\nHost: a\r\nX-Y:  z \r\nContent-Length: 2\r\n\r\n{}");
  CHECK(read_answer(client).status == 200);
  CHECK(seen.verb == method::patch);
  CHECK(seen.segments == std::vector<std::string>{"v2", "a/b+c"});
  CHECK(*seen.query_value("x") == "&");
  CHECK(*seen.header("x-y") == "z");
  CHECK(seen.body == "{}");
  sockaddr_in own{};
  socklen_t length = sizeof own;
  ::getsockname(client.descriptor(), reinterpret_cast<sockaddr*>(&own), &length);
  CHECK(seen.remote == "127.0.0.1:" + std::to_string(ntohs(own.sin_port)));
}

TEST_CASE("HEAD gets the head of the answer and no body") {
  fixture f;
  auto client = f.connect();
  client.send("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n");
  auto answer = read_answer(client, true);
  CHECK(answer.status == 200);
  CHECK(answer.header("Content-Length") == "3");
  client.send(get("/y"));
  CHECK(read_answer(client).body == "/y:");
  client.send("HEAD /%zz HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(client.receive_all()->ends_with("\r\n\r\n"));
}

TEST_CASE("a client that expects a continue gets one before it sends its body") {
  fixture f;
  auto client = f.connect();
  client.send("PUT /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
  CHECK(client.receive_until("\r\n\r\n") == "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("abc");
  CHECK(read_answer(client).body == "/x:abc");
  client.send(
      "PUT /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n");
  CHECK(explains(read_answer(client), 413));
}

TEST_CASE("pipelined requests are all answered, in their order") {
  clerk later;
  fixture f{[&](request r, responder to) {
    auto answer = saying(r.path + ":" + r.body);
    if (r.path.ends_with("later"))
      later.take(std::move(to), answer);
    else
      to.send(answer);
  }};
  auto client = f.connect();
  std::string all;
  for (int i = 0; i < 100; ++i)
    all += put("/" + std::to_string(i) + (i % 3 == 0 ? "later" : ""), "body") + "\r\n";
  client.send(all);
  for (int i = 0; i < 100; ++i)
    CHECK(read_answer(client).body
          == "/" + std::to_string(i) + (i % 3 == 0 ? "later" : "") + ":body");
}

TEST_CASE("a responder that is dropped answers 500") {
  shared_state<std::optional<responder>> kept;
  fixture f{[&](request r, responder to) {
    if (r.path == "/dropped")
      return;
    kept.change([&](auto& k) {
      if (k)
        *k = std::move(to);
      else
        k.emplace(std::move(to));
    });
  }};
  CHECK(explains(ask(f.port(), get("/dropped")), 500));
  auto replaced = f.connect();
  replaced.send(get("/kept"));
  REQUIRE(kept.becomes([](auto& k) { return k.has_value(); }));
  auto instead = f.connect();
  instead.send(get("/instead"));
  CHECK(explains(read_answer(replaced), 500));
  kept.change([](auto& k) { k.reset(); });
  CHECK(explains(read_answer(instead), 500));
}

TEST_CASE("only the first answer to a request counts") {
  fixture f{[](request, responder to) {
    to.send(saying("first"));
    to.send(saying("second"));
  }};
  auto client = f.connect();
  client.send(get("/", "Connection: close\r\n"));
  auto all = client.receive_all();
  CHECK(all->ends_with("first"));
}

TEST_CASE("a slow handler is waited for, a slow client is not") {
  shared_state<std::vector<responder>> kept;
  server_options options;
  options.receive_timeout = 100ms;
  fixture f{[&](request r, responder to) {
              if (r.path == "/slow")
                kept.change([&](auto& k) { k.push_back(std::move(to)); });
            },
            options};
  auto patient = f.connect();
  patient.send(get("/slow"));
  REQUIRE(kept.becomes([](auto& k) { return k.size() == 1; }));

  auto half_head = f.connect();
  half_head.send("GET / HTTP/1.1\r\nHost");
  auto half_body = f.connect();
  half_body.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab");
  auto silent = f.connect();
  CHECK(explains(read_answer(half_head), 408));
  CHECK(half_head.at_end());
  CHECK(explains(read_answer(half_body), 408));
  CHECK(silent.at_end());

  // All of the above took longer than the limit for the patient client would have been.
  CHECK(patient.silent());
  kept.change([](auto& k) { k.front().send(saying("at last")); });
  CHECK(read_answer(patient).body == "at last");
}

TEST_CASE("clients that wait for a free descriptor are served when there is one") {
  fixture f;
  auto old = f.connect();
  old.send(get("/old"));
  REQUIRE(read_answer(old).status == 200);
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  int highest = ::dup(0);
  REQUIRE(highest >= 0);
  rlimit low{static_cast<rlim_t>(highest) + 20, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &low) == 0);
  raw_socket first{::socket(AF_INET, SOCK_STREAM, 0)};
  std::vector<int> taken{highest};
  for (int fd = ::dup(0); fd >= 0; fd = ::dup(0))
    taken.push_back(fd);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(f.port());
  bool connected =
      ::connect(first.descriptor(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  first.send(get("/"));
  // Once the server has served the old client three more times it has looked at the new one.
  int served = 0;
  for (int i = 0; i < 3; ++i) {
    old.send(get("/old"));
    served += read_answer(old).body == "/old:" ? 1 : 0;
  }
  bool unserved = first.silent();
  for (int fd : taken)
    ::close(fd);
  ::setrlimit(RLIMIT_NOFILE, &before);
  CHECK(connected);
  CHECK(served == 3);
  CHECK(unserved);
  CHECK(read_answer(first).body == "/:");
  CHECK(ask(f.port(), get("/x")).body == "/x:");
}

TEST_CASE("many clients on several threads each get their own answers") {
  clerk later;
  server_options options;
  options.threads = 3;
  fixture f{[&](request r, responder to) {
              auto answer = saying(r.path);
              if (r.body.empty())
                to.send(answer);
              else
                later.take(std::move(to), answer);
            },
            options};
  std::atomic<int> right = 0;
  std::vector<std::thread> clients;
  for (int c = 0; c < 8; ++c)
    clients.emplace_back([&, c] {
      auto client = f.connect();
      for (int i = 0; i < 300; ++i) {
        auto path = "/" + std::to_string(c) + "/" + std::to_string(i);
        client.send(i % 2 == 0 ? get(path) : put(path, "later"));
        if (read_answer(client).body == path)
          ++right;
      }
    });
  for (auto& c : clients)
    c.join();
  CHECK(right == 8 * 300);
}

// -- beyond the traps -----------------------------------------------------------------------------

TEST_CASE("a request may arrive byte by byte") {
  fixture f;
  auto client = f.connect();
  for (char c : "\r\n" + put("/x", "body"))
    client.send({&c, 1});
  CHECK(read_answer(client).body == "/x:body");
}

TEST_CASE("a long answer reaches a slow reader whole, and the connection serves on") {
  std::string long_text(30'000'000, 'x');
  fixture f{
      [&](request r, responder to) { to.send(saying(r.path == "/long" ? long_text : "short")); }};
  auto client = f.connect();
  client.send(get("/long") + get("/short"));
  auto answer = read_answer(client);
  CHECK(answer.body == long_text);
  CHECK(read_answer(client).body == "short");
  client.send(get("/long", "Connection: close\r\n"));
  auto last = client.receive_all();
  REQUIRE(last.has_value());
  CHECK(last->size() > long_text.size());
}

TEST_CASE("an answer's head is complete and cannot be split by a header's value") {
  fixture f{[](request r, responder to) {
    auto answer = saying("x", 410);
    answer.headers = {
        {"Retry-After", "5"}, {"X-Evil", "a\r\nX-Injected: b"}, {"content-length", "7"}};
    answer.content_type = "text/plain";
    if (r.path == "/empty")
      answer = saying("", 204);
    to.send(answer);
  }};
  auto answer = ask(f.port(), get("/"));
  CHECK(answer.head.starts_with("HTTP/1.1 410 Gone\r\n"));
  CHECK(answer.header("Retry-After") == "5");
  CHECK(answer.header("Content-Type") == "text/plain");
  CHECK(answer.header("Date").ends_with(" GMT"));
  CHECK(answer.head.find("Injected") == std::string::npos);
  CHECK(answer.body == "x");
  auto empty = ask(f.port(), get("/empty"));
  CHECK(empty.status == 204);
  CHECK(empty.header("Content-Length").empty());
}

TEST_CASE("a second server on a taken port is refused with the address and the reason") {
  fixture f;
  server_options options;
  options.port = f.port();
  server second{options, fixture::echo};
  auto error = second.start();
  REQUIRE(error.has_value());
  CHECK(error->find("127.0.0.1:" + std::to_string(f.port())) != std::string::npos);
  CHECK(error->find("in use") != std::string::npos);
  options.bind_host = "0.0.0.0";
  CHECK(server{options, fixture::echo}.start().has_value());
  CHECK(ask(f.port(), get("/")).status == 200);
}

TEST_CASE("an address that is not this machine's is refused") {
  server_options options;
  options.bind_host = "192.0.2.1";
  auto error = server{options, fixture::echo}.start();
  REQUIRE(error.has_value());
  CHECK(error->find("192.0.2.1:0") != std::string::npos);
}

TEST_CASE("a port can be taken again at once although connections on it have just been closed") {
  server_options options;
  auto f = std::make_unique<fixture>();
  options.port = f->port();
  auto client = f->connect();
  client.send(get("/"));
  CHECK(read_answer(client).status == 200);
  f.reset();
  CHECK(client.at_end());
  fixture again{options};
  CHECK(ask(options.port, get("/")).status == 200);
}

TEST_CASE("stopping closes idle connections, accepts no more, and lets answers under way be sent") {
  shared_state<std::vector<responder>> kept;
  fixture f{
      [&](request, responder to) { kept.change([&](auto& k) { k.push_back(std::move(to)); }); }};
  auto idle = f.connect();
  auto busy = f.connect();
  busy.send(get("/"));
  REQUIRE(kept.becomes([](auto& k) { return k.size() == 1; }));
  std::thread stopping{[&] { f.http.stop(); }};
  CHECK(idle.at_end());
  kept.change([](auto& k) { k.front().send(saying("last words")); });
  auto answer = read_answer(busy);
  CHECK(answer.body == "last words");
  CHECK(answer.header("Connection") == "close");
  CHECK(busy.at_end());
  busy.close();
  stopping.join();
  CHECK_THROWS((void)f.connect());
}

TEST_CASE("while a server stops, every client that gets connected gets an answer") {
  shared_state<bool> entered, released;
  server_options options;
  options.threads = 1;
  options.drain_patience = patience;
  fixture f{[&](request r, responder to) {
              entered.change([](bool& e) { e = true; });
              (void)released.becomes([](bool r) { return r; });
              to.send(saying(r.path));
            },
            options};
  auto first = f.connect();
  first.send(get("/"));
  REQUIRE(entered.becomes([](bool e) { return e; }));
  std::thread stopping{[&] { f.http.stop(); }};
  // The only thread is busy: clients connected now wait, and must not be reset in the end.
  constexpr int less_than_the_backlog = 1000;
  std::vector<raw_socket> waiting;
  bool closed = false;
  while (!closed && waiting.size() < less_than_the_backlog) {
    std::this_thread::yield();
    raw_socket client{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    closed = !connects(client, f.port());
    if (closed)
      break;
    client.send(get("/"));
    waiting.push_back(std::move(client));
  }
  released.change([](bool& r) { r = true; });
  CHECK(closed);
  for (auto& client : waiting)
    CHECK(read_answer(client).status == 200);
  CHECK(read_answer(first).status == 200);
  first.close();
  waiting.clear();
  stopping.join();
}

TEST_CASE("an answer that comes after the server's end does no harm") {
  shared_state<std::optional<responder>> kept;
  {
    fixture f{
        [&](request, responder to) { kept.change([&](auto& k) { k.emplace(std::move(to)); }); }};
    auto client = f.connect();
    client.send(get("/"));
    REQUIRE(kept.becomes([](auto& k) { return k.has_value(); }));
    client.close();
  }
  kept.change([](auto& k) { k->send(saying("too late")); });
}
