#include "router_platform.hpp"

/// What happens to connections and routes when HAProxy or the router restarts.
namespace matriarch::router {

TEST_CASE("a router that is killed leaves HAProxy serving, and the next one takes it over") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"};
  n1.leads(true);
  auto port = all.port();
  all.add("a", port, {&n1, &n2});
  all.lead("a", n1);
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  connection held{port};
  all.end(SIGKILL);
  CHECK(held.works());
  CHECK(who_answers(port) == "n1");

  all.start();
  REQUIRE(all.serves(1));
  CHECK(all.status().reloads == 0);
  CHECK(held.works());
  CHECK(all.end(SIGUSR1) == 0);
  CHECK(held.works());

  // The leader changes while there is no router.
  n1.leads(false);
  n2.leads(true);
  all.lead("a", n2);
  all.start();
  CHECK(held.ends());
  CHECK(eventually([&] { return who_answers(port) == "n2"; }));
  CHECK(all.status().reloads == 0);
}

TEST_CASE("HAProxy is restarted when it ends") {
  platform all;
  fake_member n1{"n1", address(1), "a"};
  n1.leads(true);
  auto port = all.port();
  all.add("a", port, {&n1});
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  {
    connection held{port};
    haproxy victim{"/usr/sbin/haproxy", all.directory() / "data"};
    REQUIRE(victim.adopt());
    victim.stop(0ms);
    CHECK(held.ends());
  }
  CHECK(eventually([&] { return who_answers(port) == "n1"; }));
  CHECK(all.serves(1));
}

TEST_CASE("a HAProxy whose master or worker is killed is restarted, and no process of it is left") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, other{"o", address(3), "b"};
  n1.leads(true);
  auto port = all.port();
  all.add("a", port, {&n1});
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  std::vector<pid_t> before;
  auto is_another = [&] {
    auto now = all.processes_of_haproxy();
    return now.size() == 2 && std::none_of(now.begin(), now.end(), [&](pid_t one) {
             return std::count(before.begin(), before.end(), one) > 0;
           });
  };
  auto serves_again = [&] {
    // Many times: a listener that was left behind would get every second connection.
    return eventually(is_another) && eventually([&] { return who_answers(port) == "n1"; })
           && std::all_of(before.begin(), before.end(),
                          [&](pid_t) { return who_answers(port) == "n1"; });
  };
  SUBCASE("the worker") {
    before = all.processes_of_haproxy();
    ::kill(before.back(), SIGKILL);
    CHECK(serves_again());
  }
  SUBCASE("the master") {
    before = all.processes_of_haproxy();
    ::kill(before.front(), SIGKILL);
    CHECK(serves_again());
  }
  SUBCASE("the master of workers that hang, old and current") {
    connection old{port};
    all.reload("b", other);
    before = all.processes_of_haproxy();
    REQUIRE(before.size() == 3);
    for (auto worker : {before[1], before[2]})
      ::kill(worker, SIGSTOP);
    ::kill(before.front(), SIGKILL);
    CHECK(serves_again());
    CHECK(old.ends());
  }
  SUBCASE("the master of a worker that hangs, and the router before it") {
    before = all.processes_of_haproxy();
    all.end(SIGKILL);
    ::kill(before.back(), SIGSTOP);
    ::kill(before.front(), SIGKILL);
    all.start();
    CHECK(serves_again());
  }
  CHECK(eventually([&] { return all.status().status == "ok"; }));
}

TEST_CASE("without etcd the router serves the last known routes, also after a start") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "b"};
  n1.leads(true);
  n2.leads(true);
  auto port = all.port();
  all.add("a", port, {&n1});
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  REQUIRE(all.serves(1));
  connection held{port};
  all.etcd().kill();
  CHECK(eventually([&] { return all.status().etcd == "unreachable"; }));
  CHECK(all.status().status == "degraded");
  CHECK_FALSE(all.status().routes_as_of.empty());
  CHECK(held.works());
  CHECK(who_answers(port) == "n1");
  CHECK(all.end(SIGTERM) == 0);
  CHECK(who_answers(port).empty());

  all.start();
  CHECK(eventually([&] { return who_answers(port) == "n1"; }));
  CHECK(eventually([&] { return all.status().routes == 1; }));
  CHECK(all.status().status == "degraded");
  CHECK_FALSE(all.status().routes_as_of.empty());
  all.etcd().start();
  auto second = all.port();
  CHECK(eventually([&] { return all.status().etcd == "reachable"; }));
  all.add("b", second, {&n2});
  CHECK(eventually([&] { return who_answers(second) == "n2"; }));
  CHECK(all.serves(2));
  CHECK(all.status().routes_as_of.empty());
}

