// The audit trail: what is in it, and what never is.
#include "http/audit.hpp"
#include "stand_in_broker.hpp"

using namespace matriarch;
using namespace matriarch::test;

namespace {

// cloudfoundry {"user_id":"683ea748"}
const std::string identity_header =
    "X-Broker-API-Originating-Identity: cloudfoundry eyJ1c2VyX2lkIjoiNjgzZWE3NDgifQ==\r\n";

/// The only line of the trail.
json::document only_line(broker& b) {
  auto trail = b.trail();
  REQUIRE(trail.size() == 1);
  CHECK(trail[0].find('\n') == std::string::npos);
  auto parsed = json::parse(trail[0]);
  REQUIRE_MESSAGE(parsed.ok(), trail[0]);
  return std::move(*parsed);
}

} // namespace

TEST_CASE("ALL-6: the trail tells who asked for what, with which outcome") {
  broker b{true, [](route_settings& all) {
             all.trusted_proxies = {{*model::ip_range::parse("127.0.0.0/8")}};
           }};
  auto headers = std::string{good_credentials} + version + identity_header
                 + "X-Forwarded-For: 10.1.2.3\r\nX-Broker-API-Request-Identity: r-1\r\n";
  b.send_as(headers, "PUT", here + incomplete, body_with(R"(,"parameters":{"node-count":2})"));
  auto line = only_line(b);
  CHECK(json::string_member(line, "time").size() == std::string{"2026-01-31T23:59:59.123Z"}.size());
  CHECK(json::string_member(line["who"], "user") == "user");
  CHECK(json::text_of(line["who"]["originating_identity"])
        == R"({"platform":"cloudfoundry","value":{"user_id":"683ea748"}})");
  CHECK(json::string_member(line["who"], "address").starts_with("127.0.0.1:"));
  CHECK(json::string_member(line["who"], "forwarded_for") == "10.1.2.3");
  CHECK(json::string_member(line, "action") == "provision");
  CHECK(json::string_member(line, "instance_id") == "one");
  CHECK(json::string_member(line, "service_id") == "service-id");
  CHECK(json::string_member(line, "plan_id") == "plan-id");
  CHECK(json::text_of(line["parameters"]) == R"({"node-count":2})");
  CHECK(json::string_member(line, "request_identity") == "r-1");
  CHECK(json::text_of(line["result"]) == R"({"status":202,"operation":"op-1"})");
  CHECK(line["duration_ms"].GetInt64() >= 0);
}

namespace {

/// Whom the trail names as the client of a request with these headers.
std::string client_in_trail(broker& b, const std::string& headers) {
  auto before = b.trail().size();
  b.send_as(std::string{good_credentials} + version + headers, "PUT", here + incomplete,
            body_with());
  auto trail = b.trail();
  REQUIRE(trail.size() == before + 1);
  auto line = json::parse(trail.back());
  REQUIRE(line.ok());
  CHECK(json::string_member((*line)["who"], "address").starts_with("127.0.0.1:"));
  return json::string_member((*line)["who"], "forwarded_for");
}

} // namespace

