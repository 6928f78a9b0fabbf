#include "router_platform.hpp"

#include "router/check.hpp"

/// The router's report in etcd.
namespace matriarch::router {

TEST_CASE("once a router reports that it serves an instance, a connection reaches the leader") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"};
  n1.leads(true);
  all.start();
  auto port = all.port();
  // The port has not been checked by anybody when the router reports it as served.
  auto keys = platform::keys_of("a", port, {&n1, &n2});
  keys.emplace_back("/service/a/leader", "n1");
  auto at = all.put(keys);
  REQUIRE(all.says_that_it_serves(at));
  CHECK(who_answers(port) == "n1");
  CHECK(all.report()->unbound.empty());
  CHECK_FALSE(all.report()->host.empty());
  auto read_only = all.port();
  REQUIRE(all.says_that_it_serves(all.put({{"/routing/readonly/a", std::to_string(read_only)}})));
  CHECK(who_answers(read_only) == "n1");
  REQUIRE(all.says_that_it_serves(all.lead("a", n2)));
  CHECK(who_answers(port) == "n2");
  // Changes without an effect here are reported too, for a broker may wait for them.
  CHECK(all.says_that_it_serves(all.put({{"/routing/port/30001", "{}"}})));
  CHECK(all.says_that_it_serves(all.put({{"/service/a/members/n1", n1.announcement() + " "}})));
}

TEST_CASE("the check of a router does not take another router at its address for itself") {
  platform all;
  all.start();
  REQUIRE(eventually([&] { return all.status().id == "one"; }));
  auto address_found_as = [&](const std::string& id) {
    router_config config;
    config.id = id;
    config.data_dir = (all.directory() / "other").string();
    config.first_port = config.last_port = static_cast<std::uint16_t>(all.last_port());
    config.status_port = static_cast<std::uint16_t>(all.status_port());
    config.etcd.machines = {all.etcd().url()};
    auto found = check(config);
    auto one = std::ranges::find(found.all(), "address", &base::findings::finding::about);
    REQUIRE(one != found.all().end());
    return one->is;
  };
  CHECK(address_found_as("one") == base::findings::weight::good);
  CHECK(address_found_as("another") == base::findings::weight::fault);
}

TEST_CASE(
    "a router with a frozen HAProxy reports nothing new, and everything when HAProxy goes on") {
  platform all;
  fake_member n1{"n1", address(1), "a"};
  n1.leads(true);
  all.start();
  auto port = all.port();
  REQUIRE(all.says_that_it_serves(all.add("a", port, {&n1})));
  auto processes = all.processes_of_haproxy();
  REQUIRE(processes.size() == 2);
  ::kill(processes.back(), SIGSTOP);
  auto at = all.put({{"/routing/port/30001", "{}"}});
  CHECK(eventually([&] { return all.has_logged("HAProxy does not answer"); }));
  CHECK(all.report()->serves < at);
  at = all.erase("/routing/allocation/a");
  CHECK(eventually([&] { return all.status().status == "down"; }));
  CHECK(all.report()->serves < at);
  ::kill(processes.back(), SIGCONT);
  CHECK(all.says_that_it_serves(at));
  CHECK(connection{port}.is_refused());
  CHECK(all.status().reloads == 0);
}

TEST_CASE("a router with a frozen HAProxy reports it although nothing changes") {
  platform all;
  fake_member n1{"n1", address(1), "a"};
  all.start();
  auto at = all.add("a", all.port(), {&n1});
  REQUIRE(all.says_that_it_serves(at));
  CHECK(all.report()->silent.empty());
  auto processes = all.processes_of_haproxy();
  REQUIRE(processes.size() == 2);
  ::kill(processes.back(), SIGSTOP);
  CHECK(eventually([&] { return !all.report()->silent.empty(); }));
  CHECK(all.report()->serves == 0);
  CHECK(all.status().status == "down");
  ::kill(processes.back(), SIGCONT);
  CHECK(eventually([&] { return all.report()->silent.empty() && all.report()->serves >= at; }));
  CHECK(eventually([&] { return all.status().status == "ok"; }));
}

