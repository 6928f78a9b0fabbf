// The single answer to a request, without a connection.
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "http/answer_text.hpp"
#include "http/server.hpp"

using namespace matriarch::http;

namespace {

using answers = std::vector<response>;

responder into(answers& all) {
  struct noting : responder::connection {
    explicit noting(answers& to) : to(to) {}
    void send(const response& answer) override { to.push_back(answer); }
    answers& to;
  };
  return responder{std::make_unique<noting>(all)};
}

} // namespace

TEST_CASE("a responder sends its first answer, with the headers that were added to it") {
  answers sent;
  {
    auto to = into(sent);
    to.add_header("Age", "3");
    to.send({200, "{}", {{"Allow", "GET"}}});
    to.send({500, "{}", {}});
  }
  REQUIRE(sent.size() == 1);
  CHECK(sent[0].status == 200);
  CHECK(sent[0].headers
        == std::vector<std::pair<std::string, std::string>>{{"Allow", "GET"}, {"Age", "3"}});
}

TEST_CASE("a responder that is dropped, or overwritten, answers 500") {
  answers sent;
  {
    auto dropped = into(sent);
    dropped.add_header("Age", "3");
    auto moved = std::move(dropped);
  }
  REQUIRE(sent.size() == 1);
  CHECK(sent[0].status == 500);
  CHECK(sent[0].headers.size() == 1);
  answers first, second;
  auto to = into(first);
  to = into(second);
  CHECK(first.size() == 1);
  CHECK(second.empty());
  to.send({});
  CHECK(second.size() == 1);
}

TEST_CASE("an answer has a head with the length of its body, and the body") {
  response said{
      201, "{\"a\":1}", {{"X-One", "1"}, {"Content-Length", "7000"}, {"X-Two", "a\r\nb"}}};
  auto text = text_of(said, false, true);
  CHECK(text.starts_with("HTTP/1.1 201 Created\r\nDate: "));
  CHECK(text.find("Connection: keep-alive\r\nX-One: 1\r\nContent-Type: application/json\r\n"
                  "Content-Length: 7\r\n\r\n{\"a\":1}")
        != std::string::npos);
  CHECK(text.find("7000") == std::string::npos);
  CHECK(text.find("X-Two") == std::string::npos);
  CHECK(text_of(said, true, false).ends_with("Content-Length: 7\r\n\r\n"));
}

TEST_CASE("answers that have no body by their status say nothing of its length") {
  for (int status : {204, 304}) {
    auto text = text_of({status, "ignored", {}}, false, true);
    CHECK(text.ends_with("keep-alive\r\n\r\n"));
  }
}
