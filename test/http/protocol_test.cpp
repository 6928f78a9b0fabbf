// HTTP/1.1 between texts: what a client sent, and what the server has to do about it.
#include "http/protocol.hpp"

#include <doctest/doctest.h>

#include <stdexcept>
#include <vector>

using namespace matriarch::http;

namespace {

/// A client in front of a doorkeeper that recognises every client with a name.
struct conversation {
  server_options options;
  service parts;
  std::shared_ptr<std::atomic<std::size_t>> bodies = std::make_shared<std::atomic<std::size_t>>(0);
  bool draining = false;
  std::optional<protocol> spoken;

  explicit conversation(doorkeeper admit = {}) {
    parts.admit = std::move(admit);
    parts.echoed = "x-question";
    parts.echoed_name = "X-Question";
    options.max_body_bytes = 100;
    options.max_stranger_body_bytes = 10;
    options.max_bodies_bytes = 150;
  }

  protocol::step says(const std::string& bytes) {
    if (!spoken)
      spoken.emplace(protocol::fleet_observations{options, parts, bodies}, "10.0.0.1:7");
    spoken->receive(bytes);
    return spoken->next(draining);
  }
  protocol::step next() { return says(""); }
  template <class Step>
  Step gets(const std::string& bytes) {
    auto step = says(bytes);
    REQUIRE(std::holds_alternative<Step>(step));
    return std::get<Step>(std::move(step));
  }
};

admission who(const request& got) {
  const auto* name = got.header("name");
  admission said;
  if (name == nullptr)
    return said;
  if (*name == "nobody")
    said.refusal = response{401, R"({"description":"no"})", {}};
  else if (*name == "trouble")
    throw std::runtime_error{"a bug"};
  else
    said.user = *name;
  return said;
}

std::string head_of(const std::string& verb, const std::string& more = {}) {
  return verb + " /a HTTP/1.1\r\nHost: h\r\n" + more + "\r\n";
}

std::string with_length(std::size_t bytes) {
  return "Content-Length: " + std::to_string(bytes) + "\r\n";
}

int status_of(const protocol::own_answer& answer) {
  REQUIRE(answer.text.starts_with("HTTP/1.1 "));
  return std::stoi(answer.text.substr(9, 3));
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("a request is handed out once its last byte has come, with its sender's address") {
  conversation here;
  auto whole = head_of("PUT", with_length(3)) + "abc";
  for (std::size_t sent = 0; sent + 1 < whole.size(); ++sent)
    here.gets<protocol::wait>(whole.substr(sent, 1));
  CHECK_FALSE(here.spoken->is_idle());
  auto handed_out = here.gets<protocol::complete>(whole.substr(whole.size() - 1));
  CHECK(handed_out.content.verb == method::put);
  CHECK(handed_out.content.body == "abc");
  CHECK(handed_out.content.remote == "10.0.0.1:7");
  CHECK(handed_out.keep_alive);
  CHECK_FALSE(handed_out.without_body);
  CHECK(here.spoken->is_idle());
}

TEST_CASE("requests that come together are handed out one by one, in their order") {
  conversation here;
  auto first = here.gets<protocol::complete>(head_of("PUT", with_length(1)) + "1"
                                             + head_of("PUT", with_length(1)) + "2" + "\r\n"
                                             + head_of("HEAD"));
  CHECK(first.content.body == "1");
  CHECK(here.spoken->unread() > 0);
  CHECK(here.gets<protocol::complete>("").content.body == "2");
  CHECK(here.gets<protocol::complete>("").without_body);
  here.gets<protocol::wait>("");
}

TEST_CASE("the answer to a client that wants no more, or to a draining server's, is the last") {
  conversation here;
  CHECK_FALSE(here.gets<protocol::complete>(head_of("GET", "Connection: close\r\n")).keep_alive);
  conversation other;
  other.draining = true;
  CHECK_FALSE(other.gets<protocol::complete>(head_of("GET")).keep_alive);
}

TEST_CASE("a head that is malformed, or longer than 16 kB, is refused, and the connection ends") {
  for (const auto& [sent, status] : {std::pair<std::string, int>{"GET / HTTP/1.1\n", 400},
                                     {"\n", 400},
                                     {"nonsense\r\n\r\n", 400},
                                     {"GET /" + std::string(17'000, 'x'), 431},
                                     {head_of("GET", "A: " + std::string(17'000, 'x')), 431},
                                     {head_of("GET", "Transfer-Encoding: chunked\r\n"), 411}}) {
    CAPTURE(sent.substr(0, 40));
    conversation here;
    auto answer = here.gets<protocol::own_answer>(sent);
    CHECK(status_of(answer) == status);
    CHECK_FALSE(answer.keep_alive);
    CHECK(has(answer.text, "Connection: close"));
  }
}

TEST_CASE("the longest head that is allowed is read") {
  conversation here;
  auto rest = 16 * 1024 - head_of("GET", "A: \r\n").size() + 1;
  here.gets<protocol::complete>(head_of("GET", "A: " + std::string(rest, 'x') + "\r\n"));
  conversation other;
  other.gets<protocol::own_answer>(head_of("GET", "A: " + std::string(rest + 1, 'x') + "\r\n"));
}

TEST_CASE("an answer to HEAD that the server gives by itself has no body") {
  conversation here{who};
  auto answer = here.gets<protocol::own_answer>(head_of("HEAD", "Name: nobody\r\n"));
  CHECK(answer.text.ends_with("\r\n\r\n"));
  conversation malformed;
  CHECK(malformed.gets<protocol::own_answer>("HEAD / HTTP/1.1\n").text.ends_with("\r\n\r\n"));
}

TEST_CASE("a client that expects a continue gets it once, if its body is accepted") {
  auto asking = [](std::size_t bytes) {
    return head_of("PUT", "Expect: 100-continue\r\n" + with_length(bytes));
  };
  conversation here;
  CHECK(here.gets<protocol::interim>(asking(2)).text == "HTTP/1.1 100 Continue\r\n\r\n");
  here.gets<protocol::wait>("a");
  CHECK(here.gets<protocol::complete>("b").content.body == "ab");
  conversation hasty;
  CHECK(hasty.gets<protocol::complete>(asking(2) + "ab").content.body == "ab");
  conversation large;
  CHECK(status_of(large.gets<protocol::own_answer>(asking(101))) == 413);
}

TEST_CASE("a body may be as long as the options say, a stranger's only as long as theirs") {
  auto refused = [](doorkeeper admit, const std::string& headers, std::size_t bytes) {
    conversation here{std::move(admit)};
    auto step = here.says(head_of("PUT", headers + with_length(bytes)));
    return std::holds_alternative<protocol::own_answer>(step);
  };
  CHECK_FALSE(refused({}, "", 100));
  CHECK(refused({}, "", 101));
  CHECK_FALSE(refused(who, "Name: friend\r\n", 100));
  CHECK(refused(who, "Name: friend\r\n", 101));
  CHECK_FALSE(refused(who, "", 10));
  CHECK(refused(who, "", 11));
}

TEST_CASE("all bodies together have a limit, and answered or dropped ones no longer count") {
  conversation first;
  first.gets<protocol::wait>(head_of("PUT", with_length(100)));
  CHECK(*first.bodies == 100);
  conversation second;
  second.bodies = first.bodies;
  auto refused = second.gets<protocol::own_answer>(head_of("PUT", with_length(51)));
  CHECK(status_of(refused) == 503);
  CHECK(has(refused.text, "Retry-After: "));
  CHECK(*first.bodies == 100);
  {
    auto handed_out = first.gets<protocol::complete>(std::string(100, 'x'));
    CHECK(*first.bodies == 100); // until it is answered
  }
  CHECK(*first.bodies == 0);
  conversation third;
  third.bodies = first.bodies;
  third.gets<protocol::wait>(head_of("PUT", with_length(51)));
  CHECK(*first.bodies == 51);
  third.spoken->drop();
  CHECK(*first.bodies == 0);
}

TEST_CASE("the doorkeeper sees the head alone, and a recognised client is trusted from then on") {
  std::vector<std::string> bodies;
  conversation here{[&](const request& got) {
    bodies.push_back(got.body);
    return who(got);
  }};
  auto handed_out =
      here.gets<protocol::complete>(head_of("PUT", "Name: friend\r\n" + with_length(1)) + "x");
  CHECK(bodies == std::vector<std::string>{""});
  CHECK(handed_out.content.user == "friend");
  CHECK(here.spoken->is_trusted());
  here.gets<protocol::complete>(head_of("GET"));
  CHECK(here.spoken->is_trusted());
  CHECK(conversation{}.gets<protocol::complete>(head_of("GET")).content.user.empty());
}

TEST_CASE("a refused client may ask again, unless its body is still to come") {
  conversation here{who};
  auto refused = here.gets<protocol::own_answer>(
      head_of("PUT", "Name: nobody\r\nX-Question: q1\r\n" + with_length(2)) + "ab");
  CHECK(status_of(refused) == 401);
  CHECK(refused.keep_alive);
  CHECK(has(refused.text, "X-Question: q1\r\n"));
  CHECK(here.spoken->is_idle());
  CHECK_FALSE(here.spoken->is_trusted());
  here.gets<protocol::complete>(head_of("GET", "Name: friend\r\n"));
  conversation slow{who};
  auto last = slow.gets<protocol::own_answer>(
      head_of("PUT", "Name: nobody\r\nX-Question: q2\r\n" + with_length(2)) + "a");
  CHECK_FALSE(last.keep_alive);
  CHECK(has(last.text, "X-Question: q2\r\n"));
}

TEST_CASE("a doorkeeper that fails answers 500") {
  conversation here{who};
  CHECK(status_of(here.gets<protocol::own_answer>(head_of("GET", "Name: trouble\r\n"))) == 500);
}

TEST_CASE("a stranger's request with more behind it is the last, a known client's is not") {
  auto keeps = [](const std::string& headers) {
    conversation here{who};
    return here.gets<protocol::complete>(head_of("GET", headers) + head_of("GET", headers))
        .keep_alive;
  };
  CHECK_FALSE(keeps(""));
  CHECK(keeps("Name: friend\r\n"));
  conversation here{who};
  CHECK(here.gets<protocol::complete>(head_of("GET")).keep_alive);
}

TEST_CASE("a client that is refused halfway gets an answer in the form of its request") {
  conversation here;
  here.gets<protocol::wait>(head_of("HEAD", "X-Question: q\r\n" + with_length(5)) + "ab");
  auto last = here.spoken->refuse({408, "{}", {}});
  CHECK(status_of(last) == 408);
  CHECK_FALSE(last.keep_alive);
  CHECK(has(last.text, "X-Question: q\r\n"));
  CHECK(last.text.ends_with("\r\n\r\n"));
}
