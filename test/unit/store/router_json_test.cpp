#include <doctest/doctest.h>

#include "store/router_json.hpp"

namespace store = matriarch::store;
using matriarch::model::router_report;

TEST_CASE("a router's report reads back as it was written") {
  const router_report report{"host-1:8890",    "host-1", 9'007'199'254'740'993,
                             {30'007, 30'009}, "owner",  {"10.0.0.1", "::1"}};
  auto read = store::decode_router_report(store::encode_router_report(report));
  REQUIRE(read);
  CHECK(*read == report);
}

TEST_CASE("a router's unserved instances and silence read back as they were written") {
  const router_report report{"a",
                             "h",
                             0,
                             {},
                             "o",
                             {},
                             {{"db", "its node n1 has no address"}, {"e", ""}},
                             "it stands still"};
  auto read = store::decode_router_report(store::encode_router_report(report));
  REQUIRE(read);
  CHECK(*read == report);
}

TEST_CASE("unknown members of a newer router's report are ignored") {
  auto read = store::decode_router_report(
      R"({"id": "a", "host": "h", "serves": "12", "unbound": [7, 5], "more": {"b": [1]}})");
  REQUIRE(read);
  CHECK(*read == router_report{"a", "h", 12, {5, 7}});
}

TEST_CASE("an invalid router's report is refused") {
  for (auto text : {"", "[]", R"({"serves": "12"})", R"({"id": "a"})",
                    R"({"id": "a", "serves": 12})", R"({"id": "a", "serves": "12x"})",
                    R"({"id": "a", "serves": "-1"})", R"({"id": "a", "serves": "1", "unbound": 7})",
                    R"({"id": "a", "serves": "1", "unbound": [70000]})",
                    R"({"id": "a", "serves": "1", "unserved": "db"})",
                    R"({"id": "a", "serves": "1", "unserved": [{"why": "no address"}]})"}) {
    CAPTURE(text);
    CHECK_FALSE(store::decode_router_report(text));
  }
}
