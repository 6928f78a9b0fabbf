#include <doctest/doctest.h>

#include "engines/postgresql/actors/scram_verifier.hpp"

using namespace matriarch::engines::postgresql;

namespace {

// Made by libpq from the password `pencil`.
const std::string good =
    "SCRAM-SHA-256$4096:AAECAwQFBgcICQoLDA0ODw==$zHCdol2044/ZyWzPLi7oxApCkamKw9Z+E4U/QApd/"
    "5Y=:dd5peBOitVnLNFu7VmwP+HiDaaw4OUCv396eVCWhYiE=";

std::string with(std::size_t at, const std::string& piece) {
  auto changed = good;
  changed.replace(at, piece.size(), piece);
  return changed;
}

} // namespace

TEST_CASE("libpq's own verifier matches only its password") {
  CHECK(is_verifier_of(good, "pencil"));
  CHECK_FALSE(is_verifier_of(good, "pencils"));
  CHECK_FALSE(is_verifier_of(good, ""));
}

TEST_CASE("a new verifier matches its password, and each has its own salt") {
  auto made = make_verifier("pencil");
  REQUIRE(made);
  CHECK(is_verifier_of(*made, "pencil"));
  CHECK_FALSE(is_verifier_of(*made, "pencils"));
  CHECK(made != make_verifier("pencil"));
  CHECK_FALSE(make_verifier("cr\xc3\xa8me"));
  CHECK_FALSE(make_verifier("pen\ncil"));
  CHECK_FALSE(make_verifier(""));
}

TEST_CASE("a verifier of another form matches nothing and is rejected early") {
  const auto salt = good.find(':') + 1;
  const auto stored = good.rfind('$') + 1;
  const auto server = good.rfind(':') + 1;
  for (std::size_t size = 0; size < good.size(); ++size)
    CHECK_FALSE(is_verifier_of(good.substr(0, size), "pencil"));
  for (std::size_t at = 0; at < good.size(); ++at)
    for (const char* piece : {"=", "==", "====", "\n", " ", "$", ":", "A"}) {
      auto changed = with(at, std::string{piece}.substr(0, good.size() - at));
      if (changed != good)
        CHECK_FALSE(is_verifier_of(changed, "pencil"));
    }
  CHECK_FALSE(is_verifier_of(good + "=", "pencil"));
  CHECK_FALSE(is_verifier_of(with(salt, std::string(24, '=')), "pencil"));
  CHECK_FALSE(is_verifier_of(with(stored, std::string(44, '=')), "pencil"));
  CHECK_FALSE(is_verifier_of(with(server, std::string(44, '=')), "pencil"));
  for (const char* count :
       {"0", "-1", "4095", "04096", "+4096", "2000000000", "99999999999999", ""})
    CHECK_FALSE(
        is_verifier_of("SCRAM-SHA-256$" + std::string{count} + good.substr(salt - 1), "pencil"));
}
