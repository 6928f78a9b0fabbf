// The requests that the broker's API accepts and its answers, whatever exists behind it.
#include "stand_in_broker.hpp"

using namespace matriarch;
using namespace matriarch::test;
using namespace std::chrono_literals;

// -- access ---------------------------------------------------------------------------------------

TEST_CASE("ALL-1, CAT-19, LOP-13: without the right credentials every path but healthz "
          "answers 401") {
  for (bool strict : {true, false}) {
    broker b{strict};
    for (const std::string wrong :
         {"", "Authorization: Basic dXNlcjp3cm9uZw==\r\n", "Authorization: Basic\r\n",
          "Authorization: Bearer dXNlcjpwYXNz\r\n", "Authorization: Basic dXNlcjpwYXNzX\r\n"})
      for (const std::string path :
           {"/v2/catalog", "/v2/service_instances/x", "/admin/cells", "/nowhere"}) {
        CAPTURE(wrong);
        CAPTURE(path);
        auto answer = b.send_as(std::string{wrong} + version, "GET", path);
        error_of(answer, 401);
        CHECK(answer.header("WWW-Authenticate").starts_with("Basic "));
      }
    CHECK(b.asked().empty());
    CHECK(b.send_as("", "GET", "/healthz").status == 200);
  }
}

TEST_CASE("the name of the scheme may be in any case") {
  broker b;
  CHECK(b.send_as(std::string{"Authorization: bAsIc dXNlcjpwYXNz\r\n"} + version, "GET",
                  "/v2/catalog")
            .status
        == 200);
}

TEST_CASE("ALL-2, ALL-3, ALL-4, CAT-19, LOP-13: an API version that is missing or of another "
          "major number answers 412") {
  broker b;
  error_of(b.send_as(good_credentials, "GET", "/v2/catalog"), 412);
  for (const std::string other : {"1.0", "3.0", "2", "2.", "two", "2.x", "22.1"}) {
    CAPTURE(other);
    auto header = std::string{good_credentials} + "X-Broker-API-Version: " + other + "\r\n";
    CHECK(contains(error_of(b.send_as(header, "GET", "/v2/catalog"), 412), "2.17"));
    error_of(b.send_as(header, "PUT", here + incomplete, body_with()), 412);
  }
  for (const std::string good : {"2.0", "2.17", "2.99"})
    CHECK(b.send_as(std::string{good_credentials} + "X-Broker-API-Version: " + good + "\r\n", "GET",
                    "/v2/catalog")
              .status
          == 200);
  CHECK(b.asked().empty());
}

TEST_CASE("a broker that is not strict needs no version, but refuses a wrong one") {
  broker b{false};
  CHECK(b.send_as(good_credentials, "GET", "/v2/catalog").status == 200);
  error_of(b.send_as(std::string{good_credentials} + "X-Broker-API-Version: 3.0\r\n", "GET",
                     "/v2/catalog"),
           412);
}

TEST_CASE("admin paths need no version") {
  broker b;
  CHECK(b.send_as(good_credentials, "GET", "/admin/cells").status == 200);
}

TEST_CASE("ALL-5: the request identity is echoed with every answer, errors too") {
  broker b;
  auto answer_to = [&](const std::string& headers, const std::string& verb,
                       const std::string& path) {
    return b.send_as(headers + "X-Broker-API-Request-Identity: 7-of-9\r\n", verb, path);
  };
  auto good = std::string{good_credentials} + version;
  for (const auto& answer :
       {answer_to(good, "GET", "/v2/catalog"), answer_to("", "GET", "/v2/catalog"),
        answer_to(good_credentials, "GET", "/v2/catalog"), answer_to(good, "PUT", here),
        answer_to(good, "GET", "/nowhere"), answer_to(good, "POST", "/v2/catalog"),
        answer_to(good, "DELETE", here + incomplete + "&" + ids), answer_to(good, "GET", here),
        b.send_as(good + "X-Broker-API-Request-Identity: 7-of-9\r\n", "PUT", here,
                  std::string(1'048'577, ' '))}) {
    CAPTURE(answer.status);
    CHECK(answer.header("X-Broker-API-Request-Identity") == "7-of-9");
  }
}

TEST_CASE("a method that a path does not take answers 405 and says which it takes") {
  broker b;
  auto allowed = [&](const std::string& verb, const std::string& path) {
    auto answer = b.send(verb, path);
    error_of(answer, 405);
    return answer.header("Allow");
  };
  CHECK(allowed("POST", "/v2/catalog") == "GET");
  CHECK(allowed("POST", here) == "GET, PUT, PATCH, DELETE");
  CHECK(allowed("PUT", here + "/last_operation") == "GET");
  CHECK(allowed("PATCH", binding_path) == "GET, PUT, DELETE");
  CHECK(allowed("DELETE", binding_path + "/last_operation") == "GET");
  CHECK(allowed("POST", "/admin/cells") == "GET");
  CHECK(allowed("GET", "/admin/cells/cell-a/demote") == "POST");
  CHECK(allowed("GET", "/admin/cells/cell-a/forget") == "POST");
  CHECK(allowed("POST", "/admin/orphans") == "GET");
  CHECK(allowed("GET", "/admin/orphans/cell-a/n1") == "DELETE");
  CHECK(allowed("DELETE", "/admin/service_instances") == "GET");
  CHECK(allowed("DELETE", "/admin/service_instances/x") == "GET");
  CHECK(allowed("POST", "/healthz") == "GET");
  CHECK(b.asked().empty());
}

TEST_CASE("a path that is not there answers 404") {
  broker b;
  for (const std::string path : {"/", "/v2", "/v2/service_instances", "/v2/service_instances/",
                                 "/v2/service_instances/a/b", "/admin", "/admin/x"}) {
    CAPTURE(path);
    error_of(b.send("GET", path), 404);
  }
}

// -- catalog --------------------------------------------------------------------------------------

