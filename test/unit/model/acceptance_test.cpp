#include "model/acceptance.hpp"

#include <doctest/doctest.h>

#include "../../texts.hpp"

using namespace matriarch::model;
using namespace std::chrono_literals;

namespace {

const wall_time now{1'700'000'000s};

provision_request provisioning() {
  provision_request asked;
  asked.instance_id = "i/1";
  asked.service_id = "service";
  asked.plan_id = "plan";
  asked.organization_guid = "org";
  asked.space_guid = "space";
  asked.parameters = R"({"node-count":2})";
  asked.desired = {true, 2, {}};
  asked.longest = 100s;
  return asked;
}

record known_in(operation_type type, operation_state state) {
  new_instance_values values;
  values.operation_id = "first";
  values.now = now;
  auto r = new_record(provisioning(), values);
  r.phase = record_phase::accepted;
  r.current.type = type;
  r.current.state = state;
  r.desired.exists = type != operation_type::deprovision;
  return r;
}

record settled() {
  return known_in(operation_type::provision, operation_state::succeeded);
}

update_request update_to(const std::string& parameters) {
  update_request asked;
  asked.instance_id = "i/1";
  asked.service_id = "service";
  asked.parameters = parameters;
  asked.longest = 100s;
  return asked;
}

update_request growth() {
  auto asked = update_to(R"({"node-count":3})");
  asked.node_count = 3;
  return asked;
}

deprovision_request removal() {
  return {"i/1", "service", "plan", "", 100s};
}

bind_request binding_of(const std::string& id) {
  return {"i/1", {id, "service", "plan", "app", "{}"}};
}

using matriarch::test::contains;

constexpr auto in_progress = operation_state::in_progress;
constexpr auto succeeded = operation_state::succeeded;
constexpr auto failed = operation_state::failed;

} // namespace

// -- the first record -----------------------------------------------------------------------------

TEST_CASE("a new record is in phase accepting, with a safe scope and an early deadline") {
  new_instance_values values;
  values.operation_id = "op";
  values.secrets = {{secret_name::application, {"app", "secret"}}};
  values.now = now;
  auto r = new_record(provisioning(), values);
  CHECK(r.phase == record_phase::accepting);
  CHECK(r.instance_id == "i/1");
  CHECK(r.living.scope.starts_with("~"));
  CHECK(r.living.secret_of(secret_name::application).password == "secret");
  CHECK(r.current.id == "op");
  CHECK(r.current.type == operation_type::provision);
  CHECK(r.current.state == in_progress);
  CHECK(r.current.deadline == now + 90s);
  CHECK(r.desired.node_count == 2);
  CHECK(r.living.nodes.empty());
}

// -- provision ------------------------------------------------------------------------------------

TEST_CASE("the same provision again is the same operation while it runs, and done after it") {
  auto said = judge_provision(provisioning(), known_in(operation_type::provision, in_progress));
  CHECK(said.is == verdict_kind::accepted);
  CHECK(said.operation_id == "first");
  CHECK(judge_provision(provisioning(), settled()).is == verdict_kind::done);
  auto updating = known_in(operation_type::update, in_progress);
  CHECK(judge_provision(provisioning(), updating).is == verdict_kind::done);
}

TEST_CASE("a provision that differs in any attribute conflicts and names it") {
  auto check = [](auto change, const std::string& field) {
    auto asked = provisioning();
    change(asked);
    for (auto state : {in_progress, succeeded}) {
      auto said = judge_provision(asked, known_in(operation_type::provision, state));
      CHECK(said.is == verdict_kind::conflict);
      CHECK(contains(said.description, field));
    }
  };
  check([](auto& a) { a.instance_id = "other"; }, "instance_id");
  check([](auto& a) { a.service_id = "other"; }, "service_id");
  check([](auto& a) { a.plan_id = "other"; }, "plan_id");
  check([](auto& a) { a.organization_guid = "other"; }, "organization_guid");
  check([](auto& a) { a.space_guid = "other"; }, "space_guid");
  check([](auto& a) { a.parameters = "{}"; }, "parameters");
}

TEST_CASE("a provision of what failed or is being removed conflicts") {
  auto broken = known_in(operation_type::provision, failed);
  broken.current.description = "no cell";
  auto said = judge_provision(provisioning(), broken);
  CHECK(said.is == verdict_kind::conflict);
  CHECK(contains(said.description, "no cell"));
  said = judge_provision(provisioning(), known_in(operation_type::deprovision, in_progress));
  CHECK(said.is == verdict_kind::conflict);
  CHECK(contains(said.description, "being removed"));
}

// -- update ---------------------------------------------------------------------------------------

TEST_CASE("an update becomes a new operation that remembers what was before") {
  auto r = judge_update(growth(), settled(), "second", now + 5s);
  CHECK(r.answer.is == verdict_kind::accepted);
  CHECK(r.answer.operation_id == "second");
  REQUIRE(r.write.has_value());
  CHECK(r.write->desired.node_count == 3);
  CHECK(r.write->current.id == "second");
  CHECK(r.write->current.type == operation_type::update);
  CHECK(r.write->current.state == in_progress);
  CHECK(r.write->current.deadline == now + 95s);
  CHECK(r.write->current.desired_before == desired_state{true, 2, {}, {}});
  CHECK(r.write->current.parameters_before == R"({"node-count":2})");
}

TEST_CASE("an update that changes nothing is an operation while nodes are unwell") {
  auto known = settled();
  auto asked = update_to(R"({"node-count":2})");
  asked.node_count = known.desired.node_count;
  known.parameters = asked.parameters;
  CHECK(judge_update(asked, known, "second", now, true).answer.is == verdict_kind::done);
  auto r = judge_update(asked, known, "second", now, false);
  CHECK(r.answer.is == verdict_kind::accepted);
  REQUIRE(r.write);
  CHECK(r.write->desired == known.desired);
  // An update that asks for nothing is answered at once.
  CHECK(judge_update(update_to("{}"), known, "second", now, false).answer.is == verdict_kind::done);
}

TEST_CASE("an update's parameters replace those of the same name and keep the others") {
  auto asked = update_to(R"({"cells":["a","b"]})");
  asked.cells = {"a", "b"};
  auto r = judge_update(asked, settled(), "second", now);
  REQUIRE(r.write.has_value());
  CHECK(r.write->parameters == R"({"cells":["a","b"],"node-count":2})");
  CHECK(r.write->desired.node_count == 2);
  CHECK(r.write->desired.cells == std::vector<std::string>{"a", "b"});
  r = judge_update(growth(), settled(), "second", now);
  CHECK(r.write->parameters == R"({"node-count":3})");
}

TEST_CASE("an update without parameters changes nothing") {
  auto r = judge_update(update_to("{}"), settled(), "second", now);
  CHECK(r.answer.is == verdict_kind::done);
  CHECK_FALSE(r.write.has_value());
}

TEST_CASE("an update that changes nothing only writes its parameters") {
  auto known = settled();
  known.parameters = "{}";
  auto asked = update_to(R"({"node-count":2})");
  asked.node_count = 2;
  auto r = judge_update(asked, known, "second", now);
  CHECK(r.answer.is == verdict_kind::done);
  REQUIRE(r.write.has_value());
  CHECK(r.write->parameters == R"({"node-count":2})");
  CHECK(r.write->current.id == "first");
}

TEST_CASE("an update with another service or plan is refused") {
  auto asked = growth();
  asked.service_id = "other";
  CHECK(judge_update(asked, settled(), "x", now).answer.is == verdict_kind::bad_request);
  asked = growth();
  asked.plan_id = "other";
  auto r = judge_update(asked, settled(), "x", now);
  CHECK(r.answer.is == verdict_kind::refused);
  CHECK(contains(r.answer.description, "plan_updateable"));
  asked.plan_id = "plan";
  CHECK(judge_update(asked, settled(), "x", now).answer.is == verdict_kind::accepted);
}

TEST_CASE("the same update again is the same operation, another one has to wait") {
  auto first = judge_update(growth(), settled(), "second", now);
  REQUIRE(first.write.has_value());
  auto again = judge_update(growth(), *first.write, "third", now);
  CHECK(again.answer.is == verdict_kind::accepted);
  CHECK(again.answer.operation_id == "second");
  CHECK_FALSE(again.write.has_value());
  auto other = update_to(R"({"node-count":1})");
  other.node_count = 1;
  CHECK(judge_update(other, *first.write, "third", now).answer.is == verdict_kind::busy);
}

TEST_CASE("an update during a provision or a removal has to wait") {
  for (auto type : {operation_type::provision, operation_type::deprovision}) {
    auto r = judge_update(growth(), known_in(type, in_progress), "x", now);
    CHECK(r.answer.is == verdict_kind::busy);
    CHECK_FALSE(r.write.has_value());
  }
}

TEST_CASE("an update of what failed to be created or to be removed is refused") {
  for (auto type : {operation_type::provision, operation_type::deprovision}) {
    auto r = judge_update(growth(), known_in(type, failed), "x", now);
    CHECK(r.answer.is == verdict_kind::refused);
    CHECK_FALSE(r.write.has_value());
  }
}

TEST_CASE("an update that failed may be tried again") {
  auto known = known_in(operation_type::update, failed);
  known.desired.node_count = 3;
  CHECK(judge_update(growth(), known, "again", now).answer.is == verdict_kind::accepted);
}

TEST_CASE("naming the same cells again is an operation only if a repair has left them") {
  auto known = settled();
  known.desired.cells = {"a", "b"};
  known.living.nodes = {{"n1", "c", "service", "plan", "", node_phase::started, std::nullopt}};
  auto asked = update_to(R"({"cells":["a","b"]})");
  asked.cells = {"a", "b"};
  CHECK(judge_update(asked, known, "second", now).answer.is == verdict_kind::done);
  known.living.nodes[0].instead_of = {"a", "b"};
  auto ruled = judge_update(asked, known, "second", now);
  CHECK(ruled.answer.is == verdict_kind::accepted);
  REQUIRE(ruled.write);
  CHECK(ruled.write->living.nodes[0].instead_of.empty());
  // Naming other cells keeps instead_of: if the update fails, the node may stay where it is.
  asked.cells = {"a", "d"};
  ruled = judge_update(asked, known, "second", now);
  REQUIRE(ruled.write);
  CHECK_FALSE(ruled.write->living.nodes[0].instead_of.empty());
}

TEST_CASE("an update marks nodes whose removal began before it") {
  auto known = settled();
  known.living.nodes = {{"n1", "a", "service", "plan", "", node_phase::removing, std::nullopt},
                        {"n2", "b", "service", "plan", "", node_phase::started, std::nullopt}};
  auto r = judge_update(growth(), known, "op", now);
  REQUIRE(r.write);
  CHECK(r.write->living.nodes[0].left_over);
  CHECK_FALSE(r.write->living.nodes[1].left_over);
}

TEST_CASE("an update that leaves fewer named cells than nodes is refused") {
  auto asked = update_to(R"({"cells":["a"]})");
  asked.cells = {"a"};
  auto r = judge_update(asked, settled(), "x", now);
  CHECK(r.answer.is == verdict_kind::bad_request);
  CHECK(contains(r.answer.description, "parameters.cells"));
  auto known = settled();
  known.desired.cells = {"a", "b"};
  CHECK(judge_update(growth(), known, "x", now).answer.is == verdict_kind::bad_request);
}

// -- deprovision ----------------------------------------------------------------------------------

TEST_CASE("a removal replaces any operation in progress and ends a switchover") {
  for (auto type : {operation_type::provision, operation_type::update}) {
    auto known = known_in(type, in_progress);
    known.living.switching_to = "n1";
    auto r = judge_deprovision(removal(), known, "last", now);
    CHECK(r.answer.is == verdict_kind::accepted);
    CHECK(r.answer.operation_id == "last");
    REQUIRE(r.write.has_value());
    CHECK_FALSE(r.write->desired.exists);
    CHECK(r.write->living.switching_to.empty());
    CHECK(r.write->current.id == "last");
    CHECK(r.write->current.type == operation_type::deprovision);
    CHECK(r.write->current.deadline == now + 90s);
  }
}

TEST_CASE("the same removal again is the same operation, and a new one after it failed") {
  auto known = known_in(operation_type::deprovision, in_progress);
  auto r = judge_deprovision(removal(), known, "second", now);
  CHECK(r.answer.operation_id == "first");
  CHECK_FALSE(r.write.has_value());
  known.current.state = failed;
  r = judge_deprovision(removal(), known, "second", now);
  CHECK(r.answer.operation_id == "second");
  CHECK(r.write.has_value());
}

TEST_CASE("a removal with another service or plan, or without one, is refused") {
  auto asked = removal();
  asked.service_id = "other";
  CHECK(judge_deprovision(asked, settled(), "x", now).answer.is == verdict_kind::bad_request);
  asked = removal();
  asked.plan_id = "other";
  CHECK(judge_deprovision(asked, settled(), "x", now).answer.is == verdict_kind::bad_request);
  asked.plan_id = "";
  CHECK(judge_deprovision(asked, settled(), "x", now).answer.is == verdict_kind::bad_request);
  asked = removal();
  asked.service_id = "";
  CHECK(judge_deprovision(asked, settled(), "x", now).answer.is == verdict_kind::bad_request);
}

// -- bind and unbind ------------------------------------------------------------------------------

using binding_map = std::map<std::string, binding>;

binding_ruling ruled(const bind_request& asked, const record& known,
                     const binding_map& existing = {}) {
  return judge_bind(asked, known, existing, {"op", {"role", "secret"}, now});
}

/// The binding after its role was made.
binding ready(const bind_request& asked, const record& known) {
  auto made = *ruled(asked, known).write;
  made.phase = binding_phase::ready;
  return made;
}

record shared() {
  auto known = settled();
  known.living.in_force.credentials = credentials_mode::shared;
  return known;
}

TEST_CASE("a binding is written with a role of its own before the role is made") {
  auto r = ruled(binding_of("b"), settled());
  CHECK(r.answer.is == verdict_kind::accepted);
  REQUIRE(r.write);
  CHECK(r.write->phase == binding_phase::creating);
  CHECK(r.write->role == credentials{"role", "secret"});
  CHECK(r.write->operation_id == "op");
  CHECK(r.write->created_at == now);
  CHECK_FALSE(r.write->expires_at);
}

TEST_CASE("a binding of shared credentials has no role, and is ready after a test login") {
  auto r = ruled(binding_of("b"), shared());
  CHECK(r.answer.is == verdict_kind::accepted);
  REQUIRE(r.write);
  CHECK(r.write->phase == binding_phase::creating);
  CHECK(r.write->role.username.empty());
}

TEST_CASE("a bind makes a binding, waits for one, finds one, or conflicts with one") {
  auto asked = binding_of("b");
  binding_map existing{{"b", *ruled(asked, settled()).write}};
  auto again = ruled(asked, settled(), existing);
  CHECK(again.answer.is == verdict_kind::accepted);
  CHECK(again.answer.operation_id == "op");
  CHECK_FALSE(again.write);
  existing["b"].phase = binding_phase::ready;
  CHECK(ruled(asked, settled(), existing).answer.is == verdict_kind::done);
  CHECK(ruled(binding_of("c"), settled(), existing).answer.is == verdict_kind::accepted);
  auto other = asked;
  other.wanted.app_guid = "other";
  CHECK(ruled(other, settled(), existing).answer.is == verdict_kind::conflict);
  existing["b"].phase = binding_phase::removing;
  CHECK(ruled(asked, settled(), existing).answer.is == verdict_kind::busy);
}

TEST_CASE("a binding needs the instance's service and plan") {
  auto asked = binding_of("b");
  asked.wanted.service_id = "other";
  CHECK(ruled(asked, settled()).answer.is == verdict_kind::bad_request);
  asked = binding_of("b");
  asked.wanted.plan_id = "other";
  CHECK(ruled(asked, settled()).answer.is == verdict_kind::bad_request);
}

TEST_CASE("a binding made under an earlier plan is found again under that plan and the new one") {
  auto asked = binding_of("b");
  binding_map existing{{"b", ready(asked, settled())}};
  auto known = settled();
  known.plan_id = "larger";
  CHECK(ruled(asked, known, existing).answer.is == verdict_kind::done);
  asked.wanted.plan_id = "larger";
  CHECK(ruled(asked, known, existing).answer.is == verdict_kind::done);
  asked.wanted.plan_id = "other";
  CHECK(ruled(asked, known, existing).answer.is == verdict_kind::conflict);
}

TEST_CASE("a binding needs an instance that exists") {
  auto verdict_in = [](operation_type type, operation_state state) {
    return ruled(binding_of("b"), known_in(type, state)).answer.is;
  };
  CHECK(verdict_in(operation_type::provision, in_progress) == verdict_kind::busy);
  CHECK(verdict_in(operation_type::provision, failed) == verdict_kind::refused);
  CHECK(verdict_in(operation_type::deprovision, in_progress) == verdict_kind::busy);
  CHECK(verdict_in(operation_type::update, in_progress) == verdict_kind::accepted);
}

TEST_CASE("a binding with a lifetime says when it ends and when to renew it, which is before") {
  auto asked = binding_of("b");
  asked.lifetime = 90;
  auto made = *ruled(asked, settled()).write;
  CHECK(made.expires_at == now + 90s);
  CHECK(made.renew_before == now + 60s);
}

TEST_CASE("a rotation takes missing attributes from its predecessor, which stays") {
  auto first = binding_of("b");
  first.wanted.app_guid = "app";
  first.wanted.parameters = R"({"read-only":true})";
  first.wanted.read_only = true;
  binding_map existing{{"b", ready(first, settled())}};
  auto next = binding_of("c");
  next.wanted.app_guid.clear();
  next.wanted.predecessor = "b";
  auto r = ruled(next, settled(), existing);
  REQUIRE(r.write);
  CHECK(r.write->app_guid == "app");
  CHECK(r.write->read_only);
  CHECK(r.write->parameters == first.wanted.parameters);
  existing["c"] = *r.write;
  CHECK(ruled(next, settled(), existing).answer.is == verdict_kind::accepted);
}

TEST_CASE("a repeated rotation finds its binding after the predecessor was removed") {
  auto first = binding_of("b");
  first.wanted.app_guid = "app";
  first.wanted.parameters = R"({"read-only":true})";
  auto next = binding_of("c");
  next.wanted.app_guid.clear();
  next.wanted.predecessor = "b";
  auto made = *ruled(next, settled(), {{"b", ready(first, settled())}}).write;
  made.phase = binding_phase::ready;
  CHECK(ruled(next, settled(), {{"c", made}}).answer.is == verdict_kind::done);
}

TEST_CASE("a successor needs a predecessor that is there and has not expired") {
  auto next = binding_of("c");
  next.wanted.predecessor = "b";
  CHECK(ruled(next, settled()).answer.is == verdict_kind::bad_request);
  auto first = binding_of("b");
  first.lifetime = 1;
  binding_map existing{{"b", ready(first, settled())}};
  CHECK(ruled(next, settled(), existing).answer.is == verdict_kind::accepted);
  existing["b"].expires_at = now;
  CHECK(ruled(next, settled(), existing).answer.is == verdict_kind::bad_request);
}

TEST_CASE("an unbind is written before the role is removed") {
  binding_map existing{{"b", ready(binding_of("b"), settled())}};
  auto r = judge_unbind({"i/1", "b", "service", "plan", true}, settled(), existing, "off", now);
  CHECK(r.answer.is == verdict_kind::accepted);
  REQUIRE(r.write);
  CHECK(r.write->phase == binding_phase::removing);
  CHECK(r.write->operation_id == "off");
  CHECK(r.write->asked_at == now);
  CHECK(r.write->polled);
  existing["b"] = *r.write;
  auto again = judge_unbind({"i/1", "b", "service", "plan"}, settled(), existing, "other", now);
  CHECK(again.answer.is == verdict_kind::accepted);
  CHECK(again.answer.operation_id == "off");
  CHECK_FALSE(again.write);
}

TEST_CASE("a binding without a role, or of an instance being removed, is deleted at once") {
  auto kind = [](const record& known, const binding& there) {
    return judge_unbind({"i/1", "b", "service", "plan"}, known, {{"b", there}}, "off", now)
        .answer.is;
  };
  CHECK(kind(shared(), ready(binding_of("b"), shared())) == verdict_kind::done);
  auto with_role = ready(binding_of("b"), settled());
  CHECK(kind(known_in(operation_type::deprovision, in_progress), with_role) == verdict_kind::done);
  CHECK(kind(known_in(operation_type::provision, failed), with_role) == verdict_kind::done);
}

TEST_CASE("an unbind needs the binding, its service and its plan") {
  binding_map existing{{"b", ready(binding_of("b"), settled())}};
  auto kind = [&](const unbind_request& asked) {
    return judge_unbind(asked, settled(), existing, "off", now).answer.is;
  };
  CHECK(kind({"i/1", "b", "service", "plan"}) == verdict_kind::accepted);
  CHECK(kind({"i/1", "b", "", "plan"}) == verdict_kind::bad_request);
  CHECK(kind({"i/1", "b", "service", ""}) == verdict_kind::bad_request);
  CHECK(kind({"i/1", "c", "service", "plan"}) == verdict_kind::gone);
  CHECK(kind({"i/1", "b", "other", "plan"}) == verdict_kind::bad_request);
  CHECK(kind({"i/1", "b", "service", "other"}) == verdict_kind::bad_request);
}

TEST_CASE("a binding made under an earlier plan is removed under that plan and the new one") {
  binding_map existing{{"b", ready(binding_of("b"), settled())}};
  auto known = settled();
  known.plan_id = "larger";
  auto kind = [&](const std::string& plan_id) {
    return judge_unbind({"i/1", "b", "service", plan_id}, known, existing, "off", now).answer.is;
  };
  CHECK(kind("plan") == verdict_kind::accepted);
  CHECK(kind("larger") == verdict_kind::accepted);
  CHECK(kind("other") == verdict_kind::bad_request);
}

TEST_CASE("requests may name the old plan after a change of plan") {
  for (auto state : {in_progress, succeeded}) {
    auto known = known_in(operation_type::update, state);
    known.plan_id = "larger";
    known.current.plan_id_before = "plan";
    auto leaving = [&](const char* plan_id) {
      return judge_deprovision({"i/1", "service", plan_id, "", 600s}, known, "off", now);
    };
    CHECK(leaving("plan").answer.is == verdict_kind::accepted);
    CHECK(leaving("larger").answer.is == verdict_kind::accepted);
    CHECK(leaving("other").answer.is == verdict_kind::bad_request);
    CHECK(ruled(binding_of("b"), known).answer.is == verdict_kind::accepted);
    // A platform without an answer repeats its request.
    known = *leaving("plan").write;
    CHECK(leaving("plan").answer.is == verdict_kind::accepted);
    known.current.state = failed;
    CHECK(leaving("plan").answer.is == verdict_kind::accepted);
  }
}

TEST_CASE("a read-only binding is refused if all bindings share one user") {
  auto asked = binding_of("b");
  asked.wanted.read_only = true;
  auto r = ruled(asked, shared());
  CHECK(r.answer.is == verdict_kind::refused);
  CHECK(contains(r.answer.description, "upgrade"));
  CHECK_FALSE(r.write);
}

TEST_CASE("a binding of an instance being removed is not returned again") {
  binding_map existing{{"b", ready(binding_of("b"), settled())}};
  auto known = known_in(operation_type::deprovision, in_progress);
  CHECK(ruled(binding_of("b"), known, existing).answer.is == verdict_kind::busy);
}

TEST_CASE("of very many ended bindings the newest are kept") {
  auto known = settled();
  for (int i = 0; i < 3'000; ++i)
    known.ended_bindings["b" + std::to_string(i)] = {now + std::chrono::seconds{i}};
  forget_ended_bindings(known, now + 1h);
  CHECK(known.ended_bindings.size() == 1'000);
  CHECK(known.ended_bindings.contains("b2999"));
  CHECK_FALSE(known.ended_bindings.contains("b1999"));
}

TEST_CASE("ended bindings are forgotten after a week") {
  auto known = settled();
  known.ended_bindings = {{"old", {now - tombstone_life - 1s}}, {"new", {now}}};
  forget_ended_bindings(known, now);
  CHECK(known.ended_bindings.size() == 1);
  CHECK(known.ended_bindings.contains("new"));
}

TEST_CASE("the owner logs in only while a binding without a role may use it") {
  binding_map with_role{{"b", ready(binding_of("b"), settled())}};
  CHECK(has_own_roles(settled(), {}));
  CHECK_FALSE(owner_logs_in(settled(), with_role));
  CHECK(owner_logs_in(shared(), {}));
  CHECK_FALSE(has_own_roles(shared(), {}));
  // After a change of plan, existing bindings keep their kind of user.
  CHECK(has_own_roles(shared(), with_role));
  CHECK(owner_logs_in(settled(), {{"b", ready(binding_of("b"), shared())}}));
}

// -- changes of plan, maintenance and context -----------------------------------------------------

cluster_settings large() {
  cluster_settings settings;
  settings.parameters["max_connections"] = "200";
  return settings;
}

update_request to_plan(const std::string& plan_id) {
  auto asked = update_to("{}");
  asked.plan_id = plan_id;
  asked.offers["plan"] = {2, {}, "1.0.0", true};
  asked.offers["large"] = {3, large(), "2.0.0", false};
  return asked;
}

TEST_CASE("a change of plan takes the plan's settings, version and count of nodes") {
  auto known = settled();
  known.parameters = "{}";
  auto r = judge_update(to_plan("large"), known, "op", now);
  CHECK(r.answer.is == verdict_kind::accepted);
  REQUIRE(r.write);
  CHECK(r.write->plan_id == "large");
  CHECK(r.write->desired.settings == large());
  CHECK(r.write->desired.node_count == 3);
  CHECK(r.write->maintenance_version == "2.0.0");
  CHECK(r.write->current.plan_id_before == "plan");
  CHECK(r.write->living.in_force == known.living.in_force);
}

TEST_CASE("a change of plan leaves a count of nodes that the user named") {
  auto r = judge_update(to_plan("large"), settled(), "op", now);
  REQUIRE(r.write);
  CHECK(r.write->desired.node_count == 2);
}

TEST_CASE("a plan change that plan_updateable forbids is refused with a reason") {
  auto known = settled();
  known.plan_id = "large";
  auto r = judge_update(to_plan("plan"), known, "op", now);
  CHECK(r.answer.is == verdict_kind::refused);
  CHECK_FALSE(r.write);
  CHECK(r.answer.description.find("plan_updateable is false") != std::string::npos);
}

TEST_CASE("an update without a plan keeps the settings, even if the catalog has changed") {
  auto asked = growth();
  asked.offers["plan"] = {5, large(), "9.0.0", true};
  auto r = judge_update(asked, settled(), "op", now);
  REQUIRE(r.write);
  CHECK(r.write->desired.settings == settled().desired.settings);
  CHECK(r.write->maintenance_version.empty());
}

TEST_CASE("naming the catalog's maintenance version takes up its settings") {
  auto asked = update_to("{}");
  asked.offers["plan"] = {2, large(), "1.1.0", true};
  asked.maintenance_version = "1.1.0";
  auto r = judge_update(asked, settled(), "op", now);
  REQUIRE(r.write);
  CHECK(r.answer.is == verdict_kind::accepted);
  CHECK(r.write->maintenance_version == "1.1.0");
  CHECK(r.write->desired.settings == large());
}

TEST_CASE("another maintenance version than the catalog's is a conflict") {
  auto asked = update_to("{}");
  asked.offers["plan"] = {2, {}, "1.1.0", true};
  asked.maintenance_version = "1.0.0";
  auto r = judge_update(asked, settled(), "op", now);
  CHECK(r.answer.is == verdict_kind::outdated);
  CHECK_FALSE(r.write);
  asked.offers["plan"].maintenance_version = "";
  CHECK(judge_update(asked, settled(), "op", now).answer.is == verdict_kind::outdated);
}

TEST_CASE("a new context alone is written at once, also while an operation is in progress") {
  auto asked = update_to("{}");
  asked.context = R"({"platform":"cloudfoundry"})";
  for (auto known : {settled(), known_in(operation_type::update, in_progress)}) {
    auto r = judge_update(asked, known, "op", now);
    CHECK(r.answer.is == verdict_kind::done);
    REQUIRE(r.write);
    CHECK(r.write->context == *asked.context);
    CHECK(r.write->current == known.current);
    known.context = *asked.context;
    CHECK_FALSE(judge_update(asked, known, "op", now).write);
  }
}

TEST_CASE("a context that is not kept is done at once, whatever the last operation's result") {
  auto asked = update_to("{}");
  asked.drops_context = true;
  asked.may_poll = false;
  auto known = settled();
  for (auto state :
       {operation_state::in_progress, operation_state::succeeded, operation_state::failed}) {
    known.current.type = operation_type::update;
    known.current.state = state;
    auto r = judge_update(asked, known, "second", now);
    CHECK(r.answer.is == verdict_kind::done);
    CHECK_FALSE(r.write.has_value());
  }
}

TEST_CASE("a platform that cannot poll can change the context and nothing that takes time") {
  auto asked = update_to("{}");
  asked.may_poll = false;
  asked.context = R"({"platform":"cloudfoundry"})";
  asked.plan_id = settled().plan_id;
  CHECK(judge_update(asked, settled(), "op", now).answer.is == verdict_kind::done);
  auto larger = to_plan("large");
  larger.may_poll = false;
  larger.context = asked.context;
  auto r = judge_update(larger, settled(), "op", now);
  CHECK(r.answer.is == verdict_kind::needs_polls);
  CHECK_FALSE(r.write);
  larger.may_poll = true;
  larger.context.reset();
  auto begun = judge_update(larger, settled(), "op", now);
  REQUIRE(begun.write);
  larger.may_poll = false;
  CHECK(judge_update(larger, *begun.write, "op", now).answer.is == verdict_kind::needs_polls);
}

TEST_CASE("a context beside the maintenance version that an instance has needs no polls") {
  auto known = settled();
  known.maintenance_version = "1.0.0";
  auto asked = update_to("{}");
  asked.may_poll = false;
  asked.context = R"({"platform":"cloudfoundry"})";
  asked.maintenance_version = "1.0.0";
  asked.offers["plan"] = {2, known.desired.settings, "1.0.0", true};
  auto r = judge_update(asked, known, "op", now);
  CHECK(r.answer.is == verdict_kind::done);
  REQUIRE(r.write);
  CHECK(r.write->context == *asked.context);
  // A new version takes time, and so does waiting for an unwell cluster.
  CHECK(judge_update(asked, known, "op", now, false).answer.is == verdict_kind::needs_polls);
  asked.offers["plan"].settings = large();
  CHECK(judge_update(asked, known, "op", now).answer.is == verdict_kind::needs_polls);
  known.maintenance_version = "0.9.0";
  asked.offers["plan"].settings = known.desired.settings;
  CHECK(judge_update(asked, known, "op", now).answer.is != verdict_kind::outdated);
}

TEST_CASE("a tombstone keeps what bindings' last operations were") {
  auto known = settled();
  known.ended_bindings = {{"before", {now - 1h, "op-1"}},
                          {"old", {now - tombstone_life - 1s, "x"}}};
  auto leaving = ready(binding_of("leaving"), known);
  leaving.phase = binding_phase::removing;
  leaving.operation_id = "op-2";
  auto there = ready(binding_of("there"), known);
  there.operation_id = "its making";
  auto left = tombstone_of(known, {{"leaving", leaving}, {"there", there}}, now);
  CHECK(left.operation_id == known.current.id);
  CHECK(left.removed_at == now);
  CHECK(left.ended_bindings
        == std::map<std::string, ended_binding>{
            {"before", {now - 1h, "op-1"}}, {"leaving", {now, "op-2"}}, {"there", {now, ""}}});
}

TEST_CASE("the same change of plan is recognised while it is in progress, another is not") {
  auto r = judge_update(to_plan("large"), settled(), "op", now);
  REQUIRE(r.write);
  auto again = judge_update(to_plan("large"), *r.write, "x", now);
  CHECK(again.answer.is == verdict_kind::accepted);
  CHECK(again.answer.operation_id == "op");
  CHECK(judge_update(growth(), *r.write, "x", now).answer.is == verdict_kind::busy);
}
