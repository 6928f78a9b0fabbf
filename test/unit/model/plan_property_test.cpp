// The plan function must do no harm for any record and observation, and must reach its goal in a
// world without faults.
#include "an_engine.hpp"
#include "model/plan.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

using namespace matriarch::model;
using namespace std::chrono_literals;

namespace {

const wall_time start{1'700'000'000s};

cluster_settings with_connections(int count) {
  cluster_settings settings;
  settings.parameters["max_connections"] = std::to_string(count);
  return settings;
}

/// Cells that do what they are asked, Patroni that makes members, and time that passes.
struct world {
  std::vector<cell_view> cells;
  record known;
  instance_observations observations = nothing_seen();
  cluster_settings configured;       ///< what Patroni was told
  std::map<std::string, int> in_use; ///< connections of each node since its last start
  int next_id = 0;
  bool released = false;
  bool kept_a_leader = true;

  explicit world(int cell_count) {
    for (int i = 0; i < cell_count; ++i) {
      cell_view c;
      c.guid = std::string{"cell"} + static_cast<char>('a' + i);
      c.availability_zone = i % 2 == 0 ? "z1" : "z2";
      c.reachable = true;
      c.capacity = 10;
      cells.push_back(c);
    }
    known.phase = record_phase::accepted;
    known.current.deadline = start + 24h;
    observations.now = start;
  }

  void ask(operation_type type, desired_state wanted) {
    auto before = known.desired;
    known.desired = std::move(wanted);
    known.current = operation{};
    known.current.type = type;
    known.current.deadline = start + 24h;
    if (type == operation_type::update)
      known.current.desired_before = before;
  }

  void elect() {
    auto& seen = observations.living.seen;
    if (seen.leader.empty())
      for (const auto& [id, m] : seen.members)
        if (m.running()) {
          seen.leader = id;
          break;
        }
  }

  void perform(const add_nodes& s) {
    auto chosen = choose_cells(s.where, cells);
    REQUIRE(chosen.shortage.empty());
    std::vector<std::string> ids;
    for (std::size_t i = 0; i < chosen.cells.size(); ++i)
      ids.push_back("n" + std::to_string(++next_id));
    known = with_new_nodes(known, "", ids, chosen.cells, observations.now);
  }
  void perform(const start_node& s) {
    observations.living.confirmed_started.insert(s.node_id);
    observations.living.seen.members[s.node_id].state = "running";
  }
  void perform(const remove_node& s) {
    if (observations.living.seen.leads(s.node_id)) {
      kept_a_leader = kept_a_leader && !known.desired.exists;
      observations.living.seen.leader.clear();
    }
    observations.living.confirmed_removed.insert(s.node_id);
    observations.living.seen.members.erase(s.node_id);
  }
  void perform(const ask_lag&) {
    for (const auto& [id, m] : observations.living.seen.members)
      if (id != observations.living.seen.leader)
        observations.living.lag[id] = 0;
    observations.living.lag_told = true;
  }
  void perform(const failover_from& s) {
    REQUIRE(observations.living.seen.leader == s.from);
    REQUIRE(observations.living.seen.running(s.to));
    observations.living.seen.leader = s.to;
    observations.living.lag.clear();
    observations.living.lag_told = false;
    observations.living.settings.clear();
    in_use[s.from] = std::max(connections(configured), connections_of(s.to)); // it starts again
  }
  void perform(const configure& s) {
    observations.living.configured = s.digest;
    configured = *known.living.taking_up;
  }
  void perform(const ask_settings& s) {
    for (const auto& id : s.node_ids)
      observations.living.settings[id] = {observations.living.configured,
                                          connections_of(id) != connections(configured)};
  }
  void perform(const restart_node& s) {
    bool others_run = std::ranges::all_of(observations.living.seen.members,
                                          [](const auto& one) { return one.second.running(); });
    REQUIRE(others_run);
    take_up(s.node_id);
  }
  void perform(const copy_again&) { FAIL("no copy was under way when its leader changed"); }
  void perform(const scoped_step& s) {
    REQUIRE(s.scope == known.living.scope);
    std::visit([&](const auto& one) { perform(one); }, s.what);
  }
  void perform(const change_port&) { FAIL("no router has said that it cannot open a port"); }
  void perform(const release_port&) { released = true; }
  void perform(const halt_node&) { FAIL("nothing is rebuilt here"); }
  void perform(const resume_node&) { FAIL("nothing is rebuilt here"); }
  void perform(const ask_position&) { FAIL("nothing is rebuilt here"); }
  void perform(const retain&) { FAIL("nothing is rebuilt here"); }
  void perform(const flush&) { FAIL("nothing is rebuilt here"); }
  void perform(const follow&) { FAIL("nothing is rebuilt here"); }
  void perform(const forget_cluster&) { FAIL("nothing is rebuilt here"); }

  static int connections(const cluster_settings& settings) {
    auto found = settings.parameters.find("max_connections");
    return found == settings.parameters.end() ? 100 : std::stoi(found->second);
  }
  /// A new node starts with the cluster's configuration.
  int connections_of(const std::string& node_id) {
    return in_use.emplace(node_id, connections(configured)).first->second;
  }
  /// PostgreSQL's rule: a standby's values are at least its primary's.
  void take_up(const std::string& node_id) {
    in_use[node_id] = connections(configured);
    observations.living.settings.erase(node_id);
    for (const auto& [id, m] : observations.living.seen.members)
      if (id != observations.living.seen.leader)
        CHECK(connections_of(id) >= connections_of(observations.living.seen.leader));
  }

  /// One round: the record is written; the steps are done only if there was nothing to write.
  bool round() {
    observations.now += 1s;
    auto d = decide(known, observations);
    bool wrote = d.write.has_value();
    if (wrote) {
      for (const auto& s : d.steps)
        if (const auto* add = step_as<add_nodes>(s); add != nullptr)
          REQUIRE(d.write->current.state == operation_state::in_progress);
      known = *d.write;
      return true;
    }
    for (const auto& s : d.steps)
      std::visit([&](const auto& one) { perform(one); }, s);
    elect();
    return !d.steps.empty();
  }

  /// Whether there is nothing left to do after that many rounds.
  bool settles(int rounds) {
    for (int i = 0; i < rounds && !released; ++i)
      if (!round())
        return true;
    return released;
  }
};

std::vector<std::string> cells_of(const record& r) {
  std::vector<std::string> guids;
  for (const auto& n : r.living.nodes)
    guids.push_back(n.cell);
  std::sort(guids.begin(), guids.end());
  return guids;
}

constexpr int enough_rounds = 60;

} // namespace

TEST_CASE("without faults every sequence of requests reaches the wanted state") {
  std::mt19937 random{20170417};
  for (int run = 0; run < 100; ++run) {
    CAPTURE(run);
    int cell_count = std::uniform_int_distribution{2, 6}(random);
    auto pick_count = [&] { return std::uniform_int_distribution{1, cell_count}(random); };
    world w{cell_count};
    w.ask(operation_type::provision, {true, pick_count(), {}, {}});
    for (int change = 0; change < 6; ++change) {
      REQUIRE(w.settles(enough_rounds));
      CHECK(w.known.current.state == operation_state::succeeded);
      CHECK(static_cast<int>(w.known.living.nodes.size()) == w.known.desired.node_count);
      const auto& named = w.known.desired.cells;
      for (const auto& guid : cells_of(w.known))
        CHECK((named.empty() || std::find(named.begin(), named.end(), guid) != named.end()));
      REQUIRE(w.known.living.find_node(w.observations.living.seen.leader) != nullptr);
      CHECK(w.observations.living.seen.members.size() == w.known.living.nodes.size());
      CHECK(w.known.living.switching_to.empty());
      CHECK(w.known.living.in_force == w.known.desired.settings);
      for (const auto& n : w.known.living.nodes)
        CHECK(w.connections_of(n.node_id) == world::connections(w.known.desired.settings));
      desired_state next{true, pick_count(), {}, {}};
      if (change % 2 == 1) {
        std::vector<std::string> all;
        for (const auto& c : w.cells)
          all.push_back(c.guid);
        std::shuffle(all.begin(), all.end(), random);
        all.resize(static_cast<std::size_t>(next.node_count));
        next.cells = all;
      }
      next.settings = with_connections(std::uniform_int_distribution{99, 103}(random));
      w.ask(operation_type::update, next);
    }
    CHECK(w.kept_a_leader);
    w.ask(operation_type::deprovision, w.known.desired);
    w.known.desired.exists = false;
    REQUIRE(w.settles(enough_rounds));
    CHECK(w.released);
    CHECK(w.known.living.nodes.empty());
    CHECK(w.observations.living.seen.members.empty());
  }
}

namespace {

/// A random record with random observations, sensible or not.
struct chaos {
  std::mt19937 random;
  bool maybe(int percent) { return std::uniform_int_distribution{1, 100}(random) <= percent; }
  int below(int n) { return std::uniform_int_distribution{0, n - 1}(random); }

