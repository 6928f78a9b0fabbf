#include "store/active_json.hpp"
#include "store/binding_json.hpp"
#include "store/grave_json.hpp"
#include "store/port_json.hpp"
#include "store/record_json.hpp"
#include "store/tombstone_json.hpp"

#include <doctest/doctest.h>

#include <limits>

#include "base/json.hpp"
#include "store/formats.hpp"

using namespace matriarch;
using namespace matriarch::store;
using namespace std::chrono_literals;

namespace {

const model::wall_time moment{1'700'000'000'123ms};

/// Settings in which no field has its default.
model::cluster_settings settings(const std::string& shared_buffers) {
  model::cluster_settings s;
  s.parameters = {{"shared_buffers", shared_buffers}, {"work_mem", "4MB"}};
  s.synchronous = model::synchronous_mode::strict;
  s.ttl = 20;
  s.node_type = "small";
  s.credentials = model::credentials_mode::shared;
  s.connection_limit = 50;
  s.limits = model::node_limits{512, 100, 50, 1024};
  return s;
}

const keyring no_keys;

/// A keyring whose keys each consist of one digit.
keyring keys_of(const std::string& digits) {
  std::string text;
  for (char digit : digits)
    text += std::string(64, digit) + "\n";
  auto read = keyring::parse(text);
  REQUIRE(read.ok());
  return *read;
}

/// A cluster in which no field has its default.
model::cluster other_cluster(const std::string& scope) {
  model::cluster one;
  one.engine = "another";
  one.scope = scope;
  one.nodes = {{"m1", "d", "service", "plan", "small", model::node_phase::started, std::nullopt}};
  one.in_force = settings("1MB");
  one.taking_up = settings("2MB");
  one.switching_to = "m1";
  one.had_leader = true;
  one.follows = "10.0.0.1:5432";
  one.retains_for = "db~5";
  one.set_secret(model::secret_name::superuser, {"super", "p7"});
  one.set_secret(model::secret_name::etcd, {"scope-" + scope, "p8"});
  one.secrets.front().next = model::credentials{"next", "p9"};
  return one;
}

/// A record in which no field has its default.
model::record full_record() {
  model::record r;
  r.instance_id = "an id / with \"hostile\" ünïcode";
  r.service_id = "service";
  r.plan_id = "plan";
  r.organization_guid = "org";
  r.space_guid = "space";
  r.parameters = R"({"cells":["a","b","c"],"node-count":3})";
  r.living.set_secret(model::secret_name::admin, {"admin", "p1"});
  r.living.set_secret(model::secret_name::superuser, {"super", "p2"});
  r.living.set_secret(model::secret_name::application, {"app", "p3"});
  r.living.set_secret(model::secret_name::replication, {"repl", "p4"});
  r.living.set_secret(model::secret_name::control, {"patroni", "p5"});
  r.living.set_secret(model::secret_name::etcd, {"an id", "p6"});
  r.endpoints[model::endpoint::primary] = 30001;
  r.endpoints[model::endpoint::read_only] = 30002;
  r.maintenance_version = "1.2.3";
  r.context = R"({"platform":"cloudfoundry"})";
  r.living.scope = "scope";
  r.phase = model::record_phase::accepted;
  r.desired = {false, 3, {"a", "b", "c"}, settings("64MB")};
  r.living.in_force = settings("32MB");
  r.living.taking_up = settings("48MB");
  r.current.id = "op";
  r.current.type = model::operation_type::update;
  r.current.state = model::operation_state::failed;
  r.current.description = "why it ended";
  r.current.started_at = moment;
  r.current.deadline = moment + 1h;
  r.current.failing_because = "a reason";
  r.current.desired_before = model::desired_state{true, 2, {"a"}, settings("16MB")};
  r.current.plan_id_before = "other plan";
  r.current.maintenance_version_before = "1.0.0";
  r.current.parameters_before = R"({"node-count":2})";
  r.current.requested = R"({"node-count":3})";
  r.current.requested_by = R"(cloudfoundry {"user_id":"u"})";
  r.current.failed_cells = {{"c", "full"}, {"d", "burns"}};
  r.current.switched_over = true;
  r.living.nodes = {
      {"n1", "a", "service", "plan", "small", model::node_phase::placed, moment + 20s},
      {"n2", "b", "service", "plan", "small", model::node_phase::started, std::nullopt},
      {"n3", "c", "service", "plan", "small", model::node_phase::removing, std::nullopt}};
  r.living.nodes[1].failing = "cell b is lost";
  r.living.nodes[1].forgotten = true;
  r.living.nodes[1].left_over = true;
  r.living.nodes[1].held_back = true;
  r.living.nodes[1].address = "10.0.0.2:5432";
  r.living.nodes[1].control_address = "10.0.0.2:8008";
  r.living.nodes[1].certified = r.living.nodes[1].control_certified = true;
  r.living.nodes[1].limits = model::node_limits{1, 2, 3, 4};
  r.living.nodes[2].instead_of = {"a", "b"};
  r.living.switching_to = "n2";
  r.living.had_leader = true;
  r.living.follows = "10.0.0.9:5432";
  r.living.retains_for = "db~3";
  r.living.nodes[2].halted = true;
  r.incoming = other_cluster("db~4");
  r.outgoing = other_cluster("db~3");
  r.last_scope = 4;
  r.rebuilt = model::rebuild{"r1",          model::rebuild_phase::halting,
                             "an operator", moment,
                             moment + 1h,   moment + 1min,
                             "n1",          7,
                             moment + 2h,   {{"c", "full"}},
                             true,          "a reason"};
  r.ended_bindings = {{"b/1", {moment, "op-b"}}, {"b2", {moment + 1h}}};
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
  auto document = parsed(encode_record(full_record(), no_keys));
  change(document);
  auto decoded = decode_record(json::text_of(document), no_keys);
  return decoded.ok() ? "" : decoded.error();
}

} // namespace

