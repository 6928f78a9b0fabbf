#include <doctest/doctest.h>

#include "router/endpoint.hpp"

namespace matriarch::router {

TEST_CASE("the host and port of Patroni's URLs are read") {
  CHECK(endpoint_of_url("postgres://127.77.0.11:5432/postgres") == endpoint{"127.77.0.11", 5432});
  CHECK(endpoint_of_url("http://127.77.0.11:8008/patroni") == endpoint{"127.77.0.11", 8008});
  CHECK(endpoint_of_url("postgres://user:p@ss:w/rd") == std::nullopt);
  CHECK(endpoint_of_url("postgres://user:p@ss:word@10.244.21.8:32768/postgres")
        == endpoint{"10.244.21.8", 32768});
  CHECK(endpoint_of_url("postgres://[2001:db8::1]:5432/postgres") == endpoint{"2001:db8::1", 5432});
}

TEST_CASE("an invalid endpoint is refused") {
  for (auto text : {"", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:54x", ":5432",
                    "host name:1", "host\nserver:1", "2001:db8::1:5432", "-x:1", "[::1:5432"})
    CHECK_MESSAGE(endpoint_of(text) == std::nullopt, text);
  CHECK(endpoint_of_url("127.0.0.1:5432") == std::nullopt);
}

TEST_CASE("an IPv6 address is written in brackets") {
  CHECK(endpoint{"::1", 80}.text() == "[::1]:80");
  CHECK(endpoint{"db.example.com", 80}.text() == "db.example.com:80");
}

} // namespace matriarch::router
