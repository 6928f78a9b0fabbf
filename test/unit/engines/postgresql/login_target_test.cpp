#include "engines/postgresql/model/login_target.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace matriarch::engines::postgresql;

TEST_CASE("a URL with other than one host and one port is refused") {
  CHECK(login_target_in("postgres://10.0.0.1:5432/postgres") == login_target{"10.0.0.1", "5432"});
  CHECK(login_target_in("postgres://u:p@[fd00::1]:5432/x") == login_target{"fd00::1", "5432"});
  for (const std::string url :
       {"", "postgres://", "postgres://h/x", "postgres://h:/x", "postgres://h:1,i:2/x",
        "postgres://h,i:2/x", "postgres:///x?host=/tmp", "host=h port=1", "postgres://h:1x/x",
        "postgres://%2Ftmp:1/x"}) {
    CAPTURE(url);
    CHECK_FALSE(login_target_in(url));
  }
  CHECK_FALSE(login_target_in("postgres://" + std::string(300, 'h') + ":1/x"));
}

TEST_CASE("only known TLS options of a URL are accepted") {
  CHECK(login_target_in("postgres://n:1/x?hostaddr=10.0.0.1&sslmode=verify-full")
        == login_target{"n", "1", "10.0.0.1", "verify-full"});
  CHECK(login_target_in("postgres://n:1/x?sslmode=require&channel_binding=require")
        == login_target{"n", "1", "", "require", "require"});
  for (const std::string setting :
       {"", "x", "host=h", "connect_timeout=0", "sslmode=disable", "sslmode=verify-ful",
        "sslmode=require,", "channel_binding=disable", "hostaddr=", "hostaddr=10.0.0.1,10.0.0.2",
        "sslmode=require&", "sslmode=require&options=-c", "sslmode=require?host=h"}) {
    CAPTURE(setting);
    CHECK_FALSE(login_target_in("postgres://h:1/x?" + setting));
  }
}