TEST_CASE("a full record reads back as it was written") {
  auto decoded = decode_record(encode_record(full_record(), no_keys), no_keys);
  REQUIRE(decoded.ok());
  CHECK(*decoded == full_record());
}

TEST_CASE("equal plan parameters are stored once for all records") {
  const auto text = encode_record(full_record(), no_keys);
  const auto one = decode_record(text, no_keys);
  auto two = decode_record(text, no_keys);
  REQUIRE(one.ok());
  REQUIRE(two.ok());
  auto kept_at = [](const model::cluster_settings& of) { return &of.parameters.entries(); };
  CHECK(kept_at(one->desired.settings) == kept_at(two->desired.settings));
  two->desired.settings.parameters["work_mem"] = "8MB";
  CHECK(one->desired.settings.parameters.at("work_mem") == "4MB");
  CHECK(decode_record(text, no_keys)->desired.settings.parameters.at("work_mem") == "4MB");
}

TEST_CASE("equal plan ids are stored once for all nodes") {
  const auto text = encode_record(full_record(), no_keys);
  const auto one = decode_record(text, no_keys);
  const auto two = decode_record(text, no_keys);
  REQUIRE(one.ok());
  REQUIRE(two.ok());
  CHECK(&one->living.nodes.front().plan_id.text() == &two->living.nodes.front().plan_id.text());
  CHECK(&one->living.nodes.front().service_id.text()
        == &two->living.nodes.front().service_id.text());
}

TEST_CASE("equal names of secrets and users are stored once for all clusters") {
  const auto text = encode_record(full_record(), no_keys);
  const auto one = decode_record(text, no_keys);
  const auto two = decode_record(text, no_keys);
  REQUIRE(one.ok());
  REQUIRE(two.ok());
  REQUIRE(one->living.secrets.size() == two->living.secrets.size());
  for (std::size_t i = 0; i < one->living.secrets.size(); ++i) {
    const auto& first = one->living.secrets[i];
    CHECK(&first.name.text() == &two->living.secrets[i].name.text());
    if (first.name != model::secret_name::etcd)
      CHECK(&first.username.text() == &two->living.secrets[i].username.text());
  }
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
        auto decoded = decode_record(encode_record(r, no_keys), no_keys);
        REQUIRE(decoded.ok());
        CHECK(*decoded == r);
      }
}

