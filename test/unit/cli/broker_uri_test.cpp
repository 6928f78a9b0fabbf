#include <doctest/doctest.h>

#include <string>

#include "cli/admin_commands.hpp"
#include "cli/broker_uri.hpp"

using matriarch::cli::body_of;
using matriarch::cli::parse_broker_uri;

TEST_CASE("BROKER_URI has the broker's address and the user") {
  const auto parsed = parse_broker_uri("http://starkandwayne:s3cret@localhost:3000");
  REQUIRE(parsed.ok());
  CHECK(parsed->address == "http://localhost:3000");
  CHECK(parsed->username == "starkandwayne");
  CHECK(parsed->password == "s3cret");
}

TEST_CASE("user and password in BROKER_URI may be percent-encoded where necessary") {
  CHECK(parse_broker_uri("http://a%40b:p%3Aq@h:1/")->username == "a@b");
  CHECK(parse_broker_uri("http://a%40b:p%3Aq@h:1/")->password == "p:q");
  CHECK(parse_broker_uri("http://a:p@q:r@h:1")->password == "p@q:r");
  CHECK(parse_broker_uri("http://a:p@h:1/")->address == "http://h:1");
  CHECK(parse_broker_uri("http://a:p@[::1]:80")->address == "http://[::1]:80");
  CHECK(parse_broker_uri("http://a:p@[::1]")->address == "http://[::1]");
  CHECK(parse_broker_uri("http://a:@h")->password.empty());
  CHECK(parse_broker_uri("https://a:b@h:1/")->address == "https://h:1");
}

TEST_CASE("a BROKER_URI that is not set or wrong says how to write it") {
  CHECK(parse_broker_uri(nullptr).error()
        == "BROKER_URI is not set: it says where the broker is, and who asks; write for example "
           "export BROKER_URI=http://user:password@localhost:3000");
  CHECK(parse_broker_uri("").error().starts_with("BROKER_URI is not set"));
  for (const auto* value : {"ftp://a:b@h", "a:b@h", "HTTP:/a:b@h", "httpss://a:b@h"})
    CHECK(parse_broker_uri(value).error().starts_with(
        "BROKER_URI must start with http:// or https://;"));
  for (const auto* value : {"http://h:3000", "http://a@h:1", "http://:p@h", "http://"})
    CHECK(parse_broker_uri(value).error().starts_with(
        "BROKER_URI must name the broker's user and password;"));
  for (const auto* value : {"http://a:b@", "http://a:b@:80", "http://a:b@h/x", "http://a:b@h x"})
    CHECK(parse_broker_uri(value).error().starts_with(
        "BROKER_URI must end in the broker's host and port;"));
  for (const auto* value : {"http://a:b@h:0", "http://a:b@h:65536", "http://a:b@h:x"})
    CHECK(parse_broker_uri(value).error().starts_with(
        "BROKER_URI must have a port from 1 to 65535;"));
  for (const auto* value : {"http://a:b%@h", "http://a:b%2@h", "http://a%zz:b@h"})
    CHECK(parse_broker_uri(value).error().starts_with("BROKER_URI has a %"));
}

TEST_CASE("no message about BROKER_URI repeats the password") {
  for (const auto* value : {"ftp://u:s3cret@h", "https://u:s3cret@", "http://u:s3cret@h:0",
                            "http://u:s3cret%@h", "u:s3cret@h", "http://u:s3cret@h/x"})
    CHECK(parse_broker_uri(value).error().find("s3cret") == std::string::npos);
}

TEST_CASE("an answer that is no 200 becomes one line") {
  const matriarch::cli::broker_uri broker{"http://h:1", "u", "s3cret"};
  const auto said = [&](int status, const std::string& body, const std::string& error = {}) {
    matriarch::base::outcome answer;
    answer.status = status;
    answer.body = body;
    answer.error = error;
    return body_of(answer, broker);
  };
  CHECK(*said(200, "[]") == "[]");
  CHECK(said(0, "", "connection refused").error()
        == "the broker at http://h:1 cannot be reached: connection refused");
  CHECK(said(401, "").error()
        == "the broker at http://h:1 refuses the user and password in BROKER_URI (401)");
  CHECK(said(404, R"({"description":"there is no service instance b9"})").error()
        == "the broker at http://h:1 answers 404: there is no service instance b9");
  CHECK(said(503, R"({"error":"Unavailable"})").error()
        == "the broker at http://h:1 answers 503: Unavailable");
  CHECK(said(500, "<html>").error() == "the broker at http://h:1 answers 500");
}
