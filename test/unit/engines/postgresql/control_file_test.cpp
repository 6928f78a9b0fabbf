#include "engines/postgresql/cell/control_file.hpp"

#include <cstring>
#include <string>

#include <doctest/doctest.h>

using matriarch::engines::postgresql::data_in_control_file;
using matriarch::model::data_at_stop;

namespace {

template <class Number>
void put(std::string& into, std::size_t at, Number what) {
  std::memcpy(into.data() + at, &what, sizeof what);
}

/// The fields that are read, as PostgreSQL 11 and later write them.
std::string control_file(std::uint32_t state, std::uint64_t checkpoint,
                         std::uint32_t version = 1300) {
  std::string content(8192, '\0');
  put(content, 8, version);
  put(content, 16, state);
  put(content, 32, checkpoint);
  put(content, 48, std::uint32_t{7});
  return content;
}

} // namespace

TEST_CASE("a leader that stopped cleanly says where its data ends, and in which timeline") {
  CHECK(*data_in_control_file(control_file(1, 0x3000060)) == data_at_stop{0x3000060, 7, true});
}

TEST_CASE("a replica that stopped says only where its last restartpoint is") {
  CHECK(*data_in_control_file(control_file(2, 0x17F000028)) == data_at_stop{0x17F000028, 7, false});
}

TEST_CASE("the control file of an unclean stop gives no position") {
  for (std::uint32_t state : {0U, 3U, 4U, 5U, 6U, 99U})
    CHECK(*data_in_control_file(control_file(state, 0x3000060)) == data_at_stop{});
}

TEST_CASE("a control file that cannot be read names what is wrong") {
  CHECK(data_in_control_file("").error().find("0 bytes") != std::string::npos);
  CHECK_FALSE(data_in_control_file(control_file(1, 0)).ok());
  CHECK_FALSE(data_in_control_file(control_file(1, ~0ULL)).ok());
  CHECK(data_in_control_file(control_file(1, 1, 1002)).error().find("1002") != std::string::npos);
}