TEST_CASE("a reload ends no session, and sessions from before it end with their leader") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"}, other{"o", address(3), "b"};
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
  connection old{port};
  connection reads{read_only};
  std::map<std::string, int> answers;
  std::jthread asks{[&](const std::stop_token& ending) {
    while (!ending.stop_requested())
      ++answers[who_answers(port)];
  }};
  all.reload("b", other);
  asks.request_stop();
  asks.join();
  CHECK(answers.size() == 1);
  CHECK(answers["n1"] > 0);
  CHECK(old.works());
  CHECK(reads.works());
  CHECK(who_answers(read_only) == "n2");
  CHECK(eventually([&] { return all.status().old_workers == 1; }));
  SUBCASE("another one leads") {
    all.lead("a", n2);
    CHECK(old.ends());
    CHECK(reads.ends());
  }
  SUBCASE("it stands still") {
    n1.freezes(true);
    CHECK(old.ends());
    CHECK(reads.works());
  }
  SUBCASE("the instance is removed") {
    all.remove("a");
    CHECK(old.ends());
    CHECK(reads.ends());
  }
}

TEST_CASE("more members than a port has room for are served after one reload") {
  platform all{{}, {}, ", slots: 1"};
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"};
  n1.leads(true);
  auto port = all.port();
  all.add("a", port, {&n1});
  all.lead("a", n1);
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  connection held{port};
  all.add("a", port, {&n1, &n2});
  n1.leads(false);
  n2.leads(true);
  all.lead("a", n2);
  CHECK(eventually([&] { return who_answers(port) == "n2"; }));
  CHECK(held.ends());
  CHECK(eventually([&] { return all.status().reloads == 1; }));
}

TEST_CASE("an earlier release's HAProxy is taken over by one reload, with its sessions") {
  platform all;
  fake_member n1{"n1", address(1), "a"}, n2{"n2", address(2), "a"};
  n1.leads(true);
  auto port = all.port();
  auto data = all.directory() / "data";
  std::filesystem::create_directories(data);
  auto config = (data / "haproxy.cfg").string();
  // As that release wrote it.
  std::ofstream{config}
      << "global\n    description routes-0123456789abcdef\n    maxconn 100\n"
      << "    hard-stop-after 3600000ms\n    mworker-max-reloads 50\n"
      << "    stats socket " << data.string()
      << "/stats.sock mode 600 level operator\n\ndefaults\n    mode tcp\n"
      << "    timeout connect 2s\n    timeout client 24d\n    timeout server 24d\n\n"
      << "listen a\n    bind 127.0.0.1:" << port << "\n    server n1 " << address(1) << ":5432\n";
  auto started = ::fork();
  if (started == 0) {
    ::execl("/usr/sbin/haproxy", "haproxy", "-W", "-S", (data / "master.sock,mode,600").c_str(),
            "-f", config.c_str(), nullptr);
    ::_exit(127);
  }
  std::string stat;
  std::ifstream in{"/proc/" + std::to_string(started) + "/stat"};
  for (int field = 0; field < 22; ++field)
    in >> stat;
  std::ofstream{data / "haproxy.pid"} << started << " " << stat << "\n";
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  connection held{port};
  REQUIRE(held.works());

  all.add("a", port, {&n1, &n2});
  all.lead("a", n1);
  all.start();
  CHECK(eventually([&] { return all.status().reloads == 1; }));
  CHECK(all.serves(1));
  CHECK(eventually([&] { return who_answers(port) == "n1"; }));
  // Each change is followed by a look at the old worker, so it has been looked at once the last
  // change is served.
  CHECK(eventually([&] { return all.status().old_workers == 1; }));
  for (const auto* instance : {"x", "y", "z"})
    CHECK(all.says_that_it_serves(all.put({{"/routing/port/30001", instance}})));
  CHECK(held.works());
  CHECK(all.status().unbound.empty());
  n1.leads(false);
  n2.leads(true);
  all.lead("a", n2);
  CHECK(held.ends());
  CHECK(eventually([&] { return who_answers(port) == "n2"; }));
  CHECK(all.status().reloads == 1);
  all.end(SIGTERM);
  ::waitpid(started, nullptr, 0);
}

} // namespace matriarch::router
