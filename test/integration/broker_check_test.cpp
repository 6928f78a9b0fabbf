// What `matriarch broker --check` reports when etcd does not answer.
#include "cli/broker_check.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "claims.hpp"
#include "etcd_stand_in.hpp"
#include "store/etcd_check.hpp"
#include "store/keys.hpp"

using namespace matriarch;

TEST_CASE("the check of a broker ends where etcd does not answer, however many cells there are") {
  test::etcd_stand_in silent{[](const std::string&, const std::string&) {
    return test::etcd_stand_in::reply{0, {}, test::etcd_stand_in::after::cut};
  }};
  config::broker_config config;
  config.broker.port = static_cast<std::uint16_t>(test::free_port());
  config.etcd.machines = {silent.url()};
  base::findings of_etcd;
  REQUIRE_FALSE(store::look_at_etcd(config.etcd, store::keys::fleet, of_etcd));
  const auto asked = silent.requests();

  std::vector<actors::cell_settings> cells;
  for (const auto* guid : {"a", "b", "c"})
    cells.push_back({guid, "z", "https://127.0.0.1:1", "u", "p"});
  auto found = broker::check(config, cells, {});
  CHECK(silent.requests() == 2 * asked);
  CHECK(found.exit_code() == 2);
  CHECK(std::ranges::count(found.all(), "etcd", &base::findings::finding::about) == 1);
  CHECK(std::ranges::count(found.all(), "cell", &base::findings::finding::about) == 0);
}
