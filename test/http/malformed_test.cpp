// A corpus of malformed requests, each sent to the whole API over a real connection. A row says what
// the sender gets: the status of the one answer, or nothing but the end of the connection.

#include <fmt/format.h>

#include "stand_in_broker.hpp"

using namespace matriarch;
using namespace matriarch::http;
using namespace matriarch::test;
using namespace std::string_literals;

namespace {

/// The connection is closed without an answer, for what came was never a whole request.
constexpr int closed = 0;

struct row {
  std::string what;
  std::string bytes;
  int status = 400;
};

const std::string host = "Host: h\r\n";
const std::string access = good_credentials;

std::string line(const std::string& text) {
  return text + "\r\n" + host + "\r\n";
}

std::string header(const std::string& text) {
  return "GET /healthz HTTP/1.1\r\n" + host + text + "\r\n\r\n";
}

/// A change whose framing is wrong. A server that reads the framing differently from a proxy in
/// front would serve the bytes that follow.
std::string framing(const std::string& headers, const std::string& body) {
  return "PUT /v2/service_instances/smuggled" + incomplete + " HTTP/1.1\r\n" + host + access
         + version + headers + "\r\n\r\n" + body + "GET /v2/catalog HTTP/1.1\r\n" + host + access
         + version + "\r\n";
}

/// A provision with that body.
std::string provision(const std::string& body, const std::string& more = {}) {
  return "PUT " + here + incomplete + " HTTP/1.1\r\n" + host + access + version + more
         + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

std::string repeated(std::size_t count, const std::string& text) {
  std::string all;
  all.reserve(count * text.size());
  for (std::size_t i = 0; i < count; ++i)
    all += text;
  return all;
}

std::vector<row> request_lines() {
  return {
      {"a line feed alone", "\n"},
      {"a carriage return in front", "\r" + line("GET /healthz HTTP/1.1")},
      {"a space in front", " " + line("GET /healthz HTTP/1.1")},
      {"nothing but a method", line("GET")},
      {"a request of HTTP 0.9", line("GET /healthz")},
      {"a version without numbers", line("GET /healthz HTTP")},
      {"a version in lower case", line("GET /healthz http/1.1")},
      {"a version with two minor digits", line("GET /healthz HTTP/1.10")},
      {"a version that is no number", line("GET /healthz HTTP/1.x")},
      {"a version with a comma", line("GET /healthz HTTP/1,1")},
      {"HTTP 0.9 by name", line("GET /healthz HTTP/0.9"), 505},
      {"HTTP 2.0 by name", line("GET /healthz HTTP/2.0"), 505},
      {"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"a space after the version", line("GET /healthz HTTP/1.1 ")},
      {"two spaces before the path", line("GET  /healthz HTTP/1.1")},
      {"two spaces after the path", line("GET /healthz  HTTP/1.1")},
      {"a tab instead of a space", line("GET\t/healthz HTTP/1.1")},
      {"a space in the path", line("GET /health z HTTP/1.1")},
      {"a method in brackets", line("(GET) /healthz HTTP/1.1")},
      {"a method with a colon", line("GET: /healthz HTTP/1.1")},
      {"no method", line(" /healthz HTTP/1.1")},
      {"a NUL in the method", line("G\0T /healthz HTTP/1.1"s)},
      {"a NUL in the path", line("GET /health\0z HTTP/1.1"s)},
      {"an escaped NUL in the path", line("GET /health%00z HTTP/1.1")},
      {"a carriage return in the path", line("GET /health\rz HTTP/1.1")},
      {"a byte above ASCII in the path", line("GET /\xff HTTP/1.1")},
      {"half an escape", line("GET /healthz% HTTP/1.1")},
      {"an escape that is not hexadecimal", line("GET /%zz HTTP/1.1")},
      {"an escape of Unicode in IIS's way", line("GET /%u0061 HTTP/1.1")},
      {"half an escape in the query", line("GET /healthz?a=%a HTTP/1.1")},
      {"a fragment", line("GET /healthz#x HTTP/1.1")},
      {"a path without a slash", line("GET healthz HTTP/1.1")},
      {"a path with a backslash in front", line("GET \\healthz HTTP/1.1")},
      {"a star with GET", line("GET * HTTP/1.1")},
      {"a tunnel to elsewhere", line("CONNECT example.org:443 HTTP/1.1")},
      {"another scheme", line("GET ftp://h/healthz HTTP/1.1")},
      {"a path of 9,000 bytes", line("GET /" + std::string(9'000, 'a') + " HTTP/1.1"), 414},
      {"a method of 20,000 bytes", line(std::string(20'000, 'G') + " / HTTP/1.1"), 431},
      {"20,000 bytes without a line's end", std::string(20'000, 'x'), 431},
      {"the start of a TLS handshake", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"s},
      {"a greeting of SSH", "SSH-2.0-OpenSSH_9.2\r\n\r\n"},
      {"a command of Redis", "*1\r\n$4\r\nPING\r\n\r\n"},
      {"the preface of HAProxy's PROXY protocol",
       "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + line("GET /healthz HTTP/1.1")},
      {"200 bytes of zero, and an empty line", std::string(200, '\0') + "\r\n\r\n"},
  };
}

std::vector<row> headers() {
  return {
      {"a header without a colon", header("X")},
      {"a header without a name", header(": x")},
      {"a space before the colon", header("X : x")},
      {"a tab before the colon", header("X\t: x")},
      {"a space before the first header", "GET /healthz HTTP/1.1\r\n X: x\r\n" + host + "\r\n"},
      {"a folded header", header("X: a\r\n b")},
      {"a header folded with a tab", header("X: a\r\n\tb")},
      {"a NUL in a value", header("X: a\0b"s)},
      {"a NUL in a name", header("X\0Y: a"s)},
      {"a carriage return in a value", header("X: a\rb")},
      {"a line feed in a value", header("X: a\nY: b")},
      {"a bell in a value", header("X: \a")},
      {"a DEL in a value", header("X: \x7f")},
      {"a name in brackets", header("(X): x")},
      {"a name above ASCII", header("\xc3\x9c: x")},
      {"line feeds alone", "GET /healthz HTTP/1.1\nHost: h\n\n"},
      {"a line feed alone at the end", "GET /healthz HTTP/1.1\r\n" + host + "\n"},
      {"no host", "GET /healthz HTTP/1.1\r\n\r\n"},
      {"two hosts", header("Host: h")},
      {"a host with a path", "GET /healthz HTTP/1.1\r\nHost: h/x\r\n\r\n"},
      {"a host with a user", "GET /healthz HTTP/1.1\r\nHost: u@h\r\n\r\n"},
      {"a host with a port that is none", "GET /healthz HTTP/1.1\r\nHost: h:99999\r\n\r\n"},
      {"101 headers", header(repeated(99, "X: x\r\n") + "X: x"), 431},
      {"5,000 headers", header(repeated(5'000, "X: x\r\n") + "X: x"), 431},
      {"a header of 20,000 bytes", header("X: " + std::string(20'000, 'x')), 431},
      {"a header of 20,000 spaces", header("X:" + std::string(20'000, ' ')), 431},
      {"an expectation that nobody knows", header("Expect: miracles"), 417},
  };
}

std::vector<row> framings() {
  return {
      {"two lengths", framing("Content-Length: 2\r\nContent-Length: 4", "{}")},
      {"two lengths that agree", framing("Content-Length: 2\r\nContent-Length: 2", "{}")},
      {"two lengths in one header", framing("Content-Length: 2, 2", "{}")},
      {"a second length in another case", framing("Content-Length: 0\r\ncontent-length: 2", "{}")},
      {"no number as length", framing("Content-Length: two", "{}")},
      {"an empty length", framing("Content-Length:", "{}")},
      {"a negative length", framing("Content-Length: -1", "{}")},
      {"a length with a sign", framing("Content-Length: +2", "{}")},
      {"a hexadecimal length", framing("Content-Length: 0x2", "{}")},
      {"a length with an exponent", framing("Content-Length: 2e0", "{}")},
      {"a length with a fraction", framing("Content-Length: 2.0", "{}")},
      {"a length with a space within", framing("Content-Length: 1 2", "{}")},
      {"a length with something behind", framing("Content-Length: 2;x", "{}")},
      {"a length in quotes", framing("Content-Length: \"2\"", "{}")},
      {"a length in Arabic digits", framing("Content-Length: \xd9\xa2", "{}")},
      {"a length above 64 bits", framing("Content-Length: 18446744073709551618", "{}")},
      {"a length of a hundred digits", framing("Content-Length: " + std::string(100, '9'), "{}")},
      {"the largest length", framing("Content-Length: 18446744073709551615", "{}"), 413},
      {"a length near the end of a signed number",
       framing("Content-Length: 9223372036854775807", "{}"), 413},
      {"a length above the limit", framing("Content-Length: 1048577", "{}"), 413},
      {"a space before the length's colon", framing("Content-Length : 2", "{}")},
      {"a folded length", framing("Content-Length:\r\n 2", "{}")},
      {"a length after a folded header", framing("X: a\r\n Content-Length: 2", "{}")},
      {"chunks", framing("Transfer-Encoding: chunked", "2\r\n{}\r\n0\r\n\r\n"), 411},
      {"chunks with an extension",
       framing("Transfer-Encoding: chunked", "2;x=y\r\n{}\r\n0\r\n\r\n"), 411},
      {"a chunk of negative size", framing("Transfer-Encoding: chunked", "-2\r\n{}\r\n0\r\n\r\n"),
       411},
      {"a chunk above 64 bits",
       framing("Transfer-Encoding: chunked", "ffffffffffffffff2\r\n{}\r\n"), 411},
      {"chunks with a trailer",
       framing("Transfer-Encoding: chunked", "0\r\nContent-Length: 2\r\n\r\n"), 411},
      {"a length and chunks",
       framing("Content-Length: 2\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), 411},
      {"chunks and a length",
       framing("Transfer-Encoding: chunked\r\nContent-Length: 2", "0\r\n\r\n"), 411},
      {"chunks by another name", framing("Transfer-Encoding: xchunked", "0\r\n\r\n"), 411},
      {"chunks twice", framing("Transfer-Encoding: chunked, chunked", "0\r\n\r\n"), 411},
      {"chunks that are identity", framing("Transfer-Encoding: identity", "{}"), 411},
      {"chunks in quotes", framing("Transfer-Encoding: \"chunked\"", "0\r\n\r\n"), 411},
      {"no encoding named", framing("Transfer-Encoding:", "0\r\n\r\n"), 411},
      {"a space before the encoding's colon", framing("Transfer-Encoding : chunked", "0\r\n\r\n")},
      {"a tab before the encoding's colon", framing("Transfer-Encoding\t: chunked", "0\r\n\r\n")},
      {"a folded encoding", framing("Transfer-Encoding:\r\n chunked", "0\r\n\r\n")},
      {"an encoding behind a vertical tab", framing("Transfer-Encoding: \vchunked", "0\r\n\r\n")},
      {"an encoding behind a NUL", framing("Transfer-Encoding: \0chunked"s, "0\r\n\r\n")},
      {"an encoding behind a line feed", framing("X: y\nTransfer-Encoding: chunked", "0\r\n\r\n")},
      {"an encoding behind a carriage return",
       framing("X: y\rTransfer-Encoding: chunked", "0\r\n\r\n")},
      {"chunks with HTTP 1.0",
       "PUT " + here + " HTTP/1.0\r\n" + access + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       411},
  };
}

std::vector<row> bodies() {
  auto in_parameters = [](const std::string& text) {
    return body_with(R"(,"parameters":{"node-count":)" + text + "}");
  };
  return {
      {"no body", provision("")},
      {"half an object", provision("{")},
      {"two objects", provision("{}{}")},
      {"something behind the object", provision(body_with() + "x")},
      {"an array", provision("[]")},
      {"a word", provision("null")},
      {"no JSON", provision("service_id=service-id")},
      {"single quotes", provision("{'service_id':'service-id'}")},
      {"a comment", provision("{/* */}")},
      {"no number", provision(in_parameters("NaN"))},
      {"a number with a leading zero", provision(in_parameters("02"))},
      {"a number beyond doubles", provision(in_parameters("1e999999"))},
      {"a number of a million digits", provision(in_parameters(std::string(1'000'000, '1')))},
      {"a fraction of a million digits",
       provision(in_parameters("0." + std::string(1'000'000, '0') + "1"))},
      {"a key twice", provision(body_with(R"(,"service_id":"service-id")"))},
      {"a NUL in a string", provision("{\"service_id\":\"a\0b\"}"s)},
      {"a line feed in a string", provision("{\"service_id\":\"a\nb\"}")},
      {"half a surrogate", provision(R"({"service_id":"\ud800"})")},
      {"an escape that is none", provision(R"({"service_id":"\x41"})")},
      {"a string that is not UTF-8", provision("{\"service_id\":\"\xff\xfe\"}")},
      {"an overlong slash", provision("{\"service_id\":\"\xc0\xaf\"}")},
      {"UTF-16", provision("\xff\xfe{\0}\0"s)},
      {"100,000 arrays in each other", provision(repeated(100'000, "["))},
      {"100,000 whole arrays in each other",
       provision(repeated(100'000, "[") + repeated(100'000, "]"))},
      {"100,000 objects in each other", provision(repeated(100'000, R"({"a":)"))},
      {"arrays deep within the parameters",
       provision(in_parameters(repeated(10'000, "[") + repeated(10'000, "]")))},
      {"a list of 400,000 cells",
       provision(body_with(R"(,"parameters":{"cells":[)" + repeated(399'999, "1,") + "1]}"))},
      {"60,000 parameters",
       [] {
         std::string all;
         for (int i = 0; i < 60'000; ++i)
           all += fmt::format(R"("k{}":1,)", i);
         return provision(body_with(R"(,"parameters":{)" + all + R"("k":1})"));
       }()},
      {"an id of a megabyte",
       provision(R"({"service_id":")" + std::string(1'000'000, 'x') + "\"}")},
      {"a context of a megabyte",
       provision(body_with(R"(,"context":{"x":")" + std::string(1'000'000, 'x') + "\"}"))},
      {"a megabyte of spaces", provision(std::string(1'000'000, ' '))},
      {"another type of content", provision(body_with(), "Content-Type: text/plain\r\n")},
      {"an identity that is no Base64",
       provision(body_with(), "X-Broker-API-Originating-Identity: cf \xff\r\n")},
      {"an identity of deep arrays",
       provision(body_with(),
                 "X-Broker-API-Originating-Identity: cf " + repeated(3'000, "W1tb") + "\r\n")},
      {"a body above the limit", provision(std::string(1'048'577, ' ')), 413},
  };
}

/// Requests that strangers may send without harm: the refusal comes after the head.
std::vector<row> strangers() {
  auto put = [](const std::string& headers) {
    return "PUT " + here + incomplete + " HTTP/1.1\r\n" + host + version + headers + "\r\n";
  };
  return {
      {"a stranger's body that never comes", put("Content-Length: 1000000\r\n"), 401},
      {"a stranger's body above the limit", put("Content-Length: 99999999999\r\n"), 401},
      {"a stranger who expects a continue", put("Expect: 100-continue\r\nContent-Length: 1000\r\n"),
       401},
      {"credentials without a word", put("Authorization:\r\n"), 401},
      {"credentials of another scheme", put("Authorization: Digest user=\"user\"\r\n"), 401},
      {"credentials that are no Base64", put("Authorization: Basic \xff\xff\r\n"), 401},
      {"credentials without a colon", put("Authorization: Basic dXNlcg==\r\n"), 401},
      {"credentials of 15,000 bytes",
       put("Authorization: Basic " + std::string(15'000, 'A') + "\r\n"), 401},
      {"an empty token", put("Authorization: Bearer \r\n"), 401},
      {"a body for what is open to strangers",
       "GET /healthz HTTP/1.1\r\n" + host + "Content-Length: 100000\r\n\r\n", 413},
      {"a path around the catalog", line("GET /v2/../healthz HTTP/1.1"), 401},
      {"a path with an escaped slash", line("GET /v2%2fcatalog HTTP/1.1"), 401},
      {"a path with an empty segment", line("GET //healthz HTTP/1.1"), 401},
  };
}

/// The client ends here, before its request was complete.
std::vector<row> incomplete_ones() {
  return {
      {"nothing at all", "", closed},
      {"empty lines", "\r\n\r\n\r\n", closed},
      {"half a request line", "GET /heal", closed},
      {"half a head", "GET /healthz HTTP/1.1\r\nHos", closed},
      {"a head without its last line", "GET /healthz HTTP/1.1\r\nHost: h\r\n", closed},
      {"a head with half its last line", "GET /healthz HTTP/1.1\r\nHost: h\r\n\r", closed},
      {"half a body", provision("{}    ").substr(0, provision("{}    ").size() - 3), closed},
      {"a body that never comes", provision("{}").substr(0, provision("{}").size() - 2), closed},
  };
}

std::vector<row> corpus() {
  std::vector<row> all;
  for (auto& part :
       {request_lines(), headers(), framings(), bodies(), strangers(), incomplete_ones()})
    all.insert(all.end(), part.begin(), part.end());
  return all;
}

} // namespace

TEST_CASE("each of a corpus of malformed requests gets one answer, and the next client is served") {
  broker b;
  auto all = corpus();
  CHECK(all.size() >= 60);
  for (const auto& [what, bytes, status] : all) {
    CAPTURE(what);
    auto client = raw_socket::to(b.port());
    client.send(bytes);
    if (status == closed) {
      client.end_sending();
    } else {
      auto answer = read_answer(client);
      CHECK(answer.status == status);
      auto body = json::parse(answer.body);
      REQUIRE(body.ok());
      CHECK_FALSE(json::string_member(*body, "description").empty());
      client.end_sending();
    }
    // There is neither a second answer nor a connection that stays open.
    auto rest = client.receive_all();
    REQUIRE(rest.has_value());
    CHECK(rest->empty());
    CHECK(b.send("GET", "/v2/catalog").status == 200);
  }
  CHECK(b.asked().empty());
  MESSAGE(all.size() << " malformed requests: none hung, each with its own status");
}

TEST_CASE("a malformed request byte by byte gets the same answer") {
  broker b;
  for (const auto& part : {request_lines(), headers(), framings()})
    for (const auto& [what, bytes, status] : part) {
      if (bytes.size() > 1'000)
        continue;
      CAPTURE(what);
      auto client = raw_socket::to(b.port());
      for (char c : bytes)
        if (!client.send({&c, 1}))
          break; // refused already
      CHECK(read_answer(client).status == status);
    }
  CHECK(b.asked().empty());
}
