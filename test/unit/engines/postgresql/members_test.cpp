#include "engines/postgresql/model/members.hpp"

#include <doctest/doctest.h>

#include <set>
#include <string>

using matriarch::engines::postgresql::member_in;
using matriarch::engines::postgresql::standbys_in;

TEST_CASE("a text that is no JSON object is no member") {
  for (const char* text : {"", "{", "[]", "5", "null"}) {
    CAPTURE(text);
    CHECK_FALSE(member_in(text).ok());
  }
}

TEST_CASE("a member as Patroni writes it is read") {
  auto m =
      member_in(R"({"conn_url":"postgres://127.77.0.11:5432/postgres",)"
                R"("api_url":"http://127.77.0.11:8008/patroni",)"
                R"("state":"running","role":"master","version":"3.0.2","xlog_location":50331968,)"
                R"("timeline":1})");
  REQUIRE(m.ok());
  CHECK(m->running());
  CHECK(m->api_url == "http://127.77.0.11:8008/patroni");
  CHECK(m->conn_url == "postgres://127.77.0.11:5432/postgres");
  CHECK(m->timeline == 1);
  CHECK(m->position == 50331968);
  CHECK_FALSE(m->streaming);
  m = member_in(R"({"state":"running","replication_state":"streaming"})"); // later Patronis
  REQUIRE(m.ok());
  CHECK(m->position == 0);
  CHECK(m->streaming);
}

TEST_CASE("overlong texts in a member key are ignored") {
  const std::string length(70'000, 'x');
  auto m = member_in(R"({"state":")" + length + R"(","conn_url":"postgres://)" + length
                     + R"(:1/p","api_url":"http://)" + length + R"("})");
  REQUIRE(m.ok());
  CHECK(m->state.empty());
  CHECK(m->conn_url.empty());
  CHECK(m->api_url.empty());
  std::string names = length;
  for (int i = 0; i < 1'000; ++i)
    names += "," + std::to_string(i);
  CHECK(standbys_in(R"({"sync_standby":")" + names + "\"}").size() == 100);
}

TEST_CASE("a member that does not say its state is not running") {
  auto m = member_in("{}");
  REQUIRE(m.ok());
  CHECK_FALSE(m->running());
}

TEST_CASE("the synchronous standbys are read from Patroni's key") {
  using names = std::set<std::string>;
  CHECK(standbys_in(R"({"leader":"a","sync_standby":"b,c"})") == names{"b", "c"});
  CHECK(standbys_in(R"({"leader":"a","sync_standby":"b"})") == names{"b"});
}

TEST_CASE("without a valid sync key there is no synchronous standby") {
  for (const char* text : {"", "null", "{}", "[]", R"({"leader":"a","sync_standby":null})",
                           R"({"leader":null,"sync_standby":""})", R"({"sync_standby":["b"]})"}) {
    CAPTURE(text);
    CHECK(standbys_in(text).empty());
  }
}
