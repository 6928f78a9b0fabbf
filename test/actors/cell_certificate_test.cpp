// The certificates of cells: who gets one, and what happens to cells without.
#include <doctest/doctest.h>

#include <algorithm>

#include "base/json.hpp"
#include "requests.hpp"
#include "store/authority_json.hpp"
#include "store/cell_json.hpp"
#include "store/keys.hpp"

using namespace matriarch;
using namespace matriarch::simulation;
using namespace std::chrono_literals;
using model::verdict_kind;
namespace keys = store::keys;

namespace {

broker_settings by_tls() {
  broker_settings how;
  how.public_host = "db.example.org";
  how.cells_by_tls = true;
  return how;
}

/// Soon enough for a waiting cell.
constexpr model::duration soon = 1s;

std::optional<store::cell_word> word_for(const world& outside, const std::string& guid) {
  return store::decode_cell_word(outside.etcd.value(keys::cell_certificate(guid)).value_or(""));
}

std::string certificate_of(const world& outside, const std::string& guid) {
  auto word = word_for(outside, guid);
  return word ? word->certificate : "";
}

bool is_certified(world& outside, const std::string& guid) {
  return tls::belong_together({outside.at(guid).key, certificate_of(outside, guid)});
}

tls::authorities authorities_in(const world& outside) {
  auto read = store::decode_authorities(outside.etcd.value(keys::authority).value_or(""),
                                        *outside.keys_to_read);
  REQUIRE_MESSAGE(read.ok(), read.error());
  return read->known;
}

model::cell_view seen(simulated_broker& broker, const std::string& guid) {
  auto all = broker.cells();
  auto found = std::ranges::find(*all, guid, &model::cell_view::guid);
  REQUIRE(found != all->end());
  return *found;
}

bool all_reachable(simulated_broker& broker) {
  return std::ranges::all_of(*broker.cells(), &model::cell_view::reachable);
}

} // namespace

TEST_CASE("a cell's request is signed for just that cell, and again for another key") {
  stage here{3, by_tls()};
  here.pass(1s);
  here.outside.announce("c1");
  REQUIRE(here.pass_until([&] { return is_certified(here.outside, "c1"); }, soon));
  auto certificate = certificate_of(here.outside, "c1");
  CHECK(tls::describe(certificate)->hosts == std::set{tls::cell_host("c1"), std::string{"cell1"}});
  CHECK(tls::is_signed_by(certificate, authorities_in(here.outside).all[0].pair.certificate));
  here.outside.announce("c1");
  CHECK(here.pass_until([&] { return is_certified(here.outside, "c1"); }, soon));
  // The certificate stays until something changes, and is restored if its key is removed.
  auto before = certificate_of(here.outside, "c1");
  here.pass(30min);
  CHECK(certificate_of(here.outside, "c1") == before);
  here.outside.etcd.erase(keys::cell_certificate("c1"));
  CHECK(here.pass_until([&] { return is_certified(here.outside, "c1"); }, soon));
}

TEST_CASE("a request at one cell's key never gets a certificate that names another cell") {
  stage here{3, by_tls()};
  here.pass(1s);
  auto key = *tls::make_key();
  here.outside.etcd.put(keys::cell("c1"),
                        store::encode_cell_announcement({"c2", "z2", "https://cell2:8080", 5, "m",
                                                         "o", *tls::make_request(key)}));
  REQUIRE(here.pass_until([&] { return !certificate_of(here.outside, "c1").empty(); }, soon));
  CHECK(tls::describe(certificate_of(here.outside, "c1"))->hosts
        == std::set{tls::cell_host("c1"), std::string{"cell1"}});
  here.pass(1min);
  CHECK_FALSE(here.outside.etcd.contains(keys::cell_certificate("c2")));
}

TEST_CASE("nothing is signed for cells outside the configuration, or without a request") {
  stage here{3, by_tls()};
  here.outside.etcd.put(keys::cell("stranger"),
                        store::encode_cell_announcement({"stranger", "z", "https://s", 1, "m", "o",
                                                         *tls::make_request(*tls::make_key())}));
  here.outside.etcd.put(keys::cell("c1"), "{}");
  here.outside.etcd.put(keys::cell("c2"), R"({"certificate_request":"no request"})");
  here.outside.etcd.put(keys::cell("c3"), "no JSON");
  here.pass(30min);
  for (const auto* guid : {"stranger", "c1", "c2", "c3"})
    CHECK_FALSE(here.outside.etcd.contains(keys::cell_certificate(guid)));
  CHECK(seen(here.broker(), "c2").tls.starts_with("no certificate: "));
}

