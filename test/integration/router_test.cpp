#include "router_platform.hpp"

namespace matriarch::router {

TEST_CASE("an instance's port follows its leader, and refuses connections when the instance goes") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"};
  n1.leads(true);
  auto port = all.port();
  all.add("a", port, {&n1, &n2});
  all.lead("a", n1);
  all.start();
  CHECK(eventually([&] { return who_answers(port) == "n1"; }));

  connection held{port};
  CHECK(held.works());
  n1.leads(false);
  n2.leads(true);
  all.lead("a", n2);
  CHECK(held.ends());
  CHECK(eventually([&] { return who_answers(port) == "n2"; }));

  connection other{port};
  all.erase("/service/a/state");
  CHECK(all.serves(0));
  CHECK(other.ends());
  CHECK(connection{port}.is_refused());
  CHECK(connection{all.last_port()}.is_refused());
  CHECK(all.status().reloads == 0);
  CHECK(all.end(SIGTERM) == 0);
  haproxy left{"/usr/sbin/haproxy", all.directory() / "data"};
  CHECK_FALSE(left.adopt());
}

TEST_CASE("instances come and go without a reload, and end no session of another one") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"}, other{"o", address(3), "b"};
  n1.leads(true);
  n2.replicates(true);
  other.leads(true);
  auto port = all.port();
  auto read_only = all.port();
  all.add("a", port, {&n1, &n2});
  all.add_read_only_port("a", read_only);
  all.lead("a", n1);
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  REQUIRE(eventually([&] { return who_answers(read_only) == "n2"; }));
  std::vector<std::unique_ptr<connection>> held;
  for (int i = 0; i < 10; ++i) {
    held.push_back(std::make_unique<connection>(port));
    held.push_back(std::make_unique<connection>(read_only));
  }
  const int first = all.port();
  for (int i = 0; i < 30; ++i) {
    auto name = "b" + std::to_string(i);
    auto at = all.put([&] {
      auto keys = platform::keys_of(name, first + i, {&other});
      keys.emplace_back("/service/" + name + "/leader", other.name());
      // Its Patroni answers for the scope b.
      for (auto& [key, value] : keys)
        if (key.ends_with("/state"))
          value.replace(value.find(name), name.size(), "b");
      keys.emplace_back("/service/b/members/o", other.announcement());
      keys.emplace_back("/service/b/leader", "o");
      return keys;
    }());
    REQUIRE(all.says_that_it_serves(at));
    CHECK(who_answers(first + i) == "o");
    all.remove(name);
  }
  CHECK(all.serves(1));
  for (int i = 0; i < 30; ++i)
    CHECK(connection{first + i}.is_refused());
  for (auto& one : held)
    CHECK(one->works());
  CHECK(all.status().reloads == 0);
  CHECK(all.processes_of_haproxy().size() == 2);
}

TEST_CASE("a leader change in etcd takes effect before any check, and whatever the checks say") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"};
  n1.leads(true);
  auto port = all.port();
  auto read_only = all.port();
  all.add("a", port, {&n1, &n2});
  all.add_read_only_port("a", read_only);
  n2.replicates(true);
  all.lead("a", n1);
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  REQUIRE(eventually([&] { return who_answers(read_only) == "n2"; }));
  connection held{port};
  connection reads{read_only};
  // Both Patronis still give their old answers.
  REQUIRE(all.says_that_it_serves(all.lead("a", n2)));
  CHECK(held.ends());
  CHECK(reads.ends());
  auto before = n1.checks();
  for (int i = 0; i < 10 || n1.checks() < before + 3; ++i)
    CHECK(who_answers(port) != "n1");
  // Both learn of the change, and HAProxy follows their checks again, also back again without a
  // router.
  n1.leads(false);
  n2.leads(true);
  n2.replicates(false);
  n1.replicates(true);
  CHECK(eventually([&] { return who_answers(port) == "n2"; }));
  CHECK(eventually([&] { return who_answers(read_only) == "n1"; }));
  before = n1.checks();
  REQUIRE(eventually([&] { return n1.checks() > before + 6; }));
  all.end(SIGKILL);
  connection again{port};
  n2.leads(false);
  n1.leads(true);
  CHECK(again.ends());
  CHECK(eventually([&] { return who_answers(port) == "n1"; }));
}

