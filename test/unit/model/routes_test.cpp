#include "model/routes.hpp"

#include <doctest/doctest.h>

#include "../../texts.hpp"
#include "an_engine.hpp"
#include "model/plan.hpp"

using namespace matriarch::model;
using namespace std::chrono_literals;

namespace {

router_view serving(std::int64_t revision, std::vector<std::uint16_t> unbound = {}) {
  return {{"", "a-host", revision, std::move(unbound)}, {}};
}

routers with(std::map<std::string, router_view> living) {
  routers all;
  all.awaited = true;
  all.living = std::move(living);
  return all;
}

const route wanted{100, 30001};

using matriarch::test::contains;

/// A provision that only has to be served by the routers.
record provisioned(operation_type type = operation_type::provision) {
  record r;
  r.instance_id = "i";
  r.phase = record_phase::accepted;
  r.desired.node_count = 1;
  r.endpoints[endpoint::primary] = 30001;
  r.current.type = type;
  r.current.deadline = wall_time{100s};
  r.living.had_leader = true;
  r.living.nodes = {{"n1", "a", "service", "plan", "", node_phase::started, std::nullopt}};
  return r;
}

instance_observations observations(routers all) {
  auto c = nothing_seen();
  c.living.seen.members["n1"].state = "running";
  c.living.seen.leader = "n1";
  c.living.confirmed_started.insert("n1");
  c.routing = std::make_shared<const routers>(std::move(all));
  c.routed_at = 100;
  return c;
}

bool succeeds(const decision& d) {
  return d.write && d.write->current.state == operation_state::succeeded;
}

} // namespace

// -- waiting for routers --------------------------------------------------------------------------

TEST_CASE("a route is served once every router serves its last change") {
  CHECK(waits_for(with({{"r1", serving(100)}, {"r2", serving(180)}}), wanted).over());
  auto wait = waits_for(with({{"r1", serving(100)}, {"r2", serving(99)}}), wanted);
  CHECK_FALSE(wait.over());
  CHECK(wait.behind == std::vector<std::string>{"r2"});
}

TEST_CASE("at least one router has to be alive, unless the route is unchanged") {
  CHECK(waits_for(with({}), wanted).nobody);
  CHECK(waits_for(with({}), {100, 0, false}).over());
}

TEST_CASE("a port that one router cannot open is not served, and others' ports do not matter") {
  auto wait = waits_for(with({{"r1", serving(100)}, {"r2", serving(100, {30001})}}), wanted);
  CHECK(wait.unbound == std::vector<std::string>{"r2"});
  CHECK_FALSE(wait.over());
  CHECK(waits_for(with({{"r1", serving(100, {30002})}}), wanted).over());
  // An update tells no client a port.
  CHECK(waits_for(with({{"r1", serving(100, {30001})}}), {100, 0}).over());
}

TEST_CASE("an instance that a router does not serve delays only its own operations") {
  auto all = with({{"host-7", serving(100)}, {"host-8", serving(100)}});
  all.living["host-8"].said.unserved = {{"db", "the host node-3 has no address"}};
  const route of_db{100, 30001, true, "db"}, of_other{100, 30002, true, "other"};
  auto wait = waits_for(all, of_db);
  CHECK_FALSE(wait.over());
  CHECK(wait.unserved == std::vector<std::string>{"host-8"});
  CHECK(waits_for(all, of_other).over());
  CHECK(words_of(wait, all, of_db)
        == "1 of 2 routers does not reach all nodes, and port 30001 is not served");
  CHECK(details_of(wait, all, of_db)
        == "router host-8 does not serve it: the host node-3 has no address");
  CHECK_FALSE(all.all_well());
  CHECK(all.unserved_instances() == std::set<std::string>{"db"});
}

TEST_CASE("a router that takes no connections serves nothing, whatever it has been told") {
  auto all = with({{"host-7", serving(100)}, {"host-8", serving(100)}});
  all.living["host-8"].said.silent = "HAProxy does not answer";
  auto wait = waits_for(all, wanted);
  CHECK(wait.behind == std::vector<std::string>{"host-8"});
  CHECK(words_of(wait, all, wanted) == "1 of 2 routers does not serve port 30001 yet");
  CHECK(details_of(wait, all, wanted)
        == "router host-8 takes no connections: HAProxy does not answer");
  CHECK(words_of(all) == "1 of 2 routers take no connections");
  CHECK_FALSE(all.all_well());
}

TEST_CASE("nothing waits for routers if the configuration says so") {
  auto all = with({{"r1", serving(1, {30001})}});
  all.awaited = false;
  CHECK(waits_for(all, wanted).over());
  all.living.clear();
  CHECK(waits_for(all, wanted).over());
}

TEST_CASE("tenants see what is waited for without router ids; operators see the ids") {
  auto words = [](const routers& all) { return words_of(waits_for(all, wanted), all, wanted); };
  CHECK(words(with({})) == "no router is there that serves port 30001; waiting for one");
  CHECK(words(with({{"host-7", serving(9)}})) == "the router does not serve port 30001 yet");
  auto two = with({{"host-7", serving(9)}, {"host-8", serving(100)}});
  CHECK(words(two) == "1 of 2 routers does not serve port 30001 yet");
  auto details = details_of(waits_for(two, wanted), two, wanted);
  CHECK(details == "router host-7 serves revision 9, and not 100 yet");
  auto lost = with({{"host-7", serving(100, {30001})}});
  CHECK(contains(words(lost), "port 30001 cannot be opened by a router"));
  CHECK_FALSE(contains(words(lost), "host-7"));
  CHECK(contains(details_of(waits_for(lost, wanted), lost, wanted), "host-7"));
  auto served = with({{"host-7", serving(100)}});
  CHECK(words(served).empty());
  CHECK(details_of(waits_for(served, wanted), served, wanted).empty());
}

