#include "engines/postgresql/cell/settings_check.hpp"

#include <doctest/doctest.h>

#include <set>

namespace matriarch::engines::postgresql {

using namespace cell;

namespace {

installed_postgresql installed() {
  installed_postgresql has;
  has.version = "15.18";
  has.library_dir = "/lib";
  has.parameters = parse_description(
      "shared_buffers\tpostmaster\tResource Usage / Memory\tINTEGER\t0\t16\t1073741823\tSets …\t\n"
      "random_page_cost\tuser\tQuery Tuning\tREAL\t0\t0\t1.79769e+308\tSets …\t\n"
      "wal_compression\tsuperuser\tWAL\tENUM\toff\t\t\tCompresses …\t\n"
      "a line of another kind\n");
  return has;
}

std::vector<std::string> words_in(std::string_view printed) {
  std::vector<std::string> words;
  for (const auto& one : complaints_in(printed))
    words.push_back(words_of(one, installed()));
  return words;
}

std::string refusal(const std::string& body) {
  auto read = parse_plans(body);
  return read.ok() ? "accepted" : read.error();
}

std::vector<std::string> missing(const engine_parameters& parameters,
                                 const std::set<std::string>& files) {
  std::vector<std::string> words;
  for (const auto& one : missing_libraries(
           parameters, installed(), [&](const std::string& path) { return files.contains(path); }))
    words.push_back(one.words);
  return words;
}

using texts = std::vector<std::string>;

} // namespace

TEST_CASE("the version is only the number, without the packager's additions") {
  CHECK(version_in("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n") == "15.18");
  CHECK(version_in("postgres (PostgreSQL) 17beta1\n") == "17beta1");
  CHECK(version_in("usage: postgres") == "");
}

TEST_CASE("each parameter's type and range are read from its description") {
  auto has = installed();
  REQUIRE(has.parameters.size() == 3);
  const auto& buffers = has.parameters.at("shared_buffers");
  CHECK(buffers.type == "INTEGER");
  CHECK(buffers.context == "postmaster");
  CHECK(buffers.least == "16");
  CHECK(buffers.most == "1073741823");
  CHECK(has.parameters.at("wal_compression").least.empty());
}

TEST_CASE("quotes and backslashes in a value are escaped") {
  CHECK(render_settings({{"a", "it's"}, {"b", "c:\\d"}}) == "a = 'it''s'\nb = 'c:\\\\d'\n");
}

TEST_CASE("each error names the parameter, the fault and what is allowed") {
  CHECK(
      words_in("LOG:  skipping missing configuration file \"/x/postgresql.auto.conf\"\n"
               "LOG:  invalid value for parameter \"shared_buffers\": \"7XB\"\n"
               "HINT:  Valid units for this parameter are \"B\", \"kB\", and \"MB\".\n"
               "LOG:  1 kB is outside the valid range for parameter \"work_mem\" (64 .. 2147)\n"
               "LOG:  invalid value for parameter \"random_page_cost\": \"x\"\n"
               "LOG:  invalid value for parameter \"wal_compression\": \"x\"\n"
               "HINT:  Available values: pglz, on, off.\n"
               "FATAL:  configuration file \"/x/postgresql.conf\" contains errors\n"
               "HINT:  of nothing that is told\n")
      == texts{"invalid value for parameter \"shared_buffers\": \"7XB\" (Valid units for this "
               "parameter are \"B\", \"kB\", and \"MB\".)",
               "1 kB is outside the valid range for parameter \"work_mem\" (64 .. 2147)",
               "invalid value for parameter \"random_page_cost\": \"x\" (it is a number from 0 to "
               "1.79769e+308)",
               "invalid value for parameter \"wal_compression\": \"x\" (Available values: pglz, "
               "on, off.)"});
}

TEST_CASE("the error for an unknown parameter suggests the nearest one, and names no file") {
  const std::string_view printed =
      "LOG:  unrecognized configuration parameter \"shared_bufers\" in file \"/x/y.conf\" line 2\n"
      "LOG:  unrecognized configuration parameter \"nosuch\" in file \"/x/y.conf\" line 3\n";
  CHECK(
      words_in(printed)
      == texts{"PostgreSQL 15.18 has no parameter \"shared_bufers\"; is \"shared_buffers\" meant?",
               "PostgreSQL 15.18 has no parameter \"nosuch\""});
  auto complaints = complaints_in(printed);
  REQUIRE(complaints.size() == 2);
  CHECK(complaints[1].unknown);
  CHECK(complaints[1].parameter == "nosuch");
}

TEST_CASE("a library is looked for where PostgreSQL looks for it") {
  const std::set<std::string> files{"/lib/auto_explain.so", "/lib/plugins/local.so", "/own/one.so",
                                    "/lib/sub/two.so"};
  CHECK(
      missing({{"shared_preload_libraries", " auto_explain , \"auto_explain\"  "}}, files).empty());
  CHECK(missing({{"shared_preload_libraries", ""}}, files).empty());
  CHECK(missing({{"local_preload_libraries", "local"}}, files).empty());
  CHECK(missing({{"session_preload_libraries", "/own/one, $libdir/sub/two"}}, files).empty());
  CHECK(missing({{"shared_preload_libraries", "one"}, {"dynamic_library_path", "$libdir:/own"}},
                files)
            .empty());
  CHECK(
      missing({{"shared_preload_libraries", "auto_explain, nosuch"},
               {"local_preload_libraries", "auto_explain"},
               {"session_preload_libraries", "\"/own/no \"\"one\"\"\""}},
              files)
      == texts{"shared_preload_libraries names the library \"nosuch\", which is not installed for "
               "PostgreSQL 15.18",
               "session_preload_libraries names the library \"/own/no \"one\"\", which is not "
               "installed for PostgreSQL 15.18",
               "local_preload_libraries names the library \"auto_explain\", which is not "
               "installed for PostgreSQL 15.18"});
}

TEST_CASE("libraries that cannot be checked without a data directory are no fault") {
  CHECK(missing({{"shared_preload_libraries", "libraries/own.so"}}, {}).empty());
  CHECK(missing({{"shared_preload_libraries", "\"unfinished, nosuch"}}, {}).empty());
}

TEST_CASE("a check request lists plans and parameters, and a wrong one is refused with a reason") {
  auto read = parse_plans(R"({"plans":{"p1":{"work_mem":"1MB","a.b_1$":""},"p2":{}}})");
  REQUIRE(read.ok());
  CHECK(*read == plans_parameters{{"p1", {{"work_mem", "1MB"}, {"a.b_1$", ""}}}, {"p2", {}}});
  for (const auto& [body, said] :
       {std::pair<std::string, std::string>{"{", "no JSON"},
        {"{}", "needs plans"},
        {R"({"plans":[]})", "needs plans"},
        {R"({"plans":{"p1":1}})", "plans.\"p1\" must be an object"},
        {R"({"plans":{"p1":{"work_mem":1}}})", "plans.\"p1\".\"work_mem\" must be a text"},
        {R"({"plans":{"p1":{"Work mem":"1"}}})", "is no name"},
        {R"({"plans":{"p1":{"a..b":"1"}}})", "is no name"},
        {R"({"plans":{"p1":{"a.b.c":"1"}}})", "is no name"},
        {R"({"plans":{"p1":{"a.":"1"}}})", "is no name"},
        {R"({"plans":{"p1":{"":"1"}}})", "is no name"},
        {R"({"plans":{"p1":{"include":"/etc/passwd"}}})", "is no name"},
        {R"({"plans":{"p1":{"a":"1\n"}}})", "control characters"}})
    CHECK_MESSAGE(refusal(body).find(said) != std::string::npos, refusal(body));
}

TEST_CASE("a check request has a limited number of plans, parameters and bytes") {
  auto many = [](int count, const std::string& each) {
    std::string text;
    for (int i = 0; i < count; ++i)
      text += (i == 0 ? "\"n" : ",\"n") + std::to_string(i) + "\":" + each;
    return "{" + text + "}";
  };
  CHECK(refusal(R"({"plans":)" + many(1000, "{}") + "}") == "accepted");
  CHECK(refusal(R"({"plans":)" + many(1001, "{}") + "}").find("1000 are allowed")
        != std::string::npos);
  CHECK(refusal(R"({"plans":{"p":)" + many(1001, "\"\"") + "}}").find("1000 are allowed")
        != std::string::npos);
  CHECK(
      refusal(R"({"plans":{"p":{"a":")" + std::string(8193, 'x') + "\"}}}").find("8192 are allowed")
      != std::string::npos);
}

TEST_CASE("the answer has the parameters' types and ranges, and the faults of each plan") {
  auto has = installed();
  has.libraries = {"auto_explain"};
  has.parameters.erase("shared_buffers");
  CHECK(text_of(has)
        == R"({"version":"15.18","libraries":["auto_explain"],"parameters":{"random_page_cost":)"
           R"({"type":"REAL","context":"user","min":"0","max":"1.79769e+308"},"wal_compression":)"
           R"({"type":"ENUM","context":"superuser"}}})");
  CHECK(text_of(has, {{"p1", {{"work_mem", "bad"}}}}, {})
        == R"({"version":"15.18","libraries":["auto_explain"],"faults":{"p1":["bad"]}})");
  CHECK(
      text_of(has, {}, {{"p2", "why"}})
      == R"({"version":"15.18","libraries":["auto_explain"],"faults":{},"unjudged":{"p2":"why"}})");
}

} // namespace matriarch::engines::postgresql
