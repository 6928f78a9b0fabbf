#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/json.hpp"
#include "cell/node_record.hpp"
#include "engines/postgresql/cell/request.hpp"

namespace matriarch::cell {

namespace {

const request_rules& rules = engines::postgresql::rules_of_requests();

/// A body as the broker sends it, with one parameter changed or added, or removed if `text` is null.
std::string body(const char* changed = "", const char* text = nullptr) {
  json::document parameters;
  parameters.SetObject();
  for (const auto* name :
       {"PATRONI_SCOPE", "NODE_ID", "ADMIN_USERNAME", "ADMIN_PASSWORD", "SUPERUSER_USERNAME",
        "SUPERUSER_PASSWORD", "APPUSER_USERNAME", "APPUSER_PASSWORD", "REPLICATION_USERNAME",
        "REPLICATION_PASSWORD", "PATRONI_USERNAME", "PATRONI_PASSWORD"}) {
    std::string value = name == std::string{"NODE_ID"} ? "n1" : std::string{"v-"} + name;
    if (name == std::string{changed}) {
      if (!text)
        continue;
      value = text;
    }
    json::add(parameters, name, value, parameters);
  }
  if (text && *changed && !json::member(parameters, changed))
    json::add(parameters, changed, text, parameters);
  return R"({"service_id":"s","plan_id":"p","organization_guid":"o","space_guid":"sp","parameters":)"
         + json::text_of(parameters) + "}";
}

} // namespace

TEST_CASE("a broker's request is read field by field") {
  auto request = parse_node_request("n1", body(), rules);
  REQUIRE(request.ok());
  CHECK(request->node_id == "n1");
  CHECK(request->scope == "v-PATRONI_SCOPE");
  CHECK(request->service_id == "s");
  CHECK(request->plan_id == "p");
  CHECK(request->organization_guid == "o");
  CHECK(request->space_guid == "sp");
  const auto asked = engines::postgresql::asked_of(*request);
  CHECK(asked.admin == role{"v-ADMIN_USERNAME", "v-ADMIN_PASSWORD"});
  CHECK(asked.superuser == role{"v-SUPERUSER_USERNAME", "v-SUPERUSER_PASSWORD"});
  CHECK(asked.app_user == role{"v-APPUSER_USERNAME", "v-APPUSER_PASSWORD"});
  CHECK(asked.replication == role{"v-REPLICATION_USERNAME", "v-REPLICATION_PASSWORD"});
  CHECK(asked.patroni == role{"v-PATRONI_USERNAME", "v-PATRONI_PASSWORD"});
}

TEST_CASE("a request without a needed parameter is refused and names it") {
  for (const auto* name :
       {"PATRONI_SCOPE", "ADMIN_USERNAME", "ADMIN_PASSWORD", "SUPERUSER_PASSWORD",
        "APPUSER_USERNAME", "REPLICATION_PASSWORD", "PATRONI_USERNAME"}) {
    CAPTURE(name);
    for (const char* text : {static_cast<const char*>(nullptr), ""}) {
      auto request = parse_node_request("n1", body(name, text), rules);
      REQUIRE_FALSE(request.ok());
      CHECK(request.error().find(name) != std::string::npos);
    }
  }
}

TEST_CASE("the plan's settings and the etcd user are optional in a request") {
  auto plain = parse_node_request("n1", body(), rules);
  REQUIRE(plain.ok());
  CHECK(plain->etcd.username.empty());
  CHECK(engines::postgresql::asked_of(*plain).dynamic_configuration.empty());
  CHECK(plain->node_type.empty());
  auto wanted = R"({"ttl":5,"postgresql":{"parameters":{"a.b":"c"}}})";
  auto configured = parse_node_request("n1", body("PATRONI_DYNAMIC_CONFIG", wanted), rules);
  REQUIRE(configured.ok());
  CHECK(engines::postgresql::asked_of(*configured).dynamic_configuration == wanted);
  auto typed = parse_node_request("n1", body("NODE_TYPE", "small"), rules);
  REQUIRE(typed.ok());
  CHECK(typed->node_type == "small");
}

TEST_CASE("a node's limits are optional texts with bounds") {
  CHECK(parse_node_request("n1", body(), rules)->limits == model::node_limits{});
  CHECK(parse_node_request("n1", body("NODE_MEMORY", "67108864"), rules)->limits.memory
        == 64LL << 20);
  CHECK(parse_node_request("n1", body("NODE_PROCESSES", "64"), rules)->limits.processes == 64);
  CHECK(parse_node_request("n1", body("NODE_DISK", "1073741824"), rules)->limits.disk == 1LL << 30);
  CHECK(parse_node_request("n1", body("NODE_CPU", "1.5"), rules)->limits.cpu == 150);
  for (auto [name, text] : {std::pair{"NODE_MEMORY", "67108863"},
                            {"NODE_MEMORY", "64MB"},
                            {"NODE_MEMORY", ""},
                            {"NODE_PROCESSES", "63"},
                            {"NODE_PROCESSES", "-1"},
                            {"NODE_DISK", "99999999999999999999"},
                            {"NODE_CPU", "0"},
                            {"NODE_CPU", "many"}}) {
    auto refused = parse_node_request("n1", body(name, text), rules);
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().starts_with(std::string("parameters.") + name + " must be the text of"));
  }
}