TEST_CASE("CAT-1, CAT-2, CAT-3, CAT-7, CAT-9, CAT-10, CAT-12, CAT-15: the catalog has the "
          "fields that the specification requires, and schemas") {
  broker b;
  auto answer = b.send("GET", "/v2/catalog");
  CHECK(answer.status == 200);
  auto body = json_of(answer);
  REQUIRE(body["services"].Size() == 2);
  const auto& service = body["services"][0];
  CHECK(json::string_member(service, "id") == "service-id");
  CHECK(json::string_member(service, "name") == "postgresql");
  CHECK(json::string_member(service, "description") == "clusters");
  CHECK(service["bindable"].IsTrue());
  CHECK(service["plan_updateable"].IsFalse());
  CHECK(service["instances_retrievable"].IsTrue());
  CHECK(service["bindings_retrievable"].IsTrue());
  CHECK(json::text_of(service["tags"]) == R"(["sql"])");
  REQUIRE(service["plans"].Size() == 3);
  const auto& plan = service["plans"][0];
  CHECK(json::string_member(plan, "id") == "plan-id");
  CHECK(json::string_member(plan, "name") == "small");
  CHECK(json::string_member(plan, "description") == "two nodes");
  CHECK(plan["free"].IsTrue());
  CHECK(plan["maximum_polling_duration"].GetInt() == 600);
  CHECK(json::text_of(plan["metadata"]) == R"({"bullets":["x"]})");
  CHECK(plan["bindable"].IsTrue());
  CHECK(service["plans"][1]["bindable"].IsFalse());
  CHECK(json::member(plan, "provision") == nullptr);
  for (const std::string verb : {"create", "update"}) {
    const auto& schema = plan["schemas"]["service_instance"][verb.c_str()]["parameters"];
    CHECK(json::string_member(schema, "$schema") == "http://json-schema.org/draft-04/schema#");
    CHECK(schema["additionalProperties"].IsFalse());
    CHECK(schema["properties"]["node-count"]["minimum"].GetInt() == 1);
    CHECK(schema["properties"]["node-count"]["maximum"].GetInt() == 2);
    CHECK(json::string_member(schema["properties"]["cells"], "type") == "array");
  }
}

// -- bad input ------------------------------------------------------------------------------------

TEST_CASE("PRV-9, UPD-7, BND-9, ALL-9: a body that is no JSON object is refused with 400 and "
          "reaches nobody") {
  for (bool strict : {true, false}) {
    broker b{strict};
    for (const std::string verb : {"PUT", "PATCH"})
      for (const auto& path : {here, binding_path})
        for (const std::string body :
             {"", "{", "[]", "5", "null", "\"x\"", "{\"a\":1,\"a\":2}", "\xff"}) {
          if (path == binding_path && std::string{verb} == "PATCH")
            continue;
          CAPTURE(body);
          error_of(b.send(verb, path + incomplete, body), 400);
        }
    CHECK(b.asked().empty());
  }
}

TEST_CASE("ALL-15: another content type than JSON is refused, one with a charset is not") {
  broker b;
  auto headers = std::string{good_credentials} + version + "Content-Type: ";
  auto path = here + incomplete;
  CHECK(contains(error_of(b.send_as(headers + "text/plain\r\n", "PUT", path, body_with()), 400),
                 "text/plain"));
  CHECK(b.asked().empty());
  for (const char* type : {"application/json; charset=utf-8", "Application/JSON ;q=1"})
    CHECK(b.send_as(headers + type + "\r\n", "PUT", path, body_with()).status == 202);
  CHECK(b.send_as(headers + "application/jsonx\r\n", "PUT", path, body_with()).status == 400);
}

TEST_CASE("PRV-10, PRV-11, PRV-12, PRV-13, PRV-14, PRV-15, PRV-16, PRV-17: what is wrong in a "
          "provision is refused with 400 and named") {
  broker b;
  struct wrong {
    std::string body;
    std::string names;
  };
  const std::string rest = R"("organization_guid":"o","space_guid":"s"})";
  auto with_parameters = [](const std::string& p) { return body_with(",\"parameters\":" + p); };
  const std::vector<wrong> table{
      {R"({"plan_id":"plan-id",)" + rest, "service_id"},
      {R"({"service_id":"","plan_id":"plan-id",)" + rest, "service_id"},
      {R"({"service_id":5,"plan_id":"plan-id",)" + rest, "service_id"},
      {R"({"service_id":null,"plan_id":"plan-id",)" + rest, "service_id"},
      {R"({"service_id":"other","plan_id":"plan-id",)" + rest, "service_id"},
      {R"({"service_id":"service-id",)" + rest, "plan_id"},
      {R"({"service_id":"service-id","plan_id":"",)" + rest, "plan_id"},
      {R"({"service_id":"service-id","plan_id":[],)" + rest, "plan_id"},
      {R"({"service_id":"service-id","plan_id":"other",)" + rest, "plan_id"},
      {R"({"service_id":"service-id","plan_id":"plan-id","space_guid":"s"})", "organization_guid"},
      {R"({"service_id":"service-id","plan_id":"plan-id","organization_guid":"","space_guid":"s"})",
       "organization_guid"},
      {R"({"service_id":"service-id","plan_id":"plan-id","organization_guid":"o"})", "space_guid"},
      {R"({"service_id":"service-id","plan_id":"plan-id","organization_guid":"o","space_guid":{}})",
       "space_guid"},
      {body_with(R"(,"context":5)"), "context"},
      {with_parameters("[]"), "parameters"},
      {with_parameters("\"x\""), "parameters"},
      {with_parameters(R"({"node-count":0})"), "parameters.node-count"},
      {with_parameters(R"({"node-count":-1})"), "parameters.node-count"},
      {with_parameters(R"({"node-count":2.5})"), "parameters.node-count"},
      {with_parameters(R"({"node-count":2.0})"), "parameters.node-count"},
      {with_parameters(R"({"node-count":"two"})"), "parameters.node-count"},
      {with_parameters(R"({"node-count":null})"), "parameters.node-count"},
      {with_parameters(R"({"node-count":3})"), "parameters.node-count"},
      {with_parameters(R"({"node-count":99999999999999999999})"), "parameters.node-count"},
      {with_parameters(R"({"cells":"cell-a"})"), "parameters.cells"},
      {with_parameters(R"({"cells":[]})"), "parameters.cells"},
      {with_parameters(R"({"cells":[1]})"), "parameters.cells"},
      {with_parameters(R"({"cells":["cell-a","nowhere"]})"), "\"nowhere\""},
      {with_parameters(R"({"cells":["cell-a","cell-a"]})"), "twice"},
      {with_parameters(R"({"cells":["cell-a"]})"), "parameters.cells"},
      {with_parameters(R"({"node-count":2,"cells":["cell-b"]})"), "parameters.cells"},
      {with_parameters(R"({"node_count":2})"), "parameters.node_count"},
  };
  for (const auto& [body, names] : table) {
    CAPTURE(body);
    CHECK(contains(error_of(b.send("PUT", here + incomplete, body), 400), names));
  }
  CHECK(b.asked().empty());
}

