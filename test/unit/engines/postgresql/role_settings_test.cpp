#include "engines/postgresql/model/role_settings.hpp"

#include <doctest/doctest.h>

using matriarch::engines::postgresql::copied_mark;
using matriarch::engines::postgresql::role_settings;
using matriarch::engines::postgresql::settings_from_owner;

namespace {

/// The role's settings afterwards, changed or not.
role_settings after(const role_settings& own, const role_settings& owners) {
  return settings_from_owner(own, owners).value_or(own);
}

} // namespace

TEST_CASE("a binding's role gets the owner's settings and keeps its own") {
  auto next = after({"role=owner", "work_mem=1MB"}, {"search_path=a, \"b,c\"", "work_mem=2MB"});
  CHECK(next
        == role_settings{"role=owner", "work_mem=1MB", "search_path=a, \"b,c\"",
                         "matriarch.copied=search_path"});
  CHECK_FALSE(settings_from_owner(next, {"search_path=a, \"b,c\"", "work_mem=2MB"}));
}

TEST_CASE("settings that the owner changes or resets are changed or reset for the role") {
  auto first = after({"role=owner"}, {"work_mem=2MB", "x.y=a=b"});
  auto second = after(first, {"work_mem=3MB", "x.y=a=b"});
  CHECK(second
        == role_settings{"role=owner", "work_mem=3MB", "x.y=a=b", "matriarch.copied=work_mem,x.y"});
  CHECK(after(second, {"x.y=a=b"})
        == role_settings{"role=owner", "x.y=a=b", "matriarch.copied=x.y"});
  CHECK(after(second, {}) == role_settings{"role=owner"});
}

TEST_CASE("the owner's settings for role and libraries are not copied") {
  CHECK_FALSE(settings_from_owner({"role=owner"}, {"role=other", "local_preload_libraries=nope",
                                                   "session_preload_libraries=nope"}));
  CHECK_FALSE(settings_from_owner({}, {}));
}

TEST_CASE("the longest possible list of a role's settings is read quickly") {
  const role_settings own{std::string{copied_mark} + "=" + std::string(2'000'000, ',')};
  CHECK(settings_from_owner(own, {}) == role_settings{});
}