TEST_CASE("a session ends when its server is frozen, before another one leads") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"};
  n1.leads(true);
  n2.replicates(true);
  auto port = all.port();
  auto read_only = all.port();
  all.add("a", port, {&n1, &n2});
  all.add_read_only_port("a", read_only);
  all.lead("a", n1);
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  REQUIRE(eventually([&] { return who_answers(read_only) == "n2"; }));
  connection writes{port};
  connection reads{read_only};
  // A vanished leader key alone has no effect.
  all.erase("/service/a/leader");
  CHECK(writes.works());
  n1.freezes(true);
  CHECK(writes.ends());
  CHECK(reads.works());
  n2.freezes(true);
  CHECK(reads.ends());
}

TEST_CASE("while a router hangs HAProxy follows the leader, and the router catches up afterwards") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"};
  n1.leads(true);
  auto port = all.port();
  all.add("a", port, {&n1, &n2});
  all.lead("a", n1);
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  connection held{port};
  all.freeze(true);
  n1.leads(false);
  n2.leads(true);
  auto at = all.lead("a", n2);
  CHECK(held.ends());
  CHECK(eventually([&] { return who_answers(port) == "n2"; }));
  all.freeze(false);
  CHECK(all.says_that_it_serves(at));
  CHECK(who_answers(port) == "n2");
}

TEST_CASE("a port that another program uses is left out until it is free and wanted") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "b"};
  n1.leads(true);
  n2.leads(true);
  auto taken = all.port();
  auto unwanted = all.port();
  auto other = std::make_unique<taken_port>(taken);
  auto another = std::make_unique<taken_port>(unwanted);
  auto port = all.port();
  all.start();
  CHECK(eventually([&] { return all.status().unbound == std::vector<int>{taken, unwanted}; }));
  auto at = all.add("a", taken, {&n1});
  all.add("b", port, {&n2});
  CHECK(eventually([&] { return who_answers(port) == "n2"; }));
  REQUIRE(all.says_that_it_serves(at));
  CHECK(all.report()->unbound
        == std::vector<std::uint16_t>{static_cast<std::uint16_t>(taken),
                                      static_cast<std::uint16_t>(unwanted)});
  CHECK(eventually([&] {
    auto now = all.status();
    return now.left_out == std::vector<std::string>{"a"} && now.status == "degraded"
           && now.routes == 1;
  }));
  another.reset();
  // No instance wants it: the router reports it as free, and does not reload HAProxy for it.
  CHECK(eventually([&] { return all.status().unbound == std::vector<int>{taken}; }));
  CHECK(all.status().reloads == 0);
  connection held{port};
  other.reset();
  CHECK(all.serves(2));
  CHECK(eventually([&] { return who_answers(taken) == "n1"; }));
  CHECK(held.works());
  CHECK(eventually([&] { return all.report()->unbound.empty(); }));
}

TEST_CASE("a port out of the range is served, by a reload") {
  platform all;
  fake_member n1{"n1", address(1), "a"};
  n1.leads(true);
  auto port = free_port();
  all.start();
  REQUIRE(all.serves(0));
  all.add("a", port, {&n1});
  CHECK(eventually([&] { return who_answers(port) == "n1"; }));
  CHECK(eventually([&] { return all.status().reloads == 1; }));
}