TEST_CASE("a router reports the instances that it cannot serve, and serves the others") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"}, n3{"n3", address(3), "b"};
  all.start();
  auto keys = platform::keys_of("a", all.port(), {&n1, &n2});
  keys.emplace_back("/service/a/leader", "n1");
  auto nowhere = keys;
  for (auto& [key, value] : nowhere)
    if (key == "/service/a/members/n1")
      value =
          R"({"conn_url":"postgres://127.0.0.1:1/","api_url":"http://no-such-host.invalid:2/"})";
  auto unserved = [&] {
    std::vector<std::string> instances;
    const auto said = *all.report();
    for (const auto& one : said.unserved)
      instances.push_back(one.instance);
    return instances;
  };
  REQUIRE(all.says_that_it_serves(all.put(nowhere)));
  REQUIRE(unserved() == std::vector<std::string>{"a"});
  CHECK(all.report()->unserved[0].why.find("node n1 has no address") != std::string::npos);
  REQUIRE(all.says_that_it_serves(all.add("b", all.port(), {&n3})));
  CHECK(unserved() == std::vector<std::string>{"a"});
  CHECK(all.report()->unbound.empty());
  REQUIRE(all.says_that_it_serves(all.put(keys)));
  CHECK(unserved().empty());

  INFO("HAProxy refuses the commands, which are sent again and again");
  fake_member n4{"n4", address(4), "c;d"};
  auto odd = platform::keys_of("c", all.port(), {&n4});
  for (auto& [key, value] : odd)
    if (key == "/service/c/state")
      value.replace(value.find(R"("scope":"c")"), 11, R"("scope":"c;d")");
  odd.emplace_back("/service/c;d/members/n4", n4.announcement());
  odd.emplace_back("/service/c;d/leader", "n4");
  REQUIRE(all.says_that_it_serves(all.put(odd)));
  CHECK(unserved() == std::vector<std::string>{"c"});
  CHECK(all.report()->unbound.empty());
  REQUIRE(all.says_that_it_serves(all.put({{"/routing/port/30001", "{}"}})));
  CHECK(unserved() == std::vector<std::string>{"c"});
}

TEST_CASE(
    "the report of a router that has ended is gone, that of a killed one ends with its lease") {
  platform all;
  all.start();
  REQUIRE(eventually([&] { return all.report().has_value(); }));
  CHECK(all.end(SIGUSR1) == 0);
  CHECK_FALSE(all.report());
  all.start();
  REQUIRE(eventually([&] { return all.report().has_value(); }));
  all.end(SIGKILL);
  CHECK(eventually([&] { return !all.report(); }));
}

TEST_CASE("a second router with an id does not start, and names the holder") {
  platform all;
  all.start();
  REQUIRE(eventually([&] { return all.report().has_value(); }));
  auto first = *all.report();
  CHECK(all.start_another() == 1);
  CHECK(all.has_logged("the router id one is taken: a router on the machine " + first.host));
  CHECK(all.report()->owner == first.owner);
}

TEST_CASE("a router that was killed has its id again at once") {
  platform all;
  all.start();
  REQUIRE(eventually([&] { return all.report().has_value(); }));
  auto owner = all.report()->owner;
  all.end(SIGKILL);
  REQUIRE(all.report()); // its lease lives
  all.start();
  CHECK(all.says_that_it_serves(all.put({{"/routing/port/30001", "{}"}})));
  CHECK(all.report()->owner == owner);
}

TEST_CASE("a router that finds its id taken later ends, and HAProxy goes on serving") {
  platform all;
  fake_member n1{"n1", address(1), "a"};
  n1.leads(true);
  all.start();
  auto port = all.port();
  REQUIRE(all.says_that_it_serves(all.add("a", port, {&n1})));
  auto other = *all.report();
  other.owner = "another";
  other.host = "elsewhere";
  all.put({{store::keys::router(other.id), store::encode_router_report(other)}});
  all.put({{"/routing/port/30001", "{}"}}); // something to report
  CHECK(all.ended() == 1);
  CHECK(all.has_logged("on the machine elsewhere"));
  CHECK(eventually([&] { return who_answers(port) == "n1"; }));
  CHECK(all.report()->host == "elsewhere");
}

} // namespace matriarch::router