TEST_CASE("UPD-4, UPD-5, UPD-6, UPD-8: what is wrong in an update is refused with 400 and "
          "named") {
  broker b;
  auto refused = [&](const std::string& body) {
    return error_of(b.send("PATCH", here + incomplete, body), 400);
  };
  CHECK(contains(refused("{}"), "service_id"));
  CHECK(contains(refused(R"({"service_id":"other"})"), "service_id"));
  CHECK(contains(refused(R"({"service_id":"service-id","plan_id":"other"})"), "plan_id"));
  CHECK(contains(refused(R"({"service_id":"service-id","plan_id":7})"), "plan_id"));
  CHECK(contains(refused(R"({"service_id":"service-id","parameters":5})"), "parameters"));
  CHECK(contains(refused(R"({"service_id":"service-id","previous_values":5})"), "previous_values"));
  for (const std::string count : {"0", "-1", "2.5", "\"two\"", "3"})
    CHECK(contains(refused(std::string{R"({"service_id":"service-id","parameters":{"node-count":)"}
                           + count + "}}"),
                   "parameters.node-count"));
  CHECK(contains(refused(R"({"service_id":"service-id","parameters":{"cells":["x"]}})"),
                 "parameters.cells"));
  CHECK(b.asked().empty());
}

TEST_CASE("BND-6, BND-7, BND-8, BND-10, BND-19: what is wrong in a bind is refused with 400 "
          "and named") {
  broker b;
  auto refused = [&](const std::string& body) {
    return error_of(b.send("PUT", binding_path, body), 400);
  };
  CHECK(contains(refused(R"({"plan_id":"plan-id"})"), "service_id"));
  CHECK(contains(refused(R"({"service_id":"service-id","plan_id":""})"), "plan_id"));
  CHECK(contains(refused(R"({"service_id":"x","plan_id":"plan-id"})"), "service_id"));
  CHECK(contains(refused(R"({"service_id":"service-id","plan_id":"x"})"), "plan_id"));
  CHECK(contains(refused(R"({"service_id":"service-id","plan_id":"closed-id"})"), "not bindable"));
  CHECK(contains(refused(R"({"service_id":"service-id","plan_id":"plan-id","app_guid":5})"),
                 "app_guid"));
  CHECK(contains(refused(R"({"service_id":"service-id","plan_id":"plan-id","bind_resource":[]})"),
                 "bind_resource"));
  CHECK(contains(refused(R"({"service_id":"service-id","plan_id":"plan-id","parameters":{"a":1}})"),
                 "parameters.a"));
  CHECK(b.asked().empty());
}

TEST_CASE("DEP-3, UNB-3, UNB-8: a DELETE needs the ids in its query, and they have to be the "
          "catalog's, strict or not") {
  for (bool strict : {true, false}) {
    broker b{strict};
    for (const auto& path : {here, binding_path}) {
      auto refused = [&](const std::string& query) {
        return error_of(b.send("DELETE", path + incomplete + query), 400);
      };
      CHECK(contains(refused(""), "service_id"));
      CHECK(contains(refused("&plan_id=plan-id"), "service_id"));
      CHECK(contains(refused("&service_id=&plan_id=plan-id"), "service_id"));
      CHECK(contains(refused("&service_id=service-id"), "plan_id"));
      CHECK(contains(refused("&service_id=service-id&plan_id="), "plan_id"));
      CHECK(contains(refused("&service_id=x&plan_id=plan-id"), "service_id"));
      CHECK(contains(refused("&service_id=service-id&plan_id=x"), "plan_id"));
    }
    CHECK(b.asked().empty());
  }
}

TEST_CASE("a broker that is not strict does without organisation and space, but needs everything "
          "else") {
  broker b{false};
  using fields = std::map<std::string, std::string>;
  auto body_of = [](const fields& all) {
    std::string body;
    for (const auto& [name, value] : all)
      body += (body.empty() ? "{\"" : ",\"") + name + "\":\"" + value + "\"";
    return body.empty() ? "{}" : body + "}";
  };
  auto query_of = [](const fields& all) {
    std::string query{incomplete};
    for (const auto& [name, value] : all)
      query += "&" + name + "=" + value;
    return query;
  };
  const fields ids_of_both{{"service_id", "service-id"}, {"plan_id", "plan-id"}};
  struct row {
    std::string verb;
    std::string path;
    fields required;
  };
  for (const auto& one :
       {row{"PUT", here, ids_of_both}, row{"PATCH", here, {{"service_id", "service-id"}}},
        row{"DELETE", here, ids_of_both}, row{"PUT", binding_path, ids_of_both},
        row{"DELETE", binding_path, ids_of_both}}) {
    auto send = [&](const fields& given) {
      return one.verb == "DELETE"
                 ? b.send(one.verb, one.path + query_of(given))
                 : b.send(one.verb, one.path + std::string{incomplete}, body_of(given));
    };
    CAPTURE(one.verb);
    CAPTURE(one.path);
    for (const auto& [name, value] : one.required) {
      auto before = b.asked().size();
      auto without = one.required;
      without.erase(name);
      CHECK(contains(error_of(send(without), 400), name));
      without[name] = "";
      CHECK(contains(error_of(send(without), 400), name));
      without[name] = "another";
      CHECK(contains(error_of(send(without), 400), name));
      CHECK(b.asked().size() == before);
    }
    auto before = b.asked().size();
    CHECK(send(one.required).status < 300);
    CHECK(b.asked().size() == before + 1);
  }
}

TEST_CASE("PRV-3, PRV-4, UPD-3, DEP-5: a strict broker requires accepts_incomplete=true") {
  broker b;
  for (const std::string query : {"?", "?accepts_incomplete=false&", "?accepts_incomplete=&"}) {
    CAPTURE(query);
    error_of(b.send("PUT", here + query, body_with(R"(,"accepts_incomplete":true)")), 422,
             "AsyncRequired");
    error_of(b.send("PATCH", here + query, R"({"service_id":"service-id"})"), 422, "AsyncRequired");
    error_of(b.send("DELETE", here + query + ids), 422, "AsyncRequired");
  }
  CHECK(b.asked().empty());
}

// -- what reaches the backend ---------------------------------------------------------------------

