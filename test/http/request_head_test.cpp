#include <doctest/doctest.h>

#include "http/request_head.hpp"

using namespace matriarch::http;
using namespace std::string_literals;

namespace {

request_head good(const std::string& head) {
  auto read = read_head(head);
  REQUIRE(std::holds_alternative<request_head>(read));
  return std::get<request_head>(read);
}

/// The status that a head is refused with; 0 if it is not.
int refused(const std::string& head) {
  auto read = read_head(head);
  auto* why = std::get_if<refusal>(&read);
  if (why != nullptr)
    CHECK_FALSE(why->description.empty());
  return why == nullptr ? 0 : why->status;
}

request target(const std::string& text) {
  return good("GET " + text + " HTTP/1.1\r\nHost: a").content;
}

using segments = std::vector<std::string>;
using pairs = std::vector<std::pair<std::string, std::string>>;

} // namespace

TEST_CASE("percent escapes are decoded once and a plus in a path stays a plus") {
  CHECK(percent_decoded("a%20b%2fc%2Fd").value() == "a b/c/d");
  CHECK(percent_decoded("%2541").value() == "%41");
  CHECK(percent_decoded("a+b").value() == "a+b");
  CHECK(percent_decoded("a+b%2B", true).value() == "a b+");
  CHECK(percent_decoded("%C3%BC").value() == "ü");
  CHECK(percent_decoded("").value().empty());
}

TEST_CASE("an incomplete escape and a NUL byte are refused") {
  for (auto* text : {"%", "%4", "a%4", "%zz", "%4g", "%g4", "%%41", "% 1", "%+1"})
    CHECK_MESSAGE(!percent_decoded(text).ok(), text);
  CHECK_FALSE(percent_decoded("a%00b").ok());
  CHECK_FALSE(percent_decoded("a\0b"s).ok());
}

TEST_CASE("a path is cut into segments before they are decoded") {
  CHECK(target("/a/b%2Fc").segments == segments{"a", "b/c"});
  CHECK(target("/a%2Fb").segments == segments{"a/b"});
  CHECK(target("/").segments.empty());
  CHECK(target("/a/").segments == segments{"a", ""});
  CHECK(target("//a").segments == segments{"", "a"});
  CHECK(target("/a+b").segments == segments{"a+b"});
  CHECK(target("/%2e%2e/x").segments == segments{"..", "x"});
  CHECK(target("/a/b%2Fc?x=1").path == "/a/b%2Fc");
}

TEST_CASE("a query is cut into pairs before they are decoded") {
  auto r = target("/x?a=1&b=%26%3D&c&=d&&e=f=g&a=2&h=i+j%2Bk?");
  CHECK(r.query
        == pairs{{"a", "1"},
                 {"b", "&="},
                 {"c", ""},
                 {"", "d"},
                 {"e", "f=g"},
                 {"a", "2"},
                 {"h", "i j+k?"}});
  CHECK(*r.query_value("a") == "1");
  CHECK(r.query_value("z") == nullptr);
  CHECK(target("/x?").query.empty());
}

