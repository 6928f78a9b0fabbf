#include <doctest/doctest.h>

#include <string>

#include "awaiting.hpp"
#include "base/event_loop.hpp"
#include "etcd_server.hpp"
#include "etcd_stand_in.hpp"
#include "store/etcd.hpp"

namespace matriarch::store {

using namespace std::chrono_literals;
using matriarch::test::awaited;
using matriarch::test::etcd_server;

namespace {

commit_result committed(etcd_client& etcd, const transaction& what) {
  return awaited<commit_result>([&](auto done) { etcd.commit(what, done); });
}

range_result found(etcd_client& etcd, const key_range& keys) {
  return awaited<range_result>([&](auto done) { etcd.range(keys, done); });
}

transaction writing(std::string key, std::string value) {
  transaction what;
  what.then = {put{std::move(key), std::move(value), 0}};
  return what;
}

/// A port on which nobody listens.
std::string nobody() {
  return "http://127.0.0.1:" + std::to_string(test::free_port());
}

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("transactions, reads and leases on one etcd") {
  etcd_server server;
  base::event_loop loop;
  etcd_client etcd{loop, {server.url()}};

  SUBCASE("a transaction is committed where its compares hold, and refused where they do not") {
    auto create = writing("/service/db/state", "first");
    create.compares = {absent("/service/db/state")};
    create.otherwise = {read{{"/service/db/state", ""}}, read{keys_below("/nowhere/")}};
    auto made = committed(etcd, create);
    CHECK(made.state == commit_state::committed);
    CHECK(made.error.empty());

    auto again = committed(etcd, create);
    CHECK(again.state == commit_state::refused);
    REQUIRE(again.reads.size() == 2);
    REQUIRE(again.reads[0].size() == 1);
    CHECK(again.reads[0][0].value == "first");
    CHECK(again.reads[0][0].mod_revision == made.at);
    CHECK(again.reads[1].empty());

    auto update = writing("/service/db/state", "second");
    update.compares = {unchanged_since("/service/db/state", made.at)};
    CHECK(committed(etcd, update).state == commit_state::committed);
    CHECK(committed(etcd, update).state == commit_state::refused);

    auto by_value = writing("/service/db/state", "third");
    by_value.compares = {has_value("/service/db/state", "second")};
    CHECK(committed(etcd, by_value).state == commit_state::committed);
    CHECK(committed(etcd, by_value).state == commit_state::refused);
    by_value.compares = {has_value("/service/none/state", "")};
    CHECK(committed(etcd, by_value).state == commit_state::refused);
  }

  SUBCASE("every byte of keys and values comes back, also of large values") {
    std::string odd{"\0\n\"\\\xff/\x7f", 7};
    std::string large(1024 * 1024, 'x');
    CHECK(committed(etcd, writing("/odd/" + odd, odd)).state == commit_state::committed);
    CHECK(committed(etcd, writing("/odd/z", large)).state == commit_state::committed);
    auto all = found(etcd, keys_below("/odd/"));
    REQUIRE(all.ok);
    REQUIRE(all.found.size() == 2);
    CHECK(all.found[0].key == "/odd/" + odd);
    CHECK(all.found[0].value == odd);
    CHECK(all.found[1].key == "/odd/z");
    const bool same = all.found[1].value == large; // not in the CHECK: it would print a megabyte
    CHECK(same);
  }

  SUBCASE("erasing a range erases its keys and no others") {
    for (auto* key : {"/service/db/state", "/service/db/leader", "/service/db2/state"})
      REQUIRE(committed(etcd, writing(key, "x")).state == commit_state::committed);
    transaction remove;
    remove.then = {erase{keys_below("/service/db/")}};
    CHECK(committed(etcd, remove).state == commit_state::committed);
    auto left = found(etcd, keys_below("/service/"));
    REQUIRE(left.ok);
    REQUIRE(left.found.size() == 1);
    CHECK(left.found[0].key == "/service/db2/state");
  }

  SUBCASE(
      "a rejected transaction is certainly not done, and the error says why without the value") {
    auto twice = writing("/a", "secret-value");
    twice.then.emplace_back(put{"/a", "secret-value", 0});
    auto rejected = committed(etcd, twice);
    CHECK(rejected.state == commit_state::not_done);
    CHECK(holds(rejected.error, "a transaction on /a"));
    CHECK(holds(rejected.error, "duplicate key"));
    CHECK(holds(rejected.error, server.url()));
    CHECK_FALSE(holds(rejected.error, "secret"));

    auto leased = writing("/a", "x");
    std::get<put>(leased.then[0]).lease = 4711;
    auto without_lease = committed(etcd, leased);
    CHECK(without_lease.state == commit_state::not_done);
    CHECK(holds(without_lease.error, "lease not found"));
    CHECK(found(etcd, {"/a", ""}).found.empty());
  }

  SUBCASE("a renewed lease keeps its keys; one that is not renewed loses them") {
    auto grant = [&](std::chrono::seconds ttl) {
      return awaited<lease_result>([&](auto done) { etcd.grant_lease(ttl, done); });
    };
    auto keep = [&](lease_id id) {
      return awaited<lease_result>([&](auto done) { etcd.keep_alive(id, done); });
    };
    // A machine that stalls for a moment renews no lease.
    auto kept = grant(8s);
    auto left_alone = grant(2s);
    REQUIRE(kept.is == lease_result::state::held);
    REQUIRE(left_alone.is == lease_result::state::held);
    CHECK(kept.id != left_alone.id);
    CHECK(kept.ttl >= 8s);
    transaction announce;
    announce.then = {put{"/cells/kept", "x", kept.id}, put{"/cells/left", "x", left_alone.id}};
    REQUIRE(committed(etcd, announce).state == commit_state::committed);

    // Until the lease without renewals is gone, and for longer than the other's own ttl.
    auto its_ttl_is_over = std::chrono::steady_clock::now() + kept.ttl + 1s;
    auto deadline = std::chrono::steady_clock::now() + test::patience;
    range_result now;
    do {
      CHECK(keep(kept.id).is == lease_result::state::held);
      now = found(etcd, keys_below("/cells/"));
    } while ((now.found.size() == 2 || std::chrono::steady_clock::now() < its_ttl_is_over)
             && std::chrono::steady_clock::now() < deadline);
    REQUIRE(now.found.size() == 1);
    CHECK(now.found[0].key == "/cells/kept");
    CHECK(now.found[0].lease == kept.id);

    CHECK(keep(left_alone.id).is == lease_result::state::gone);
  }

  SUBCASE("a revoked lease is gone with its keys, also the second time") {
    auto granted = awaited<lease_result>([&](auto done) { etcd.grant_lease(60s, done); });
    transaction announce;
    announce.then = {put{"/cells/c", "x", granted.id}};
    REQUIRE(committed(etcd, announce).state == commit_state::committed);
    for (int time = 0; time < 2; ++time) {
      auto revoked = awaited<lease_result>([&](auto done) { etcd.revoke_lease(granted.id, done); });
      CHECK(revoked.is == lease_result::state::gone);
      CHECK(revoked.error.empty());
    }
    CHECK(found(etcd, {"/cells/c", ""}).found.empty());
    auto renewed = awaited<lease_result>([&](auto done) { etcd.keep_alive(granted.id, done); });
    CHECK(renewed.is == lease_result::state::gone);
  }

  SUBCASE("a transaction on a frozen etcd has an unknown result; it may still be done") {
    etcd_client hasty{loop, {server.url()}, 2s};
    REQUIRE(committed(hasty, writing("/a", "before")).state == commit_state::committed);
    server.pause();
    auto sent = committed(hasty, writing("/a", "secret-value"));
    CHECK(sent.state == commit_state::unknown);
    CHECK(holds(sent.error, "a transaction on /a"));
    CHECK_FALSE(holds(sent.error, "secret"));
    auto unread = found(hasty, {"/a", ""});
    CHECK_FALSE(unread.ok);
    CHECK(holds(unread.error, "a read of /a"));
    auto lease = awaited<lease_result>([&](auto done) { hasty.keep_alive(1, done); });
    CHECK(lease.is == lease_result::state::unreachable);
    CHECK_FALSE(lease.error.empty());
    server.resume();
    CHECK(found(etcd, {"/a", ""}).ok);
  }

  SUBCASE("a client goes on with an etcd that was restarted on the same port") {
    REQUIRE(committed(etcd, writing("/a", "x")).state == commit_state::committed);
    server.stop();
    CHECK(committed(etcd, writing("/a", "y")).state == commit_state::not_done);
    server.start();
    auto read_again = found(etcd, {"/a", ""});
    REQUIRE(read_again.ok);
    REQUIRE(read_again.found.size() == 1);
    CHECK(read_again.found[0].value == "x");
    CHECK(committed(etcd, writing("/a", "z")).state == commit_state::committed);
  }

  SUBCASE("with the first endpoint dead everything goes to the second") {
    etcd_client both{loop, {nobody(), server.url()}};
    CHECK(committed(both, writing("/a", "x")).state == commit_state::committed);
    CHECK(found(both, {"/a", ""}).found.size() == 1);
    auto granted = awaited<lease_result>([&](auto done) { both.grant_lease(5s, done); });
    CHECK(granted.is == lease_result::state::held);
  }

  SUBCASE("with the first endpoint frozen a read goes to the second within its time-out, and a "
          "transaction does with the next call") {
    etcd_server frozen;
    frozen.pause();
    etcd_client reader{loop, {frozen.url(), server.url()}, 5s};
    CHECK(found(reader, {"/a", ""}).ok);
    etcd_client writer{loop, {frozen.url(), server.url()}, 2s};
    CHECK(committed(writer, writing("/a", "x")).state == commit_state::unknown);
    CHECK(committed(writer, writing("/a", "x")).state == commit_state::committed);
  }

  SUBCASE("calls under way are not answered once the client is gone") {
    server.pause();
    bool called = false;
    {
      etcd_client brief{loop, {server.url()}, 200ms};
      brief.range({"/a", ""}, [&](const range_result&) { called = true; });
    }
    // The time of this client runs out later.
    etcd_client other{loop, {server.url()}, 400ms};
    CHECK_FALSE(found(other, {"/a", ""}).ok);
    CHECK_FALSE(called);
  }
}

TEST_CASE("if nobody listens, a transaction is certainly not done") {
  base::event_loop loop;
  auto url = nobody();
  etcd_client etcd{loop, {url, nobody()}};
  auto refused = committed(etcd, writing("/a", "secret-value"));
  CHECK(refused.state == commit_state::not_done);
  CHECK(holds(refused.error, "a transaction on /a"));
  CHECK_FALSE(holds(refused.error, "secret"));
  CHECK_FALSE(found(etcd, {"/a", ""}).ok);
  auto lease = awaited<lease_result>([&](auto done) { etcd.grant_lease(5s, done); });
  CHECK(lease.is == lease_result::state::unreachable);
}

TEST_CASE("an HTTP server that is not etcd is recognised as such") {
  test::etcd_stand_in server{[](const auto&, const auto&) {
    return test::etcd_stand_in::reply{404, "<html>\nnothing here</html>"};
  }};
  base::event_loop loop;
  etcd_client etcd{loop, {server.url()}};
  auto refused = committed(etcd, writing("/a", "x"));
  CHECK(refused.state == commit_state::not_done);
  CHECK(holds(refused.error, server.url() + " answered 404: <html> nothing here"));
}

TEST_CASE("a transaction that may have been done is unknown, and no other endpoint gets it") {
  using stand_in = test::etcd_stand_in;
  stand_in::reply answer;
  SUBCASE("etcd's own time-out") {
    answer = {503, R"({"error":"etcdserver: request timed out","code":14})"};
  }
  SUBCASE("no space, which etcd also says of a transaction that it has just done") {
    answer = {429, R"({"error":"etcdserver: mvcc: database space exceeded","code":8})"};
  }
  SUBCASE("a connection that is cut within the answer") {
    answer = {200, R"({"header":{"revision":"5"},"succ)", stand_in::after::cut};
  }
  SUBCASE("a connection that is cut before the answer") {
    answer = {0, "", stand_in::after::cut};
  }
  SUBCASE("an answer that cannot be read") {
    answer = {200, "{}"};
  }
  stand_in first{[&](const auto&, const auto&) { return answer; }};
  stand_in second{[](const auto&, const auto&) {
    return stand_in::reply{200, R"({"header":{"revision":"6"},"succeeded":true})"};
  }};
  base::event_loop loop;
  etcd_client etcd{loop, {first.url(), second.url()}};
  auto result = committed(etcd, writing("/a", "secret-value"));
  CHECK(result.state == commit_state::unknown);
  CHECK_FALSE(result.error.empty());
  CHECK_FALSE(holds(result.error, "secret"));
  CHECK(first.requests() == 1);
  CHECK(second.requests() == 0);
}

TEST_CASE("a transaction that one endpoint refused before doing anything is done by the next") {
  using stand_in = test::etcd_stand_in;
  std::string why;
  SUBCASE("for want of a leader") {
    why = "etcdserver: no leader";
  }
  SUBCASE("for being overloaded") {
    why = "etcdserver: too many requests";
  }
  stand_in first{[&](const auto&, const auto&) {
    return stand_in::reply{503, R"({"error":")" + why + R"(","code":14})"};
  }};
  stand_in second{[](const auto&, const auto&) {
    return stand_in::reply{200, R"({"header":{"revision":"6"},"succeeded":true})"};
  }};
  base::event_loop loop;
  etcd_client etcd{loop, {first.url(), second.url()}};
  CHECK(committed(etcd, writing("/a", "x")).state == commit_state::committed);
  // The next call does not try the first endpoint again.
  CHECK(committed(etcd, writing("/a", "x")).state == commit_state::committed);
  CHECK(first.requests() == 1);
}

TEST_CASE("a member without a leader does nothing with a transaction and says so at once") {
  auto members = etcd_server::cluster(2);
  base::event_loop loop;
  etcd_client etcd{loop, {members[0]->url()}, 1s};
  REQUIRE(committed(etcd, writing("/a", "x")).state == commit_state::committed);
  members[1]->kill();
  // Until the member has noticed, a transaction waits and its result is unknown.
  auto deadline = std::chrono::steady_clock::now() + test::patience;
  commit_result last;
  do
    last = committed(etcd, writing("/a", "y"));
  while (last.state == commit_state::unknown && std::chrono::steady_clock::now() < deadline);
  CHECK(last.state == commit_state::not_done);
  CHECK(holds(last.error, "no leader"));
}

TEST_CASE("a client without endpoints is refused") {
  base::event_loop loop;
  CHECK_THROWS_AS((etcd_client{loop, std::vector<std::string>{}}), std::invalid_argument);
}

} // namespace matriarch::store
