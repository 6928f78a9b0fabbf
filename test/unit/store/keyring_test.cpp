#include "store/keyring.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace matriarch;
using namespace matriarch::store;

namespace {

const std::string first_key(64, '1');
const std::string second_key(64, 'b');
const std::string secret = "correct horse battery staple";
const std::string place = "an-instance/superuser_credentials";

keyring holding(const std::string& text) {
  auto keys = keyring::parse(text);
  REQUIRE_MESSAGE(keys.ok(), keys.error());
  return *keys;
}

/// The failure to open, which must not contain the text.
std::string refusal(const keyring& keys, const std::string& sealed, const std::string& where) {
  auto opened = keys.open(sealed, where);
  REQUIRE_FALSE(opened.ok());
  for (const auto& hidden : {secret, first_key, second_key, sealed})
    CHECK(opened.error().find(hidden) == std::string::npos);
  return opened.error();
}

std::string parse_error(const std::string& text) {
  auto keys = keyring::parse(text);
  REQUIRE_FALSE(keys.ok());
  return keys.error();
}

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("a sealed secret can be opened in its place, whatever bytes it has") {
  auto keys = holding(first_key);
  CHECK(keys.encrypts());
  for (const auto& text :
       {secret, std::string{}, std::string{"\0\xff\"\\", 4}, std::string(10'000, 'x')}) {
    auto sealed = keys.seal(text, place);
    CHECK(sealed.starts_with("sealed:"));
    auto opened = keys.open(sealed, place);
    REQUIRE(opened.ok());
    const bool same = *opened == text; // not in the CHECK: it would print all of it
    CHECK(same);
  }
}

TEST_CASE("a sealed text does not contain the secret, and differs each time") {
  auto keys = holding(first_key);
  auto one = keys.seal(secret, place);
  CHECK_FALSE(holds(one, secret));
  CHECK(one != keys.seal(secret, place));
}

TEST_CASE("a sealed text cannot be opened in another place") {
  auto keys = holding(first_key);
  auto sealed = keys.seal(secret, place);
  CHECK(holds(refusal(keys, sealed, "another-instance/superuser_credentials"), "moved"));
  CHECK(holds(refusal(keys, sealed, "an-instance/app_credentials"), "moved"));
  CHECK(holds(refusal(keys, sealed, ""), "moved"));
}

TEST_CASE("a sealed text that was altered at any character cannot be opened") {
  auto keys = holding(first_key);
  const auto sealed = keys.seal(secret, place);
  for (std::size_t i = std::string{"sealed:"}.size(); i < sealed.size(); ++i) {
    CAPTURE(i);
    auto altered = sealed;
    altered[i] = altered[i] == 'A' ? 'B' : 'A';
    refusal(keys, altered, place);
  }
  for (std::size_t length : {7U, 10U, 16U, 20U, 40U}) {
    CAPTURE(length);
    refusal(keys, sealed.substr(0, length), place);
  }
}

TEST_CASE("the newest key seals, and older ones still open") {
  auto before = holding(first_key);
  auto after = holding(second_key + "\n" + first_key);
  auto old = before.seal(secret, place);
  auto opened = after.open(old, place);
  REQUIRE(opened.ok());
  CHECK(*opened == secret);

  auto fresh = after.seal(secret, place);
  CHECK(holding(second_key).open(fresh, place).ok());
  CHECK(holds(refusal(before, fresh, place), "secrets.key_file does not list"));
}

TEST_CASE("a text that is not sealed is returned unchanged, with and without keys") {
  for (const auto& keys : {keyring{}, holding(first_key)}) {
    auto opened = keys.open(secret, place);
    REQUIRE(opened.ok());
    CHECK(*opened == secret);
  }
}

TEST_CASE("without keys nothing is sealed, and sealed texts cannot be opened") {
  keyring none;
  CHECK_FALSE(none.encrypts());
  CHECK(none.seal(secret, place) == secret);
  refusal(none, holding(first_key).seal(secret, place), place);
}

TEST_CASE("a key file may have comments, empty lines, CRLF and capitals") {
  auto keys =
      holding("# of November\r\n\r\n  " + std::string(64, 'B') + " \r\n# older\n\n" + first_key);
  CHECK(keys.open(holding(second_key).seal(secret, place), place).ok());
  CHECK(keys.open(holding(first_key).seal(secret, place), place).ok());
}

TEST_CASE("an invalid key is refused with its line number, but is not shown") {
  auto short_key = first_key.substr(1);
  auto why = parse_error("# a comment\n" + second_key + "\n" + short_key + "\n");
  CHECK(why.starts_with("line 3 has 63 characters"));
  CHECK_FALSE(holds(why, short_key));

  auto odd_key = first_key;
  odd_key[10] = 'g';
  why = parse_error(odd_key);
  CHECK(why.starts_with("line 1 is no key: character 11 "));
  CHECK_FALSE(holds(why, odd_key));

  why = parse_error(first_key + "\n\n" + first_key);
  CHECK(why.starts_with("line 3 repeats a key"));
  CHECK_FALSE(holds(why, first_key));
}

TEST_CASE("a file without a key is refused, since it would turn encryption off") {
  for (const auto* text : {"", "\n\n", "# nothing here yet\n"})
    CHECK(holds(parse_error(text), "no key"));
}
