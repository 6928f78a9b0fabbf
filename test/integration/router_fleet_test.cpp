#include "router_platform.hpp"

// Which fleet's etcd a router accepts.
namespace matriarch::router {

TEST_CASE("what another fleet's etcd lists takes no instance off its port") {
  platform all;
  fake_member n1{"n1", address(1), "a"};
  n1.leads(true);
  all.put({{store::keys::shown_fleet, "ours"}});
  all.start();
  auto port = all.port();
  REQUIRE(all.says_that_it_serves(all.add("a", port, {&n1})));
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));

  // Another etcd takes the place of the first while the router runs, at first without a fleet's
  // name.
  all.etcd().stop();
  all.etcd().wipe();
  all.etcd().start();
  CHECK(eventually([&] { return all.has_logged("does not say which fleet"); }));
  CHECK(all.status().etcd == "unreachable");
  CHECK(who_answers(port) == "n1");
  all.put({{store::keys::shown_fleet, "theirs"}});
  CHECK(all.ended() == 1);
  CHECK(all.has_logged("leads to the fleet theirs"));
  CHECK(who_answers(port) == "n1");
  CHECK_FALSE(all.report());

  // It comes after the router has started without any etcd.
  all.etcd().stop();
  all.start();
  all.etcd().start();
  CHECK(all.ended() == 1);
  CHECK(who_answers(port) == "n1");
  CHECK_FALSE(all.report());
}

TEST_CASE("a router without a known fleet serves what an earlier release's etcd lists") {
  platform all;
  fake_member n1{"n1", address(1), "a"};
  n1.leads(true);
  all.start();
  auto port = all.port();
  REQUIRE(all.says_that_it_serves(all.add("a", port, {&n1})));
  CHECK(eventually([&] { return who_answers(port) == "n1"; }));
}

} // namespace matriarch::router
