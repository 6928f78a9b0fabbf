#include "model/addresses.hpp"

#include <doctest/doctest.h>

#include "an_engine.hpp"

using namespace matriarch::model;

namespace {

member at(const std::string& postgresql, const std::string& patroni) {
  return {"running", "http://" + patroni + "/patroni", "postgres://" + postgresql + "/postgres", 1};
}

node from_before() {
  node n;
  n.node_id = "n1";
  n.cell = "c1";
  return n;
}

node known_at(const std::string& postgresql, const std::string& patroni) {
  auto n = from_before();
  n.address = postgresql;
  n.control_address = patroni;
  return n;
}

const cell_origin ours{"10.0.0.1", false, true};
const cell_origin foreign{"10.0.0.1", true};
const member honest = at("10.0.1.5:5432", "10.0.1.5:8008");

} // namespace

TEST_CASE("the address of a node is its cell's, not its member key's") {
  auto registered = known_at("10.0.1.5:5432", "10.0.1.5:8008");
  for (const auto& lie : {
           at("10.9.9.9:5432", "10.0.1.5:8008"),
           at("10.0.1.5:5432", "10.9.9.9:8008"),
           at("10.0.1.5:5433", "10.0.1.5:8008"),
           at("10.0.1.5:5432", "10.0.1.5:80"),
           at("evil.example", "evil.example"),
           at("", ""),
           member{},
           member{"running", "file:///etc/passwd", "service=other", 1},
           member{"running", "http://10.0.1.5:8008@evil.example:1/patroni",
                  "postgres://10.0.1.5:5432@evil.example/postgres", 1},
           member{"running", "http://10.0.1.5:8008/patroni",
                  "postgres://10.0.1.5:5432/postgres?host=evil.example", 1},
           at("10.0.1.5:5432,evil.example:1", "10.0.1.5:8008"),
       }) {
    CAPTURE(lie.conn_url);
    auto judged = judge_addresses(lie, &registered, ours, an_engine());
    CHECK(judged.conn_url == "postgres://10.0.1.5:5432/postgres");
    CHECK(judged.api_url == "http://10.0.1.5:8008/patroni");
    CHECK_FALSE(judged.learnt);
  }
}

TEST_CASE("only a member key with another address causes a warning") {
  auto registered = known_at("10.0.1.5:5432", "10.0.1.5:8008");
  CHECK(judge_addresses(honest, &registered, ours, an_engine()).doubt.empty());
  auto doubt =
      judge_addresses(at("10.9.9.9:1", "10.0.1.5:8008"), &registered, ours, an_engine()).doubt;
  CHECK(doubt.find("10.9.9.9:1") != std::string::npos);
  CHECK(doubt.find("10.0.1.5:5432") != std::string::npos);
}

