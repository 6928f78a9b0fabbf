// Rows of the Open Service Broker API's checklist (2.17) about the form of requests and answers. A
// test's name begins with the rows that it shows.
#include <chrono>

#include "stand_in_broker.hpp"

using namespace matriarch;
using namespace matriarch::test;
using namespace std::chrono_literals;

namespace {

std::string platform_headers(const std::string& more) {
  return std::string{good_credentials} + version + more;
}

/// A body for service-id and that plan; `more` begins with a comma.
std::string bind_body(const std::string& plan_id, const std::string& more = {}) {
  return R"({"service_id":"service-id","plan_id":")" + plan_id + "\"" + more + "}";
}

std::string update_body(const std::string& more) {
  return R"({"service_id":"service-id")" + more + "}";
}

model::binding own_role_binding() {
  auto made = ready_binding();
  made.role = {"binding_1", "q?w"};
  return made;
}

std::string parameters(const std::string& object) {
  return ",\"parameters\":" + object;
}

const std::string version_1_2 = R"(,"maintenance_info":{"version":"1.2.0"})";

model::snapshot_ptr ended_update(model::operation_state state, const std::string& description) {
  auto s = instance_of(model::operation_type::update, state);
  s.known.current.description = description;
  s.known.maintenance_version = "1.2.0";
  return std::make_shared<const model::instance_snapshot>(s);
}

} // namespace

// -- headers --------------------------------------------------------------------------------------

TEST_CASE("ALL-6: the originating identity goes with a change as platform and sorted JSON") {
  // {"user_id":"u","a":1}
  const std::string header =
      "X-Broker-API-Originating-Identity: cloudfoundry eyJ1c2VyX2lkIjoidSIsImEiOjF9\r\n";
  const std::string wanted = R"(cloudfoundry {"a":1,"user_id":"u"})";
  broker b;
  b.send_as(platform_headers(header), "PUT", here + incomplete, body_with());
  b.send_as(platform_headers(header), "PATCH", here + incomplete, update_body(""));
  b.send_as(platform_headers(header), "DELETE", here + incomplete + "&" + ids);
  auto asked = b.asked();
  REQUIRE(asked.size() == 3);
  CHECK(std::get<model::provision_request>(asked[0]).requested_by == wanted);
  CHECK(std::get<model::update_request>(asked[1]).requested_by == wanted);
  CHECK(std::get<model::deprovision_request>(asked[2]).requested_by == wanted);
}

TEST_CASE("ALL-6: a malformed originating identity is refused with 400 and reaches nobody") {
  broker b;
  for (const std::string value :
       {"cloudfoundry", "cloudfoundry ", "cloudfoundry !!!",
        "cloudfoundry e30=e30=", "cloudfoundry W10=", "cloudfoundry NQ==", "cloudfoundry eyJh",
        "cloudfoundry e3=0", "cloudfoundry e30 e30", "\xff e30=", "cloudfoundry _-30"}) {
    CAPTURE(value);
    auto headers = platform_headers("X-Broker-API-Originating-Identity: " + value + "\r\n");
    for (const auto& answer : {b.send_as(headers, "PUT", here + incomplete, body_with()),
                               b.send_as(headers, "PUT", binding_path, bind_body("plan-id")),
                               b.send_as(headers, "DELETE", binding_path + "?" + ids)})
      CHECK(contains(error_of(answer, 400), "Originating-Identity"));
  }
  CHECK(b.asked().empty());
  for (const std::string good : {"k8s e30=", "k8s e30", "k8s   e30="})
    CHECK(b.send_as(platform_headers("X-Broker-API-Originating-Identity: " + good + "\r\n"), "PUT",
                    here + incomplete, body_with())
              .status
          == 202);
}

// -- catalog --------------------------------------------------------------------------------------

TEST_CASE(
    "CAT-8, CAT-11, CAT-13, CAT-14, CAT-17: the catalog says what may be updated, rotated and "
    "maintained") {
  broker b;
  auto body = json_of(b.send("GET", "/v2/catalog"));
  const auto& service = body["services"][0];
  CHECK(service["allow_context_updates"].IsTrue());
  CHECK(body["services"][1]["allow_context_updates"].IsFalse());
  const auto& plans = service["plans"];
  CHECK(plans[0]["plan_updateable"].IsFalse());
  CHECK(plans[1]["plan_updateable"].IsTrue());
  CHECK(plans[0]["bindable"].IsTrue());
  CHECK(plans[1]["bindable"].IsFalse());
  CHECK(json::text_of(service["metadata"]) == R"({"shareable":true})");
  CHECK(plans[0]["binding_rotatable"].IsTrue());
  CHECK(plans[1]["binding_rotatable"].IsFalse());
  CHECK(json::text_of(plans[0]["maintenance_info"])
        == R"({"version":"1.2.0","description":"restarts the nodes"})");
  CHECK(json::member(plans[1], "maintenance_info") == nullptr);
}

