#include "cell/guid_holder.hpp"

#include <doctest/doctest.h>

#include "../temporary_directory.hpp"
#include "store/cell_json.hpp"

using namespace matriarch;
using namespace matriarch::cell;

namespace {

const claimant self{"c1", "https://10.0.0.1:8901", "one", "abc"};

std::string said_by(const claimant& who) {
  return store::encode_cell_announcement(
      {who.guid, "z1", who.uri, 4, who.machine, who.identity, ""});
}

} // namespace

TEST_CASE("a guid in etcd is a cell's own if its data directory says so") {
  CHECK(holder_of(said_by(self), self) == holder::itself);
  CHECK_FALSE(key_of(self).other_owner(said_by(self)));
  CHECK(holder_of(said_by({"c1", "https://10.0.0.2:8901", "two", "def"}), self) == holder::other);
  // As cells of earlier releases announce themselves.
  CHECK(holder_of(said_by({"c1", "https://10.0.0.2:8901", "two", ""}), self) == holder::nobody);
  CHECK(holder_of("no announcement", self) == holder::nobody);
}

TEST_CASE("a copy of a cell's directory at another address is another cell") {
  auto copy = self;
  SUBCASE("on the same machine") {
    copy.uri = "https://10.0.0.1:8902";
  }
  SUBCASE("on another machine") {
    copy.machine = "two";
  }
  CHECK(holder_of(said_by(copy), self) == holder::twin);
  auto taken = key_of(self).other_owner(said_by(copy));
  REQUIRE(taken);
  CHECK(taken->find("the cell at " + copy.uri + " on the machine " + copy.machine + " has it")
        != std::string::npos);
  CHECK(taken->find("a copy of the other") != std::string::npos);
}

TEST_CASE("the refusal of a guid names its holder") {
  auto taken = key_of(self).other_owner(said_by({"c1", "https://10.0.0.2:8901", "two", "def"}));
  REQUIRE(taken);
  CHECK(taken->starts_with("the guid c1 is taken: the cell at https://10.0.0.2:8901 on the machine "
                           "two has it in etcd"));
}

TEST_CASE("reading a directory's identity creates none") {
  test::temporary_directory here;
  auto before = store::known_identity_in(here.path());
  REQUIRE(before);
  CHECK_FALSE(*before);
  CHECK_FALSE(*store::known_identity_in(here.path() + "/none"));
  auto unmade = store::identity_in(here.path() + "/none");
  REQUIRE_FALSE(unmade);
  CHECK(unmade.error().find(here.path() + "/none/identity") != std::string::npos);
  auto made = store::identity_in(here.path());
  REQUIRE(made);
  CHECK(*store::known_identity_in(here.path()) == *made);
}
