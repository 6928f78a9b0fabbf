// TLS at the server: what clients that speak TLS get, and that a client that breaks the protocol
// delays nobody.

#include <doctest/doctest.h>

#include <future>

#include "base/event_loop.hpp"
#include "http/server.hpp"
#include "raw_socket.hpp"

using namespace matriarch;
using namespace matriarch::http;
using namespace matriarch::test;
using namespace std::chrono_literals;

namespace {

const model::wall_time now = std::chrono::floor<model::duration>(std::chrono::system_clock::now());
const tls::validity these_days{now - std::chrono::days{1}, now + std::chrono::days{1}};
constexpr const char* name = "one.example.org";

/// The start of any handshake: a record of type 22 that promises 512 bytes.
const std::string begun_handshake{"\x16\x03\x01\x02\x00", 5};

tls::key_pair authority() {
  static const auto made = tls::make_authority("authority", these_days);
  REQUIRE(made.ok());
  return *made;
}

tls::key_pair certified(const std::string& host, const tls::validity& valid = these_days) {
  auto key = tls::make_key();
  auto request = tls::make_request(*key);
  auto certificate = tls::sign(*request, {host, {host}}, valid, authority());
  REQUIRE(certificate.ok());
  return {*key, *certificate};
}

/// A server with TLS whose answers repeat the request, or at `/from` the connection's port.
struct guarded {
  std::shared_ptr<tls::server_identity> shows = std::make_shared<tls::server_identity>();
  std::unique_ptr<server> serves;
  base::event_loop loop;

  explicit guarded(server_options options = {}) {
    REQUIRE_FALSE(shows->show(certified(name)));
    options.tls = shows;
    auto admit = [](const request& asked) {
      return admission{{}, asked.header("authorization") == nullptr ? "" : "somebody"};
    };
    service both{admit, [](request asked, responder to) {
                   response answer;
                   answer.body = asked.path == "/long"   ? std::string(5'000'000, 'x')
                                 : asked.path == "/from" ? asked.remote
                                                         : asked.body;
                   to.send(std::move(answer));
                 }};
    serves = std::make_unique<server>(std::move(options), std::move(both));
    REQUIRE_FALSE(serves->start());
  }

  std::future<base::outcome> begin(const std::string& host, const std::string& path = "/",
                                   std::string body = "",
                                   const std::string& by = authority().certificate) {
    base::outgoing what;
    what.verb = "PUT";
    what.url = "https://" + host + path;
    what.reached_at = "127.0.0.1:" + std::to_string(serves->port());
    what.body = std::move(body);
    what.tls.authority_text = by;
    what.username = "somebody";
    what.timeout = 60s;
    what.connect_timeout = 30s;
    auto done = std::make_shared<std::promise<base::outcome>>();
    loop.send(std::move(what), [done](base::outcome came) { done->set_value(std::move(came)); });
    return done->get_future();
  }
  base::outcome ask(const std::string& host, const std::string& path = "/", std::string body = "",
                    const std::string& by = authority().certificate) {
    return begin(host, path, std::move(body), by).get();
  }
};

} // namespace

