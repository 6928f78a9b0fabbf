// The fleet's authority, and the nodes' certificates that it signs.
#include <doctest/doctest.h>

#include <algorithm>

#include "requests.hpp"
#include "store/authority_json.hpp"
#include "store/keys.hpp"

using namespace matriarch;
using namespace matriarch::simulation;
using namespace std::chrono_literals;
using model::verdict_kind;
namespace keys = store::keys;

namespace {

constexpr const char* public_host = "db.example.org";
/// Cells are listed every minute.
constexpr model::duration a_listing = 70s;

broker_settings certifying() {
  broker_settings how;
  how.public_host = public_host;
  return how;
}

/// With an operator's authority instead of the fleet's own.
broker_settings with_operators_authority(model::wall_time now) {
  auto how = certifying();
  auto made = tls::make_authority("the operator's", {now - 24h, now + 24h * 365});
  REQUIRE_MESSAGE(made.ok(), made.error());
  how.operators = *tls::operators_authority(*made, "");
  return how;
}

store::stored_authorities stored(const world& outside) {
  auto text = outside.etcd.value(keys::authority);
  REQUIRE(text.has_value());
  auto read = store::decode_authorities(*text, *outside.keys_to_read);
  REQUIRE_MESSAGE(read.ok(), read.error());
  return *std::move(read);
}

/// The certificates that a cluster's nodes show, by node id.
std::map<std::string, std::string> shown(world& outside, const std::string& scope) {
  std::map<std::string, std::string> all;
  for (const auto& [id, cell] : outside.nodes_of(scope))
    all[id] = outside.at(cell).nodes.at(id).certificate;
  return all;
}

/// Whether each node shows a certificate of the present authority for the public host, the node's
/// id and its address.
bool all_certified(world& outside, const std::string& scope, const std::string& host) {
  auto by = stored(outside).known;
  for (const auto& [id, cell] : outside.nodes_of(scope)) {
    auto certificate = outside.at(cell).nodes.at(id).certificate;
    if (certificate.empty()
        || tls::is_to_be_renewed(certificate, {host, id, id}, by, outside.now()))
      return false;
  }
  return true;
}

} // namespace

TEST_CASE("a fleet has one authority, made by the active broker and known to the others") {
  stage here{3, certifying()};
  here.pass(1s);
  auto first = stored(here.outside).known;
  REQUIRE(first.all.size() == 1);
  CHECK(first.all[0].until - here.outside.now() >= tls::authority_life - 1min);
  auto other = certifying();
  other.address = "127.0.0.2:8080";
  here.brokers.push_back(std::make_unique<simulated_broker>(here.outside, other));
  here.pass(10s);
  for (const auto& broker : here.brokers) {
    REQUIRE(broker->authority());
    CHECK(broker->authority()->shown(here.outside.now()) == first.shown(here.outside.now()));
  }
  here.restart();
  here.pass(1min);
  CHECK(stored(here.outside).known.shown(here.outside.now()) == first.shown(here.outside.now()));
}

TEST_CASE("an authority is not made twice if its write is not answered") {
  for (auto what : {fault::lost_answer, fault::lost_request, fault::not_done, fault::late}) {
    CAPTURE(static_cast<int>(what));
    stage here{3, certifying()};
    int writes = 0;
    here.outside.fate_of = [&](const store::transaction& asked) {
      bool of_authority = std::ranges::any_of(asked.then, [](const auto& one) {
        const auto* put = std::get_if<store::put>(&one);
        return put != nullptr && put->key == keys::authority;
      });
      return of_authority && ++writes == 1 ? what : fault::none;
    };
    REQUIRE(make(here, "db"));
    here.pass(1min);
    auto signer = stored(here.outside).known;
    CHECK(signer.all.size() == 1);
    CHECK(here.broker().authority()->shown(here.outside.now()) == signer.shown(here.outside.now()));
    // No authority signed anything before it was in etcd.
    CHECK(all_certified(here.outside, "db", public_host));
  }
}

TEST_CASE("an authority that cannot be read is left alone, and nothing is signed") {
  stage here;
  here.brokers.clear();
  here.outside.etcd.put(keys::authority, "{\"authorities\":[]}");
  here.brokers.push_back(std::make_unique<simulated_broker>(here.outside, certifying()));
  here.pass(5min);
  CHECK(here.outside.etcd.value(keys::authority) == "{\"authorities\":[]}");
  CHECK_FALSE(here.broker().authority());
}

TEST_CASE("a node starts with a certificate for the public host, itself and its address") {
  stage here{3, certifying()};
  REQUIRE(make(here, "db"));
  CHECK(all_certified(here.outside, "db", public_host));
  CHECK(here.outside.violations.empty());
  // Certified before the start, and not again without need.
  CHECK(here.outside.orders("key").size() == here.outside.orders("PUT").size());
  auto before = shown(here.outside, "db");
  here.pass(5min);
  CHECK(shown(here.outside, "db") == before);
}

TEST_CASE("a foreign cell, which asks for no certificates, starts nodes as before") {
  stage here{3, certifying()};
  for (auto& cell : here.outside.cells())
    cell.foreign = true;
  REQUIRE(make(here, "db"));
  CHECK(here.outside.orders("certificate").empty());
  CHECK(here.outside.running_nodes("db") == 2);
}

