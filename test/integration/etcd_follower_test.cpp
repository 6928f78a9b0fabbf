#include <doctest/doctest.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "awaiting.hpp"
#include "base/base64.hpp"
#include "base/event_loop.hpp"
#include "etcd_server.hpp"
#include "etcd_stand_in.hpp"
#include "store/etcd.hpp"

namespace matriarch::store {

using namespace std::chrono_literals;
using matriarch::test::awaited;
using matriarch::test::etcd_server;

namespace {

/// Everything that a listener got.
struct told {
  std::map<std::string, std::string> keys; ///< the present keys, after all calls
  std::vector<std::pair<std::string, revision>> puts;
  std::set<std::string> erased;
  std::vector<std::pair<bool, std::string>> transitions;
  int listings = 0;
  int pages = 0;
  revision last = 0;
  bool in_order = true;
};

class watcher {
public:
  watcher(etcd_client& etcd, key_range keys, follower::options how = quick()) : loop_(etcd.loop()) {
    follower::listener tell;
    tell.listed = [this](const listing_page& page) {
      state.change([&](told& now) {
        if (page.first)
          now.keys.clear();
        for (const auto& one : page.found)
          now.keys[one.key] = one.value;
        now.listings += page.last ? 1 : 0;
        now.pages += 1;
        now.last = page.at;
      });
    };
    tell.changed = [this](std::vector<change> changes, revision at) {
      state.change([&](told& now) {
        for (auto& one : changes) {
          now.in_order = now.in_order && one.entry.mod_revision >= now.last;
          if (one.what == change::kind::put) {
            now.keys[one.entry.key] = one.entry.value;
            now.puts.emplace_back(one.entry.key, one.entry.mod_revision);
          } else {
            now.keys.erase(one.entry.key);
            now.erased.insert(one.entry.key);
          }
        }
        now.in_order = now.in_order && at > now.last;
        now.last = at;
      });
    };
    tell.reachable = [this](bool is, std::string why) {
      state.change([&](told& now) { now.transitions.emplace_back(is, std::move(why)); });
    };
    follows_ = std::make_unique<follower>(etcd, std::move(keys), std::move(tell), how);
  }

  /// The follower ends on the loop's thread, so that no call can be under way at that time.
  ~watcher() {
    awaited<bool>([this](auto done) {
      loop_.post([this, done] {
        follows_.reset();
        done(true);
      });
    });
  }

  static follower::options quick() {
    follower::options how;
    how.silence_limit = 3s;
    how.first_pause = 20ms;
    how.longest_pause = 200ms;
    return how;
  }

  [[nodiscard]] bool sees(const std::string& key, const std::string& value) {
    return state.becomes([&](const told& now) {
      auto found = now.keys.find(key);
      return found != now.keys.end() && found->second == value;
    });
  }
  [[nodiscard]] bool misses(const std::string& key) {
    return state.becomes([&](const told& now) { return !now.keys.contains(key); });
  }
  [[nodiscard]] bool is_reachable(bool wanted) {
    return state.becomes([&](const told& now) {
      return !now.transitions.empty() && now.transitions.back().first == wanted;
    });
  }

