#include <doctest/doctest.h>

#include "router/limits.hpp"

namespace matriarch::router {

TEST_CASE("all routers together leave a node's reserved connections free") {
  limit_settings settings;
  for (auto connections : {1, 2, 5, 20, 30, 100, 500})
    for (auto routers : {1, 2, 3, 7}) {
      CAPTURE(connections);
      CAPTURE(routers);
      auto passed = limits_of(connections, 1, settings, routers).passed.most;
      CHECK(passed >= 1);
      if (connections >= 20 && passed > 1)
        CHECK(passed * routers <= connections - settings.reserve);
    }
  CHECK(limits_of(100, 1, settings, 1).passed.most == 90);
  CHECK(limits_of(100, 1, settings, 2).passed.most == 45);
  // At most half of a small node's connections are reserved.
  CHECK(limits_of(6, 1, settings, 1).passed.most == 3);
  settings.routers = 3;
  CHECK(limits_of(100, 1, settings, 1).passed.most == 30);
}

TEST_CASE("above nine tenths an address is limited, and room is left for other addresses") {
  limit_settings settings;
  CHECK(shared_limit_of(90, settings) == shared_limit{90, 81, 18});
  for (int most = 1; most < 200; ++most) {
    auto limit = shared_limit_of(most, settings);
    CHECK(limit.nearly < limit.most);
    CHECK(limit.share >= 1);
  }
}

TEST_CASE("a port accepts more connections than it passes on, since some are silent") {
  limit_settings settings;
  CHECK(limits_of(100, 1, settings, 1).all.most == 500);
  CHECK(limits_of(1'010, 1, settings, 1).all.most == 2'000);
  CHECK(limits_of(1'010, 2, settings, 1).all.most == 4'000);
  CHECK(limits_of(262'143, 100, settings, 1).all.most == 1'000'000);
}

TEST_CASE("limits are read back from their text") {
  auto limits = limits_of(100, 1, {}, 1);
  CHECK(limits.text() == "90:81:18:500:450:100");
  CHECK(port_limits_of(limits.text()) == limits);
  CHECK(port_limits_of("nonsense").passed.most == 0);
}

} // namespace matriarch::router