TEST_CASE("a dynamic configuration that could not be merged is refused") {
  auto too_long =
      R"({"a":")" + std::string(engines::postgresql::longest_dynamic_configuration, 'x') + "\"}";
  auto long_key = R"({"postgresql":{"parameters":{")" + std::string(129, 'x') + "\":1}}}";
  for (const auto* text :
       {"", "{", "[]", "7", "null", R"({"postgresql":7})", R"({"postgresql":{"parameters":[]}})",
        R"({"postgresql":{"parameters":{"a":{}}}})", R"({"a":1,"a":2})", too_long.c_str(),
        long_key.c_str()}) {
    CAPTURE(text);
    auto request = parse_node_request("n1", body("PATRONI_DYNAMIC_CONFIG", text), rules);
    REQUIRE_FALSE(request.ok());
    CHECK(request.error().find("PATRONI_DYNAMIC_CONFIG") != std::string::npos);
  }
}

TEST_CASE("a request that is no such JSON is refused") {
  for (const auto* text : {"", "{", "[]", "7", "{}", R"({"service_id":"s","plan_id":"p"})",
                           R"({"service_id":"s","plan_id":"p","parameters":[]})"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_node_request("n1", text, rules).ok());
  }
}

TEST_CASE("values that Patroni or PostgreSQL cannot take are refused without showing a password") {
  for (auto [name, text] : {std::pair{"SUPERUSER_PASSWORD", "secret$$secret"},
                            {"APPUSER_PASSWORD", "secret\n"},
                            {"REPLICATION_PASSWORD", "secret\xc3\xa9"},
                            {"PATRONI_PASSWORD", "secret\x7f"},
                            {"ADMIN_USERNAME", "pg_admin"},
                            {"PATRONI_USERNAME", "a:b"},
                            {"ADMIN_USERNAME", "v-APPUSER_USERNAME"},
                            {"NODE_ID", "n2"},
                            {"PATRONI_SCOPE", "a/b"},
                            {"ETCD_USERNAME", "without a password"},
                            {"ETCD_PASSWORD", "secret without a user"},
                            {"NODE_TYPE", "a b"},
                            {"PATRONI_SCOPE", ".a"}}) {
    CAPTURE(name);
    auto request = parse_node_request("n1", body(name, text), rules);
    REQUIRE_FALSE(request.ok());
    CHECK(request.error().find("secret") == std::string::npos);
  }
  CHECK_FALSE(
      parse_node_request("n1", body("ADMIN_USERNAME", std::string(64, 'a').c_str()), rules).ok());
  CHECK(parse_node_request("n1", body("ADMIN_USERNAME", std::string(63, 'a').c_str()), rules).ok());
}

TEST_CASE("a node's id is safe as a directory's name") {
  CHECK(is_node_id("3ea85fea-fdac-495a-a739-ba719e33354d"));
  CHECK(is_node_id("~0af"));
  CHECK(is_node_id(std::string(64, 'a')));
  for (auto text :
       {std::string{}, std::string{"."}, std::string{".."}, std::string{".a"}, std::string{"a/b"},
        std::string{"a b"}, std::string{"a\0b", 3}, std::string(65, 'a')}) {
    CAPTURE(text);
    CHECK_FALSE(is_node_id(text));
  }
}

TEST_CASE("a node's record reads back as it was written") {
  auto request = parse_node_request("n1", body("APPUSER_PASSWORD", "a\"b\\c"), rules);
  REQUIRE(request.ok());
  request->etcd = {"e", "f"};
  request->parameters["PATRONI_DYNAMIC_CONFIG"] = R"({"ttl":5})";
  request->node_type = "small";
  request->limits = {64LL << 20, 64, 50, 1LL << 30};
  node_record node{*request,
                   {"127.77.1.3", 5432, 8008},
                   base::process_identity{4711, 1ULL << 40, "boot"},
                   fencing::user_namespace,
                   true,
                   true};
  auto read = parse_node_record(text_of(node), rules);
  REQUIRE(read.ok());
  CHECK(*read == node);
  node.process.reset();
  read = parse_node_record(text_of(node), rules);
  REQUIRE(read.ok());
  CHECK(*read == node);
}