  test::shared_state<told> state;

private:
  base::event_loop& loop_;
  std::unique_ptr<follower> follows_;
};

commit_result written(etcd_client& etcd, const std::string& key, const std::string& value) {
  transaction what;
  what.then = {put{key, value, 0}};
  return awaited<commit_result>([&](auto then) { etcd.commit(what, then); });
}

bool tries_to_write(etcd_client& etcd, const std::string& key, const std::string& value) {
  return written(etcd, key, value).state == commit_state::committed;
}

template <class Condition>
bool eventually(Condition condition) {
  for (auto deadline = std::chrono::steady_clock::now() + test::patience; !condition();)
    if (std::chrono::steady_clock::now() > deadline)
      return false;
  return true;
}

revision write(etcd_client& etcd, const std::string& key, const std::string& value) {
  auto done = written(etcd, key, value);
  REQUIRE_MESSAGE(done.state == commit_state::committed, done.error);
  return done.at;
}

void remove(etcd_client& etcd, const std::string& key) {
  transaction what;
  what.then = {erase{{key, ""}}};
  auto done = awaited<commit_result>([&](auto then) { etcd.commit(what, then); });
  REQUIRE(done.state == commit_state::committed);
}

void compact(base::event_loop& loop, const std::string& url, revision at) {
  base::outgoing what;
  what.verb = "POST";
  what.url = url + "/v3/kv/compaction";
  what.body = R"({"revision":")" + std::to_string(at) + R"(","physical":true})";
  auto answer = awaited<base::outcome>([&](auto done) { loop.send(what, done); });
  REQUIRE(answer.status == 200);
}

} // namespace

TEST_CASE("a follower lists what is there, then brings each change in order") {
  etcd_server server;
  base::event_loop loop;
  etcd_client etcd{loop, {server.url()}};
  write(etcd, "/service/a/state", "1");
  write(etcd, "/other/b", "1");
  watcher seen{etcd, keys_below("/service/")};
  REQUIRE(seen.sees("/service/a/state", "1"));
  REQUIRE(seen.is_reachable(true));
  for (int i = 0; i < 20; ++i)
    write(etcd, "/service/b/state", std::to_string(i));
  remove(etcd, "/service/a/state");
  write(etcd, "/service/c/state", "last");
  REQUIRE(seen.sees("/service/c/state", "last"));
  auto now = seen.state.now();
  CHECK(now.listings == 1);
  CHECK(now.puts.size() == 21);
  CHECK(now.in_order);
  CHECK(now.erased == std::set<std::string>{"/service/a/state"});
  CHECK(now.keys.size() == 2);
  CHECK(now.transitions.size() == 1);
}

TEST_CASE("a transaction's changes arrive in one call") {
  etcd_server server;
  base::event_loop loop;
  etcd_client etcd{loop, {server.url()}};
  watcher seen{etcd, keys_below("/x/")};
  REQUIRE(seen.is_reachable(true));
  // Together they are more than etcd puts into one line.
  transaction what;
  for (int i = 0; i < 40; ++i)
    what.then.emplace_back(put{"/x/" + std::to_string(i), std::string(30'000, 'v'), 0});
  auto one = awaited<commit_result>([&](auto done) { etcd.commit(what, done); });
  REQUIRE(one.state == commit_state::committed);
  REQUIRE(seen.state.becomes([](const told& now) { return !now.puts.empty(); }));
  auto now = seen.state.now();
  CHECK(now.puts.size() == 40);
  CHECK(now.last == one.at);
}

TEST_CASE("a long backlog comes completely, in fragments that end within a revision") {
  etcd_server server;
  base::event_loop loop;
  etcd_client etcd{loop, {server.url()}};
  watcher seen{etcd, keys_below("/x/")};
  REQUIRE(seen.is_reachable(true));
  server.pause();
  REQUIRE(seen.is_reachable(false));
  server.resume();
  REQUIRE(seen.is_reachable(true));
  // Cuts the follower off while much is written, by freezing and by restarting etcd in between.
  for (int round = 0; round < 8; ++round) {
    transaction what;
    for (int i = 0; i < 40; ++i)
      what.then.emplace_back(
          put{"/x/" + std::to_string(i), std::to_string(round) + std::string(30'000, 'v'), 0});
    auto one = awaited<commit_result>([&](auto done) { etcd.commit(what, done); });
    REQUIRE(one.state == commit_state::committed);
    if (round % 3 == 0) {
      server.kill();
      server.start();
    }
  }
  auto end = write(etcd, "/x/end", "end");
  REQUIRE(seen.sees("/x/end", "end"));
  auto now = seen.state.now();
  CHECK(now.puts.size() == 8 * 40 + 1);
  CHECK(now.in_order);
  CHECK(now.last == end);
  CHECK(now.listings == 1);
}

TEST_CASE("a follower misses nothing across a restart of etcd, and lists only once") {
  etcd_server server;
  base::event_loop loop;
  etcd_client etcd{loop, {server.url()}};
  write(etcd, "/service/gone", "1");
  watcher seen{etcd, keys_below("/service/")};
  REQUIRE(seen.is_reachable(true));
  write(etcd, "/service/a", "before");
  REQUIRE(seen.sees("/service/a", "before"));
  server.stop();
  REQUIRE(seen.is_reachable(false));
  server.start();
  write(etcd, "/service/a", "between");
  remove(etcd, "/service/gone");
  write(etcd, "/service/a", "after");
  REQUIRE(seen.sees("/service/a", "after"));
  REQUIRE(seen.misses("/service/gone"));
  REQUIRE(seen.is_reachable(true));
  auto now = seen.state.now();
  CHECK(now.listings == 1);
  CHECK(now.puts.size() == 3);
  CHECK(now.in_order);
  REQUIRE(now.transitions.size() >= 3);
  // Only transitions: they alternate.
  for (std::size_t i = 0; i < now.transitions.size(); ++i)
    CHECK(now.transitions[i].first == (i % 2 == 0));
  CHECK(now.transitions[1].second.find(server.url()) != std::string::npos);
  CHECK(now.transitions[2].second.empty());
}

TEST_CASE("a frozen etcd is noticed, and nothing is missed when it goes on") {
  etcd_server server;
  base::event_loop loop;
  etcd_client etcd{loop, {server.url()}};
  watcher seen{etcd, keys_below("/service/")};
  REQUIRE(seen.is_reachable(true));
  server.pause();
  REQUIRE(seen.is_reachable(false));
  server.resume();
  write(etcd, "/service/a", "after");
  REQUIRE(seen.sees("/service/a", "after"));
  REQUIRE(seen.is_reachable(true));
  CHECK(seen.state.now().listings == 1);
}

TEST_CASE("with the endpoint frozen a follower goes on at the next one") {
  auto members = etcd_server::cluster(3);
  base::event_loop loop;
  etcd_client near{loop, {members[0]->url(), members[1]->url(), members[2]->url()}};
  etcd_client far{loop, {members[1]->url(), members[2]->url()}};
  watcher seen{near, keys_below("/service/")};
  REQUIRE(seen.is_reachable(true));
  members[0]->pause();
  // The frozen member may have led; until another member leads, nothing can be written.
  REQUIRE(eventually([&] { return tries_to_write(far, "/service/a", "elsewhere"); }));
  REQUIRE(seen.sees("/service/a", "elsewhere"));
  REQUIRE(seen.is_reachable(true));
  CHECK(seen.state.now().listings == 1);
  members[0]->resume();
}

TEST_CASE("a follower leaves a member that has lost the quorum") {
  auto members = etcd_server::cluster(2);
  base::event_loop loop;
  etcd_client etcd{loop, {members[0]->url()}};
  watcher seen{etcd, keys_below("/service/")};
  REQUIRE(seen.is_reachable(true));
  members[1]->kill();
  REQUIRE(seen.is_reachable(false));
  members[1]->start();
  REQUIRE(seen.is_reachable(true));
  write(etcd, "/service/a", "after");
  CHECK(seen.sees("/service/a", "after"));
}

TEST_CASE("changes that were compacted away are recovered by a new listing") {
  auto members = etcd_server::cluster(3);
  base::event_loop loop;
  etcd_client near{loop, {members[0]->url()}};
  etcd_client far{loop, {members[1]->url(), members[2]->url()}};
  write(far, "/service/gone", "1");
  write(far, "/service/a", "1");
  watcher seen{near, keys_below("/service/")};
  REQUIRE(seen.is_reachable(true));
  members[0]->kill();
  REQUIRE(seen.is_reachable(false));
  // If the killed member led, nothing can be written during the election.
  REQUIRE(eventually([&] { return tries_to_write(far, "/service/a", "2"); }));
  remove(far, "/service/gone");
  compact(loop, members[1]->url(), write(far, "/service/a", "3"));
  members[0]->start();
  REQUIRE(seen.sees("/service/a", "3"));
  REQUIRE(seen.misses("/service/gone"));
  auto now = seen.state.now();
  CHECK(now.listings == 2);
  CHECK(now.puts.empty());
  write(far, "/service/a", "4");
  CHECK(seen.sees("/service/a", "4"));
  CHECK(seen.state.now().listings == 2);
}

namespace {

/// Puts keys `/service/<number>`, or below another prefix, with values of that size, several in
/// each transaction.
void fill(etcd_client& etcd, int count, std::size_t size, int at_once,
          const std::string& prefix = "/service/") {
  for (int done = 0; done < count;) {
    transaction what;
    for (int i = 0; i < at_once && done < count; ++i, ++done)
      what.then.emplace_back(put{prefix + std::to_string(done), std::string(size, 'v'), 0});
    auto came = awaited<commit_result>([&](auto then) { etcd.commit(what, then); });
    REQUIRE_MESSAGE(came.state == commit_state::committed, came.error);
  }
}

} // namespace

TEST_CASE("more keys than fit into a page are listed in several pages, all of one revision") {
  etcd_server server;
  base::event_loop loop;
  etcd_client etcd{loop, {server.url()}};
  fill(etcd, 4'500, 10, 100);
  watcher seen{etcd, keys_below("/service/")};
  REQUIRE(seen.is_reachable(true));
  auto now = seen.state.now();
  CHECK(now.keys.size() == 4'500);
  CHECK(now.listings == 1);
  CHECK(now.pages == 3);
  CHECK(now.transitions.size() == 1);
}

TEST_CASE("keys with great values are listed in smaller pages, without an outage") {
  etcd_server server;
  base::event_loop loop;
  etcd_client etcd{loop, etcd_access{{server.url()}}, 60s};
  fill(etcd, 60, 1'200'000, 1);
  watcher seen{etcd, keys_below("/service/")};
  REQUIRE(seen.is_reachable(true));
  auto now = seen.state.now();
  CHECK(now.keys.size() == 60);
  CHECK(now.listings == 1);
  CHECK(now.transitions.size() == 1);
}

TEST_CASE("behind keys with great values the pages of a listing grow again") {
  etcd_server server;
  base::event_loop loop;
  etcd_client etcd{loop, etcd_access{{server.url()}}, 60s};
  fill(etcd, 50, 1'200'000, 1, "/service/a/members/");
  fill(etcd, 6'000, 10, 100, "/service/b/");
  watcher seen{etcd, keys_below("/service/")};
  REQUIRE(seen.is_reachable(true));
  auto now = seen.state.now();
  CHECK(now.keys.size() == 6'050);
  CHECK(now.listings == 1);
  // All of them as short as those of the great values would be 190 or more.
  CHECK(now.pages <= 15);
}

TEST_CASE("an etcd that has lost its data is listed again") {
  etcd_server server;
  base::event_loop loop;
  etcd_client etcd{loop, {server.url()}};
  for (int i = 0; i < 10; ++i)
    write(etcd, "/service/a", std::to_string(i));
  watcher seen{etcd, keys_below("/service/")};
  REQUIRE(seen.sees("/service/a", "9"));
  REQUIRE(seen.is_reachable(true));
  server.stop();
  server.wipe();
  server.start();
  write(etcd, "/service/b", "new");
  REQUIRE(seen.sees("/service/b", "new"));
  CHECK(seen.misses("/service/a"));
  CHECK(seen.state.now().listings == 2);
}

TEST_CASE("a quiet range is not listed again, even if much is written beside it") {
  etcd_server server;
  base::event_loop loop;
  etcd_client etcd{loop, {server.url()}};
  write(etcd, "/service/a", "1");
  auto how = watcher::quick();
  how.silence_limit = 3s;
  watcher seen{etcd, keys_below("/service/"), how};
  watcher beside{etcd, keys_below("/beside/")};
  REQUIRE(seen.is_reachable(true));
  // The follower asks how many keys there are: keys that have come, changed, gone and come again.
  write(etcd, "/service/a", "2");
  write(etcd, "/service/new", "1");
  write(etcd, "/service/new", "2");
  write(etcd, "/service/passing", "1");
  remove(etcd, "/service/passing");
  remove(etcd, "/service/a");
  write(etcd, "/service/a", "3");
  REQUIRE(seen.sees("/service/a", "3"));
  const auto puts = seen.state.now().puts.size();
  // Longer than the silence limit.
  for (auto end = std::chrono::steady_clock::now() + 7s; std::chrono::steady_clock::now() < end;)
    write(etcd, "/beside/b", "x");
  auto now = seen.state.now();
  CHECK(now.transitions.size() == 1);
  CHECK(now.listings == 1);
  CHECK(now.puts.size() == puts);
  write(etcd, "/service/a", "4");
  CHECK(seen.sees("/service/a", "4"));
}

TEST_CASE("with the first endpoint dead a follower starts at the second") {
  etcd_server server;
  base::event_loop loop;
  auto dead = "http://127.0.0.1:" + std::to_string(test::free_port());
  etcd_client etcd{loop, {dead, server.url()}};
  write(etcd, "/service/a", "1");
  watcher seen{etcd, keys_below("/service/")};
  REQUIRE(seen.sees("/service/a", "1"));
  REQUIRE(seen.is_reachable(true));
  auto now = seen.state.now();
  REQUIRE(now.transitions.size() == 2);
  CHECK_FALSE(now.transitions[0].first);
  CHECK(now.transitions[0].second.find(dead) != std::string::npos);
}

TEST_CASE("a single key can be followed") {
  etcd_server server;
  base::event_loop loop;
  etcd_client etcd{loop, {server.url()}};
  watcher seen{etcd, {"/matriarch/active", ""}};
  REQUIRE(seen.is_reachable(true));
  write(etcd, "/matriarch/active2", "x");
  write(etcd, "/matriarch/active", "me");
  REQUIRE(seen.sees("/matriarch/active", "me"));
  CHECK(seen.state.now().keys.size() == 1);
}

namespace {

/// A stand-in's store: what it lists, and the revision and number of keys that it reports.
struct played {
  std::string cluster = "1";
  revision at = 5;
  std::string key = "/service/a";
  revision key_at = 5;
  int count = 1;
};

std::string head(const played& now) {
  return R"("header":{"cluster_id":")" + now.cluster + R"(","revision":")" + std::to_string(now.at)
         + R"("})";
}

std::string event(const std::string& key, revision at) {
  return R"({"kv":{"key":")" + base::to_base64(key) + R"(","mod_revision":")" + std::to_string(at)
         + R"(","value":"dg=="}})";
}

/// Plays an etcd whose watches only confirm that they exist.
test::etcd_stand_in::reply play(const std::string& path, const std::string& body,
                                const played& now) {
  if (path == "/v3/watch")
    return {200, R"({"result":{)" + head(now) + R"(,"created":true}})" + "\n",
            test::etcd_stand_in::after::stay};
  // A check for changes asks for keys written after those that the follower has seen.
  auto bound = body.find(R"("min_mod_revision":")");
  bool show = bound == std::string::npos || std::stoll(body.substr(bound + 20)) <= now.key_at;
  return {200,
          "{" + head(now)
              + (show ? R"(,"kvs":[{"key":")" + base::to_base64(now.key) + R"(","mod_revision":")"
                            + std::to_string(now.key_at) + R"(","value":"dg=="}])"
                      : "")
              + R"(,"count":")" + std::to_string(now.count) + R"("})"};
}

} // namespace