TEST_CASE("PRV-2, ALL-7: a provision reaches the backend with its plan's defaults and its "
          "parameters") {
  broker b;
  auto answer = b.send("PUT", here + incomplete, body_with(R"(,"unknown_extension":{"a":1})"));
  CHECK(answer.status == 202);
  CHECK(json::string_member(json_of(answer), "operation") == "op-1");
  auto asked = b.only<model::provision_request>();
  CHECK(asked.instance_id == "one");
  CHECK(asked.organization_guid == "o");
  CHECK(asked.space_guid == "s");
  CHECK(asked.parameters == "{}");
  CHECK(asked.desired.node_count == 2);
  CHECK(asked.desired.cells.empty());
  CHECK(asked.longest == 600s);
}

TEST_CASE("a provision's parameters become the desired state") {
  broker b;
  b.send("PUT", here + incomplete,
         body_with(R"(,"parameters":{"node-count":1,"cells":["cell-b","cell-a"]})"));
  auto asked = b.only<model::provision_request>();
  CHECK(asked.desired.node_count == 1);
  CHECK(asked.desired.cells == std::vector<std::string>{"cell-b", "cell-a"});
  CHECK(asked.parameters == R"({"cells":["cell-b","cell-a"],"node-count":1})");
}

TEST_CASE("UPD-2, UPD-9, UPD-10, UPD-21: an update leaves alone what it does not name") {
  broker b;
  CHECK(b.send("PATCH", here + incomplete,
               R"({"service_id":"service-id","previous_values":{"plan_id":"x"}})")
            .status
        == 202);
  auto asked = b.only<model::update_request>();
  CHECK_FALSE(asked.node_count.has_value());
  CHECK_FALSE(asked.cells.has_value());
  CHECK(asked.plan_id.empty());
  CHECK(asked.longest == 600s);
}

TEST_CASE("ALL-16: ids are decoded once, whatever their characters") {
  broker b;
  b.send("PUT", "/v2/service_instances/a%2Fb%20%C3%BC%252F" + incomplete, body_with());
  CHECK(b.only<model::provision_request>().instance_id == "a/b ü%2F");
  broker c;
  c.says = [](const auto&) { return model::verdict{model::verdict_kind::not_found, "no"}; };
  c.send("DELETE", "/v2/service_instances/x%2Fy/service_bindings/%2e%2e?" + ids);
  auto unbind = c.only<model::unbind_request>();
  CHECK(unbind.instance_id == "x/y");
  CHECK(unbind.binding_id == "..");
}

TEST_CASE("a snapshot is looked up by the safe name of the id") {
  broker b;
  b.known = settled();
  CHECK(b.send("GET", "/v2/service_instances/a%2Fb/last_operation").status == 200);
  REQUIRE(b.names().size() == 1);
  CHECK(b.names()[0].starts_with("~"));
}

// -- verdicts -------------------------------------------------------------------------------------

TEST_CASE("ALL-8, ALL-10, PRV-7, UPD-11, UPD-14, UPD-15, BND-5, BND-12, UNB-7, DEP-6: each "
          "verdict has its status, and a body that says why") {
  broker b;
  using model::verdict_kind;
  struct row {
    verdict_kind is;
    int status;
    const char* code;
  };
  for (auto [is, status, code] :
       {row{verdict_kind::bad_request, 400, ""}, row{verdict_kind::conflict, 409, ""},
        row{verdict_kind::busy, 422, "ConcurrencyError"}, row{verdict_kind::refused, 422, ""},
        row{verdict_kind::unavailable, 503, ""}}) {
    CAPTURE(status);
    b.says = [is = is](const auto&) { return model::verdict{is, "the reason"}; };
    for (const auto& answer :
         {b.send("PUT", here + incomplete, body_with()),
          b.send("PATCH", here + incomplete, R"({"service_id":"service-id"})"),
          b.send("DELETE", here + incomplete + "&" + ids),
          b.send("PUT", binding_path, R"({"service_id":"service-id","plan_id":"plan-id"})"),
          b.send("DELETE", binding_path + "?" + ids)}) {
      CHECK(error_of(answer, status, code) == "the reason");
      CHECK((status == 503) == !answer.header("Retry-After").empty());
    }
  }
}

TEST_CASE("UPD-16, BND-13, UNB-4, DEP-4: what is not there answers 404, and 410 to a DELETE") {
  broker b;
  b.says = [](const auto&) { return model::verdict{model::verdict_kind::not_found, "none"}; };
  error_of(b.send("PATCH", here + incomplete, R"({"service_id":"service-id"})"), 404);
  error_of(b.send("PUT", binding_path, R"({"service_id":"service-id","plan_id":"plan-id"})"), 404);
  error_of(b.send("DELETE", here + incomplete + "&" + ids), 410);
  error_of(b.send("DELETE", binding_path + "?" + ids), 410);
  b.says = [](const auto&) { return model::verdict{model::verdict_kind::gone, "gone"}; };
  error_of(b.send("DELETE", here + incomplete + "&" + ids), 410);
  error_of(b.send("DELETE", binding_path + "?" + ids), 410);
}

TEST_CASE("PRV-5, UPD-1, UNB-1: a request that changes nothing answers 200") {
  broker b;
  b.says = [](const auto&) { return model::verdict{model::verdict_kind::done}; };
  CHECK(b.send("PUT", here + incomplete, body_with()).status == 200);
  CHECK(b.send("PATCH", here + incomplete, R"({"service_id":"service-id"})").status == 200);
  auto answer = b.send("DELETE", binding_path + "?" + ids);
  CHECK(answer.status == 200);
  CHECK(answer.body == "{}");
}

// -- synchronous ----------------------------------------------------------------------------------

namespace {

/// Accepts everything and ends operations as told.
auto ending_with(model::verdict end) {
  return [end](const model::request& what) {
    return std::holds_alternative<model::await_request>(what)
               ? end
               : model::verdict{model::verdict_kind::accepted, "", "op-1"};
  };
}

model::verdict ended(model::operation_type type, model::operation_state state) {
  return found(snapshot(type, state));
}

} // namespace

TEST_CASE("a broker that is not strict answers a caller who cannot poll with the result") {
  broker b{false};
  using model::operation_state;
  using model::operation_type;
  b.says = ending_with(ended(operation_type::provision, operation_state::succeeded));
  CHECK(b.send("PUT", here, body_with()).status == 201);
  auto asked = b.asked();
  REQUIRE(asked.size() == 2);
  REQUIRE(std::holds_alternative<model::await_request>(asked[1]));
  CHECK(std::get<model::await_request>(asked[1]).instance_id == "one");
  CHECK(std::get<model::await_request>(asked[1]).operation_id == "op-1");
  b.says = ending_with(ended(operation_type::update, operation_state::succeeded));
  CHECK(b.send("PATCH", here, R"({"service_id":"service-id"})").status == 200);
  b.says = ending_with({model::verdict_kind::gone, "gone"});
  CHECK(b.send("DELETE", here + "?" + ids).status == 200);
}