TEST_CASE(
    "CAT-12: each schema is of draft 4, closed, and small; bindings have one where they can be "
    "made") {
  broker b;
  auto body = json_of(b.send("GET", "/v2/catalog"));
  const auto& plans = body["services"][0]["plans"];
  auto check = [](const json::value& schema) {
    CHECK(json::string_member(schema, "$schema") == "http://json-schema.org/draft-04/schema#");
    CHECK(schema["additionalProperties"].IsFalse());
    CHECK_FALSE(contains(json::text_of(schema), "$ref"));
    CHECK(json::text_of(schema).size() < 64 * 1024);
  };
  for (const auto& plan : plans.GetArray())
    for (const char* verb : {"create", "update"})
      check(plan["schemas"]["service_instance"][verb]["parameters"]);
  const auto& own = plans[0]["schemas"]["service_binding"]["create"]["parameters"];
  check(own);
  CHECK(json::string_member(own["properties"]["read-only"], "type") == "boolean");
  CHECK(json::member(plans[1]["schemas"], "service_binding") == nullptr);
  const auto& shared = plans[2]["schemas"]["service_binding"]["create"]["parameters"];
  check(shared);
  CHECK(shared["properties"].ObjectEmpty());
}

TEST_CASE("CAT-18: a request with the tag of the current catalog is answered 304") {
  broker b;
  auto first = b.send("GET", "/v2/catalog");
  auto tag = first.header("ETag");
  REQUIRE(tag.size() == 66);
  CHECK(b.send("GET", "/v2/catalog").header("ETag") == tag);
  auto status = [&](const std::string& tags) {
    auto answer =
        b.send_as(platform_headers("If-None-Match: " + tags + "\r\n"), "GET", "/v2/catalog");
    CHECK(answer.header("ETag") == tag);
    CHECK(answer.body.empty() == (answer.status == 304));
    return answer.status;
  };
  CHECK(status(tag) == 304);
  CHECK(status("W/" + tag) == 304);
  CHECK(status("*") == 304);
  CHECK(status("\"other\" , " + tag) == 304);
  CHECK(status("\"other\"") == 200);
  CHECK(status("W/\"other\", \"\"") == 200);
  CHECK(status(tag.substr(1, 64)) == 200);
  error_of(b.send_as("If-None-Match: *\r\n", "GET", "/v2/catalog"), 401);
}

TEST_CASE("CAT-18: a request with the date of the current catalog is answered 304") {
  broker b;
  auto modified = b.send("GET", "/v2/catalog").header("Last-Modified");
  REQUIRE(modified.ends_with(" GMT"));
  auto status = [&](const std::string& headers) {
    return b.send_as(platform_headers(headers), "GET", "/v2/catalog").status;
  };
  CHECK(status("If-Modified-Since: " + modified + "\r\n") == 304);
  CHECK(status("If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n") == 304);
  CHECK(status("If-Modified-Since: Mon, 01 Jan 2001 00:00:00 GMT\r\n") == 200);
  CHECK(status("If-Modified-Since: yesterday\r\n") == 200);
  CHECK(status("If-None-Match: \"other\"\r\nIf-Modified-Since: " + modified + "\r\n") == 200);
}

TEST_CASE("CAT-18: another number of cells is another catalog, with another tag and date") {
  broker b;
  auto before = b.send("GET", "/v2/catalog");
  auto more = *b.cells;
  more.push_back(more[0]);
  b.cells = std::make_shared<const std::vector<model::cell_view>>(more);
  auto after = b.send("GET", "/v2/catalog");
  CHECK(after.header("ETag") != before.header("ETag"));
  CHECK(after.header("Last-Modified") != before.header("Last-Modified"));
  CHECK(contains(after.body, "\"maximum\":3"));
}

// -- parameters -----------------------------------------------------------------------------------

TEST_CASE("PRV-16, UPD-8: a parameter against its schema is refused with what is allowed") {
  broker b;
  const std::string count = "; it has to be a whole number from 1 to 2, the number of cells";
  const std::string list =
      "; it has to be a list of one string or more; the cells are cell-a, cell-b";
  for (const auto& [given, said] : std::vector<std::pair<std::string, std::string>>{
           {R"({"node-count":2.5})", "parameters.node-count is 2.5" + count},
           {R"({"node-count":"2"})", "parameters.node-count is \"2\"" + count},
           {R"({"node-count":true})", "parameters.node-count is true" + count},
           {R"({"node-count":0})", "parameters.node-count is 0" + count},
           {R"({"node-count":3})", "parameters.node-count is 3" + count},
           {R"({"cells":{}})", "parameters.cells is {}" + list},
           {R"({"cells":[]})", "parameters.cells is []" + list},
           {R"({"cells":["cell-a",null]})",
            "parameters.cells.1 is null; it has to be a string; the cells are cell-a, cell-b"},
           {R"({"cells":["cell-a","cell-a"]})", "parameters.cells names \"cell-a\" twice; name "
                                                "each once; the cells are cell-a, cell-b"},
           {R"({"a/b~":1})",
            "parameters.a/b~ is not known; the parameters are node-count and cells"},
           {R"({"":1})", "parameters. is not known; the parameters are node-count and cells"}}) {
    CAPTURE(given);
    CHECK(error_of(b.send("PUT", here + incomplete, body_with(parameters(given))), 400) == said);
    CHECK(error_of(b.send("PATCH", here + incomplete, update_body(parameters(given))), 400)
          == said);
  }
  CHECK(b.asked().empty());
}