TEST_CASE(
    "a cell without a certificate gets no orders, is listed, and answers soon after its request") {
  stage here{2, by_tls()};
  here.pass(1min);
  for (const auto* guid : {"c1", "c2"}) {
    auto now = seen(here.broker(), guid);
    CHECK(now.lacks_certificate);
    CHECK_FALSE(now.reachable);
    CHECK(now.tls == "no certificate: the cell has not announced itself in etcd");
  }
  auto asked = here.ask(provision("db", 1));
  REQUIRE(asked.is == verdict_kind::accepted);
  here.pass(10s);
  CHECK(here.outside.node_count() == 0);
  CHECK(here.broker().find("db")->progress.find("has no certificate yet") != std::string::npos);
  here.outside.announce("c1");
  REQUIRE(here.pass_until([&] { return seen(here.broker(), "c1").reachable; }, soon));
  CHECK_FALSE(seen(here.broker(), "c1").lacks_certificate);
  CHECK(seen(here.broker(), "c1").tls.starts_with("TLS until "));
  CHECK(here.pass_until([&] { return here.outside.running_nodes("db") == 1; }, 20s));
  CHECK(seen(here.broker(), "c2").lacks_certificate);
}

TEST_CASE("a cell's own key cannot switch the broker from TLS to plain HTTP") {
  stage here{2, by_tls()};
  here.outside.etcd.put(keys::cell("c1"), store::encode_cell_announcement(
                                              {"c1", "z1", "http://cell1:8080", 5, "m", "o", ""}));
  here.pass(1min);
  auto now = seen(here.broker(), "c1");
  CHECK_FALSE(now.reachable);
  CHECK(now.lacks_certificate);
  CHECK(now.tls.find("announces itself by http://") != std::string::npos);
}

TEST_CASE(
    "cells with http:// in the configuration are reached without TLS, whatever they announce") {
  auto plain = by_tls();
  plain.cells_by_tls = false;
  stage here{2, plain};
  here.outside.announce("c1");
  REQUIRE(here.pass_until([&] { return word_for(here.outside, "c1").has_value(); }, 5s));
  // The cell learns that brokers use plain HTTP, and has a certificate for later.
  CHECK(word_for(here.outside, "c1")->plain_http);
  CHECK(is_certified(here.outside, "c1"));
  REQUIRE(here.pass_until([&] { return all_reachable(here.broker()); }, 5s));
  CHECK(seen(here.broker(), "c1").tls == "plain HTTP");
  CHECK_FALSE(seen(here.broker(), "c2").lacks_certificate);
  // The next configuration says https://.
  here.brokers.clear();
  here.brokers.push_back(std::make_unique<simulated_broker>(here.outside, by_tls()));
  REQUIRE(here.pass_until([&] { return !word_for(here.outside, "c1")->plain_http; }, 30s));
  CHECK(here.pass_until([&] { return seen(here.broker(), "c1").reachable; }, soon));
}

TEST_CASE(
    "a cell's certificate is renewed a month before it ends, and not before, without a restart") {
  stage here{1, by_tls()};
  here.pass(1s);
  here.outside.announce("c1");
  REQUIRE(here.pass_until([&] { return is_certified(here.outside, "c1"); }, soon));
  auto first = certificate_of(here.outside, "c1");
  auto ends = tls::describe(first)->valid.until;
  auto at_rest = [&](model::duration before_end) {
    here.outside.pass(ends - before_end - here.outside.now());
    here.pass(15min); // the certifier looks every ten minutes
  };
  at_rest(std::chrono::days{31});
  CHECK(certificate_of(here.outside, "c1") == first);
  at_rest(std::chrono::days{29});
  auto second = certificate_of(here.outside, "c1");
  CHECK(tls::describe(second)->valid.until > ends);
  CHECK(is_certified(here.outside, "c1"));
  CHECK(seen(here.broker(), "c1").reachable);
}

TEST_CASE("only the active broker signs, and a new one signs pending requests") {
  stage here{2, by_tls()};
  here.pass(1s);
  auto other = by_tls();
  other.address = "127.0.0.2:8080";
  here.brokers.push_back(std::make_unique<simulated_broker>(here.outside, other));
  here.pass(1s);
  here.broker().freeze();
  here.outside.announce("c1");
  here.run();
  CHECK_FALSE(is_certified(here.outside, "c1"));
  CHECK(seen(*here.brokers[1], "c1").tls == "no certificate yet: the active broker signs it");
  REQUIRE(here.pass_until([&] { return here.brokers[1]->active(); }, 1min));
  CHECK(here.pass_until([&] { return is_certified(here.outside, "c1"); }, soon));
  CHECK(here.pass_until([&] { return seen(*here.brokers[1], "c1").reachable; }, soon));
}

TEST_CASE("an unanswered signature is made again, and a late one does no harm") {
  for (auto what : {fault::lost_answer, fault::lost_request, fault::late, fault::not_done}) {
    stage here{1, by_tls()};
    here.pass(1s);
    int failed = 0;
    here.outside.fate_of = [&](const store::transaction& one) {
      const auto* put = std::get_if<store::put>(&one.then.front());
      bool it = put != nullptr && put->key == keys::cell_certificate("c1") && failed < 2;
      failed += it ? 1 : 0;
      return it ? what : fault::none;
    };
    here.outside.announce("c1");
    CHECK(here.pass_until([&] { return is_certified(here.outside, "c1"); }, 20s));
    here.pass(10s);
    CHECK(is_certified(here.outside, "c1"));
    CHECK(seen(here.broker(), "c1").reachable);
  }
}
