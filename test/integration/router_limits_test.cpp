#include "router_platform.hpp"

#include <future>

/// What strangers without credentials can do to others.
namespace matriarch::router {

namespace {

/// A record with these connections, of an instance with one member that leads.
platform::keys_and_values keys_with(const std::string& name, int port, fake_member& member,
                                    int max_connections) {
  auto keys = platform::keys_of(name, port, {&member});
  keys.emplace_back("/service/" + name + "/leader", member.name());
  keys.emplace_back("/service/" + name + "/config",
                    R"({"postgresql":{"parameters":{"max_connections":")"
                        + std::to_string(max_connections) + R"("}}})");
  return keys;
}

/// Waits until HAProxy counts that many connections to the node of a port's listen: it counts them
/// for a moment longer than a member sees them.
bool counts(const platform& all, int port, int connections) {
  const haproxy_socket socket{(all.directory() / "data/stats.sock").string()};
  return eventually([&] {
    auto answer =
        socket.ask("show table :node-connections key p" + std::to_string(port), test::patience);
    auto at = answer ? answer->find("conn_cur=") : std::string::npos;
    return connections == (at == std::string::npos ? 0 : std::stoi(answer->substr(at + 9)));
  });
}

} // namespace

TEST_CASE("silent clients reach no database, and keep nobody out") {
  platform all{{}, {}, ", max_connections_per_port: 200, limits: {first_bytes: 1h}"};
  fake_member n1{"n1", address(1), "a"};
  n1.leads(true);
  auto port = all.port();
  all.start();
  REQUIRE(all.says_that_it_serves(all.put(keys_with("a", port, n1, 20))));
  auto processes = all.processes_of_haproxy();
  REQUIRE(processes.size() == 2);
  constexpr int rounds = 4, newcomers = 5;
  for (int round = 0; round < rounds; ++round) {
    // All of them wait when HAProxy goes on: a client that comes then has a place, however many of
    // them HAProxy still has to reject.
    ::kill(processes.back(), SIGSTOP);
    idle_clients silent{port, 1'000, "127.0.0.2"};
    std::vector<std::future<std::string>> answers;
    for (int i = 0; i < newcomers; ++i)
      answers.push_back(std::async(std::launch::async, [&] { return who_answers(port); }));
    ::kill(processes.back(), SIGCONT);
    for (auto& answer : answers)
      CHECK(answer.get() == "n1");
    CHECK(who_answers(port) == "n1");
    REQUIRE(counts(all, port, 0));
  }
  CHECK(n1.connections() == rounds * (newcomers + 1));
}

TEST_CASE("one address that fills port after port keeps nobody out of any") {
  platform all{{}, {}, ", maxconn: 300, max_connections_per_port: 100, limits: {first_bytes: 1h}"};
  all.start();
  std::vector<std::unique_ptr<fake_member>> members;
  std::vector<int> ports;
  for (const auto* name : {"a", "b", "c", "d", "e"}) {
    members.push_back(std::make_unique<fake_member>(
        std::string{"of-"} + name, address(static_cast<int>(members.size()) + 1), name));
    members.back()->leads(true);
    ports.push_back(all.port());
    REQUIRE(all.says_that_it_serves(all.put(keys_with(name, ports.back(), *members.back(), 20))));
  }
  std::vector<std::unique_ptr<idle_clients>> silent;
  for (std::size_t i = 0; i + 1 < ports.size(); ++i)
    silent.push_back(std::make_unique<idle_clients>(ports[i], 250, "127.0.0.2"));
  for (std::size_t i = 0; i < ports.size(); ++i)
    CHECK(who_answers(ports[i]) == members[i]->name());
}

TEST_CASE("a silent client is disconnected when its time is up") {
  platform all{{}, {}, ", max_connections_per_port: 20, limits: {first_bytes: 1s}"};
  fake_member n1{"n1", address(1), "a"};
  n1.leads(true);
  auto port = all.port();
  all.start();
  REQUIRE(all.says_that_it_serves(all.put(keys_with("a", port, n1, 20))));
  idle_clients silent{port, 100, "127.0.0.2"};
  CHECK(eventually([&] { return connection{port, "127.0.0.2"}.name() == "n1"; }));
}

TEST_CASE("clients that send a few bytes get no more of a node than the limit, and leave room for "
          "others") {
  platform all;
  fake_member n1{"n1", address(1), "a"};
  n1.leads(true);
  n1.replicates(true);
  auto port = all.port();
  auto read_only = all.port();
  all.start();
  // Ten of twenty are let through; above nine of them an address gets no more if it has many.
  REQUIRE(all.says_that_it_serves(all.put(keys_with("a", port, n1, 20))));
  {
    idle_clients many{port, 1'000, "127.0.0.2", hello};
    REQUIRE(counts(all, port, 9));
    CHECK(who_answers(port) == "n1");
    CHECK(connection{port, "127.0.0.2"}.name().empty());
    REQUIRE(counts(all, port, 9));
    connection one{port, "127.0.0.3"};
    CHECK(one.works());
    CHECK(connection{port, "127.0.0.4"}.name().empty()); // the port is full
    CHECK(n1.open() <= 10);
  }
  REQUIRE(counts(all, port, 0));
  // On the readers' port, sessions with the leader count for the leader.
  n1.replicates(false);
  REQUIRE(all.says_that_it_serves(all.put({{"/routing/readonly/a", std::to_string(read_only)}})));
  REQUIRE(eventually([&] { return who_answers(read_only) == "n1"; }));
  REQUIRE(counts(all, port, 0));
  idle_clients many{port, 100, "127.0.0.2", hello};
  REQUIRE(counts(all, port, 9));
  {
    // An address that has its share of the leader gets no more of it through the other port.
    idle_clients again{read_only, 100, "127.0.0.2", hello};
    CHECK(eventually([&] { return who_answers(read_only) == "n1"; }));
  }
  REQUIRE(counts(all, port, 9));
  idle_clients more{read_only, 2, "127.0.0.3", hello};
  CHECK(counts(all, port, 10));
  CHECK(who_answers(read_only).empty());
}

TEST_CASE("sessions of a held-back replica are not charged to the others") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"}, n3{"n3", address(3), "a"};
  n1.leads(true);
  n2.replicates(true);
  n3.replicates(true);
  all.start();
  auto read_only = all.port();
  auto keys = keys_with("a", all.port(), n1, 20);
  for (auto* one : {&n2, &n3})
    keys.emplace_back("/service/a/members/" + one->name(), one->announcement());
  keys.emplace_back("/routing/readonly/a", std::to_string(read_only));
  auto with_second = [&](const std::string& how) {
    for (auto& [key, value] : keys)
      if (key == "/service/a/state")
        value = R"({"scope":"a","phase":"accepted","nodes":[{"node_id":"n1"},{"node_id":"n3"},)"
                R"({"node_id":"n2")"
                + how + "}]}";
    return keys;
  };
  REQUIRE(all.says_that_it_serves(all.put(with_second(""))));
  REQUIRE(eventually([&] { return who_answers(read_only) == "n2"; }));
  REQUIRE(eventually([&] { return who_answers(read_only) == "n3"; }));
  REQUIRE(counts(all, read_only, 0));
  idle_clients many{read_only, 10, "127.0.0.2", hello};
  REQUIRE(counts(all, read_only, 10));
  REQUIRE(eventually([&] { return n2.open() + n3.open() == 10; }));
  const auto held = n2.open();
  REQUIRE(held > 0);
  REQUIRE(all.says_that_it_serves(all.put(with_second(R"(,"held_back":true)"))));
  // The others accept ten as before.
  CHECK(eventually([&] { return who_answers(read_only) == "n3"; }));
  REQUIRE(counts(all, read_only, 10));
  idle_clients more{read_only, 20, "127.0.0.2", hello};
  CHECK(counts(all, read_only, 9 + held));
  CHECK(eventually([&] { return n3.open() == 9; }));
}

TEST_CASE("a request to cancel gets through while a port is full") {
  platform all;
  fake_member n1{"n1", address(1), "a"};
  n1.leads(true);
  auto port = all.port();
  all.start();
  REQUIRE(all.says_that_it_serves(all.put(keys_with("a", port, n1, 20))));
  idle_clients many{port, 9, "127.0.0.2", hello};
  REQUIRE(counts(all, port, 9));
  idle_clients other{port, 1, "127.0.0.3", hello};
  REQUIRE(counts(all, port, 10));
  CHECK(who_answers(port).empty());
  const std::string cancel{"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02", 16};
  CHECK(connection{port, "127.0.0.4", cancel}.name() == "n1");
  // PostgreSQL would wait for the rest of these, each in a backend of its own.
  const std::string longer{"\0\0\x27\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02", 16};
  CHECK(connection{port, "127.0.0.4", longer}.name().empty());
  CHECK(connection{port, "127.0.0.4", cancel + "x"}.name().empty());
}

TEST_CASE("routers share a node's connections") {
  platform all;
  fake_member n1{"n1", address(1), "a"};
  n1.leads(true);
  auto port = all.port();
  all.start();
  REQUIRE(all.says_that_it_serves(all.put(keys_with("a", port, n1, 20))));
  REQUIRE(all.says_that_it_serves(all.put({{"/routers/two", "{}"}, {"/routing/port/1", "{}"}})));
  idle_clients many{port, 100, "127.0.0.2", hello};
  REQUIRE(counts(all, port, 4));
  connection one{port, "127.0.0.3"};
  CHECK(one.works());
  CHECK(who_answers(port).empty());
  // The other router has gone.
  REQUIRE(all.says_that_it_serves(all.put({{"/routing/port/1", "{ }"}})));
  all.erase("/routers/two");
  CHECK(eventually([&] { return who_answers(port) == "n1"; }));
}

TEST_CASE("a router that joins opens nothing before the others have reduced their share") {
  platform all;
  fake_member n1{"n1", address(1), "a"};
  n1.leads(true);
  auto port = all.port();
  auto says = [](store::revision serves) {
    return R"({"id":"two","serves":")" + std::to_string(serves) + R"("})";
  };
  all.put({{"/routers/two", says(1)}});
  all.add("a", port, {&n1});
  all.start();
  REQUIRE(eventually([&] { return all.report().has_value(); }));
  // Unless the router has stopped waiting, on a slow machine.
  CHECK((all.processes_of_haproxy().empty()
         || all.has_logged("the other routers have not confirmed")));
  auto at = all.put({{"/routing/port/30001", "{}"}});
  all.put({{"/routers/two", says(at)}});
  CHECK(all.serves(1));
  CHECK(eventually([&] { return who_answers(port) == "n1"; }));
}

TEST_CASE("a router that joins serves at last, whatever the others do") {
  platform all;
  fake_member n1{"n1", address(1), "a"};
  n1.leads(true);
  auto port = all.port();
  all.put({{"/routers/two", R"({"id":"two","serves":"1"})"}});
  all.add("a", port, {&n1});
  all.start();
  CHECK(all.serves(1));
  CHECK(all.has_logged("the other routers have not confirmed"));
}

TEST_CASE("no port can use up all connections, and instances' ports leave some for the broker") {
  http::server broker{{}, [](const http::request&, http::responder to) {
                        to.send({200, "acts", {}});
                      }};
  REQUIRE_FALSE(broker.start());
  auto front = free_port();
  // Six of the connections are for the broker.
  platform all{"broker: {listen: " + std::to_string(front)
                   + ", servers: ['127.0.0.1:" + std::to_string(broker.port()) + "']}\n",
               {},
               ", maxconn: 60, max_connections_per_port: 20, limits: {per_source: 100, "
               "first_bytes: 1h}"};
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "b"}, n3{"n3", address(3), "c"};
  const std::vector<fake_member*> members{&n1, &n2, &n3};
  std::vector<int> ports;
  for (const auto* name : {"a", "b", "c"}) {
    auto* member = members[ports.size()];
    member->leads(true);
    ports.push_back(all.port());
    all.put(keys_with(name, ports.back(), *member, 20));
  }
  all.start();
  REQUIRE(all.serves(3));
  for (std::size_t i = 0; i < 3; ++i)
    REQUIRE(eventually([&] { return who_answers(ports[i]) == members[i]->name(); }));
  auto answers = [&] { return all.fetch(front, "/").body == "acts"; };
  REQUIRE(eventually(answers));
  {
    idle_clients many{ports[0], 100};
    CHECK(eventually([&] { return who_answers(ports[0]).empty(); }));
    CHECK(who_answers(ports[1]) == "n2");
    CHECK(who_answers(ports[2]) == "n3");
    CHECK(answers());
    idle_clients on_the_second{ports[1], 20}, on_the_third{ports[2], 100};
    // 54 are for instances; the 55th is refused at once.
    CHECK(eventually([&] { return who_answers(ports[2]).empty(); }));
    CHECK(answers());
  }
  for (std::size_t i = 0; i < 3; ++i)
    CHECK(eventually([&] { return who_answers(ports[i]) == members[i]->name(); }));
  broker.stop();
}

} // namespace matriarch::router