TEST_CASE("BND-10: a binding's parameters are those of its plan") {
  broker b;
  auto refused = [&](const std::string& plan, const std::string& given) {
    return error_of(b.send("PUT", binding_path, bind_body(plan, parameters(given))), 400);
  };
  CHECK(refused("plan-id", R"({"read-only":"yes"})")
        == "parameters.read-only is \"yes\"; it has to be true or false");
  CHECK(refused("plan-id", R"({"readonly":true})")
        == "parameters.readonly is not known; the only parameter here is read-only");
  CHECK(refused("open-id", R"({"read-only":true})")
        == "parameters.read-only is not known; there are no parameters here");
  CHECK(contains(refused("plan-id", "[]"), "parameters has to be an object"));
  CHECK(b.asked().empty());
}

TEST_CASE("PRV-16: an error repeats only the start of a huge wrong value") {
  broker b;
  std::string huge(200'000, 'x');
  CHECK(error_of(b.send("PUT", here + incomplete,
                        body_with(parameters("{\"node-count\":\"" + huge + "\"}"))),
                 400)
            .size()
        < 300);
  CHECK(
      error_of(b.send("PUT", here + incomplete, body_with(parameters("{\"" + huge + "\":1}"))), 400)
          .size()
      < 300);
  CHECK(b.asked().empty());
}

TEST_CASE("PRV-17, ALL-12: a text or a context too long for a record is refused") {
  broker b;
  std::string huge(100'000, 'x');
  const std::string start = R"({"service_id":"service-id","plan_id":"plan-id",)";
  for (const auto& [body, field] : std::vector<std::pair<std::string, std::string>>{
           {start + "\"organization_guid\":\"" + huge + "\",\"space_guid\":\"s\"}",
            "organization_guid"},
           {start + "\"organization_guid\":\"o\",\"space_guid\":\"" + huge + "\"}", "space_guid"},
           {body_with(",\"context\":{\"a\":\"" + huge + "\"}"), "context"}})
    CHECK(contains(error_of(b.send("PUT", here + incomplete, body), 400), field));
  CHECK(contains(
      error_of(b.send("PUT", binding_path,
                      bind_body("plan-id", ",\"bind_resource\":{\"app_guid\":\"" + huge + "\"}")),
               400),
      "app_guid"));
  CHECK(b.asked().empty());
}

// -- ids ------------------------------------------------------------------------------------------

TEST_CASE("ALL-16: ids of any characters reach the backend as they are") {
  struct row {
    std::string sent, meant;
  };
  for (const auto& [sent, meant] :
       {row{"..%2Fx", "../x"}, row{"%2f", "/"}, row{"%252f", "%2f"},
        row{std::string(300, 'y'), std::string(300, 'y')}, row{"%F0%9F%98%80", "\xF0\x9F\x98\x80"},
        row{"a%20b%0A", "a b\n"}, row{"a'b%22;--", "a'b\";--"}}) {
    CAPTURE(sent);
    broker b;
    b.says = [](const auto&) { return bound(model::verdict_kind::done, ready_binding()); };
    auto path = "/v2/service_instances/" + sent + "/service_bindings/" + sent;
    CHECK(b.send("PUT", path, bind_body("plan-id")).status == 200);
    auto asked = b.only<model::bind_request>();
    CHECK(asked.instance_id == meant);
    CHECK(asked.wanted.binding_id == meant);
  }
}

TEST_CASE("ALL-16: an id that is not UTF-8, or holds NUL, is refused: no record could hold it") {
  broker b;
  for (const std::string id : {"%ff", "a%c3", "a%00b", "%ed%a0%80", "%c0%af"}) {
    CAPTURE(id);
    error_of(b.send("PUT", "/v2/service_instances/" + id + incomplete, body_with()), 400);
    error_of(b.send("GET", here + "/service_bindings/" + id), 400);
    error_of(b.send("DELETE", here + incomplete + "&service_id=" + id + "&plan_id=plan-id"), 400);
  }
  CHECK(b.asked().empty());
}

// -- provision and update -------------------------------------------------------------------------

TEST_CASE(
    "PRV-2, PRV-19, PRV-23: a provision takes its plan's settings, version and context along") {
  broker b;
  CHECK(b.send("PUT", here + incomplete,
               body_with(R"(,"maintenance_info":{"version":"1.2.0","description":5,"x":[]},)"
                         R"("context":{"platform":"cloudfoundry","a":[1]})"))
            .status
        == 202);
  auto asked = b.only<model::provision_request>();
  CHECK(asked.maintenance_version == "1.2.0");
  CHECK(asked.context == R"({"a":[1],"platform":"cloudfoundry"})");
  CHECK(asked.desired.settings.parameters.at("work_mem") == "5MB");
  CHECK(asked.requested_by.empty());
}

TEST_CASE("PRV-18, ALL-10: another maintenance version than the catalog's is a conflict") {
  broker b;
  auto with_version = [&](const std::string& plan, const std::string& info) {
    return b.send("PUT", here + incomplete,
                  R"({"service_id":"service-id","plan_id":")" + plan
                      + R"(","organization_guid":"o","space_guid":"s","maintenance_info":)" + info
                      + "}");
  };
  CHECK(contains(
      error_of(with_version("plan-id", R"({"version":"1.1.0"})"), 422, "MaintenanceInfoConflict"),
      "1.2.0"));
  error_of(with_version("plan-id", R"({"version":""})"), 422, "MaintenanceInfoConflict");
  error_of(with_version("closed-id", R"({"version":"1.2.0"})"), 422, "MaintenanceInfoConflict");
  for (const std::string wrong :
       {"5", "[]", "\"1.2.0\"", R"({"description":"x"})", R"({"version":1})"})
    CHECK(contains(error_of(with_version("plan-id", wrong), 400), "maintenance_info"));
  CHECK(b.asked().empty());
}

