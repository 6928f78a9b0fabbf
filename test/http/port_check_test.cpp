#include "http/port_check.hpp"

#include <doctest/doctest.h>

#include <string>

#include "http/server.hpp"

using namespace matriarch;
using namespace matriarch::http;

namespace {

/// A server on a free port with that health page.
class server_saying {
public:
  explicit server_saying(std::string health)
      : server_{{}, [health = std::move(health)](request, responder to) {
                  to.send({200, health, {}});
                }} {
    REQUIRE_FALSE(server_.start());
  }
  [[nodiscard]] std::uint16_t port() const { return server_.port(); }

private:
  server server_;
};

bool has_guid_a(const json::value& health) {
  return json::string_member(health, "guid") == "a";
}

base::findings::finding found_at(std::uint16_t port) {
  base::findings found;
  look_at_port("127.0.0.1", port, has_guid_a, found);
  REQUIRE(found.all().size() == 1);
  return found.all()[0];
}

base::findings::finding found_where(const std::string& health) {
  server_saying there{health};
  return found_at(there.port());
}

} // namespace

TEST_CASE("a port is free, or has the server that is checked") {
  auto itself = found_where(R"({"status":"ok","guid":"a"})");
  CHECK(itself.is == base::findings::weight::good);
  CHECK(itself.said.find("has this server already") != std::string::npos);
  std::uint16_t port = 0;
  {
    server_saying there{"{}"};
    port = there.port();
  }
  CHECK(found_at(port).is == base::findings::weight::good);
  CHECK(found_at(port).said.find("is free") != std::string::npos);
}

TEST_CASE("another server on the port is a fault, whether Matriarch's or not") {
  for (const auto* health : {R"({"status":"ok","guid":"b"})", R"({"status":"ok"})",
                             R"({"status":"degraded","instances_loaded":true})"}) {
    auto other = found_where(health);
    CHECK(other.is == base::findings::weight::fault);
    CHECK(other.said.find("cannot listen on 127.0.0.1:") != std::string::npos);
    CHECK(other.said.find("another server of Matriarch's has it") != std::string::npos);
  }
  for (const auto* health : {R"({"guid":"a"})", "welcome", ""}) {
    auto stranger = found_where(health);
    CHECK(stranger.is == base::findings::weight::fault);
    CHECK(stranger.said.find("Matriarch") == std::string::npos);
  }
}
