#include "engines/postgresql/model/settings.hpp"

#include <doctest/doctest.h>

#include "base/json.hpp"

using namespace matriarch;
using namespace matriarch::engines::postgresql;
using namespace matriarch::model;

namespace {

cluster_settings of(std::map<std::string, std::string> parameters) {
  cluster_settings settings;
  settings.parameters = std::move(parameters);
  return settings;
}

json::document parsed(const std::string& text) {
  auto read = json::parse(text);
  REQUIRE(read.ok());
  return std::move(*read);
}

const json::value& parameters_in(const json::document& configuration) {
  return *json::member(*json::member(configuration, "postgresql"), "parameters");
}

} // namespace

TEST_CASE("a plan has more walsenders than unauthenticated connections can occupy") {
  auto senders_of = [](shared_map<std::string, std::string> parameters) {
    make_room_for_replicas(parameters);
    return parameters["max_wal_senders"];
  };
  CHECK(senders_of({}) == "110");
  CHECK(senders_of({{"max_connections", "200"}}) == "210");
  CHECK(senders_of({{"max_connections", "200"}, {"max_wal_senders", "20"}}) == "210");
  CHECK(senders_of({{"max_connections", "200"}, {"max_wal_senders", "400"}}) == "400");
  // PostgreSQL has at most 262,143 backends of all kinds.
  CHECK(senders_of({{"max_connections", "200000"}}) == "62000");
  CHECK(senders_of({{"max_connections", "262143"}}).empty()); // PostgreSQL's own default is used
}

TEST_CASE("a new cluster's configuration has its parameters and the digest of its settings") {
  auto settings = of({{"shared_buffers", "64MB"}, {"application_name", "it's \"quoted\""}});
  auto configuration = parsed(dynamic_configuration(settings));
  CHECK(json::string_member(parameters_in(configuration), "shared_buffers") == "64MB");
  CHECK(json::string_member(parameters_in(configuration), "application_name") == "it's \"quoted\"");
  CHECK(json::string_member(parameters_in(configuration), settings_mark) == digest_of(settings));
  CHECK(json::member(configuration, "synchronous_mode")->IsFalse());
  CHECK(json::member(configuration, "ttl") == nullptr);
}

TEST_CASE("loop_wait and retry_timeout follow the ttl by Patroni's rule") {
  for (int ttl : {5, 6, 10, 20, 30, 3600}) {
    CAPTURE(ttl);
    cluster_settings settings;
    settings.ttl = ttl;
    auto configuration = parsed(dynamic_configuration(settings));
    auto loop_wait = json::integer_member(configuration, "loop_wait");
    auto retry_timeout = json::integer_member(configuration, "retry_timeout");
    CHECK(json::integer_member(configuration, "ttl") == ttl);
    CHECK(loop_wait >= 1);
    CHECK(retry_timeout >= 2);
    CHECK(loop_wait + 2 * retry_timeout <= ttl);
  }
  cluster_settings usual;
  usual.ttl = 30;
  CHECK(json::integer_member(parsed(dynamic_configuration(usual)), "loop_wait") == 10);
}

TEST_CASE("strict sets synchronous_mode too") {
  cluster_settings settings;
  settings.synchronous = synchronous_mode::on;
  auto on = parsed(dynamic_configuration(settings));
  CHECK(json::member(on, "synchronous_mode")->IsTrue());
  CHECK(json::member(on, "synchronous_mode_strict")->IsFalse());
  settings.synchronous = synchronous_mode::strict;
  CHECK(json::member(parsed(dynamic_configuration(settings)), "synchronous_mode_strict")->IsTrue());
}

TEST_CASE("a patch unsets what the new settings do not have") {
  auto from = of({{"work_mem", "8MB"}, {"max_connections", "50"}});
  from.ttl = 30;
  auto patch = parsed(configuration_patch(from, of({{"max_connections", "60"}})));
  CHECK(json::member(parameters_in(patch), "work_mem")->IsNull());
  CHECK(json::string_member(parameters_in(patch), "max_connections") == "60");
  for (const char* name : {"ttl", "loop_wait", "retry_timeout"})
    CHECK(json::member(patch, name)->IsNull());
}

TEST_CASE("the leader restarts first only if a standby would have a lower value than its primary") {
  auto order = [](const char* from, const char* to) {
    return order_of(of({{"max_connections", from}}), of({{"max_connections", to}}));
  };
  CHECK(order("100", "200") == restart_order::replicas_first);
  CHECK(order("200", "100") == restart_order::leader_first);
  CHECK(order("90", "100") == restart_order::replicas_first); // as numbers, not as texts
  CHECK(order_of(of({}), of({{"max_worker_processes", "4"}})) == restart_order::leader_first);
  CHECK(order_of(of({}), of({{"shared_buffers", "1MB"}})) == restart_order::replicas_first);
}

TEST_CASE("raised and lowered parameters change one after the other") {
  auto from = of({{"max_connections", "100"}, {"max_worker_processes", "20"}});
  auto to = of({{"max_connections", "200"}, {"work_mem", "8MB"}});
  auto next = next_settings(from, to);
  CHECK(next
        == of({{"max_connections", "200"}, {"max_worker_processes", "20"}, {"work_mem", "8MB"}}));
  CHECK(order_of(from, next) == restart_order::replicas_first);
  CHECK(order_of(next, to) == restart_order::leader_first);
  CHECK(next_settings(next, to) == to);
  CHECK(next_settings(of({}), to) == to);
}

TEST_CASE("a cluster is told whom to follow, and to follow nobody any more") {
  CHECK(
      change_to_follow("10.0.0.1:5432")
      == R"({"standby_cluster":{"host":"10.0.0.1","port":5432,"primary_slot_name":"matriarch_follower"}})");
  CHECK(change_to_follow("[::1]:5433").find(R"("host":"::1","port":5433)") != std::string::npos);
  CHECK(change_to_follow("") == R"({"standby_cluster":null})");
}

TEST_CASE("a leader keeps what a follower needs in the slot that the follower asks for") {
  CHECK(change_to_retain(true) == R"({"slots":{"matriarch_follower":{"type":"physical"}}})");
  CHECK(change_to_retain(false) == R"({"slots":{"matriarch_follower":null}})");
}

TEST_CASE("a new cluster that follows another has that in its first configuration") {
  auto whole = matriarch::json::parse(
      with_whom_to_follow(dynamic_configuration(cluster_settings{}), "10.0.0.1:5432"));
  REQUIRE(whole.ok());
  CHECK(matriarch::json::member(*whole, "postgresql") != nullptr);
  CHECK(matriarch::json::member(*whole, "standby_cluster") != nullptr);
  CHECK(with_whom_to_follow("{}", "") == "{}");
}