TEST_CASE("PRV-19, UPD-20: an empty maintenance_info counts as absent") {
  for (const std::string nothing : {"{}", "null", R"({"version":null})"}) {
    CAPTURE(nothing);
    auto more = R"(,"maintenance_info":)" + nothing;
    broker b;
    CHECK(b.send("PUT", here + incomplete, body_with(more)).status == 202);
    CHECK(b.send("PATCH", here + incomplete, update_body(more)).status == 202);
    CHECK_FALSE(std::get<model::update_request>(b.asked()[1]).maintenance_version.has_value());
  }
}

TEST_CASE("PRV-17, PRV-23: a context that is no object is refused") {
  broker b;
  for (const std::string context : {"[]", "[1,2]", "5", "\"x\"", "true"}) {
    CAPTURE(context);
    for (const auto& answer :
         {b.send("PUT", here + incomplete, body_with(",\"context\":" + context)),
          b.send("PATCH", here + incomplete, update_body(",\"context\":" + context)),
          b.send("PUT", binding_path, bind_body("plan-id", ",\"context\":" + context))})
      CHECK(contains(error_of(answer, 400), "context"));
  }
  CHECK(b.asked().empty());
}

TEST_CASE("UPD-2, UPD-9, UPD-17, UPD-20: an update takes version, context and the plans along") {
  broker b;
  CHECK(b.send("PATCH", here + incomplete,
               update_body(version_1_2 + R"(,"context":{"b":1,"a":2},"plan_id":"closed-id")"))
            .status
        == 202);
  auto asked = b.only<model::update_request>();
  CHECK(asked.maintenance_version == "1.2.0");
  CHECK(asked.context == R"({"a":2,"b":1})");
  CHECK(asked.plan_id == "closed-id");
  REQUIRE(asked.offers.size() == 3);
  CHECK_FALSE(asked.offers.at("plan-id").updateable);
  CHECK(asked.offers.at("closed-id").updateable);
  CHECK(asked.offers.at("plan-id").maintenance_version == "1.2.0");
  CHECK(asked.offers.at("closed-id").maintenance_version.empty());
  CHECK(asked.offers.at("plan-id").settings.parameters.at("work_mem") == "5MB");
  CHECK(asked.offers.at("plan-id").node_count == 2);
}

TEST_CASE("UPD-20: a context counts only where the service allows its update") {
  broker b;
  CHECK(b.send("PATCH", here + incomplete, R"({"service_id":"fixed-service","context":{"a":1}})")
            .status
        == 202);
  auto asked = b.only<model::update_request>();
  CHECK_FALSE(asked.context.has_value());
  CHECK_FALSE(asked.maintenance_version.has_value());
  // A change of the context alone needs no work, whether the context is kept or not: the instance
  // decides.
  b.says = [](const auto&) { return model::verdict{model::verdict_kind::done}; };
  CHECK(b.send("PATCH", here, R"({"service_id":"fixed-service","context":{"a":1}})").status == 200);
}

TEST_CASE(
    "UPD-3, UPD-20: an update of the context alone needs no accepts_incomplete, any other does") {
  broker b;
  b.says = [](const auto&) { return model::verdict{model::verdict_kind::done}; };
  CHECK(b.send("PATCH", here, update_body(R"(,"context":{"a":1})")).status == 200);
  CHECK_FALSE(b.only<model::update_request>().may_poll);
  CHECK(b.send("PATCH", here, update_body(R"(,"context":{"a":2})" + version_1_2)).status == 200);
  // Only the instance knows whether that is another plan.
  b.says = [](const auto&) { return model::verdict{model::verdict_kind::needs_polls}; };
  for (const std::string more :
       {R"(,"plan_id":"open-id")", R"(,"maintenance_info":{"version":"1.2.0"})"})
    error_of(b.send("PATCH", here, update_body(R"(,"context":{"a":1})" + more)), 422,
             "AsyncRequired");
  auto before = b.asked().size();
  for (const std::string more :
       {R"(,"parameters":{"node-count":1},"context":{})", R"(,"plan_id":"open-id")",
        R"(,"maintenance_info":{"version":"1.2.0"})"})
    error_of(b.send("PATCH", here, update_body(more)), 422, "AsyncRequired");
  CHECK(b.asked().size() == before);
}

TEST_CASE("UPD-17, ALL-10: an update to an outdated maintenance version is a conflict") {
  broker b;
  b.says = [](const auto&) { return model::verdict{model::verdict_kind::outdated, "the reason"}; };
  CHECK(error_of(b.send("PATCH", here + incomplete, update_body(version_1_2)), 422,
                 "MaintenanceInfoConflict")
        == "the reason");
}