TEST_CASE("a record of an older agent is read") {
  auto request = parse_node_request("n1", body(), rules);
  REQUIRE(request.ok());
  auto text = text_of(node_record{*request, {"127.77.1.3", 5432, 8008}, {}, fencing::none});
  auto isolated = text.find(",\"isolated\":false");
  REQUIRE(isolated != std::string::npos);
  text.erase(isolated, std::string{",\"isolated\":false"}.size());
  auto read = parse_node_record(text, rules);
  REQUIRE(read.ok());
  CHECK(read->request == *request);
  CHECK_FALSE(read->isolated);
}

TEST_CASE("unknown members of a later agent are kept and written back") {
  auto request = parse_node_request("n1", body(), rules);
  REQUIRE(request.ok());
  auto document = json::parse(text_of(node_record{*request,
                                                  {"127.77.1.3", 5432, 8008},
                                                  base::process_identity{4711, 1ULL << 40, "boot"},
                                                  fencing::none}));
  REQUIRE(document.ok());
  CHECK(parse_node_record(json::text_of(*document), rules)->unknown.empty());
  json::add(*document, "driver", "docker", *document);
  json::add((*document)["parameters"], "MEMORY", "1GB", *document);
  json::add((*document)["process"], "cgroup", "n1", *document);
  const auto text = json::canonical_text_of(*document);
  auto read = parse_node_record(text, rules);
  REQUIRE(read.ok());
  CHECK(json::canonical_text_of(*json::parse(text_of(*read))) == text);
  INFO("unknown members of one process do not pass to the next one");
  read->process->start_time += 1;
  CHECK(text_of(*read).find("cgroup") == std::string::npos);
  CHECK(text_of(*read).find("docker") != std::string::npos);
}

TEST_CASE("a record with a too high min_reader is refused with a reason") {
  auto request = parse_node_request("n1", body(), rules);
  REQUIRE(request.ok());
  auto text = text_of(node_record{*request, {"127.77.1.3", 5432, 8008}, {}, fencing::none});
  auto at = text.find("\"min_reader\":1");
  REQUIRE(at != std::string::npos);
  text.replace(at, std::string{"\"min_reader\":1"}.size(), "\"min_reader\":3");
  auto read = parse_node_record(text, rules);
  REQUIRE_FALSE(read.ok());
  CHECK(read.error().find("a later release has written it") == 0);
}

TEST_CASE("a record with a repeated member is refused with its name") {
  auto request = parse_node_request("n1", body(), rules);
  REQUIRE(request.ok());
  auto text = text_of(node_record{*request, {"127.77.1.3", 5432, 8008}, {}, fencing::none});
  text.insert(text.size() - 1, R"(,"port":5433)");
  auto read = parse_node_record(text, rules);
  REQUIRE_FALSE(read.ok());
  CHECK(read.error().find(R"(the key "port" appears twice in one object)") == 0);
}

TEST_CASE("node files of every release are read, and written without loss") {
  int count = 0;
  for (const auto& one : std::filesystem::recursive_directory_iterator{CORPUS_FOLDER}) {
    if (!one.is_regular_file())
      continue;
    ++count;
    const auto name = one.path().string();
    CAPTURE(name);
    std::stringstream text;
    text << std::ifstream{name}.rdbuf();
    auto read = parse_node_record(text.str(), rules);
    REQUIRE_MESSAGE(read.ok(), read.error());
    CHECK(read->unknown.empty());
    auto written = json::parse(text_of(*read));
    auto before = json::parse(text.str());
    REQUIRE(before.ok());
    for (const auto& member : before->GetObject()) {
      const std::string field = member.name.GetString();
      if (field == "format" || field == "min_reader")
        continue;
      CAPTURE(field);
      const auto* now = json::member(*written, field);
      REQUIRE(now != nullptr);
      CHECK(json::canonical_text_of(*now) == json::canonical_text_of(member.value));
    }
  }
  CHECK(count > 0);
}

TEST_CASE("a damaged record is refused") {
  for (const auto* text : {"", "{}", R"({"node_id":"n1"})"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_node_record(text, rules).ok());
  }
}

TEST_CASE("a number that is no port is refused, not cut to another port") {
  auto request = parse_node_request("n1", body(), rules);
  REQUIRE(request.ok());
  auto text = text_of(node_record{*request, {"127.77.1.3", 5432, 8008}, {}, fencing::none});
  auto port = text.find(R"("port":5432)");
  REQUIRE(port != std::string::npos);
  text.replace(port, std::string{R"("port":5432)"}.size(), R"("port":4294972728)");
  CHECK_FALSE(parse_node_record(text, rules).ok());
}

} // namespace matriarch::cell