TEST_CASE("a watch that exists but brings no changes is left for another endpoint") {
  // The sick endpoint knows of a change in the range, and its watch stays silent.
  played changed{.at = 9};
  SUBCASE("a key was written") {
    changed.key_at = 8;
  }
  SUBCASE("a key was deleted") {
    changed.count = 0;
  }
  test::shared_state<played> sick;
  test::etcd_stand_in first{
      [&](const auto& path, const auto& body) { return play(path, body, sick.now()); }};
  etcd_server second;
  base::event_loop loop;
  etcd_client etcd{loop, {first.url(), second.url()}};
  auto how = watcher::quick();
  how.silence_limit = 3s;
  watcher seen{etcd, keys_below("/service/"), how};
  REQUIRE(seen.is_reachable(true));
  sick.change([&](played& now) { now = changed; });
  REQUIRE(seen.is_reachable(false));
  auto why = seen.state.now().transitions.back().second;
  CHECK(why.find("the watch does not bring the changes") != std::string::npos);
  // The other endpoint is another cluster, so it is listed again.
  REQUIRE(seen.misses("/service/a"));
  CHECK(seen.is_reachable(true));
}

TEST_CASE("a quiet watch is kept while the store's revision grows by changes elsewhere") {
  test::shared_state<played> store;
  test::etcd_stand_in server{[&](const auto& path, const auto& body) {
    store.change([](played& now) { ++now.at; });
    return play(path, body, store.now());
  }};
  base::event_loop loop;
  etcd_client etcd{loop, {server.url()}};
  auto how = watcher::quick();
  how.silence_limit = 3s;
  watcher seen{etcd, keys_below("/service/"), how};
  // One listing, one watch, and many checks.
  REQUIRE(eventually([&] { return server.requests() > 12; }));
  auto now = seen.state.now();
  CHECK(now.listings == 1);
  CHECK(now.transitions.size() == 1);
}