TEST_CASE("DEP-8: a synchronous request whose operation fails answers 500 with the reason") {
  broker b{false};
  b.says = ending_with(ended(model::operation_type::provision, model::operation_state::failed));
  CHECK(error_of(b.send("PUT", here, body_with()), 500) == "the final words");
}

TEST_CASE("a synchronous request that another one superseded answers 500") {
  broker b{false};
  auto other = instance_of(model::operation_type::deprovision, model::operation_state::in_progress);
  other.known.current.id = "op-2";
  b.says = ending_with(found(std::make_shared<const model::instance_snapshot>(other)));
  CHECK(contains(error_of(b.send("PUT", here, body_with()), 500), "superseded"));
}

TEST_CASE("a synchronous request that takes too long answers 202, to be polled") {
  broker b{false};
  b.says = ending_with({model::verdict_kind::unavailable, "time-out"});
  auto answer = b.send("PUT", here, body_with());
  CHECK(answer.status == 202);
  CHECK(json::string_member(json_of(answer), "operation") == "op-1");
}

TEST_CASE("accepts_incomplete in the body counts for a broker that is not strict") {
  broker b{false};
  CHECK(b.send("PUT", here, body_with(R"(,"accepts_incomplete":true)")).status == 202);
  b.only<model::provision_request>();
}

// -- reads ----------------------------------------------------------------------------------------

TEST_CASE("LOP-1, LOP-2, LOP-7, LOP-9, LOP-10, ALL-13: last_operation is answered from the "
          "snapshot, without asking the backend") {
  broker b;
  b.known = snapshot(model::operation_type::provision, model::operation_state::in_progress);
  auto answer = b.send("GET", here + "/last_operation?operation=op-1&service_id=service-id");
  CHECK(answer.status == 200);
  CHECK_FALSE(answer.header("Retry-After").empty());
  auto body = json_of(answer);
  CHECK(json::string_member(body, "state") == "in progress");
  CHECK(json::string_member(body, "description") == "members starting, stopped");
  for (auto [state, word] : {std::pair{model::operation_state::succeeded, "succeeded"},
                             std::pair{model::operation_state::failed, "failed"}}) {
    b.known = snapshot(model::operation_type::provision, state);
    answer = b.send("GET", here + "/last_operation");
    CHECK(answer.status == 200);
    CHECK(answer.header("Retry-After").empty());
    body = json_of(answer);
    CHECK(json::string_member(body, "state") == word);
    CHECK(json::string_member(body, "description") == "the final words");
    CHECK(json::member(body, "instance_usable") == nullptr);
  }
  CHECK(b.asked().empty());
}

TEST_CASE("LOP-4, LOP-5, GIN-2: an instance without a snapshot is looked up") {
  broker b;
  auto path = here + "/last_operation";
  b.says = [](const auto&) { return found(settled()); };
  CHECK(b.send("GET", path).status == 200);
  CHECK(b.only<model::lookup_request>().instance_id == "one");
  b.says = [](const auto&) { return model::verdict{model::verdict_kind::not_found, "none"}; };
  error_of(b.send("GET", path), 404);
  error_of(b.send("GET", here), 404);
  b.says = [](const auto&) { return model::verdict{model::verdict_kind::gone, "gone"}; };
  error_of(b.send("GET", path), 410);
  error_of(b.send("GET", here), 404);
  b.says = [](const auto&) { return model::verdict{model::verdict_kind::unavailable, "etcd"}; };
  CHECK_FALSE(b.send("GET", path).header("Retry-After").empty());
  error_of(b.send("GET", path), 503);
}

TEST_CASE("GIN-1, GIN-3, GIN-4, GIN-5: an instance can be fetched once it is provisioned, "
          "without secrets") {
  broker b;
  b.known = settled();
  auto answer = b.send("GET", here);
  CHECK(answer.status == 200);
  auto body = json_of(answer);
  CHECK(json::string_member(body, "service_id") == "service-id");
  CHECK(json::string_member(body, "plan_id") == "plan-id");
  CHECK(json::text_of(body["parameters"]) == R"({"node-count":2})");
  CHECK_FALSE(contains(answer.body, "secret"));
  for (auto state : {model::operation_state::in_progress, model::operation_state::failed}) {
    b.known = snapshot(model::operation_type::provision, state);
    error_of(b.send("GET", here), 404);
  }
  auto never_made =
      instance_of(model::operation_type::deprovision, model::operation_state::in_progress);
  never_made.known.living.had_leader = false;
  b.known = std::make_shared<const model::instance_snapshot>(never_made);
  error_of(b.send("GET", here), 404);
  b.known = snapshot(model::operation_type::update, model::operation_state::in_progress);
  CHECK(b.send("GET", here).status == 200);
}

// -- bindings -------------------------------------------------------------------------------------

TEST_CASE("BND-1, BND-14, BND-15, BND-18: a new binding answers 201 with credentials whose "
          "special characters are encoded") {
  broker b;
  b.says = [](const auto&) { return bound(model::verdict_kind::created, ready_binding()); };
  auto answer = b.send("PUT", binding_path,
                       R"({"service_id":"service-id","plan_id":"plan-id",)"
                       R"("bind_resource":{"app_guid":"the-app"}})");
  CHECK(answer.status == 201);
  CHECK(b.only<model::bind_request>().wanted.app_guid == "the-app");
  auto body = json_of(answer);
  const auto& c = body["credentials"];
  CHECK(json::string_member(c, "uri")
        == "postgresql://app%2Fuser:p%40ss%3Aw@db.example.org:30007/db");
  CHECK(json::string_member(c, "jdbcUrl")
        == "jdbc:postgresql://db.example.org:30007/db?user=app%2Fuser&password=p%40ss%3Aw");
  for (const auto* name : {"host", "hostname"})
    CHECK(json::string_member(c, name) == "db.example.org");
  CHECK(c["port"].GetInt() == 30007);
  for (const auto* name : {"name", "database", "dbname"})
    CHECK(json::string_member(c, name) == "db");
  CHECK(json::string_member(c, "ca_certificate") == b.authority);
  CHECK(json::string_member(c, "username") == "app/user");
  CHECK(json::string_member(c, "password") == "p@ss:w");
  CHECK(json::text_of(body["endpoints"])
        == R"([{"host":"db.example.org","ports":["30007"],"protocol":"tcp"}])");
  for (const std::string absent : {"syslog_drain_url", "route_service_url", "volume_mounts"})
    CHECK(json::member(body, absent) == nullptr);
}