TEST_CASE("nodes without a certificate of the fleet get one when their broker makes an authority") {
  stage here{3}; // as in an earlier release
  REQUIRE(make(here, "db"));
  auto how = certifying();
  here.brokers.clear();
  here.pass(1min);
  here.brokers.push_back(std::make_unique<simulated_broker>(here.outside, how));
  CHECK(here.pass_until(
      [&] {
        return here.outside.etcd.contains(keys::authority)
               && all_certified(here.outside, "db", public_host);
      },
      a_listing));
  CHECK(here.outside.restarts().empty());
}

TEST_CASE("a new public host is soon in all nodes' certificates") {
  stage here{3, certifying()};
  REQUIRE(make(here, "db"));
  auto how = certifying();
  how.public_host = "other.example.org";
  here.brokers.clear();
  here.brokers.push_back(std::make_unique<simulated_broker>(here.outside, how));
  CHECK(here.pass_until([&] { return all_certified(here.outside, "db", how.public_host); },
                        a_listing));
}

TEST_CASE("routers trust the previous signer for an hour") {
  stage here{3, certifying()};
  REQUIRE(make(here, "db"));
  auto before = *here.outside.etcd.value(keys::shown_authority);
  auto how = with_operators_authority(here.outside.now());
  auto later = how.operators.shown(here.outside.now());
  auto told = [&] { return *here.outside.etcd.value(keys::shown_authority); };
  here.brokers.clear();
  here.brokers.push_back(std::make_unique<simulated_broker>(here.outside, how));
  here.pass(1min);
  CHECK(told() == later + before);
  // New bindings outlast the previous signer, so they are given only the new one.
  CHECK(here.broker().authority()->shown(here.outside.now()) == later);
  here.pass(50min);
  CHECK(told() == later + before);
  here.pass(15min);
  CHECK(told() == later);
}

TEST_CASE("nodes change to a new authority once every router trusts it, or after a minute") {
  for (auto pause : {model::duration{20s}, model::duration{24h}}) {
    stage here{3, certifying()};
    REQUIRE(make(here, "db"));
    here.outside.routers.add("slow", pause);
    here.pass(30s);
    auto before = shown(here.outside, "db");
    auto how = with_operators_authority(here.outside.now());
    here.brokers.clear();
    here.brokers.push_back(std::make_unique<simulated_broker>(here.outside, how));
    here.pass(18s);
    CHECK(shown(here.outside, "db") == before);
    CHECK(here.pass_until(
        [&] {
          auto now = shown(here.outside, "db");
          return std::ranges::all_of(now, [&](const auto& one) {
            return tls::is_signed_by(one.second, how.operators.all[0].pair.certificate);
          });
        },
        2 * a_listing));
  }
}

TEST_CASE("certificates are renewed a month before they end, also where that failed at first") {
  stage here{3, certifying()};
  REQUIRE(make(here, "db"));
  auto before = shown(here.outside, "db");
  auto ends = tls::describe(before.begin()->second)->valid.until;
  auto restarted_at = [&](model::duration before_end) {
    here.brokers.clear();
    here.outside.pass(ends - before_end - here.outside.now());
    here.brokers.push_back(std::make_unique<simulated_broker>(here.outside, certifying()));
    here.pass(a_listing);
  };
  restarted_at(std::chrono::days{31});
  CHECK(shown(here.outside, "db") == before);
  for (auto& cell : here.outside.cells())
    cell.orders = manner::failing;
  restarted_at(std::chrono::days{29});
  CHECK(shown(here.outside, "db") == before);
  for (auto& cell : here.outside.cells())
    cell.orders = manner::well;
  here.pass(a_listing);
  CHECK(all_certified(here.outside, "db", public_host));
  CHECK(tls::describe(shown(here.outside, "db").begin()->second)->valid.until > ends);
}

TEST_CASE("a passive broker signs nothing") {
  stage here{3, certifying()};
  REQUIRE(make(here, "db"));
  auto how = certifying();
  how.address = "127.0.0.2:8080";
  how.public_host = "other.example.org";
  here.brokers.push_back(std::make_unique<simulated_broker>(here.outside, how));
  auto before = shown(here.outside, "db");
  here.pass(5min);
  CHECK(shown(here.outside, "db") == before);
}

TEST_CASE("an authority sealed with an older key is sealed again, and stays the same") {
  auto keys_of = [](const std::string& text) {
    return std::make_shared<const store::keyring>(*store::keyring::parse(text));
  };
  auto how = certifying();
  how.keys = keys_of(std::string(64, '1'));
  stage here{3, how};
  here.outside.keys_to_read = how.keys;
  here.pass(1s);
  auto certificate = stored(here.outside).known.all[0].pair.certificate;
  how.keys = keys_of(std::string(64, '2') + "\n" + std::string(64, '1'));
  here.brokers.clear();
  here.brokers.push_back(std::make_unique<simulated_broker>(here.outside, how));
  here.pass(1s);
  here.outside.keys_to_read = keys_of(std::string(64, '2'));
  CHECK(stored(here.outside).known.all[0].pair.certificate == certificate);
}