TEST_CASE("X-Forwarded-For from the configured proxies is trusted, from the last hop on") {
  broker b{true, [](route_settings& all) {
             all.trusted_proxies = {{*model::ip_range::parse("127.0.0.1"),
                                     *model::ip_range::parse("10.0.0.0/8"),
                                     *model::ip_range::parse("2001:db8::/32")}};
           }};
  for (const auto& [headers, client] : std::vector<std::pair<std::string, std::string>>{
           {"", ""},
           {"X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1"},
           // Addresses that the client wrote itself stand before the one that a proxy added.
           {"X-Forwarded-For: 198.51.100.9, 192.0.2.1\r\n", "192.0.2.1"},
           {"X-Forwarded-For: 198.51.100.9\r\nX-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1"},
           {"X-Forwarded-For: 198.51.100.9, 192.0.2.1, 10.1.1.1\r\n", "192.0.2.1"},
           {"X-Forwarded-For: 192.0.2.1,2001:db8::7\r\nX-Forwarded-For: 10.9.9.9\r\n", "192.0.2.1"},
           {"X-Forwarded-For: 10.1.1.1, 10.2.2.2\r\n", "10.1.1.1"},
           {"X-Forwarded-For: 2001:DB9::1\r\n", "2001:db9::1"},
           {"X-Forwarded-For: [2001:db9::1]:443\r\n", "2001:db9::1"},
           {"X-Forwarded-For: ::ffff:192.0.2.1\r\n", "192.0.2.1"},
           {"X-Forwarded-For: 192.0.2.1:4711\r\n", "192.0.2.1"},
           {"X-Forwarded-For: 192.0.2.1, unknown\r\n", ""},
           {"X-Forwarded-For: evil\r\n", ""},
           {"X-Forwarded-For: ,\r\n", ""},
           {"X-Forwarded-For: [\r\n", ""},
           {"X-Forwarded-For: " + std::string(4'000, ',') + "192.0.2.1\r\n", "192.0.2.1"}}) {
    CAPTURE(headers);
    CHECK(client_in_trail(b, headers) == client);
  }
}

TEST_CASE("X-Forwarded-For from an untrusted sender is not in the trail") {
  broker b{true, [](route_settings& all) {
             all.trusted_proxies = {{*model::ip_range::parse("10.0.0.0/8")}};
           }};
  CHECK(client_in_trail(b, "X-Forwarded-For: 192.0.2.1\r\n").empty());
  CHECK(client_in_trail(b, "X-Forwarded-For: 10.0.0.1\r\n").empty());
  // Refused access has a line too, with what anybody can write.
  b.send_as("X-Forwarded-For: 192.0.2.66\r\n", "GET", "/v2/catalog");
  CHECK_FALSE(contains(b.trail().back(), "192.0.2.66"));
}

TEST_CASE("without a list the fleet's own routers are trusted, at the addresses that they report") {
  broker b{true, [](route_settings& all) { all.machine = "here"; }};
  const std::string headers = "X-Forwarded-For: 192.0.2.1\r\n";
  CHECK(client_in_trail(b, headers).empty());
  b.routers.living["r1"].said = {"r1", "here", 1, {}, "", {"10.0.0.7", "127.0.0.1"}};
  CHECK(client_in_trail(b, headers) == "192.0.2.1");
  CHECK(client_in_trail(b, "X-Forwarded-For: 192.0.2.1, 10.0.0.7\r\n") == "192.0.2.1");
  // Another machine's 127.0.0.1 is not this machine's.
  b.routers.living["r1"].said.host = "elsewhere";
  CHECK(client_in_trail(b, headers).empty());
}

TEST_CASE("only requests that change something have a line, with the action") {
  struct row {
    std::string verb, path, action;
  };
  for (const auto& [verb, path, action] :
       {row{"PUT", here + incomplete, "provision"}, row{"PATCH", here, "update"},
        row{"DELETE", here + "?" + ids, "deprovision"}, row{"PUT", binding_path, "bind"},
        row{"DELETE", binding_path + "?" + ids, "unbind"},
        row{"POST", "/admin/cells/cell-a/demote", "demote"},
        row{"POST", "/admin/reencrypt", "reencrypt"}, row{"DELETE", "/v2/catalog", "unknown"}}) {
    CAPTURE(verb);
    CAPTURE(path);
    broker b;
    auto answer = b.send(verb, path);
    auto line = only_line(b);
    CHECK(json::string_member(line, "action") == action);
    CHECK(line["result"]["status"].GetInt() == answer.status);
  }
  broker b;
  for (const auto& path : {std::string{"/v2/catalog"}, here, here + "/last_operation", binding_path,
                           std::string{"/admin/cells"}, std::string{"/healthz"}})
    b.send("GET", path);
  CHECK(b.trail().empty());
}

TEST_CASE("the trail tells why something was refused") {
  broker b;
  b.send("PUT", here, body_with());
  auto line = only_line(b);
  CHECK(line["result"]["status"].GetInt() == 422);
  CHECK(json::string_member(line["result"], "error") == "AsyncRequired");
  CHECK_FALSE(json::string_member(line["result"], "description").empty());
}

TEST_CASE("the trail holds no password of a binding, whatever is in its answer") {
  broker b;
  b.says = [](const auto&) { return bound(model::verdict_kind::created, ready_binding()); };
  auto answer = b.send("PUT", binding_path, R"({"service_id":"service-id","plan_id":"plan-id"})");
  REQUIRE(contains(answer.body, "p@ss:w"));
  auto line = only_line(b);
  CHECK(json::string_member(line, "binding_id") == "b");
  CHECK(json::text_of(line["result"]) == R"({"status":201})");
  CHECK_FALSE(contains(b.trail()[0], "p@ss"));
  CHECK_FALSE(contains(b.trail()[0], "secret"));
}

TEST_CASE("the trail holds no header of credentials and no value of an unknown parameter") {
  broker b;
  b.send("PUT", here + incomplete, body_with(R"(,"parameters":{"password":"hunter2"})"));
  CHECK(json::text_of(only_line(b)["parameters"]) == R"x({"password":"(not shown)"})x");
  CHECK_FALSE(contains(b.trail()[0], "hunter2"));
  CHECK_FALSE(contains(b.trail()[0], "dXNlcjpwYXNz"));
}

TEST_CASE("ALL-1: refused access is in the trail, with the name that was claimed and no secret") {
  for (const std::string verb : {"GET", "PUT"}) {
    broker b;
    b.send_as(std::string{"Authorization: Basic bWFsbG9yeTpodW50ZXIy\r\n"} + version, verb, here,
              body_with(R"(,"parameters":{"cells":["a"]})")); // mallory:hunter2
    auto line = only_line(b);
    CHECK(json::string_member(line, "action") == "refused access");
    CHECK(json::string_member(line["who"], "user") == "mallory");
    CHECK(json::string_member(line, "path") == here);
    CHECK(line["result"]["status"].GetInt() == 401);
    CHECK_FALSE(contains(b.trail()[0], "hunter2"));
    CHECK_FALSE(contains(b.trail()[0], "parameters"));
  }
  broker b;
  b.send_as("Authorization: Bearer hunter2\r\n", "GET", "/admin/cells");
  CHECK(json::member(only_line(b)["who"], "user") == nullptr);
  CHECK_FALSE(contains(b.trail()[0], "hunter2"));
}

TEST_CASE("a token is named by its place in the trail") {
  broker b{true, [](route_settings& settings) { settings.platform.tokens = {"aaa", "bbb"}; }};
  b.send_as(std::string{"Authorization: Bearer bbb\r\n"} + version, "PATCH", here);
  CHECK(json::string_member(only_line(b)["who"], "user") == "token 2");
}

TEST_CASE("what is long or no UTF-8 is cut to something that can be read") {
  broker b;
  auto long_id = std::string(3000, 'x');
  auto headers =
      std::string{good_credentials} + version + "X-Broker-API-Request-Identity: \xff\xfe\r\n";
  std::string cells;
  for (int i = 0; i < 1000; ++i)
    cells += (i == 0 ? "\"cell-" : ",\"cell-") + std::to_string(i) + "\"";
  b.send_as(headers, "PUT", "/v2/service_instances/" + long_id,
            body_with(",\"parameters\":{\"cells\":[" + cells + "]}"));
  auto line = only_line(b);
  CHECK(json::string_member(line, "request_identity") == "??");
  CHECK(json::string_member(line, "instance_id").size() < 600);
  REQUIRE(line["parameters"].IsString());
  CHECK(line["parameters"].GetStringLength() < 2100);
  CHECK(json::string_member(line, "parameters").ends_with("…"));
}

TEST_CASE(
    "a request whose responder was dropped is in the trail with the 500 that its sender sees") {
  broker b{true, {}, [](const model::request&, auto) {}};
  CHECK(b.send("PUT", here + incomplete, body_with()).status == 500);
  CHECK(only_line(b)["result"]["status"].GetInt() == 500);
}

TEST_CASE("an answer is in the trail before its sender gets it") {
  broker b;
  for (std::size_t i = 1; i <= 20; ++i) {
    b.send("PUT", here + incomplete, body_with());
    CHECK(b.trail().size() == i);
  }
}

TEST_CASE("the end of an operation has a line of its own, other events have no line") {
  model::event one{model::wall_time{std::chrono::milliseconds{1'700'000'000'123}}, "name", "an id",
                   model::operation_ended{model::operation_type::update, "op", "cloudfoundry {}",
                                          false, "no room", model::duration{1500}}};
  auto line = audit_line(one);
  REQUIRE(line.has_value());
  CHECK(*line
        == R"({"time":"2023-11-14T22:13:20.123Z","action":"end of update","instance_id":"an id",)"
           R"("operation":"op","originating_identity":"cloudfoundry {}","result":"failed",)"
           R"("description":"no room","duration_ms":1500})");
  one.what = model::operation_ended{
      model::operation_type::deprovision, "op", "", true, "", model::duration{0}};
  line = audit_line(one);
  REQUIRE(line.has_value());
  CHECK(line->find("originating_identity") == std::string::npos);
  CHECK(line->find("description") == std::string::npos);
  CHECK(line->find(R"("result":"succeeded")") != std::string::npos);
  one.what = model::switchover_begun{"a", "b"};
  CHECK_FALSE(audit_line(one).has_value());
}
