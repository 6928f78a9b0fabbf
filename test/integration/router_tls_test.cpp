// Checks by TLS: what a node's Patroni has to show before clients are led to its database.
#include "router_platform.hpp"
#include "tls/certificate.hpp"

namespace matriarch::router {

namespace {

tls::validity today() {
  auto now = std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
  return {now - 24h, now + 24h};
}

tls::key_pair new_authority(const std::string& name) {
  auto made = tls::make_authority(name, today());
  REQUIRE(made.ok());
  return *made;
}

tls::key_pair signed_by(const tls::key_pair& authority, const std::string& name) {
  auto key = tls::make_key();
  REQUIRE(key.ok());
  auto request = tls::make_request(*key);
  REQUIRE(request.ok());
  auto certificate = tls::sign(*request, {name, {name}}, today(), authority);
  REQUIRE(certificate.ok());
  return {*key, *certificate};
}

/// An instance of one node, whose cell has reported whether its Patroni is certified.
void add(platform& all, const std::string& name, int port, fake_member& member, bool certified) {
  auto keys = platform::keys_of(name, port, {&member});
  for (auto& [key, value] : keys)
    if (key == "/service/" + name + "/state")
      value = R"({"scope":")" + name + R"(","phase":"accepted","nodes":[)"
              + member.registered(certified) + "]}";
  all.put(keys);
  member.leads(true);
}

} // namespace

TEST_CASE("a certified node is used only if it shows its certificate, and no pretender is used") {
  auto fleet = new_authority("fleet"), other = new_authority("other");
  fake_member n1{"n1", address(1), "a", signed_by(fleet, "n1")},
      stranger{"n2", address(2), "b", signed_by(other, "n2")},
      namesake{"n3", address(3), "c", signed_by(fleet, "n1")}, plain{"n4", address(4), "d"};
  platform all;
  all.put({{"/routing/authority", fleet.certificate}});
  auto port = all.port(), of_stranger = all.port(), of_namesake = all.port(), of_plain = all.port();
  add(all, "b", of_stranger, stranger, true);
  add(all, "c", of_namesake, namesake, true);
  add(all, "d", of_plain, plain, true);
  add(all, "a", port, n1, true);
  all.start();
  CHECK(eventually([&] { return who_answers(port) == "n1"; }));
  // The other members have been tried as often by now.
  auto checks = n1.checks();
  CHECK(eventually([&] { return n1.checks() >= checks + 3; }));
  CHECK(who_answers(of_stranger).empty());
  CHECK(who_answers(of_namesake).empty());
  CHECK(who_answers(of_plain).empty());
  CHECK(stranger.checks() + namesake.checks() + plain.checks() == 0);

  INFO("a Patroni of another make is used, whoever signed its certificate");
  add(all, "b", of_stranger, stranger, false);
  CHECK(eventually([&] { return who_answers(of_stranger) == "n2"; }));
  CHECK(all.status().reloads == 0);
}

TEST_CASE("a new authority is taken up, and without etcd the last one counts") {
  auto fleet = new_authority("fleet"), other = new_authority("other");
  fake_member n1{"n1", address(1), "a", signed_by(fleet, "n1")},
      n2{"n2", address(2), "b", signed_by(other, "n2")};
  platform all;
  auto first = all.port(), second = all.port();
  add(all, "a", first, n1, true);
  add(all, "b", second, n2, true);
  all.start();
  INFO("the authority is not known yet, as with an earlier release's broker");
  REQUIRE(eventually([&] { return who_answers(first) == "n1" && who_answers(second) == "n2"; }));
  all.put({{"/routing/authority", fleet.certificate}});
  CHECK(eventually([&] { return who_answers(second).empty(); }));
  CHECK(eventually([&] { return who_answers(first) == "n1"; }));
  all.put({{"/routing/authority", other.certificate}});
  CHECK(eventually([&] { return who_answers(second) == "n2" && who_answers(first).empty(); }));
  all.erase("/routing/authority");
  all.end(SIGTERM);
  all.start();
  CHECK(eventually([&] { return who_answers(second) == "n2"; }));
  CHECK(who_answers(first).empty());
}

TEST_CASE("a session goes on when its node's Patroni is certified, and ends with its leader") {
  auto fleet = new_authority("fleet");
  fake_member n1{"n1", address(1), "a", signed_by(fleet, "n1")};
  platform all;
  all.put({{"/routing/authority", fleet.certificate}});
  auto port = all.port();
  add(all, "a", port, n1, false);
  all.start();
  REQUIRE(eventually([&] { return who_answers(port) == "n1"; }));
  connection held{port};
  REQUIRE(held.works());
  add(all, "a", port, n1, true);
  REQUIRE(eventually([&] { return all.status().serves > 0; }));
  auto checks = n1.checks();
  CHECK(eventually([&] { return n1.checks() >= checks + 3; }));
  CHECK(held.works());
  n1.leads(false);
  CHECK(held.ends());
  CHECK(all.status().reloads == 0);
}

} // namespace matriarch::router