TEST_CASE("no credentials are given while the databases' authority is unknown") {
  broker b;
  b.authority.clear();
  b.known = settled();
  error_of(b.send("PUT", binding_path, R"({"service_id":"service-id","plan_id":"plan-id"})"), 503);
  CHECK(b.asked().empty());
  auto fetched = b.send("GET", binding_path);
  error_of(fetched, 503);
  CHECK_FALSE(fetched.header("Retry-After").empty());
}

TEST_CASE("BND-4, GBN-1: a binding that exists answers 200 with the same credentials") {
  broker b;
  b.says = [](const auto&) { return bound(model::verdict_kind::done, ready_binding()); };
  auto again = b.send("PUT", binding_path, R"({"service_id":"service-id","plan_id":"plan-id"})");
  CHECK(again.status == 200);
  b.known = settled();
  auto fetched = b.send("GET", binding_path);
  CHECK(fetched.status == 200);
  CHECK(json::text_of(json_of(again)["credentials"])
        == json::text_of(json_of(fetched)["credentials"]));
}

TEST_CASE("GBN-2, BLO-1, BLO-2: a binding that is not there answers 404, and so does its "
          "last_operation") {
  broker b;
  b.known = settled();
  error_of(b.send("GET", here + "/service_bindings/other"), 404);
  error_of(b.send("GET", here + "/service_bindings/other/last_operation"), 404);
  auto answer = b.send("GET", binding_path + "/last_operation");
  CHECK(answer.status == 200);
  CHECK(json::string_member(json_of(answer), "state") == "succeeded");
}

// -- the operator's -------------------------------------------------------------------------------

namespace {

void expect_no_password(const json::value& v) {
  if (v.IsObject())
    for (const auto& m : v.GetObject()) {
      CHECK(std::string{m.name.GetString()} != "password");
      expect_no_password(m.value);
    }
  if (v.IsArray())
    for (const auto& one : v.GetArray())
      expect_no_password(one);
}

} // namespace

TEST_CASE("the operator's answers hold no password") {
  broker b;
  b.known = settled();
  for (const std::string path :
       {"/admin/cells", "/admin/service_instances", "/admin/service_instances/known"}) {
    CAPTURE(path);
    auto answer = b.send("GET", path);
    CHECK(answer.status == 200);
    expect_no_password(json_of(answer));
    CHECK_FALSE(contains(answer.body, "secret-"));
    CHECK_FALSE(contains(answer.body, "p@ss"));
  }
}

TEST_CASE("the operator sees an instance in the original's shape") {
  broker b;
  b.known = settled();
  auto body = json_of(b.send("GET", "/admin/service_instances/known"));
  for (const std::string name :
       {"instance_id", "service_id", "plan_id", "organization_guid", "space_guid",
        "admin_credentials", "superuser_credentials", "app_credentials", "allocated_port", "nodes"})
    CHECK_MESSAGE(json::member(body, name) != nullptr, name);
  const auto& node = body["nodes"][0];
  CHECK(json::string_member(node, "node_id") == "n1");
  CHECK(json::string_member(node, "backend_id") == "cell-a");
  CHECK(json::string_member(node, "role") == "leader");
  CHECK(json::string_member(node, "state") == "running");
  CHECK(json::text_of(body["bindings"])
        == R"([{"binding_id":"b","phase":"ready","read_only":false}])");
  CHECK(body["binding_count"].GetInt() == 1);
}

TEST_CASE("the operator and the platform see that a replica does not replicate") {
  broker b;
  auto s = instance_of(model::operation_type::update, model::operation_state::succeeded);
  s.known.current.description = "master running; replicas running";
  model::node other;
  other.node_id = "n2";
  other.phase = model::node_phase::started;
  s.known.living.nodes.push_back(other);
  s.seen.members["n2"].state = "running";
  b.known = std::make_shared<const model::instance_snapshot>(s);
  auto path = "/v2/service_instances/known/last_operation";
  CHECK(json::string_member(json_of(b.send("GET", path)), "description")
        == "master running; replicas running");
  s.seen.standing["n2"] = "it runs but does not replicate";
  b.known = std::make_shared<const model::instance_snapshot>(s);
  CHECK(json::string_member(json_of(b.send("GET", path)), "description")
        == "master running; replicas running but not replicating");
  s.seen.standing.clear();
  for (const std::string state : {"start failed", "crashed", "stopped", "creating replica", ""}) {
    CAPTURE(state);
    s.seen.members["n2"].state = state;
    if (state.empty())
      s.seen.members.erase("n2"); // its key is gone
    b.known = std::make_shared<const model::instance_snapshot>(s);
    CHECK(json::string_member(json_of(b.send("GET", path)), "description")
          != "master running; replicas running");
  }
  s.seen.members["n2"].state = "running";
  s.seen.standing["n2"] = "it runs but does not replicate";
  b.known = std::make_shared<const model::instance_snapshot>(s);
  auto nodes = json_of(b.send("GET", "/admin/service_instances/known"));
  CHECK(json::string_member(nodes["nodes"][0], "health") == "well");
  CHECK(json::string_member(nodes["nodes"][1], "health") == "it runs but does not replicate");
}

TEST_CASE("a poll gets a new answer once the instance or the cells have changed") {
  broker b;
  auto s = instance_of(model::operation_type::provision, model::operation_state::failed);
  s.known.current.description = "machine-7 did not answer";
  b.known = std::make_shared<const model::instance_snapshot>(s);
  auto words = [&] {
    return json::string_member(json_of(b.send("GET", "/v2/service_instances/known/last_operation")),
                               "description");
  };
  CHECK(words() == "machine-7 did not answer");
  CHECK(words() == "machine-7 did not answer");
  auto cells = *b.cells;
  cells[0].uri = "http://machine-7:8900";
  b.cells = std::make_shared<const std::vector<model::cell_view>>(cells);
  CHECK(words().find("machine-7") == std::string::npos);
  b.known = snapshot(model::operation_type::provision, model::operation_state::failed);
  CHECK(words() == "the final words");
}