TEST_CASE("a warning shows an address on one line and not longer than an address can be") {
  auto registered = known_at("10.0.1.5:5432", "10.0.1.5:8008");
  auto lie = at("x\ny" + std::string(1'000'000, 'x'), std::string(1'000'000, 'y'));
  for (const auto& cell : {ours, foreign}) {
    auto listed = cell.foreign ? known_at("", "") : registered;
    auto doubt = judge_addresses(lie, &listed, cell, an_engine()).doubt;
    CHECK(doubt.starts_with("node n1 says that it is at x?yxxx"));
    CHECK(doubt.size() < 1'000);
  }
}

TEST_CASE("a member that the record does not list has no address") {
  auto judged = judge_addresses(honest, nullptr, ours, an_engine());
  CHECK(judged.conn_url.empty());
  CHECK(judged.api_url.empty());
  CHECK_FALSE(judged.learnt);
}

TEST_CASE("a node whose cell has not reported yet has no address") {
  auto waiting = known_at("", "");
  auto judged = judge_addresses(honest, &waiting, ours, an_engine());
  CHECK(judged.conn_url.empty());
  CHECK(judged.api_url.empty());
  CHECK(judged.doubt.empty());
}

TEST_CASE("a node of an old record is at its member key's address until its cell reports") {
  auto old = from_before();
  auto judged = judge_addresses(honest, &old, ours, an_engine());
  CHECK(judged.conn_url == honest.conn_url);
  CHECK(judged.api_url == honest.api_url);
  CHECK_FALSE(judged.learnt);
  // Also if its cell is no longer in the configuration.
  CHECK(judge_addresses(honest, &old, {}, an_engine()).conn_url == honest.conn_url);
}

TEST_CASE("if a cell does not report Patroni's port, any port on the node's host is accepted") {
  auto half = known_at("10.0.1.5:5432", "");
  CHECK(judge_addresses(honest, &half, ours, an_engine()).api_url
        == "http://10.0.1.5:8008/patroni");
  CHECK(judge_addresses(at("10.0.1.5:5432", "10.9.9.9:8008"), &half, ours, an_engine())
            .api_url.empty());
}

TEST_CASE("a foreign cell's nodes are at the cell's host only, at any port") {
  auto own = at("10.0.0.1:49153", "10.0.0.1:49154");
  for (const auto& before :
       {from_before(), known_at("", ""), known_at("10.0.0.1:5", "10.0.0.1:6")}) {
    auto judged = judge_addresses(own, &before, foreign, an_engine());
    CHECK(judged.conn_url == own.conn_url);
    CHECK(judged.api_url == own.api_url);
    REQUIRE(judged.learnt);
    CHECK(*judged.learnt == node_addresses{"10.0.0.1:49153", "10.0.0.1:49154"});
  }
  auto learnt = known_at("10.0.0.1:49153", "10.0.0.1:49154");
  CHECK_FALSE(judge_addresses(own, &learnt, foreign, an_engine()).learnt);
  for (const auto& lie :
       {honest, at("10.0.0.1:1", "10.9.9.9:1"), at("10.9.9.9:1", "10.0.0.1:1"),
        at("10.0.0.1@evil.example:1", "10.0.0.1:1"), at("10.0.0.1:1 or anything", "10.0.0.1:1"),
        at("10.0.0.1:1", "10.0.0.1:" + std::string(1'000, '1'))}) {
    auto waiting = known_at("", "");
    auto judged = judge_addresses(lie, &waiting, foreign, an_engine());
    CHECK(judged.conn_url.empty());
    CHECK(judged.api_url.empty());
    CHECK_FALSE(judged.learnt);
    CHECK_FALSE(judged.doubt.empty());
    CHECK(judge_addresses(lie, &learnt, foreign, an_engine()).conn_url == own.conn_url);
  }
}

TEST_CASE("Patroni is called with the scheme that it announces") {
  auto registered = known_at("10.0.1.5:5432", "10.0.1.5:8008");
  auto with_tls = honest;
  with_tls.api_url = "https://10.0.1.5:8008/patroni";
  CHECK(judge_addresses(with_tls, &registered, ours, an_engine()).api_url == with_tls.api_url);
}

TEST_CASE("a certified node is called with TLS only, whatever its member key says") {
  auto registered = known_at("10.0.1.5:5432", "10.0.1.5:8008");
  registered.certified = registered.control_certified = true;
  auto judged = judge_addresses(honest, &registered, ours, an_engine());
  CHECK(judged.api_url == "https://10.0.1.5:8008/patroni");
  CHECK(judged.conn_url == "postgres://10.0.1.5:5432/postgres");
  CHECK(judged.login_url == "postgres://n1:5432/postgres?hostaddr=10.0.1.5&sslmode=verify-full");
  CHECK(judged.doubt.empty());
}

TEST_CASE("a login to a node of ours without a certificate uses channel binding") {
  auto registered = known_at("10.0.1.5:5432", "10.0.1.5:8008");
  auto old = from_before();
  for (const auto* one : {&registered, &old})
    CHECK(judge_addresses(honest, one, ours, an_engine()).login_url
          == "postgres://10.0.1.5:5432/postgres?sslmode=require&channel_binding=require");
  INFO("foreign cells, and cells that have not answered yet, are not known to do so");
  auto learnt = known_at("10.0.0.1:1", "10.0.0.1:2");
  for (const auto& cell : {foreign, cell_origin{"10.0.0.1", false, false}})
    CHECK(judge_addresses(at("10.0.0.1:1", "10.0.0.1:2"), &learnt, cell, an_engine()).login_url
          == "postgres://10.0.0.1:1/postgres");
}

TEST_CASE("a valid host and port make an address") {
  CHECK(place_of("10.0.0.1", 5432) == "10.0.0.1:5432");
  CHECK(place_of("fd00::1", 5432) == "[fd00::1]:5432");
  CHECK(place_of("", 5432).empty());
  CHECK(place_of("a/b", 5432).empty());
  CHECK(place_of("a@b", 5432).empty());
  CHECK(place_of("h", 0).empty());
  CHECK(place_of("h", 65'536).empty());
  CHECK(host_of("[fd00::1]:5432") == "fd00::1");
  CHECK(host_of("h:1") == "h");
  CHECK(place_in("postgres://u:p@h:1/db?x=y") == "h:1");
  CHECK(place_in("nothing").empty());
}
