#include "router/placed_routes.hpp"

#include <doctest/doctest.h>

#include <string>

#include "base/event_loop.hpp"
#include "checks.hpp"

namespace matriarch::router {

namespace {

const std::string readable =
    R"({"scope":"a","phase":"accepted","nodes":[{"node_id":"n1"}],"min_reader":1})";
const std::string ahead =
    R"({"scope":"b","phase":"accepted","nodes":[{"node_id":"n9"}],"min_reader":99})";
const std::string member = R"({"conn_url":"postgres://127.0.1.1:5432/postgres",)"
                           R"("api_url":"http://127.0.1.1:8008/patroni","state":"running"})";

/// The instance `a` on port 30001, with its one node.
struct one_instance {
  limit_settings limits;
  routing_table table{known_engines};
  base::event_loop loop;
  placed_routes placed{limits, table};

  one_instance() {
    placed.start(loop, [] {});
    table.put("/routing/allocation/a", "30001");
    table.put("/service/a/members/n1", member);
  }
  ~one_instance() { placed.stop(); }

  void record(const std::string& text) {
    table.put("/service/a/state", text);
    for (const auto& instance : table.take_changes())
      placed.place(instance);
  }
};

} // namespace

TEST_CASE("an instance whose record is too new keeps its route, and is reported") {
  one_instance here;
  here.record(readable);
  auto before = here.placed.wanted().table();
  REQUIRE(before.contains(30001));
  here.record(ahead);
  CHECK(here.placed.wanted().table() == before);
  REQUIRE(here.placed.left_out().size() == 1);
  CHECK(here.placed.left_out()[0].instance == "a");
  here.placed.place_all(2);
  CHECK(here.placed.wanted().table() == before);
  here.record(readable);
  CHECK(here.placed.left_out().empty());
}

TEST_CASE("a restarted router keeps its route too") {
  one_instance here;
  here.table.put("/service/a/state", ahead);
  (void)here.table.take_changes();
  wanted_port last; // as an earlier run left it, without instance names
  last.scope = "a";
  last.servers = {{{"127.0.1.1", 5432}, {"127.0.1.1", 8008}}};
  auto of_another = last;
  here.placed.wanted().replace({{30001, std::make_shared<const wanted_port>(last)},
                                {30002, std::make_shared<const wanted_port>(of_another)}});
  here.placed.place_all(1);
  const auto& now = here.placed.wanted().table();
  REQUIRE(now.contains(30001));
  CHECK(now.at(30001)->instance == "a");
  CHECK(now.at(30001)->servers == last.servers);
  CHECK_FALSE(now.contains(30002));
}

} // namespace matriarch::router
