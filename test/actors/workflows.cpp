#include "workflows.hpp"

#include <algorithm>
#include <stdexcept>

#include "requests.hpp"

namespace matriarch::simulation {

namespace {

using namespace std::chrono_literals;

model::cluster_settings connections(const char* count) {
  model::cluster_settings settings;
  settings.parameters["max_connections"] = count;
  return settings;
}

/// Steps before the cut must succeed.
void must(bool succeeded, const char* what) {
  if (!succeeded)
    throw std::logic_error{std::string{what} + " failed before anything was cut off"};
}

std::function<void(stage&)> with_nodes(int count) {
  return [count](stage& here) { must(make(here, "db", count), "a provision"); };
}

void with_a_binding(stage& here) {
  must(make(here, "db", 2), "a provision");
  must(here.ask(bind("db", "b1")).is == model::verdict_kind::created, "a bind");
}

model::bind_request reading(const std::string& binding_id) {
  auto asked = simulation::bind("db", binding_id);
  asked.wanted.read_only = true;
  return asked;
}

/// The replica does not replay the binding's revocation until the workflow has ended.
void with_a_binding_unheard(stage& here) {
  with_a_binding(here);
  for (const auto& n : recorded_nodes(here.outside, "db"))
    if (n.node_id != here.outside.leader_of("db"))
      here.outside.stands_still.insert(n.node_id);
}

/// A tenant with control of the nodes' Patroni has written false addresses.
void with_lying_members(stage& here) {
  with_a_binding(here);
  here.outside.lie("db");
  here.pass(1s);
}

void with_a_reader(stage& here) {
  must(make(here, "db", 2), "a provision");
  must(here.ask(reading("b1")).is == model::verdict_kind::created, "a bind");
}

model::bind_request rotation() {
  auto asked = bind("db", "b2");
  asked.wanted.predecessor = "b1";
  return asked;
}

errand after_a_while(model::request what, model::duration pause) {
  errand one{std::move(what)};
  one.pause = pause;
  return one;
}

errand without_waiting(model::request what) {
  errand one{std::move(what)};
  one.not_awaited = true;
  return one;
}

errand mitigated(model::request what) {
  errand one{std::move(what)};
  one.mitigated = true;
  return one;
}

// -- routers --------------------------------------------------------------------------------------

/// Adds a router that has read everything so far.
void add_router(stage& here, const std::string& id, model::duration pause) {
  here.outside.routers.add(id, pause);
  here.pass(1s);
}

/// One of two routers hangs; its lease lives on for a while.
void with_a_router_still(stage& here) {
  add_router(here, "r2", 50ms);
  here.outside.routers.stand_still("r2");
}

/// The only router dies during the workflow and comes back after its lease has ended.
void with_a_router_that_dies(stage& here) {
  here.outside.after(1s, [&outside = here.outside] { outside.routers.kill("r1"); });
  here.outside.after(14s, [&outside = here.outside] { outside.routers.start("r1"); });
}

/// One of two routers cannot reach the instance's node for a while, and reports that.
void with_a_router_that_lacks(stage& here) {
  add_router(here, "r2", 50ms);
  here.outside.routers.at("r2").lacks = {"db"};
  here.outside.after(8s, [&outside = here.outside] {
    outside.routers.at("r2").lacks.clear();
    outside.routers.start("r2");
  });
}

/// Another program has the next ports on one of two routers, which reports that when it should open
/// them.
void with_ports_taken(stage& here) {
  add_router(here, "r2", 400ms);
  here.outside.routers.at("r2").taken = {30000, 30001, 30002};
}

// -- certificates of cells ------------------------------------------------------------------------

/// The cells ask for certificates while a first instance waits for one of them. One cell asks again
/// for another key, as after the loss of its disk, while its first request may be under way.
void with_cells_that_ask(stage& here) {
  auto& outside = here.outside;
  here.pass(1s);
  for (const auto& one : outside.cells())
    outside.after(100ms, [&outside, guid = one.guid] { outside.announce(guid); });
  outside.after(1200ms, [&outside] { outside.announce("c1"); });
}

// -- repair --------------------------------------------------------------------------------------

constexpr model::duration repair_after = 10s;
// For replicas that do not replicate: shorter, since no machine has to be given up first.
constexpr model::duration replaced_after = 4s;

/// A cluster has lost a machine, its leader's or another one, and its repair is about to begin.
std::function<void(stage&)> with_a_cell_lost(bool leaders) {
  return [leaders](stage& here) {
    must(make(here, "db", 2), "a provision");
    auto leader = here.outside.leader_of("db");
    for (const auto& n : recorded_nodes(here.outside, "db"))
      if ((n.node_id == leader) == leaders)
        here.outside.lose(n.cell);
    here.pass(world::ttl + repair_after - 2s);
    must(recorded_nodes(here.outside, "db").size() == 2, "to wait for the cell");
  };
}

/// Two nodes run elsewhere; the node on the lost cell is still to be removed.
bool is_replaced(const world& outside) {
  return outside.running_nodes("db") == 2
         && std::ranges::any_of(recorded_nodes(outside, "db"), [](const model::node& one) {
              return one.phase == model::node_phase::removing;
            });
}

void bring_all_back(world& outside) {
  for (const auto& one : outside.cells())
    if (one.health == manner::away)
      outside.bring_back(one.guid);
}

workflow repair(const char* name, bool leaders) {
  return {name,
          with_a_cell_lost(leaders),
          {},
          {{"db", {2}}},
          is_replaced,
          bring_all_back,
          [](broker_settings& how) {
            how.repair = {repair_after, 1};
          }};
}

// -- replicas that do not replicate --------------------------------------------------------------

/// The first replica keeps running without replicating, while the leader writes.
void let_one_stand(stage& here) {
  auto leader = here.outside.leader_of("db");
  for (const auto& n : recorded_nodes(here.outside, "db"))
    if (n.node_id != leader) {
      here.outside.stand_still(n.node_id);
      break;
    }
  here.outside.write_wal("db");
  here.pass(1s);
}

std::function<void(stage&)> with_one_standing(int count, model::duration since = 0s) {
  return [count, since](stage& here) {
    must(make(here, "db", count), "a provision");
    let_one_stand(here);
    here.pass(since);
    must(here.outside.well_nodes("db") == count - 1, "to wait for the repair");
  };
}

void repaired_soon(broker_settings& how) {
  how.repair = {replaced_after, 1};
}

workflow standing(const char* name, std::function<void(stage&)> prepare,
                  std::vector<errand> errands, expectation wanted) {
  workflow one{name, std::move(prepare), std::move(errands), {{"db", std::move(wanted)}}};
  one.over = [count = one.expected.at("db").nodes](const world& outside) {
    return outside.well_nodes("db") == count;
  };
  one.tune = repaired_soon;
  return one;
}

// -- settings with which PostgreSQL does not start ------------------------------------------------

/// No node, or with `leader_alone` only no leader, starts with these settings. The update must
/// fail, and everything must be as before.
workflow unstartable(const char* name, int nodes, bool leader_alone = false) {
  auto broken = connections("200");
  errand update{change_plan("db", "large", broken)};
  auto& asked = std::get<model::update_request>(update.what);
  for (auto& [plan, offer] : asked.offers)
    offer.node_count = nodes;
  update.fails = true;
  expectation as_before{nodes};
  as_before.failed = true;
  return {name,
          [nodes, leader_alone, broken](stage& here) {
            must(make(here, "db", nodes), "a provision");
            here.outside.unstartable = {model::digest_of(broken)};
            for (const auto& n : recorded_nodes(here.outside, "db"))
              if (leader_alone && n.node_id != here.outside.leader_of("db"))
                here.outside.starts_by_any.insert(n.node_id);
          },
          {update},
          {{"db", as_before}},
          [](const world& outside) {
            auto known = outside.record_of("db");
            return known && !known->living.taking_up;
          }};
}

// -- a new cluster beside the old one -------------------------------------------------------------

std::function<void(stage&)> with_a_writer(int nodes) {
  return [nodes](stage& here) {
    must(make(here, "db", nodes), "a provision");
    here.outside.keep_writing("db");
  };
}

/// The rebuild is over when nothing is left of it; whether it switched or was undone, everything
/// must be there.
workflow rebuilding(const char* name, std::function<void(stage&)> prepare,
                    std::vector<errand> after_it, expectation wanted) {
  std::vector<errand> errands{without_waiting(rebuild("db"))};
  errands.insert(errands.end(), after_it.begin(), after_it.end());
  workflow one{name, std::move(prepare), std::move(errands), {{"db", std::move(wanted)}}};
  one.over = [](const world& outside) { return is_rebuilt(outside, "db"); };
  return one;
}

/// A node's machine is lost during a rebuild: the leader's, or another one.
std::function<void(stage&)> losing_a_cell(bool leaders, model::duration when) {
  return [leaders, when](stage& here) {
    with_a_writer(2)(here);
    here.outside.after(when, [leaders, &outside = here.outside] {
      auto known = outside.record_of("db");
      if (!known)
        return;
      auto leader = outside.leader_of(known->living.scope);
      for (const auto& n : known->living.nodes)
        if ((n.node_id == leader) == leaders) {
          outside.after(40s, [cell = n.cell, &outside] { outside.bring_back(cell); });
          return outside.lose(n.cell);
        }
    });
  };
}

workflow rebuilding_without(const char* name, bool leaders, model::duration when) {
  auto one = rebuilding(name, losing_a_cell(leaders, when), {}, {2});
  // The removal of a node waits for its lost cell, so it does not count here.
  one.over = [](const world& outside) {
    auto known = outside.record_of("db");
    return known && known->rebuilt && !known->is_being_rebuilt()
           && std::ranges::all_of(outside.cells(),
                                  [](const cell& each) { return each.health == manner::well; });
  };
  one.afterwards = bring_all_back;
  one.tune = [](broker_settings& how) { how.repair = {repair_after, 1}; };
  one.cells = 6;
  return one;
}

std::vector<errand> removed_after(model::duration pause) {
  return {after_a_while(deprovision("db"), pause)};
}

std::vector<errand> grown_after(model::duration pause) {
  auto one = after_a_while(resize("db", 3), pause);
  one.patient = true;
  return {one};
}

workflow rebuilding_and_removed(const char* name, model::duration pause) {
  auto one = rebuilding(name, with_a_writer(2), removed_after(pause), {});
  one.expected = {};
  one.over = {};
  return one;
}

void add_rebuilds(std::vector<workflow>& list) {
  list.push_back(rebuilding("rebuild", with_a_writer(2), {}, {2}));
  list.push_back(rebuilding("rebuild-alone", with_a_writer(1), {}, {1}));
  list.push_back(rebuilding("rebuild-bound",
                            [](stage& here) {
                              with_a_binding(here);
                              here.outside.keep_writing("db");
                            },
                            {}, {2, {}, {}, {"b1"}}));
  // The last leader's last writes do not reach the new cluster, so the rebuild is undone.
  list.push_back(rebuilding("rebuild-behind",
                            [](stage& here) {
                              with_a_writer(2)(here);
                              here.outside.followers_miss_the_end = true;
                            },
                            {}, {2, {}, {}, {}, false, false}));
  list.push_back(rebuilding_and_removed("rebuild-delete", 2500ms));
  list.push_back(rebuilding_and_removed("rebuild-delete-later", 5500ms));
  list.push_back(rebuilding("rebuild-grow", with_a_writer(2), grown_after(1s), {3}));
  list.push_back(rebuilding_without("rebuild-lost", false, 2s));
  list.push_back(rebuilding_without("rebuild-lost-leader", true, 2s));
}

std::vector<workflow> all() {
  auto lower = connections("50");
  auto higher = connections("200");
  std::vector<workflow> list;
  list.push_back({"provision", {}, {{provision("db", 2)}}, {{"db", {2}}}});
  list.push_back({"grow", with_nodes(2), {{resize("db", 3)}}, {{"db", {3}}}});
  list.push_back(
      {"move", with_nodes(2), {{move("db", {"c3", "c4"})}}, {{"db", {2, {"c3", "c4"}}}}});
  list.push_back({"deprovision", with_nodes(2), {{deprovision("db")}}, {}});
  list.push_back({"shrink", with_nodes(3), {{resize("db", 2)}}, {{"db", {2}}}});
  list.push_back({"plan-up",
                  with_nodes(2),
                  {{change_plan("db", "large", higher)}},
                  {{"db", {2, {}, higher}}}});
  list.push_back({"plan-down",
                  with_nodes(2),
                  {{change_plan("db", "small", lower)}},
                  {{"db", {2, {}, lower}}}});
  list.push_back({"delete-midway",
                  {},
                  {without_waiting(provision("db", 2)), after_a_while(deprovision("db"), 1200ms)},
                  {}});
  list.push_back({"mitigation", {}, {mitigated(provision("db", 2)), {deprovision("db")}}, {}});
  list.push_back({"bind", with_nodes(2), {{bind("db", "b1")}}, {{"db", {2, {}, {}, {"b1"}}}}});
  list.push_back({"unbind", with_a_binding, {{unbind("db", "b1")}}, {{"db", {2}}}});
  list.push_back({"unbind-unheard",
                  with_a_binding_unheard,
                  {{unbind("db", "b1")}},
                  {{"db", {2}}},
                  {},
                  [](world& outside) { outside.stands_still.clear(); }});
  list.push_back({"rotate-lied-to",
                  with_lying_members,
                  {{rotation()}, {unbind("db", "b1")}},
                  {{"db", {2, {}, {}, {"b2"}}}}});
  list.push_back({"rotate",
                  with_a_binding,
                  {{rotation()}, {unbind("db", "b1")}},
                  {{"db", {2, {}, {}, {"b2"}}}}});
  list.push_back(
      {"bind-unbind", with_nodes(2), {{bind("db", "b1")}, {unbind("db", "b1")}}, {{"db", {2}}}});
  list.push_back({"bind-reader", with_nodes(2), {{reading("b1")}}, {{"db", {2, {}, {}, {"b1"}}}}});
  list.push_back({"deprovision-bound", with_a_reader, {{deprovision("db")}}, {}});
  list.push_back({"move-delete",
                  with_nodes(2),
                  {without_waiting(move("db", {"c3", "c4"})), after_a_while(deprovision("db"), 4s)},
                  {}});
  auto synchronous = connections("200");
  synchronous.synchronous = model::synchronous_mode::on;
  list.push_back({"plan-synchronous",
                  with_nodes(2),
                  {{change_plan("db", "safe", synchronous)}},
                  {{"db", {2, {}, synchronous}}}});
  list.push_back({"provision-elsewhere",
                  [](stage& here) { here.outside.at("c1").orders = manner::failing; },
                  {{provision("db", 2)}},
                  {{"db", {2, {"c2", "c3", "c4"}}}},
                  {},
                  [](world& outside) { outside.at("c1").orders = manner::well; }});
  // The node to be replaced leads, and must hand over first.
  list.push_back({"provision-untold",
                  [](stage& here) { here.outside.at("c1").orders = manner::lying; },
                  {{provision("db", 2)}},
                  {{"db", {2}}},
                  {},
                  [](world& outside) { outside.at("c1").orders = manner::well; }});
  list.push_back({"provision-two",
                  {},
                  {without_waiting(provision("db", 1)), {provision("db2", 1)}},
                  {{"db", {1}}, {"db2", {1}}},
                  {},
                  {},
                  [](broker_settings& how) { how.ports.last = how.ports.first + 1; }});
  list.push_back(
      {"provision-router-still", with_a_router_still, {{provision("db", 1)}}, {{"db", {1}}}});
  list.push_back(
      {"provision-router-dies", with_a_router_that_dies, {{provision("db", 1)}}, {{"db", {1}}}});
  list.push_back({"provision-lost-port", with_ports_taken, {{provision("db", 1)}}, {{"db", {1}}}});
  list.push_back({"move-two-routers",
                  [](stage& here) {
                    add_router(here, "r2", 700ms);
                    must(make(here, "db", 2), "a provision");
                  },
                  {{move("db", {"c3", "c4"})}},
                  {{"db", {2, {"c3", "c4"}}}}});
  list.push_back({"bind-lost-port",
                  [](stage& here) {
                    must(make(here, "db", 1), "a provision");
                    here.outside.routers.at("r1").taken = {30001};
                  },
                  {{reading("b1")}},
                  {{"db", {1, {}, {}, {"b1"}}}}});
  list.push_back({"provision-bootstrap-lost",
                  [](stage& here) { here.outside.bootstraps_lost = 1; },
                  {{provision("db", 2)}},
                  {{"db", {2}}}});
  list.push_back({"provision-never-leads",
                  [](stage& here) { here.outside.firsts_never_lead = 1; },
                  {{provision("db", 1)}},
                  {{"db", {1}}}});
  list.push_back({"provision-unserved",
                  with_a_router_that_lacks,
                  {without_waiting(provision("db", 1)), {provision("db2", 1)}},
                  {{"db", {1}}, {"db2", {1}}}});
  list.push_back({"provision-uncertified",
                  with_cells_that_ask,
                  {{provision("db", 1)}},
                  {{"db", {1}}},
                  {},
                  {},
                  [](broker_settings& how) {
                    how.public_host = "db.example.org";
                    how.cells_by_tls = true;
                  },
                  2});
  list.push_back(repair("repair", false));
  list.push_back(repair("repair-leader", true));
  list.push_back(standing("repair-standing", with_one_standing(2, replaced_after - 2s), {}, {2}));
  list.push_back(standing("shrink-standing", with_one_standing(3), {{resize("db", 2)}}, {2}));
  list.push_back(standing("plan-standing", with_one_standing(2),
                          {{change_plan("db", "large", higher)}}, {2, {}, higher}));
  // The new node never gets any data.
  auto grows_in_vain = [](stage& here) {
    must(make(here, "db", 2), "a provision");
    here.outside.next_nodes_stand = 1;
  };
  list.push_back(unstartable("plan-unstartable", 2));
  list.push_back(unstartable("plan-unstartable-alone", 1));
  list.push_back(unstartable("plan-unstartable-leader", 2, true));
  add_rebuilds(list);
  list.push_back(standing("grow-standing", grows_in_vain, {{resize("db", 3)}}, {3}));
  return list;
}

} // namespace

const std::vector<workflow>& workflows() {
  static const auto list = all();
  return list;
}

} // namespace matriarch::simulation