TEST_CASE("fragments are passed on when complete, and not at all if the rest is cut off") {
  test::shared_state<played> store;
  test::etcd_stand_in server{
      [&](const auto& path, const auto& body) { return play(path, body, store.now()); }};
  base::event_loop loop;
  etcd_client etcd{loop, {server.url()}};
  watcher seen{etcd, keys_below("/service/")};
  REQUIRE(seen.is_reachable(true));
  auto line = [&](const std::string& events, bool more) {
    server.push(R"({"result":{)" + head(store.now()) + (more ? R"(,"fragment":true)" : "")
                + R"(,"events":[)" + events + "]}}\n");
  };
  line(event("/service/b", 6), true);
  line(event("/service/c", 6) + "," + event("/service/d", 7), false);
  REQUIRE(seen.sees("/service/d", "v"));
  line(event("/service/e", 8), true);
  server.push(R"({"error":{"grpc_code":14,"message":"etcdserver: no leader"}})");
  server.cut();
  REQUIRE(seen.is_reachable(false));
  auto now = seen.state.now();
  CHECK(now.puts.size() == 3);
  CHECK(now.last == 7);
  CHECK(now.listings == 1);
  CHECK(now.transitions.back().second.find("no leader") != std::string::npos);
}

// -- user and password ----------------------------------------------------------------------------