TEST_CASE("an operation that has nothing to go back to reads back without it") {
  auto r = full_record();
  r.current.desired_before.reset();
  r.living.nodes.clear();
  auto decoded = decode_record(encode_record(r, no_keys), no_keys);
  REQUIRE(decoded.ok());
  CHECK(*decoded == r);
}

TEST_CASE("the record has the field names of the original's schema") {
  auto document = parsed(encode_record(full_record(), no_keys));
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

TEST_CASE("the record has the words for enum values that other programs read") {
  auto document = parsed(encode_record(full_record(), no_keys));
  CHECK(json::string_member(document, "scope") == "scope");
  CHECK(json::string_member(document, "phase") == "accepted");
  CHECK(json::string_member(document, "write_id") == "w");
  CHECK(json::string_member(document["operation"], "state") == "failed");
  CHECK(json::string_member(document["nodes"][0], "phase") == "placed");
  CHECK(json::string_member(document["nodes"][1], "phase") == "started");
  CHECK(json::string_member(document["nodes"][2], "phase") == "removing");
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

TEST_CASE("a record without a node count is an error, so that no nodes are removed by mistake") {
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

TEST_CASE("a number that no field can hold is an error, not another number") {
  constexpr std::int64_t none_in_32_bits = 1LL << 32;
  CHECK(error_after([](auto& d) {
          d["desired"]["node_count"].SetInt64(none_in_32_bits);
        }).find("desired: node_count")
        != std::string::npos);
  CHECK(error_after([](auto& d) { d["in_force"]["ttl"].SetInt64(-none_in_32_bits); }).find("ttl")
        != std::string::npos);
  for (const char* port : {"allocated_port", "read_only_port"})
    CHECK(error_after([&](auto& d) { d[port].SetInt64(none_in_32_bits + 5432); }).find(port)
          != std::string::npos);
}

TEST_CASE("a time outside the calendar is an error") {
  for (std::int64_t far :
       {std::int64_t{-1}, std::int64_t{253'402'300'800'000},
        std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()})
    CHECK(error_after([&](auto& d) { d["operation"]["deadline"].SetInt64(far); }).find("deadline")
          != std::string::npos);
  CHECK(error_after([](auto& d) {
          d["operation"]["deadline"].SetInt64(253'402'300'799'999);
        }).empty());
}

TEST_CASE("a text that is no JSON object is an error") {
  for (const char* text : {"", "{", "[]", "5", "null"}) {
    CAPTURE(text);
    CHECK_FALSE(decode_record(text, no_keys).ok());
    CHECK_FALSE(decode_binding(text, "i", no_keys).ok());
    CHECK_FALSE(decode_tombstone(text).ok());
    CHECK_FALSE(decode_port_use(text, 1).ok());
    CHECK_FALSE(decode_active(text).ok());
  }
}

namespace {

/// A binding in which no field has its default.
model::binding full_binding() {
  model::binding b;
  b.binding_id = "b/1";
  b.service_id = "service";
  b.plan_id = "plan";
  b.app_guid = "app";
  b.parameters = R"({"read-only":true})";
  b.predecessor = "b/0";
  b.read_only = true;
  b.role = {"role", "p7"};
  b.phase = model::binding_phase::removing;
  b.operation_id = "op";
  b.polled = true;
  b.created_at = moment;
  b.expires_at = moment + 2h;
  b.renew_before = moment + 1h;
  b.note = "no replica has it yet";
  return b;
}

} // namespace

TEST_CASE("a binding reads back as it was written") {
  auto b = full_binding();
  for (auto phase : {model::binding_phase::creating, model::binding_phase::ready,
                     model::binding_phase::removing}) {
    b.phase = phase;
    auto decoded = decode_binding(encode_binding(b, "i", no_keys), "i", no_keys);
    REQUIRE(decoded.ok());
    CHECK(*decoded == b);
  }
  auto broken = decode_binding(R"({"service_id":"s","plan_id":"p"})", "i", no_keys);
  REQUIRE_FALSE(broken.ok());
  CHECK(broken.error().find("binding_id") != std::string::npos);
}

TEST_CASE("a binding of shared credentials without an end reads back without them") {
  auto b = full_binding();
  b.role = {};
  b.expires_at.reset();
  b.renew_before.reset();
  auto decoded = decode_binding(encode_binding(b, "i", no_keys), "i", no_keys);
  REQUIRE(decoded.ok());
  CHECK(*decoded == b);
}

TEST_CASE("a binding from before bindings had roles is ready and has the instance's user") {
  auto old = decode_binding(
      R"({"binding_id":"b","service_id":"s","plan_id":"p","app_guid":"a","parameters":"{}"})", "i",
      no_keys);
  REQUIRE(old.ok());
  CHECK(old->phase == model::binding_phase::ready);
  CHECK(old->role.username.empty());
  CHECK_FALSE(old->read_only);
  CHECK_FALSE(old->expires_at.has_value());
}

// -- records from before there were settings ------------------------------------------------------

TEST_CASE("a record from before there were settings has shared credentials") {
  auto document = parsed(encode_record(full_record(), no_keys));
  for (const char* name : {"etcd_credentials", "read_only_port", "maintenance_version", "context",
                           "in_force", "taking_up", "ended_bindings"})
    document.RemoveMember(name);
  document["desired"].RemoveMember("settings");
  auto& op = document["operation"];
  for (const char* name : {"plan_id_before", "maintenance_version_before", "requested_by"})
    op.RemoveMember(name);
  op["desired_before"].RemoveMember("settings");
  for (auto& n : document["nodes"].GetArray())
    n.RemoveMember("node_type");

  auto old = decode_record(json::text_of(document), no_keys);
  REQUIRE_MESSAGE(old.ok(), old.error());
  model::cluster_settings shared;
  shared.credentials = model::credentials_mode::shared;
  CHECK(old->desired.settings == shared);
  CHECK(old->living.in_force == shared);
  CHECK_FALSE(old->living.taking_up.has_value());
  REQUIRE(old->current.desired_before.has_value());
  CHECK(old->current.desired_before->settings == shared);
  CHECK(old->current.plan_id_before.empty());
  CHECK(old->living.nodes[0].node_type.empty());
  CHECK(old->living.secret_of(model::secret_name::etcd).username.empty());
  CHECK(old->endpoints[model::endpoint::read_only] == 0);
  CHECK(old->context == "{}");
  CHECK(old->ended_bindings.empty());
}

TEST_CASE("ended bindings of an earlier release are read, and invalid ones skipped") {
  auto document = parsed(encode_record(full_record(), no_keys));
  auto& ended = document["ended_bindings"];
  ended.SetObject();
  json::add(ended, "earlier", std::int64_t{moment.time_since_epoch().count()}, document);
  json::add(ended, "wrong", "x", document);
  json::add(ended, "negative", std::int64_t{-1}, document);
  auto old = decode_record(json::text_of(document), no_keys);
  REQUIRE_MESSAGE(old.ok(), old.error());
  CHECK(old->ended_bindings
        == std::map<std::string, model::ended_binding>{{"earlier", {moment, ""}}});
}

TEST_CASE("settings that cannot be read are an error, not a cluster of other settings") {
  CHECK(error_after([](auto& d) {
          d["desired"]["settings"]["synchronous"].SetString("perhaps");
        }).find("desired: settings: synchronous has the unknown value \"perhaps\"")
        != std::string::npos);
  CHECK(error_after([](auto& d) { d["in_force"].SetInt(1); }).find("in_force: not an object")
        != std::string::npos);
  CHECK(error_after([](auto& d) {
          d["taking_up"].RemoveMember("credentials");
        }).find("taking_up: credentials")
        != std::string::npos);
}

TEST_CASE("every mode of the settings reads back") {
  auto r = full_record();
  for (auto synchronous :
       {model::synchronous_mode::off, model::synchronous_mode::on, model::synchronous_mode::strict})
    for (auto credentials :
         {model::credentials_mode::per_binding, model::credentials_mode::shared}) {
      r.desired.settings.synchronous = synchronous;
      r.desired.settings.credentials = credentials;
      auto decoded = decode_record(encode_record(r, no_keys), no_keys);
      REQUIRE(decoded.ok());
      CHECK(*decoded == r);
    }
}

TEST_CASE("a password without a username is an error, not forgotten") {
  for (const char* name : {"app_credentials", "etcd_credentials"})
    CHECK(error_after([&](auto& d) { d[name].RemoveMember("username"); }).find(name)
          != std::string::npos);
}

// -- sealed passwords -----------------------------------------------------------------------------

TEST_CASE("with keys a record contains no password in clear, and all read back") {
  auto keys = keys_of("1");
  auto text = encode_record(full_record(), keys);
  for (const char* password : {"p1", "p2", "p3", "p4", "p5", "p6"})
    CHECK_MESSAGE(text.find('"' + std::string{password} + '"') == std::string::npos, password);
  auto decoded = decode_record(text, keys);
  REQUIRE_MESSAGE(decoded.ok(), decoded.error());
  CHECK(*decoded == full_record());
}

TEST_CASE("a record written without keys can be read with keys, so that keys can be introduced") {
  auto decoded = decode_record(encode_record(full_record(), no_keys), keys_of("1"));
  REQUIRE(decoded.ok());
  CHECK(*decoded == full_record());
}

TEST_CASE("a record whose key is missing is an error that names the field") {
  for (const auto& keys : {no_keys, keys_of("2")}) {
    auto decoded = decode_record(encode_record(full_record(), keys_of("1")), keys);
    REQUIRE_FALSE(decoded.ok());
    CHECK(decoded.error().find("record: admin_credentials: ") == 0);
    CHECK(decoded.error().find("secrets.key_file") != std::string::npos);
  }
}

TEST_CASE("a password that was copied to another instance or field cannot be opened") {
  auto keys = keys_of("1");
  auto document = parsed(encode_record(full_record(), keys));
  document["instance_id"].SetString("another");
  CHECK_FALSE(decode_record(json::text_of(document), keys).ok());

  document = parsed(encode_record(full_record(), keys));
  document["app_credentials"]["password"].CopyFrom(document["superuser_credentials"]["password"],
                                                   document.GetAllocator());
  CHECK_FALSE(decode_record(json::text_of(document), keys).ok());
}

TEST_CASE("with keys a binding's password is sealed, and can be opened in this binding only") {
  auto keys = keys_of("1");
  auto text = encode_binding(full_binding(), "i", keys);
  CHECK(text.find("\"p7\"") == std::string::npos);
  auto decoded = decode_binding(text, "i", keys);
  REQUIRE_MESSAGE(decoded.ok(), decoded.error());
  CHECK(*decoded == full_binding());
  CHECK_FALSE(decode_binding(text, "another", keys).ok());
  auto document = parsed(text);
  document["binding_id"].SetString("b/2");
  CHECK_FALSE(decode_binding(json::text_of(document), "i", keys).ok());
}

TEST_CASE("a grave reads back as it was written, and an old one with only the scope is read") {
  auto decoded = decode_grave(encode_grave({"i", moment}));
  REQUIRE(decoded.ok());
  CHECK(decoded->scope == "i");
  CHECK(decoded->buried_at == moment);
  for (const auto* text : {"i", "7"}) {
    REQUIRE(decode_grave(text).ok());
    CHECK(decode_grave(text)->scope == text);
    CHECK_FALSE(decode_grave(text)->buried_at.has_value());
  }
}

TEST_CASE("a damaged grave is an error, not an old one with only the scope") {
  for (const auto* text : {"{", R"({"scope":"i","scope":"j"})"}) {
    CAPTURE(text);
    CHECK_FALSE(decode_grave(text).ok());
  }
}

TEST_CASE("a tombstone reads back as it was written") {
  model::tombstone left{"i/1", "op", moment, {{"b", {moment, "op-b"}}}};
  auto decoded = decode_tombstone(encode_tombstone(left));
  REQUIRE(decoded.ok());
  CHECK(decoded->ended_bindings == left.ended_bindings);
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
  auto decoded = decode_active(encode_active({"id", "127.0.0.1:3000", "host", "machine"}));
  REQUIRE(decoded.ok());
  CHECK(decoded->broker_id == "id");
  CHECK(decoded->address == "127.0.0.1:3000");
  CHECK(decoded->host == "host");
  CHECK(decoded->machine == "machine");
}

TEST_CASE("an active broker that did not say where it runs is read") {
  auto decoded = decode_active(R"({"broker_id":"id","address":"127.0.0.1:3000"})");
  REQUIRE(decoded.ok());
  CHECK(decoded->address == "127.0.0.1:3000");
  CHECK(decoded->host == "");
  CHECK(decoded->machine == "");
}

TEST_CASE("unknown members of a record are kept at every depth, and written back") {
  auto document = parsed(encode_record(full_record(), no_keys));
  auto put = [&](json::value& into, const char* name) {
    into.AddMember(rapidjson::StringRef(name), "from a later release", document.GetAllocator());
  };
  put(document, "endpoints");
  put(document["desired"], "memory");
  put(document["desired"]["settings"], "disk");
  put(document["operation"]["desired_before"], "memory");
  put(document["nodes"][0], "driver");
  put(document["superuser_credentials"], "rotated_at");
  put(document["ended_bindings"].MemberBegin()->value, "why");
  const auto text = json::canonical_text_of(document);
  auto read = decode_record(text, no_keys);
  REQUIRE_MESSAGE(read.ok(), read.error());
  CHECK(json::canonical_text_of(parsed(encode_record(*read, no_keys))) == text);
  read->living.nodes.erase(read->living.nodes.begin());
  CHECK(encode_record(*read, no_keys).find("driver") == std::string::npos);
}

TEST_CASE("unknown members of a binding are kept, and written back") {
  auto bound = full_binding();
  bound.role = {"role", "p7"};
  auto document = parsed(encode_binding(bound, "i", no_keys));
  json::add(document, "renewed_by", "a later release", document);
  json::add(document["role"], "rotated_at", 7, document);
  const auto text = json::canonical_text_of(document);
  auto read = decode_binding(text, "i", no_keys);
  REQUIRE_MESSAGE(read.ok(), read.error());
  CHECK(json::canonical_text_of(parsed(encode_binding(*read, "i", no_keys))) == text);
}

TEST_CASE("a record of this release has no unknown members") {
  auto read = decode_record(encode_record(full_record(), no_keys), no_keys);
  REQUIRE(read.ok());
  CHECK(read->unknown.empty());
  auto bound = decode_binding(encode_binding(full_binding(), "i", no_keys), "i", no_keys);
  REQUIRE(bound.ok());
  CHECK(bound->unknown.empty());
}

TEST_CASE("a record with a too high min_reader is refused with a reason") {
  auto document = parsed(encode_record(full_record(), no_keys));
  document["format"].SetInt(own_format + 1);
  CHECK(decode_record(json::text_of(document), no_keys).ok());
  document["min_reader"].SetInt(own_format + 1);
  auto read = decode_record(json::text_of(document), no_keys);
  REQUIRE_FALSE(read.ok());
  CHECK(read.error()
        == "record: a later release has written it: readers have to know format 3, and this "
           "release knows 2; upgrade this server");
}

TEST_CASE("a format that is no number is refused, not taken for an early one") {
  for (const char* name : {"format", "min_reader"})
    for (const char* what : {R"("2")", "1.5", "null", "[]", "9223372036854775808"}) {
      CAPTURE(name);
      CAPTURE(what);
      auto document = parsed(encode_record(full_record(), no_keys));
      document[name].CopyFrom(parsed(what), document.GetAllocator());
      auto read = decode_record(json::text_of(document), no_keys);
      REQUIRE_FALSE(read.ok());
      CHECK(read.error() == "record: " + std::string{name} + " is no whole number");
    }
}

TEST_CASE("every value has a format, and one with a too high min_reader is refused") {
  const auto later = [](const std::string& text, int needs = own_min_reader) {
    auto document = parsed(text);
    CHECK(json::integer_member(document, "format") == own_format);
    CHECK(json::integer_member(document, "min_reader") == needs);
    document["min_reader"].SetInt(own_format + 1);
    return json::text_of(document);
  };
  // The full record is of an instance that is being rebuilt.
  CHECK_FALSE(
      decode_record(later(encode_record(full_record(), no_keys), rebuilding_format), no_keys).ok());
  auto calm = full_record();
  calm.incoming.reset();
  calm.outgoing.reset();
  calm.rebuilt.reset();
  for (auto& n : calm.living.nodes)
    n.halted = false;
  CHECK_FALSE(decode_record(later(encode_record(calm, no_keys)), no_keys).ok());
  CHECK_FALSE(
      decode_binding(later(encode_binding(full_binding(), "i", no_keys)), "i", no_keys).ok());
  CHECK_FALSE(decode_tombstone(later(encode_tombstone({"i", "o", moment}))).ok());
  CHECK_FALSE(decode_grave(later(encode_grave({"i", moment}))).ok());
  CHECK_FALSE(decode_port_use(later(encode_port_use({"i", moment, 0})), 1).ok());
}

TEST_CASE("a value with a repeated member is refused with its name") {
  auto text = encode_record(full_record(), no_keys);
  text.insert(text.size() - 1, R"(,"scope":"another")");
  auto read = decode_record(text, no_keys);
  REQUIRE_FALSE(read.ok());
  CHECK(read.error().find(R"(record: the key "scope" appears twice in one object)") == 0);
}

TEST_CASE("unknown members of tombstones, graves and ports are written back") {
  auto later = [](const std::string& text) {
    auto document = parsed(text);
    json::add(document, "why", "moved", document);
    return json::text_of(document);
  };
  auto left = later(encode_tombstone({"i", "o", moment, {{"b", {moment, "op-b"}}}}));
  auto document = parsed(left);
  json::add(document["ended_bindings"]["b"], "by", "somebody", document);
  left = json::canonical_text_of(document);
  auto tombstone = decode_tombstone(left);
  REQUIRE(tombstone.ok());
  CHECK(json::canonical_text_of(parsed(encode_tombstone(*tombstone))) == left);
  auto grave = decode_grave(later(encode_grave({"i", moment})));
  REQUIRE(grave.ok());
  CHECK(encode_grave(*grave).find(R"("why":"moved")") != std::string::npos);
  auto use = decode_port_use(later(encode_port_use({"i", moment, 0})), 7);
  REQUIRE(use.ok());
  CHECK(encode_port_use(*use).find(R"("why":"moved")") != std::string::npos);
}

TEST_CASE("a grave that replaces another keeps that one's unknown members") {
  auto before = R"({"scope":"i","buried_at":1,"why":"moved","format":2,"min_reader":1})";
  auto now = decode_grave(encode_over(before, {"i", moment}));
  REQUIRE(now.ok());
  CHECK(now->buried_at == moment);
  CHECK(now->unknown.text().find("moved") != std::string::npos);
  CHECK(encode_over("", {"i", moment}) == encode_grave({"i", moment}));
}

TEST_CASE("a port's next use keeps unknown members only for the same instance") {
  auto before = decode_port_use(R"({"instance":"i","why":"moved"})", 7);
  REQUIRE(before.ok());
  auto rests = with_unknown_of(*before, encode_port_use({"i", moment, 0}));
  CHECK(rests.find(R"("why":"moved")") != std::string::npos);
  CHECK(decode_port_use(rests, 0)->resting_since == moment);
  auto of_another = encode_port_use({"j", std::nullopt, 0});
  CHECK(with_unknown_of(*before, of_another) == of_another);
  auto known = encode_port_use({"i", moment, 0});
  CHECK(with_unknown_of({"i", std::nullopt, 7}, known) == known);
}

TEST_CASE("the next operation does not get the last one's unknown members") {
  auto document = parsed(encode_record(full_record(), no_keys));
  json::add(document["operation"], "restores", "backup-7", document);
  auto read = decode_record(json::text_of(document), no_keys);
  REQUIRE(read.ok());
  CHECK(encode_record(*read, no_keys).find("backup-7") != std::string::npos);
  read->current.id = "the next";
  CHECK(encode_record(*read, no_keys).find("backup-7") == std::string::npos);
}

TEST_CASE("the next ended binding does not get the last one's unknown members") {
  auto document = parsed(encode_record(full_record(), no_keys));
  json::add(document["ended_bindings"]["b2"], "why", "backup-7", document);
  auto read = decode_record(json::text_of(document), no_keys);
  REQUIRE(read.ok());
  CHECK(encode_record(*read, no_keys).find("backup-7") != std::string::npos);
  read->ended_bindings["b2"].at += 1h;
  CHECK(encode_record(*read, no_keys).find("backup-7") == std::string::npos);
}

TEST_CASE("unknown members of a removed part do not come back with a new part") {
  auto first = full_record();
  first.living.taking_up = first.desired.settings;
  auto document = parsed(encode_record(first, no_keys));
  json::add(document["taking_up"], "weekly_copy", "sunday", document);
  json::add(document, "kept", true, document);
  auto read = decode_record(json::text_of(document), no_keys);
  REQUIRE(read.ok());
  read->living.taking_up.reset();
  forget_what_is_gone(*read, encode_record(*read, no_keys));
  read->living.taking_up = first.living.taking_up;
  auto text = encode_record(*read, no_keys);
  CHECK(text.find("weekly_copy") == std::string::npos);
  CHECK(json::member(parsed(text), "kept") != nullptr);
}

TEST_CASE("an unreadable ended binding is dropped with its unknown members") {
  auto document = parsed(encode_record(full_record(), no_keys));
  json::value without_end{rapidjson::kObjectType};
  json::add(without_end, "why", "w", document);
  json::add(document["ended_bindings"], "b3", std::move(without_end), document);
  auto read = decode_record(json::text_of(document), no_keys);
  REQUIRE(read.ok());
  CHECK(*read == full_record());
}

TEST_CASE("the fleet's format decides whether this release may act") {
  auto why_not = [](const char* fleet) { return why_not_to_act(fleet).value_or("it may"); };
  CHECK(why_not("") == "it may");
  CHECK(why_not(R"({"format":7,"min_reader":1})") == "it may");
  CHECK(why_not(R"({"format":7,"min_reader":3})").find("a later release has written it") == 0);
  CHECK(why_not(R"({"format":7,"min_reader":"2"})") == "min_reader is no whole number");
  for (const char* damaged : {"{", "7", R"({"min_reader":2,"min_reader":1})"})
    CHECK(why_not(damaged).find("it is damaged") == 0);
  CHECK(fleet_format_after("") == R"({"format":2,"min_reader":1})");
  CHECK_FALSE(fleet_format_after(R"({"format":7,"min_reader":1})"));
  INFO("never a lower one");
  CHECK(fleet_format_after(R"({"format":7})") == R"({"format":7,"min_reader":1})");
}

TEST_CASE("values from before there were formats are read") {
  auto document = parsed(encode_record(full_record(), no_keys));
  document.RemoveMember("format");
  document.RemoveMember("min_reader");
  auto read = decode_record(json::text_of(document), no_keys);
  REQUIRE(read.ok());
  CHECK(*read == full_record());
}

// -- clusters beside the one that serves ------------------------------------------------------------

TEST_CASE("the secrets of a second cluster are sealed for their own place") {
  auto keys = keys_of("1");
  auto text = encode_record(full_record(), keys);
  for (const char* password : {"\"p7\"", "\"p8\"", "\"p9\""})
    CHECK(text.find(password) == std::string::npos);
  auto document = parsed(text);
  document["outgoing"]["secrets"]["etcd"].CopyFrom(document["incoming"]["secrets"]["etcd"],
                                                   document.GetAllocator());
  CHECK_FALSE(decode_record(json::text_of(document), keys).ok());
  CHECK(*decode_record(text, keys) == full_record());
}

TEST_CASE("an error in a second cluster names its place") {
  CHECK(error_after([](auto& d) { d["incoming"].RemoveMember("scope"); })
        == "record: incoming: scope is missing or no string");
  CHECK(error_after([](auto& d) { d["outgoing"]["nodes"].SetInt(1); })
        == "record: outgoing: nodes is missing or no list");
  CHECK(error_after([](auto& d) { d["incoming"]["secrets"].SetInt(1); })
        == "record: incoming: secrets is missing or no object");
  CHECK(error_after([](auto& d) { d["rebuild"]["phase"].SetString("dancing"); })
        == "record: rebuild: phase has the unknown value \"dancing\"");
}

TEST_CASE("the record of an instance that was never rebuilt has no new members") {
  model::record plain;
  plain.instance_id = "i";
  auto document = parsed(encode_record(plain, no_keys));
  for (const char* name : {"incoming", "outgoing", "rebuild", "last_scope", "follows"})
    CHECK(json::member(document, name) == nullptr);
}