TEST_CASE("a node whose host has no address is left out, the others are served") {
  platform all;
  fake_member n1{"n1", address(1), "b"};
  n1.leads(true);
  auto port = all.port();
  all.add("a", all.port(), {&n1});
  all.put({{"/service/a/members/n1", R"({"conn_url":"postgres://127.0.0.1:1/",)"
                                     R"("api_url":"http://no-such-host.invalid:2/"})"}});
  all.add("b", port, {&n1});
  all.start();
  CHECK(eventually([&] { return who_answers(port) == "n1"; }));
  CHECK(eventually([&] { return all.status().left_out == std::vector<std::string>{"a"}; }));
}

TEST_CASE("a new member is not used before its first check") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"};
  all.start();
  REQUIRE(all.serves(0));
  auto port = all.port();
  all.add("a", port, {&n1});
  // From before the port opens until the member has been checked twice.
  while (n1.checks() < 2)
    (void)who_answers(port);
  CHECK(n1.connections() == 0);
  n1.leads(true);
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  all.add("a", port, {&n1, &n2});
  while (n2.checks() < 2)
    CHECK(who_answers(port) != "n2");
  CHECK(n2.connections() == 0);
}

TEST_CASE("a member of another scope at a member's old address is never used") {
  platform all;
  fake_member stranger{"n1", address(1), "stranger"}, n2{"n2", address(2), "a"};
  stranger.leads(true);
  auto port = all.port();
  all.add("a", port, {&stranger, &n2});
  all.start();
  REQUIRE(eventually([&] { return stranger.checks() > 2 && n2.checks() > 2; }));
  CHECK(who_answers(port).empty());
  n2.leads(true);
  REQUIRE(eventually([&] { return who_answers(port) == "n2"; }));
  CHECK(stranger.connections() == 0);
}

TEST_CASE("a router reaches etcd by TLS and as a user") {
  etcd_server::options how;
  how.tls = true;
  how.root_password = "secret-of-root";
  platform all{{}, how};
  fake_member n1{"n1", address(1), "a"};
  n1.leads(true);
  auto port = all.port();
  all.add("a", port, {&n1});
  all.start();
  CHECK(eventually([&] { return who_answers(port) == "n1"; }));
  CHECK_FALSE(all.has_logged("secret-of-root"));
}

TEST_CASE("a read-only port leads to the replicas, and to the leader while none is up") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"}, n3{"n3", address(3), "a"};
  n1.leads(true);
  auto port = all.port();
  auto read_only = all.port();
  all.add("a", port, {&n1, &n2, &n3});
  all.lead("a", n1);
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  all.add_read_only_port("a", read_only);
  CHECK(eventually([&] { return who_answers(read_only) == "n1"; }));
  // HAProxy serves a port a moment before the router reports it.
  CHECK(eventually([&] { return all.status().read_only_routes == 1; }));
  CHECK(all.serves(1));

  n2.replicates(true);
  REQUIRE(eventually([&] { return who_answers(read_only) == "n2"; }));
  connection held{read_only};
  CHECK(held.name() == "n2");
  for (int i = 0; i < 10; ++i)
    CHECK(who_answers(read_only) == "n2");
  n3.replicates(true);
  REQUIRE(eventually([&] { return who_answers(read_only) == "n3"; }));
  std::map<std::string, int> shares;
  std::vector<std::unique_ptr<connection>> many;
  for (int i = 0; i < 9; ++i) {
    many.push_back(std::make_unique<connection>(read_only));
    ++shares[many.back()->name()];
  }
  CHECK(shares["n2"] >= 3);
  CHECK(shares["n3"] >= 3);

  n2.replicates(false);
  CHECK(held.ends());
  n3.replicates(false);
  CHECK(eventually([&] { return who_answers(read_only) == "n1"; }));
  CHECK(who_answers(port) == "n1");

  all.erase("/routing/readonly/a");
  CHECK(eventually([&] { return who_answers(read_only).empty(); }));
  CHECK(who_answers(port) == "n1");
}

TEST_CASE("a held-back replica gets no new sessions, and keeps the sessions that it has") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"};
  n1.leads(true);
  n2.replicates(true);
  all.start();
  auto port = all.port();
  auto read_only = all.port();
  all.add("a", port, {&n1, &n2});
  all.add_read_only_port("a", read_only);
  all.lead("a", n1);
  REQUIRE(eventually([&] { return who_answers(read_only) == "n2"; }));
  connection report{read_only};
  auto hold = [&](const std::string& how) {
    return all.put({{"/service/a/state", R"({"scope":"a","phase":"accepted","nodes":[)"
                                         R"({"node_id":"n1"},{"node_id":"n2")"
                                             + how + "}]}"}});
  };
  REQUIRE(all.says_that_it_serves(hold(R"(,"held_back":true)")));
  CHECK(who_answers(read_only) == "n1");
  CHECK(report.works());
  REQUIRE(all.says_that_it_serves(hold("")));
  CHECK(who_answers(read_only) == "n2");
  CHECK(report.works());
}