TEST_CASE("over TLS and with a password a follower goes on when etcd forgets its token") {
  const std::string password = "the root of it all";
  etcd_server server{{.tls = true, .root_password = password}};
  base::event_loop loop;
  etcd_client etcd{loop,
                   {.endpoints = {server.url()},
                    .username = "root",
                    .password = password,
                    .tls = {server.tls().authority()}},
                   20s};
  watcher seen{etcd, keys_below("/service/")};
  REQUIRE(seen.is_reachable(true));
  write(etcd, "/service/a", "before");
  REQUIRE(seen.sees("/service/a", "before"));
  server.stop();
  REQUIRE(seen.is_reachable(false));
  server.start();
  write(etcd, "/service/a", "after");
  REQUIRE(seen.sees("/service/a", "after"));
  REQUIRE(seen.is_reachable(true));
  CHECK(seen.state.now().listings == 1);
}

TEST_CASE("a refused token is no lost connection: a follower goes on with another at once") {
  // The request that meets the refusal.
  std::string refused_path;
  std::string refusal = R"({"error":"etcdserver: invalid auth token","code":16})";
  int status = 401;
  int answered_before = 0;
  SUBCASE("the listing") {
    refused_path = "/v3/kv/range";
  }
  SUBCASE("a check for changes") {
    refused_path = "/v3/kv/range";
    answered_before = 2;
  }
  SUBCASE("the watch") {
    refused_path = "/v3/watch";
    status = 200;
    refusal = R"({"result":{"header":{"cluster_id":"1","revision":"5"},"watch_id":"-1",)"
              R"("created":true,"canceled":true,"cancel_reason":)"
              R"("rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"}})"
              "\n";
  }
  struct counts {
    int tokens = 0;
    int asked = 0;
    bool refused = false;
  };
  test::shared_state<counts> count;
  test::etcd_stand_in server{[&](const auto& path, const auto& body) -> test::etcd_stand_in::reply {
    bool refuse = false;
    count.change([&](counts& now) {
      now.tokens += path == "/v3/auth/authenticate" ? 1 : 0;
      now.asked += path == refused_path ? 1 : 0;
      refuse = path == refused_path && now.asked == answered_before + 1;
      now.refused = now.refused || refuse;
    });
    if (refuse)
      return {status, refusal};
    if (path == "/v3/auth/authenticate")
      return {200, R"({"header":{},"token":"t.1"})"};
    return play(path, body, played{});
  }};
  base::event_loop loop;
  etcd_client etcd{loop, {.endpoints = {server.url()}, .username = "u", .password = "p"}};
  auto how = watcher::quick();
  how.silence_limit = 3s;
  watcher seen{etcd, keys_below("/service/"), how};
  REQUIRE(count.becomes([&](const counts& now) { return now.refused && now.tokens == 2; }));
  // The watch exists, and is checked again.
  REQUIRE(count.becomes([&](const counts& now) { return now.asked > answered_before + 1; }));
  REQUIRE(seen.is_reachable(true));
  auto now = seen.state.now();
  CHECK(now.listings == 1);
  CHECK(now.transitions.size() == 1);
}

