#include "base/base64.hpp"

#include <doctest/doctest.h>

#include <string>
#include <utility>

using namespace matriarch::base;

TEST_CASE("base64 follows RFC 4648's own examples in both directions") {
  const std::pair<std::string, std::string> examples[] = {{"", ""},
                                                          {"f", "Zg=="},
                                                          {"fo", "Zm8="},
                                                          {"foo", "Zm9v"},
                                                          {"foob", "Zm9vYg=="},
                                                          {"fooba", "Zm9vYmE="},
                                                          {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : examples) {
    CAPTURE(text);
    CHECK(to_base64(bytes) == text);
    CHECK(*from_base64(text) == bytes);
    CHECK(*from_canonical_base64(text) == bytes);
    CHECK(*from_base64(text, padding::optional) == bytes);
    CHECK(*from_base64(text.substr(0, text.find('=')), padding::optional) == bytes);
  }
}

TEST_CASE("base64 keeps every byte") {
  std::string all;
  for (int round = 0; round < 3; ++round)
    for (int byte = 0; byte < 256; ++byte)
      all += static_cast<char>(byte);
  for (std::size_t size : {all.size(), all.size() - 1, all.size() - 2})
    CHECK(*from_base64(to_base64(all.substr(0, size))) == all.substr(0, size));
}

TEST_CASE("what is not base64 is refused without being quoted") {
  for (const char* text : {"Zg=", "Zg", "Z===", "=Zg=", "Z*g=", "Zg==Zg==", "Zm9v\n"}) {
    CAPTURE(text);
    auto read = from_base64(text);
    REQUIRE_FALSE(read.ok());
    CHECK(read.error().find(text) == std::string::npos);
    CHECK_FALSE(from_canonical_base64(text).ok());
  }
}

TEST_CASE("optional padding is complete or missing") {
  for (const char* text : {"Zg=", "Z", "Z=", "Z==", "Z===", "=", "==", "====", "Zm9v=", "Zm9v====",
                           "Zg==Zg==", "Zg Zm", "Zm9v\n", "Zm-_", "Zg\xff"}) {
    CAPTURE(text);
    CHECK_FALSE(from_base64(text, padding::optional).ok());
  }
}

TEST_CASE("only one base64 text of the same bytes is canonical") {
  for (const char* text : {"Zh==", "Zm9=", "Zm9vYh=="}) {
    CAPTURE(text);
    CHECK(from_base64(text).ok());
    CHECK_FALSE(from_canonical_base64(text).ok());
  }
  CHECK(*from_base64("Zh==") == "f");
}
