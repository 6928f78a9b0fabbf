#include "cli/machine.hpp"

#include <doctest/doctest.h>

#include <set>

using namespace matriarch::cli;

TEST_CASE("machines that differ in one property are different") {
  machine_marks one{"disk", "host", "boot", "network"};
  std::set<std::string> seen{identity_of(one)};
  for (auto mark : {&machine_marks::machine_id, &machine_marks::host_name, &machine_marks::boot_id,
                    &machine_marks::network_namespace}) {
    auto other = one;
    other.*mark += "2";
    CHECK(seen.insert(identity_of(other)).second);
  }
  CHECK(seen.contains(identity_of(one)));
}

TEST_CASE("a machine without a disk id is identified by its other properties") {
  CHECK(identity_of({"", "", "boot", "network"}) != "");
  CHECK(identity_of({"", "", "boot", "network"}) != identity_of({"", "", "boot", "other"}));
}

TEST_CASE("properties that several machines can share do not identify a machine") {
  CHECK(identity_of({"disk", "host", "", "network"}) == "");
  CHECK(identity_of({"disk", "host", "boot", ""}) == "");
}

TEST_CASE("a machine keeps its identity") {
  CHECK(machine_identity() == machine_identity());
  CHECK(host_name() == host_name());
}
