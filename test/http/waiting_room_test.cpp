#include "http/waiting_room.hpp"

#include <doctest/doctest.h>

using namespace matriarch::http;

TEST_CASE("the oldest connection of the host that has the most makes room first") {
  waiting_room<int> strangers;
  CHECK_FALSE(strangers.next_to_go());
  strangers.add("10.0.0.1:1000", 1, 1);
  strangers.add("10.0.0.2:1000", 2, 2);
  strangers.add("10.0.0.2:1001", 3, 3);
  CHECK(strangers.next_to_go() == 2);
  strangers.remove("10.0.0.2:1000", 2);
  strangers.remove("10.0.0.2:1001", 3);
  CHECK(strangers.next_to_go() == 1);
  strangers.remove("10.0.0.1:1000", 1);
  CHECK_FALSE(strangers.next_to_go());
}

TEST_CASE("an address of IPv6 is one host whatever its ports are") {
  waiting_room<int> strangers;
  strangers.add("[fd00::1]:5", 1, 1);
  strangers.add("[fd00::2]:5", 2, 2);
  strangers.add("[fd00::2]:6", 3, 3);
  CHECK(strangers.next_to_go() == 2);
}

TEST_CASE("removing a connection that is not in the waiting room does nothing") {
  waiting_room<int> strangers;
  strangers.remove("10.0.0.1:1", 1);
  strangers.add("10.0.0.1:1", 1, 1);
  strangers.remove("10.0.0.1:1", 2);
  strangers.remove("10.0.0.3:1", 1);
  CHECK(strangers.next_to_go() == 1);
}