TEST_CASE("a replica of another scope at a member's old address is never read from") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, stranger{"n2", address(2), "stranger"};
  n1.leads(true);
  stranger.replicates(true);
  auto read_only = all.port();
  all.add("a", all.port(), {&n1, &stranger});
  all.add_read_only_port("a", read_only);
  all.start();
  REQUIRE(eventually([&] { return who_answers(read_only) == "n1"; }));
  auto before = stranger.checks();
  REQUIRE(eventually([&] { return stranger.checks() > before + 4; }));
  CHECK(who_answers(read_only) == "n1");
  CHECK(stranger.connections() == 0);
}

TEST_CASE("members are found among any number of keys that no record lists") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"};
  n1.leads(true);
  // Keys that a superuser of the instance can write, with names that sort before the members'.
  auto crowd = [&](const std::string& of) {
    for (int first = 0; first < 300; first += 100) {
      platform::keys_and_values keys;
      for (int i = first; i < first + 100; ++i)
        keys.emplace_back("/service/a/members/" + of + std::to_string(i), n1.announcement());
      all.put(keys);
    }
  };
  crowd("a");
  auto port = all.port();
  all.add("a", port, {&n1});
  all.lead("a", n1);
  all.start();
  CHECK(eventually([&] { return who_answers(port) == "n1"; }));

  INFO("also a member that is announced before the record lists it");
  crowd("b");
  all.put({{"/service/a/members/n2", n2.announcement()}});
  n1.leads(false);
  n2.leads(true);
  all.put({{"/service/a/state", R"({"scope":"a","phase":"accepted",)"
                                R"("nodes":[{"node_id":"n1"},{"node_id":"n2"}]})"}});
  all.lead("a", n2);
  CHECK(eventually([&] { return who_answers(port) == "n2"; }));
}

TEST_CASE("if only one of an instance's two ports is free, that port is served") {
  platform all;
  fake_member n1{"n1", address(1), "a"};
  n1.leads(true);
  n1.replicates(true);
  auto port = all.port();
  auto number = all.port();
  auto read_only = std::make_unique<taken_port>(number);
  all.add("a", port, {&n1});
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  all.add_read_only_port("a", number);
  CHECK(eventually([&] { return all.status().left_out == std::vector<std::string>{"a"}; }));
  CHECK(who_answers(port) == "n1");
  CHECK(all.status().routes == 1);
  CHECK(all.status().read_only_routes == 0);
  read_only.reset();
  CHECK(eventually([&] { return who_answers(number) == "n1"; }));

  // The other way round, from the start.
  CHECK(all.end(SIGTERM) == 0);
  taken_port taken{all.port()};
  all.put({{"/routing/allocation/a", std::to_string(taken.number())}});
  all.start();
  CHECK(eventually([&] { return who_answers(number) == "n1"; }));
  n1.replicates(false);
  CHECK(eventually([&] { return who_answers(number) == "n1"; }));
  CHECK(eventually([&] {
    auto now = all.status();
    return now.read_only_routes == 1 && now.routes == 0;
  }));
}

} // namespace matriarch::router
