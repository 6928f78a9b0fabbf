#include <doctest/doctest.h>

#include "store/cell_json.hpp"

namespace store = matriarch::store;

TEST_CASE("a cell's announcement and its answer read back as they were written") {
  auto said = store::decode_cell_announcement(store::encode_cell_announcement(
      {"c1", "z1", "https://h:1", 16, "m", "o", "a request\nof two lines"}));
  CHECK(said.guid == "c1");
  CHECK(said.availability_zone == "z1");
  CHECK(said.uri == "https://h:1");
  CHECK(said.capacity == 16);
  CHECK(said.host == "m");
  CHECK(said.owner == "o");
  CHECK(said.certificate_request == "a request\nof two lines");
  for (bool plain : {false, true}) {
    auto word = store::decode_cell_word(store::encode_cell_word({"a certificate", plain}));
    REQUIRE(word);
    CHECK(word->certificate == "a certificate");
    CHECK(word->plain_http == plain);
  }
}

TEST_CASE("announcements of earlier and later releases are read as far as known") {
  auto said = store::decode_cell_announcement(R"({"guid":"c1","uri":"http://h:1","more":[1]})");
  CHECK(said.uri == "http://h:1");
  CHECK(said.certificate_request.empty());
  auto word = store::decode_cell_word(R"({"certificate":"c","more":{}})");
  REQUIRE(word);
  CHECK_FALSE(word->plain_http);
}

TEST_CASE("an invalid announcement is empty, and an invalid answer is none") {
  for (auto text : {"", "x", "[]", "7", R"({"certificate_request":7})", R"({"certificate":["c"]})",
                    R"({"plain_http":true})"}) {
    CAPTURE(text);
    CHECK(store::decode_cell_announcement(text).certificate_request.empty());
    CHECK_FALSE(store::decode_cell_word(text));
  }
}