TEST_CASE("UPD-21: previous values are accepted, the deprecated ones too") {
  broker b;
  CHECK(b.send("PATCH", here + incomplete,
               update_body(R"(,"previous_values":{"service_id":"s","plan_id":"p",)"
                           R"("organization_id":"o","space_id":"s","maintenance_info":{}})"))
            .status
        == 202);
}

TEST_CASE(
    "PRV-6, PRV-21, UPD-13, UPD-19, DEP-2, DEP-10: the answer to an accepted change names its "
    "operation") {
  broker b;
  for (const auto& answer : {b.send("PUT", here + incomplete, body_with()),
                             b.send("PATCH", here + incomplete, update_body("")),
                             b.send("DELETE", here + incomplete + "&" + ids)}) {
    CHECK(answer.status == 202);
    CHECK(answer.body == R"({"operation":"op-1"})");
  }
}

// -- last operation and fetch ---------------------------------------------------------------------

TEST_CASE("LOP-3: a description that is empty is left out") {
  broker b;
  b.known = ended_update(model::operation_state::succeeded, "");
  CHECK(b.send("GET", here + "/last_operation").body == R"({"state":"succeeded"})");
  b.known = ended_update(model::operation_state::succeeded, "done");
  CHECK(b.send("GET", here + "/last_operation").body
        == R"({"state":"succeeded","description":"done"})");
}

TEST_CASE("LOP-11, ALL-13: a failed update leaves a usable instance, a failed removal does not") {
  broker b;
  b.known = ended_update(model::operation_state::failed, "why");
  CHECK(b.send("GET", here + "/last_operation").body
        == R"({"state":"failed","description":"why","instance_usable":true,)"
           R"("update_repeatable":true})");
  b.known = ended_update(model::operation_state::succeeded, "why");
  CHECK_FALSE(contains(b.send("GET", here + "/last_operation").body, "usable"));
  b.known = snapshot(model::operation_type::deprovision, model::operation_state::failed);
  CHECK(b.send("GET", here + "/last_operation").body
        == R"({"state":"failed","description":"the final words","instance_usable":false})");
  b.known = snapshot(model::operation_type::deprovision, model::operation_state::in_progress);
  CHECK_FALSE(contains(b.send("GET", here + "/last_operation").body, "usable"));
}

TEST_CASE("LOP-8: a poll that is repeated gets the same answer") {
  broker b;
  b.known = ended_update(model::operation_state::failed, "why");
  auto first = b.send("GET", here + "/last_operation").body;
  CHECK(b.send("GET", here + "/last_operation?operation=op-1&plan_id=old").body == first);
}

TEST_CASE(
    "GIN-5, GIN-6, PRV-20: a fetched instance has its version and metadata, no dashboard and no "
    "secret") {
  broker b;
  b.known = ended_update(model::operation_state::in_progress, "");
  auto answer = b.send("GET", here);
  CHECK(answer.status == 200);
  auto body = json_of(answer);
  CHECK(json::text_of(body["maintenance_info"]) == R"({"version":"1.2.0"})");
  CHECK(json::text_of(body["metadata"]) == R"({"attributes":{"node-count":"2"}})");
  CHECK(json::member(body, "dashboard_url") == nullptr);
  CHECK_FALSE(contains(answer.body, "secret"));
  CHECK_FALSE(contains(answer.body, "p@ss"));
  b.known = settled();
  CHECK(json::member(json_of(b.send("GET", here)), "maintenance_info") == nullptr);
}

// -- bindings -------------------------------------------------------------------------------------

TEST_CASE("BND-1: a bind reaches the backend with what was asked for") {
  broker b;
  b.send("PUT", binding_path + incomplete,
         bind_body("plan-id", R"(,"app_guid":"older","bind_resource":{"app_guid":"app"},)"
                              R"("parameters":{"read-only":true})"));
  auto asked = b.only<model::bind_request>();
  CHECK(asked.may_poll);
  CHECK(asked.lifetime == 3600);
  CHECK(asked.wanted.read_only);
  CHECK(asked.wanted.parameters == R"({"read-only":true})");
  CHECK(asked.wanted.app_guid == "app");
  CHECK(asked.wanted.predecessor.empty());
  CHECK(asked.wanted.role.username.empty());
}

TEST_CASE("BND-3, BND-11: neither a platform that can poll nor an application is required") {
  broker b;
  b.send("PUT", binding_path, bind_body("plan-id"));
  auto asked = b.only<model::bind_request>();
  CHECK_FALSE(asked.may_poll);
  CHECK_FALSE(asked.wanted.read_only);
  CHECK(asked.wanted.app_guid.empty());
}

TEST_CASE("BND-2: a bind under way answers 202 with its operation and no credentials") {
  broker b;
  b.says = [](const auto&) {
    auto making = own_role_binding();
    making.phase = model::binding_phase::creating;
    return bound(model::verdict_kind::accepted, making);
  };
  auto answer = b.send("PUT", binding_path + incomplete, bind_body("plan-id"));
  CHECK(answer.status == 202);
  CHECK(answer.body == R"({"operation":"op-b"})");
}

