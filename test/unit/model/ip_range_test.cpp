#include "model/ip_range.hpp"

#include <doctest/doctest.h>

using namespace matriarch::model;

namespace {

bool within(const char* range, const char* address) {
  auto all = ip_range::parse(range);
  auto one = ip_address::parse(address);
  REQUIRE(all);
  REQUIRE(one);
  return all->contains(*one);
}

} // namespace

TEST_CASE("a range contains the addresses with its prefix") {
  CHECK(within("10.0.0.0/8", "10.255.0.1"));
  CHECK_FALSE(within("10.0.0.0/8", "11.0.0.1"));
  CHECK(within("10.0.16.0/20", "10.0.31.255"));
  CHECK_FALSE(within("10.0.16.0/20", "10.0.32.0"));
  CHECK(within("10.0.0.5", "10.0.0.5"));
  CHECK_FALSE(within("10.0.0.5", "10.0.0.4"));
  CHECK(within("10.0.0.5/32", "::ffff:10.0.0.5"));
  CHECK(within("0.0.0.0/0", "192.0.2.1"));
  CHECK_FALSE(within("0.0.0.0/0", "2001:db8::1"));
  CHECK(within("::/0", "2001:db8::1"));
  CHECK(within("2001:db8::/33", "2001:db8:7fff::1"));
  CHECK_FALSE(within("2001:db8::/33", "2001:db8:8000::1"));
}

TEST_CASE("an invalid address or range is refused") {
  for (const char* text :
       {"", "10.0.0", "10.0.0.0.1", "010.0.0.1x", "host", "[::1]", "1.2.3.4:80", "10.0.0.0/",
        "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8x", "::/129", "/8", "fe80::1%eth0"}) {
    CAPTURE(text);
    CHECK_FALSE(ip_range::parse(text));
  }
  CHECK_FALSE(ip_address::parse(std::string(1'000, '1')));
  CHECK(ip_address::parse("::FFFF:127.0.0.9")->text() == "127.0.0.9");
  CHECK(ip_address::parse("127.0.0.9")->is_loopback());
  CHECK(ip_address::parse("::1")->is_loopback());
  CHECK_FALSE(ip_address::parse("128.0.0.1")->is_loopback());
}
