#include "router/status.hpp"

#include <doctest/doctest.h>

#include "base/json.hpp"

using namespace matriarch;
using namespace matriarch::router;

namespace {

router_status well() {
  router_status now{"router-1", true};
  now.etcd_reachable = true;
  return now;
}

json::document body_of(const router_status& now) {
  auto parsed = json::parse(page_of(now).second);
  REQUIRE(parsed.ok());
  return std::move(*parsed);
}

std::string word_of(const router_status& now, const char* name = "status") {
  return json::string_member(body_of(now), name);
}

} // namespace

TEST_CASE("a router is well if HAProxy answers, etcd is there, and every route is served") {
  CHECK(word_of(well()) == "ok");
  auto left = well();
  left.unserved = {{30'000, "i1", "its port is taken"}};
  auto failed = well();
  failed.error = "HAProxy did not reload";
  auto cut_off = well();
  cut_off.etcd_reachable = false;
  for (const auto& one : {left, failed, cut_off}) {
    CHECK(word_of(one) == "degraded");
    CHECK(page_of(one).first == 200);
  }
}

TEST_CASE("a router that takes no connections is down, and says so by the HTTP status") {
  auto without = well();
  without.has_haproxy = false;
  auto silent = well();
  silent.silent = "HAProxy does not answer";
  for (const auto& one : {without, silent}) {
    CHECK(word_of(one) == "down");
    CHECK(page_of(one).first == 503);
  }
  CHECK(word_of(without, "haproxy") == "not running");
  CHECK(word_of(silent, "haproxy") == "does not answer");
  CHECK(word_of(well(), "haproxy") == "running");
}

TEST_CASE("instances that are not served are listed with the reason") {
  auto now = well();
  now.unserved = {{30'000, "i1", "its port is taken"}};
  now.unbound = {30'000, 30'007};
  auto body = body_of(now);
  REQUIRE(body["left_out"].Size() == 1);
  CHECK(json::string_member(body["left_out"][0], "instance") == "i1");
  CHECK(json::string_member(body["left_out"][0], "reason") == "its port is taken");
  CHECK(body["unbound"].Size() == 2);
}

TEST_CASE("the age of the routes is shown only while etcd is unreachable") {
  auto now = well();
  now.routes_as_of = model::wall_time{std::chrono::seconds{1'700'000'000}};
  CHECK_FALSE(body_of(now).HasMember("routes_as_of"));
  now.etcd_reachable = false;
  CHECK(word_of(now, "routes_as_of").starts_with("2023-11-14T22:13:20"));
}

TEST_CASE("a router that has no status yet is down, also in JSON") {
  CHECK(page_of({}).first == 503);
  CHECK(word_of({}) == "down");
}