TEST_CASE("the state of the routers is described without their names") {
  CHECK(contains(words_of(with({})), "no router is there"));
  CHECK_FALSE(with({}).all_well());
  auto all = with({{"host-7", serving(9)}, {"host-8", serving(100)}});
  CHECK(words_of(all) == "served");
  CHECK(all.all_well());
  all.holding_up["host-7"] = 3;
  CHECK(words_of(all) == "1 of 2 routers do not serve yet what operations wait for");
  all.lost_ports[30001] = "db";
  CHECK_FALSE(all.all_well());
  CHECK(routers{}.all_well());
}

TEST_CASE("a record is routed otherwise by its port and nodes, not by its operation or write") {
  record one = provisioned();
  auto other = one;
  other.write_id = "another";
  other.current.state = operation_state::succeeded;
  other.living.had_leader = false;
  other.incoming = cluster{};
  other.rebuilt = rebuild{};
  other.last_scope = 2;
  other.living.switching_to = "n1";
  other.ended_bindings["b"] = {};
  other.living.nodes[0].phase = node_phase::removing;
  other.desired.settings.connection_limit = 7;
  CHECK(routed_alike(one, other));
  for (auto change : std::vector<void (*)(record&)>{
           [](record& r) { r.endpoints[endpoint::primary] = 30002; },
           [](record& r) { r.endpoints[endpoint::read_only] = 30003; },
           [](record& r) { r.phase = record_phase::accepting; },
           [](record& r) { r.living.scope = "another"; }, [](record& r) { r.living.nodes.clear(); },
           [](record& r) { r.living.nodes[0].node_id = "n2"; },
           [](record& r) { r.desired.settings.parameters["max_connections"] = "9"; },
           [](record& r) { r.living.in_force.parameters["max_connections"] = "9"; }}) {
    auto changed = one;
    change(changed);
    CHECK_FALSE(routed_alike(one, changed));
  }
}

// -- decisions ------------------------------------------------------------------------------------

TEST_CASE("a provision succeeds only when every router serves its port") {
  auto known = provisioned();
  auto d = decide(known, observations(with({{"r1", serving(99)}})));
  CHECK_FALSE(succeeds(d));
  CHECK(d.waiting_for == "the router does not serve port 30001 yet");
  CHECK(d.unserved == route{100, 30001, true});
  CHECK_FALSE(succeeds(decide(known, observations(with({})))));
  CHECK(succeeds(decide(known, observations(with({{"r1", serving(100)}})))));
  instance_observations without = observations({});
  CHECK(succeeds(decide(known, without)));
}

TEST_CASE("an update waits for routers, and for one at least if it has changed the route") {
  auto known = provisioned(operation_type::update);
  CHECK_FALSE(succeeds(decide(known, observations(with({{"r1", serving(99)}})))));
  CHECK_FALSE(succeeds(decide(known, observations(with({})))));
  auto unmoved = observations(with({}));
  unmoved.reroutes = false;
  CHECK(succeeds(decide(known, unmoved)));
  // An update cannot change the port.
  CHECK(succeeds(decide(known, observations(with({{"r1", serving(100, {30001})}})))));
}

TEST_CASE("an unserved change of the route is written before success") {
  auto known = provisioned(operation_type::update);
  known.living.nodes.push_back(
      {"n2", "b", "service", "plan", "", node_phase::removing, std::nullopt});
  auto c = observations(with({{"r1", serving(100)}}));
  c.living.confirmed_removed.insert("n2");
  auto d = decide(known, c);
  REQUIRE(d.write);
  CHECK(d.write->living.nodes.size() == 1);
  CHECK_FALSE(succeeds(d));
  CHECK(succeeds(decide(*d.write, c)));
}

TEST_CASE("a port that a router cannot open is replaced while no client knows it") {
  auto known = provisioned();
  auto c = observations(with({{"r1", serving(100)}, {"r2", serving(100, {30001})}}));
  auto d = decide(known, c);
  CHECK_FALSE(succeeds(d));
  REQUIRE(d.steps.size() == 1);
  CHECK(std::get<change_port>(d.steps[0]).from == 30001);
  c.no_other_port = "no public port is free";
  d = decide(known, c);
  CHECK(d.steps.empty());
  CHECK(contains(d.waiting_for, "no public port is free"));
}

TEST_CASE("a provision that no router serves fails in time, and says why") {
  auto known = provisioned();
  auto c = observations(with({}));
  c.now = known.current.deadline;
  auto d = decide(known, c);
  REQUIRE(d.write);
  CHECK(contains(d.write->current.failing_because, "no router is there"));
}

TEST_CASE("an operation that runs out of time says that it waits for routers, or for a replica") {
  auto known = provisioned(operation_type::update);
  auto c = observations(with({}));
  c.now = known.current.deadline;
  auto why = [&] {
    auto d = decide(known, c);
    REQUIRE(d.write);
    return d.write->current.description;
  };
  CHECK(why().find("no router is there") != std::string::npos);
  c.routing.reset();
  known.desired.node_count = 2;
  known.living.nodes.push_back(
      {"n2", "b", "service", "plan", "", node_phase::started, std::nullopt});
  c.living.seen.members["n2"].state = "running";
  CHECK(why().find("waiting for n2 to stream") != std::string::npos);
}
