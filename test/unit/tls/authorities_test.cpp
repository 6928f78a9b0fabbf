#include <doctest/doctest.h>

#include "tls/authorities.hpp"

namespace matriarch::tls {

namespace {

using std::chrono::days;

constexpr model::wall_time start{std::chrono::sys_days{std::chrono::year{2026} / 11 / 26}};
const std::set<std::string> hosts{"db.example.org", "n1", "127.77.1.9"};

template <class Value>
Value must(result<Value> made) {
  REQUIRE_MESSAGE(made.ok(), (made.ok() ? "" : made.error()));
  return *std::move(made);
}

/// The fleet's authorities after a broker has looked at them.
authorities looked_at(const authorities& before, model::wall_time now) {
  auto next = must(next_of(before, now));
  return next ? *next : before;
}

std::string certified(const authorities& by, model::wall_time now) {
  return must(certify(by, must(make_request(must(make_key()))), {"n1", hosts}, now));
}

bool shows(const authorities& all, model::wall_time now, const authority& which) {
  return all.shown(now).find(which.pair.certificate) != std::string::npos;
}

} // namespace

TEST_CASE("a fleet without an authority gets one for twenty years, which signs at once") {
  auto all = looked_at({}, start);
  REQUIRE(all.all.size() == 1);
  CHECK(must(describe(all.all[0].pair.certificate)).valid.until == start + authority_life);
  CHECK(all.all[0].until == start + authority_life);
  CHECK(all.signer(start) == &all.all[0]);
  CHECK(shows(all, start, all.all[0]));
  CHECK_FALSE(must(next_of(all, start)));
}

TEST_CASE("a successor is shown in bindings for a year before it signs alone") {
  auto all = looked_at({}, start);
  auto made_at = start + authority_life - succession;
  CHECK_FALSE(must(next_of(all, made_at - days{1})));
  all = looked_at(all, made_at);
  REQUIRE(all.all.size() == 2);
  CHECK_FALSE(must(next_of(all, made_at)));
  for (auto now : {made_at, made_at + standing - days{1}}) {
    CHECK(all.signer(now) == &all.all[0]);
    CHECK(shows(all, now, all.all[0]));
    CHECK(shows(all, now, all.all[1]));
  }
  auto from = made_at + standing;
  CHECK(all.signer(from) == &all.all[1]);
  CHECK(is_signed_by(certified(all, from), all.all[1].pair.certificate));
  // A binding made a day before its end still has the first authority.
  CHECK(shows(all, start + authority_life - days{1}, all.all[0]));
}

TEST_CASE("an expired authority is removed") {
  auto all = looked_at(looked_at({}, start), start + authority_life - succession);
  auto second = all.all[1].pair.certificate;
  all = looked_at(all, start + authority_life);
  REQUIRE(all.all.size() == 1);
  CHECK(all.all[0].pair.certificate == second);
}

TEST_CASE("if the authority expires unnoticed, a new one signs at once") {
  auto late = start + authority_life + days{100};
  auto all = looked_at(looked_at({}, start), late);
  REQUIRE(all.all.size() == 1);
  CHECK(all.signer(late) == &all.all[0]);
  // The successor was made, but no broker ran again before a year had passed.
  all = looked_at(looked_at({}, start), start + authority_life - days{10});
  CHECK(all.signer(start + authority_life) == &all.all[1]);
}

TEST_CASE("a server's certificate is renewed after two thirds of its life, and not before") {
  auto all = looked_at({}, start);
  auto certificate = certified(all, start);
  model::duration life = server_life + backdated;
  auto due = start - backdated + life * 2 / 3;
  CHECK_FALSE(is_to_be_renewed(certificate, hosts, all, start));
  CHECK_FALSE(is_to_be_renewed(certificate, hosts, all, due - std::chrono::hours{1}));
  CHECK(is_to_be_renewed(certificate, hosts, all, due));
  CHECK(must(describe(certificate)).valid.until - due >= days{30});
  CHECK_FALSE(is_to_be_renewed(certified(all, due), hosts, all, due));
}

TEST_CASE("a server's certificate is renewed for another host or another authority") {
  auto all = looked_at({}, start);
  auto certificate = certified(all, start);
  CHECK(is_to_be_renewed(certificate, {"other.example.org", "n1", "127.77.1.9"}, all, start));
  CHECK(is_to_be_renewed(certificate, {"db.example.org"}, all, start));
  CHECK(is_to_be_renewed(certificate, hosts, looked_at({}, start), start));
  CHECK(is_to_be_renewed("none", hosts, all, start));
  CHECK_FALSE(is_to_be_renewed("none", hosts, {}, start));
}

TEST_CASE("no certificate outlives its authority, nor is renewed in vain because of that") {
  auto all = looked_at({}, start);
  auto near_end = start + authority_life - days{10};
  auto certificate = certified(all, near_end);
  CHECK(must(describe(certificate)).valid.until == all.all[0].until);
  CHECK_FALSE(is_to_be_renewed(certificate, hosts, all, near_end + days{9}));
}

TEST_CASE("each cell has its own host name, different from all nodes and machines") {
  std::set<std::string> names;
  const std::vector<std::string> guids{
      "cell-z1-1", "Cell-z1-1",      "cell_z1-1", "cell.z1-1",           "cell_2ez1-1",
      "10.0.0.1",  "db.example.org", "x",         std::string(200, 'y'), std::string(201, 'y')};
  for (const auto& guid : guids) {
    auto host = cell_host(guid);
    CHECK(host.ends_with(".cell.matriarch"));
    CHECK(host.find('.') <= 63);
    names.insert(std::move(host));
  }
  CHECK(names.size() == guids.size());
  CHECK(cell_host("cell-z1-1") == "cell-z1-1.cell.matriarch");
}

TEST_CASE("an operator's authority signs, and its successor is only shown") {
  auto pair = must(make_authority("operator", {start, start + days{1000}}));
  auto later = must(make_authority("later", {start, start + days{5000}}));
  auto all = must(operators_authority(pair, later.certificate));
  CHECK(all.signer(start + days{999}) == &all.all[0]);
  CHECK(shows(all, start, all.all[0]));
  CHECK(shows(all, start, all.all[1]));
  CHECK(all.signer(start + days{1001}) == nullptr);
}

TEST_CASE("an operator's files that cannot sign are refused with the name of the wrong one") {
  auto pair = must(make_authority("operator", {start, start + days{1000}}));
  auto server = must(make_unchecked({"n1", hosts}, {start, start + days{10}}));
  auto why = [](const result<authorities>& read) { return read.ok() ? "" : read.error(); };
  auto about = [](const std::string& text, const char* file) {
    return text.find(std::string{"authority."} + file) != std::string::npos;
  };
  CHECK(about(why(operators_authority(server, "")), "certificate"));
  CHECK(about(why(operators_authority({pair.key, "x"}, "")), "certificate"));
  CHECK(about(why(operators_authority({server.key, pair.certificate}, "")), "key"));
  CHECK(about(why(operators_authority({"x", pair.certificate}, "")), "key"));
  CHECK(about(why(operators_authority(pair, "x")), "successor"));
  for (const auto& wrong : {operators_authority({server.key, pair.certificate}, "")})
    CHECK(why(wrong).find(server.key) == std::string::npos);
}

TEST_CASE("no node gets a certificate for a name that could be a cell's") {
  auto by = must(next_of({}, start));
  auto request = must(make_request(must(make_key())));
  for (const std::string host : {"c1.cell.matriarch", "C1.Cell.MATRIARCH", "c1.cell.matriarch.",
                                 "*.cell.matriarch", "*", "a.b.cell.matriarch"}) {
    CAPTURE(host);
    CHECK_FALSE(certify(*by, request, {"n1", {"n1", host}}, start).ok());
  }
  CHECK(
      certify(*by, request, {"n1", {"n1", "cell.matriarch.example.org", "10.0.0.1"}}, start).ok());
  CHECK(certify_cell(*by, request, {"c1", {cell_host("c1"), "10.0.0.1"}}, start).ok());
}

TEST_CASE("an address in another notation does not need a new certificate") {
  auto by = must(next_of({}, start));
  auto request = must(make_request(must(make_key())));
  std::set<std::string> hosts{"0:0:0:0:0:0:0:0001", "10.0.0.1", "h"};
  auto made = must(certify(*by, request, {"n1", hosts}, start));
  CHECK_FALSE(is_to_be_renewed(made, hosts, *by, start));
  CHECK_FALSE(is_to_be_renewed(made, {"::1", "10.0.0.1", "h"}, *by, start));
  CHECK(is_to_be_renewed(made, {"::2", "10.0.0.1", "h"}, *by, start));
}

TEST_CASE("a replaced authority is still trusted, but not shown to new clients") {
  auto before = looked_at({}, start);
  auto now_are = looked_at({}, start + days{1});
  auto told = before.shown(start);
  now_are.retiring = retiring_of(told, now_are, start);
  CHECK(now_are.retiring == told);
  CHECK(now_are.trusted(start) == now_are.shown(start) + told);
  CHECK_FALSE(shows(now_are, start, before.all[0]));
  // Authorities that still sign, expired ones and invalid certificates do not retire.
  CHECK(retiring_of(now_are.shown(start) + told + "nothing", now_are, start) == told);
  CHECK(retiring_of(told, before, start).empty());
  CHECK(retiring_of(told, now_are, start + authority_life).empty());
  CHECK(retiring_of("", now_are, start).empty());
}

} // namespace matriarch::tls