TEST_CASE("BND-14: a binding with a role of its own has that role's credentials, whatever their "
          "characters") {
  broker b;
  auto made = ready_binding();
  made.role = {"r\xC3\xB6le/:@", "\"\\'%20 +&?#=\xF0\x9F\x98\x80;\n"};
  b.says = [&](const auto&) { return bound(model::verdict_kind::created, made); };
  auto body = json_of(b.send("PUT", binding_path, bind_body("plan-id")));
  const auto& c = body["credentials"];
  const std::string name = "r%C3%B6le%2F%3A%40";
  const std::string password = "%22%5C%27%2520%20%2B%26%3F%23%3D%F0%9F%98%80%3B%0A";
  CHECK(json::string_member(c, "uri")
        == "postgresql://" + name + ":" + password + "@db.example.org:30007/db");
  CHECK(json::string_member(c, "jdbcUrl")
        == "jdbc:postgresql://db.example.org:30007/db?user=" + name + "&password=" + password);
  CHECK(json::string_member(c, "username") == made.role.username);
  CHECK(json::string_member(c, "password") == made.role.password);
  CHECK(json::member(c, "superuser") == nullptr);
  CHECK(json::member(body, "metadata") == nullptr);
  CHECK(json::member(body, "description") == nullptr);
}

TEST_CASE("BND-14: the superuser is in a binding only where the plan says so") {
  broker b;
  auto made = ready_binding();
  made.plan_id = "open-id";
  b.says = [&](const auto&) { return bound(model::verdict_kind::created, made); };
  auto body = json_of(b.send("PUT", binding_path, bind_body("open-id")));
  CHECK(json::text_of(body["credentials"]["superuser"])
        == R"({"username":"super","password":"secret-2",)"
           R"("uri":"postgresql://super:secret-2@db.example.org:30007/db"})");
  b.says = [&](const auto&) { return bound(model::verdict_kind::created, ready_binding()); };
  CHECK_FALSE(contains(b.send("PUT", binding_path, bind_body("plan-id")).body, "secret-2"));
}

TEST_CASE("BND-15: a read-only binding has the second port, if there is one") {
  broker b;
  auto made = own_role_binding();
  made.read_only = true;
  for (int port : {30008, 0}) {
    CAPTURE(port);
    auto wanted = std::to_string(port == 0 ? 30007 : port);
    b.says = [&](const auto&) { return bound(model::verdict_kind::created, made, port); };
    auto body = json_of(b.send("PUT", binding_path, bind_body("plan-id")));
    CHECK(json::text_of(body["credentials"]["port"]) == wanted);
    CHECK(contains(json::string_member(body["credentials"], "uri"), ":" + wanted + "/db"));
    CHECK(contains(json::string_member(body["credentials"], "jdbcUrl"), ":" + wanted + "/db"));

    CHECK(std::string{body["endpoints"][0]["ports"][0].GetString()} == wanted);
  }
  b.says = [&](const auto&) {
    return bound(model::verdict_kind::created, own_role_binding(), 30008);
  };
  CHECK(json_of(b.send("PUT", binding_path, bind_body("plan-id")))["credentials"]["port"].GetInt()
        == 30007);
}

TEST_CASE("BND-15: an IPv6 address stands in brackets in URIs") {
  broker b{true, [](route_settings& settings) { settings.advertise_host = "fd00::1"; }};
  b.says = [](const auto&) { return bound(model::verdict_kind::created, own_role_binding()); };
  auto body = json_of(b.send("PUT", binding_path, bind_body("plan-id")));
  CHECK(contains(json::string_member(body["credentials"], "uri"), "@[fd00::1]:30007/"));
  CHECK(json::string_member(body["credentials"], "host") == "fd00::1");
}

TEST_CASE("BND-16: a binding that ends says when, and from when on it should be renewed") {
  broker b;
  auto made = own_role_binding();
  model::wall_time start{std::chrono::milliseconds{1'800'000'000'007}};
  made.renew_before = start;
  made.expires_at = start + 24h;
  made.note = "no replica has the role yet";
  b.says = [&](const auto&) { return bound(model::verdict_kind::created, made); };
  auto body = json_of(b.send("PUT", binding_path, bind_body("plan-id")));
  CHECK(
      json::text_of(body["metadata"])
      == R"({"expires_at":"2027-01-16T08:00:00.007Z","renew_before":"2027-01-15T08:00:00.007Z"})");
  CHECK(json::string_member(body, "description") == "no replica has the role yet");
}

TEST_CASE("BND-17: a successor names its predecessor, where the plan lets bindings be rotated") {
  broker b;
  b.send("PUT", binding_path, bind_body("plan-id", R"(,"predecessor_binding_id":"old")"));
  CHECK(b.only<model::bind_request>().wanted.predecessor == "old");
  broker c;
  auto refused = [&](const std::string& plan, const std::string& predecessor) {
    return error_of(
        c.send("PUT", binding_path, bind_body(plan, ",\"predecessor_binding_id\":" + predecessor)),
        400);
  };
  CHECK(contains(refused("open-id", "\"old\""), "binding_rotatable"));
  for (const std::string wrong : {"\"\"", "5", "{}", "null"})
    CHECK(contains(refused("plan-id", wrong), "predecessor_binding_id"));
  CHECK(c.asked().empty());
}

TEST_CASE("PRV-17, BND-9: a field of a bind that has another type is refused") {
  broker b;
  for (const auto& [more, field] : std::vector<std::pair<std::string, std::string>>{
           {R"(,"bind_resource":{"app_guid":5})", "app_guid"},
           {R"(,"bind_resource":5)", "bind_resource"},
           {R"(,"parameters":[])", "parameters"},
           {R"(,"parameters":5)", "parameters"}})
    CHECK(contains(error_of(b.send("PUT", binding_path, bind_body("plan-id", more)), 400), field));
  CHECK(b.asked().empty());
}

TEST_CASE("GBN-1, GBN-2, GBN-3: a binding can be fetched while it is ready, and only then") {
  broker b;
  auto made = own_role_binding();
  made.parameters = R"({"read-only":false})";
  b.known = with_binding(made);
  auto answer = b.send("GET", binding_path);
  CHECK(answer.status == 200);
  auto body = json_of(answer);
  CHECK(json::string_member(body["credentials"], "username") == "binding_1");
  CHECK(json::text_of(body["parameters"]) == R"({"read-only":false})");
  CHECK(body["endpoints"].Size() == 1);
  for (auto phase : {model::binding_phase::creating, model::binding_phase::removing}) {
    made.phase = phase;
    b.known = with_binding(made);
    auto refused = b.send("GET", binding_path);
    error_of(refused, 404);
    CHECK_FALSE(contains(refused.body, "q?w"));
  }
  b.known = nullptr;
  b.says = [](const auto&) { return model::verdict{model::verdict_kind::gone, "gone"}; };
  error_of(b.send("GET", binding_path), 404);
}

TEST_CASE("BLO-1, BLO-3, LOP-9: a binding's last operation follows its phase") {
  broker b;
  auto one = own_role_binding();
  one.asked_at = std::chrono::floor<model::duration>(std::chrono::system_clock::now());
  auto state = [&](model::binding_phase phase, const std::string& why) {
    one.phase = phase;
    auto shown = *with_binding(one);
    shown.roles_wait_for = why;
    b.known = std::make_shared<const model::instance_snapshot>(shown);
    auto answer = b.send("GET", binding_path + "/last_operation?operation=op-b");
    CHECK(answer.status == 200);
    CHECK(answer.header("Retry-After").empty() == (phase == model::binding_phase::ready));
    return answer.body;
  };
  CHECK(state(model::binding_phase::creating, "") == R"({"state":"in progress"})");
  CHECK(state(model::binding_phase::creating, "waiting")
        == R"({"state":"in progress","description":"waiting"})");
  CHECK(state(model::binding_phase::ready, "") == R"({"state":"succeeded"})");
  CHECK(state(model::binding_phase::removing, "") == R"({"state":"in progress"})");
  auto shown = *with_binding(one);
  shown.roles_wait_for = "waiting";
  shown.binding_troubles = {{"other", "another's"}, {one.binding_id, "its own"}};
  b.known = std::make_shared<const model::instance_snapshot>(shown);
  CHECK(b.send("GET", binding_path + "/last_operation").body
        == R"({"state":"in progress","description":"its own"})");
}

TEST_CASE("BLO-1: an operation that takes too long is reported as failed, with the reason") {
  broker b;
  auto one = own_role_binding();
  one.phase = model::binding_phase::creating;
  one.asked_at = std::chrono::floor<model::duration>(std::chrono::system_clock::now())
                 - model::longest_binding_operation - 1s;
  b.known = with_binding(one);
  auto body = json_of(b.send("GET", binding_path + "/last_operation"));
  CHECK(json::string_member(body, "state") == "failed");
  CHECK(json::string_member(body, "description").find("no leader") != std::string::npos);
}

TEST_CASE("BND-1, UNB-1: a binding that cannot be read is not reported as absent") {
  broker b;
  auto s = instance_of(model::operation_type::provision, model::operation_state::succeeded);
  s.unreadable_bindings = {"sealed"};
  b.known = std::make_shared<const model::instance_snapshot>(s);
  error_of(b.send("GET", here + "/service_bindings/sealed"), 503);
  error_of(b.send("GET", here + "/service_bindings/sealed/last_operation"), 503);
  error_of(b.send("GET", here + "/service_bindings/other"), 404);
}

TEST_CASE("BLO-2, BLO-3: a binding that was polled to its end answers 410, an unknown one 404") {
  broker b;
  auto s = instance_of(model::operation_type::provision, model::operation_state::succeeded);
  s.known.ended_bindings["ended"] = {model::wall_time{1s}, "op-u"};
  s.known.ended_bindings["earlier"] = {model::wall_time{1s}};
  b.known = std::make_shared<const model::instance_snapshot>(s);
  auto poll = [&](const std::string& which, const std::string& query) {
    return b.send("GET", here + "/service_bindings/" + which + "/last_operation" + query);
  };
  for (const std::string query : {"", "?operation=other", "?operation="}) {
    error_of(poll("ended", query), 410);
    error_of(poll("earlier", query), 410);
  }
  auto succeeded = poll("ended", "?service_id=s&operation=op-u");
  CHECK(succeeded.status == 200);
  CHECK(json::string_member(json_of(succeeded), "state") == "succeeded");
  error_of(b.send("GET", here + "/service_bindings/other/last_operation"), 404);
  error_of(b.send("GET", here + "/service_bindings/ended"), 404);
}

TEST_CASE("LOP-5, BLO-3: a poll that names the removal gets success, any other poll gets 410") {
  broker b;
  b.says = [](const auto&) {
    model::verdict gone{model::verdict_kind::gone, "it has been removed"};
    gone.left = model::tombstone{"one", "op-1", {}, {{"b", {{}, "op-b"}}}};
    return gone;
  };
  for (const auto& [path, own] :
       {std::pair{here, "op-1"}, std::pair{here + "/service_bindings/b", "op-b"}}) {
    auto poll = path + "/last_operation";
    auto named = b.send("GET", poll + "?operation=" + own);
    CHECK(named.status == 200);
    CHECK(json::string_member(json_of(named), "state") == "succeeded");
    CHECK(json::string_member(json_of(named), "description") == "it has been removed");
    for (const std::string query : {"", "?operation=", "?operation=op-9"})
      error_of(b.send("GET", poll + query), 410);
    error_of(b.send("GET", path), 404);
  }
  error_of(b.send("GET", here + "/service_bindings/c/last_operation?operation=op-1"), 410);
  // From before tombstones named an operation.
  b.says = [](const auto&) { return model::verdict{model::verdict_kind::gone, "gone"}; };
  error_of(b.send("GET", here + "/last_operation?operation=op-1"), 410);
}

TEST_CASE("UNB-2, UNB-6: an unbind under way answers 202 if the platform can poll") {
  broker b;
  b.says = [](const auto&) { return model::verdict{model::verdict_kind::accepted, "", "op-u"}; };
  auto answer = b.send("DELETE", binding_path + incomplete + "&" + ids);
  CHECK(answer.status == 202);
  CHECK(answer.body == R"({"operation":"op-u"})");
  CHECK(b.only<model::unbind_request>().may_poll);
  broker c;
  c.says = [](const auto&) { return model::verdict{model::verdict_kind::done}; };
  CHECK(c.send("DELETE", binding_path + "?" + ids).status == 200);
  CHECK_FALSE(c.only<model::unbind_request>().may_poll);
}

// -- the operator's -------------------------------------------------------------------------------

TEST_CASE("the operator sees settings, versions, bindings and who asked, and no password") {
  broker b;
  auto s = instance_of(model::operation_type::update, model::operation_state::succeeded);
  s.known.maintenance_version = "1.2.0";
  s.known.endpoints[model::endpoint::read_only] = 30008;
  s.known.current.requested_by = R"(cloudfoundry {"user_id":"u"})";
  s.known.living.in_force.synchronous = model::synchronous_mode::strict;
  s.known.living.in_force.ttl = 20;
  s.known.living.in_force.node_type = "small";
  s.known.living.in_force.parameters["work_mem"] = "5MB";
  s.known.living.set_secret(model::secret_name::etcd, {"scope", "secret-6"});
  auto one = own_role_binding();
  one.read_only = true;
  one.expires_at = model::wall_time{0s};
  one.role.password = "secret-7";
  s.bindings["b"] = one;
  b.known = std::make_shared<const model::instance_snapshot>(s);
  for (const std::string path : {"/admin/service_instances/known", "/admin/service_instances"}) {
    auto answer = b.send("GET", path);
    CHECK_FALSE(contains(answer.body, "secret-"));
    auto body = json_of(answer);
    const json::value& shown = body.IsArray() ? body[0] : static_cast<const json::value&>(body);
    CHECK(json::string_member(shown, "maintenance_version") == "1.2.0");
    CHECK(shown["read_only_port"].GetInt() == 30008);
    CHECK(json::string_member(shown["operation"], "requested_by")
          == R"(cloudfoundry {"user_id":"u"})");
    CHECK(json::string_member(shown["settings"], "synchronous") == "strict");
    CHECK(shown["settings"]["ttl"].GetInt() == 20);
    CHECK(json::string_member(shown["settings"], "node_type") == "small");
    CHECK(json::string_member(shown["settings"]["parameters"], "work_mem") == "5MB");
    CHECK(json::string_member(shown["desired"]["settings"], "synchronous") == "off");
    CHECK(json::text_of(shown["bindings"])
          == R"([{"binding_id":"b","phase":"ready","read_only":true,)"
             R"("expires_at":"1970-01-01T00:00:00.000Z"}])");
  }
}

TEST_CASE("a re-encryption says how many instances were rewritten") {
  broker b;
  b.rewritten.instances = 3000;
  auto answer = b.send("POST", "/admin/reencrypt");
  CHECK(answer.status == 200);
  CHECK(answer.body == R"({"instances":3000,"failed":[]})");
  CHECK(b.reencryptions == 1);
}

TEST_CASE("a re-encryption names what failed") {
  broker b;
  b.rewritten.failed = {{"known", "etcd"}};
  auto answer = b.send("POST", "/admin/reencrypt");
  CHECK(answer.status == 500);
  auto body = json_of(answer);
  CHECK(body["instances"].GetInt() == 0);
  CHECK(json::text_of(body["failed"]) == R"([{"instance_id":"known","description":"etcd"}])");
}

TEST_CASE("a broker that does not act, or has not loaded, does not begin a re-encryption") {
  broker b;
  b.known = settled();
  b.health.active = false;
  error_of(b.send("POST", "/admin/reencrypt"), 503);
  b.health = {true, true, false};
  error_of(b.send("POST", "/admin/reencrypt"), 503);
  CHECK(b.reencryptions == 0);
}
