#include "store/record_json.hpp"

#include <doctest/doctest.h>

#include "model/json.hpp"

using namespace matriarch;
using namespace matriarch::store;
using namespace std::chrono_literals;

namespace {

const model::wall_time moment{1'700'000'000'123ms};

/// A record in which no field has its default.
model::record full_record() {
  model::record r;
  r.instance_id = "an id / with \"hostile\" ünïcode";
  r.service_id = "service";
  r.plan_id = "plan";
  r.organization_guid = "org";
  r.space_guid = "space";
  r.parameters = R"({"cells":["a","b","c"],"node-count":3})";
  r.admin = {"admin", "p1"};
  r.superuser = {"super", "p2"};
  r.application = {"app", "p3"};
  r.replication = {"repl", "p4"};
  r.patroni = {"patroni", "p5"};
  r.allocated_port = 30001;
  r.scope = "scope";
  r.phase = model::record_phase::accepted;
  r.desired = {false, 3, {"a", "b", "c"}};
  r.current.id = "op";
  r.current.type = model::operation_type::update;
  r.current.state = model::operation_state::failed;
  r.current.description = "why it ended";
  r.current.started_at = moment;
  r.current.deadline = moment + 1h;
  r.current.failing_because = "a reason";
  r.current.desired_before = model::desired_state{true, 2, {"a"}};
  r.current.parameters_before = R"({"node-count":2})";
  r.current.requested = R"({"node-count":3})";
  r.current.failed_cells = {{"c", "full"}, {"d", "burns"}};
  r.current.switched_over = true;
  r.nodes = {{"n1", "a", "service", "plan", model::node_phase::placed, moment + 20s},
             {"n2", "b", "service", "plan", model::node_phase::started, std::nullopt},
             {"n3", "c", "service", "plan", model::node_phase::removing, std::nullopt}};
  r.switching_to = "n2";
  r.had_leader = true;
  r.write_id = "w";
  return r;
}

json::document parsed(const std::string& text) {
  auto document = json::parse(text);
  REQUIRE(document.ok());
  return std::move(*document);
}

/// The error of decoding the full record after a change to its JSON.
template <class Change>
std::string error_after(Change change) {
  auto document = parsed(encode_record(full_record()));
  change(document);
  auto decoded = decode_record(json::text_of(document));
  return decoded.ok() ? "" : decoded.error();
}

} // namespace

TEST_CASE("a full record reads back as it was written") {
  auto decoded = decode_record(encode_record(full_record()));
  REQUIRE(decoded.ok());
  CHECK(*decoded == full_record());
}

TEST_CASE("every phase, type and state reads back") {
  auto r = full_record();
  for (auto phase : {model::record_phase::accepting, model::record_phase::accepted})
    for (auto type : {model::operation_type::provision, model::operation_type::update,
                      model::operation_type::deprovision})
      for (auto state : {model::operation_state::in_progress, model::operation_state::succeeded,
                         model::operation_state::failed}) {
        r.phase = phase;
        r.current.type = type;
        r.current.state = state;
        auto decoded = decode_record(encode_record(r));
        REQUIRE(decoded.ok());
        CHECK(*decoded == r);
      }
}

TEST_CASE("an operation that has nothing to go back to reads back without it") {
  auto r = full_record();
  r.current.desired_before.reset();
  r.nodes.clear();
  auto decoded = decode_record(encode_record(r));
  REQUIRE(decoded.ok());
  CHECK(*decoded == r);
}

TEST_CASE("the record has the field names of the original's schema") {
  auto document = parsed(encode_record(full_record()));
  for (const char* name :
       {"instance_id", "service_id", "plan_id", "organization_guid", "space_guid",
        "admin_credentials", "superuser_credentials", "app_credentials", "allocated_port", "nodes"})
    CHECK_MESSAGE(json::member(document, name) != nullptr, name);
  for (const char* name : {"admin_credentials", "superuser_credentials", "app_credentials"}) {
    const auto& pair = document[name];
    CHECK(json::member(pair, "username") != nullptr);
    CHECK(json::member(pair, "password") != nullptr);
  }
  CHECK(document["allocated_port"].GetInt() == 30001);
  const auto& first = document["nodes"][0];
  CHECK(json::string_member(first, "node_id") == "n1");
  CHECK(json::string_member(first, "backend_id") == "a");
  CHECK(json::string_member(first, "plan_id") == "plan");
  CHECK(json::string_member(first, "service_id") == "service");
}

TEST_CASE("the record has the words that other programs read") {
  auto document = parsed(encode_record(full_record()));
  CHECK(json::string_member(document, "scope") == "scope");
  CHECK(json::string_member(document, "phase") == "accepted");
  CHECK(json::string_member(document, "write_id") == "w");
  CHECK(json::string_member(document["operation"], "state") == "failed");
  CHECK(json::string_member(document["nodes"][0], "phase") == "placed");
  CHECK(json::string_member(document["nodes"][1], "phase") == "started");
  CHECK(json::string_member(document["nodes"][2], "phase") == "removing");
}

TEST_CASE("fields that are not known are ignored") {
  auto document = parsed(encode_record(full_record()));
  json::add(document, "from_the_future", "x", document);
  json::add(document["operation"], "more", 1, document);
  json::add(document["nodes"][0], "colour", "blue", document);
  json::add(document["desired"], "spare", true, document);
  auto decoded = decode_record(json::text_of(document));
  REQUIRE(decoded.ok());
  CHECK(*decoded == full_record());
}

