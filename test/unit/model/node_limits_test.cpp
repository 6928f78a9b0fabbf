#include "model/node_limits.hpp"

#include <doctest/doctest.h>

using namespace matriarch::model;

TEST_CASE("a size is a whole number with a unit, as people write it") {
  CHECK(bytes_of("512MB") == 512 * megabyte);
  CHECK(bytes_of("2 GB") == 2048 * megabyte);
  CHECK(bytes_of("1TB") == 1024 * 1024 * megabyte);
  for (const auto* text : {"", "MB", "512", "512mb", "-1GB", "1.5GB", "1kB", "1GBs", "1 GB ",
                           "9999999999MB", "999999999TB", "+1GB", "0x1MB"})
    CHECK_MESSAGE(!bytes_of(text), text);
}

TEST_CASE("a size is shown in the greatest unit that is exact") {
  CHECK(size_in_words(512 * megabyte) == "512 MB");
  CHECK(size_in_words(2048 * megabyte) == "2 GB");
  CHECK(size_in_words(1536 * megabyte) == "1536 MB");
  CHECK(size_in_words(24 * 1024 * megabyte + 5) == "24576 MB");
}

TEST_CASE("processors have two decimals at most") {
  CHECK(hundredths_of("2") == 200);
  CHECK(hundredths_of("0.5") == 50);
  CHECK(hundredths_of("1.25") == 125);
  for (const auto* text : {"", ".5", "1.", "1.234", "-1", "1,5", "two", "1.x", "1e3"})
    CHECK_MESSAGE(!hundredths_of(text), text);
  CHECK(cpu_in_words(200) == "2");
  CHECK(cpu_in_words(50) == "0.50");
  CHECK(hundredths_of(cpu_in_words(105)) == 105);
}
