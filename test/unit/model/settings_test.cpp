#include "model/settings.hpp"

#include <doctest/doctest.h>

using namespace matriarch::model;

TEST_CASE("the digest depends on the configuration and on nothing else") {
  cluster_settings settings;
  settings.parameters = {{"work_mem", "8MB"}};
  auto same = settings;
  same.connection_limit = 5;
  same.node_type = "big";
  CHECK(digest_of(settings) == digest_of(same));
  CHECK(same_configuration(settings, same));
  auto other = settings;
  other.parameters["work_mem"] = "9MB";
  CHECK(digest_of(settings) != digest_of(other));
  same.ttl = 10;
  CHECK(digest_of(settings) != digest_of(same));
  CHECK_FALSE(same_configuration(settings, same));
}

TEST_CASE("a digest is the same in all releases") {
  cluster_settings settings;
  CHECK(digest_of(settings) == "8b02b69d848d9cbc");
  settings.parameters = {{"max_connections", "50"}, {"work_mem", "8MB"}};
  settings.ttl = 20;
  settings.synchronous = synchronous_mode::strict;
  CHECK(digest_of(settings) == "3b8e9c2d8706cc70");
}