TEST_CASE("a follower that waits for a token until the end leaves nothing behind") {
  test::shared_state<int> asked;
  test::etcd_stand_in server{[&](const auto&, const auto&) -> test::etcd_stand_in::reply {
    asked.change([](int& count) { ++count; });
    return {200, "{", test::etcd_stand_in::after::stay}; // and never the rest
  }};
  auto held = std::make_shared<int>();
  std::weak_ptr<int> left = held;
  {
    base::event_loop loop;
    etcd_client etcd{loop, {.endpoints = {server.url()}, .username = "u", .password = "p"}, 60s};
    follower one{etcd,
                 keys_below("/service/"),
                 {.listed = [held = std::move(held)](auto&&...) {},
                  .changed = [](auto&&...) {},
                  .reachable = [](auto&&...) {}},
                 watcher::quick()};
    REQUIRE(asked.becomes([](int count) { return count >= 1; }));
  }
  CHECK(left.expired());
}

TEST_CASE("a follower whose password is wrong says so") {
  etcd_server server{{.root_password = "the root of it all"}};
  base::event_loop loop;
  etcd_client etcd{
      loop, {.endpoints = {server.url()}, .username = "root", .password = "secret-password"}, 20s};
  watcher seen{etcd, keys_below("/service/")};
  REQUIRE(seen.is_reachable(false));
  auto why = seen.state.now().transitions.back().second;
  CHECK(why.find("etcd refuses user \"root\"") != std::string::npos);
  CHECK(why.find("secret") == std::string::npos);
}

TEST_CASE("a follower that may not read its range reports it instead of fetching tokens for ever") {
  etcd_server server{{.root_password = "the root of it all"}};
  server.control({"user", "add", "guest:pw"}, "the root of it all");
  base::event_loop loop;
  etcd_client etcd{loop, {.endpoints = {server.url()}, .username = "guest", .password = "pw"}, 20s};
  watcher seen{etcd, keys_below("/service/")};
  REQUIRE(seen.is_reachable(false));
  CHECK(seen.state.now().transitions.back().second.find("permission denied") != std::string::npos);
}

} // namespace matriarch::store
