#include <doctest/doctest.h>

#include "requests.hpp"

using namespace matriarch;
using namespace matriarch::simulation;
using namespace std::chrono_literals;
using model::verdict_kind;

namespace {

model::bind_request bind_reader(const std::string& binding_id) {
  auto asked = simulation::bind("db", binding_id);
  asked.wanted.read_only = true;
  return asked;
}

const model::binding& known_binding(stage& here, const std::string& binding_id) {
  return here.broker().find("db")->bindings.at(binding_id);
}

} // namespace

TEST_CASE("a reader is made after its rights, and nobody else waits for them") {
  stage here;
  REQUIRE(make(here, "db"));
  here.outside.rights_failure = "a statement took too long";
  auto came = here.broker().ask(bind_reader("reader"));
  here.pass(5s);
  CHECK_FALSE(came->has_value());
  CHECK(here.outside.roles_of("db").password_of.empty());
  auto writer = here.ask(simulation::bind("db", "writer"));
  CHECK(writer.is == verdict_kind::created);
  CHECK(here.ask(unbind("db", "writer")).is == verdict_kind::done);
  CHECK(here.broker().find("db")->roles_wait_for.find("a statement took too long")
        != std::string::npos);
  here.outside.rights_failure.clear();
  here.pass(1s);
  REQUIRE(came->has_value());
  CHECK((*came)->is == verdict_kind::created);
  CHECK(here.broker().find("db")->roles_wait_for.empty());
}

TEST_CASE("an incomplete comparison continues before the reader is made") {
  stage here;
  REQUIRE(make(here, "db"));
  here.outside.rights_left = 3;
  CHECK(here.ask(bind_reader("reader")).is == verdict_kind::created);
  CHECK(here.outside.rights_left == 0);
}

TEST_CASE("the rights of readers are compared every minute, and after a change of leader") {
  stage here;
  REQUIRE(make(here, "db"));
  REQUIRE(here.ask(bind_reader("reader")).is == verdict_kind::created);
  here.pass(1s);
  auto before = here.outside.comparisons_of_readers;
  here.pass(5min);
  CHECK(here.outside.comparisons_of_readers == before + 5);
  here.outside.etcd.put(store::keys::member("db", here.outside.leader_of("db")),
                        "{\"state\":\"running\",\"timeline\":7,\"conn_url\":\"postgres://"
                            + here.outside.leader_of("db") + ":5432/postgres\"}");
  here.pass(1s);
  CHECK(here.outside.comparisons_of_readers == before + 6);
  here.restart();
  here.pass(2s);
  CHECK(here.outside.comparisons_of_readers == before + 7);
}

TEST_CASE("objects being changed are listed for a new reader until they can be read") {
  stage here;
  REQUIRE(make(here, "db"));
  here.outside.being_changed = {"public.a", "public.b", "public.c", "public.d"};
  auto said = here.ask(bind_reader("reader"));
  CHECK(said.is == verdict_kind::created);
  CHECK(said.bound->note.find("public.a, public.b, public.c and 1 more") != std::string::npos);
  here.pass(20s);
  CHECK_FALSE(known_binding(here, "reader").note.empty());
  here.outside.being_changed.clear();
  here.pass(6s);
  CHECK(known_binding(here, "reader").note.empty());
}

TEST_CASE("shared credentials need no comparison of rights") {
  stage here;
  auto asked = provision("db");
  asked.desired.settings.credentials = model::credentials_mode::shared;
  here.outside.rights_failure = "must not be asked";
  REQUIRE(here.ask(asked).is == verdict_kind::accepted);
  REQUIRE(finish(here, "db"));
  CHECK(here.ask(simulation::bind("db", "b1")).is == verdict_kind::created);
  here.pass(5min);
  CHECK(here.broker().find("db")->roles_wait_for.empty());
}
