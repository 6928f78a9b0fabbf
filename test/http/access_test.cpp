// Which credentials may use which part of the API.
#include "stand_in_broker.hpp"

using namespace matriarch;
using namespace matriarch::test;

namespace {

// In Base64, as basic authentication has them.
const std::string old_user = "Authorization: Basic dXNlcjpwYXNz\r\n";     // user:pass
const std::string new_user = "Authorization: Basic dXNlcjI6cDpzOnM=\r\n"; // user2:p:s:s
const std::string operator_user =
    "Authorization: Basic b3BlcmF0b3I6c2VjcmV0\r\n"; // operator:secret
const std::string first_token = "Authorization: Bearer first-token\r\n";
const std::string second_token = "Authorization: bearer  second-token\r\n";
const std::string operator_token = "Authorization: Bearer operator-token\r\n";

void several_platform_credentials(route_settings& settings) {
  settings.platform.users.push_back({"user2", "p:s:s"});
  settings.platform.tokens = {"first-token", "second-token"};
}

void operators_of_their_own(route_settings& settings) {
  several_platform_credentials(settings);
  settings.admin.users = {{"operator", "secret"}};
  settings.admin.tokens = {"operator-token"};
}

} // namespace

TEST_CASE("ALL-1: each of several users and tokens is admitted, so that they can be changed") {
  broker b{true, several_platform_credentials};
  for (const auto& known : {old_user, new_user, first_token, second_token}) {
    CAPTURE(known);
    CHECK(b.send_as(known + version, "GET", "/v2/catalog").status == 200);
    CHECK(b.send_as(known, "GET", "/admin/cells").status == 200);
  }
}

TEST_CASE("ALL-1: wrong credentials are refused, however close they are to the right ones") {
  broker b{true, several_platform_credentials};
  for (const std::string header : {"Bearer first-toke",
                                   "Bearer first-tokens",
                                   "Bearer ",
                                   "Bearer",
                                   "Basic",
                                   "Basic ",
                                   "Basic first-token",
                                   "Basic Zmlyc3QtdG9rZW4=",
                                   "Bearer dXNlcjpwYXNz",
                                   "Bearer user:pass",
                                   "Basic dXNlcjpwYXNzMg==",
                                   "Basic dXNlcjpwYXM=",
                                   "Basic dXNlcg==",
                                   "Basic dXNlcjo=",
                                   "Basic OnBhc3M=",
                                   "Basic dXNlcjpwYXNz=",
                                   "Basic dXNlcjpwYXNz dXNlcjpwYXNz",
                                   "Basic dXNl\tcjpwYXNz",
                                   "Digest dXNlcjpwYXNz",
                                   "dXNlcjpwYXNz",
                                   "basicdXNlcjpwYXNz"}) {
    CAPTURE(header);
    auto answer = b.send_as("Authorization: " + header + "\r\n" + version, "GET", "/v2/catalog");
    error_of(answer, 401);
    CHECK(contains(answer.head, "WWW-Authenticate: Basic "));
    CHECK(contains(answer.head, "WWW-Authenticate: Bearer "));
  }
}

TEST_CASE("without operators of their own the platform's credentials open /admin too") {
  broker b;
  CHECK(b.send_as(old_user, "GET", "/admin/cells").status == 200);
}

TEST_CASE("ALL-1: the platform's credentials are refused at /admin, the operator's at /v2") {
  broker b{true, operators_of_their_own};
  for (const auto& platform : {old_user, new_user, first_token, second_token}) {
    CAPTURE(platform);
    CHECK(b.send_as(platform + version, "GET", "/v2/catalog").status == 200);
    CHECK(contains(error_of(b.send_as(platform, "GET", "/admin/cells"), 401), "/admin"));
    error_of(b.send_as(platform, "POST", "/admin/reencrypt"), 401);
    error_of(b.send_as(platform, "POST", "/admin/cells/cell-a/demote"), 401);
  }
  for (const auto& one : {operator_user, operator_token}) {
    CAPTURE(one);
    CHECK(b.send_as(one, "GET", "/admin/cells").status == 200);
    error_of(b.send_as(one + version, "GET", "/v2/catalog"), 401);
    error_of(b.send_as(one + version, "PUT", here + incomplete, body_with()), 401);
    error_of(b.send_as(one, "GET", "/nowhere"), 404);
  }
  CHECK(b.asked().empty());
}

TEST_CASE("a set without credentials refuses everybody") {
  broker b{true, [](route_settings& settings) { settings.platform = {}; }};
  error_of(b.send_as(old_user + version, "GET", "/v2/catalog"), 401);
  error_of(b.send_as("Authorization: Basic Og==\r\n" + std::string{version}, "GET", "/v2/catalog"),
           401);
}
