#include <doctest/doctest.h>

#include "cell/endpoints.hpp"

namespace matriarch::cell {

namespace {

constexpr std::int64_t now = 1'000'000'000;
constexpr std::int64_t rest = endpoint_rest.count();

constexpr node_ports usual{5432, 8008};

bool any(const endpoint&) {
  return true;
}

endpoint_pool network(const char* cidr) {
  auto pool = endpoint_pool::of_network(cidr, usual);
  REQUIRE(pool.ok());
  return *pool;
}

std::string chosen(const endpoint_pool& pool, const std::set<std::string>& taken,
                   const resting_endpoints& resting) {
  auto where = choose_endpoint(pool, taken, resting, now, any);
  return where ? name_of(*where) : "none";
}

} // namespace

TEST_CASE("a network gives each node its own address with the standard ports") {
  auto pool = network("127.77.1.0/24");
  CHECK(pool.size() == 254);
  CHECK(pool.at(0) == endpoint{"127.77.1.1", 5432, 8008});
  CHECK(pool.at(253) == endpoint{"127.77.1.254", 5432, 8008});
  CHECK(pool.clients() == "127.0.0.0/8");
  CHECK(network("10.0.0.0/30").size() == 2);
  CHECK(network("10.0.0.0/30").clients() == "all");
}

TEST_CASE("an invalid network is refused with an example") {
  for (const auto* text : {"127.77.1.0", "127.77.1/24", "127.77.1.0/", "127.77.1.0/24x", "::1/64",
                           "127.77.1.0/31", "127.0.0.0/7", "a/24"}) {
    CAPTURE(text);
    auto pool = endpoint_pool::of_network(text, usual);
    REQUIRE_FALSE(pool.ok());
    CHECK(pool.error().find("127.77.1.0/24") != std::string::npos);
  }
  auto inside = endpoint_pool::of_network("127.77.1.9/24", usual);
  REQUIRE_FALSE(inside.ok());
  CHECK(inside.error().find("127.77.1.0/24") != std::string::npos);
}

TEST_CASE("a host gives each node two ports") {
  auto pool = endpoint_pool::of_host("10.1.2.3", 15000, 15004);
  REQUIRE(pool.ok());
  CHECK(pool->size() == 2);
  CHECK(pool->at(1) == endpoint{"10.1.2.3", 15002, 15003});
  CHECK_FALSE(endpoint_pool::of_host("10.1.2.3", 15000, 15000).ok());
}

TEST_CASE("the first endpoint that is neither in use nor resting is chosen") {
  auto pool = network("127.77.1.0/24");
  CHECK(chosen(pool, {}, {}) == "127.77.1.1:5432");
  CHECK(chosen(pool, {"127.77.1.1:5432"}, {{"127.77.1.2:5432", now - 1}}) == "127.77.1.3:5432");
}

TEST_CASE("an endpoint rests for ten minutes") {
  auto pool = network("127.77.1.0/24");
  CHECK(chosen(pool, {}, {{"127.77.1.1:5432", now - rest + 1}}) == "127.77.1.2:5432");
  CHECK(chosen(pool, {}, {{"127.77.1.1:5432", now - rest}}) == "127.77.1.1:5432");
  CHECK(rest == 600'000);
}

TEST_CASE("if all free endpoints rest, the one that has rested longest is chosen") {
  auto pool = network("127.77.1.0/30");
  CHECK(chosen(pool, {}, {{"127.77.1.1:5432", now - 10}, {"127.77.1.2:5432", now - 20}})
        == "127.77.1.2:5432");
  CHECK(chosen(pool, {"127.77.1.2:5432"}, {{"127.77.1.1:5432", now - 10}}) == "127.77.1.1:5432");
  CHECK(chosen(pool, {"127.77.1.1:5432", "127.77.1.2:5432"}, {}) == "none");
}

TEST_CASE("an endpoint in use by another program is skipped") {
  auto pool = network("127.77.1.0/24");
  auto where =
      choose_endpoint(pool, {}, {}, now, [](const endpoint& e) { return e.host != "127.77.1.1"; });
  REQUIRE(where);
  CHECK(where->host == "127.77.1.2");
}

} // namespace matriarch::cell