TEST_CASE("a missing field is an error that names it") {
  for (const char* name : {"instance_id", "service_id", "plan_id", "scope", "phase", "desired",
                           "operation", "nodes", "allocated_port"}) {
    CAPTURE(name);
    auto why = error_after([&](auto& d) { d.RemoveMember(name); });
    CHECK(why.starts_with("record: "));
    CHECK(why.find(name) != std::string::npos);
  }
  for (const char* name : {"node_id", "backend_id", "plan_id", "service_id", "phase"}) {
    CAPTURE(name);
    CHECK(error_after([&](auto& d) { d["nodes"][1].RemoveMember(name); }).find(name)
          != std::string::npos);
  }
  for (const char* name : {"id", "type", "state", "started_at", "deadline"}) {
    CAPTURE(name);
    CHECK(error_after([&](auto& d) { d["operation"].RemoveMember(name); }).find(name)
          != std::string::npos);
  }
}

TEST_CASE("a field of the wrong type or with an unknown word is an error that names it") {
  CHECK(error_after([](auto& d) { d["scope"].SetInt(5); }).find("scope") != std::string::npos);
  CHECK(error_after([](auto& d) { d["nodes"].SetObject(); }).find("nodes") != std::string::npos);
  CHECK(error_after([](auto& d) {
          d["phase"].SetString("dreaming");
        }).find("phase has the unknown value \"dreaming\"")
        != std::string::npos);
  CHECK(error_after([](auto& d) {
          d["nodes"][0]["phase"].SetString("lost");
        }).find("phase has the unknown value \"lost\"")
        != std::string::npos);
  CHECK(error_after([](auto& d) {
          d["operation"]["state"].SetString("odd");
        }).find("state has the unknown value \"odd\"")
        != std::string::npos);
  CHECK_FALSE(error_after([](auto& d) { d["operation"].SetInt(5); }).empty());
  CHECK(error_after([](auto& d) {
          d["nodes"][0]["start_may_arrive_until"].SetString("soon");
        }).find("start_may_arrive_until")
        != std::string::npos);
}

TEST_CASE("a record without a count of nodes is an error, so that none are taken away by mistake") {
  CHECK(error_after([](auto& d) {
          d["desired"].RemoveMember("node_count");
        }).find("desired: node_count")
        != std::string::npos);
  CHECK(error_after([](auto& d) { d["desired"].SetInt(5); }).find("desired") != std::string::npos);
  CHECK(error_after([](auto& d) { d["desired"]["node_count"].SetString("2"); }).find("node_count")
        != std::string::npos);
  CHECK(error_after([](auto& d) {
          d["operation"]["desired_before"].RemoveMember("node_count");
        }).find("operation: desired_before: node_count")
        != std::string::npos);
}

TEST_CASE("what is no JSON object is an error") {
  for (const char* text : {"", "{", "[]", "5", "null"}) {
    CAPTURE(text);
    CHECK_FALSE(decode_record(text).ok());
    CHECK_FALSE(decode_binding(text).ok());
    CHECK_FALSE(decode_tombstone(text).ok());
    CHECK_FALSE(decode_port_use(text, 1).ok());
    CHECK_FALSE(decode_member(text).ok());
    CHECK_FALSE(decode_active(text).ok());
  }
}

TEST_CASE("a binding reads back as it was written") {
  model::binding b{"b/1", "service", "plan", "app", R"({"a":1})"};
  auto decoded = decode_binding(encode_binding(b));
  REQUIRE(decoded.ok());
  CHECK(*decoded == b);
  auto broken = decode_binding(R"({"service_id":"s","plan_id":"p"})");
  REQUIRE_FALSE(broken.ok());
  CHECK(broken.error().find("binding_id") != std::string::npos);
}

TEST_CASE("a tombstone reads back as it was written") {
  auto decoded = decode_tombstone(encode_tombstone({"i/1", "op", moment}));
  REQUIRE(decoded.ok());
  CHECK(decoded->instance_id == "i/1");
  CHECK(decoded->operation_id == "op");
  CHECK(decoded->removed_at == moment);
}

TEST_CASE("a port reads back as held or resting, with its key's revision") {
  auto held = decode_port_use(encode_port_use({"i", std::nullopt, 0}), 42);
  REQUIRE(held.ok());
  CHECK(held->name == "i");
  CHECK_FALSE(held->resting_since.has_value());
  CHECK(held->revision == 42);
  auto resting = decode_port_use(encode_port_use({"i", moment, 0}), 43);
  REQUIRE(resting.ok());
  CHECK(resting->resting_since == moment);
  auto broken = decode_port_use("{}", 1);
  REQUIRE_FALSE(broken.ok());
  CHECK(broken.error().find("instance") != std::string::npos);
}

TEST_CASE("the active broker reads back as it was written") {
  auto decoded = decode_active(encode_active({"id", "127.0.0.1:3000"}));
  REQUIRE(decoded.ok());
  CHECK(decoded->broker_id == "id");
  CHECK(decoded->address == "127.0.0.1:3000");
}

TEST_CASE("a member as Patroni writes it is read") {
  auto m = decode_member(
      R"({"conn_url":"postgres://127.77.0.11:5432/postgres",)"
      R"("api_url":"http://127.77.0.11:8008/patroni",)"
      R"("state":"running","role":"master","version":"3.0.2","xlog_location":50331968,)"
      R"("timeline":1})");
  REQUIRE(m.ok());
  CHECK(m->running());
  CHECK(m->api_url == "http://127.77.0.11:8008/patroni");
  CHECK(m->conn_url == "postgres://127.77.0.11:5432/postgres");
}

TEST_CASE("a member that does not say its state is not running") {
  auto m = decode_member("{}");
  REQUIRE(m.ok());
  CHECK_FALSE(m->running());
}