  record any_record() {
    record r;
    r.phase = record_phase::accepted;
    r.desired.node_count = 1 + below(4);
    r.desired.exists = maybe(80);
    r.living.had_leader = maybe(60);
    auto& op = r.current;
    op.type = !r.desired.exists ? operation_type::deprovision
              : maybe(50)       ? operation_type::update
                                : operation_type::provision;
    op.state = maybe(70)   ? operation_state::in_progress
               : maybe(50) ? operation_state::succeeded
                           : operation_state::failed;
    op.deadline = start + std::chrono::seconds{below(20)};
    op.switched_over = maybe(20);
    if (op.type == operation_type::update)
      op.desired_before = desired_state{true, 1 + below(4), {}, {}};
    if (op.type == operation_type::provision && maybe(15))
      op.failing_because = "a reason";
    if (maybe(40))
      for (int i = 0; i < r.desired.node_count; ++i)
        r.desired.cells.push_back("cell" + std::to_string(below(5)));
    int nodes = below(6);
    for (int i = 0; i < nodes; ++i) {
      node n{"n" + std::to_string(i), "cell" + std::to_string(below(5)), "s",         "p",
             maybe(80) ? "" : "big",  static_cast<node_phase>(below(3)), std::nullopt};
      if (maybe(30))
        n.start_may_arrive_until = start + std::chrono::seconds{below(20)};
      r.living.nodes.push_back(n);
    }
    if (maybe(20))
      r.living.switching_to = "n" + std::to_string(below(6));
    if (maybe(30))
      r.desired.settings = with_connections(100 + below(3));
    if (maybe(30))
      r.living.taking_up = with_connections(100 + below(3));
    if (maybe(20))
      r.living.in_force.synchronous = synchronous_mode::on;
    return r;
  }

