#include "actors/cell_calls.hpp"

#include <doctest/doctest.h>

#include <string>

#include "base/json.hpp"

using namespace matriarch;
using namespace matriarch::actors;

namespace {

using kind = cell_answer::kind;

const cell_settings a_cell{"c1", "z1", "https://c1:8901", "containers", "secret"};

base::outcome answered(int status, const std::string& body = "{}") {
  return {status, body, ""};
}

base::outcome unanswered(bool never_sent) {
  return {0, "", "PUT https://10.0.0.1: refused", never_sent};
}

std::string header_of(const base::outgoing& what, const std::string& name) {
  for (const auto& [known, value] : what.headers)
    if (known == name)
      return value;
  return "none";
}

} // namespace

TEST_CASE("an order names its node, its scope and the record's revision") {
  removal_order order{"c1", "n1", "scope-1", {}, 17, "fleet-1"};
  order.instance.service_id = "a/b";
  order.instance.plan_id = "p&q";
  auto what = removal_request(a_cell, order);
  CHECK(what.verb == "DELETE");
  CHECK(what.url == "/v2/service_instances/n1?service_id=a%2Fb&plan_id=p%26q");
  CHECK(what.username == "containers");
  CHECK(header_of(what, "X-Matriarch-Scope") == "scope-1");
  CHECK(header_of(what, "X-Matriarch-Fleet") == "fleet-1");
  CHECK(header_of(what, "X-Matriarch-Revision") == "17");
  INFO("an orphan has no record");
  auto orphan = orphan_request(a_cell, {"c1", {"n1", "scope-1", "a", "p"}, "fleet-1"});
  CHECK(header_of(orphan, "X-Matriarch-Revision") == "none");
}

TEST_CASE("a node is started with the plan of its placement and with its parameters") {
  start_order order{"c1", "n1", "scope-1", {}, 17, "fleet-1"};
  order.instance.service_id = "s";
  order.instance.plan_id = "p";
  order.parameters = {{"NODE_ID", "n1"}};
  auto what = start_request(a_cell, order);
  CHECK(what.verb == "PUT");
  auto body = json::parse(what.body);
  REQUIRE(body.ok());
  CHECK(json::string_member(*body, "plan_id") == "p");
  CHECK(json::string_member((*body)["parameters"], "NODE_ID") == "n1");
}

TEST_CASE("a cell's answer to a start means done, refused or unknown") {
  for (int status : {200, 201, 202, 409})
    CHECK(judge_start(answered(status)).is == kind::done);
  auto refused = judge_start(answered(422, R"({"description":"the cell is full"})"));
  CHECK(refused.is == kind::refused);
  CHECK(refused.why == "answered 422: the cell is full");
  CHECK(judge_start(answered(500)).is == kind::unknown);
  CHECK(judge_start(unanswered(true)).is == kind::unsent);
  CHECK(judge_start(unanswered(false)).is == kind::unknown);
  auto where = judge_start(answered(201, R"({"host":"10.0.0.1","port":5432,"certified":true})"));
  CHECK(where.at.database == "10.0.0.1:5432");
}

TEST_CASE("a node counts as removed if its cell says so, or does not have it") {
  CHECK(judge_removal(answered(200)).is == kind::done);
  CHECK(judge_removal(answered(410)).is == kind::done);
  for (int status : {202, 404, 412, 500})
    CHECK(judge_removal(answered(status)).is == kind::refused);
  CHECK(judge_removal(unanswered(false)).is == kind::unknown);
}

TEST_CASE("tenants do not learn the address of a cell that does not answer") {
  auto said = no_answer(unanswered(true));
  CHECK(said.why.find("10.0.0.1") == std::string::npos);
  CHECK(said.for_the_log().find("10.0.0.1") != std::string::npos);
}

TEST_CASE("a cell is reachable if it answers below 500, and a Matriarch cell reports more") {
  CHECK(health_in("c1", answered(404, "not here"), "").reachable);
  CHECK_FALSE(health_in("c1", answered(503), "").reachable);
  CHECK(health_in("c1", unanswered(true), "").why == "PUT https://10.0.0.1: refused");
  auto ours = answered(200, R"({"capacity":8,"fencing":"none","an-engine":"15.4"})");
  auto seen = health_in("c1", ours, "an-engine");
  CHECK(seen.guid == "c1");
  CHECK(seen.capacity == 8);
  CHECK(seen.fencing == "none");
  CHECK(seen.engine_version == "15.4");
  CHECK(health_in("c1", ours, "").engine_version.empty());
}

TEST_CASE("an unreadable list is ignored, and an empty list counts") {
  for (const auto* text : {"", "[]", R"({"nodes":{}})", R"({"nodes":[{"node_id":"n1"}]})",
                           R"({"nodes":[{"node_id":"","scope":"s"}]})"}) {
    CAPTURE(text);
    CHECK_FALSE(listing_in("c1", answered(200, text)));
  }
  CHECK_FALSE(listing_in("c1", answered(404, R"({"nodes":[]})")));
  auto none = listing_in("c1", answered(200, R"({"nodes":[]})"));
  REQUIRE(none);
  CHECK(none->nodes.empty());
  auto one = listing_in(
      "c1", answered(200, R"({"nodes":[{"node_id":"n1","scope":"s","certificate":"pem"}]})"));
  REQUIRE(one);
  CHECK(one->guid == "c1");
  CHECK(one->nodes.at(0).scope == "s");
  CHECK(one->certificates.at(0).certificate == "pem");
}
