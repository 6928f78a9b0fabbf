// Values of all releases stay readable for ever, and are written so that the same release can read them.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/json.hpp"
#include "store/binding_json.hpp"
#include "store/formats.hpp"
#include "store/grave_json.hpp"
#include "store/port_json.hpp"
#include "store/record_json.hpp"
#include "store/tombstone_json.hpp"

namespace matriarch::store {

namespace {

/// Calls `check` with each file of the corpus of that kind: its name and its text.
template <class Check>
int each(const std::string& kind, Check check) {
  const auto* corpus = std::getenv("CORPUS_DIR");
  REQUIRE(corpus != nullptr);
  int count = 0;
  for (const auto& one : std::filesystem::recursive_directory_iterator{corpus}) {
    if (!one.is_regular_file() || !one.path().filename().string().starts_with(kind + "-"))
      continue;
    std::stringstream text;
    text << std::ifstream{one.path()}.rdbuf();
    const auto name = one.path().string();
    CAPTURE(name);
    check(text.str());
    ++count;
  }
  return count;
}

/// Whether `now` contains everything in `before`, unchanged.
void must_hold(const json::value& now, const json::value& before) {
  if (!before.IsObject()) {
    CHECK(json::canonical_text_of(now) == json::canonical_text_of(before));
    return;
  }
  for (const auto& one : before.GetObject()) {
    const std::string name = one.name.GetString();
    if (name == "format" || name == "min_reader")
      continue;
    CAPTURE(name);
    const auto* there = json::member(now, name);
    REQUIRE(there != nullptr);
    must_hold(*there, one.value);
  }
}

void must_hold(const std::string& now, const std::string& before) {
  auto written = json::parse(now);
  auto read = json::parse(before);
  REQUIRE(written.ok());
  REQUIRE(read.ok());
  must_hold(*written, *read);
  CHECK(json::integer_member(*written, "format") == own_format);
  // A value that needed a newer reader still does.
  CHECK(json::integer_member(*written, "min_reader")
        == std::max<std::int64_t>(own_min_reader, json::integer_member(*read, "min_reader")));
}

const keyring without_keys;

/// The key of the sealed values.
keyring corpus_keys() {
  return *keyring::parse(std::string(64, '1') + "\n");
}

} // namespace

TEST_CASE("records of every release are read, and written without loss") {
  CHECK(each("record",
             [](const std::string& text) {
               auto known = decode_record(text, without_keys);
               REQUIRE_MESSAGE(known.ok(), known.error());
               CHECK(known->unknown.empty());
               must_hold(encode_record(*known, without_keys), text);
             })
        > 5);
}

TEST_CASE("secrets sealed by every release can be opened") {
  CHECK(each("sealed-record",
             [](const std::string& text) {
               CHECK(text.find("sealed:") != std::string::npos);
               auto known = decode_record(text, corpus_keys());
               REQUIRE_MESSAGE(known.ok(), known.error());
               CHECK(known->living.secret_of(model::secret_name::superuser).password == "p2");
             })
        > 0);
  CHECK(each("sealed-binding",
             [](const std::string& text) {
               auto known = decode_binding(text, "i", corpus_keys());
               REQUIRE_MESSAGE(known.ok(), known.error());
               CHECK(known->role.password == (known->role.username.empty() ? "" : "p7"));
             })
        > 0);
}

TEST_CASE("bindings of every release are read, and written without loss") {
  CHECK(each("binding",
             [](const std::string& text) {
               auto known = decode_binding(text, "any", without_keys);
               REQUIRE_MESSAGE(known.ok(), known.error());
               CHECK(known->unknown.empty());
               must_hold(encode_binding(*known, "any", without_keys), text);
             })
        > 0);
}

TEST_CASE("tombstones, graves and ports of every release are read, and written without loss") {
  CHECK(each("tombstone",
             [](const std::string& text) {
               auto known = decode_tombstone(text);
               REQUIRE_MESSAGE(known.ok(), known.error());
               CHECK(known->unknown.empty());
               must_hold(encode_tombstone(*known), text);
             })
        > 0);
  CHECK(each("grave",
             [](const std::string& text) {
               auto known = decode_grave(text);
               REQUIRE_MESSAGE(known.ok(), known.error());
               CHECK(known->unknown.empty());
               must_hold(encode_grave(*known), text);
             })
        > 0);
  CHECK(each("port",
             [](const std::string& text) {
               auto known = decode_port_use(text, 1);
               REQUIRE_MESSAGE(known.ok(), known.error());
               CHECK(known->unknown.empty());
               must_hold(encode_port_use(*known), text);
             })
        > 1);
}

} // namespace matriarch::store