TEST_CASE("a malformed target is refused") {
  for (auto* text : {"x", "*", "/a%0", "/a?b=%", "/a#b", "/%00", "/a?b%00", "host:80", "ftp://a/b"})
    CHECK_MESSAGE(refused("GET "s + text + " HTTP/1.1\r\nHost: a") == 400, text);
  CHECK(refused("GET /a b HTTP/1.1\r\nHost: a") == 400);
  CHECK(refused("GET /\xff HTTP/1.1\r\nHost: a") == 400);
  CHECK(refused("GET /" + std::string(8'000, 'a') + " HTTP/1.1\r\nHost: a") == 414);
  CHECK(refused("GET /" + std::string(7'999, 'a') + " HTTP/1.1\r\nHost: a") == 0);
}

TEST_CASE("a target may be a whole URL or, for OPTIONS, a star") {
  CHECK(target("http://a:80/b?c=d").segments == segments{"b"});
  CHECK(target("HTTP://a?c=d").path == "/");
  CHECK(*target("http://a?c=d").query_value("c") == "d");
  CHECK(target("http://a").path == "/");
  CHECK(good("OPTIONS * HTTP/1.1\r\nHost: a").content.path == "*");
}

TEST_CASE("a malformed request line is refused") {
  for (auto* line :
       {"", "GET", "GET /", "GET / HTTP", "GET /HTTP/1.1", " / HTTP/1.1", "G(T / HTTP/1.1",
        "GET / http/1.1", "GET / HTTP/1.10", "GET / HTTP/x.1", "GET / HTTP/1.1 "})
    CHECK_MESSAGE(refused(line + "\r\nHost: a"s) == 400, line);
  CHECK(refused("GET / HTTP/2.0\r\nHost: a") == 505);
  CHECK(refused("GET / HTTP/0.9\r\nHost: a") == 505);
}

TEST_CASE("methods are told apart by case and unknown ones are passed on") {
  auto verb = [](const std::string& name) {
    return good(name + " / HTTP/1.1\r\nHost: a").content.verb;
  };
  CHECK(verb("GET") == method::get);
  CHECK(verb("HEAD") == method::head);
  CHECK(verb("POST") == method::post);
  CHECK(verb("PUT") == method::put);
  CHECK(verb("PATCH") == method::patch);
  CHECK(verb("DELETE") == method::del);
  CHECK(verb("OPTIONS") == method::options);
  CHECK(verb("get") == method::other);
  CHECK(verb("BREW") == method::other);
}

TEST_CASE("header names are lowered and values trimmed") {
  auto r = good("GET / HTTP/1.1\r\nHost: a\r\nX-Broker-API-Version: \t 2.17 \t\r\nX-A:\r\nX-a:b")
               .content;
  CHECK(r.headers
        == pairs{{"host", "a"}, {"x-broker-api-version", "2.17"}, {"x-a", ""}, {"x-a", "b"}});
  CHECK(r.header("x-a")->empty());
  CHECK(r.header("x-b") == nullptr);
}

TEST_CASE("a malformed header line is refused") {
  for (auto& line : {"X"s, ": a"s, "X : a"s, " X: a"s, "X: a\r\n folded"s, "X\t: a"s, "X: a\rb"s,
                     "X: a\nb"s, "X: a\0b"s, "X: \x7f"s, "(X): a"s, ""s})
    CHECK_MESSAGE(refused("GET / HTTP/1.1\r\nHost: a\r\n" + line + "\r\nY: b") == 400, line);
  std::string many = "GET / HTTP/1.1\r\nHost: a";
  for (int i = 0; i < 99; ++i)
    many += "\r\nX: y";
  CHECK(refused(many) == 0);
  CHECK(refused(many + "\r\nX: y") == 431);
}

TEST_CASE("a host is needed once and checked") {
  for (auto* host :
       {"", "a", "a:80", "a:", "1.2.3.4:65535", "[::1]", "[::1]:8080", "[fe80::1%25eth0]:1"})
    CHECK_MESSAGE(refused("GET / HTTP/1.1\r\nHost: "s + host) == 0, host);
  for (auto* host :
       {"a:b", "a:65536", "a:-1", "a b", "a/b", "a@b", "::1", ":80", "[::1", "a:80:80", "[]"})
    CHECK_MESSAGE(refused("GET / HTTP/1.1\r\nHost: "s + host) == 400, host);
  CHECK(refused("GET / HTTP/1.1") == 400);
  CHECK(refused("GET / HTTP/1.1\r\nHost: a\r\nHost: a") == 400);
  CHECK(refused("GET / HTTP/1.0") == 0);
}

TEST_CASE("a content length is one plain decimal number") {
  auto with = [](const std::string& length) {
    return "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: " + length;
  };
  CHECK(good(with("0")).content_length == 0);
  CHECK(good(with("42")).content_length == 42);
  CHECK(good("PUT / HTTP/1.1\r\nHost: a").content_length == 0);
  for (auto* bad : {"", "abc", "-1", "+1", "0x10", "1.0", "1 2", "5, 5", "99999999999999999999",
                    "5\r\nContent-Length: 5", "5\r\nContent-Length: 6"})
    CHECK_MESSAGE(refused(with(bad)) == 400, bad);
}

TEST_CASE("a transfer encoding is refused with a request for a length") {
  CHECK(refused("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked") == 411);
  CHECK(refused("PUT / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: identity") == 411);
  CHECK(refused("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked")
        == 411);
}

TEST_CASE("a connection is kept as the version and the client say") {
  auto keeps = [](const std::string& version, const std::string& more) {
    return good("GET / HTTP/" + version + "\r\nHost: a" + more).keep_alive;
  };
  CHECK(keeps("1.1", ""));
  CHECK(keeps("1.1", "\r\nConnection: keep-alive"));
  CHECK_FALSE(keeps("1.1", "\r\nConnection: x, Close"));
  CHECK_FALSE(keeps("1.1", "\r\nConnection: keep-alive\r\nConnection: close"));
  CHECK_FALSE(keeps("1.0", ""));
  CHECK(keeps("1.0", "\r\nConnection: Keep-Alive"));
}

TEST_CASE("only the expectation of a continue is met") {
  CHECK(good("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue").expects_continue);
  CHECK_FALSE(good("PUT / HTTP/1.1\r\nHost: a").expects_continue);
  CHECK_FALSE(good("PUT / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue").expects_continue);
  CHECK(refused("PUT / HTTP/1.1\r\nHost: a\r\nExpect: miracles") == 417);
}