  instance_observations any_observations() {
    auto c = nothing_seen();
    c.now = start + std::chrono::seconds{below(20)};
    for (int i = 0; i < 6; ++i) {
      auto id = "n" + std::to_string(i);
      if (maybe(60))
        c.living.seen.members[id].state = maybe(75) ? "running" : "starting";
      if (maybe(40))
        c.living.lag[id] = maybe(70) ? 0 : 2 * negligible_lag_bytes;
      if (maybe(20))
        c.living.confirmed_removed.insert(id);
      if (maybe(40))
        c.living.confirmed_started.insert(id);
      else if (maybe(10))
        c.living.failed_starts[id] = "refused";
    }
    if (maybe(75))
      c.living.seen.leader = "n" + std::to_string(below(6));
    if (maybe(10))
      c.living.shortage = placement{{}, "none", maybe(50)};
    if (maybe(10))
      c.living.failed_switchover = "no";
    return c;
  }
};

} // namespace

TEST_CASE("for any record and observation, no step goes beyond the written record") {
  chaos any{std::mt19937{4711}};
  for (int run = 0; run < 20'000; ++run) {
    CAPTURE(run);
    auto known = any.any_record();
    auto observations = any.any_observations();
    auto d = decide(known, observations);
    for (const auto& s : d.steps) {
      if (const auto* started = step_as<start_node>(s)) {
        REQUIRE(known.living.find_node(started->node_id) != nullptr);
        REQUIRE(known.living.find_node(started->node_id)->phase == node_phase::placed);
      } else if (const auto* removed = step_as<remove_node>(s)) {
        REQUIRE(known.living.find_node(removed->node_id) != nullptr);
        REQUIRE(known.living.find_node(removed->node_id)->phase == node_phase::removing);
      } else if (const auto* moved = step_as<failover_from>(s)) {
        REQUIRE(moved->to == known.living.switching_to);
        REQUIRE(moved->from == observations.living.seen.leader);
        REQUIRE(moved->from != moved->to);
      } else if (step_as<release_port>(s) != nullptr) {
        REQUIRE(known.living.nodes.empty());
        REQUIRE_FALSE(known.desired.exists);
        REQUIRE_FALSE(d.write.has_value());
      } else if (step_as<add_nodes>(s) != nullptr) {
        REQUIRE(known.desired.exists);
        REQUIRE(step_as<add_nodes>(s)->where.count > 0);
      }
    }
  }
}

TEST_CASE("for any record and observation, the leader of a live instance is not removed") {
  chaos any{std::mt19937{815}};
  for (int run = 0; run < 20'000; ++run) {
    CAPTURE(run);
    auto known = any.any_record();
    auto observations = any.any_observations();
    auto d = decide(known, observations);
    const auto& leader = observations.living.seen.leader;
    const auto* before = known.living.find_node(leader);
    if (!d.write || before == nullptr || before->phase == node_phase::removing)
      continue;
    bool refused = before->phase == node_phase::placed
                   && observations.living.failed_starts.contains(leader)
                   && !observations.living.seen.members.contains(leader);
    bool gives_up = !d.write->desired.exists || !d.write->current.failing_because.empty();
    if (refused || gives_up)
      continue;
    REQUIRE(d.write->living.find_node(leader) != nullptr);
    REQUIRE(d.write->living.find_node(leader)->phase != node_phase::removing);
  }
}

TEST_CASE("for any record and observation, a node leaves the record only after its removal") {
  chaos any{std::mt19937{1848}};
  for (int run = 0; run < 20'000; ++run) {
    CAPTURE(run);
    auto known = any.any_record();
    auto observations = any.any_observations();
    auto d = decide(known, observations);
    std::size_t gone = 0;
    for (const auto& n : known.living.nodes) {
      if (!d.write || d.write->living.find_node(n.node_id) != nullptr)
        continue;
      ++gone;
      REQUIRE(observations.living.confirmed_removed.contains(n.node_id));
      bool buried = std::any_of(d.buried.begin(), d.buried.end(),
                                [&](const auto& b) { return b.which.node_id == n.node_id; });
      REQUIRE(buried);
    }
    REQUIRE(gone == d.buried.size());
  }
}

TEST_CASE("for any record and observation, decisions end when nothing changes any more") {
  chaos any{std::mt19937{1905}};
  for (int run = 0; run < 20'000; ++run) {
    CAPTURE(run);
    auto known = any.any_record();
    auto observations = any.any_observations();
    int writes = 0;
    while (auto next = decide(known, observations).write) {
      known = *next;
      REQUIRE(++writes < 10);
    }
  }
}
