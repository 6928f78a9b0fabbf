#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "checks.hpp"
#include "router/port_table.hpp"

namespace matriarch::router {

namespace {

std::shared_ptr<const wanted_port> port_of_instance(const std::string& instance,
                                                    const std::string& check = leader_check) {
  wanted_port one;
  one.instance = instance;
  one.check = check;
  return std::make_shared<const wanted_port>(std::move(one));
}

} // namespace

TEST_CASE("a change of an instance's ports is reported, and equal ones stay the same object") {
  wanted_ports wanted;
  wanted.set("a", {{30001, port_of_instance("a")}, {30002, port_of_instance("a")}});
  wanted.set("b", {{30003, port_of_instance("b")}});
  CHECK(wanted.take_changes() == wanted.table());
  CHECK(wanted.take_changes().empty());
  const auto before = wanted.table();

  auto other = port_of_instance("a", replica_check);
  wanted.set("a", {{30001, port_of_instance("a")}, {30002, other}});
  CHECK(wanted.take_changes() == port_table{{30002, other}});
  CHECK(wanted.table().at(30001) == before.at(30001));
  wanted.set("a", {{30002, other}});
  CHECK(wanted.take_changes() == port_table{{30001, nullptr}});
  wanted.set("a", {});
  CHECK(wanted.take_changes() == port_table{{30002, nullptr}});
  CHECK(wanted.table() == port_table{{30003, before.at(30003)}});
}

TEST_CASE("a port that changes hands belongs to the new instance, in either order") {
  for (const auto& order : {std::vector{"a", "b"}, std::vector{"b", "a"}}) {
    wanted_ports wanted;
    wanted.set("a", {{30001, port_of_instance("a")}});
    (void)wanted.take_changes();
    auto now = port_of_instance("b");
    for (const std::string instance : order)
      wanted.set(instance, instance == "b" ? port_table{{30001, now}} : port_table{});
    CHECK(wanted.take_changes() == port_table{{30001, now}});
    wanted.set("a", {});
    CHECK(wanted.table() == port_table{{30001, now}});
  }
}

TEST_CASE("all ports of all instances are replaced") {
  wanted_ports wanted;
  // As found without etcd.
  wanted.replace({{30001, port_of_instance("")}, {30002, port_of_instance("")}});
  (void)wanted.take_changes();
  auto now = port_of_instance("a");
  wanted.replace({{30001, now}});
  auto changes = wanted.take_changes();
  CHECK(changes == port_table{{30001, now}, {30002, nullptr}});
  wanted.set("a", {});
  CHECK(wanted.table().empty());

  INFO("applying the changes gives the same table");
  port_table followed{{30001, port_of_instance("")}, {30002, port_of_instance("")}};
  take_up(followed, changes);
  CHECK(followed == port_table{{30001, now}});
}

} // namespace matriarch::router