TEST_CASE("healthz counts the unhealthy instances, and names them to the operator") {
  broker b;
  CHECK(json_of(b.send_as("", "GET", "/healthz"))["unwell_instances"].GetInt() == 0);
  b.health.unwell_instances = 30;
  b.health.some_unwell = {"i1", "i2"};
  auto open = json_of(b.send_as("", "GET", "/healthz"));
  CHECK(open["unwell_instances"].GetInt() == 30);
  CHECK_FALSE(open.HasMember("unwell"));
  CHECK(json::text_of(json_of(b.send("GET", "/healthz"))["unwell"]) == R"(["i1","i2"])");
}

TEST_CASE("the operator sees what settings nodes are taking up, beside those in force") {
  broker b;
  auto s = instance_of(model::operation_type::update, model::operation_state::in_progress);
  s.known.living.taking_up = s.known.living.in_force;
  s.known.living.taking_up->parameters["work_mem"] = "8MB";
  b.known = std::make_shared<const model::instance_snapshot>(s);
  auto body = json_of(b.send("GET", "/admin/service_instances/known"));
  CHECK(json::string_member(body["taking_up"]["parameters"], "work_mem") == "8MB");
  CHECK_FALSE(body["settings"]["parameters"].HasMember("work_mem"));
}

TEST_CASE("the operator sees the cells") {
  broker b;
  auto body = json_of(b.send("GET", "/admin/cells"));
  REQUIRE(body.Size() == 2);
  CHECK(json::string_member(body[0], "guid") == "cell-a");
  CHECK(json::string_member(body[0], "az") == "z1");
  CHECK(body[0]["reachable"].IsTrue());
  CHECK(body[1]["reachable"].IsFalse());
}

TEST_CASE("a demotion tells what moved, what did not, and of a cell that is not there") {
  broker b;
  error_of(b.send("POST", "/admin/cells/nowhere/demote"), 404);
  b.report.known = true;
  b.report.entries = {{"i1", "n1", "n2", ""}};
  auto answer = b.send("POST", "/admin/cells/cell-a/demote");
  CHECK(answer.status == 200);
  CHECK(json::string_member(json_of(answer)["demoted"][0], "to") == "n2");
  b.report.entries.push_back({"i2", "n3", "", "no replica"});
  answer = b.send("POST", "/admin/cells/cell-a/demote");
  CHECK(answer.status == 500);
  CHECK(json::string_member(json_of(answer)["failed"][0], "description") == "no replica");
  // A broker that does not act knows no leader's turn, and would answer that nothing had to move.
  b.health.active = false;
  CHECK(
      contains(error_of(b.send("POST", "/admin/cells/cell-a/demote"), 503), "not the active one"));
}

TEST_CASE("healthz answers 503 only while there is nothing to serve") {
  broker b;
  b.health.loaded = b.health.active = b.health.etcd_reachable = false;
  auto answer = b.send_as("", "GET", "/healthz");
  CHECK(answer.status == 503);
  CHECK(json::string_member(json_of(answer), "status") == "starting");
  b.health.loaded = true;
  CHECK(b.send_as("", "GET", "/healthz").status == 200);
}

TEST_CASE("healthz?active answers 200 only where the broker acts") {
  broker b;
  CHECK(b.send_as("", "GET", "/healthz?active").status == 200);
  b.health.active = false;
  CHECK(b.send_as("", "GET", "/healthz?active").status == 503);
  CHECK(b.send_as("", "GET", "/healthz").status == 200);
}

TEST_CASE("healthz reports an etcd that refuses writes") {
  broker b;
  b.health.etcd_refuses_writes = true;
  auto answer = b.send_as("", "GET", "/healthz");
  CHECK(answer.status == 200);
  auto body = json_of(answer);
  CHECK(json::string_member(body, "status") == "degraded");
  CHECK(json::string_member(body, "etcd") == "refuses writes");
}

TEST_CASE("the operator's answers carry their age, once etcd has answered") {
  broker b;
  CHECK(b.send("GET", "/admin/cells").header("Age").empty());
  b.health.etcd_age = std::chrono::seconds{34};
  CHECK(b.send("GET", "/admin/cells").header("Age") == "34");
  CHECK(b.send("GET", "/admin/service_instances").header("Age") == "34");
  CHECK(json::integer_member(json_of(b.send_as("", "GET", "/healthz")), "etcd_age") == 34);
}

TEST_CASE("forgetting a cell tells what becomes of its nodes, or why it is not forgotten") {
  broker b;
  error_of(b.send("POST", "/admin/cells/nowhere/forget"), 404);
  b.forgotten = {true, "it answers", {}};
  CHECK(contains(error_of(b.send("POST", "/admin/cells/cell-a/forget"), 409), "it answers"));
  b.forgotten = {true, "", {{"i1", "n1", true, ""}, {"i2", "n2", false, ""}}};
  auto answer = b.send("POST", "/admin/cells/cell-a/forget");
  CHECK(answer.status == 200);
  CHECK(json::string_member(json_of(answer)["buried"][0], "node_id") == "n1");
  CHECK(json::string_member(json_of(answer)["replaced"][0], "instance_id") == "i2");
  b.forgotten.entries.push_back({"i3", "n3", false, "etcd cannot be reached"});
  answer = b.send("POST", "/admin/cells/cell-a/forget");
  CHECK(answer.status == 500);
  CHECK(json::string_member(json_of(answer)["failed"][0], "description")
        == "etcd cannot be reached");
  b.health.active = false;
  error_of(b.send("POST", "/admin/cells/cell-a/forget"), 503);
}

TEST_CASE("orphans are listed, and one is removed by its cell and id") {
  broker b;
  b.orphans = {{"cell-a", {"n1", "db", "s", "p"}}};
  auto listed = b.send("GET", "/admin/orphans");
  CHECK(listed.status == 200);
  CHECK(json::string_member(json_of(listed)[0], "cell") == "cell-a");
  CHECK(json::string_member(json_of(listed)[0], "node_id") == "n1");
  CHECK(json::string_member(json_of(listed)[0], "scope") == "db");
  b.removal.is = model::verdict_kind::done;
  CHECK(b.send("DELETE", "/admin/orphans/cell-a/n%31").status == 200);
  CHECK(b.removed == std::vector<std::string>{"cell-a/n1"});
  b.removal = {model::verdict_kind::not_found, "there is none"};
  CHECK(contains(error_of(b.send("DELETE", "/admin/orphans/cell-a/n2"), 404), "there is none"));
  // A broker that does not act has compared nothing, so an empty list would be wrong.
  b.health.active = false;
  error_of(b.send("GET", "/admin/orphans"), 503);
  error_of(b.send("DELETE", "/admin/orphans/cell-a/n1"), 503);
  CHECK(b.removed.size() == 2);
}

