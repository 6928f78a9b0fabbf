#include "base/json.hpp"

#include <doctest/doctest.h>

using namespace matriarch;

namespace {

std::string canonical(const std::string& text) {
  auto parsed = json::parse(text);
  REQUIRE(parsed.ok());
  return json::canonical_text_of(*parsed);
}

std::string nested(std::size_t depth, char open, char close) {
  return std::string(depth, open) + std::string(depth, close);
}

} // namespace

TEST_CASE("half a surrogate pair is refused") {
  for (const std::string text : {R"("\udc00")", R"({"a":"x\ude00y"})", R"({"\udfff":1})",
                                 R"("\ud83d")", R"(["\ud83d\u0041"])"}) {
    CAPTURE(text);
    auto parsed = json::parse(text);
    REQUIRE_FALSE(parsed.ok());
    CHECK(parsed.error().find("surrogate") != std::string::npos);
  }
  CHECK(canonical(R"("\ud83d\ude00")") == "\"😀\"");
}

TEST_CASE("a repeated key is shown on one line, and shortened") {
  auto parsed = json::parse(R"({"a\nb":1,"a\nb":2})");
  REQUIRE_FALSE(parsed.ok());
  CHECK(parsed.error().find("\"a?b\" appears twice") != std::string::npos);
  auto key = std::string(5'000, 'k');
  CHECK(json::parse("{\"" + key + "\":1,\"" + key + "\":2}").error().size() < 200);
}

TEST_CASE("malformed texts are refused with the byte at which they are wrong") {
  for (const std::string text :
       {"", " ", "{", "{\"a\":}", "[1,]", "nul", "{} x", "\"\xff\"", "{'a':1}"}) {
    CAPTURE(text);
    auto parsed = json::parse(text);
    REQUIRE_FALSE(parsed.ok());
    CHECK(parsed.error().find("at byte ") != std::string::npos);
  }
}

TEST_CASE("64 levels are read, the 65th is refused") {
  CHECK(json::parse(nested(64, '[', ']')).ok());
  auto parsed = json::parse(nested(65, '[', ']'));
  REQUIRE_FALSE(parsed.ok());
  CHECK(parsed.error().find("nested more than 64 levels deep") != std::string::npos);
}

TEST_CASE("the depth counts only open lists and objects") {
  std::string many = "[";
  for (int i = 0; i < 100; ++i)
    many += (i == 0 ? "" : ",") + std::string{"[{}]"};
  CHECK(json::parse(many + "]", 3).ok());
  CHECK_FALSE(json::parse(many + "]", 2).ok());
}

TEST_CASE("a megabyte of opening brackets is refused without using up the stack") {
  CHECK_FALSE(json::parse(std::string(1024 * 1024, '[')).ok());
  CHECK_FALSE(json::parse(std::string(1024 * 1024, '['), 10 * 1024 * 1024).ok());
}

TEST_CASE("a key that appears twice in one object is refused with its name") {
  auto parsed = json::parse(R"({"a":{"b":1},"c":2,"a":3})");
  REQUIRE_FALSE(parsed.ok());
  CHECK(parsed.error().find("\"a\" appears twice") != std::string::npos);
  CHECK_FALSE(json::parse(R"({"a":1,"\u0061":2})").ok());
}

TEST_CASE("a key may appear again in another object") {
  CHECK(json::parse(R"({"a":{"a":1},"b":[{"a":1},{"a":2}]})").ok());
}

TEST_CASE("equal values have one canonical text") {
  CHECK(canonical(R"({"b":1,"a":{"d":[2,1],"c":null}})") == R"({"a":{"c":null,"d":[2,1]},"b":1})");
  CHECK(canonical(R"( { "a" : "\u00fc" } )") == canonical(R"({"a":"ü"})"));
  CHECK(canonical("[1,2]") != canonical("[2,1]"));
}

TEST_CASE("members are found by name, with a default where they are missing or of another type") {
  auto parsed = json::parse(R"({"s":"text","n":5,"f":1.5})");
  REQUIRE(parsed.ok());
  CHECK(json::string_member(*parsed, "s") == "text");
  CHECK(json::string_member(*parsed, "n", "other") == "other");
  CHECK(json::integer_member(*parsed, "n") == 5);
  CHECK(json::integer_member(*parsed, "f", 7) == 7);
  CHECK(json::member(*parsed, "none") == nullptr);
  CHECK(json::member(*json::parse("[1]"), "s") == nullptr);
}

TEST_CASE("invalid UTF-8 in a text does not make the JSON unreadable") {
  json::document all;
  all.SetObject();
  json::add(all, "said", std::string_view{"half \xc3"}, all);
  auto read = json::parse(json::text_of(all));
  REQUIRE(read.ok());
  CHECK(json::string_member(*read, "said") == "half ?");
}

TEST_CASE("strings keep their zero bytes") {
  auto parsed = json::parse(R"({"s":"a\u0000b"})");
  REQUIRE(parsed.ok());
  CHECK(json::string_member(*parsed, "s") == std::string("a\0b", 3));
}

TEST_CASE("numbers are read to the last bit, and written again the same") {
  for (const std::string text :
       {"0", "-0", "7", "-7", "2147483648", "9223372036854775807", "-9223372036854775808",
        "18446744073709551615", "0.1", "-0.5", "1e300", "123456789.12345679", "2.5e-300"}) {
    CAPTURE(text);
    auto parsed = json::parse("[" + text + "]");
    REQUIRE(parsed.ok());
    auto again = json::parse(json::text_of(*parsed));
    REQUIRE(again.ok());
    CHECK(*again == *parsed);
  }
  auto numbers = json::parse("[5, -5, 5.0, 18446744073709551615, 18446744073709551616]");
  REQUIRE(numbers.ok());
  CHECK((*numbers)[0].IsInt());
  CHECK((*numbers)[0].IsUint());
  CHECK((*numbers)[1].IsInt());
  CHECK((*numbers)[2].IsDouble());
  CHECK((*numbers)[3].GetUint64() == 18446744073709551615U);
  CHECK((*numbers)[4].GetDouble() == 18446744073709551616.0);
}

TEST_CASE("a number beyond a double, or of hundreds of digits, is refused") {
  // RapidJSON's own parser reads beyond its tables for the third.
  for (const std::string& text :
       {std::string{"1e999"}, std::string{"1e-999"}, "0." + std::string(1'000'000, '0') + "1",
        std::string(1'000'000, '9'), "1e" + std::string(1'000'000, '9'),
        "0." + std::string(700, '0') + "1e700"}) {
    auto parsed = json::parse("{\"a\":" + text + "}");
    REQUIRE_FALSE(parsed.ok());
    CHECK(parsed.error().find("at byte ") != std::string::npos);
  }
}