TEST_CASE("requests and answers by TLS arrive whole, however long") {
  guarded here;
  for (std::size_t size : {0, 1, 16'383, 16'384, 16'385, 1'000'000}) {
    CAPTURE(size);
    auto came = here.ask(name, "/", std::string(size, 'b'));
    CHECK_MESSAGE(came.status == 200, came.error);
    CHECK(came.body == std::string(size, 'b'));
  }
  CHECK(here.ask(name, "/long").body.size() == 5'000'000);
}

TEST_CASE("many requests by TLS at a time are answered each with its own") {
  guarded here;
  std::vector<std::future<base::outcome>> under_way;
  for (int i = 0; i < 200; ++i)
    under_way.push_back(here.begin(name, "/", std::to_string(i)));
  for (int i = 0; i < 200; ++i)
    CHECK(under_way[static_cast<std::size_t>(i)].get().body == std::to_string(i));
}

TEST_CASE("a server that cannot be recognised is sent nothing, and the error says why") {
  guarded here;
  auto refused = [&](const std::string& host, const std::string& by) {
    auto came = here.ask(host, "/", "secret", by);
    CHECK(came.status == 0);
    CHECK(came.never_sent);
    // The expected name, and the address.
    auto at =
        "PUT https://" + host + "/ at 127.0.0.1:" + std::to_string(here.serves->port()) + ": ";
    CHECK(came.error.starts_with(at));
    return came.error.substr(std::min(at.size(), came.error.size()));
  };
  auto ours = authority().certificate;
  CHECK(refused("other.example.org", ours) == "its certificate is not that of other.example.org");
  auto stranger = tls::make_authority("stranger", these_days);
  CHECK(refused(name, stranger->certificate)
        == "its certificate was signed by no authority that is trusted here");
  CHECK_FALSE(refused(name, "nobody").empty());
  std::chrono::hours hour{1};
  REQUIRE_FALSE(here.shows->show(certified(name, {now - hour * 3, now - hour})));
  CHECK(refused(name, ours) == "its certificate, or that of who signed it, has expired");
  REQUIRE_FALSE(here.shows->show(certified(name, {now + hour, now + hour * 3})));
  CHECK(refused(name, ours).starts_with("its certificate is not valid yet"));
  REQUIRE_FALSE(here.shows->show(*tls::make_unchecked({name, {name}}, these_days)));
  CHECK(refused(name, ours) == "its certificate was signed by no authority, but by itself");
}

TEST_CASE("requests to one server share a connection, so that a handshake is paid once") {
  guarded here;
  auto first = here.ask(name, "/from");
  REQUIRE_MESSAGE(first.status == 200, first.error);
  for (int i = 0; i < 50; ++i)
    CHECK(here.ask(name, "/from").body == first.body);
  // The trusted authority is part of the key: no connection serves a request that would not have
  // accepted its certificate.
  auto other = tls::make_authority("other", these_days);
  CHECK(here.ask(name, "/from", "", other->certificate).status == 0);
  CHECK(here.ask("other.example.org", "/from").status == 0);
}

TEST_CASE("a new certificate is shown to the next client, without a restart") {
  guarded here;
  CHECK(here.ask(name).status == 200);
  REQUIRE_FALSE(here.shows->show(certified("two.example.org")));
  auto came = here.ask("two.example.org");
  CHECK_MESSAGE(came.status == 200, came.error);
  // A text that is no certificate changes nothing.
  auto wrong = certified(name);
  wrong.key = *tls::make_key();
  CHECK(here.shows->show(wrong).has_value());
  CHECK(here.shows->show({"", ""}).has_value());
  CHECK(here.ask("two.example.org", "/", "again").status == 200);
}

TEST_CASE("the same port serves those that speak no TLS, unless they are refused") {
  const std::string asked = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  guarded both;
  CHECK(ask(both.serves->port(), asked).status == 200);
  guarded alone;
  alone.shows->refuse_plain(true);
  auto refused = ask(alone.serves->port(), asked);
  CHECK(refused.status == 400);
  CHECK(refused.body.find("https://") != std::string::npos);
  CHECK(alone.ask(name).status == 200);
}

TEST_CASE("unfinished handshakes delay nobody, and end in the time for a request") {
  server_options options;
  options.receive_timeout = 1s;
  guarded here{options};
  std::vector<raw_socket> silent;
  for (int i = 0; i < 100; ++i) {
    silent.push_back(raw_socket::to(here.serves->port()));
    CHECK(silent.back().send(begun_handshake));
  }
  CHECK(here.ask(name).status == 200);
  for (auto& one : silent)
    CHECK(one.at_end());
}

TEST_CASE("silent sockets and unfinished handshakes keep nobody out, however many they are") {
  server_options options;
  options.max_connections = 50;
  guarded here{options};
  std::vector<raw_socket> silent;
  for (int i = 0; i < 200; ++i) {
    silent.push_back(raw_socket::to(here.serves->port()));
    if (i % 2 == 0)
      (void)silent.back().send(begun_handshake);
    if (i % 20 == 0)
      CHECK(here.ask(name, "/", std::to_string(i)).status == 200);
  }
}

TEST_CASE("a client that sends a handshake byte by byte has no more time than others") {
  server_options options;
  options.receive_timeout = 1s;
  guarded here{options};
  auto slow = raw_socket::to(here.serves->port());
  CHECK(slow.send(begun_handshake));
  // As many bytes as the record promises: it is closed long before.
  bool open = true;
  for (int i = 0; i < 512 && open; ++i) {
    open = slow.send(std::string(1, '\1'));
    open = open && slow.silent();
    std::this_thread::sleep_for(20ms);
  }
  CHECK_FALSE(open);
}

TEST_CASE("a connection that is no TLS after its first byte is closed, and others are served") {
  guarded here;
  for (const auto& text : {begun_handshake + std::string(600, 'x'), std::string(1, '\x16'),
                           std::string{"\x16\x03\x01\xff\xff", 5} + std::string(70'000, 'y')}) {
    auto one = raw_socket::to(here.serves->port());
    CHECK(one.send(text));
    one.end_sending();
    (void)one.receive_all(); // an alert, or nothing
    CHECK(one.at_end());
  }
  CHECK(here.ask(name).status == 200);
}

TEST_CASE("clients by TLS that leave in the middle do no harm") {
  guarded here;
  for (int i = 0; i < 50; ++i) {
    auto one = raw_socket::to(here.serves->port());
    (void)one.send(begun_handshake);
    one.reset();
  }
  auto came = here.begin(name, "/long");
  CHECK(came.get().status == 200);
}