TEST_CASE("healthz reports what cannot be reached, and still answers 200") {
  broker b;
  auto body = json_of(b.send_as("", "GET", "/healthz"));
  CHECK(json::string_member(body, "status") == "ok");
  CHECK(json::text_of(body["unreachable_cells"]) == R"(["cell-b"])");
  CHECK(json::text_of(body["lost_cells"]) == "[]");
  CHECK(json::text_of(body["cells_without_certificate"]) == R"(["cell-b"])");
  CHECK_FALSE(body.HasMember("must_not_act"));
  b.health.must_not_act = "a later release has written it";
  CHECK(json::string_member(json_of(b.send_as("", "GET", "/healthz")), "must_not_act")
        == "a later release has written it");
  CHECK_FALSE(body.HasMember("repair_halted"));
  b.health.repair_halted = "most cells seem lost";
  CHECK(json::string_member(json_of(b.send_as("", "GET", "/healthz")), "repair_halted")
        == "most cells seem lost");
  b.health.etcd_reachable = false;
  auto answer = b.send_as("", "GET", "/healthz");
  CHECK(answer.status == 200);
  body = json_of(answer);
  CHECK(json::string_member(body, "status") == "degraded");
  CHECK(json::string_member(body, "etcd") == "unreachable");
}

TEST_CASE(
    "healthz counts the plans that a cell cannot start, and tells an operator what is wrong") {
  broker b;
  CHECK(json::integer_member(json_of(b.send_as("", "GET", "/healthz")), "faulty_plans", -1) == 0);
  auto cells = *b.cells;
  cells.front().plan_faults = {{"p1", "d1", {"no parameter \"x\"", "no library \"y\""}},
                               {"p2", "d2", {"out of range"}}};
  cells.back().plan_faults = {{"p1", "d1", {"no parameter \"x\""}}};
  b.cells = std::make_shared<const std::vector<model::cell_view>>(std::move(cells));
  auto answer = b.send_as("", "GET", "/healthz");
  CHECK(answer.status == 200);
  auto body = json_of(answer);
  CHECK(json::string_member(body, "status") == "ok");
  CHECK(json::integer_member(body, "faulty_plans") == 2);
  CHECK_FALSE(body.HasMember("plan_faults"));
  auto told = json_of(b.send("GET", "/healthz"));
  REQUIRE(told.HasMember("plan_faults"));
  REQUIRE(told["plan_faults"].Size() == 4);
  CHECK(json::string_member(told["plan_faults"][1], "cell") == "cell-a");
  CHECK(json::string_member(told["plan_faults"][1], "plan_id") == "p1");
  CHECK(json::string_member(told["plan_faults"][1], "fault") == "no library \"y\"");
  auto shown = json_of(b.send("GET", "/admin/cells"));
  CHECK(json::text_of(shown[0]["plan_faults"][1])
        == R"({"plan_id":"p2","faults":["out of range"]})");
}

TEST_CASE("healthz says that no router is there, and which ports are lost, but names no router") {
  broker b;
  b.routers.awaited = true;
  auto answer = b.send_as("", "GET", "/healthz");
  CHECK(answer.status == 200);
  auto body = json_of(answer);
  CHECK(json::string_member(body, "status") == "degraded");
  CHECK(contains(json::string_member(body, "routing"), "no router is there"));
  b.routers.living["secret-host"] = {{"secret-host", "secret-host", 7, {30001}}, {}};
  body = json_of(b.send_as("", "GET", "/healthz"));
  CHECK(json::string_member(body, "status") == "ok");
  CHECK(json::string_member(body, "routing") == "served");
  CHECK(json::integer_member(body, "routers") == 1);
  CHECK(json::text_of(body["lost_ports"]) == "[]");
  b.routers.lost_ports[30001] = "db";
  b.routers.holding_up["secret-host"] = 2;
  answer = b.send_as("", "GET", "/healthz");
  body = json_of(answer);
  CHECK(json::string_member(body, "status") == "degraded");
  CHECK(json::text_of(body["lost_ports"]) == "[30001]");
  CHECK(contains(json::string_member(body, "routing"), "1 of 1 routers"));
  b.routers.lost_ports.clear();
  b.routers.living["secret-host"].said.unserved = {{"db", "the host secret-host has no address"}};
  answer = b.send_as("", "GET", "/healthz");
  body = json_of(answer);
  CHECK(json::string_member(body, "status") == "degraded");
  CHECK(json::integer_member(body, "unserved_instances") == 1);
  b.routers.living["secret-host"].said.unserved.clear();
  b.routers.living["secret-host"].said.silent = "secret-host does not answer";
  answer = b.send_as("", "GET", "/healthz");
  body = json_of(answer);
  CHECK(json::string_member(body, "status") == "degraded");
  CHECK(json::integer_member(body, "silent_routers") == 1);
  CHECK_FALSE(contains(answer.body, "secret-host"));
}

TEST_CASE("an operator sees each router, how far behind it is, and whose ports it cannot open") {
  broker b;
  b.routers.awaited = true;
  b.routers.newest = 12;
  b.routers.living["r1"] = {{"r1", "h1", 12, {}}, model::wall_time{}};
  b.routers.living["r2"] = {
      {"r2", "h2", 7, {30001, 30002}, "", {}, {{"db", "no address"}}, "it stands still"},
      model::wall_time{}};
  b.routers.holding_up["r2"] = 3;
  b.routers.lost_ports[30001] = "db";
  auto body = json_of(b.send("GET", "/admin/routers"));
  REQUIRE(body.Size() == 2);
  CHECK(json::text_of(body[0])
        == R"({"id":"r1","host":"h1","since":"1970-01-01T00:00:00.000Z","serves":"12","behind":0,)"
           R"("awaited":true,"holds_up":0,"unbound":[],"lost":[],"silent":"","unserved":[]})");
  CHECK(json::text_of(body[1])
        == R"({"id":"r2","host":"h2","since":"1970-01-01T00:00:00.000Z","serves":"7","behind":5,)"
           R"("awaited":true,"holds_up":3,"unbound":[30001,30002],)"
           R"("lost":[{"port":30001,"instance":"db"}],"silent":"it stands still",)"
           R"("unserved":[{"instance":"db","why":"no address"}]})");
  error_of(b.send("POST", "/admin/routers"), 405);
}
