#include <doctest/doctest.h>

#include "store/authority_json.hpp"

using namespace matriarch;
using namespace matriarch::store;

namespace {

constexpr model::wall_time start{std::chrono::sys_days{std::chrono::year{2026} / 11 / 26}};

keyring keys_of(const std::string& text) {
  auto keys = keyring::parse(text);
  REQUIRE(keys.ok());
  return *keys;
}

tls::authorities two() {
  auto first = tls::next_of({}, start);
  REQUIRE(first.ok());
  auto both = tls::next_of(**first, start + tls::authority_life - tls::succession);
  REQUIRE(both.ok());
  return **both;
}

} // namespace

TEST_CASE("authorities are read as they were written, with keys or without encryption") {
  auto known = two();
  for (const auto& keys : {keyring{}, keys_of(std::string(64, '1'))}) {
    auto text = encode_authorities(known, keys);
    auto read = decode_authorities(text, keys);
    REQUIRE_MESSAGE(read.ok(), read.error());
    REQUIRE(read->known.all.size() == 2);
    for (std::size_t i = 0; i < 2; ++i) {
      CHECK(read->known.all[i].pair.certificate == known.all[i].pair.certificate);
      CHECK(read->known.all[i].pair.key == known.all[i].pair.key);
      CHECK(read->known.all[i].shown_since == known.all[i].shown_since);
      CHECK(read->known.all[i].until == known.all[i].until);
    }
    CHECK(read->sealed_as_now);
  }
}

TEST_CASE("an authority's private key is sealed in etcd, and needs the right key to open") {
  auto text = encode_authorities(two(), keys_of(std::string(64, '1')));
  CHECK(text.find("PRIVATE KEY") == std::string::npos);
  auto read = decode_authorities(text, keys_of(std::string(64, '2')));
  REQUIRE_FALSE(read.ok());
  CHECK(read.error().find("BEGIN") == std::string::npos);
}

TEST_CASE("a value that is not sealed with the newest key has to be sealed again") {
  auto plain = encode_authorities(two(), keyring{});
  auto old = encode_authorities(two(), keys_of(std::string(64, '1')));
  auto keys = keys_of(std::string(64, '2') + "\n" + std::string(64, '1'));
  CHECK_FALSE(decode_authorities(plain, keys)->sealed_as_now);
  CHECK_FALSE(decode_authorities(old, keys)->sealed_as_now);
}

TEST_CASE("a damaged value is refused") {
  for (const auto* text : {"", "[]", "{}", R"({"authorities":[]})", R"({"authorities":[{}]})"})
    CHECK_FALSE(decode_authorities(text, keyring{}).ok());
  auto known = two();
  std::swap(known.all[0].pair.key, known.all[1].pair.key);
  CHECK_FALSE(decode_authorities(encode_authorities(known, keyring{}), keyring{}).ok());
}
